//! Who changed a live object, as far as it says.

use model::FIELD_MANAGER;
use model::flow::Change;
use object::meta;
use serde_json::Value;

/// So many changed fields are named in a reason; the plan holds them all.
const NAMED_MAX: usize = 3;

/// Managers of the object itself, not of its status, with the fields that they own.
pub(crate) fn managers(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let of_object = |entry: &&Value| entry.get("subresource").and_then(Value::as_str).unwrap_or_default().is_empty();
    meta(object)
        .managed_fields()
        .iter()
        .filter(of_object)
        .filter_map(|entry| Some((entry.get("manager")?.as_str()?, entry.get("fieldsV1")?)))
}

/// `changed in the cluster by kubectl-edit: spec.replicas 1 → 3`: what stood by description, and what stands.
/// Of a Secret only the fields are named.
pub(crate) fn drift(live: &Value, changes: &[Change], secret: bool) -> String {
    let mut names: Vec<&str> = managers(live)
        .filter(|(manager, fields)| *manager != FIELD_MANAGER && changes.iter().any(|c| owns(fields, &c.path)))
        .map(|(manager, _)| manager)
        .collect();
    names.dedup();
    let by = if names.is_empty() { String::new() } else { format!(" by {}", names.join(", ")) };
    let mut fields: Vec<String> =
        changes.iter().take(NAMED_MAX).map(|c| if secret { c.path.clone() } else { field(c) }).collect();
    if changes.len() > NAMED_MAX {
        fields.push(format!("and {} more", changes.len() - NAMED_MAX));
    }
    format!("changed in the cluster{by}: {}", fields.join(", "))
}

/// Seen from the cluster: it was as described, and is as it stands now.
fn field(change: &Change) -> String {
    let show = |value: &Option<Value>| match value {
        None => Some("none".to_owned()),
        Some(Value::Object(_) | Value::Array(_)) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(value) => Some(value.to_string()),
    };
    match (show(&change.after), show(&change.before)) {
        (Some(described), Some(stands)) => format!("{} {described} → {stands}", change.path),
        _ => change.path.clone(),
    }
}

/// True if the manager owns a field at or above the path; keyed list items are taken as their list.
fn owns(fields: &Value, path: &str) -> bool {
    let plain = path.split('[').next().unwrap_or_default();
    let mut at = fields;
    for key in plain.split('.').filter(|key| !key.is_empty()) {
        match at.get(format!("f:{key}")) {
            Some(next) => at = next,
            None => return false,
        }
    }
    true
}
