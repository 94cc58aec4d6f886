//! What all Pod workers of a node share.

use crate::downward::Facts;
use crate::events::Recorder;
use crate::kubelet::Shown;
use crate::layout::Layout;
use crate::logs;
use crate::pod::PodExt;
use crate::runtime::Runtime;
use crate::services::Services;
use futures::StreamExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, ResourceExt};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Awaited when a Pod is being deleted, after its endpoints are gone and before its containers get SIGTERM: for a load
/// balancer that must acknowledge its new routes, and whose requests must be answered, first. It is given two thirds of
/// the Pod's grace.
pub type BeforeStop = Arc<dyn Fn(Arc<Pod>) -> BoxFuture<'static, ()> + Send + Sync>;

/// The longest that a deletion waits for the endpoints.
const ENDPOINTS_LIMIT: Duration = Duration::from_secs(2);
/// As kubelet.
const MESSAGE_BYTES: u64 = 4096;
const MESSAGE_LOG_LINES: usize = 80;
const MESSAGE_LOG_BYTES: usize = 2048;

pub(crate) struct Context {
    pub client: Client,
    pub runtime: Arc<dyn Runtime>,
    pub events: Recorder,
    pub layout: Layout,
    /// Of the node; a Pod's own address is added where it is known.
    pub facts: Facts,
    pub shown: Arc<Shown>,
    pub before_stop: Option<BeforeStop>,
    /// Of a node that runs containers.
    pub services: Option<Arc<Services>>,
}

impl Context {
    /// Until nobody sends traffic to a Pod that is not ready any more. Whoever asked knows how long that may take.
    pub(crate) async fn drain(&self, pod: &Arc<Pod>) {
        if tokio::time::timeout(ENDPOINTS_LIMIT, self.leave_endpoints(pod)).await.is_err() {
            tracing::warn!(pod = pod.name_any(), "endpoints still name a Pod that is being deleted");
        }
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()?.parse().ok());
        if let (Some(services), Some(address)) = (&self.services, address) {
            services.leave(address).await;
        }
        if let Some(hook) = &self.before_stop {
            hook(pod.clone()).await;
        }
    }

    /// Until no EndpointSlice calls the Pod ready.
    async fn leave_endpoints(&self, pod: &Pod) {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), pod.namespace_str());
        let mut changes = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        let (mut serving, mut complete) = (HashSet::new(), false);
        while let Some(change) = changes.next().await {
            match change {
                Ok(watcher::Event::Init) => serving.clear(),
                Ok(watcher::Event::Apply(slice) | watcher::Event::InitApply(slice)) => {
                    match names_ready(&slice, pod.uid_str()) {
                        true => serving.insert(slice.name_any()),
                        false => serving.remove(&slice.name_any()),
                    };
                }
                Ok(watcher::Event::Delete(slice)) => {
                    serving.remove(&slice.name_any());
                }
                Ok(watcher::Event::InitDone) => complete = true,
                Err(_) => continue,
            }
            if complete && serving.is_empty() {
                return;
            }
        }
    }
}

/// Where a container leaves what it has to say when it ends.
pub(crate) struct LastWords {
    message: PathBuf,
    /// Its log, if that speaks for it when it says nothing else.
    log: Option<PathBuf>,
}

impl LastWords {
    pub(crate) fn of(layout: &Layout, pod: &Pod, container: &Container, attempt: u32) -> Self {
        let fall_back = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        Self {
            message: layout.termination_message(pod, &container.name, attempt),
            log: fall_back.then(|| layout.log(pod, &container.name, attempt)),
        }
    }

    /// What the container left to say why it ended.
    pub(crate) async fn read(&self, failed: bool) -> String {
        let mut message = Vec::new();
        if let Ok(file) = tokio::fs::File::open(&self.message).await {
            // What cannot be read is shown as empty: it is the container's to write.
            let _ = file.take(MESSAGE_BYTES).read_to_end(&mut message).await;
        }
        match self.log.as_ref().filter(|_| message.is_empty() && failed) {
            Some(log) => logs::tail_text(log, MESSAGE_LOG_LINES, MESSAGE_LOG_BYTES).await,
            None => String::from_utf8_lossy(&message).into_owned(),
        }
    }
}

fn names_ready(slice: &EndpointSlice, uid: &str) -> bool {
    slice.endpoints.iter().any(|endpoint| {
        let ours = endpoint.target_ref.as_ref().and_then(|t| t.uid.as_deref()) == Some(uid);
        ours && endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
    })
}
