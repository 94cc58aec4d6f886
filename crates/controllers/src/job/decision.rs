//! What a Job calls for, given its Pods and the time.

use super::pods::{Outcome, ended_at, has_finalizer, outcome, restarts};
use crate::objects::{counter, is_deleting, is_ready, is_terminal, uid, whole_seconds};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most Pods that one look creates or deletes.
const BURST: usize = 500;
/// Wait after the first failure in a row; it doubles with each further one.
const BACKOFF_MIN: SignedDuration = SignedDuration::from_secs(10);
const BACKOFF_MAX: SignedDuration = SignedDuration::from_mins(10);

/// What to do, in this order: write the status, take finalizers off, delete or create Pods, delete the Job.
#[derive(Debug, Default)]
pub(super) struct Decision {
    pub(super) status: JobStatus,
    /// Pods that need not be counted any more, once the status is written.
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) delete: Vec<Arc<Pod>>,
    pub(super) create: usize,
    /// The Job has been finished for as long as it wanted to stay.
    pub(super) expired: bool,
    /// When to look again though nothing has changed.
    pub(super) next: Option<SignedDuration>,
}

/// How a Job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    succeeded: bool,
    reason: String,
    message: String,
}

impl Verdict {
    fn failed(reason: &str, message: &str) -> Self {
        Self { succeeded: false, reason: reason.into(), message: message.into() }
    }
}

