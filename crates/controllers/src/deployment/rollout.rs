//! What one look at a Deployment decides. Nothing here reads a clock or the network.

use super::draft::{Draft, REVISION};
use super::spec::{Limits, is_recreate, progress_deadline_seconds};
use super::status::{Conditions, PROGRESSING, condition, is_complete, note_pause};
use super::template;
use crate::objects::{annotation, controller_of, is_deleting, is_terminal, uid};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

/// What is known of a Deployment.
pub(crate) struct Facts<'a> {
    pub(crate) deployment: &'a Deployment,
    /// Those that it controls.
    pub(crate) replica_sets: &'a [Arc<ReplicaSet>],
    /// Those that its ReplicaSets control, whatever their state; looked at if it wants to be recreated.
    pub(crate) pods: &'a [Arc<Pod>],
    pub(crate) now: Timestamp,
}

/// What is to be done, in this order: changes, then status and revision.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) changes: Vec<Change>,
    /// The Deployment's annotation, if it differs.
    pub(crate) revision: Option<String>,
    pub(crate) status: DeploymentStatus,
    pub(crate) look_again: Option<SignedDuration>,
}

/// One change of a ReplicaSet.
#[derive(Debug)]
pub(crate) enum Change {
    Create(Box<ReplicaSet>),
    /// Annotations, size or minReadySeconds differ.
    Update {
        before: Arc<ReplicaSet>,
        after: Box<ReplicaSet>,
    },
    Delete(Arc<ReplicaSet>),
}

/// Decides on one Deployment; `None` if it has no spec or selects everything, which means nothing can be done.
pub(crate) fn decide(facts: &Facts<'_>) -> Option<Decision> {
    let spec = facts.deployment.spec.as_ref()?;
    let mut rollout = Rollout::new(facts, spec);
    if is_deleting(facts.deployment) {
        return Some(rollout.finish(Rollout::plain_status));
    }
    let paused = spec.paused.unwrap_or_default();
    if progress_deadline_seconds(spec).is_some() {
        note_pause(&mut rollout.conditions, paused, facts.now);
    }
    rollout.revise_new();
    if paused || rollout.is_resized() {
        rollout.resize();
        if paused {
            rollout.clean_up();
        }
        return Some(rollout.finish(Rollout::plain_status));
    }
    if is_recreate(spec) {
        rollout.recreate(facts.pods);
    } else {
        rollout.roll();
    }
    let mut decision = rollout.finish(Rollout::rollout_status);
    decision.look_again = rollout.next_progress_check(&decision.status);
    Some(decision)
}

/// A Deployment with drafts of all its ReplicaSets, oldest first.
pub(crate) struct Rollout<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) spec: &'a DeploymentSpec,
    pub(crate) limits: Limits,
    pub(crate) sets: Vec<Draft>,
    /// Which of them has the present template.
    pub(crate) new: Option<usize>,
    pub(crate) conditions: Conditions,
    pub(crate) now: Timestamp,
}

impl<'a> Rollout<'a> {
    fn new(facts: &Facts<'a>, spec: &'a DeploymentSpec) -> Self {
        let mut sets: Vec<Draft> = facts.replica_sets.iter().map(Draft::existing).collect();
        sets.sort_by(Draft::by_age);
        let has_template = |draft: &Draft| {
            let of_set = draft.set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            of_set.is_some_and(|of_set| template::same(of_set, &spec.template))
        };
        Self {
            deployment: facts.deployment,
            spec,
            limits: Limits::of(spec),
            new: sets.iter().position(has_template),
            sets,
            conditions: Conditions::of(facts.deployment.status.as_ref()),
            now: facts.now,
        }
    }

    pub(crate) fn is_new(&self, index: usize) -> bool {
        self.new == Some(index)
    }

