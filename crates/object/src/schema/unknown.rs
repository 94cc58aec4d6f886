//! Fields that a schema does not know: naming them, and removing them.

use super::{Map, Schema, Shape, Type, TypeId};
use serde_json::Value;

const DEPTH: usize = 256;

/// `unknown field "spec.foo"`, in the order in which a server tells them.
pub(super) fn names(schema: &Schema, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(schema, schema.id, object, &mut String::new(), &mut found, DEPTH);
    if !schema.ty().builtin {
        found.sort();
    }
    found
}

fn collect(schema: &Schema, id: TypeId, value: &Value, path: &mut String, found: &mut Vec<String>, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let ty = schema.table.get(id);
    let length = path.len();
    match (&ty.shape, value) {
        (Shape::Map(map) | Shape::Union(_, map), Value::Object(object)) => {
            for (name, value) in object {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                match known(ty, map, name) {
                    Known::As(id) => collect(schema, id, value, path, found, depth),
                    Known::Free => {}
                    Known::No => found.push(format!("unknown field {path:?}")),
                }
                path.truncate(length);
            }
        }
        (Shape::List(list) | Shape::Union(list, _), Value::Array(items)) => {
            let Some(id) = list.items else { return };
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                collect(schema, id, item, path, found, depth);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Removes what [`names`] would name.
pub(super) fn prune(schema: &Schema, object: &mut Value) {
    remove(schema, schema.id, object, DEPTH);
}

fn remove(schema: &Schema, id: TypeId, value: &mut Value, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let ty = schema.table.get(id);
    match (&ty.shape, value) {
        (Shape::Map(map) | Shape::Union(_, map), Value::Object(object)) => {
            object.retain(|name, _| !matches!(known(ty, map, name), Known::No));
            for (name, value) in object.iter_mut() {
                if let Known::As(id) = known(ty, map, name) {
                    remove(schema, id, value, depth);
                }
            }
        }
        (Shape::List(list) | Shape::Union(list, _), Value::Array(items)) => {
            let Some(id) = list.items else { return };
            for item in items {
                remove(schema, id, item, depth);
            }
        }
        _ => {}
    }
}

enum Known {
    As(TypeId),
    /// It may stand here, and nothing is known of what is below.
    Free,
    No,
}

fn known(ty: &Type, map: &Map, name: &str) -> Known {
    match map.fields.get(name).map(|field| field.ty).or(map.values) {
        Some(id) => Known::As(id),
        // A built-in map without description is free form; in a custom resource only what is said to be.
        None if ty.preserve_unknown || (map.open) => Known::Free,
        None => Known::No,
    }
}
