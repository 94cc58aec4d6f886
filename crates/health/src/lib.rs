//! How live objects are doing: [`Observation`] → [`Verdict`], per object and per set.
//!
//! Rules per kind follow what Argo CD and kstatus agree on, and where they differ take the stricter one, with one
//! addition: a workload whose Pods cannot come up by themselves is Degraded at once, naming Pod, container, reason and
//! exit code, instead of Progressing until a deadline.
//!
//! Verdicts have no memory and no clock: the same observation always gives the same verdict.

mod conditions;
mod fields;
mod pod;
mod workload;

use fields::{Fields, make};
use model::flow::Health;
use model::{ObjectId, Observation, Verdict};
use serde_json::Value;

/// How one live object is doing. `related` holds what it may own: ReplicaSets and Pods.
///
/// Kinds without a rule of their own are judged by the conventions of kstatus: deletion, observedGeneration, and
/// the conditions Stalled, Reconciling and Ready.
pub fn verdict(object: &Value, related: &Observation) -> Verdict {
    let live = Fields(object);
    if !live.text("/metadata/deletionTimestamp").is_empty() {
        return make(Health::Progressing, "Terminating", format!("{} is being deleted", ObjectId::of(object)));
    }
    if live.is_behind() {
        let message = format!("{} has changed and no controller has looked at it yet", ObjectId::of(object));
        return make(Health::Progressing, "ObservedGeneration", message);
    }
    let id = ObjectId::of(object);
    match (id.group.as_str(), id.kind.as_str()) {
        ("apps", "Deployment") => workload::deployment(live, related),
        ("apps", "ReplicaSet") => workload::replica_set(live, related),
        ("apps", "StatefulSet") => workload::stateful_set(live, related),
        ("apps", "DaemonSet") => workload::daemon_set(live, related),
        ("", "Pod") => pod::verdict(live),
        ("batch", "Job") => workload::job(live, related),
        ("batch", "CronJob") => workload::cron_job(live),
        ("", "Service") => conditions::service(live),
        ("", "PersistentVolumeClaim") => conditions::volume_claim(live),
        ("networking.k8s.io", "Ingress") => conditions::ingress(live),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => conditions::definition(live),
        _ => conditions::generic(live),
    }
}

/// How a set is doing: the worst verdict of the objects that `manifests` describe. The empty set is Healthy.
///
/// An object that is not there is Missing; one whose Pod template does not carry the annotations of its manifest is
/// Progressing, because what was observed is older than what was applied.
pub fn component(manifests: &[Value], observation: &Observation) -> Verdict {
    manifests
        .iter()
        .map(|manifest| against(manifest, observation))
        .reduce(|worst, next| if next.health > worst.health { next } else { worst })
        .unwrap_or_else(|| make(Health::Healthy, "Empty", "there is nothing to run".to_owned()))
}

fn against(manifest: &Value, observation: &Observation) -> Verdict {
    let id = ObjectId::of(manifest);
    let Some(live) = observation.get(&id) else {
        return make(Health::Missing, "NotFound", format!("{id} does not exist"));
    };
    let annotations = "/spec/template/metadata/annotations";
    let wanted = manifest.pointer(annotations).and_then(Value::as_object);
    let stale = wanted
        .into_iter()
        .flatten()
        .any(|(key, value)| live.pointer(annotations).and_then(|a| a.get(key)) != Some(value));
    if stale {
        return make(Health::Progressing, "NotApplied", format!("{id} does not run what is described yet"));
    }
    verdict(live, observation)
}

#[cfg(test)]
mod tests;
