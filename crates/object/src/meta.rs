//! Types of objects, and the metadata that all of them have.

use serde_json::{Map, Value};
use std::fmt;

/// Group, version and kind: the type of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gvk {
    /// Empty for the core group.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// `Deployment`.
    pub kind: String,
}

impl Gvk {
    /// From its three parts.
    pub fn new(group: impl Into<String>, version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// From `apps/v1` or `v1`, and a kind.
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self::new(group, version, kind)
    }

    /// What an object says of itself; `None` if `apiVersion` or `kind` is missing or empty.
    pub fn of(object: &Value) -> Option<Self> {
        let api_version = object.get("apiVersion")?.as_str().filter(|text| !text.is_empty())?;
        let kind = object.get("kind")?.as_str().filter(|text| !text.is_empty())?;
        Some(Self::from_api_version(api_version, kind))
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// As Kubernetes prints it: `apps/v1, Kind=Deployment`.
impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, Kind={}",
            if self.group.is_empty() { format!("/{}", self.version) } else { self.api_version() },
            self.kind
        )
    }
}

/// Group and plural: what a path of the API names, whatever the version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupResource {
    /// Empty for the core group.
    pub group: String,
    /// `deployments`.
    pub resource: String,
}

/// As errors print it: `deployments.apps`, `pods`.
impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// The metadata of an object, to be read. Absent parts are empty.
pub fn meta(object: &Value) -> Meta<'_> {
    Meta(object.get("metadata"))
}

/// A view of `metadata`; see [`meta`].
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a>(pub(crate) Option<&'a Value>);

impl<'a> Meta<'a> {
    fn text(&self, key: &str) -> &'a str {
        self.0.and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default()
    }

    fn list(&self, key: &str) -> &'a [Value] {
        self.0.and_then(|m| m.get(key)).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn strings(&self, key: &str) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let map = self.0.and_then(|m| m.get(key)).and_then(Value::as_object);
        map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// `metadata.name`.
    pub fn name(&self) -> &'a str {
        self.text("name")
    }
    /// `metadata.namespace`; empty for cluster-scoped objects.
    pub fn namespace(&self) -> &'a str {
        self.text("namespace")
    }
    /// `metadata.generateName`.
    pub fn generate_name(&self) -> &'a str {
        self.text("generateName")
    }
    /// `metadata.uid`.
    pub fn uid(&self) -> &'a str {
        self.text("uid")
    }
    /// `metadata.resourceVersion`, opaque.
    pub fn resource_version(&self) -> &'a str {
        self.text("resourceVersion")
    }
    /// `metadata.generation`; 0 if absent.
    pub fn generation(&self) -> i64 {
        self.0.and_then(|m| m.get("generation")).and_then(Value::as_i64).unwrap_or_default()
    }
    /// `metadata.creationTimestamp`.
    pub fn creation_timestamp(&self) -> &'a str {
        self.text("creationTimestamp")
    }
    /// `metadata.deletionTimestamp`, if the object is being deleted.
    pub fn deletion_timestamp(&self) -> Option<&'a str> {
        Some(self.text("deletionTimestamp")).filter(|text| !text.is_empty())
    }
    /// One label.
    pub fn label(&self, key: &str) -> Option<&'a str> {
        self.0?.get("labels")?.get(key)?.as_str()
    }
    /// All labels.
    pub fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.strings("labels")
    }
    /// One annotation.
    pub fn annotation(&self, key: &str) -> Option<&'a str> {
        self.0?.get("annotations")?.get(key)?.as_str()
    }
    /// All annotations.
    pub fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.strings("annotations")
    }
    /// `metadata.finalizers`.
    pub fn finalizers(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.list("finalizers").iter().filter_map(Value::as_str)
    }
    /// `metadata.ownerReferences`.
    pub fn owner_references(&self) -> impl Iterator<Item = OwnerReference<'a>> + use<'a> {
        self.list("ownerReferences").iter().map(OwnerReference)
    }
    /// The owner that manages this object, if there is one.
    pub fn controller(&self) -> Option<OwnerReference<'a>> {
        self.owner_references().find(OwnerReference::is_controller)
    }
    /// `metadata.managedFields` as it stands.
    pub fn managed_fields(&self) -> &'a [Value] {
        self.list("managedFields")
    }
}

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, Copy)]
pub struct OwnerReference<'a>(&'a Value);

impl<'a> OwnerReference<'a> {
    fn text(&self, key: &str) -> &'a str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }
    fn flag(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or_default()
    }
    /// Type of the owner; empty parts if it is malformed.
    pub fn gvk(&self) -> Gvk {
        Gvk::from_api_version(self.text("apiVersion"), self.text("kind"))
    }
    /// Name of the owner, in the same namespace or cluster-scoped.
    pub fn name(&self) -> &'a str {
        self.text("name")
    }
    /// Uid of the owner: its identity.
    pub fn uid(&self) -> &'a str {
        self.text("uid")
    }
    /// True for the one owner that manages the object.
    pub fn is_controller(&self) -> bool {
        self.flag("controller")
    }
    /// True if foreground deletion of the owner waits for this object.
    pub fn blocks_owner_deletion(&self) -> bool {
        self.flag("blockOwnerDeletion")
    }
}

/// `metadata` of an object, to be written; made if absent. `None` if the object, or its
/// metadata, is something else than a map.
pub fn meta_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = object.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut()
}
