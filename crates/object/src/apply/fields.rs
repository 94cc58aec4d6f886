//! Which fields a value has, and sets of fields seen through a schema.

use super::path::PathElement;
use super::set::FieldSet;
use super::typed::{Atom, TypeRef, child_type, item_element};
use crate::schema::{ListKind, Shape};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The fields that a value has.
pub(super) fn fields_of(ty: TypeRef<'_>, value: &Value) -> FieldSet {
    own_fields(ty, value).1
}

/// Whether the value is one field, and the fields below it.
fn own_fields(ty: TypeRef<'_>, value: &Value) -> (bool, FieldSet) {
    let mut set = FieldSet::default();
    match (ty.resolve(value), value) {
        (Atom::List(kind, items), Value::Array(values)) if *kind != ListKind::Atomic => {
            let elements: Vec<_> = values.iter().map(|item| item_element(kind, items, item).ok()).collect();
            let mut times: BTreeMap<&PathElement, usize> = BTreeMap::new();
            for element in elements.iter().flatten() {
                *times.entry(element).or_default() += 1;
            }
            for (element, item) in elements.iter().zip(values) {
                let Some(element) = element else { continue };
                // Nobody can own parts of items that cannot be told apart.
                let below = if times[element] > 1 { FieldSet::default() } else { own_fields(items, item).1 };
                set.put(element.clone(), true, below);
            }
            (false, set)
        }
        (Atom::Map(map, others, false), Value::Object(object)) => {
            for (name, value) in object {
                let (mut member, below) = own_fields(child_type(ty, map, others, name), value);
                member |= value.is_null() || value.as_object().is_some_and(Map::is_empty);
                member |= map.is_none_or(|map| !map.fields.contains_key(name));
                set.put(PathElement::Field(name.clone()), member, below);
            }
            (false, set)
        }
        _ => (true, set),
    }
}

/// The set with every described field that has something below it in the set.
pub(super) fn with_named_fields(set: &FieldSet, ty: TypeRef<'_>) -> FieldSet {
    let mut result = FieldSet::default();
    for (element, member, below) in set.elements() {
        let member = member || (!below.is_empty() && ty.has_field(element));
        result.put(element.clone(), member, with_named_fields(below, ty.below(element)));
    }
    result
}

/// The set as it is when parts that it names below have become one value in the schema.
pub(super) fn reconciled(set: &FieldSet, ty: TypeRef<'_>) -> FieldSet {
    let mut result = FieldSet::default();
    for (element, member, below) in set.elements() {
        let inner = ty.below(element);
        let is_atomic = match inner {
            TypeRef::Known(table, id) => match &table.get(id).shape {
                Shape::Map(map) => map.atomic,
                Shape::List(list) => list.kind == ListKind::Atomic,
                _ => false,
            },
            _ => false,
        };
        if is_atomic && !below.is_empty() {
            result.put(element.clone(), true, FieldSet::default());
        } else {
            result.put(element.clone(), member, reconciled(below, inner));
        }
    }
    result
}
