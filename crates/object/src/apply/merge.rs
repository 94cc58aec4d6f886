//! Laying a configuration over a value, and taking fields out of one.

use super::path::PathElement;
use super::set::FieldSet;
use super::typed::{Atom, TypeRef, child_type, item_element};
use crate::schema::ListKind;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The live value with the configuration laid over it.
pub(super) fn merge(ty: TypeRef<'_>, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let (Some(live), Some(config)) = (live, config) else { return live.or(config).cloned() };
    match (ty.resolve(config), live, config) {
        (Atom::Map(map, others, false), Value::Object(old), Value::Object(new))
            if !(old.is_empty() && new.is_empty()) =>
        {
            let mut merged = Map::new();
            for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
                if let Some(value) = merge(child_type(ty, map, others, name), old.get(name), new.get(name)) {
                    merged.insert(name.clone(), value);
                }
            }
            Some(Value::Object(merged))
        }
        (Atom::List(kind, items), Value::Array(old), Value::Array(new))
            if *kind != ListKind::Atomic && !(old.is_empty() && new.is_empty()) =>
        {
            Some(Value::Array(merge_items(kind, items, old, new)))
        }
        // Null laid over a map or list with content leaves the content.
        (Atom::Null, Value::Object(old), _) if !old.is_empty() && is_granular(ty, live) => Some(live.clone()),
        (Atom::Null, Value::Array(old), _) if !old.is_empty() && is_granular(ty, live) => Some(live.clone()),
        _ => Some(config.clone()),
    }
}

fn is_granular(ty: TypeRef<'_>, value: &Value) -> bool {
    match ty.resolve(value) {
        Atom::Map(_, _, atomic) => !atomic,
        Atom::List(kind, _) => *kind != ListKind::Atomic,
        _ => false,
    }
}

/// The items of both lists: those in the configuration in its order, the others beside the
/// neighbours that they had.
fn merge_items(kind: &ListKind, items: TypeRef<'_>, old: &[Value], new: &[Value]) -> Vec<Value> {
    let identify = |list: &'_ [Value]| -> Vec<PathElement> {
        list.iter().filter_map(|item| item_element(kind, items, item).ok()).collect()
    };
    let (old_elements, new_elements) = (identify(old), identify(new));
    let mut old_items: BTreeMap<&PathElement, Option<&Value>> = BTreeMap::new();
    for (element, item) in old_elements.iter().zip(old) {
        // An item that stands there twice is not merged with.
        old_items.entry(element).and_modify(|seen| *seen = None).or_insert(Some(item));
    }
    let new_items: BTreeMap<&PathElement, &Value> = new_elements.iter().zip(new).collect();
    let mut shared = new_elements.iter().filter(|element| old_items.contains_key(element));
    let mut next_shared = shared.next();
    let mut merged = BTreeSet::new();
    let mut result = Vec::with_capacity(old.len().max(new.len()));
    let (mut left, mut right) = (0, 0);
    while left < old_elements.len() || right < new_elements.len() {
        if let (Some(mine), Some(theirs)) = (old_elements.get(left), new_elements.get(right)) {
            if mine == theirs {
                merged.insert(mine);
                result.extend(merge(items, old_items[mine], new_items.get(mine).copied()));
                left += 1;
                right += 1;
                next_shared = shared.next();
                continue;
            }
            if new_items.contains_key(mine) && next_shared.is_some_and(|next| next != mine) {
                left += 1;
                continue;
            }
        }
        if let Some(mine) = old_elements.get(left) {
            if !new_items.contains_key(mine) {
                result.push(old[left].clone());
                left += 1;
                continue;
            }
            if merged.contains(mine) {
                left += 1;
            }
        }
        if let Some(theirs) = new_elements.get(right) {
            merged.insert(theirs);
            result.extend(merge(items, old_items.get(theirs).copied().flatten(), new_items.get(theirs).copied()));
            right += 1;
            if next_shared == Some(theirs) {
                next_shared = shared.next();
            }
        }
    }
    result
}

/// The value without the fields of a set. What loses all its content becomes null.
pub(super) fn remove(ty: TypeRef<'_>, value: &Value, gone: &FieldSet) -> Value {
    match (ty.resolve(value), value) {
        (Atom::Map(map, others, false), Value::Object(object)) => {
            let mut left = Map::new();
            for (name, value) in object {
                let element = PathElement::Field(name.clone());
                if gone.has_member(&element) {
                    continue;
                }
                let value = match gone.below(&element) {
                    Some(below) => remove(child_type(ty, map, others, name), value, below),
                    None => value.clone(),
                };
                left.insert(name.clone(), value);
            }
            if left.is_empty() { Value::Null } else { Value::Object(left) }
        }
        (Atom::List(kind, items), Value::Array(values)) if *kind != ListKind::Atomic => {
            let mut left = Vec::new();
            for item in values {
                let Ok(element) = item_element(kind, items, item) else {
                    left.push(item.clone());
                    continue;
                };
                if !gone.has_member(&element) {
                    left.push(gone.below(&element).map_or_else(|| item.clone(), |below| remove(items, item, below)));
                }
            }
            if left.is_empty() { Value::Null } else { Value::Array(left) }
        }
        (Atom::Map(..) | Atom::List(..), _) => Value::Null,
        _ => value.clone(),
    }
}
