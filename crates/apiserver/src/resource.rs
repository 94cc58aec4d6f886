//! What is served under which path: the built-in kinds, and those of CustomResourceDefinitions.

use crate::builtin::{self, Builtin};
use crate::crd::Custom;
use object::{GroupResource, Gvk, Schema};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One kind in one version, as a path names it.
#[derive(Debug)]
pub struct Resource {
    /// Of its objects.
    pub gvk: Gvk,
    /// Group and plural.
    pub names: GroupResource,
    /// `deployments.apps`: the resource part of [`crate::store::Key`].
    pub id: Arc<str>,
    /// `deployment`.
    pub singular: String,
    /// Other names that clients may use.
    pub short: Vec<String>,
    /// `all`, …
    pub categories: Vec<String>,
    /// It lives in namespaces.
    pub namespaced: bool,
    /// `status`, `scale`, …
    pub subresources: Vec<String>,
    /// Of its objects in this version.
    pub schema: Schema,
    /// What its definition says, if it is no built-in kind.
    pub custom: Option<Custom>,
    /// It is an answer to a question: create is all one can do.
    pub review: bool,
    /// False if nothing here acts on it.
    pub effective: bool,
}

impl Resource {
    fn builtin(row: &Builtin, review: bool) -> Self {
        let gvk = Gvk::new(row.group, row.version, row.kind);
        let names = GroupResource { group: row.group.into(), resource: row.plural.into() };
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Self {
            id: names.to_string().into(),
            singular: row.kind.to_lowercase(),
            short: owned(row.short),
            categories: owned(row.categories),
            namespaced: row.namespaced,
            subresources: owned(row.subresources),
            schema: object::schema::schema_for(&gvk).unwrap_or_else(Schema::any),
            custom: None,
            review,
            effective: row.effective,
            gvk,
            names,
        }
    }

    /// It has this subresource.
    pub fn has(&self, subresource: &str) -> bool {
        self.subresources.iter().any(|known| known == subresource)
    }

    /// What one can do with its objects.
    pub fn verbs(&self) -> &'static [&'static str] {
        if self.review {
            return &["create"];
        }
        if &*self.id == "namespaces" {
            return &["create", "delete", "get", "list", "patch", "update", "watch"];
        }
        if self.custom.is_some() {
            return &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
        }
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    }

    /// Kind of its lists.
    pub fn list_kind(&self) -> String {
        self.custom.as_ref().map_or_else(|| format!("{}List", self.gvk.kind), |custom| custom.list_kind.clone())
    }
}

/// Everything that is served, at one time. Replaced as a whole when a definition changes.
#[derive(Debug, Default)]
pub struct Registry {
    groups: Vec<Group>,
    places: HashMap<(String, String, String), Arc<Resource>>,
}

/// One API group.
#[derive(Debug)]
pub struct Group {
    /// Empty for the core group.
    pub name: String,
    /// The preferred one first.
    pub versions: Vec<Version>,
}

/// One version of a group.
#[derive(Debug)]
pub struct Version {
    /// `v1`.
    pub name: String,
    /// By plural.
    pub resources: Vec<Arc<Resource>>,
}

/// Built-in kinds, made once.
pub fn builtins() -> Vec<Arc<Resource>> {
    let kinds = builtin::KINDS.iter().map(|row| Resource::builtin(row, false));
    let reviews = builtin::REVIEWS.iter().map(|row| Resource::builtin(row, true));
    kinds.chain(reviews).map(Arc::new).collect()
}

impl Registry {
    /// From all kinds. Groups stand in the order of their first kind, custom ones by name after them.
    pub fn new(builtins: &[Arc<Resource>], custom: Vec<Arc<Resource>>) -> Self {
        let mut registry = Registry::default();
        let mut later: BTreeMap<String, Vec<Arc<Resource>>> = BTreeMap::new();
        for resource in custom {
            later.entry(resource.gvk.group.clone()).or_default().push(resource);
        }
        builtins.iter().cloned().chain(later.into_values().flatten()).for_each(|resource| registry.add(resource));
        for group in &mut registry.groups {
            group.versions.sort_by_key(|version| std::cmp::Reverse(priority(&version.name)));
        }
        registry
    }

    fn add(&mut self, resource: Arc<Resource>) {
        let Gvk { group, version, .. } = &resource.gvk;
        let place = (group.clone(), version.clone(), resource.names.resource.clone());
        let at = self.groups.iter().position(|known| known.name == *group).unwrap_or_else(|| {
            self.groups.push(Group { name: group.clone(), versions: Vec::new() });
            self.groups.len() - 1
        });
        let versions = &mut self.groups[at].versions;
        let at = versions.iter().position(|known| known.name == *version).unwrap_or_else(|| {
            versions.push(Version { name: version.clone(), resources: Vec::new() });
            versions.len() - 1
        });
        versions[at].resources.push(resource.clone());
        self.places.insert(place, resource);
    }

    /// What a path names.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.places.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// All groups, the core group first.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// One group.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// One version of a group.
    pub fn version(&self, group: &str, version: &str) -> Option<&Version> {
        self.group(group)?.versions.iter().find(|known| known.name == version)
    }

    /// Every resource in every version.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.groups.iter().flat_map(|group| &group.versions).flat_map(|version| &version.resources)
    }
}

/// Kubernetes' order of versions: `v2` over `v1` over `v1beta2` over `v1beta1` over `v1alpha1` over the rest.
pub fn priority(version: &str) -> (u8, u64, u64) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: u64 = rest[..end].parse().ok()?;
        let (rank, minor) = match &rest[end..] {
            "" => (3, ""),
            stage if stage.starts_with("beta") => (2, &stage[4..]),
            stage if stage.starts_with("alpha") => (1, &stage[5..]),
            _ => return None,
        };
        Some((rank, major, if minor.is_empty() { 0 } else { minor.parse().ok()? }))
    };
    parse().unwrap_or_default()
}
