//! Values seen through their schema: merging, comparing, and telling which fields they have.

use super::path::PathElement;
use super::set::FieldSet;
use crate::schema::{ListKind, Map as MapType, Schema, Shape, Table, Text, TypeId};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The type of a value.
#[derive(Clone, Copy)]
pub(super) enum TypeRef<'a> {
    Known(&'a Table, TypeId),
    /// Nobody described it: maps merge per key, lists are one value.
    Deduced,
    /// Nobody described it, and it is one value.
    Untyped,
    /// It must not be there.
    Undeclared,
}

/// A type with the choice made that the value calls for.
#[derive(Clone, Copy)]
pub(super) enum Atom<'a> {
    /// Null: takes the form of whatever it is compared with.
    Null,
    Scalar(&'a Shape),
    List(&'a ListKind, TypeRef<'a>),
    Map(Option<&'a MapType>, TypeRef<'a>, bool),
    /// The value does not fit the type.
    Misfit(&'static str),
}

static ATOMIC: ListKind = ListKind::Atomic;
static ANY: Shape = Shape::Any;

impl<'a> TypeRef<'a> {
    pub fn of(schema: &'a Schema) -> Self {
        TypeRef::Known(schema.table(), schema.id())
    }

    pub fn resolve(self, value: &Value) -> Atom<'a> {
        let shape = match self {
            TypeRef::Known(table, id) => &table.get(id).shape,
            TypeRef::Deduced | TypeRef::Untyped => &ANY,
            TypeRef::Undeclared => return Atom::Misfit("field not declared in schema"),
        };
        let table = if let TypeRef::Known(table, _) = self { Some(table) } else { None };
        let known = |id: Option<TypeId>, otherwise| match (table, id) {
            (Some(table), Some(id)) => TypeRef::Known(table, id),
            _ => otherwise,
        };
        match (value, shape) {
            (Value::Null, _) => Atom::Null,
            (Value::Array(_), Shape::List(list) | Shape::Union(list, _)) => {
                Atom::List(&list.kind, known(list.items, TypeRef::Untyped))
            }
            (Value::Array(_), Shape::Any | Shape::IntOrString) => Atom::List(&ATOMIC, TypeRef::Untyped),
            (Value::Object(_), Shape::Map(map) | Shape::Union(_, map)) => {
                let others = if map.open { TypeRef::Deduced } else { TypeRef::Undeclared };
                Atom::Map(Some(map), known(map.values, others), map.atomic)
            }
            (Value::Object(_), Shape::Any | Shape::IntOrString) => match self {
                TypeRef::Untyped => Atom::Map(None, TypeRef::Untyped, true),
                _ => Atom::Map(None, TypeRef::Deduced, false),
            },
            (Value::Array(_), Shape::Map(_)) => Atom::Misfit("expected map, got list"),
            (Value::Object(_), Shape::List(_)) => Atom::Misfit("expected list, got map"),
            (_, Shape::List(_)) => Atom::Misfit("expected list, got scalar"),
            (_, Shape::Map(_)) => Atom::Misfit("expected map, got scalar"),
            (Value::Array(_) | Value::Object(_), _) => Atom::Misfit("expected scalar"),
            (_, shape) => Atom::Scalar(shape),
        }
    }

    /// The type below, without a value to look at: for sets, which know only names.
    fn below(self, element: &PathElement) -> TypeRef<'a> {
        let TypeRef::Known(table, id) = self else { return self };
        match (&table.get(id).shape, element) {
            (Shape::Map(map) | Shape::Union(_, map), PathElement::Field(name)) => field_type(table, map, name),
            (Shape::List(list) | Shape::Union(list, _), PathElement::Key(_)) => {
                list.items.map_or(TypeRef::Untyped, |id| TypeRef::Known(table, id))
            }
            (Shape::Any, _) => TypeRef::Deduced,
            _ => TypeRef::Undeclared,
        }
    }

    fn has_field(self, element: &PathElement) -> bool {
        match (self, element) {
            (TypeRef::Known(table, id), PathElement::Field(name)) => match &table.get(id).shape {
                Shape::Map(map) | Shape::Union(_, map) => map.fields.contains_key(name),
                _ => false,
            },
            _ => false,
        }
    }
}