/// `pods` are all that the Job controls.
pub(super) fn decide(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Decision {
    let Some(spec) = &job.spec else { return Decision::default() };
    let mut decision = Decision { status: job.status.clone().unwrap_or_default(), ..Decision::default() };
    let counted = count(&mut decision, pods);
    let active: Vec<Arc<Pod>> = pods.iter().filter(|pod| outcome(pod) == Outcome::Active).cloned().collect();
    let terminating = pods.iter().filter(|pod| is_deleting(&***pod) && !is_terminal(pod)).count();
    decision.status.active = counter(active.len());
    decision.status.ready = Some(i32::try_from(active.iter().filter(|pod| is_ready(pod)).count()).unwrap_or(i32::MAX));
    decision.status.terminating = Some(i32::try_from(terminating).unwrap_or(i32::MAX));
    if let Some(finished) = finished_at(&decision.status) {
        return finish(decision, spec, active, finished, now);
    }
    if is_deleting(job) {
        return decision;
    }
    let suspended = spec.suspend == Some(true);
    follow_suspension(&mut decision.status, suspended, now);
    let verdict = told(&decision.status).or_else(|| judge(spec, &decision.status, &counted, &active, now));
    if let Some(verdict) = verdict {
        conclude(&mut decision, verdict, &active, terminating, now);
        decision.delete = active.into_iter().take(BURST).collect();
        return decision;
    }
    decision.next = until_deadline(spec, &decision.status, now);
    if suspended {
        spare(&mut decision, active);
    } else {
        manage(&mut decision, spec, &counted, (pods, active), now);
    }
    decision
}

/// Pods that have ended, those that are being counted included.
struct Counted {
    succeeded: i32,
    failed: i32,
}

/// Moves Pods that have ended one step on their way into the counters.
fn count(decision: &mut Decision, pods: &[Arc<Pod>]) -> Counted {
    let uncounted = decision.status.uncounted_terminated_pods.take().unwrap_or_default();
    let held: BTreeSet<&str> = pods.iter().filter(|pod| has_finalizer(pod)).map(|pod| uid(&**pod)).collect();
    let waiting = |uids: Option<Vec<String>>| -> (BTreeSet<String>, i32) {
        let (waiting, done): (BTreeSet<_>, BTreeSet<_>) =
            uids.unwrap_or_default().into_iter().partition(|uid| held.contains(uid.as_str()));
        (waiting, i32::try_from(done.len()).unwrap_or(i32::MAX))
    };
    let (mut succeeded, more_succeeded) = waiting(uncounted.succeeded);
    let (mut failed, more_failed) = waiting(uncounted.failed);
    let status = &mut decision.status;
    let total = |counter: Option<i32>, more: i32| counter.unwrap_or_default().saturating_add(more);
    let (all_succeeded, all_failed) = (total(status.succeeded, more_succeeded), total(status.failed, more_failed));
    status.succeeded = Some(all_succeeded).filter(|count| *count != 0);
    status.failed = Some(all_failed).filter(|count| *count != 0);
    for pod in pods.iter().filter(|pod| has_finalizer(pod)) {
        let id = uid(&**pod);
        let known = succeeded.contains(id) || failed.contains(id);
        match outcome(pod) {
            Outcome::Active => continue,
            Outcome::Succeeded if !known => drop(succeeded.insert(id.to_owned())),
            Outcome::Failed if !known => drop(failed.insert(id.to_owned())),
            Outcome::Succeeded | Outcome::Failed => {}
        }
        decision.release.push(pod.clone());
    }
    let counted = Counted {
        succeeded: total(Some(all_succeeded), i32::try_from(succeeded.len()).unwrap_or(i32::MAX)),
        failed: total(Some(all_failed), i32::try_from(failed.len()).unwrap_or(i32::MAX)),
    };
    let list = |uids: BTreeSet<String>| Some(uids.into_iter().collect::<Vec<_>>()).filter(|uids| !uids.is_empty());
    decision.status.uncounted_terminated_pods =
        Some(UncountedTerminatedPods { succeeded: list(succeeded), failed: list(failed) });
    counted
}

/// Why the Job ends now, if it does.
fn judge(
    spec: &JobSpec,
    status: &JobStatus,
    counted: &Counted,
    active: &[Arc<Pod>],
    now: Timestamp,
) -> Option<Verdict> {
    if spec.completion_mode.as_deref() == Some("Indexed") {
        return Some(Verdict::failed("NotSupported", "completionMode Indexed is not supported here"));
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    if counted.failed > limit || restarted_too_often(spec, limit, active) {
        return Some(Verdict::failed("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    if until_deadline(spec, status, now).is_some_and(|left| left.is_zero()) {
        return Some(Verdict::failed("DeadlineExceeded", "Job was active longer than specified deadline"));
    }
    let complete = match spec.completions {
        Some(completions) => counted.succeeded >= completions,
        // The first that succeeds tells the others that there is nothing left to do.
        None => counted.succeeded > 0 && active.is_empty(),
    };
    complete.then(|| Verdict {
        succeeded: true,
        reason: "CompletionsReached".into(),
        message: "Reached expected number of succeeded pods".into(),
    })
}

/// Pods that start their containers again themselves.
fn restarted_too_often(spec: &JobSpec, limit: i32, active: &[Arc<Pod>]) -> bool {
    let policy = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    let restarts: i32 = active.iter().map(|pod| restarts(pod)).sum();
    policy == Some("OnFailure") && restarts > 0 && restarts >= limit
}

/// Time that is left; `None` without a deadline or a start.
fn until_deadline(spec: &JobSpec, status: &JobStatus, now: Timestamp) -> Option<SignedDuration> {
    let seconds = spec.active_deadline_seconds?;
    let start = status.start_time.as_ref()?.0;
    Some((SignedDuration::from_secs(seconds) - now.duration_since(start)).max(SignedDuration::ZERO))
}

/// A verdict that was told before stands.
fn told(status: &JobStatus) -> Option<Verdict> {
    let of = |kind: &str, succeeded| {
        condition(status, kind).map(|found| Verdict {
            succeeded,
            reason: found.reason.clone().unwrap_or_default(),
            message: found.message.clone().unwrap_or_default(),
        })
    };
    of("FailureTarget", false).or_else(|| of("SuccessCriteriaMet", true))
}

/// Says how the Job ends, and that it has when none of its Pods is left to count.
fn conclude(decision: &mut Decision, verdict: Verdict, active: &[Arc<Pod>], terminating: usize, now: Timestamp) {
    let status = &mut decision.status;
    let (first, last) = match verdict.succeeded {
        true => ("SuccessCriteriaMet", "Complete"),
        false => ("FailureTarget", "Failed"),
    };
    set_condition(status, first, "True", &verdict, now);
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let counting = uncounted.succeeded.is_some() || uncounted.failed.is_some();
    if !counting && active.is_empty() && terminating == 0 {
        set_condition(status, last, "True", &verdict, now);
        if verdict.succeeded {
            status.completion_time = Some(Time(whole_seconds(now)));
        }
    }
}

fn follow_suspension(status: &mut JobStatus, suspended: bool, now: Timestamp) {
    let was = condition(status, "Suspended").is_some();
    let say = |reason: &str, message: &str| Verdict::failed(reason, message);
    match (suspended, was) {
        (true, false) => set_condition(status, "Suspended", "True", &say("JobSuspended", "Job suspended"), now),
        (false, true) => {
            set_condition(status, "Suspended", "False", &say("JobResumed", "Job resumed"), now);
            status.start_time = Some(Time(whole_seconds(now)));
        }
        (false, false) if status.start_time.is_none() => status.start_time = Some(Time(whole_seconds(now))),
        _ => {}
    }
}

/// These were given up without having failed: they go without being counted.
fn spare(decision: &mut Decision, active: Vec<Arc<Pod>>) {
    let active: Vec<_> = active.into_iter().take(BURST).collect();
    decision.release.extend(active.iter().cloned());
    decision.delete = active;
}

/// As many at once as wanted, and not more than are still missing.
fn manage(
    decision: &mut Decision,
    spec: &JobSpec,
    counted: &Counted,
    (pods, mut active): (&[Arc<Pod>], Vec<Arc<Pod>>),
    now: Timestamp,
) {
    let amount = |number: i32| usize::try_from(number).unwrap_or(0);
    let parallelism = amount(spec.parallelism.unwrap_or(1));
    let wanted = match spec.completions {
        Some(completions) => parallelism.min(amount(completions - counted.succeeded)),
        None if counted.succeeded > 0 => parallelism.min(active.len()),
        None => parallelism,
    };
    if active.len() > wanted {
        // Those that have done the least.
        active.sort_by_key(|pod| (is_ready(pod), std::cmp::Reverse(pod.metadata.creation_timestamp.clone())));
        active.truncate(active.len() - wanted);
        return spare(decision, active);
    }
    let missing = (wanted - active.len()).min(BURST);
    let wait = backoff(pods, now);
    if missing > 0 && !wait.is_zero() {
        decision.next = decision.next.into_iter().chain([wait]).min();
        return;
    }
    decision.create = missing;
}

/// How long to wait because of the failures since the last success.
fn backoff(pods: &[Arc<Pod>], now: Timestamp) -> SignedDuration {
    let ends = |of: Outcome| pods.iter().filter(move |pod| outcome(pod) == of).filter_map(|pod| ended_at(pod));
    let succeeded = ends(Outcome::Succeeded).max();
    let failures: Vec<Timestamp> = ends(Outcome::Failed).filter(|end| succeeded.is_none_or(|s| *end > s)).collect();
    let Some(last) = failures.iter().max() else { return SignedDuration::ZERO };
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(16);
    let delay = (BACKOFF_MIN * (1 << doublings)).min(BACKOFF_MAX);
    (delay - now.duration_since(*last)).clamp(SignedDuration::ZERO, BACKOFF_MAX)
}

fn finish(
    mut decision: Decision,
    spec: &JobSpec,
    active: Vec<Arc<Pod>>,
    finished: Timestamp,
    now: Timestamp,
) -> Decision {
    decision.delete = active;
    if let Some(seconds) = spec.ttl_seconds_after_finished {
        let left = SignedDuration::from_secs(seconds.into()) - now.duration_since(finished);
        match left.is_positive() {
            true => decision.next = Some(left),
            false => decision.expired = true,
        }
    }
    decision
}

fn finished_at(status: &JobStatus) -> Option<Timestamp> {
    let last = condition(status, "Complete").or_else(|| condition(status, "Failed"))?;
    last.last_transition_time.as_ref().map(|time| time.0)
}

/// A condition that holds.
fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == "True")
}

fn set_condition(status: &mut JobStatus, kind: &str, value: &str, why: &Verdict, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|condition| condition.type_ == kind && condition.status == value) {
        return;
    }
    conditions.retain(|condition| condition.type_ != kind);
    conditions.push(JobCondition {
        type_: kind.into(),
        status: value.into(),
        reason: Some(why.reason.clone()),
        message: Some(why.message.clone()),
        last_probe_time: Some(Time(whole_seconds(now))),
        last_transition_time: Some(Time(whole_seconds(now))),
    });
}

#[cfg(test)]
mod tests;
