//! One stored object: its JSON, and what must be known of it without parsing.

use super::Uid;
use super::names::Names;
use crate::builtin;
use bytes::Bytes;
use object::meta;
use object::packed::{Dictionary, Packer, Text};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// What identifies an object: resource (`pods`, `deployments.apps`), namespace (empty for
/// cluster-scoped ones), name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Plural, and the group after a dot if there is one.
    pub resource: Arc<str>,
    /// Empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Unique within resource and namespace.
    pub name: Arc<str>,
}

impl Key {
    /// From its parts.
    pub fn new(resource: impl Into<Arc<str>>, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }

    /// `resource/namespace/name`: the key on disk. None of the parts can hold a slash.
    pub(super) fn on_disk(&self) -> String {
        format!("{}/{}/{}", self.resource, self.namespace, self.name)
    }

    /// What it has in common with the key before is shared.
    pub(super) fn from_disk(text: &str, before: Option<&Self>) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let mut part = |before: Option<&Arc<str>>| {
            let text = parts.next()?;
            Some(before.filter(|known| ***known == *text).cloned().unwrap_or_else(|| text.into()))
        };
        let resource = part(before.map(|key| &key.resource))?;
        Some(Self { resource, namespace: part(before.map(|key| &key.namespace))?, name: part(None)? })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.on_disk())
    }
}

/// An object at one revision. Only the JSON is kept, and the little that lists, watches and
/// garbage collection ask about every object.
#[derive(Debug)]
pub struct Stored {
    /// Where it stands.
    pub key: Key,
    /// The revision that wrote it: its resourceVersion.
    pub revision: u64,
    /// `metadata.uid`.
    pub uid: Uid,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `metadata.finalizers`.
    pub finalizers: Box<[Box<str>]>,
    /// `metadata.ownerReferences`.
    pub owners: Box<[Owner]>,
    /// Names of the labels, each ended by a NUL.
    labels: Arc<str>,
    /// Values of the labels, then those of [`builtin::selectable`], in its order, each ended by a NUL.
    texts: Box<str>,
    json: Text,
    /// Where `"metadata"` begins in `json`: before it stand apiVersion and kind.
    tail: u32,
}

/// One owner reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Who.
    pub uid: Uid,
    /// Foreground deletion of the owner waits for this object.
    pub blocks: bool,
}

impl Stored {
    /// Writes the revision into the object and serialises it: apiVersion, kind, metadata, the rest.
    pub(super) fn new(key: Key, mut object: Value, revision: u64, names: &mut Names) -> Self {
        if let Some(metadata) = meta::meta_mut(&mut object) {
            metadata.insert("resourceVersion".into(), revision.to_string().into());
        }
        let (json, tail) = serialise(&object);
        Self::index(key, &object, (json, tail), revision, names)
    }

    /// From what [`Stored::json`] was; `None` if it is no object or has no revision.
    pub(super) fn parse(key: Key, json: Bytes, names: &mut Names) -> Option<Self> {
        let object: Value = serde_json::from_slice(&json).ok()?;
        let revision = meta::meta(&object).resource_version().parse().ok()?;
        let (_, tail) = serialise(&object);
        Some(Self::index(key, &object, (json, tail), revision, names))
    }

    fn index(key: Key, object: &Value, (json, tail): (Bytes, u32), revision: u64, names: &mut Names) -> Self {
        let metadata = meta::meta(object);
        let fields = builtin::selectable(&key.resource).iter().map(|path| builtin::field_text(object, path));
        let values = metadata.labels().map(|(_, value)| Box::from(value));
        Self {
            revision,
            uid: metadata.uid().into(),
            deleting: metadata.deletion_timestamp().is_some(),
            finalizers: metadata.finalizers().map(Box::from).collect(),
            owners: metadata
                .owner_references()
                .map(|owner| Owner { uid: owner.uid().into(), blocks: owner.blocks_owner_deletion() })
                .collect(),
            labels: names.share(&joined(metadata.labels().map(|(name, _)| name))),
            texts: joined(values.chain(fields)),
            json: Text::new(json),
            tail,
            key,
        }
    }

    /// The whole object.
    pub fn json(&self) -> Bytes {
        self.json.get()
    }

    /// The object from `"metadata"` on, without apiVersion and kind and without the opening
    /// brace: put `{` or `{"apiVersion":…,"kind":…,` in front.
    pub fn tail(&self) -> Bytes {
        self.json.get().slice(self.tail as usize..)
    }

    /// True until [`Self::pack`] was called.
    pub(super) fn is_fresh(&self) -> bool {
        self.json.is_fresh()
    }

    /// Lets it take less, as nobody has touched it for a while.
    pub(super) fn pack(&self, packer: &mut Packer, dictionary: &Dictionary) {
        self.json.pack(packer, dictionary);
    }

    /// The object, to be changed or looked into.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json.get()).expect("only JSON that was parsed or serialised here is stored")
    }

    /// One label.
    pub fn label(&self, name: &str) -> Option<&str> {
        let at = self.labels.split_terminator('\0').position(|known| known == name)?;
        self.texts.split_terminator('\0').nth(at)
    }

    /// The text of a selectable field; `None` if the resource cannot be selected by it.
    pub fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => Some(&self.key.name),
            "metadata.namespace" => Some(&self.key.namespace),
            _ => {
                let at = builtin::selectable(&self.key.resource).iter().position(|known| *known == path)?;
                let labels = self.labels.split_terminator('\0').count();
                self.texts.split_terminator('\0').nth(labels + at)
            }
        }
    }

    /// Bytes of the whole object.
    pub fn length(&self) -> usize {
        self.json.length()
    }

    /// Bytes that it takes in memory, about.
    pub(super) fn size(&self) -> usize {
        self.json.length() + 256
    }
}

/// Texts in one, each ended by a NUL, which none of them can hold.
fn joined(texts: impl Iterator<Item = impl AsRef<str>>) -> Box<str> {
    let mut all = String::new();
    for text in texts {
        all.extend(text.as_ref().chars().filter(|c| *c != '\0'));
        all.push('\0');
    }
    all.into()
}

/// The JSON with apiVersion, kind and metadata in front, and where metadata begins.
fn serialise(object: &Value) -> (Bytes, u32) {
    const FIRST: [&str; 3] = ["apiVersion", "kind", "metadata"];
    let mut json = Vec::with_capacity(1024);
    let mut tail = 1;
    json.push(b'{');
    let rest = object.as_object().into_iter().flatten().filter(|(key, _)| !FIRST.contains(&key.as_str()));
    let first = FIRST.iter().filter_map(|key| Some((*key, object.get(*key)?)));
    for (key, value) in first.chain(rest.map(|(key, value)| (key.as_str(), value))) {
        if json.len() > 1 {
            json.push(b',');
        }
        if key == "metadata" {
            tail = u32::try_from(json.len()).expect("apiVersion and kind are short");
        }
        serde_json::to_writer(&mut json, key).expect("memory takes everything");
        json.push(b':');
        serde_json::to_writer(&mut json, value).expect("memory takes everything");
    }
    json.push(b'}');
    (json.into(), tail)
}
