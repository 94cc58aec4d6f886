//! Values seen through their schema.

use super::path::PathElement;
use crate::schema::{ListKind, Map as MapType, Schema, Shape, Table, TypeId};
use serde_json::Value;

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
    pub fn below(self, element: &PathElement) -> TypeRef<'a> {
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

    pub fn has_field(self, element: &PathElement) -> bool {
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

pub(super) fn child_type<'a>(ty: TypeRef<'a>, map: Option<&MapType>, others: TypeRef<'a>, name: &str) -> TypeRef<'a> {
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

/// Equal as JSON, numbers by their value.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    a == b || super::path::compare(a, b).is_eq()
}
