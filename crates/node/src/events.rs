//! `core/v1` Events about Pods, with kubelet's reasons; the same event again only raises its count.

use crate::pod::PodExt;
use crate::pod::status::seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use std::collections::HashMap;
use tokio::sync::mpsc;

/// Events that wait to be written. Beyond it they are dropped: a status says the same.
const QUEUE: usize = 256;
/// Events that are remembered for counting.
const REMEMBERED: usize = 1024;

/// Weight of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Normal,
    Warning,
}

/// Takes events without ever making the caller wait.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Said>,
}

struct Said {
    about: ObjectReference,
    kind: Kind,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// What makes two events the same.
type Key = (String, String, Kind, &'static str, String);

impl Recorder {
    /// A recorder, and the work to spawn for it. The work ends when the last recorder is dropped.
    pub(crate) fn new(client: Client, node: String) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, mut said) = mpsc::channel(QUEUE);
        let work = async move {
            let mut known = Known::default();
            while let Some(event) = said.recv().await {
                known.write(&client, &node, event).await;
            }
        };
        (Self { queue }, work)
    }

    /// Says something about a Pod, or about one of its containers.
    pub(crate) fn say(&self, pod: &Pod, container: Option<&str>, kind: Kind, reason: &'static str, message: String) {
        let init = pod.spec_ref().init_containers.iter().flatten().any(|c| Some(c.name.as_str()) == container);
        let list = if init { "initContainers" } else { "containers" };
        let about = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(pod.namespace_str().to_owned()),
            name: Some(pod.name_any()),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path: container.map(|name| format!("spec.{list}{{{name}}}")),
        };
        if self.queue.try_send(Said { about, kind, reason, message, at: Timestamp::now() }).is_err() {
            tracing::warn!(reason, "an event was dropped: too many wait to be written");
        }
    }
}

/// Names and counts of the events written so far.
#[derive(Default)]
struct Known {
    written: HashMap<Key, (String, i32)>,
}

impl Known {
    async fn write(&mut self, client: &Client, node: &str, said: Said) {
        let namespace = said.about.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let key = (
            said.about.uid.clone().unwrap_or_default(),
            said.about.field_path.clone().unwrap_or_default(),
            said.kind,
            said.reason,
            said.message.clone(),
        );
        if let Some((name, count)) = self.written.get_mut(&key) {
            *count += 1;
            let patch = json!({ "count": *count, "lastTimestamp": seconds(said.at) });
            match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => return,
                // It expired: it is written anew below.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return warn(said.reason, &error),
            }
        }
        let event = event(node, said);
        if self.written.len() >= REMEMBERED {
            self.written.clear();
        }
        let name = event.name_any();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                self.written.insert(key, (name, 1));
            }
            Err(error) => warn(key.3, &error),
        }
    }
}

/// An event that cannot be written is lost; what it says also stands in the Pod's status.
fn warn(reason: &str, error: &kube::Error) {
    tracing::warn!(reason, %error, "an event could not be written");
}

fn event(node: &str, said: Said) -> Event {
    let pod = said.about.name.as_deref().unwrap_or_default();
    let at = Some(seconds(said.at));
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{pod}.{:x}", said.at.as_nanosecond())),
            namespace: said.about.namespace.clone(),
            ..ObjectMeta::default()
        },
        type_: Some(format!("{:?}", said.kind)),
        reason: Some(said.reason.to_owned()),
        message: Some(said.message),
        involved_object: said.about,
        source: Some(EventSource { component: Some("kubelet".into()), host: Some(node.to_owned()) }),
        reporting_component: Some("kubelet".into()),
        reporting_instance: Some(node.to_owned()),
        first_timestamp: at.clone(),
        last_timestamp: at,
        count: Some(1),
        ..Event::default()
    }
}
