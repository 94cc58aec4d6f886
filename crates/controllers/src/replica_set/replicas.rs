//! How many Pods are too few or too many, and which of them can best be spared.

use crate::objects::{
    annotation, counter, created, is_active, is_ready, phase, ready_since, selects, uid, until_available, whole_seconds,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::Selector;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// Most Pods that one look creates or deletes.
const BURST: usize = 500;
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What the number of Pods calls for.
#[derive(Debug)]
pub(crate) enum Difference {
    None,
    TooFew(usize),
    /// These can be spared.
    TooMany(Vec<Arc<Pod>>),
}

/// `pods` are the active ones that the ReplicaSet controls, `related` those of all ReplicaSets of the same owner, which
/// are asked for if some are to be chosen.
pub(crate) fn difference(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    related: impl FnOnce() -> Vec<Arc<Pod>>,
    now: Timestamp,
) -> Difference {
    let wanted = usize::try_from(wanted(set)).unwrap_or(0);
    if pods.len() < wanted {
        return Difference::TooFew((wanted - pods.len()).min(BURST));
    }
    let spare = (pods.len() - wanted).min(BURST);
    if spare == 0 {
        return Difference::None;
    }
    let related = related();
    let mut neighbours: HashMap<Option<&str>, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| is_active(pod)) {
        *neighbours.entry(node(pod)).or_default() += 1;
    }
    let mut ranked = pods.to_vec();
    ranked.sort_by_cached_key(|pod| worth(pod, neighbours.get(&node(pod)).copied().unwrap_or_default(), now));
    ranked.truncate(spare);
    Difference::TooMany(ranked)
}

fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// Orders Pods from the first to be deleted to the last: on no node; not running; not ready; cheap by its own account;
/// among many on its node; ready for a short time; often restarted; young. Ages count by their magnitude only, so
/// that Pods of about one age are chosen without preference.
fn worth(pod: &Pod, neighbours: usize, now: Timestamp) -> impl Ord + use<> {
    let phase = match phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    let cost: i32 =
        annotation(pod, "controller.kubernetes.io/pod-deletion-cost").and_then(|c| c.parse().ok()).unwrap_or(0);
    let ready_magnitude = if is_ready(pod) { magnitude(ready_since(pod), now) } else { 0 };
    let readiness = (is_ready(pod), cost, Reverse(neighbours), ready_magnitude);
    (node(pod).is_some(), phase, readiness, Reverse(restarts(pod)), magnitude(created(pod), now), uid(pod).to_owned())
}

/// Binary logarithm of an age; -1 for one that is just born or unknown.
fn magnitude(since: Option<Timestamp>, now: Timestamp) -> i64 {
    let age = since.map_or(0, |since| now.duration_since(since).as_nanos());
    u128::try_from(age).ok().and_then(u128::checked_ilog2).map_or(-1, i64::from)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).max().unwrap_or_default()
}

/// Why Pods could not be created or deleted.
pub(crate) struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The status as it should be.
pub(crate) fn status(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let spec = set.spec.as_ref();
    let template_labels =
        spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let template: Selector = template_labels.into_iter().collect();
    let min_ready_seconds = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or_default();
    let count = |of: &dyn Fn(&Pod) -> bool| counter(pods.iter().filter(|pod| of(pod)).count());
    ReplicaSetStatus {
        replicas: i32::try_from(pods.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: count(&|pod| selects(&template, pod)),
        ready_replicas: count(&is_ready),
        available_replicas: count(&|pod| {
            until_available(pod, min_ready_seconds, now).is_some_and(|left| left.is_zero())
        }),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, failure, now),
        terminating_replicas: None,
    }
}

fn conditions(set: &ReplicaSet, failure: Option<&Failure>, now: Timestamp) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = set.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let is_told = conditions.iter().any(|condition| condition.type_ == REPLICA_FAILURE);
    match failure {
        Some(failure) if !is_told => conditions.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.into(),
            status: "True".into(),
            reason: Some(failure.reason.into()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(whole_seconds(now))),
        }),
        Some(_) => {}
        None => conditions.retain(|condition| condition.type_ != REPLICA_FAILURE),
    }
    Some(conditions).filter(|list| !list.is_empty())
}

