//! Which ConfigMaps and Secrets Pods still need.

use model::{ObjectId, Observation};
use object::meta;
use serde_json::Value;
use std::collections::BTreeSet;

/// What Pods that have not ended refer to. A container that starts again reads it again, so it may not be deleted before
/// them, though nobody describes it any more.
pub(crate) fn in_use(observation: &Observation) -> BTreeSet<ObjectId> {
    let pods = observation.objects.iter().filter(|(id, _)| id.group.is_empty() && id.kind == "Pod");
    let mut used = BTreeSet::new();
    for (_, pod) in pods.filter(|(_, pod)| !has_ended(pod)) {
        let namespace = meta(pod).namespace().to_owned();
        collect(&pod["spec"], &mut |kind, name| {
            let (kind, name) = (kind.to_owned(), name.to_owned());
            used.insert(ObjectId { group: String::new(), kind, namespace: namespace.clone(), name });
        });
    }
    used
}

fn has_ended(pod: &Value) -> bool {
    matches!(pod.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"))
}

/// References in a Pod's spec, by the field that holds them and the field in it that holds the name.
const REFERENCES: [(&str, &str, &str); 7] = [
    ("configMap", "name", "ConfigMap"),
    ("configMapRef", "name", "ConfigMap"),
    ("configMapKeyRef", "name", "ConfigMap"),
    ("secret", "secretName", "Secret"),
    ("secret", "name", "Secret"),
    ("secretRef", "name", "Secret"),
    ("secretKeyRef", "name", "Secret"),
];

fn collect(value: &Value, found: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(map) => {
            for (field, inner) in map {
                for (_, name, kind) in REFERENCES.iter().filter(|(reference, ..)| reference == field) {
                    if let Some(name) = inner.get(*name).and_then(Value::as_str) {
                        found(kind, name);
                    }
                }
                if field == "imagePullSecrets" {
                    inner
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(|s| s["name"].as_str())
                        .for_each(|name| found("Secret", name));
                }
                collect(inner, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}
