//! A ReplicaSet as it is, and as it shall be.

use super::spec::Limits;
use super::template::{self, HASH_LABEL};
use crate::claims::controller_reference;
use crate::objects::{annotation, created, name};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use kube::api::ObjectMeta;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// On a Deployment and its ReplicaSets: which rollout this is.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that are not its ReplicaSets' too.
const OWN_ANNOTATIONS: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// Longest annotation of past revisions; the oldest are dropped.
const REVISION_HISTORY_BYTES_MAX: usize = 2000;
/// Longest name of an object.
const NAME_BYTES_MAX: usize = 253;

/// Changes are made on `set`; what they come to is told by comparing it with `original`.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// `None` for one that is to be created.
    pub(crate) original: Option<Arc<ReplicaSet>>,
    pub(crate) set: ReplicaSet,
    pub(crate) delete: bool,
}

impl Draft {
    pub(crate) fn existing(set: &Arc<ReplicaSet>) -> Self {
        Self { original: Some(set.clone()), set: (**set).clone(), delete: false }
    }

    /// The ReplicaSet of a Deployment's present template, with no Pods yet.
    pub(crate) fn new(deployment: &Deployment, spec: &DeploymentSpec) -> Self {
        let collisions = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or_default();
        let hash = template::hash(&spec.template, collisions);
        let mut template = spec.template.clone();
        let labels = &mut template.metadata.get_or_insert_default().labels;
        labels.get_or_insert_default().insert(HASH_LABEL.into(), hash.clone());
        let labels = labels.clone();
        let mut selector = spec.selector.clone();
        selector.match_labels.get_or_insert_default().insert(HASH_LABEL.into(), hash.clone());
        let prefix: String = name(deployment).chars().take(NAME_BYTES_MAX - 1 - hash.len()).collect();
        let metadata = ObjectMeta {
            name: Some(format!("{prefix}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            owner_references: controller_reference(deployment).map(|owner| vec![owner]),
            labels,
            ..ObjectMeta::default()
        };
        let spec = ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        };
        Self { original: None, set: ReplicaSet { metadata, spec: Some(spec), status: None }, delete: false }
    }

    pub(crate) fn name(&self) -> &str {
        name(&self.set)
    }

    pub(crate) fn replicas(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    pub(crate) fn is_active(&self) -> bool {
        self.replicas() > 0
    }

    /// A number of the status; 0 if it is not there yet.
    pub(crate) fn observed(&self, of: fn(&ReplicaSetStatus) -> Option<i32>) -> i32 {
        self.set.status.as_ref().and_then(of).unwrap_or_default()
    }

    pub(crate) fn available(&self) -> i32 {
        self.observed(|status| status.available_replicas)
    }

    /// Sets the size, and notes for a later change of the Deployment's size what this one was part of.
    pub(crate) fn scale(&mut self, replicas: i32, limits: &Limits) {
        self.set.spec.get_or_insert_default().replicas = Some(replicas);
        self.note_limits(limits);
    }

    pub(crate) fn note_limits(&mut self, limits: &Limits) {
        let annotations = self.annotations();
        annotations.insert(DESIRED_REPLICAS.into(), limits.replicas.to_string());
        annotations.insert(MAX_REPLICAS.into(), limits.max_total().to_string());
    }

    /// The Deployment's size when this one was last scaled.
    pub(crate) fn desired_replicas(&self) -> Option<i32> {
        annotation(&self.set, DESIRED_REPLICAS)?.parse().ok().filter(|count| *count >= 0)
    }

    /// The most Pods there could be when this one was last scaled.
    pub(crate) fn max_replicas(&self) -> Option<i32> {
        annotation(&self.set, MAX_REPLICAS)?.parse().ok().filter(|count| *count > 0)
    }

    /// 0 if it has none; `None` if somebody wrote nonsense there.
    pub(crate) fn revision(&self) -> Option<i64> {
        annotation(&self.set, REVISION).map_or(Some(0), |text| text.parse().ok())
    }

    /// Takes over the Deployment's annotations, and becomes revision `revision` unless it is a later one already.
    pub(crate) fn become_revision(&mut self, deployment: &Deployment, revision: i64) {
        let inherited = deployment.metadata.annotations.iter().flatten();
        let inherited = inherited.filter(|(key, _)| !OWN_ANNOTATIONS.contains(&key.as_str()));
        self.annotations().extend(inherited.map(|(key, value)| (key.clone(), value.clone())));
        let Some(before) = self.revision() else { return };
        if before >= revision {
            return;
        }
        let annotations = self.annotations();
        if let Some(before) = annotations.insert(REVISION.into(), revision.to_string()) {
            let history = annotations.entry(REVISION_HISTORY.into()).or_default();
            *history = extended_history(history, &before);
        }
    }

    fn annotations(&mut self) -> &mut BTreeMap<String, String> {
        self.set.metadata.annotations.get_or_insert_default()
    }

    /// Oldest first.
    pub(crate) fn by_age(&self, other: &Self) -> Ordering {
        // One that is not created yet is the youngest.
        let age = |draft: &Self| (draft.original.is_none(), created(&draft.set));
        age(self).cmp(&age(other)).then_with(|| self.name().cmp(other.name()))
    }

    /// Earliest revision first.
    pub(crate) fn by_revision(&self, other: &Self) -> Ordering {
        match (self.revision(), other.revision()) {
            (Some(one), Some(two)) if one != two => one.cmp(&two),
            _ => self.by_age(other),
        }
    }
}

fn extended_history(history: &str, revision: &str) -> String {
    let mut revisions: Vec<&str> = history.split(',').filter(|part| !part.is_empty()).collect();
    revisions.push(revision);
    let mut bytes: usize = revisions.iter().map(|part| part.len() + 1).sum();
    let mut first = 0;
    while bytes > REVISION_HISTORY_BYTES_MAX && first + 1 < revisions.len() {
        bytes -= revisions[first].len() + 1;
        first += 1;
    }
    revisions[first..].join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_of_revisions_is_bounded_and_keeps_the_latest() {
        assert_eq!(extended_history("", "1"), "1");
        assert_eq!(extended_history("1,2", "5"), "1,2,5");
        let long = vec!["1000"; 500].join(",");
        let extended = extended_history(&long, "2000");
        assert!(extended.len() <= REVISION_HISTORY_BYTES_MAX && extended.ends_with(",2000"), "{}", extended.len());
    }
}
