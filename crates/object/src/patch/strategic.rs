//! Strategic merge patch: a merge patch in which lists merge by the keys that the schema names.

use crate::schema::{Field, Patch, Schema, Shape};
use serde_json::{Map, Value};
use std::collections::HashMap;

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";
const DEPTH: usize = 256;

/// Why a patch cannot be applied. The words are those of the original.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    /// The patch is no map.
    #[error("Invalid JSON Patch: a strategic merge patch is a map")]
    NoMap,
    /// `$patch` has an unknown value.
    #[error("unknown patch type: {0} in map: {1}")]
    Directive(String, String),
    /// An item of a keyed list lacks its key.
    #[error("map: {0} does not contain declared merge key: {1}")]
    NoMergeKey(String, String),
    /// `$retainKeys` is no list, or a field of the patch is not in it.
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    /// `$setElementOrder` is no list, or an item of the patch is not in it.
    #[error("invalid patch format of setElementOrder list")]
    ElementOrder,
    /// `$deleteFromPrimitiveList` is no list.
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    /// Patch and schema nest too deep.
    #[error("the patch nests deeper than {DEPTH} levels")]
    Depth,
}

/// The target with the patch merged in, lists by the keys of the schema.
pub fn strategic_merge_patch(target: Value, patch: &Value, schema: &Schema) -> Result<Value, StrategicError> {
    let Value::Object(patch) = patch else { return Err(StrategicError::NoMap) };
    let target = if let Value::Object(map) = target { map } else { Map::new() };
    merge_map(target, patch, Some(schema), DEPTH).map(Value::Object)
}

fn merge_map(
    mut target: Map<String, Value>,
    patch: &Map<String, Value>,
    schema: Option<&Schema>,
    depth: usize,
) -> Result<Map<String, Value>, StrategicError> {
    let depth = depth.checked_sub(1).ok_or(StrategicError::Depth)?;
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch.iter().filter(|(key, _)| *key != DIRECTIVE).map(clone_pair).collect()),
            Some("delete") => Ok(Map::new()),
            _ => Err(StrategicError::Directive(shown(directive), shown(&Value::Object(patch.clone())))),
        };
    }
    if let Some(keys) = patch.get(RETAIN) {
        retain(&mut target, patch, keys)?;
    }
    for (key, change) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let order = patch.get(&format!("{ORDER}{key}"));
        merge_field(&mut target, key, change, order, schema, depth)?;
    }
    for (key, change) in patch {
        if let Some(field) = key.strip_prefix(DELETE) {
            let gone = change.as_array().ok_or(StrategicError::PrimitiveList)?;
            if let Some(Value::Array(items)) = target.get_mut(field) {
                items.retain(|item| !gone.contains(item));
            }
        }
        if let Some(field) = key.strip_prefix(ORDER)
            && !patch.contains_key(field)
            && let Some(Value::Array(items)) = target.get_mut(field)
        {
            let order = change.as_array().ok_or(StrategicError::ElementOrder)?;
            let rules = rules_of(schema, field);
            *items = in_order(std::mem::take(items), order, None, rules.merge_key.as_deref());
        }
    }
    Ok(target)
}

fn merge_field(
    target: &mut Map<String, Value>,
    key: &str,
    change: &Value,
    order: Option<&Value>,
    schema: Option<&Schema>,
    depth: usize,
) -> Result<(), StrategicError> {
    let below = schema.and_then(|schema| schema.field(key));
    let rules = rules_of(schema, key);
    match (target.get_mut(key), change) {
        (_, Value::Null) => {
            target.shift_remove(key);
        }
        (Some(Value::Object(old)), Value::Object(change)) => {
            let merged = merge_map(std::mem::take(old), change, below.as_ref(), depth)?;
            target.insert(key.to_owned(), Value::Object(merged));
        }
        (Some(Value::Array(old)), Value::Array(change)) if rules.merge => {
            let old = std::mem::take(old);
            let items = below.as_ref().and_then(Schema::items);
            let merged = merge_list(old, change, order, items.as_ref(), rules.merge_key.as_deref(), depth)?;
            target.insert(key.to_owned(), Value::Array(merged));
        }
        (Some(Value::Array(_)), Value::Array(_)) => {
            target.insert(key.to_owned(), change.clone());
        }
        _ => match without_directives(change) {
            Some(value) => _ = target.insert(key.to_owned(), value),
            None => _ = target.shift_remove(key),
        },
    }
    Ok(())
}