fn field_type<'a>(table: &'a Table, map: &MapType, name: &str) -> TypeRef<'a> {
    match map.fields.get(name).map(|field| field.ty).or(map.values) {
        Some(id) => TypeRef::Known(table, id),
        None if map.open => TypeRef::Deduced,
        None => TypeRef::Undeclared,
    }
}

fn child_type<'a>(ty: TypeRef<'a>, map: Option<&MapType>, others: TypeRef<'a>, name: &str) -> TypeRef<'a> {
    match (ty, map.and_then(|map| map.fields.get(name))) {
        (TypeRef::Known(table, _), Some(field)) => TypeRef::Known(table, field.ty),
        _ => others,
    }
}

/// What tells an item of a keyed list or a set apart from the others, or why nothing does.
pub(super) fn item_element(kind: &ListKind, items: TypeRef<'_>, item: &Value) -> Result<PathElement, String> {
    match (kind, item) {
        (ListKind::Atomic, _) => Err("invalid indexing of non-associative list".into()),
        (ListKind::Set, Value::Object(_)) => {
            Err("associative list without keys has an element that's a map type".into())
        }
        (ListKind::Set, Value::Array(_)) => Err("not supported: associative list with lists as elements".into()),
        (ListKind::Set, Value::Null) => {
            Err("associative list without keys has an element that's an explicit null".into())
        }
        (ListKind::Set, scalar) => Ok(PathElement::Value(scalar.clone())),
        (ListKind::Map(_), Value::Null) => Err("associative list with keys may not have a null element".into()),
        (ListKind::Map(keys), Value::Object(object)) => {
            let default = |key: &String| match items {
                TypeRef::Known(table, id) => match &table.get(id).shape {
                    Shape::Map(map) | Shape::Union(_, map) => map.fields.get(key)?.default.clone(),
                    _ => None,
                },
                _ => None,
            };
            let pair = |key: &String| Some((key.clone(), object.get(key).cloned().or_else(|| default(key))?));
            let fields: Vec<_> = keys.iter().filter_map(pair).collect();
            if fields.is_empty() {
                let names = keys.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(" ");
                return Err(format!(
                    "associative list with keys has an element that omits all key fields [{names}] (and doesn't have default values for any key fields)"
                ));
            }
            Ok(PathElement::key(fields))
        }
        (ListKind::Map(_), _) => Err("associative list with keys may not have non-map elements".into()),
    }
}

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

/// The fields that a value has.
pub(super) fn fields(ty: TypeRef<'_>, value: &Value) -> FieldSet {
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

/// What changed from one value to another.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub removed: FieldSet,
    pub modified: FieldSet,
    pub added: FieldSet,
}

impl Comparison {
    pub fn of(ty: TypeRef<'_>, before: &Value, after: &Value) -> Self {
        let mut comparison = Self::default();
        comparison.compare(ty, Some(before), Some(after), &mut Vec::new());
        comparison
    }

    /// Without these fields and what is below them.
    pub fn without(self, fields: &FieldSet) -> Self {
        Self {
            removed: self.removed.recursive_difference(fields),
            modified: self.modified.recursive_difference(fields),
            added: self.added.recursive_difference(fields),
        }
    }

