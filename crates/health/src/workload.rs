//! Workloads: counters of their status, and the Pods behind them where the counters do not say why.

use crate::fields::{Fields, make};
use crate::pod;
use model::flow::Health;
use model::{Observation, Verdict};
use serde_json::Value;

pub(crate) fn deployment(live: Fields<'_>, related: &Observation) -> Verdict {
    let name = live.name();
    if live.flag("/spec/paused") {
        return make(Health::Suspended, "Paused", format!("deployment {name} is paused"));
    }
    if live.number("/status/observedGeneration").is_none() {
        return make(Health::Progressing, "ObservedGeneration", format!("deployment {name} is new"));
    }
    let wanted = live.number("/spec/replicas").unwrap_or(1);
    let newest = newest_replica_set(live, related);
    // Pods of older ReplicaSets are on their way out: what they suffer from is no news about this spec.
    if let Some(failing) = newest.and_then(|set| failing_pod(set, related)) {
        return failing;
    }
    let stuck = live.condition("Progressing").filter(|c| c.is("False") && c.reason == "ProgressDeadlineExceeded");
    if let Some(condition) = stuck.or_else(|| live.condition("ReplicaFailure").filter(|c| c.is("True"))) {
        let mut verdict = condition.verdict(Health::Degraded, "ReplicaFailure");
        if let Some(waiting) = newest.and_then(|set| waiting_pod(set, related)) {
            verdict.message = format!("{}; {}", verdict.message, waiting.message);
        }
        return verdict;
    }
    let (replicas, updated) = (live.count("/status/replicas"), live.count("/status/updatedReplicas"));
    let available = live.count("/status/availableReplicas");
    if updated < wanted || available < wanted {
        let blocker = newest.and_then(|set| waiting_pod(set, related));
        return blocker.unwrap_or_else(|| {
            let ready = available.min(updated).min(wanted);
            make(
                Health::Progressing,
                "RollingOut",
                format!("deployment {name}: {ready} of {wanted} replicas are available"),
            )
        });
    }
    if replicas > updated || updated > wanted {
        let surplus = (replicas - wanted).max(1);
        return make(
            Health::Progressing,
            "RollingOut",
            format!("deployment {name}: {surplus} old replicas are still there"),
        );
    }
    make(Health::Healthy, "Available", format!("{available} of {wanted} replicas are available"))
}

/// The ReplicaSet of the Deployment's present Pod template; failing that, the one of the highest revision.
fn newest_replica_set<'a>(deployment: Fields<'a>, related: &'a Observation) -> Option<Fields<'a>> {
    let template = without_hash(deployment);
    let sets = || deployment.owned("ReplicaSet", related);
    let revision = |set: &Fields<'_>| -> u64 {
        set.text("/metadata/annotations/deployment.kubernetes.io~1revision").parse().unwrap_or(0)
    };
    let current = revision(&deployment);
    sets()
        .find(|set| without_hash(*set) == template)
        .or_else(|| sets().max_by_key(revision).filter(|set| current == 0 || revision(set) == current))
}

/// The Pod template as the user wrote it: the controller adds a label of its own to the copies in ReplicaSets.
fn without_hash(owner: Fields<'_>) -> Option<Value> {
    let mut template = owner.0.pointer("/spec/template")?.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    Some(template)
}

pub(crate) fn replica_set(live: Fields<'_>, related: &Observation) -> Verdict {
    if let Some(condition) = live.condition("ReplicaFailure").filter(|c| c.is("True")) {
        return condition.verdict(Health::Degraded, "ReplicaFailure");
    }
    let wanted = live.number("/spec/replicas").unwrap_or(1);
    let counts = Counts { current: live.count("/status/replicas"), available: live.count("/status/availableReplicas") };
    counted("replicaset", live, related, wanted, counts)
}

