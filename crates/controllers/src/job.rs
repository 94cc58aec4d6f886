//! Jobs: Pods that run to their end, so often as wanted.
//!
//! A Pod of a Job carries a finalizer until its end is counted, so that none is lost, and none is counted twice:
//!
//! ```text
//! Pod ended ─▶ its uid in status.uncountedTerminatedPods ─▶ finalizer off ─▶ uid out, counter up
//! ```

mod decision;
mod pods;

use crate::cache::Change;
use crate::caches::Caches;
use crate::error::{self, Error, WriteResult};
use crate::held::Kind;
use crate::objects::{Key, name, selector, uid};
use crate::queue::{Next, Queue};
use crate::replica_set::expectations::{Expectations, PATIENCE};
use crate::{claims, controller};
use decision::Decision;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
pub(crate) use pods::has_finalizer;
use pods::pod_of;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) struct Jobs {
    pub(crate) client: Client,
    pub(crate) caches: Arc<Caches>,
    pub(crate) queue: Queue,
    expectations: Expectations,
    /// Revision of the status that was written last, by uid: an older state of the Job is not acted on, or a Pod that
    /// is counted already would be made again. Bounded by the number of Jobs.
    written: Mutex<HashMap<String, u64>>,
}

impl Jobs {
    pub(crate) fn new(client: Client, caches: Arc<Caches>) -> Self {
        Self {
            client,
            caches,
            queue: Queue::default(),
            expectations: Expectations::default(),
            written: Mutex::default(),
        }
    }

    pub(crate) fn on_job(&self, seen: &Change<'_, Job>) {
        if let (Some(old), new) = (seen.old, seen.new)
            && new.is_none_or(|new| new.uid != old.uid)
        {
            self.expectations.forget(&old.uid);
            self.written.lock().expect("no panic happens while it is locked").remove(&*old.uid);
        }
        self.queue.add(seen.key.clone());
    }

    pub(crate) fn on_pod(&self, seen: &Change<'_, Pod>) {
        for pod in seen.sides() {
            let Some(owner) = pod.controller.as_ref().filter(|owner| owner.kind == Kind::Job) else { continue };
            if seen.new.is_none_or(|new| new.deleting) {
                self.expectations.deleted(&owner.uid, &pod.uid);
            }
            if seen.old.is_none() {
                self.expectations.created(&owner.uid);
            }
            self.queue.add(owner.key(&seen.key.namespace));
        }
    }

    fn pods(&self, key: &Key) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    fn jobs(&self, key: &Key) -> Api<Job> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// The Job as it is known, unless something newer was written.
    fn is_current(&self, job: &Job) -> bool {
        let written = self.written.lock().expect("no panic happens while it is locked");
        written.get(uid(job)).is_none_or(|written| revision(job) >= *written)
    }

    /// Pods whose Job is gone would wait for ever to be counted.
    async fn release_orphans(&self, key: &Key, job: Option<&Job>) -> Result<(), Error> {
        let pods = self.caches.pods.select(&key.namespace, |pod| {
            let owner = pod.controller.as_ref().filter(|owner| owner.kind == Kind::Job && *owner.name == *key.name);
            pod.facts.tracked && owner.is_some_and(|owner| job.is_none_or(|job| uid(job) != &*owner.uid))
        });
        self.release(key, &pods).await
    }