    /// Indices of the others, oldest first.
    pub(crate) fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|index| !self.is_new(*index)).collect()
    }

    pub(crate) fn total_replicas(&self) -> i32 {
        self.sets.iter().map(Draft::replicas).sum()
    }

    fn next_revision(&self) -> i64 {
        self.old().into_iter().filter_map(|index| self.sets[index].revision()).max().unwrap_or_default() + 1
    }

    /// Brings the present template's ReplicaSet, if there is one, up to the Deployment: it is the latest revision.
    fn revise_new(&mut self) {
        let revision = self.next_revision();
        let Some(new) = self.new else { return };
        let draft = &mut self.sets[new];
        draft.become_revision(self.deployment, revision);
        if let Some(spec) = draft.set.spec.as_mut().filter(|spec| {
            spec.min_ready_seconds.unwrap_or_default() != self.spec.min_ready_seconds.unwrap_or_default()
        }) {
            spec.min_ready_seconds = self.spec.min_ready_seconds;
        }
        let message = format!("Found new replica set {:?}", draft.name());
        self.tell_progress_once("FoundNewReplicaSet", message);
    }

    /// If nothing is known yet of the progress, it begins here.
    fn tell_progress_once(&mut self, reason: &str, message: String) {
        if progress_deadline_seconds(self.spec).is_some() && self.conditions.get(PROGRESSING).is_none() {
            self.conditions.set(condition(PROGRESSING, "True", reason, message, self.now));
        }
    }

    /// The present template's ReplicaSet; makes one if there is none.
    fn ensure_new(&mut self) -> usize {
        if let Some(new) = self.new {
            return new;
        }
        let mut draft = Draft::new(self.deployment, self.spec);
        draft.become_revision(self.deployment, self.next_revision());
        draft.scale(self.room_for_new(0), &self.limits);
        let message = format!("Created new replica set {:?}", draft.name());
        if progress_deadline_seconds(self.spec).is_some() {
            self.conditions.set(condition(PROGRESSING, "True", "NewReplicaSetCreated", message, self.now));
        }
        self.sets.push(draft);
        let new = self.sets.len() - 1;
        self.new = Some(new);
        new
    }

    /// How large the new ReplicaSet may be now that it has `size`.
    fn room_for_new(&self, size: i32) -> i32 {
        if is_recreate(self.spec) {
            return self.limits.replicas;
        }
        let room = (self.limits.max_total() - self.total_replicas()).max(0);
        size + room.min(self.limits.replicas - size)
    }

    fn roll(&mut self) {
        let new = self.ensure_new();
        let size = self.sets[new].replicas();
        let wanted = self.room_for_new(size);
        if wanted != size {
            self.sets[new].scale(wanted, &self.limits);
        } else if !self.shrink_old(new) && self.was_complete_before() {
            self.clean_up();
        }
    }

    fn was_complete_before(&self) -> bool {
        let status = self.deployment.status.as_ref();
        status.is_some_and(|status| is_complete(status, self.limits.replicas, self.deployment.metadata.generation))
    }

    /// Takes from the old ones what the new one no longer needs: first what is not available anyway. True if any.
    fn shrink_old(&mut self, new: usize) -> bool {
        let unavailable_new = self.sets[new].replicas() - self.sets[new].available();
        let spare = self.total_replicas() - self.limits.min_available() - unavailable_new;
        let dropped = self.shrink(spare, |draft| draft.replicas() - draft.available());
        let available: i32 = self.sets.iter().map(Draft::available).sum();
        let spare_available = if spare > 0 { available - self.limits.min_available() } else { 0 };
        let taken = self.shrink(spare_available, Draft::replicas);
        dropped + taken > 0
    }

    /// Scales the old ones down by up to `spare` in all, each by at most `by`. Returns by how much.
    fn shrink(&mut self, spare: i32, by: impl Fn(&Draft) -> i32) -> i32 {
        let mut left = spare.max(0);
        for index in self.old() {
            let draft = &mut self.sets[index];
            let less = by(draft).min(draft.replicas()).min(left);
            if less > 0 {
                draft.scale(draft.replicas() - less, &self.limits);
                left -= less;
            }
        }
        spare.max(0) - left
    }

    fn recreate(&mut self, pods: &[Arc<Pod>]) {
        if self.shrink(i32::MAX, Draft::replicas) > 0 || self.old_pods_exist(pods) {
            return;
        }
        let new = self.ensure_new();
        if self.sets[new].replicas() != self.limits.replicas {
            self.sets[new].scale(self.limits.replicas, &self.limits);
        }
        if self.was_complete_before() {
            self.clean_up();
        }
    }

    fn old_pods_exist(&self, pods: &[Arc<Pod>]) -> bool {
        let new_uid = self.new.map(|new| uid(&self.sets[new].set)).unwrap_or_default();
        let of_new = |pod: &Pod| controller_of(pod).is_some_and(|owner| owner.uid == new_uid);
        self.old().into_iter().any(|index| self.sets[index].observed(|status| Some(status.replicas)) > 0)
            || pods.iter().any(|pod| !of_new(pod) && !is_terminal(pod))
    }

    /// Deletes the oldest revisions above the limit of those that have no Pods.
    fn clean_up(&mut self) {
        let limit = self.spec.revision_history_limit.filter(|limit| *limit != i32::MAX);
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return };
        let mut old = self.old();
        old.retain(|index| !is_deleting(&self.sets[*index].set));
        old.sort_by(|one, other| self.sets[*one].by_revision(&self.sets[*other]));
        for index in old.iter().take(old.len().saturating_sub(limit)) {
            let draft = &mut self.sets[*index];
            let status = draft.set.status.as_ref();
            let is_observed = status.and_then(|status| status.observed_generation) >= draft.set.metadata.generation;
            draft.delete = draft.replicas() == 0 && draft.observed(|status| Some(status.replicas)) == 0 && is_observed;
        }
    }

    fn finish(&self, status: impl Fn(&Self) -> DeploymentStatus) -> Decision {
        let revision = self.new.and_then(|new| annotation(&self.sets[new].set, REVISION));
        let revision = revision.filter(|revision| annotation(self.deployment, REVISION) != Some(revision));
        Decision {
            changes: self.sets.iter().filter_map(change).collect(),
            revision: revision.map(str::to_owned).filter(|_| !is_deleting(self.deployment)),
            status: status(self),
            look_again: None,
        }
    }
}

fn change(draft: &Draft) -> Option<Change> {
    match &draft.original {
        None => Some(Change::Create(Box::new(draft.set.clone()))),
        Some(original) if draft.delete => Some(Change::Delete(original.clone())),
        Some(original) if **original != draft.set => {
            Some(Change::Update { before: original.clone(), after: Box::new(draft.set.clone()) })
        }
        Some(_) => None,
    }
}
