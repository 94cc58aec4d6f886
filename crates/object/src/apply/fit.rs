//! Whether a value fits its type.

use super::path::PathElement;
use super::typed::{Atom, TypeRef, child_type, item_element};
use crate::schema::{ListKind, Shape, Text};
use serde_json::Value;
use std::collections::BTreeSet;

/// Why a value does not fit its type, each with its path; empty if it does.
pub(super) fn validate(ty: TypeRef<'_>, value: &Value, duplicates_allowed: bool) -> Vec<String> {
    let mut errors = Vec::new();
    check(ty, value, duplicates_allowed, &mut String::new(), &mut errors);
    errors
}

fn check(ty: TypeRef<'_>, value: &Value, duplicates_allowed: bool, path: &mut String, errors: &mut Vec<String>) {
    let length = path.len();
    let mut fail =
        |path: &str, why: &str| errors.push(if path.is_empty() { why.to_owned() } else { format!("{path}: {why}") });
    match (ty.resolve(value), value) {
        (Atom::Misfit(why), _) => fail(path, why),
        (Atom::Scalar(shape), value) => {
            if let Some(why) = scalar_misfit(shape, value) {
                fail(path, &why);
            }
        }
        (Atom::List(kind, items), Value::Array(values)) => {
            let mut seen = BTreeSet::new();
            for (index, item) in values.iter().enumerate() {
                let element = match kind {
                    ListKind::Atomic => PathElement::Index(index),
                    kind => match item_element(kind, items, item) {
                        Ok(element) => element,
                        Err(why) => {
                            errors.push(format!("{path}: element {index}: {why}"));
                            continue;
                        }
                    },
                };
                if !seen.insert(element.clone()) && !duplicates_allowed {
                    errors.push(format!("{path}: duplicate entries for key {element}"));
                }
                path.push_str(&element.to_string());
                check(items, item, duplicates_allowed, path, errors);
                path.truncate(length);
            }
        }
        (Atom::Map(map, others, _), Value::Object(object)) => {
            for (name, value) in object {
                path.push('.');
                path.push_str(name);
                check(child_type(ty, map, others, name), value, duplicates_allowed, path, errors);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn scalar_misfit(shape: &Shape, value: &Value) -> Option<String> {
    let expected = match (shape, value) {
        (Shape::Integer { .. } | Shape::Number, Value::Number(_))
        | (Shape::String(_), Value::String(_))
        | (Shape::Boolean, Value::Bool(_)) => return None,
        (Shape::Integer { .. } | Shape::Number, other) => {
            let found = match other {
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "something else",
            };
            return Some(format!("expected numeric (int or float), got {found}"));
        }
        (Shape::String(Text::Plain | Text::Bytes), other) => {
            return Some(format!("expected string, got &value.valueUnstructured{{Value:{other}}}"));
        }
        (Shape::Boolean, other) => {
            format!("expected boolean, got &{{{}}}", other.as_str().map_or_else(|| other.to_string(), str::to_owned))
        }
        _ => return None,
    };
    Some(expected)
}
