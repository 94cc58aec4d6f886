//! Runs a plan, step by step.

use crate::Cluster;
use crate::error::Failure;
use crate::install;
use crate::kinds::Resource;
use crate::requests::Requests;
use model::flow::{Action, Step, StepResult};
use model::ports::{PortError, Result};
use model::settings::Opened;
use model::{Component, Plan, Receipt};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;

/// Pauses before a request is sent again that nobody answered.
const RETRIES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(250)];

pub(crate) async fn run(cluster: &Cluster, plan: &Plan, opened: &Opened) -> Result<Receipt> {
    let mut results: Vec<StepResult> = Vec::new();
    let mut stopped = Stopped::default();
    for step in plan.changing() {
        if stopped.holds_back(step) {
            continue;
        }
        let outcome = patiently(cluster, step, opened).await;
        if outcome.is_err() {
            stopped.by(step);
        }
        let error = match outcome {
            Ok(()) => None,
            // Nothing was done yet, so this is no outcome of the plan.
            Err(Failure::Unavailable(words)) if results.is_empty() => return Err(PortError::Transient(words)),
            Err(failure) => Some(failure.words()),
        };
        results.push(StepResult { object: step.object.clone(), action: step.action, error });
    }
    Ok(Receipt { results })
}

/// What failed steps keep from running.
#[derive(Default)]
struct Stopped<'a> {
    components: HashSet<&'a Component>,
    namespaces: HashSet<&'a str>,
}

impl<'a> Stopped<'a> {
    fn by(&mut self, step: &'a Step) {
        self.components.extend(&step.component);
        if step.object.group.is_empty() && step.object.kind == "Namespace" {
            self.namespaces.insert(&step.object.name);
        }
    }

    fn holds_back(&self, step: &Step) -> bool {
        step.component.as_ref().is_some_and(|component| self.components.contains(component))
            || self.namespaces.contains(step.object.namespace.as_str())
    }
}

async fn patiently(cluster: &Cluster, step: &Step, opened: &Opened) -> std::result::Result<(), Failure> {
    for pause in RETRIES {
        match once(cluster, step, opened).await {
            Err(Failure::Unavailable(_)) => tokio::time::sleep(pause).await,
            outcome => return outcome,
        }
    }
    once(cluster, step, opened).await
}

async fn once(cluster: &Cluster, step: &Step, opened: &Opened) -> std::result::Result<(), Failure> {
    match step.action {
        Action::Unchanged => Ok(()),
        Action::Create | Action::Configure => apply(cluster, step, opened).await,
        Action::Delete => delete(cluster, step).await,
    }
}

async fn apply(cluster: &Cluster, step: &Step, opened: &Opened) -> std::result::Result<(), Failure> {
    let Some(manifest) = &step.manifest else {
        return Err(Failure::Refused(format!("the plan has no manifest for {}", step.object)));
    };
    let mut manifest = manifest.clone();
    opened.reveal(&mut manifest);
    if let (Action::Configure, Some(uid), Some(metadata)) = (step.action, &step.uid, manifest.get_mut("metadata")) {
        metadata["uid"] = json!(uid); // a namesake is refused
    }
    let resource = cluster.resource(&manifest).await?;
    let requests = Requests::new(&cluster.inner.client, &resource, &step.object.namespace);
    let applied = requests.apply(&step.object.name, &manifest, false).await;
    let applied = applied.inspect_err(|failure| forget_if_unknown(cluster, &resource, failure))?;
    match resource.api.kind.as_str() {
        "Namespace" => install::usable_namespace(&cluster.inner.client, &applied).await,
        "CustomResourceDefinition" => install::established(&cluster.inner.client, &step.object.name).await,
        _ => Ok(()),
    }?;
    let watches = &cluster.inner.watches;
    watches.add(&resource).await.map_err(|error| Failure::Unavailable(error.to_string()))?;
    watches.view.shows(&applied).await;
    Ok(())
}

/// A resource that the server does not find at all is looked up again the next time.
fn forget_if_unknown(cluster: &Cluster, resource: &Resource, failure: &Failure) {
    if matches!(failure, Failure::Absent(_)) && !failure.lacks_namespace() {
        cluster.inner.kinds.forget(resource);
    }
}

async fn delete(cluster: &Cluster, step: &Step) -> std::result::Result<(), Failure> {
    let id = &step.object;
    let Some(resource) = cluster.inner.kinds.resolve_any(&id.group, &id.kind).await? else {
        return Ok(()); // its kind is gone, and it with it
    };
    let requests = Requests::new(&cluster.inner.client, &resource, &id.namespace);
    requests.delete(&id.name, step.uid.as_deref()).await?;
    cluster.inner.watches.view.shows_deletion(id, step.uid.as_deref()).await;
    Ok(())
}

/// The manifest of a namespace that is ours.
pub(crate) fn namespace_manifest(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}