pub(crate) fn stateful_set(live: Fields<'_>, related: &Observation) -> Verdict {
    let wanted = live.number("/spec/replicas").unwrap_or(1);
    let counts = Counts { current: live.count("/status/replicas"), available: live.count("/status/readyReplicas") };
    let verdict = counted("statefulset", live, related, wanted, counts);
    let on_delete = live.text("/spec/updateStrategy/type") == "OnDelete";
    if verdict.health != Health::Healthy || on_delete {
        return verdict;
    }
    let partition = live.count("/spec/updateStrategy/rollingUpdate/partition");
    let updated = live.count("/status/updatedReplicas");
    let complete = if partition > 0 {
        updated >= wanted - partition
    } else {
        live.text("/status/updateRevision") == live.text("/status/currentRevision")
    };
    if complete {
        return verdict;
    }
    let message = format!("statefulset {}: {updated} of {} replicas are updated", live.name(), wanted - partition);
    make(Health::Progressing, "RollingOut", message)
}

pub(crate) fn daemon_set(live: Fields<'_>, related: &Observation) -> Verdict {
    if live.number("/status/observedGeneration").is_none() {
        return make(Health::Progressing, "ObservedGeneration", format!("daemonset {} is new", live.name()));
    }
    let wanted = live.count("/status/desiredNumberScheduled");
    let available = live.count("/status/numberAvailable");
    let counts = Counts { current: live.count("/status/currentNumberScheduled"), available };
    let verdict = counted("daemonset", live, related, wanted, counts);
    let updated = live.count("/status/updatedNumberScheduled");
    if verdict.health != Health::Healthy || live.text("/spec/updateStrategy/type") == "OnDelete" || updated >= wanted {
        return verdict;
    }
    make(
        Health::Progressing,
        "RollingOut",
        format!("daemonset {}: {updated} of {wanted} Pods are updated", live.name()),
    )
}

struct Counts {
    current: i64,
    available: i64,
}

/// The part that workloads of one Pod template have in common.
fn counted(kind: &str, live: Fields<'_>, related: &Observation, wanted: i64, counts: Counts) -> Verdict {
    if let Some(failing) = failing_pod(live, related) {
        return failing;
    }
    let name = live.name();
    if counts.available < wanted || counts.current < wanted {
        return waiting_pod(live, related).unwrap_or_else(|| {
            let message = format!("{kind} {name}: {} of {wanted} replicas are available", counts.available);
            make(Health::Progressing, "Starting", message)
        });
    }
    if counts.current > wanted {
        let message = format!("{kind} {name}: {} replicas too many", counts.current - wanted);
        return make(Health::Progressing, "ScalingDown", message);
    }
    make(Health::Healthy, "Available", format!("{} of {wanted} replicas are available", counts.available))
}

fn failing_pod(owner: Fields<'_>, related: &Observation) -> Option<Verdict> {
    owner.owned("Pod", related).find_map(pod::failing)
}

fn waiting_pod(owner: Fields<'_>, related: &Observation) -> Option<Verdict> {
    owner
        .owned("Pod", related)
        .filter(|pod| pod.text("/metadata/deletionTimestamp").is_empty())
        .find(|pod| !pod.condition("Ready").is_some_and(|c| c.is("True")))
        .map(pod::waiting)
}

pub(crate) fn job(live: Fields<'_>, related: &Observation) -> Verdict {
    let name = live.name();
    if let Some(failed) = live.condition("Failed").filter(|c| c.is("True")) {
        return failed.verdict(Health::Degraded, "Failed");
    }
    if live.condition("Complete").is_some_and(|c| c.is("True")) {
        return make(Health::Healthy, "Complete", format!("job {name} is complete"));
    }
    if live.flag("/spec/suspend") {
        return make(Health::Suspended, "Suspended", format!("job {name} is suspended"));
    }
    // A Job tries again within its backoffLimit: only its condition Failed is final.
    waiting_pod(live, related).unwrap_or_else(|| make(Health::Progressing, "Running", format!("job {name} is running")))
}

pub(crate) fn cron_job(live: Fields<'_>) -> Verdict {
    let (scheduled, succeeded) = (live.text("/status/lastScheduleTime"), live.text("/status/lastSuccessfulTime"));
    let active = live.list("/status/active").next().is_some();
    // RFC 3339 times in UTC compare as text.
    if !live.flag("/spec/suspend") && !succeeded.is_empty() && scheduled > succeeded && !active {
        let message = format!("cronjob {}: the run of {scheduled} did not succeed", live.name());
        return make(Health::Degraded, "LastRunFailed", message);
    }
    make(Health::Healthy, "Scheduled", format!("cronjob {} is scheduled", live.name()))
}
