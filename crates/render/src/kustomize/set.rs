//! The objects of a build, in order, no two of them the same.

use super::file::Selector;
use super::id::{Gvk, Id};
use super::read::located;
use super::resource::{Behavior, Resource};
use super::tree::{Node, Scalar};
use crate::error::Error;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use object::selector::LabelSelector;
use regex::Regex;
use std::collections::{BTreeMap, HashMap};

type Result<T> = std::result::Result<T, Error>;

/// Objects in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Resources {
    pub list: Vec<Resource>,
}

impl Resources {
    /// Adds objects, none of which may be there already.
    pub fn append(&mut self, others: Vec<Resource>) -> Result<()> {
        self.list.extend(others);
        self.check_unique()
    }

    /// No two objects have the same identity.
    pub fn check_unique(&self) -> Result<()> {
        let mut seen: HashMap<(Gvk, String, String), &Resource> = HashMap::new();
        for resource in &self.list {
            let id = resource.id();
            if let Some(first) = seen.insert(id.key(), resource) {
                let problem = format!("{id} stands in {}:{} already", first.place.file, first.place.line);
                return Err(located(&resource.place, problem));
            }
        }
        Ok(())
    }

    /// Adds what a generator made, or merges it with what is there.
    pub fn absorb(&mut self, mut made: Resource) -> Result<()> {
        let id = made.id();
        let matches: Vec<usize> = self.with_id(|other| other.same(&id));
        let fail = |problem: String| Err(located(&made.place, problem));
        match (matches.as_slice(), made.behavior) {
            ([], Behavior::Merge | Behavior::Replace) => {
                fail(format!("{id} does not exist; there is nothing to merge with or to replace"))
            }
            ([], _) => self.append(vec![made]),
            ([at], Behavior::Replace) => {
                made.inherit(&self.list[*at]);
                self.list[*at] = made;
                Ok(())
            }
            ([at], Behavior::Merge) => {
                merge_data(&mut made, &self.list[*at]);
                self.list[*at] = made;
                Ok(())
            }
            ([_], _) => fail(format!("{id} exists already; its behavior must be merge or replace")),
            _ => fail(format!("several objects could be merged with {id}")),
        }
    }

    /// Places of the objects that have, or had, an identity which matches.
    pub fn with_id(&self, matches: impl Fn(&Id) -> bool) -> Vec<usize> {
        let found = |(_, resource): &(usize, &Resource)| !resource.is_empty() && resource.ids().iter().any(&matches);
        self.list.iter().enumerate().filter(found).map(|(at, _)| at).collect()
    }

    /// The one object that has, or had, this identity.
    pub fn one(&self, id: &Id) -> std::result::Result<usize, String> {
        match self.with_id(|other| other.same(id)).as_slice() {
            [at] => Ok(*at),
            [] => Err(format!("there is no {id} to patch")),
            _ => Err(format!("several objects are {id}")),
        }
    }

    /// Places of the objects that a selector selects.
    pub fn select(&self, selector: &Selector) -> std::result::Result<Vec<usize>, String> {
        let selector = Matcher::new(selector)?;
        Ok(self.list.iter().enumerate().filter(|(_, r)| selector.selects(r)).map(|(at, _)| at).collect())
    }

    pub fn drop_empty(&mut self) {
        self.list.retain(|resource| !resource.is_empty());
    }
}

/// The data of both, the new ones on top, under the old one's name.
fn merge_data(made: &mut Resource, old: &Resource) {
    let is_secret = made.api_version() == "v1" && made.kind() == "Secret";
    let (origin, transformations) = (old.origin.clone(), old.transformations.clone());
    made.inherit(old);
    for field in ["data", "binaryData"] {
        let mut merged = texts(&old.node, field);
        if field == "data" && is_secret {
            merged.extend(texts(&old.node, "stringData").into_iter().map(|(key, text)| (key, encode(text.as_bytes()))));
        }
        merged.extend(texts(&made.node, field));
        made.node.remove(field);
        if !merged.is_empty() {
            let pairs = merged.into_iter().map(|(key, text)| (Scalar::open(key), Node::Scalar(Scalar::text(text))));
            made.node.set(field, Node::Map(pairs.collect()));
        }
    }
    if origin.is_some() {
        made.origin = origin;
        made.transformations = transformations;
    }
}

