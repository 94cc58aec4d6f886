//! Deployments: which ReplicaSets of which size, step by step, and how far that has come.

mod draft;
mod resize;
mod rollout;
mod spec;
mod status;
mod template;

use crate::cache::Change as Seen;
use crate::caches::Caches;
use crate::error::{self, Error, WriteResult};
use crate::held::{Controller, Kept, Kind, Labels};
use crate::objects::{Key, annotation, controller_of, name, selector, selects, uid};
use crate::queue::{Next, Queue};
use crate::{claims, controller};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource};
use rollout::{Change, Decision, Facts};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Deployments {
    pub(crate) client: Client,
    pub(crate) caches: Arc<Caches>,
    pub(crate) queue: Queue,
}

impl Deployments {
    pub(crate) fn on_deployment(&self, seen: &Seen<'_, Deployment>) {
        self.queue.add(seen.key.clone());
    }

    pub(crate) fn on_replica_set(&self, seen: &Seen<'_, ReplicaSet>) {
        for set in seen.sides() {
            match &set.controller {
                Some(owner) if owner.kind == Kind::Deployment => self.queue.add(owner.key(&seen.key.namespace)),
                Some(_) => {}
                None => self.queue.add_all(self.who_selects(seen.key, &set.read())),
            }
        }
    }

    /// A Recreate rollout goes on when the last Pod of the old template is gone.
    pub(crate) fn on_pod(&self, seen: &Seen<'_, Pod>) {
        let ends = |pod: &&Kept<Pod>| !pod.facts.ended && seen.new.is_none_or(|new| new.facts.ended);
        let of = |owner: &&Controller, kind: Kind| owner.kind == kind;
        let namespace = &seen.key.namespace;
        let Some(pod) = seen.old.filter(ends) else { return };
        let Some(owner) = pod.controller.as_ref().filter(|owner| of(owner, Kind::ReplicaSet)) else { return };
        let Some(set) = self.caches.replica_sets.kept(&owner.key(namespace)) else { return };
        if let Some(owner) = set.controller.as_ref().filter(|owner| of(owner, Kind::Deployment)) {
            self.queue.add(owner.key(namespace));
        }
    }

    fn who_selects(&self, key: &Key, set: &ReplicaSet) -> Vec<Key> {
        let labels = Labels::of(set.metadata.labels.as_ref());
        let may = self.caches.deployments.select(&key.namespace, |deployment| labels.include(&deployment.facts));
        let of = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| selector(&spec.selector));
        may.iter().filter(|d| of(d).is_some_and(|selector| selects(&selector, set))).map(|d| Key::of(&**d)).collect()
    }

    fn api<K>(&self, key: &Key) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    async fn apply(&self, key: &Key, deployment: &Deployment, decision: Decision) -> Result<Next, Error> {
        for change in &decision.changes {
            if let Step::Stop = self.change(key, deployment, change).await? {
                return Ok(Next::Wait);
            }
        }
        let mut deployment = deployment.clone();
        let is_revised = decision.revision.is_some();
        // Goes with the status, where an annotation does not count as a change of what is asked for.
        if let Some(revision) = &decision.revision {
            deployment.metadata.annotations.get_or_insert_default().insert(draft::REVISION.into(), revision.clone());
        }
        if is_revised || deployment.status.as_ref() != Some(&decision.status) {
            let written = self.write_status(key, deployment, decision.status).await?;
            self.ensure_revision(key, written, decision.revision).await?;
        }
        Ok(match decision.look_again {
            Some(after) => Next::After(Duration::try_from(after).unwrap_or_default()),
            None => Next::Wait,
        })
    }

    async fn change(&self, key: &Key, deployment: &Deployment, change: &Change) -> Result<Step, Error> {
        let sets: Api<ReplicaSet> = self.api(key);
        match change {
            Change::Create(set) => return self.create(key, deployment, set).await,
            Change::Update { before, after } => {
                let patch = Patch::Merge(difference(before, after));
                let patched = sets.patch(name(&**before), &PatchParams::default(), &patch).await;
                patched.unless_gone().during("changing a ReplicaSet of Deployment", key)?;
            }
            Change::Delete(set) => {
                let preconditions = Preconditions {
                    uid: set.metadata.uid.clone(),
                    resource_version: set.metadata.resource_version.clone(),
                };
                let deleted = sets.delete(name(&**set), &DeleteParams::background().preconditions(preconditions)).await;
                deleted.unless_gone().during("deleting an old ReplicaSet of Deployment", key)?;
            }
        }
        Ok(Step::Go)
    }

    async fn create(&self, key: &Key, deployment: &Deployment, set: &ReplicaSet) -> Result<Step, Error> {
        let created = self.api::<ReplicaSet>(key).create(&PostParams::default(), set).await;
        match &created {
            Ok(_) => return Ok(Step::Go),
            Err(error) if error::namespace_is_ending(error) => return Ok(Step::Stop),
            Err(error) if error::already_exists(error) => return self.yield_name(key, deployment, set).await,
            Err(error) if has_deadline(deployment) => {
                let message = format!("Failed to create new replica set {:?}: {}", name(set), error::words(error));
                let (kind, reason, now) = (status::PROGRESSING, "ReplicaSetCreateError", Timestamp::now());
                let mut status = deployment.status.clone().unwrap_or_default();
                let mut conditions = status::Conditions::of(Some(&status));
                conditions.set(status::condition(kind, "False", reason, message, now));
                status.conditions = conditions.into_list();
                self.write_status(key, deployment.clone(), status).await?;
            }
            Err(_) => {}
        }
        created.map(|_| Step::Stop).during("creating a ReplicaSet of Deployment", key)
    }

    /// The name of a new ReplicaSet is taken: by itself, which the cache does not show yet, or by another one, most
    /// often of a deleted Deployment of this name. Then the next look takes another name.
    async fn yield_name(&self, key: &Key, deployment: &Deployment, set: &ReplicaSet) -> Result<Step, Error> {
        let holder = self.api::<ReplicaSet>(key).get_opt(name(set)).await;
        let holder = holder.during("reading a ReplicaSet of Deployment", key)?;
        let template = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
        let is_itself = holder.is_some_and(|holder| {
            let is_ours = controller_of(&holder).is_some_and(|owner| owner.uid == uid(deployment));
            is_ours && template::same(&template(&holder), &template(set))
        });
        if !is_itself {
            let mut status = deployment.status.clone().unwrap_or_default();
            *status.collision_count.get_or_insert_default() += 1;
            self.write_status(key, deployment.clone(), status).await?;
        }
        Ok(Step::Stop)
    }

    /// `None` if the Deployment is gone.
    async fn write_status(
        &self,
        key: &Key,
        mut deployment: Deployment,
        status: DeploymentStatus,
    ) -> Result<Option<Deployment>, Error> {
        deployment.status = Some(status);
        let written = self.api(key).replace_status(&key.name, &PostParams::default(), &deployment).await;
        written.unless_gone().during("writing the status of Deployment", key)
    }

    /// For a server that lets no annotation through with a status.
    async fn ensure_revision(
        &self,
        key: &Key,
        live: Option<Deployment>,
        revision: Option<String>,
    ) -> Result<(), Error> {
        let (Some(live), Some(revision)) = (live, revision) else { return Ok(()) };
        if annotation(&live, draft::REVISION) == Some(&revision) {
            return Ok(());
        }
        let patch = json!({"metadata": {"uid": uid(&live), "annotations": {draft::REVISION: revision}}});
        let patched = self.api::<Deployment>(key).patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.unless_gone().during("writing the revision of Deployment", key).map(drop)
    }
}

