//! Pods in containers of this machine.

use super::spec::{FromImage, container_id, label, signal_number};
use super::{Credentials, Exit, Found, Image, ImageError, Launch, Outcome, Pull, Recovered, Runtime, Started};
use super::{etc, spec, volume_files};
use crate::error::Error;
use crate::images::Images;
use crate::layout::{Layout, blocking, list, make_directory, write_private};
use crate::network::{self, Network};
use crate::pod::PodExt;
use crate::volumes::Volume;
use async_trait::async_trait;
use container::{ExecSpec, Info};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Of a container that says nothing: for `down`, which has no Pod to ask.
const DEFAULT_GRACE_SECONDS: u64 = 30;

/// Containers that start at the same time: more only wait for each other in the kernel.
const STARTS: usize = 8;

/// The container part, the image store and the network, joined.
pub(crate) struct Real {
    layout: Layout,
    containers: container::Runtime,
    images: Images,
    network: Arc<Network>,
    /// Pods ask it for names; none if it could not listen.
    name_server: Option<IpAddr>,
    memory_bytes: u64,
    starts: Semaphore,
}

impl Real {
    /// On a network that is there.
    pub(crate) fn new(
        layout: Layout,
        instance: &str,
        exe: PathBuf,
        images: Images,
        memory_bytes: u64,
        network: Arc<Network>,
        name_server: Option<IpAddr>,
    ) -> Result<Self, Error> {
        let containers = containers(&layout, instance, exe)?;
        Ok(Self { layout, containers, images, network, name_server, memory_bytes, starts: Semaphore::new(STARTS) })
    }

    /// The machine's address on the Pod network.
    pub(crate) fn host_address(&self) -> IpAddr {
        IpAddr::V4(self.network.gateway())
    }

    /// Ids of the containers of a Pod: they begin with its uid.
    fn of_pod(&self, uid: &str) -> Result<Vec<String>, Error> {
        let entries = list(&self.layout.containers())?;
        let names = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
        Ok(names.filter(|name| name.strip_prefix(uid).is_some_and(|rest| rest.starts_with('-'))).collect())
    }

    async fn delete_all(&self, ids: impl IntoIterator<Item = String>) -> Result<(), Error> {
        for id in ids {
            self.delete(&id).await?;
        }
        Ok(())
    }
}

fn containers(layout: &Layout, instance: &str, exe: PathBuf) -> Result<container::Runtime, Error> {
    container::Runtime::new(container::Config {
        exe,
        root: layout.containers(),
        instance: instance.to_owned(),
        cgroup_parent: format!("trimtab-{instance}"),
    })
    .map_err(failed("opening the containers"))
}

/// Stops and removes every container of an instance, and its network. For an instance whose control process has stopped.
pub(crate) async fn teardown(layout: &Layout, instance: &str, exe: PathBuf) -> Result<(), Error> {
    let containers = containers(layout, instance, exe)?;
    let all = containers.list().await.map_err(failed("listing containers"))?;
    join_all(all.iter().filter(|info| info.exit.is_none()).map(|info| stop(&containers, info))).await;
    containers.purge().await.map_err(failed("removing the containers"))?;
    network::remove(layout, instance).await?;
    // Volumes in memory; what is on disk stays, as all data does.
    crate::layout::unmount_below(&layout.pods())
}

/// SIGTERM, the grace it was promised, SIGKILL.
async fn stop(containers: &container::Runtime, info: &Info) {
    let label = |name: &str| info.labels.get(name).map(String::as_str);
    let grace = label(label::GRACE_SECONDS).and_then(|s| s.parse().ok()).unwrap_or(DEFAULT_GRACE_SECONDS);
    let polite = async {
        containers.kill(&info.id, signal_number(label(label::STOP_SIGNAL))).await?;
        containers.wait(&info.id).await
    };
    if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(grace), polite).await {
        tracing::warn!(container = info.id, %error, "not stopped politely");
    }
}

fn failed(what: &'static str) -> impl FnOnce(container::Error) -> Error {
    move |source| Error::Container { what: what.to_owned(), source }
}

#[async_trait]
impl Runtime for Real {
    async fn image(&self, reference: &str, pull: Pull, credentials: &[Credentials]) -> Result<Image, ImageError> {
        self.images.ensure(reference, pull, credentials).await
    }

    async fn sandbox(&self, pod: &Pod, volumes: &BTreeMap<String, Volume>) -> Result<IpAddr, Error> {
        let (layout, owned, volumes) = (self.layout.clone(), pod.clone(), volumes.clone());
        blocking(move || {
            make_directory(&layout.pod(&owned))?;
            volume_files::materialise(&layout, &owned, &volumes)
        })
        .await?;
        let address = match pod.host_network() {
            true => self.host_address(),
            false => IpAddr::V4(self.network.attach(pod.uid_str()).await?),
        };
        etc::write(&self.layout, pod, address, self.name_server)?;
        Ok(address)
    }

