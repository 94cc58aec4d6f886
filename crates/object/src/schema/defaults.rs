//! What a schema says stands there if nobody said otherwise, and the one form of values that can be written in several.

use super::{Schema, Shape, TypeId};
use crate::quantity::canonical;
use serde_json::{Value, json};

/// Objects nest no deeper than JSON readers allow; beyond this nothing is filled in.
const DEPTH: usize = 256;

pub(super) fn fill(schema: &Schema, value: &mut Value) {
    walk(schema, schema.id, value, DEPTH);
}

pub(super) fn normalise(schema: &Schema, value: &mut Value) {
    normalise_below(schema, schema.id, value, DEPTH);
}

fn normalise_below(schema: &Schema, id: TypeId, value: &mut Value, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let ty = schema.table.get(id);
    match (&ty.shape, value) {
        (Shape::Map(map) | Shape::Union(_, map), Value::Object(object)) => {
            let stays = |name: &str| map.fields.get(name).is_none_or(|field| schema.table.get(field.ty).nullable);
            object.retain(|name, value| !value.is_null() || stays(name));
            for (name, value) in object.iter_mut() {
                if let Some(id) = map.fields.get(name).map(|field| field.ty).or(map.values) {
                    normalise_scalar(schema, id, value);
                    normalise_below(schema, id, value, depth);
                }
            }
        }
        (Shape::List(list) | Shape::Union(list, _), Value::Array(items)) => {
            for item in items {
                if let Some(id) = list.items {
                    normalise_scalar(schema, id, item);
                    normalise_below(schema, id, item, depth);
                }
            }
        }
        _ => {}
    }
}

/// Go has no null among texts and numbers, and one way to write a quantity.
fn normalise_scalar(schema: &Schema, id: TypeId, value: &mut Value) {
    let ty = schema.table.get(id);
    if !ty.builtin {
        return;
    }
    *value = match (&ty.shape, &*value) {
        (Shape::String(_), Value::Null) => json!(""),
        (Shape::Integer { .. } | Shape::Number, Value::Null) => json!(0),
        (Shape::Quantity, Value::Null) => json!("0"),
        (Shape::Boolean, Value::Null) => json!(false),
        (Shape::Quantity, Value::String(text)) => match canonical(text) {
            Ok(text) => Value::String(text),
            Err(_) => return,
        },
        (Shape::Quantity, Value::Number(number)) => match canonical(&number.to_string()) {
            Ok(text) => Value::String(text),
            Err(_) => return,
        },
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
