//! Kinds, defaults and conversions.

use super::{Result, fail, table};
use template::{Call, Function, Value, print};

pub(super) const FUNCTIONS: &[Function] = table! {
    "default" "aa*" |call| Ok(if call.args.get(1).is_none_or(is_empty) { call.take(0) } else { call.take(1) });
    "empty" "a" |call| Ok(Value::Bool(is_empty(&call.args[0])));
    "coalesce" "a*" |call| Ok(call.args.iter().find(|value| !is_empty(value)).cloned().unwrap_or(Value::Nil));
    "all" "a*" |call| Ok(Value::Bool(!call.args.iter().any(is_empty)));
    "any" "a*" |call| Ok(Value::Bool(call.args.iter().any(|value| !is_empty(value))));
    "ternary" "aab" |call| Ok(if call.args[2].truth() { call.take(0) } else { call.take(1) });
    "typeOf" "a" |call| Ok(call.args[0].type_name().into());
    "typeIs" "sa" |call| Ok(Value::Bool(call.str(0) == call.args[1].type_name()));
    "typeIsLike" "sa" |call| {
        let name = call.args[1].type_name();
        Ok(Value::Bool(call.str(0) == name || name.strip_prefix('*') == Some(call.str(0))))
    };
    "kindOf" "a" |call| Ok(call.args[0].kind().into());
    "kindIs" "sa" |call| Ok(Value::Bool(call.str(0) == call.args[1].kind()));
    "deepEqual" "aa" |call| Ok(Value::Bool(deep_equal(&call.args[0], &call.args[1])));
    "deepCopy" "a" deep_copied;
    "mustDeepCopy" "a" deep_copied;
    "toString" "a" |call| Ok(match call.take(0) { Value::Text(text) => Value::Text(text), other => text(&other).into() });
};

/// Go's zero values, nil and what has no elements.
pub(super) fn is_empty(value: &Value) -> bool {
    !value.truth()
}

/// As Sprig makes texts of values.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Bytes(bytes) => template::from_bytes(bytes),
        other => print(other),
    }
}

/// `reflect.DeepEqual`: types count too.
pub(super) fn deep_equal(a: &Value, b: &Value) -> bool {
    equal(a, b, 0)
}

fn equal(a: &Value, b: &Value, depth: usize) -> bool {
    // Maps that contain themselves are not the same.
    if depth > 1000 {
        return false;
    }
    match (a, b) {
        (Value::Missing | Value::Nil, Value::Missing | Value::Nil) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) | (Value::Int64(a), Value::Int64(b)) => a == b,
        (Value::Byte(a), Value::Byte(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            a.of == b.of
                && a.items.len() == b.items.len()
                && a.items.iter().zip(b.items.iter()).all(|(a, b)| equal(a, b, depth + 1))
        }
        (Value::Map(a), Value::Map(b)) => {
            if a.is(b) {
                return a.of == b.of;
            }
            let (entries, others) = (a.entries(), b.entries());
            a.of == b.of
                && entries.len() == others.len()
                && entries.iter().zip(others.iter()).all(|((a, x), (b, y))| a == b && equal(x, y, depth + 1))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.type_name() == b.type_name() && equal(&a.plain(), &b.plain(), depth + 1)
        }
        _ => false,
    }
}

/// Copies of maps that share nothing with the originals.
pub(super) fn copied(value: &Value, depth: usize) -> Result {
    if depth > 1000 {
        return fail("a value is nested deeper than 1000 levels; does a map contain itself?");
    }
    Ok(match value {
        Value::Map(map) => {
            if let Some(copy) = map.untouched() {
                return Ok(Value::Map(copy));
            }
            let mut entries = template::Entries::new();
            for (key, value) in map.entries().iter() {
                entries.insert(key.clone(), copied(value, depth + 1)?);
            }
            Value::Map(template::Map::new(entries).typed(map.of))
        }
        Value::List(list) => {
            let items: Result<Vec<Value>> = list.items.iter().map(|item| copied(item, depth + 1)).collect();
            Value::List(template::List { items: items?.into(), of: list.of })
        }
        other => other.clone(),
    })
}

fn deep_copied(call: &mut Call<'_, '_>) -> Result {
    copied(&call.args[0], 0)
}
