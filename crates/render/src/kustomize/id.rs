//! What tells objects apart.

use super::schema::Types;
use std::fmt;

/// Group, version and kind; as a selector, empty parts match anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Gvk {
    pub group: String,
    pub version: String,
    pub kind: String,
}

impl Gvk {
    pub fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    /// True if every part that the selector names is the same here.
    pub fn is_selected(&self, selector: &Self) -> bool {
        let same = |own: &str, wanted: &str| wanted.is_empty() || own == wanted;
        same(&self.group, &selector.group) && same(&self.version, &selector.version) && same(&self.kind, &selector.kind)
    }

    /// `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |text: &str, none: &'static str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
        let (kind, version, group) =
            (part(&self.kind, "[noKind]"), part(&self.version, "[noVer]"), part(&self.group, "[noGrp]"));
        write!(f, "{kind}.{version}.{group}")
    }
}

/// Name of the place where cluster-scoped objects live.
const NO_NAMESPACE: &str = "_non_namespaceable_";

/// Identity of an object, as it is or as it once was.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Id {
    pub gvk: Gvk,
    pub name: String,
    /// As written: empty if there is none.
    pub namespace: String,
    /// Where it counts as being: `default` if it names none.
    pub effective: String,
}

impl Id {
    pub fn new(gvk: Gvk, name: String, namespace: String, types: &Types) -> Self {
        let effective = if types.is_cluster_scoped(&gvk) {
            NO_NAMESPACE.to_owned()
        } else if namespace.is_empty() {
            "default".to_owned()
        } else {
            namespace.clone()
        };
        Self { gvk, name, namespace, effective }
    }

    pub fn is_cluster_scoped(&self) -> bool {
        self.effective == NO_NAMESPACE
    }

    /// The same object: an absent namespace is `default`.
    pub fn same(&self, other: &Self) -> bool {
        self.effective == other.effective && self.same_but_namespace(other)
    }

    pub fn same_but_namespace(&self, other: &Self) -> bool {
        self.name == other.name && self.gvk == other.gvk
    }

    /// What it is compared by.
    pub fn key(&self) -> (Gvk, String, String) {
        (self.gvk.clone(), self.name.clone(), self.effective.clone())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.gvk.kind)?;
        if !self.gvk.group.is_empty() {
            write!(f, ".{}", self.gvk.group)?;
        }
        if self.namespace.is_empty() || self.is_cluster_scoped() {
            write!(f, " {}", self.name)
        } else {
            write!(f, " {}/{}", self.namespace, self.name)
        }
    }
}
