//! ReplicaSets: as many Pods of one template as wanted.

pub(crate) mod expectations;
mod replicas;

use crate::cache::Change;
use crate::caches::Caches;
use crate::error::{self, Error, WriteResult};
use crate::held::{Controller, Kept, Kind};
use crate::objects::{Key, controller_of, is_deleting, name, selector, uid};
use crate::queue::{Next, Queue};
use crate::{claims, controller};
use expectations::{Expectations, PATIENCE};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Client};
use replicas::{Difference, Failure};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct ReplicaSets {
    pub(crate) client: Client,
    pub(crate) caches: Arc<Caches>,
    pub(crate) queue: Queue,
    pub(crate) expectations: Expectations,
}

impl ReplicaSets {
    pub(crate) fn new(client: Client, caches: Arc<Caches>) -> Self {
        Self { client, caches, queue: Queue::default(), expectations: Expectations::default() }
    }

    pub(crate) fn on_replica_set(&self, seen: &Change<'_, ReplicaSet>) {
        if let (Some(old), new) = (seen.old, seen.new)
            && new.is_none_or(|new| new.uid != old.uid)
        {
            self.expectations.forget(&old.uid);
        }
        self.queue.add(seen.key.clone());
    }

    pub(crate) fn on_pod(&self, seen: &Change<'_, Pod>) {
        for pod in seen.sides() {
            match &pod.controller {
                Some(owner) if owner.kind == Kind::ReplicaSet => {
                    if seen.new.is_none_or(|new| new.deleting) {
                        self.expectations.deleted(&owner.uid, &pod.uid);
                    }
                    if seen.old.is_none() {
                        self.expectations.created(&owner.uid);
                    }
                    self.queue.add(owner.key(&seen.key.namespace));
                }
                Some(_) => {}
                None => self.queue.add_all(self.who_selects(seen.key, pod)),
            }
        }
    }