fn merge_list(
    old: Vec<Value>,
    change: &[Value],
    order: Option<&Value>,
    items: Option<&Schema>,
    merge_key: Option<&str>,
    depth: usize,
) -> Result<Vec<Value>, StrategicError> {
    let order = match order {
        Some(order) => Some(order.as_array().ok_or(StrategicError::ElementOrder)?),
        None => None,
    };
    let Some(key) = merge_key.filter(|_| old.iter().chain(change).all(Value::is_object)) else {
        let before = old.clone();
        let mut merged = old;
        for item in change {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(in_order(merged, order.map_or(change, Vec::as_slice), Some(&before), None));
    };
    let (mut merged, plain) = directives(old, change, key)?;
    let before = merged.clone();
    let mut places: HashMap<String, usize> =
        merged.iter().enumerate().filter_map(|(at, item)| Some((item.get(key)?.to_string(), at))).collect();
    for item in &plain {
        let name = item.get(key).ok_or_else(|| StrategicError::NoMergeKey(shown(item), key.to_owned()))?.to_string();
        match (places.get(&name), item) {
            (Some(at), Value::Object(change)) => {
                let old = merged[*at].take();
                let old = if let Value::Object(map) = old { map } else { Map::new() };
                merged[*at] = Value::Object(merge_map(old, change, items, depth)?);
            }
            _ => {
                if let Some(value) = without_directives(item) {
                    places.insert(name, merged.len());
                    merged.push(value);
                }
            }
        }
    }
    Ok(in_order(merged, order.map_or(plain.as_slice(), Vec::as_slice), Some(&before), Some(key)))
}

/// What is left of the old list and of the patch once `$patch` items have been obeyed.
fn directives(mut old: Vec<Value>, change: &[Value], key: &str) -> Result<(Vec<Value>, Vec<Value>), StrategicError> {
    let mut plain = Vec::new();
    let mut replace = false;
    for item in change {
        match item.get(DIRECTIVE).map(|directive| (directive.as_str(), directive)) {
            None => plain.push(item.clone()),
            Some((Some("delete"), _)) => {
                let name = item.get(key).ok_or_else(|| StrategicError::NoMergeKey(shown(item), key.to_owned()))?;
                old.retain(|other| other.get(key) != Some(name));
            }
            Some((Some("replace"), _)) => replace = true,
            Some((_, directive)) => return Err(StrategicError::Directive(shown(directive), shown(item))),
        }
    }
    Ok(if replace { (Vec::new(), plain) } else { (old, plain) })
}

/// Items that `order` names stand in its order; the others keep their place relative to those
/// named ones that were there before (`before`, or the list itself).
fn in_order(items: Vec<Value>, order: &[Value], before: Option<&[Value]>, key: Option<&str>) -> Vec<Value> {
    let name = |item: &Value| key.map_or(item, |key| item.get(key).unwrap_or(&Value::Null)).to_string();
    let places = |list: &[Value]| -> HashMap<String, usize> {
        list.iter().enumerate().rev().map(|(at, item)| (name(item), at)).collect()
    };
    let wanted = places(order);
    let stood = places(before.unwrap_or(&items));
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| wanted.contains_key(&name(item)));
    named.sort_by_key(|item| wanted.get(&name(item)).copied());
    let mut result = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in named {
        let stands_before = |other: &Value| match (stood.get(&name(other)), stood.get(&name(&item))) {
            (Some(other), Some(this)) => other < this,
            _ => false,
        };
        while let Some(other) = others.next_if(stands_before) {
            result.push(other);
        }
        result.push(item);
    }
    result.extend(others);
    result
}

fn retain(target: &mut Map<String, Value>, patch: &Map<String, Value>, keys: &Value) -> Result<(), StrategicError> {
    let keys = keys.as_array().ok_or(StrategicError::RetainKeys)?;
    let kept = |key: &str| keys.iter().any(|other| other.as_str() == Some(key));
    if patch.iter().any(|(key, value)| !key.starts_with('$') && !value.is_null() && !kept(key)) {
        return Err(StrategicError::RetainKeys);
    }
    target.retain(|key, _| kept(key));
    Ok(())
}

