//! An object on its way through the transformers.

use super::id::{Gvk, Id};
use super::schema::Types;
use super::tree::{Node, Scalar};
use model::remote::Address;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An object, and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub node: Node,
    pub place: Place,
    pub types: Arc<Types>,
    /// Identities it had, oldest first: namespace, name, kind.
    previous: Vec<(String, String, String)>,
    pub prefixes: Vec<String>,
    pub suffixes: Vec<String>,
    pub behavior: Behavior,
    /// A digest of its content is appended to its name.
    pub needs_hash: bool,
    /// As a patch: may change the target's name or kind.
    pub allow_name_change: bool,
    pub allow_kind_change: bool,
    /// Names of the vars that read it.
    pub vars: Vec<String>,
    /// Where it comes from and what changed it, if the build is to tell.
    pub origin: Option<Origin>,
    pub transformations: Vec<Origin>,
}

/// Annotation of what charts made, while it is built.
pub(super) const FROM_CHART: &str = "internal.config.kubernetes.io/helm-generated";

/// Where a document begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub file: String,
    pub line: usize,
}

/// What a generator does about an object that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behavior {
    Unspecified,
    Create,
    Replace,
    Merge,
}

impl Behavior {
    pub fn of(word: &str) -> Self {
        match word {
            "create" => Self::Create,
            "replace" => Self::Replace,
            "merge" => Self::Merge,
            _ => Self::Unspecified,
        }
    }
}

/// For the annotations that `buildMetadata` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub path: String,
    /// Of what lies elsewhere.
    pub repository: String,
    pub reference: String,
    pub configured_in: String,
    /// apiVersion, kind, name, namespace of the transformer or generator.
    pub configured_by: Option<[String; 4]>,
}

impl Origin {
    /// Of what a kustomization names.
    pub fn below(&self, path: &str) -> Self {
        let Some(address) = Address::parse(path) else {
            return Self { path: clean(&self.path, path), ..self.clone() };
        };
        match address.git() {
            Some(git) => {
                // So does the original call the top of a repository here.
                let top = if git.path.is_empty() { "notCloned" } else { &git.path };
                Self {
                    path: top.to_owned(),
                    repository: git.url.clone(),
                    reference: git.reference.clone(),
                    ..self.clone()
                }
            }
            None => Self { path: clean(&self.path, path), ..self.clone() },
        }
    }
}

