//! Puts Pods on the one node, or says why they cannot be there.

mod fit;

pub(crate) use fit::Requests;

use crate::cache::Change;
use crate::caches::Caches;
use crate::controller;
use crate::error::{Error, WriteResult};
use crate::objects::{Key, is_active, pod_condition, uid, whole_seconds};
use crate::queue::{Next, Queue};
use fit::Used;
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
    /// What Pods ask for that are put on the node though the cache does not show it yet, by their uids.
    pub(crate) assumed: Mutex<HashMap<String, Requests>>,
}

impl Scheduler {
    pub(crate) fn on_pod(&self, seen: &Change<'_, Pod>) {
        if seen.new.is_some_and(|pod| pod.facts.waiting) {
            self.queue.add(seen.key.clone());
        } else if let Some(pod) = seen.sides().next() {
            self.assumed().remove(&*pod.uid);
        }
        let frees_room = seen.old.is_some_and(|old| !old.facts.waiting && !old.facts.ended)
            && seen.new.is_none_or(|new| new.facts.ended);
        if frees_room {
            self.add_waiting();
        }
    }

    pub(crate) fn on_node(&self, seen: &Change<'_, Node>) {
        let is_same = seen.old.zip(seen.new).is_some_and(|(old, new)| old.is_same(new));
        if !is_same {
            self.add_waiting();
        }
    }

    fn add_waiting(&self) {
        let mut waiting = Vec::new();
        self.caches.pods.each(|namespace, name, pod| {
            if pod.facts.waiting {
                waiting.push(Key::new(namespace, name));
            }
        });
        self.queue.add_all(waiting);
    }

    fn assumed(&self) -> MutexGuard<'_, HashMap<String, Requests>> {
        self.assumed.lock().expect("no panic happens while the assumed Pods are locked")
    }

    /// Assumes the Pod on the node if it fits there, so that the next one finds the room taken.
    fn claim(&self, pod: &Pod) -> Result<(), String> {
        let Some(node) = self.caches.nodes.get(&Key::new("", &self.node_name)) else {
            return Err("no nodes available to schedule pods".into());
        };
        let Some(spec) = &pod.spec else { return Err("the Pod has no spec".into()) };
        let mut assumed = self.assumed();
        let mut used = Used::default();
        self.caches.pods.each(|_, _, other| {
            if !other.facts.waiting && !other.facts.ended && !assumed.contains_key(&*other.uid) {
                used.add(&other.facts.requests);
            }
        });
        assumed.iter().filter(|(other, _)| *other != uid(pod)).for_each(|(_, requests)| used.add(requests));
        let misfits = fit::misfits(spec, &node, &used);
        if !misfits.is_empty() {
            return Err(format!("0/1 nodes are available: {}.", misfits.join(", ")));
        }
        assumed.insert(uid(pod).to_owned(), Requests::of(spec));
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
pub(crate) fn is_waiting(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    is_active(pod)
        && spec.node_name.as_deref().unwrap_or_default().is_empty()
        && spec.scheduling_gates.as_ref().is_none_or(|gates| gates.is_empty())
        && matches!(spec.scheduler_name.as_deref(), None | Some("" | NAME))
}
