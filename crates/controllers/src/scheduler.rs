//! Puts Pods on the one node, or says why they cannot be there.

mod fit;

use crate::caches::Caches;
use crate::controller;
use crate::error::{Error, WriteResult};
use crate::informer::Change;
use crate::objects::{Key, is_active, is_terminal, pod_condition, uid, whole_seconds};
use crate::queue::{Next, Queue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// The scheduler that a Pod asks for unless it names another.
const NAME: &str = "default-scheduler";

pub(crate) struct Scheduler {
    pub(crate) client: Client,
    pub(crate) caches: Arc<Caches>,
    pub(crate) queue: Queue,
    pub(crate) node_name: String,
    /// Pods that are put on the node though the cache does not show it yet, by uid.
    pub(crate) assumed: Mutex<HashMap<String, Arc<Pod>>>,
}

impl Scheduler {
    pub(crate) fn on_pod(&self, seen: &Change<'_, Pod>) {
        if let Some(pod) = seen.new.filter(|pod| is_waiting(pod)) {
            self.queue.add(Key::of(pod));
        } else if let Some(pod) = seen.sides().next() {
            self.assumed().remove(uid(pod));
        }
        let frees_room =
            seen.old.is_some_and(|old| !is_waiting(old) && !is_terminal(old)) && seen.new.is_none_or(is_terminal);
        if frees_room {
            self.add_waiting();
        }
    }

    pub(crate) fn on_node(&self, seen: &Change<'_, Node>) {
        // Heartbeats and the like do not make room.
        let matters = |node: &Node| {
            (node.metadata.labels.clone(), node.spec.clone(), node.status.as_ref().map(|s| s.allocatable.clone()))
        };
        if seen.old.map(matters) != seen.new.map(matters) {
            self.add_waiting();
        }
    }

    fn add_waiting(&self) {
        let pods = self.caches.pods.all();
        self.queue.add_all(pods.iter().filter(|pod| is_waiting(pod)).map(|pod| Key::of(&**pod)));
    }

    fn assumed(&self) -> MutexGuard<'_, HashMap<String, Arc<Pod>>> {
        self.assumed.lock().expect("no panic happens while the assumed Pods are locked")
    }

    /// Assumes the Pod on the node if it fits there, so that the next one finds the room taken.
    fn claim(&self, pod: &Arc<Pod>) -> Result<(), String> {
        let Some(node) = self.caches.nodes.get(&Key::new("", &self.node_name)) else {
            return Err("no nodes available to schedule pods".into());
        };
        let Some(spec) = &pod.spec else { return Err("the Pod has no spec".into()) };
        let mut assumed = self.assumed();
        let mut others = self.caches.pods.all();
        others.retain(|other| !is_waiting(other) && !is_terminal(other) && !assumed.contains_key(uid(&**other)));
        others.extend(assumed.values().filter(|other| uid(&***other) != uid(&**pod)).cloned());
        let misfits = fit::misfits(spec, &node, &others);
        if !misfits.is_empty() {
            return Err(format!("0/1 nodes are available: {}.", misfits.join(", ")));
        }
        assumed.insert(uid(&**pod).to_owned(), pod.clone());
        Ok(())
    }

    async fn bind(&self, key: &Key, pod: &Pod) -> Result<(), Error> {
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                uid: pod.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".into()),
                name: Some(self.node_name.clone()),
                ..ObjectReference::default()
            },
        };
        let bound: kube::Result<serde_json::Value> =
            self.pods(key).create_subresource("binding", &key.name, &PostParams::default(), &binding).await;
        if bound.is_err() {
            self.assumed().remove(uid(pod));
        }
        bound.unless_gone().during("binding Pod", key).map(drop)
    }

    async fn refuse(&self, key: &Key, pod: &Pod, message: String) -> Result<(), Error> {
        let told = pod_condition(pod, "PodScheduled");
        if told.is_some_and(|condition| condition.status == "False" && condition.message.as_deref() == Some(&message)) {
            return Ok(());
        }
        let changed = told.filter(|condition| condition.status == "False").and_then(|c| c.last_transition_time.clone());
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastTransitionTime": changed.map_or(whole_seconds(Timestamp::now()), |time| time.0).to_string(),
        });
        let patch =
            Patch::Strategic(json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}}));
        let patched = self.pods(key).patch_status(&key.name, &PatchParams::default(), &patch).await;
        patched.unless_gone().during("writing why nothing runs Pod", key).map(drop)
    }

    fn pods(&self, key: &Key) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }
}

impl controller::Reconcile for Scheduler {
    const NAME: &'static str = "scheduler";

    fn queue(&self) -> &Queue {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(pod) = self.caches.pods.get(key).filter(|pod| is_waiting(pod)) else { return Ok(Next::Wait) };
        match self.claim(&pod) {
            Ok(()) => self.bind(key, &pod).await?,
            Err(message) => self.refuse(key, &pod, message).await?,
        }
        Ok(Next::Wait)
    }
}

/// True if the Pod is to be put on a node by this scheduler.
fn is_waiting(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    is_active(pod)
        && spec.node_name.as_deref().unwrap_or_default().is_empty()
        && spec.scheduling_gates.as_ref().is_none_or(|gates| gates.is_empty())
        && matches!(spec.scheduler_name.as_deref(), None | Some("" | NAME))
}