/// A path without `.`, and without the `..` that follow a name.
fn clean(root: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in root.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

impl Resource {
    pub fn new(node: Node, place: Place, types: Arc<Types>) -> Self {
        Self {
            node,
            place,
            types,
            previous: Vec::new(),
            prefixes: Vec::new(),
            suffixes: Vec::new(),
            behavior: Behavior::Unspecified,
            needs_hash: false,
            allow_name_change: false,
            allow_kind_change: false,
            vars: Vec::new(),
            origin: None,
            transformations: Vec::new(),
        }
    }

    pub fn api_version(&self) -> &str {
        self.node.get("apiVersion").map_or("", Node::raw)
    }

    pub fn kind(&self) -> &str {
        self.node.get("kind").map_or("", Node::raw)
    }

    pub fn gvk(&self) -> Gvk {
        Gvk::new(self.api_version(), self.kind())
    }

    fn meta(&self, field: &str) -> &str {
        self.node.find(&["metadata", field]).map_or("", Node::value)
    }

    pub fn name(&self) -> &str {
        self.meta("name")
    }

    pub fn namespace(&self) -> &str {
        self.meta("namespace")
    }

    pub fn set_kind(&mut self, kind: &str) {
        self.node.set("kind", Scalar::open(kind));
    }

    pub fn set_gvk(&mut self, gvk: &Gvk) {
        self.set_kind(&gvk.kind);
        self.node.set("apiVersion", Scalar::open(gvk.api_version()));
    }

    pub fn set_name(&mut self, name: &str) {
        if let Some(meta) = self.node.entry("metadata", Node::map) {
            meta.set("name", Scalar::open(name));
        }
    }

    pub fn set_namespace(&mut self, namespace: &str) {
        if namespace.is_empty() {
            if let Some(meta) = self.node.get_mut("metadata") {
                meta.remove("namespace");
            }
        } else if let Some(meta) = self.node.entry("metadata", Node::map) {
            meta.set("namespace", Scalar::open(namespace));
        }
    }

    /// `labels` or `annotations`.
    pub fn texts(&self, field: &str) -> BTreeMap<String, String> {
        let pairs = self.node.find(&["metadata", field]).map_or(&[][..], Node::pairs);
        pairs.iter().map(|(key, value)| (key.text.clone(), value.raw().to_owned())).collect()
    }

    /// Sets `labels` or `annotations`; an empty map removes the field.
    pub fn set_texts(&mut self, field: &str, texts: &BTreeMap<String, String>) {
        let Some(meta) = self.node.entry("metadata", Node::map) else { return };
        meta.remove(field);
        if texts.is_empty() {
            return;
        }
        let pairs = texts.iter().map(|(key, value)| (Scalar::open(key), Node::Scalar(Scalar::text(value)))).collect();
        meta.set(field, Node::Map(pairs));
    }

    /// True if a chart made it, or an annotation that is not printed says so.
    pub fn is_from_chart(&self) -> bool {
        let annotations = self.node.find(&["metadata", "annotations"]);
        annotations.and_then(|annotations| annotations.get(FROM_CHART)).is_some_and(|word| word.value() == "true")
    }

    /// Says that a chart made it.
    pub fn set_from_chart(&mut self) {
        let mut annotations = self.texts("annotations");
        annotations.insert(FROM_CHART.to_owned(), "true".to_owned());
        self.set_texts("annotations", &annotations);
    }

    pub fn id(&self) -> Id {
        Id::new(self.gvk(), self.name().to_owned(), self.namespace().to_owned(), &self.types)
    }

    /// Identities it had, oldest first.
    pub fn previous_ids(&self) -> Vec<Id> {
        let gvk = self.gvk();
        let id = |(namespace, name, kind): &(String, String, String)| Id {
            gvk: Gvk { kind: kind.clone(), ..gvk.clone() },
            name: name.clone(),
            namespace: namespace.clone(),
            effective: namespace.clone(),
        };
        self.previous.iter().map(id).collect()
    }

    /// The names it had.
    pub fn previous_names(&self) -> impl Iterator<Item = &str> {
        self.previous.iter().map(|(_, name, _)| name.as_str())
    }

    /// The first identity it had.
    pub fn original_id(&self) -> Id {
        self.previous_ids().into_iter().next().unwrap_or_else(|| self.id())
    }

    /// All identities.
    pub fn ids(&self) -> Vec<Id> {
        let mut ids = self.previous_ids();
        ids.push(self.id());
        ids
    }

    /// Before a change of its identity.
    pub fn store_id(&mut self) {
        let id = self.id();
        self.previous.push((id.effective, id.name, id.gvk.kind));
    }

    /// True if something is remembered about it, for which the original keeps annotations.
    pub fn is_marked(&self) -> bool {
        !self.previous.is_empty()
            || !self.prefixes.is_empty()
            || !self.suffixes.is_empty()
            || self.needs_hash
            || self.behavior != Behavior::Unspecified
    }

    /// Takes over what a generator's object keeps of the one that it replaces or merges with.
    pub fn inherit(&mut self, old: &Self) {
        for field in ["labels", "annotations"] {
            let mut texts = old.texts(field);
            texts.extend(self.texts(field));
            self.set_texts(field, &texts);
        }
        self.needs_hash &= old.needs_hash;
        self.behavior = old.behavior;
        self.previous.clone_from(&old.previous);
        self.prefixes.clone_from(&old.prefixes);
        self.suffixes.clone_from(&old.suffixes);
        self.vars.clone_from(&old.vars);
        self.set_name(old.name());
        self.set_namespace(old.namespace());
    }

    /// True if nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.node.is_empty()
    }
}