    /// Takes the finalizer off.
    async fn release(&self, key: &Key, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let api = self.pods(key);
        let results = join_all(pods.iter().filter(|pod| has_finalizer(pod)).map(|pod| async {
            let left: Vec<&String> =
                pod.metadata.finalizers.iter().flatten().filter(|name| *name != pods::FINALIZER).collect();
            let metadata =
                json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version, "finalizers": left});
            let patch = Patch::Merge(json!({"metadata": metadata}));
            api.patch(name(&**pod), &PatchParams::default(), &patch).await.unless_gone()
        }));
        let failed = results.await.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), Err).during("counting Pods of Job", key)
    }

    async fn delete(&self, key: &Key, job: &Job, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let api = self.pods(key);
        let results = join_all(pods.iter().map(|pod| async {
            let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
            let parameters = DeleteParams::default().preconditions(preconditions);
            let result = api.delete(name(&**pod), &parameters).await.unless_gone();
            if !matches!(result, Ok(Some(_))) {
                self.expectations.deleted(uid(job), uid(&**pod));
            }
            result
        }));
        let failed = results.await.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), Err).during("deleting Pods of Job", key)
    }

    async fn create(&self, key: &Key, job: &Job, count: usize) -> Result<(), Error> {
        let (api, pod, parameters) = (self.pods(key), pod_of(job), PostParams::default());
        for left in (1..=count).rev() {
            if let Err(error) = api.create(&parameters, &pod).await {
                (0..left).for_each(|_| self.expectations.created(uid(job)));
                return match error::namespace_is_ending(&error) {
                    true => Ok(()),
                    false => Err(error).during("creating a Pod of Job", key),
                };
            }
        }
        Ok(())
    }

    async fn write_status(&self, key: &Key, job: &Job, decision: &Decision) -> Result<(), Error> {
        if job.status.as_ref() == Some(&decision.status) {
            return Ok(());
        }
        let desired = Job { status: Some(decision.status.clone()), ..job.clone() };
        let written = self.jobs(key).replace_status(&key.name, &PostParams::default(), &desired).await;
        if let Some(stored) = written.unless_gone().during("writing the status of Job", key)? {
            let mut written = self.written.lock().expect("no panic happens while it is locked");
            written.insert(uid(job).to_owned(), revision(&stored));
        }
        Ok(())
    }

    async fn act(&self, key: &Key, job: &Job, decision: &Decision, now: Timestamp) -> Result<(), Error> {
        // First of all what has been counted: an effect that failed is tried again, a count is not.
        self.write_status(key, job, decision).await?;
        self.release(key, &decision.release).await?;
        let spare: Vec<_> = decision.delete.iter().map(|pod| uid(&**pod).to_owned()).collect();
        if !spare.is_empty() {
            self.expectations.expect(uid(job), 0, spare.into_iter().collect(), now);
            self.delete(key, job, &decision.delete).await?;
        } else if decision.create > 0 {
            self.expectations.expect(uid(job), decision.create, Default::default(), now);
            self.create(key, job, decision.create).await?;
        }
        if decision.expired {
            let preconditions = Preconditions { uid: job.metadata.uid.clone(), resource_version: None };
            let parameters = DeleteParams::background().preconditions(preconditions);
            let deleted = self.jobs(key).delete(&key.name, &parameters).await;
            deleted.unless_gone().during("deleting the finished Job", key)?;
        }
        Ok(())
    }
}

fn revision(job: &Job) -> u64 {
    job.metadata.resource_version.as_deref().and_then(|revision| revision.parse().ok()).unwrap_or_default()
}

impl controller::Reconcile for Jobs {
    const NAME: &'static str = "Job controller";

    fn queue(&self) -> &Queue {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let job = self.caches.jobs.get(key);
        self.release_orphans(key, job.as_deref()).await?;
        // A newer state is on its way, and wakes this again.
        let Some(job) = job.filter(|job| self.is_current(job)) else { return Ok(Next::Wait) };
        let Some(selector) = job.spec.as_ref().and_then(|spec| selector(spec.selector.as_ref()?)) else {
            return Ok(Next::Wait);
        };
        let now = Timestamp::now();
        // Before the Pods are read: what comes in between is then in the Pods, and at worst counted twice.
        let may_manage = self.expectations.are_met(uid(&*job), now);
        let candidates = self.caches.pods.select(&key.namespace, |pod| claims::is_candidate(&*job, &selector, pod));
        let pods = claims::settle(&*job, &selector, candidates, (&self.jobs(key), &self.pods(key))).await?;
        let mut decision = decision::decide(&job, &pods, now);
        if !may_manage {
            decision.create = 0;
            decision.delete.clear();
        }
        self.act(key, &job, &decision, now).await?;
        let next = decision.next.into_iter().chain((!may_manage).then_some(PATIENCE)).min();
        Ok(next.map_or(Next::Wait, |after| Next::After(Duration::try_from(after).unwrap_or_default())))
    }
}