/// The value as it is stored where nothing stood before: no directives, no nulls. `None` if it is a directive.
fn without_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, value)| !key.starts_with('$') && !value.is_null());
            Some(Value::Object(
                kept.filter_map(|(key, value)| Some((key.clone(), without_directives(value)?))).collect(),
            ))
        }
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(without_directives).collect())),
        other => Some(other.clone()),
    }
}

fn rules_of(schema: Option<&Schema>, key: &str) -> Patch {
    let Some(schema) = schema else { return Patch::default() };
    let Shape::Map(map) = &schema.ty().shape else { return Patch::default() };
    let of_list = |field: &Field| match &schema.at(field.ty).ty().shape {
        Shape::List(list) => list.patch.clone(),
        _ => Patch::default(),
    };
    map.fields
        .get(key)
        .map_or_else(Patch::default, |field| if field.patch.merge { field.patch.clone() } else { of_list(field) })
}

fn clone_pair((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Gvk;
    use serde_json::json;

    #[test]
    fn pods_merge_by_their_keys() {
        let schema = crate::schema::schema_for(&Gvk::new("", "v1", "Pod")).expect("Pod is built in");
        let container = |name: &str, image: &str| json!({"name": name, "image": image});
        let pod = json!({"metadata": {"finalizers": ["x/a", "x/b"]}, "spec": {"containers": [container("a", "1"), container("b", "1")]}});
        let cases = [
            (
                json!({"spec": {"containers": [{"name": "b", "image": "2"}]}}),
                json!([container("a", "1"), container("b", "2")]),
                json!(["x/a", "x/b"]),
            ),
            (
                json!({"spec": {"containers": [{"name": "c", "image": "1"}]}}),
                json!([container("c", "1"), container("a", "1"), container("b", "1")]),
                json!(["x/a", "x/b"]),
            ),
            (
                json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}, "metadata": {"finalizers": ["x/c"]}}),
                json!([container("b", "1")]),
                json!(["x/c", "x/a", "x/b"]),
            ),
            (
                json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}, "metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}}),
                json!([{"name": "z"}]),
                json!(["x/b"]),
            ),
            (
                json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
                json!([container("b", "1"), container("a", "1")]),
                json!(["x/a", "x/b"]),
            ),
            (
                json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}], "containers": [{"name": "c"}]}}),
                json!([container("b", "1"), {"name": "c"}, container("a", "1")]),
                json!(["x/a", "x/b"]),
            ),
        ];
        for (patch, containers, finalizers) in cases {
            let result = strategic_merge_patch(pod.clone(), &patch, &schema).expect("the patch is good");
            assert_eq!(result["spec"]["containers"], containers, "{patch}");
            assert_eq!(result["metadata"]["finalizers"], finalizers, "{patch}");
        }
    }

    #[test]
    fn directives_on_maps() {
        let schema = crate::schema::schema_for(&Gvk::new("apps", "v1", "Deployment")).expect("built in");
        let target =
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, "replicas": 1}});
        let cases = [
            (json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}), json!({"type": "Recreate"})),
            (json!({"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}), json!({"type": "Recreate"})),
            (json!({"spec": {"strategy": {"$patch": "delete"}}}), json!({})),
            (json!({"spec": {"strategy": {"rollingUpdate": null}}}), json!({"type": "RollingUpdate"})),
        ];
        for (patch, strategy) in cases {
            let result = strategic_merge_patch(target.clone(), &patch, &schema).expect("the patch is good");
            assert_eq!(result, json!({"spec": {"strategy": strategy, "replicas": 1}}), "{patch}");
        }
        for patch in [
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}}),
            json!({"spec": {"$patch": "frob"}}),
            json!({"spec": {"template": {"spec": {"containers": 1}}, "$deleteFromPrimitiveList/x": 1}}),
            json!([]),
        ] {
            assert!(strategic_merge_patch(target.clone(), &patch, &schema).is_err(), "{patch}");
        }
    }
}
