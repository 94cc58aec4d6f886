//! What is kept of an object: what is asked about it often at hand, all else as packed text.
//!
//! Most objects are at rest, for ever: each is looked at when something about it changes, and a tree of values takes
//! fifty times as much as its packed text.

use crate::objects::{Key, controller_of, is_deleting, uid};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::core::Selector;
use object::packed::Text;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// An object that the controllers keep.
pub(crate) trait Held:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + 'static
{
    /// What is asked about many objects of this kind at once.
    type Facts: Send + Sync + 'static;

    fn facts(&self) -> Self::Facts;

    /// Takes away what nobody here reads.
    fn trim(&mut self) {}
}

/// An object as it is kept.
pub(crate) struct Kept<K: Held> {
    pub(crate) uid: Box<str>,
    pub(crate) controller: Option<Controller>,
    pub(crate) deleting: bool,
    pub(crate) facts: K::Facts,
    text: Text,
}

impl<K: Held> Kept<K> {
    pub(crate) fn of(mut object: K, pack: impl FnOnce(Vec<u8>) -> Text) -> Self {
        object.meta_mut().managed_fields = None;
        object.trim();
        Self {
            uid: uid(&object).into(),
            controller: controller_of(&object).map(Controller::of),
            deleting: is_deleting(&object),
            facts: object.facts(),
            text: pack(serde_json::to_vec(&object).expect("objects are JSON")),
        }
    }

    /// All that is kept.
    pub(crate) fn read(&self) -> K {
        // As the client reads answers: reading bytes would be a second copy of all that code.
        let text = self.text.get();
        let json = std::str::from_utf8(&text).expect("JSON is UTF-8");
        serde_json::from_str(json).expect("what was written here can be read")
    }

    /// True if nothing differs that is kept.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.text == other.text
    }

    /// True if it is controlled by nobody, or by the owner.
    pub(crate) fn may_be_of(&self, owner: &impl Resource) -> bool {
        self.controller.as_ref().is_none_or(|controller| &*controller.uid == uid(owner))
    }

    /// Bytes that its text takes.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.text.held()
    }
}

/// The owner that manages an object.
pub(crate) struct Controller {
    pub(crate) kind: Kind,
    pub(crate) name: Box<str>,
    pub(crate) uid: Box<str>,
}

impl Controller {
    fn of(owner: &OwnerReference) -> Self {
        let kind = match owner.kind.as_str() {
            "Deployment" => Kind::Deployment,
            "ReplicaSet" => Kind::ReplicaSet,
            "Job" => Kind::Job,
            _ => Kind::Other,
        };
        Self { kind, name: owner.name.as_str().into(), uid: owner.uid.as_str().into() }
    }

    pub(crate) fn key(&self, namespace: &str) -> Key {
        Key::new(namespace, &self.name)
    }
}

/// Who manages objects here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Deployment,
    ReplicaSet,
    Job,
    Other,
}

/// Labels as they are kept: names and values by turns, each ended by a NUL, which none of them can hold.
#[derive(Debug, Default)]
pub(crate) struct Labels(Box<str>);

impl Labels {
    pub(crate) fn of(labels: Option<&BTreeMap<String, String>>) -> Self {
        let mut all = String::new();
        for text in labels.into_iter().flatten().flat_map(|(name, value)| [name, value]) {
            all.extend(text.chars().filter(|c| *c != '\0'));
            all.push('\0');
        }
        Self(all.into())
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = self.0.split_terminator('\0');
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }

    /// True if all of `wanted` are among these.
    pub(crate) fn include(&self, wanted: &Self) -> bool {
        wanted.iter().all(|(name, value)| self.iter().any(|label| label == (name, value)))
    }

    pub(crate) fn match_selector(&self, selector: &Selector) -> bool {
        use kube::core::SelectorExt;
        let labels: BTreeMap<String, String> = self.iter().map(|(name, value)| (name.into(), value.into())).collect();
        selector.matches(&labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_include_what_they_are() {
        let labels = |pairs: &[(&str, &str)]| {
            Labels::of(Some(&pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()))
        };
        let pod = labels(&[("app", "web"), ("empty", ""), ("tier", "app")]);
        let cases = [
            (labels(&[]), true),
            (labels(&[("app", "web")]), true),
            (labels(&[("app", "web"), ("empty", "")]), true),
            (labels(&[("app", "we")]), false),
            (labels(&[("app", "web"), ("more", "")]), false),
            (labels(&[("web", "empty")]), false),
        ];
        for (wanted, expect) in cases {
            assert_eq!(pod.include(&wanted), expect, "{wanted:?}");
        }
        assert!(!Labels::of(None).include(&labels(&[("app", "web")])));
        let selector: Selector = [("tier", "app"), ("empty", "")].into_iter().collect();
        assert!(pod.match_selector(&selector) && !labels(&[("tier", "app")]).match_selector(&selector));
    }
}
