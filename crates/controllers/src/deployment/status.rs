//! A Deployment's status, in the words that kubectl, Argo CD and others read.

use super::draft::Draft;
use super::rollout::Rollout;
use super::spec::progress_deadline_seconds;
use crate::objects::{name, whole_seconds};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(crate) const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
pub(crate) const REPLICA_FAILURE: &str = "ReplicaFailure";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// Conditions of a status; each type is there at most once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions(Vec<DeploymentCondition>);

impl Conditions {
    pub(crate) fn of(status: Option<&DeploymentStatus>) -> Self {
        Self(status.and_then(|status| status.conditions.clone()).unwrap_or_default())
    }

    pub(crate) fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.0.iter().find(|condition| condition.type_ == kind)
    }

    pub(crate) fn remove(&mut self, kind: &str) {
        self.0.retain(|condition| condition.type_ != kind);
    }

    /// Keeps what is there if status and reason are the same, and its time of transition if the status is.
    pub(crate) fn set(&mut self, mut condition: DeploymentCondition) {
        if let Some(current) = self.get(&condition.type_).filter(|current| current.status == condition.status) {
            if current.reason == condition.reason {
                return;
            }
            condition.last_transition_time = current.last_transition_time.clone();
        }
        self.remove(&condition.type_);
        self.0.push(condition);
    }

    /// As [`Self::set`], but tells anew even if nothing but the time differs.
    fn renew(&mut self, mut condition: DeploymentCondition) {
        if let Some(current) = self.get(&condition.type_).filter(|current| current.status == condition.status) {
            condition.last_transition_time = current.last_transition_time.clone();
        }
        self.remove(&condition.type_);
        self.0.push(condition);
    }

    pub(crate) fn into_list(self) -> Option<Vec<DeploymentCondition>> {
        Some(self.0).filter(|list| !list.is_empty())
    }
}

pub(crate) fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    let now = Time(whole_seconds(now));
    DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    }
}

/// True when every replica is of the present template and available, and no other is left.
pub(crate) fn is_complete(status: &DeploymentStatus, replicas: i32, generation: Option<i64>) -> bool {
    let all = |count: Option<i32>| count.unwrap_or_default() == replicas;
    all(status.updated_replicas)
        && all(status.replicas)
        && all(status.available_replicas)
        && status.observed_generation >= generation
}

/// That a pause has begun or ended; a rollout that has timed out stays timed out.
pub(crate) fn note_pause(conditions: &mut Conditions, paused: bool, now: Timestamp) {
    let reason = conditions.get(PROGRESSING).and_then(|condition| condition.reason.as_deref());
    let (reason, message) = match (paused, reason) {
        (_, Some(TIMED_OUT)) | (true, Some(PAUSED)) => return,
        (true, _) => (PAUSED, "Deployment is paused"),
        (false, Some(PAUSED)) => ("DeploymentResumed", "Deployment is resumed"),
        (false, _) => return,
    };
    conditions.set(condition(PROGRESSING, "Unknown", reason, message.into(), now));
}