    fn compare(&mut self, ty: TypeRef<'_>, before: Option<&Value>, after: Option<&Value>, path: &mut Vec<PathElement>) {
        if let (Some(before), Some(after)) = (before, after)
            && before == after
        {
            return;
        }
        let resolve = |value: &Value| ty.resolve(value);
        let is_leaf = match (before.map(resolve), after.map(resolve)) {
            (Some(old), Some(new)) if !alike(old, new) => {
                self.handle(ty, old, before, after, path);
                self.handle(ty, new, before, after, path)
            }
            (Some(old), None | Some(Atom::Null)) => self.handle(ty, old, before, after, path),
            (_, Some(new)) => self.handle(ty, new, before, after, path),
            (None, None) => return,
        };
        match (before, after) {
            (None, _) if !is_leaf => self.added.insert(path),
            (_, None) if !is_leaf => self.removed.insert(path),
            _ => {}
        }
    }

    /// True if the value was compared as one.
    fn handle(
        &mut self,
        ty: TypeRef<'_>,
        atom: Atom<'_>,
        before: Option<&Value>,
        after: Option<&Value>,
        path: &mut Vec<PathElement>,
    ) -> bool {
        match atom {
            Atom::Map(map, others, false) => {
                let empty = Map::new();
                let old = before.and_then(Value::as_object).unwrap_or(&empty);
                let new = after.and_then(Value::as_object).unwrap_or(&empty);
                for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
                    path.push(PathElement::Field(name.clone()));
                    self.compare(child_type(ty, map, others, name), old.get(name), new.get(name), path);
                    path.pop();
                }
                if !(old.is_empty() && new.is_empty()) {
                    return false;
                }
            }
            Atom::List(kind, items) if *kind != ListKind::Atomic => {
                let old = before.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                let new = after.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                if !(old.is_empty() && new.is_empty()) {
                    self.items(kind, items, old, new, path);
                    return false;
                }
            }
            _ => {}
        }
        match (before, after) {
            (None, _) => self.added.insert(path),
            (_, None) => self.removed.insert(path),
            (Some(old), Some(new)) if !equal(old, new) => self.modified.insert(path),
            _ => {}
        }
        true
    }

    fn items(
        &mut self,
        kind: &ListKind,
        items: TypeRef<'_>,
        old: &[Value],
        new: &[Value],
        path: &mut Vec<PathElement>,
    ) {
        let group = |list: &'_ [Value]| {
            let mut groups: BTreeMap<PathElement, Vec<Value>> = BTreeMap::new();
            for item in list {
                if let Ok(element) = item_element(kind, items, item) {
                    groups.entry(element).or_default().push(item.clone());
                }
            }
            groups
        };
        let (old, new) = (group(old), group(new));
        let elements: BTreeSet<&PathElement> = old.keys().chain(new.keys()).collect();
        for element in elements {
            let before = old.get(element).map_or(&[][..], Vec::as_slice);
            let after = new.get(element).map_or(&[][..], Vec::as_slice);
            path.push(element.clone());
            match (before.len(), after.len()) {
                (0 | 1, 0 | 1) => self.compare(items, before.first(), after.first(), path),
                // Items that cannot be told apart count as one value.
                (2.., 2..) if before != after => self.modified.insert(path),
                (2.., 2..) => {}
                (2.., _) => {
                    if let Some(after) = after.first() {
                        self.compare(items, None, Some(after), path);
                    }
                    self.removed.insert(path);
                }
                (_, 2..) => {
                    if let Some(before) = before.first() {
                        self.compare(items, Some(before), None, path);
                    }
                    self.added.insert(path);
                }
            }
            path.pop();
        }
    }
}

/// Both are handled the same way; null goes along with everything.
fn alike(a: Atom<'_>, b: Atom<'_>) -> bool {
    matches!(
        (a, b),
        (Atom::Null, _)
            | (_, Atom::Null)
            | (Atom::Scalar(_), Atom::Scalar(_))
            | (Atom::List(..), Atom::List(..))
            | (Atom::Map(..), Atom::Map(..))
            | (Atom::Misfit(_), Atom::Misfit(_))
    )
}

/// Equal as JSON, numbers by their value.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    a == b || super::path::compare(a, b).is_eq()
}

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
