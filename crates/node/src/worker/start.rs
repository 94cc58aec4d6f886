//! Preparing and starting: a Pod's sandbox, then its containers one by one.

use crate::context::Context;
use crate::downward::Facts;
use crate::environment;
use crate::error::Error;
use crate::events::Kind;
use crate::objects::{self, Lookup, Missing, Reference};
use crate::pod::PodExt;
use crate::pod::machine::{News, NotStarted};
use crate::runtime::{Credentials, Image, ImageError, Launch, Pull};
use crate::worker::{Post, hook};
use crate::{credentials, volumes};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The removal of a sandbox is tried again after this, and goes on being tried: nothing of a Pod may stay.
const REMOVE_AGAIN: Duration = Duration::from_secs(2);

/// Makes the volumes and the network of a Pod; its address.
pub(super) async fn sandbox(context: &Context, pod: &Arc<Pod>, halt: &CancellationToken) -> Result<IpAddr, String> {
    let work = async {
        let volumes = loop {
            let lookup = fetch(context, pod, volumes::needs(pod)).await?;
            match volumes::resolve(pod, &context.facts, &lookup) {
                Ok(volumes) => break volumes,
                Err(missing) => {
                    context.events.say(pod, None, Kind::Warning, "FailedMount", missing.message.clone());
                    until_changed(context, pod, &missing, &lookup).await;
                }
            }
        };
        Ok::<_, Error>(volumes)
    };
    let volumes = tokio::select! {
        () = halt.cancelled() => return Err("the Pod is being stopped".into()),
        volumes = work => volumes,
    };
    let made = match volumes {
        Ok(volumes) => context.runtime.sandbox(pod, &volumes).await,
        Err(error) => Err(error),
    };
    made.map_err(|error| {
        let message = format!("Failed to create pod sandbox: {}", error.line());
        context.events.say(pod, None, Kind::Warning, "FailedCreatePodSandBox", message.clone());
        message
    })
}

/// Removes what [`sandbox`] made. Does not give up.
pub(super) async fn remove_sandbox(context: &Context, pod: &Pod) {
    while let Err(error) = context.runtime.remove_sandbox(pod).await {
        let message = format!("error killing pod: {}", error.line());
        tracing::warn!(pod = pod.name_any(), message);
        context.events.say(pod, None, Kind::Warning, "FailedKillPod", message);
        tokio::time::sleep(REMOVE_AGAIN).await;
    }
}

/// The start of one container.
pub(super) struct Start {
    pub context: Arc<Context>,
    pub pod: Arc<Pod>,
    pub container: Container,
    pub index: usize,
    pub attempt: u32,
    pub address: Option<IpAddr>,
    pub post: Post,
    pub halt: CancellationToken,
}

impl Start {
    pub(super) async fn run(self) {
        let prepared = tokio::select! {
            // Only preparations are cut short: once the runtime is asked, its answer is awaited.
            () = self.halt.cancelled() => Err(NotStarted::Cancelled),
            prepared = self.prepare() => prepared,
        };
        let outcome = match prepared {
            Ok(launch) => self.launch(launch).await,
            Err(why) => Err(why),
        };
        let news = match outcome {
            Ok(news) => news,
            Err(why) => News::NotStarted { index: self.index, why },
        };
        self.post.send(news).await;
    }

    async fn prepare(&self) -> Result<Launch, NotStarted> {
        let Some(address) = self.address else { return Err(NotStarted::Cancelled) };
        let image = self.image().await?;
        let environment = self.environment(address).await?;
        let (pod, container) = (self.pod.clone(), self.container.clone());
        Ok(Launch { pod, container, attempt: self.attempt, image, environment })
    }

    async fn launch(&self, launch: Launch) -> Result<News, NotStarted> {
        let name = &self.container.name;
        let image_id = launch.image.id.clone();
        match self.context.runtime.start(launch).await {
            Ok(started) => {
                self.say(Kind::Normal, "Created", format!("Created container: {name}"));
                self.say(Kind::Normal, "Started", format!("Started container {name}"));
                self.post_start(&started.id).await;
                Ok(News::Started { index: self.index, id: started.id, image_id, at: started.at })
            }
            Err(error) => {
                let message = error.line();
                self.say(Kind::Warning, "Failed", format!("Error: {message}"));
                Err(NotStarted::Run { message })
            }
        }
    }

