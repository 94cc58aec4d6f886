//! What changed between two values.

use super::path::PathElement;
use super::set::FieldSet;
use super::typed::{Atom, TypeRef, child_type, equal, item_element};
use crate::schema::ListKind;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

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
