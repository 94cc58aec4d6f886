//! What differs between two objects, field by field.

use crate::schema::{ListKind, Schema, Shape};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// A field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// `spec.template.spec.containers[name=web].image`; keys that are no plain words stand in
    /// brackets: `metadata.labels[app.kubernetes.io/name]`.
    pub path: String,
    /// `None`: it is added.
    pub before: Option<Value>,
    /// `None`: it is removed.
    pub after: Option<Value>,
}

/// Objects nest no deeper than JSON readers allow; below this values are compared as one.
const DEPTH: usize = 256;

/// The fields that differ, in the order of `before`, then those that are new. Items of keyed
/// lists and of sets are compared with their namesakes, other lists as one value.
pub fn diff(before: &Value, after: &Value, schema: &Schema) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(Some(before), Some(after), Some(schema), &mut String::new(), &mut found, DEPTH);
    found
}

fn walk(
    before: Option<&Value>,
    after: Option<&Value>,
    schema: Option<&Schema>,
    path: &mut String,
    found: &mut Vec<Difference>,
    depth: usize,
) {
    if before == after {
        return;
    }
    let shape = schema.map(|schema| &schema.ty().shape);
    let length = path.len();
    match (before, after, depth.checked_sub(1)) {
        (Some(Value::Object(old)), Some(Value::Object(new)), Some(depth)) => {
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                push_key(path, key);
                let schema = schema.and_then(|schema| schema.field(key));
                walk(old.get(key), new.get(key), schema.as_ref(), path, found, depth);
                path.truncate(length);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new)), Some(depth)) => {
            let kind = match shape {
                Some(Shape::List(list) | Shape::Union(list, _)) => &list.kind,
                _ => &ListKind::Atomic,
            };
            let (Some(old), Some(new)) = (named(old, kind), named(new, kind)) else {
                found.push(Difference { path: path.clone(), before: before.cloned(), after: after.cloned() });
                return;
            };
            let items = schema.and_then(Schema::items);
            let before: HashMap<&String, &Value> = old.iter().map(|(name, value)| (name, *value)).collect();
            let after: HashMap<&String, &Value> = new.iter().map(|(name, value)| (name, *value)).collect();
            for (name, value) in &old {
                path.push_str(name);
                walk(Some(value), after.get(name).copied(), items.as_ref(), path, found, depth);
                path.truncate(length);
            }
            for (name, value) in new.iter().filter(|(name, _)| !before.contains_key(name)) {
                path.push_str(name);
                walk(None, Some(value), items.as_ref(), path, found, depth);
                path.truncate(length);
            }
        }
        _ => found.push(Difference { path: path.clone(), before: before.cloned(), after: after.cloned() }),
    }
}

/// The items with their names, `None` if they cannot be told apart.
fn named<'v>(items: &'v [Value], kind: &ListKind) -> Option<Vec<(String, &'v Value)>> {
    let mut list: Vec<(String, &Value)> = Vec::with_capacity(items.len());
    let mut seen = HashSet::new();
    for item in items {
        let name = match kind {
            ListKind::Atomic => return None,
            ListKind::Set => format!("[{}]", plain(item)),
            ListKind::Map(keys) => {
                let pair = |key: &String| item.get(key).map(|value| format!("{key}={}", plain(value)));
                let pairs: Vec<String> = keys.iter().filter_map(pair).collect();
                if pairs.is_empty() {
                    return None;
                }
                format!("[{}]", pairs.join(","))
            }
        };
        if !seen.insert(name.clone()) {
            return None;
        }
        list.push((name, item));
    }
    Some(list)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn push_key(path: &mut String, key: &str) {
    if key.is_empty() || key.contains(['.', '/', '[', ']', ' ']) {
        path.push_str(&format!("[{key}]"));
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Gvk;
    use serde_json::json;

    #[test]
    fn paths_name_items_by_their_keys() {
        let schema = crate::schema::schema_for(&Gvk::new("apps", "v1", "Deployment")).expect("built in");
        let before = json!({"metadata": {"labels": {"app.kubernetes.io/name": "a", "x": "y"}}, "spec": {
            "replicas": 1,
            "template": {"spec": {"containers": [
                {"name": "web", "image": "web:1", "args": ["a"], "ports": [{"containerPort": 80}]},
                {"name": "side", "image": "side:1"},
            ]}},
        }});
        let after = json!({"metadata": {"labels": {"app.kubernetes.io/name": "b"}}, "spec": {
            "template": {"spec": {"containers": [
                {"name": "new", "image": "new:1"},
                {"name": "web", "image": "web:2", "args": ["a", "b"], "ports": [{"containerPort": 81}]},
            ]}},
        }});
        let found: Vec<String> = (diff(&before, &after, &schema).iter())
            .map(|difference| {
                let shown = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
                format!("{} {} {}", difference.path, shown(&difference.before), shown(&difference.after))
            })
            .collect();
        assert_eq!(
            found,
            [
                r#"metadata.labels[app.kubernetes.io/name] "a" "b""#,
                r#"metadata.labels.x "y" -"#,
                r#"spec.replicas 1 -"#,
                r#"spec.template.spec.containers[name=web].image "web:1" "web:2""#,
                r#"spec.template.spec.containers[name=web].args ["a"] ["a","b"]"#,
                r#"spec.template.spec.containers[name=web].ports[containerPort=80] {"containerPort":80} -"#,
                r#"spec.template.spec.containers[name=web].ports[containerPort=81] - {"containerPort":81}"#,
                r#"spec.template.spec.containers[name=side] {"name":"side","image":"side:1"} -"#,
                r#"spec.template.spec.containers[name=new] - {"name":"new","image":"new:1"}"#,
            ]
        );
        assert!(diff(&before, &before, &schema).is_empty());
    }

    #[test]
    fn lists_that_cannot_be_told_apart_are_one_value() {
        let schema = crate::schema::schema_for(&Gvk::new("", "v1", "Pod")).expect("built in");
        let pod = |names: &[&str]| {
            let containers: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            json!({"spec": {"containers": containers}})
        };
        let found = diff(&pod(&["a", "a"]), &pod(&["a", "b"]), &schema);
        assert_eq!(found.iter().map(|difference| difference.path.as_str()).collect::<Vec<_>>(), ["spec.containers"]);
    }
}