    /// A failed hook ends the container, as everywhere; its policy decides what follows.
    async fn post_start(&self, id: &str) {
        let Some(handler) = self.container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else { return };
        if let Err(message) = hook::run(&self.context, handler, &self.container, id, self.address).await {
            self.say(Kind::Warning, "FailedPostStartHook", format!("PostStartHook failed: {message}"));
            if let Err(error) = self.context.runtime.kill(id, 9).await {
                tracing::warn!(container = id, error = error.line(), "not killed after its hook failed");
            }
        }
    }

    async fn image(&self) -> Result<Image, NotStarted> {
        let reference = self.container.image.clone().unwrap_or_default();
        let pull = match self.container.image_pull_policy.as_deref() {
            Some("Always") => Pull::Always,
            Some("Never") => Pull::Never,
            _ => Pull::IfNotPresent,
        };
        let credentials = self.credentials().await;
        match self.context.runtime.image(&reference, pull, &credentials).await {
            Ok(image) => {
                self.say(
                    Kind::Normal,
                    "Pulled",
                    match image.fetched {
                        Some(took) => format!("Successfully pulled image {reference:?} in {took:.0?}"),
                        None => format!("Container image {reference:?} already present on machine"),
                    },
                );
                Ok(image)
            }
            Err(ImageError { reason, message }) => {
                self.say(Kind::Warning, "Failed", format!("Failed to pull image {reference:?}: {message}"));
                self.say(Kind::Warning, "Failed", format!("Error: {reason}"));
                Err(NotStarted::Image { reason, message })
            }
        }
    }

    /// Of the Pod's pull secrets; one that is missing or damaged is passed over, as in kubelet: the pull will say.
    async fn credentials(&self) -> Vec<Credentials> {
        let needs = credentials::needs(&self.pod);
        if needs.is_empty() {
            return Vec::new();
        }
        match fetch(&self.context, &self.pod, needs).await {
            Ok(lookup) => credentials::resolve(&lookup),
            Err(error) => {
                tracing::warn!(pod = self.pod.name_any(), error = error.line(), "pull secrets could not be read");
                Vec::new()
            }
        }
    }

    async fn environment(&self, address: IpAddr) -> Result<Vec<(String, String)>, NotStarted> {
        let facts = Facts { pod_ip: address.to_string(), ..self.context.facts.clone() };
        loop {
            let needs = environment::needs(&self.container);
            let lookup = match fetch(&self.context, &self.pod, needs).await {
                Ok(lookup) => lookup,
                Err(error) => return Err(NotStarted::Run { message: error.line() }),
            };
            match environment::resolve(&self.pod, &self.container, &facts, &lookup) {
                Ok(environment) => return Ok(environment),
                Err(missing) => {
                    let (message, index) = (missing.message.clone(), self.index);
                    self.say(Kind::Warning, "Failed", format!("Error: {message}"));
                    self.post.send(News::Waits { index, reason: "CreateContainerConfigError", message }).await;
                    until_changed(&self.context, &self.pod, &missing, &lookup).await;
                }
            }
        }
    }

    fn say(&self, kind: Kind, reason: &'static str, message: String) {
        self.context.events.say(&self.pod, Some(&self.container.name), kind, reason, message);
    }
}

async fn fetch(context: &Context, pod: &Pod, needs: BTreeSet<Reference>) -> Result<Lookup, Error> {
    objects::fetch(&context.client, pod.namespace_str(), needs).await
}

/// Until what was missing may be there; for ever if nothing can help, which ends with the Pod.
async fn until_changed(context: &Context, pod: &Pod, missing: &Missing, lookup: &Lookup) {
    match &missing.of {
        Some(reference) => objects::changed(&context.client, pod.namespace_str(), reference, lookup).await,
        None => std::future::pending().await,
    }
}