impl controller::Reconcile for Deployments {
    const NAME: &'static str = "Deployment controller";

    fn queue(&self) -> &Queue {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(deployment) = self.caches.deployments.get(key) else { return Ok(Next::Wait) };
        let Some(selector) = deployment.spec.as_ref().and_then(|spec| selector(&spec.selector)) else {
            return Ok(Next::Wait);
        };
        let candidates = self.caches.replica_sets.select(&key.namespace, |set| set.may_be_of(&*deployment));
        let apis = (&self.api(key), &self.api(key));
        let replica_sets = claims::settle(&*deployment, &selector, candidates, apis).await?;
        let is_ours = |pod: &Kept<Pod>| {
            pod.controller.as_ref().is_some_and(|owner| replica_sets.iter().any(|set| uid(&**set) == &*owner.uid))
        };
        let looks_at_pods = deployment.spec.as_ref().is_some_and(spec::is_recreate);
        let pods = self.caches.pods.select(&key.namespace, |pod| looks_at_pods && is_ours(pod));
        let facts = Facts { deployment: &deployment, replica_sets: &replica_sets, pods: &pods, now: Timestamp::now() };
        match rollout::decide(&facts) {
            Some(decision) => self.apply(key, &deployment, decision).await,
            None => Ok(Next::Wait),
        }
    }
}

/// Whether the rest of a decision still holds.
enum Step {
    Go,
    Stop,
}

fn has_deadline(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().and_then(spec::progress_deadline_seconds).is_some()
}

/// The merge patch of what a rollout may change on a ReplicaSet; refused if somebody else changed it meanwhile.
fn difference(before: &ReplicaSet, after: &ReplicaSet) -> Value {
    let unchanged =
        |key: &String, value: &String| before.metadata.annotations.as_ref().and_then(|a| a.get(key)) == Some(value);
    let annotations: serde_json::Map<String, Value> = after
        .metadata
        .annotations
        .iter()
        .flatten()
        .filter(|(key, value)| !unchanged(key, value))
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let mut spec = serde_json::Map::new();
    if let (Some(before), Some(after)) = (&before.spec, &after.spec) {
        if before.replicas != after.replicas {
            spec.insert("replicas".into(), json!(after.replicas));
        }
        if before.min_ready_seconds != after.min_ready_seconds {
            spec.insert("minReadySeconds".into(), json!(after.min_ready_seconds.unwrap_or_default()));
        }
    }
    let metadata = json!({"uid": before.metadata.uid, "resourceVersion": before.metadata.resource_version, "annotations": annotations});
    json!({"metadata": metadata, "spec": spec})
}

#[cfg(test)]
mod tests;
