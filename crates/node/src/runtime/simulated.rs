//! Pods without containers: everything starts at once and runs until it is stopped; what belongs to a Job ends at once,
//! with the code in its variable `SIMULATED_EXIT_CODE`, or 0.

use super::{Credentials, Exit, Found, Image, ImageError, Launch, Outcome, Pull, Recovered, Runtime, Started};
use crate::error::Error;
use crate::layout::Layout;
use crate::pod::PodExt;
use crate::pod::status::ID_SCHEME;
use crate::volumes::Volume;
use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;

/// Variable of a Job's container: what it ends with.
const EXIT_CODE: &str = "SIMULATED_EXIT_CODE";

/// Containers that are only remembered.
pub(crate) struct Simulated {
    layout: Layout,
    reason: String,
    remembered: Mutex<HashMap<Box<str>, Remembered>>,
}

/// A container that is only remembered.
enum Remembered {
    /// Who waits for its end.
    Running(Vec<oneshot::Sender<Exit>>),
    Ended(Exit),
}

impl Simulated {
    pub(crate) fn new(layout: Layout, reason: String) -> Self {
        Self { layout, reason, remembered: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Remembered>> {
        self.remembered.lock().expect("no holder panics")
    }

    fn remember(&self, id: &str) {
        self.lock().entry(id.into()).or_insert_with(|| Remembered::Running(Vec::new()));
    }

    fn end(&self, id: &str, code: i32) {
        let exit = Exit { code, signal: None, oom: false, lost: false, finished_at: Timestamp::now() };
        if let Some(container) = self.lock().get_mut(id)
            && let Remembered::Running(waiting) = container
        {
            for waiting in waiting.drain(..) {
                // Whoever has given up does not mind.
                let _ = waiting.send(exit.clone());
            }
            *container = Remembered::Ended(exit);
        }
    }
}

#[async_trait]
impl Runtime for Simulated {
    async fn image(&self, reference: &str, _: Pull, _: &[Credentials]) -> Result<Image, ImageError> {
        let digest = reference.split_once('@').map_or("sha256:simulated", |(_, digest)| digest).to_owned();
        let repository = reference.split('@').next().unwrap_or(reference);
        Ok(Image { id: format!("{repository}@{digest}"), digest, fetched: None, stop_signal: None })
    }

    /// An address of the loopback range: whoever tries it stays on this machine, and is refused.
    async fn sandbox(&self, pod: &Pod, _: &BTreeMap<String, Volume>) -> Result<IpAddr, Error> {
        let hash = pod.uid_str().bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let [_, b, c, d] = hash.to_be_bytes();
        Ok(IpAddr::V4(Ipv4Addr::new(127, b | 64, c, d.clamp(1, 254))))
    }

    fn is_simulated(&self) -> bool {
        true
    }

    async fn remove_sandbox(&self, pod: &Pod) -> Result<(), Error> {
        self.layout.remove_pod(pod)
    }

    async fn start(&self, launch: Launch) -> Result<Started, Error> {
        let id = format!("simulated-{}-{}-{}", launch.pod.uid_str(), launch.container.name, launch.attempt);
        let at = Timestamp::now();
        let log = self.layout.log(&launch.pod, &launch.container.name, launch.attempt);
        let line = format!("{at} stdout F simulated: no container runs here ({})\n", self.reason.replace('\n', " "));
        self.layout.write_log(&log, &line)?;
        self.remember(&id);
        if launch.pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "Job") {
            let code = launch.environment.iter().find(|(name, _)| name == EXIT_CODE);
            self.end(&id, code.and_then(|(_, code)| code.parse().ok()).unwrap_or(0));
        }
        Ok(Started { id, at })
    }

    async fn wait(&self, id: &str) -> Result<Exit, Error> {
        let gone = || Error::NoContainer { id: id.to_owned() };
        let ended = match self.lock().get_mut(id).ok_or_else(gone)? {
            Remembered::Ended(exit) => return Ok(exit.clone()),
            Remembered::Running(waiting) => {
                let (sender, ended) = oneshot::channel();
                waiting.retain(|other| !other.is_closed());
                waiting.push(sender);
                ended
            }
        };
        ended.await.map_err(|_| gone())
    }

    async fn kill(&self, id: &str, signal: i32) -> Result<(), Error> {
        self.end(id, if signal == 9 { 137 } else { 0 });
        Ok(())
    }

    async fn stop(&self, id: &str) -> Result<(), Error> {
        self.kill(id, 15).await
    }

    async fn delete(&self, id: &str) -> Result<(), Error> {
        self.lock().remove(id);
        Ok(())
    }

    async fn exec(&self, id: &str, _: &[String], _: Duration) -> Result<Outcome, Error> {
        if !self.lock().contains_key(id) {
            return Err(Error::NoContainer { id: id.to_owned() });
        }
        Ok(Outcome { code: 0, output: String::new() })
    }

    /// What the API says runs, runs.
    async fn recover(&self, pod: &Pod) -> Result<Recovered, Error> {
        let Some(status) = &pod.status else { return Ok(Recovered::default()) };
        let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        let containers = all
            .filter_map(|c| {
                let running = c.state.as_ref()?.running.as_ref()?;
                Some(Found {
                    id: c.container_id.as_deref()?.strip_prefix(ID_SCHEME)?.to_owned(),
                    name: c.name.clone(),
                    attempt: u32::try_from(c.restart_count).unwrap_or(0),
                    image_id: c.image_id.clone(),
                    started_at: running.started_at.as_ref()?.0,
                })
            })
            .inspect(|found| self.remember(&found.id))
            .collect();
        Ok(Recovered { address: status.pod_ip.as_ref().and_then(|ip| ip.parse().ok()), containers })
    }

    async fn retain(&self, uids: &HashSet<String>) -> Result<(), Error> {
        self.layout.retain_pods(uids)
    }
}
