//! Writing the status: by nobody else, and only when it changed.

use super::Worker;
use crate::pod::{PodExt, status};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Map, Value, json};
use std::sync::Arc;

impl Worker {
    /// Brings the status in the API up to date; false if that failed and must be tried again.
    pub(super) async fn report(&mut self) -> bool {
        if self.machine.gone {
            return true;
        }
        let wanted = status::status(&self.machine, &self.pod, &self.context.facts.host_ip, Timestamp::now());
        let Some(patch) = difference(self.pod.status.as_ref(), &wanted) else { return true };
        // The uid makes it a conflict when another Pod has taken the name.
        let patch = json!({ "metadata": { "uid": self.pod.uid_str() }, "status": patch });
        let (api, name) = (self.api(), self.pod.name_any());
        match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(mut pod) => {
                pod.metadata.managed_fields = None;
                self.pod = Arc::new(pod);
                true
            }
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {
                // The object is gone or another's; the watch will say so.
                tracing::debug!(pod = name, answer = answer.message, "a status was not wanted");
                true
            }
            Err(error) => {
                tracing::warn!(pod = name, %error, "a status could not be written");
                false
            }
        }
    }

    /// Lets the object go. True if it is gone.
    pub(super) async fn finish(&mut self) -> bool {
        if self.machine.gone {
            return true;
        }
        let only_this = Preconditions { uid: self.pod.metadata.uid.clone(), resource_version: None };
        let params =
            DeleteParams { grace_period_seconds: Some(0), preconditions: Some(only_this), ..DeleteParams::default() };
        match self.api().delete(&self.pod.name_any(), &params).await {
            Ok(_) => true,
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => true,
            Err(error) => {
                tracing::warn!(pod = self.pod.name_any(), %error, "a stopped Pod could not be deleted");
                false
            }
        }
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.context.client.clone(), self.pod.namespace_str())
    }
}

/// Whether an object is an older state of another; a late watch event must not undo what a write returned.
pub(super) fn older(pod: &Pod, than: &Pod) -> bool {
    version(pod) < version(than)
}

/// The revision of an object.
pub(super) fn version(pod: &Pod) -> Option<u64> {
    pod.metadata.resource_version.as_ref()?.parse().ok()
}

/// Merge patch from one status to the other; `None` if there is no difference.
fn difference(from: Option<&PodStatus>, to: &PodStatus) -> Option<Value> {
    let value = |status: &PodStatus| serde_json::to_value(status).unwrap_or_default();
    let from = from.map(value).unwrap_or_else(|| json!({}));
    merge_patch(&from, &value(to))
}

fn merge_patch(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(before) => patch.extend(merge_patch(before, value).map(|change| (key.clone(), change))),
            None => _ = patch.insert(key.clone(), value.clone()),
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches() {
        for (from, to, expected) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1, "b": 2}), json!({"a": 1}), Some(json!({"b": null}))),
            (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"x": 1, "y": 3}}), Some(json!({"a": {"y": 3}}))),
            (json!({"a": [1, 2]}), json!({"a": [1]}), Some(json!({"a": [1]}))),
        ] {
            assert_eq!(merge_patch(&from, &to), expected, "{from} → {to}");
        }
    }
}