/// When the next Pod becomes available by nothing but time.
pub(crate) fn next_available(set: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> Option<SignedDuration> {
    let min_ready_seconds = set.spec.as_ref()?.min_ready_seconds?;
    let waits = pods.iter().filter_map(|pod| until_available(pod, min_ready_seconds, now));
    waits.filter(|left| !left.is_zero()).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn set(replicas: i32, min_ready_seconds: i32) -> ReplicaSet {
        let template = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        let spec =
            json!({"replicas": replicas, "minReadySeconds": min_ready_seconds, "selector": {}, "template": template});
        from_value(json!({"metadata": {"uid": "rs", "generation": 3}, "spec": spec})).unwrap()
    }

    /// `ready` is for how many seconds it is ready, `age` how old it is.
    fn pod(name: &str, node: &str, phase: &str, ready: Option<i64>, age: i64, more: Value) -> Arc<Pod> {
        let ago = |seconds: i64| (NOW - SignedDuration::from_secs(seconds)).to_string();
        let status = ready.map_or(json!("False"), |_| json!("True"));
        let ready = json!({"type": "Ready", "status": status, "lastTransitionTime": ago(ready.unwrap_or(0))});
        let mut pod = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": ago(age), "labels": {"app": "web"}},
            "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase, "conditions": [ready]},
        });
        for (pointer, value) in more.as_object().unwrap() {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[key] = value.clone();
        }
        Arc::new(from_value(pod).unwrap())
    }

    #[test]
    fn the_least_useful_pods_are_deleted_first() {
        let restarted = json!({"/status/containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 7}]});
        let cheap = json!({"/metadata/annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}});
        let none = json!({});
        // From the first to go to the last.
        let ranked = [
            pod("unassigned", "", "Pending", None, 9000, none.clone()),
            pod("pending", "a", "Pending", None, 9000, none.clone()),
            pod("unready", "a", "Running", None, 9000, none.clone()),
            pod("cheap", "b", "Running", Some(8000), 9000, cheap),
            pod("crowded", "a", "Running", Some(8000), 9000, none.clone()),
            pod("just-ready", "b", "Running", Some(1), 9000, none.clone()),
            pod("restarted", "b", "Running", Some(8000), 9000, restarted),
            pod("young", "b", "Running", Some(8000), 8100, none.clone()),
            pod("old", "b", "Running", Some(8000), 90_000, none.clone()),
        ];
        let mut shuffled = ranked.to_vec();
        shuffled.rotate_left(4);
        shuffled.swap(0, 5);
        let neighbours: Vec<Arc<Pod>> =
            (0..9).map(|n| pod(&format!("other-{n}"), "a", "Running", Some(1), 1, json!({}))).collect();
        let related: Vec<Arc<Pod>> = shuffled.iter().cloned().chain(neighbours).collect();
        for replicas in 0..ranked.len() {
            let Difference::TooMany(spare) = difference(&set(replicas as i32, 0), &shuffled, || related.clone(), NOW)
            else {
                panic!("nothing to delete for {replicas}")
            };
            let mut names: Vec<&str> = spare.iter().map(|pod| uid(&**pod)).collect();
            let mut expect: Vec<&str> = ranked.iter().map(|pod| uid(&**pod)).take(ranked.len() - replicas).collect();
            names.sort_unstable();
            expect.sort_unstable();
            assert_eq!(names, expect, "{replicas} replicas");
        }
    }

    #[test]
    fn what_is_too_few_is_made_in_bounded_portions() {
        assert!(matches!(difference(&set(0, 0), &[], Vec::new, NOW), Difference::None));
        assert!(matches!(difference(&set(3, 0), &[], Vec::new, NOW), Difference::TooFew(3)));
        assert!(matches!(difference(&set(10_000, 0), &[], Vec::new, NOW), Difference::TooFew(BURST)));
    }

    #[test]
    fn a_pod_is_available_when_it_was_ready_long_enough() {
        let ready = |seconds| pod("p", "a", "Running", Some(seconds), 900, json!({}));
        let pods = [ready(3), ready(10), ready(11), pod("q", "a", "Running", None, 900, json!({}))];
        let found = status(&set(4, 10), &pods, None, NOW);
        assert_eq!((found.replicas, found.ready_replicas, found.available_replicas), (4, Some(3), Some(2)));
        assert_eq!((found.fully_labeled_replicas, found.observed_generation), (None, Some(3)));
        assert_eq!(next_available(&set(4, 10), &pods, NOW), Some(SignedDuration::from_secs(7)));
        assert_eq!(next_available(&set(4, 0), &pods, NOW), None);
    }

    #[test]
    fn a_failure_is_told_once_and_until_it_is_over() {
        let failure = Failure { reason: "FailedCreate", message: "exceeded quota".into() };
        let mut set = set(1, 0);
        set.status = Some(status(&set, &[], Some(&failure), NOW));
        let told = set.status.clone().unwrap().conditions.unwrap();
        assert_eq!((told[0].type_.as_str(), told[0].reason.as_deref()), ("ReplicaFailure", Some("FailedCreate")));
        let later = NOW + SignedDuration::from_secs(60);
        assert_eq!(status(&set, &[], Some(&failure), later).conditions, Some(told), "told again");
        assert_eq!(status(&set, &[], None, later).conditions, None);
    }
}
