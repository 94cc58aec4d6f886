//! A set of fields, as a trie.

use super::path::PathElement;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Fields that somebody owns, or that changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSet {
    nodes: BTreeMap<PathElement, Node>,
}

/// A field that is in the set, or has fields below that are; never neither.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Node {
    member: bool,
    below: FieldSet,
}

impl FieldSet {
    /// A set of these paths, each from the root.
    pub fn of<'p>(paths: impl IntoIterator<Item = &'p [&'p str]>) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Vec<PathElement> = path.iter().map(|name| PathElement::Field((*name).to_owned())).collect();
            set.insert(&path);
        }
        set
    }

    /// True if nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds a path. The root itself cannot be in a set: an empty path adds nothing.
    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut set = self;
        for element in parents {
            set = &mut set.nodes.entry(element.clone()).or_default().below;
        }
        set.nodes.entry(last.clone()).or_default().member = true;
    }

    /// True if this very path is in the set.
    pub fn has(&self, path: &[PathElement]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let below = parents.iter().try_fold(self, |set, element| set.below(element));
        below.is_some_and(|set| set.has_member(last))
    }

    pub(super) fn has_member(&self, element: &PathElement) -> bool {
        self.nodes.get(element).is_some_and(|node| node.member)
    }

    /// What is in the set below an element.
    pub(super) fn below(&self, element: &PathElement) -> Option<&FieldSet> {
        self.nodes.get(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    /// Each element, whether it is in the set itself, and what is below.
    pub(super) fn elements(&self) -> impl Iterator<Item = (&PathElement, bool, &FieldSet)> {
        self.nodes.iter().map(|(element, node)| (element, node.member, &node.below))
    }

    pub(super) fn put(&mut self, element: PathElement, member: bool, below: FieldSet) {
        if member || !below.is_empty() {
            self.nodes.insert(element, Node { member, below });
        }
    }

    /// What is in either.
    pub fn union(mut self, other: &FieldSet) -> FieldSet {
        self.absorb(other);
        self
    }

    fn absorb(&mut self, other: &FieldSet) {
        for (element, node) in &other.nodes {
            match self.nodes.get_mut(element) {
                Some(own) => {
                    own.member |= node.member;
                    own.below.absorb(&node.below);
                }
                None => _ = self.nodes.insert(element.clone(), node.clone()),
            }
        }
    }

    /// What is in both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut result = FieldSet::default();
        for (element, node) in &self.nodes {
            if let Some(theirs) = other.nodes.get(element) {
                result.put(element.clone(), node.member && theirs.member, node.below.intersection(&theirs.below));
            }
        }
        result
    }

    /// What is in this but not in the other. Fields below those in the other stay.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.subtract(other, false)
    }

    /// What is in this but neither in the other, nor below anything in it.
    pub fn recursive_difference(&self, other: &FieldSet) -> FieldSet {
        self.subtract(other, true)
    }

    fn subtract(&self, other: &FieldSet, recursive: bool) -> FieldSet {
        let mut result = FieldSet::default();
        for (element, node) in &self.nodes {
            match other.nodes.get(element) {
                None => _ = result.nodes.insert(element.clone(), node.clone()),
                Some(theirs) if recursive && theirs.member => {}
                Some(theirs) => {
                    let below = node.below.subtract(&theirs.below, recursive);
                    result.put(element.clone(), node.member && !theirs.member, below);
                }
            }
        }
        result
    }

    /// Every path in the set, in order.
    pub fn paths(&self) -> Vec<Vec<PathElement>> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect(&self, path: &mut Vec<PathElement>, found: &mut Vec<Vec<PathElement>>) {
        // Members come before what is below their siblings.
        for (element, _) in self.nodes.iter().filter(|(_, node)| node.member) {
            path.push(element.clone());
            found.push(path.clone());
            path.pop();
        }
        for (element, node) in &self.nodes {
            path.push(element.clone());
            node.below.collect(path, found);
            path.pop();
        }
    }

    /// FieldsV1.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (element, node) in &self.nodes {
            let mut below = node.below.to_json();
            if let Value::Object(fields) = &mut below
                && node.member
                && !fields.is_empty()
            {
                fields.shift_insert(0, ".".into(), Value::Object(Map::new()));
            }
            map.insert(element.serialise(), below);
        }
        Value::Object(map)
    }

    /// From FieldsV1; `None` if it is something else. Elements of sorts that are not known are left out.
    pub fn from_json(value: &Value) -> Option<Self> {
        let mut set = FieldSet::default();
        for (key, value) in value.as_object()? {
            if key == "." {
                continue;
            }
            let fields = value.as_object()?;
            // Only what is well formed can be compared; the rest would never match anything.
            let Some(element) = PathElement::parse(key) else { if key.contains(':') { continue } else { return None } };
            let member = fields.is_empty() || fields.contains_key(".");
            set.put(element, member, FieldSet::from_json(value)?);
        }
        Some(set)
    }
}
