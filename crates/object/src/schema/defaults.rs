//! Filling in what a schema says stands there if nobody said otherwise.

use super::{Schema, Shape, TypeId};
use serde_json::{Value, json};

/// Objects nest no deeper than JSON readers allow; beyond this nothing is filled in.
const DEPTH: usize = 256;

pub(super) fn fill(schema: &Schema, value: &mut Value) {
    walk(schema, schema.id, value, DEPTH);
}

pub(super) fn drop_nulls(schema: &Schema, value: &mut Value) {
    drop_below(schema, schema.id, value, DEPTH);
}

fn drop_below(schema: &Schema, id: TypeId, value: &mut Value, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let ty = schema.table.get(id);
    match (&ty.shape, value) {
        (Shape::Map(map) | Shape::Union(_, map), Value::Object(object)) => {
            let stays = |name: &str| map.fields.get(name).is_none_or(|field| schema.table.get(field.ty).nullable);
            object.retain(|name, value| !value.is_null() || stays(name));
            for (name, value) in object.iter_mut() {
                if let Some(id) = map.fields.get(name).map(|field| field.ty).or(map.values) {
                    fill_zero(schema, id, value);
                    drop_below(schema, id, value, depth);
                }
            }
        }
        (Shape::List(list) | Shape::Union(list, _), Value::Array(items)) => {
            for item in items {
                if let Some(id) = list.items {
                    fill_zero(schema, id, item);
                    drop_below(schema, id, item, depth);
                }
            }
        }
        _ => {}
    }
}

/// Go has no null among texts and numbers.
fn fill_zero(schema: &Schema, id: TypeId, value: &mut Value) {
    let ty = schema.table.get(id);
    if !value.is_null() || !ty.builtin {
        return;
    }
    *value = match ty.shape {
        Shape::String(_) => json!(""),
        Shape::Integer { .. } | Shape::Number => json!(0),
        Shape::Quantity => json!("0"),
        Shape::Boolean => json!(false),
        _ => return,
    };
}

pub(super) fn skeleton(schema: &Schema) -> Value {
    let mut value = json!({});
    if schema.ty().builtin {
        grow(schema, schema.id, &mut value, DEPTH);
    }
    value
}

fn grow(schema: &Schema, id: TypeId, value: &mut Value, depth: usize) {
    let (Shape::Map(map), Value::Object(object), Some(depth)) =
        (&schema.table.get(id).shape, value, depth.checked_sub(1))
    else {
        return;
    };
    for (name, field) in &map.fields {
        let value = match &field.default {
            Some(Value::Object(_)) => {
                let mut below = json!({});
                grow(schema, field.ty, &mut below, depth);
                below
            }
            Some(default) if !field.fills => default.clone(),
            // A list that is always written, though there is none.
            None if map.required.contains(name) => Value::Null,
            _ => continue,
        };
        object.insert(name.clone(), value);
    }
}

fn walk(schema: &Schema, id: TypeId, value: &mut Value, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match (&schema.table.get(id).shape, value) {
        (Shape::Map(map) | Shape::Union(_, map), Value::Object(object)) => {
            for (name, field) in &map.fields {
                let Some(default) = field.default.as_ref().filter(|_| field.fills) else { continue };
                // Null stands for "not said", unless it is a value of its own.
                let unsaid = match object.get(name) {
                    None => true,
                    Some(value) => value.is_null() && !schema.table.get(field.ty).nullable,
                };
                if unsaid {
                    object.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in object.iter_mut() {
                if let Some(id) = map.fields.get(name).map(|field| field.ty).or(map.values) {
                    walk(schema, id, value, depth);
                }
            }
        }
        (Shape::List(list) | Shape::Union(list, _), Value::Array(items)) => {
            if let Some(id) = list.items {
                for item in items {
                    walk(schema, id, item, depth);
                }
            }
        }
        _ => {}
    }
}