impl Rollout<'_> {
    /// Counters and availability.
    pub(crate) fn plain_status(&self) -> DeploymentStatus {
        let sum =
            |of: fn(&ReplicaSetStatus) -> Option<i32>| -> i32 { self.sets.iter().map(|set| set.observed(of)).sum() };
        let available = sum(|status| status.available_replicas);
        let total: i32 = self.sets.iter().map(Draft::replicas).sum();
        let updated = self.new.map_or(0, |new| self.sets[new].observed(|status| Some(status.replicas)));
        let mut conditions = self.conditions.clone();
        let (value, reason, message) = if available >= self.limits.min_available() {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        conditions.set(condition(AVAILABLE, value, reason, message.into(), self.now));
        let counter = |count: i32| Some(count).filter(|count| *count > 0);
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: counter(sum(|status| Some(status.replicas))),
            updated_replicas: counter(updated),
            ready_replicas: counter(sum(|status| status.ready_replicas)),
            available_replicas: counter(available),
            unavailable_replicas: counter(total - available),
            collision_count: self.deployment.status.as_ref().and_then(|status| status.collision_count),
            conditions: conditions.into_list(),
            terminating_replicas: None,
        }
    }

    /// Also how far the rollout has come.
    pub(crate) fn rollout_status(&self) -> DeploymentStatus {
        let mut status = self.plain_status();
        let mut conditions = Conditions::of(Some(&status));
        if progress_deadline_seconds(self.spec).is_none() {
            conditions.remove(PROGRESSING);
        } else if !self.was_complete(&status) {
            self.judge_progress(&status, &mut conditions);
        }
        match self.replica_failure() {
            Some(failure) => conditions.set(failure),
            None => conditions.remove(REPLICA_FAILURE),
        }
        status.conditions = conditions.into_list();
        status
    }

    fn was_complete(&self, status: &DeploymentStatus) -> bool {
        let reason = self.conditions.get(PROGRESSING).and_then(|condition| condition.reason.as_deref());
        status.replicas == status.updated_replicas && reason == Some(NEW_AVAILABLE)
    }

    fn judge_progress(&self, status: &DeploymentStatus, conditions: &mut Conditions) {
        let subject = match self.new {
            Some(new) => format!("ReplicaSet {:?}", self.sets[new].name()),
            None => format!("Deployment {:?}", name(self.deployment)),
        };
        let told = |value: &str, reason: &str, what: &str| {
            condition(PROGRESSING, value, reason, format!("{subject} {what}"), self.now)
        };
        if is_complete(status, self.limits.replicas, self.deployment.metadata.generation) {
            conditions.set(told("True", NEW_AVAILABLE, "has successfully progressed."));
        } else if self.has_progressed(status) {
            conditions.renew(told("True", "ReplicaSetUpdated", "is progressing."));
        } else if self.has_timed_out() {
            conditions.set(told("False", TIMED_OUT, "has timed out progressing."));
        }
    }

    fn has_progressed(&self, new: &DeploymentStatus) -> bool {
        let none = DeploymentStatus::default();
        let old = self.deployment.status.as_ref().unwrap_or(&none);
        let count = |of: Option<i32>| of.unwrap_or_default();
        let outdated = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
        count(new.updated_replicas) > count(old.updated_replicas)
            || outdated(new) < outdated(old)
            || count(new.ready_replicas) > count(old.ready_replicas)
            || count(new.available_replicas) > count(old.available_replicas)
    }

    fn has_timed_out(&self) -> bool {
        match self.conditions.get(PROGRESSING).and_then(|condition| condition.reason.as_deref()) {
            None | Some(NEW_AVAILABLE) => false,
            Some(TIMED_OUT) => true,
            Some(_) => self.until_timeout(&self.conditions).is_some_and(|left| left.is_negative()),
        }
    }

    fn until_timeout(&self, conditions: &Conditions) -> Option<SignedDuration> {
        let deadline = SignedDuration::from_secs(progress_deadline_seconds(self.spec)?.into());
        let last = conditions.get(PROGRESSING)?.last_update_time.as_ref()?.0;
        Some((last + deadline).duration_since(self.now))
    }

    /// When to look again whether a rollout that nothing moves has timed out.
    pub(crate) fn next_progress_check(&self, status: &DeploymentStatus) -> Option<SignedDuration> {
        let conditions = Conditions::of(Some(status));
        let reason = conditions.get(PROGRESSING)?.reason.as_deref();
        let settled = is_complete(status, self.limits.replicas, self.deployment.metadata.generation);
        if settled || matches!(reason, Some(TIMED_OUT | NEW_AVAILABLE)) {
            return None;
        }
        // Times in objects are cut to seconds, so one more is waited for.
        Some(self.until_timeout(&conditions)?.max(SignedDuration::ZERO) + SignedDuration::from_secs(1))
    }

    /// A ReplicaSet that cannot make its Pods; the present template's counts most.
    fn replica_failure(&self) -> Option<DeploymentCondition> {
        let new = self.new.map(|new| &self.sets[new]);
        let conditions = new.into_iter().chain(&self.sets).filter_map(|set| set.set.status.as_ref());
        let failure =
            conditions.flat_map(|status| status.conditions.iter().flatten()).find(|c| c.type_ == REPLICA_FAILURE)?;
        Some(DeploymentCondition {
            type_: failure.type_.clone(),
            status: failure.status.clone(),
            reason: failure.reason.clone(),
            message: failure.message.clone(),
            last_update_time: failure.last_transition_time.clone(),
            last_transition_time: failure.last_transition_time.clone(),
        })
    }
}