    fn who_selects(&self, key: &Key, pod: &Kept<Pod>) -> Vec<Key> {
        let may = self.caches.replica_sets.select(&key.namespace, |set| pod.facts.labels.include(&set.facts));
        let of = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| selector(&spec.selector));
        let selects = |set: &ReplicaSet| of(set).is_some_and(|selector| pod.facts.labels.match_selector(&selector));
        may.iter().filter(|set| selects(set)).map(|set| Key::of(&**set)).collect()
    }

    fn pods(&self, key: &Key) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// Pods of all ReplicaSets of the same Deployment.
    fn related(&self, key: &Key, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let owner = controller_of(set).map(|owner| owner.uid.as_str());
        let is_sibling = |other: &Kept<ReplicaSet>| other.controller.as_ref().is_some_and(|o| Some(&*o.uid) == owner);
        let siblings = self.caches.replica_sets.keys(&key.namespace, is_sibling);
        let names: Vec<&str> = siblings.iter().map(|sibling| sibling.name.as_str()).chain([name(set)]).collect();
        let is_of_one = |owner: &Controller| owner.kind == Kind::ReplicaSet && names.contains(&&*owner.name);
        self.caches.pods.select(&key.namespace, |pod| pod.controller.as_ref().is_some_and(is_of_one))
    }

    async fn scale(&self, key: &Key, set: &ReplicaSet, pods: &[Arc<Pod>]) -> Result<(), Failure> {
        let now = Timestamp::now();
        let result = match replicas::difference(set, pods, || self.related(key, set), now) {
            Difference::None => return Ok(()),
            Difference::TooFew(count) => {
                self.expectations.expect(uid(set), count, Default::default(), now);
                self.create(key, set, count).await.map_err(|error| ("FailedCreate", error))
            }
            Difference::TooMany(spare) => {
                let uids = spare.iter().map(|pod| uid(&**pod).to_owned()).collect();
                self.expectations.expect(uid(set), 0, uids, now);
                self.delete(key, set, spare).await.map_err(|error| ("FailedDelete", error))
            }
        };
        result.map_err(|(reason, error)| Failure { reason, message: error::words(&error) })
    }

    /// In batches of 1, 2, 4, …: if the first is refused, the server is not asked for all the others too.
    async fn create(&self, key: &Key, set: &ReplicaSet, count: usize) -> Result<(), kube::Error> {
        let (api, pod, parameters) = (self.pods(key), pod_of(set), PostParams::default());
        let mut left = count;
        let mut batch = 1;
        while left > 0 {
            let size = batch.min(left);
            let results = join_all((0..size).map(|_| api.create(&parameters, &pod))).await;
            left -= size;
            batch *= 2;
            let failures: Vec<kube::Error> = results.into_iter().filter_map(Result::err).collect();
            failures.iter().for_each(|_| self.expectations.created(uid(set)));
            if let Some(error) = failures.into_iter().next() {
                (0..left).for_each(|_| self.expectations.created(uid(set)));
                return if error::namespace_is_ending(&error) { Ok(()) } else { Err(error) };
            }
        }
        Ok(())
    }

    async fn delete(&self, key: &Key, set: &ReplicaSet, spare: Vec<Arc<Pod>>) -> Result<(), kube::Error> {
        let api = self.pods(key);
        let results = join_all(spare.iter().map(|pod| async {
            let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
            let parameters = DeleteParams::default().preconditions(preconditions);
            let result = api.delete(name(&**pod), &parameters).await.unless_gone();
            if !matches!(result, Ok(Some(_))) {
                self.expectations.deleted(uid(set), uid(&**pod));
            }
            result
        }));
        results.await.into_iter().find_map(Result::err).map_or(Ok(()), Err)
    }

    async fn write_status(
        &self,
        key: &Key,
        set: &ReplicaSet,
        pods: &[Arc<Pod>],
        failure: Option<&Failure>,
    ) -> Result<(), Error> {
        let status = replicas::status(set, pods, failure, Timestamp::now());
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &key.namespace);
        let desired = ReplicaSet { status: Some(status), ..set.clone() };
        let written = sets.replace_status(&key.name, &PostParams::default(), &desired).await;
        written.unless_gone().during("writing the status of ReplicaSet", key).map(drop)
    }
}

impl controller::Reconcile for ReplicaSets {
    const NAME: &'static str = "ReplicaSet controller";

    fn queue(&self) -> &Queue {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(set) = self.caches.replica_sets.get(key) else { return Ok(Next::Wait) };
        let Some(selector) = set.spec.as_ref().and_then(|spec| selector(&spec.selector)) else {
            return Ok(Next::Wait);
        };
        // Before the Pods are read: what comes in between is then in the Pods, and at worst counted twice.
        let may_scale = self.expectations.are_met(uid(&*set), Timestamp::now()) && !is_deleting(&*set);
        let candidates = self.caches.pods.select(&key.namespace, |pod| {
            !pod.facts.ended && !pod.deleting && claims::is_candidate(&*set, &selector, pod)
        });
        let apis = (&Api::namespaced(self.client.clone(), &key.namespace), &self.pods(key));
        let pods = claims::settle(&*set, &selector, candidates, apis).await?;
        let scaled = if may_scale { self.scale(key, &set, &pods).await } else { Ok(()) };
        self.write_status(key, &set, &pods, scaled.as_ref().err()).await?;
        if scaled.is_err() {
            return Ok(Next::Retry);
        }
        let next = replicas::next_available(&set, &pods, Timestamp::now()).or((!may_scale).then_some(PATIENCE));
        Ok(next.map_or(Next::Wait, |after| Next::After(Duration::try_from(after).unwrap_or_default())))
    }
}

/// What a Pod of this ReplicaSet looks like before it has a name.
fn pod_of(set: &ReplicaSet) -> Pod {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", name(set))),
            namespace: set.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: claims::controller_reference(set).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}