    async fn remove_sandbox(&self, pod: &Pod) -> Result<(), Error> {
        self.delete_all(self.of_pod(pod.uid_str())?).await?;
        self.network.detach(pod.uid_str()).await?;
        let (layout, pod) = (self.layout.clone(), pod.clone());
        blocking(move || layout.remove_pod(&pod)).await
    }

    async fn start(&self, launch: Launch) -> Result<Started, Error> {
        let (pod, name) = (launch.pod.clone(), launch.container.name.clone());
        let image: FromImage = self.images.unpacked(&launch.image.digest).await?;
        let spec = spec::build(&self.layout, &launch, image, self.memory_bytes)?;
        // Anybody in the container may write why it ends.
        write_private(&self.layout.termination_message(&pod, &name, launch.attempt), b"", 0o666)?;
        // Of the logs, the present and the previous one are kept.
        if let Some(old) = launch.attempt.checked_sub(2) {
            self.layout.remove_attempt(&pod, &name, old);
        }
        // A start that a crash cut short may have left its directory.
        let id = container_id(&pod, &name, launch.attempt);
        self.containers.delete(&id).await.map_err(failed("removing the remains of an earlier start"))?;
        let _turn = self.starts.acquire().await.map_err(|_| Error::Invalid("the node is stopping".into()))?;
        let started = self.containers.start(&spec).await.map_err(failed("failed to start container"))?;
        for warning in &started.warnings {
            tracing::info!(container = id, warning, "started with less than asked for");
        }
        Ok(Started { id, at: started.started_at })
    }

    async fn wait(&self, id: &str) -> Result<Exit, Error> {
        let exit = self.containers.wait(id).await.map_err(failed("waiting for a container"))?;
        let container::Exit { code, signal, oom, lost, finished_at } = exit;
        Ok(Exit { code, signal, oom, lost, finished_at })
    }

    async fn stop(&self, id: &str) -> Result<(), Error> {
        let info = self.containers.state(id).await.map_err(failed("looking for a container"))?;
        let signal = info.as_ref().and_then(|i| i.labels.get(label::STOP_SIGNAL)).map(String::as_str);
        self.kill(id, signal_number(signal)).await
    }

    async fn kill(&self, id: &str, signal: i32) -> Result<(), Error> {
        match self.containers.kill(id, signal).await {
            Err(container::Error::NotFound { .. }) => Ok(()),
            other => other.map_err(failed("signalling a container")),
        }
    }

    async fn delete(&self, id: &str) -> Result<(), Error> {
        self.containers.delete(id).await.map_err(failed("deleting a container"))
    }

    async fn exec(&self, id: &str, command: &[String], limit: Duration) -> Result<Outcome, Error> {
        let spec = ExecSpec { timeout: limit, ..ExecSpec::new(command) };
        let result = self.containers.exec(id, spec).await.map_err(failed("executing a command"))?;
        let output = [result.stdout, result.stderr].concat();
        Ok(Outcome { code: result.code, output: String::from_utf8_lossy(&output).into_owned() })
    }

    async fn recover(&self, pod: &Pod) -> Result<Recovered, Error> {
        let address = match pod.host_network() {
            true => self.layout.etc(pod, "hosts").exists().then(|| self.host_address()),
            false => self.network.find(pod.uid_str()).await.map(IpAddr::V4),
        };
        let mut containers = Vec::new();
        for id in self.of_pod(pod.uid_str())? {
            let info = self.containers.state(&id).await.map_err(failed("looking for a container"))?;
            containers.extend(info.and_then(found_container));
        }
        Ok(Recovered { address, containers })
    }

    async fn retain(&self, uids: &HashSet<String>) -> Result<(), Error> {
        let all = self.containers.list().await.map_err(failed("listing containers"))?;
        let of_others = |info: &Info| info.labels.get(label::POD_UID).is_none_or(|uid| !uids.contains(uid));
        self.delete_all(all.into_iter().filter(of_others).map(|info| info.id)).await?;
        self.network.retain(uids).await?;
        let (layout, uids) = (self.layout.clone(), uids.clone());
        blocking(move || layout.retain_pods(&uids)).await
    }
}

fn found_container(info: Info) -> Option<Found> {
    let label = |name: &str| info.labels.get(name).cloned();
    Some(Found {
        name: label(label::CONTAINER)?,
        attempt: label(label::ATTEMPT)?.parse().ok()?,
        image_id: label(label::IMAGE_ID)?,
        started_at: info.started_at,
        id: info.id,
    })
}
