//! When two Pod templates are the same, and what name that gives their ReplicaSet.

use crate::hash::Hash;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

/// Label by which the Pods of one template are told from those of another.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// True if the two would give the same Pods. The hash label is ignored: only a ReplicaSet's template has it.
pub(crate) fn same(one: &PodTemplateSpec, other: &PodTemplateSpec) -> bool {
    one == other || comparable(one) == comparable(other)
}

/// A short name of a template for use in object names. Which text it is does not matter, only that it is always the
/// same: a ReplicaSet is found by comparing templates. `collisions` gives another one where a name was taken.
pub(crate) fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let hash = Hash::default().write(comparable(template).to_string().as_bytes());
    if collisions == 0 { hash.text() } else { hash.write(&collisions.to_le_bytes()).text() }
}

fn comparable(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).expect("a Pod template is JSON");
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(HASH_LABEL);
        }
        metadata.retain(|_, part| !part.as_object().is_some_and(|map| map.is_empty()));
    }
    drop_empty_lists(&mut value);
    value
}

/// An absent list and an empty one are the same to Kubernetes.
fn drop_empty_lists(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, part| !part.is_null() && !part.as_array().is_some_and(|list| list.is_empty()));
            map.values_mut().for_each(drop_empty_lists);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_empty_lists),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn template(value: Value) -> PodTemplateSpec {
        from_value(value).unwrap()
    }

    #[test]
    fn templates_are_compared_without_hash_label_and_empty_lists() {
        let base =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let change = |pointer: &str, key: &str, value: Value| {
            let mut other = base.clone();
            other.pointer_mut(pointer).unwrap()[key] = value;
            same(&template(base.clone()), &template(other))
        };
        assert!(change("/metadata/labels", HASH_LABEL, json!("abc")));
        assert!(change("/spec/containers/0", "args", json!([])));
        assert!(!change("/spec/containers/0", "args", json!(["a"])));
        assert!(!change("/spec/containers/0", "image", json!("other")));
        assert!(!change("/metadata/labels", "tier", json!("front")));
        assert!(!change("/spec", "volumes", json!([{"name": "v", "emptyDir": {}}])));
    }

    #[test]
    fn a_hash_differs_by_template_and_by_collisions() {
        let (web, api) = (template(json!({"spec": {"hostname": "web", "containers": []}})), PodTemplateSpec::default());
        assert_eq!(hash(&web, 0), hash(&web, 0));
        assert_ne!(hash(&web, 0), hash(&web, 1));
        assert_ne!(hash(&web, 0), hash(&api, 0));
    }
}
