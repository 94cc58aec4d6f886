//! Pods of Jobs.

use crate::claims::controller_reference;
use crate::objects::{is_deleting, name, phase};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ObjectMeta;

/// Holds a Pod until its end is counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

pub(crate) fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER)
}

/// What a Pod of this Job looks like before it has a name.
pub(super) fn pod_of(job: &Job) -> Pod {
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    let mut finalizers = metadata.finalizers.unwrap_or_default();
    finalizers.push(FINALIZER.to_owned());
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", name(job))),
            namespace: job.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: Some(finalizers),
            owner_references: controller_reference(job).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// How a Pod counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Active,
    Succeeded,
    /// Also one that is being deleted: it may never reach its end.
    Failed,
}

pub(super) fn outcome(pod: &Pod) -> Outcome {
    match phase(pod) {
        "Succeeded" => Outcome::Succeeded,
        "Failed" => Outcome::Failed,
        _ if is_deleting(pod) => Outcome::Failed,
        _ => Outcome::Active,
    }
}

/// When its last container ended; if that is not known, when it was to be deleted.
pub(super) fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let ends = containers.filter_map(|container| container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    let deleted = pod.metadata.deletion_timestamp.as_ref();
    ends.chain(deleted).map(|time| time.0).max()
}

/// How often the containers of a Pod were started again.
pub(super) fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let lists = [
        status.and_then(|status| status.init_container_statuses.as_ref()),
        status.and_then(|status| status.container_statuses.as_ref()),
    ];
    lists.into_iter().flatten().flatten().map(|container| container.restart_count).sum()
}