fn texts(node: &Node, field: &str) -> BTreeMap<String, String> {
    let pairs = node.get(field).map_or(&[][..], Node::pairs);
    pairs.iter().map(|(key, value)| (key.text.clone(), value.value().to_owned())).collect()
}

/// Base 64 in lines of 70 characters, if it has that many.
pub(super) fn encode(bytes: &[u8]) -> String {
    const LINE: usize = 70;
    let text = STANDARD.encode(bytes);
    if text.len() < LINE {
        return text;
    }
    let mut lines = String::with_capacity(text.len() + text.len() / LINE + 1);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        lines.push_str(line);
        lines.push('\n');
        rest = after;
    }
    lines
}

/// A selector, ready to match.
pub(super) struct Matcher {
    group: Option<Regex>,
    version: Option<Regex>,
    kind: Option<Regex>,
    name: Option<Regex>,
    namespace: Option<Regex>,
    labels: LabelSelector,
    annotations: LabelSelector,
    is_empty: bool,
}

impl Matcher {
    pub fn new(selector: &Selector) -> std::result::Result<Self, String> {
        let parts =
            [&selector.gvk.group, &selector.gvk.version, &selector.gvk.kind, &selector.name, &selector.namespace];
        let query =
            |text: &str| LabelSelector::parse(text).map_err(|error| format!("{text:?} selects nothing: {error}"));
        let [group, version, kind, name, namespace] = parts.map(|pattern| anchored(pattern));
        Ok(Self {
            group: group?,
            version: version?,
            kind: kind?,
            name: name?,
            namespace: namespace?,
            labels: query(&selector.labels)?,
            annotations: query(&selector.annotations)?,
            is_empty: parts.iter().all(|part| part.is_empty()),
        })
    }

    /// True if only labels or annotations are asked for.
    pub fn names_nothing(&self) -> bool {
        self.is_empty
    }

    pub fn asks_for_texts(&self) -> bool {
        !self.labels.is_empty() || !self.annotations.is_empty()
    }

    fn matches_gvk(&self, gvk: &Gvk) -> bool {
        matches(&self.group, &gvk.group) && matches(&self.version, &gvk.version) && matches(&self.kind, &gvk.kind)
    }

    /// By the identity alone, its namespace as written.
    pub fn matches_id(&self, id: &Id) -> bool {
        self.matches_gvk(&id.gvk) && matches(&self.name, &id.name) && matches(&self.namespace, &id.namespace)
    }

    /// By labels and annotations.
    pub fn matches_texts(&self, resource: &Resource) -> bool {
        let (labels, annotations) = (resource.texts("labels"), resource.texts("annotations"));
        self.labels.matches_with(|key| labels.get(key).map(String::as_str))
            && self.annotations.matches_with(|key| annotations.get(key).map(String::as_str))
    }

    /// As it is or as it was when it was read.
    fn selects(&self, resource: &Resource) -> bool {
        let (current, original) = (resource.id(), resource.original_id());
        (matches(&self.namespace, &original.effective) || matches(&self.namespace, &current.effective))
            && (matches(&self.name, &original.name) || matches(&self.name, &current.name))
            && self.matches_gvk(&current.gvk)
            && self.matches_texts(resource)
    }
}

fn matches(pattern: &Option<Regex>, text: &str) -> bool {
    pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
}

fn anchored(pattern: &str) -> std::result::Result<Option<Regex>, String> {
    if pattern.is_empty() {
        return Ok(None);
    }
    Regex::new(&format!("^(?:{pattern})$")).map(Some).map_err(|_| format!("{pattern:?} is no regular expression"))
}
