//! Names in objects that refer to other objects follow those objects' new names.

use super::config::{Config, FieldSpec};
use super::field;
use super::id::{Gvk, Id};
use super::read::located;
use super::resource::Resource;
use super::set::Resources;
use super::tree::{Node, Scalar};
use crate::error::Error;
use std::collections::{HashMap, HashSet};

/// What others may refer to.
struct Candidate {
    id: Id,
    previous: Vec<Id>,
    /// Where it stood first.
    original_namespace: String,
    kind: String,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
}

/// Everything that was ever renamed.
struct Index {
    candidates: Vec<Candidate>,
    by_previous_name: HashMap<String, Vec<usize>>,
}

/// Brings all references up to date.
pub(super) fn fix(resources: &mut Resources, config: &Config) -> Result<(), Error> {
    let index = Index::of(resources);
    for resource in &mut resources.list {
        let referrer = Referrer::of(resource).map_err(|problem| located(&resource.place, problem))?;
        if index.by_previous_name.is_empty() {
            continue;
        }
        let gvk = resource.gvk();
        let original = resource.original_id().gvk;
        for reference in &config.name_references {
            for spec in reference.fields.iter().filter(|spec| original.is_selected(&spec.gvk)) {
                let everywhere = FieldSpec { gvk: Gvk::default(), path: spec.path.clone(), create: false };
                let filter = Filter { referrer: &referrer, target: &reference.target, spec, index: &index };
                let mut node = std::mem::replace(&mut resource.node, Node::null());
                let done = field::for_each(&mut node, &gvk, &everywhere, None, &mut |node| filter.update(node));
                resource.node = node;
                done.map_err(|problem| located(&resource.place, format!("{}: {problem}", resource.id())))?;
            }
        }
    }
    Ok(())
}

impl Index {
    fn of(resources: &Resources) -> Self {
        let mut index = Self { candidates: Vec::new(), by_previous_name: HashMap::new() };
        for (at, resource) in resources.list.iter().enumerate() {
            for name in resource.previous_names() {
                let places = index.by_previous_name.entry(name.to_owned()).or_default();
                if places.last() != Some(&at) {
                    places.push(at);
                }
            }
            index.candidates.push(Candidate {
                id: resource.id(),
                previous: resource.previous_ids(),
                original_namespace: resource.original_id().effective,
                kind: resource.kind().to_owned(),
                prefixes: resource.prefixes.clone(),
                suffixes: resource.suffixes.clone(),
            });
        }
        index
    }
}

/// Who refers.
struct Referrer {
    id: Id,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
    /// Namespaces of the service accounts that a role binding names.
    subject_namespaces: HashSet<String>,
    /// Of a binding: what its role is.
    role: Option<Gvk>,
}

impl Referrer {
    fn of(resource: &Resource) -> Result<Self, String> {
        let text = |node: &Node, field: &str| node.get(field).map_or("", Node::value).to_owned();
        let mut subject_namespaces = HashSet::new();
        if resource.kind() == "RoleBinding" {
            let subjects = resource.node.get("subjects").map_or(&[][..], Node::items);
            for subject in subjects.iter().filter(|subject| text(subject, "kind") == "ServiceAccount") {
                match subject.get("namespace") {
                    Some(namespace) if namespace.is_null() => {
                        return Err(format!("{}: the namespace of a subject is blank", resource.id()));
                    }
                    Some(namespace) => _ = subject_namespaces.insert(namespace.raw().to_owned()),
                    None => {}
                }
            }
        }
        let role = resource.node.get("roleRef").and_then(|role| {
            let (group, kind) = (role.get("apiGroup")?, role.get("kind")?);
            let gvk = Gvk { group: group.raw().to_owned(), version: String::new(), kind: kind.raw().to_owned() };
            Some(gvk)
        });
        Ok(Self {
            id: resource.id(),
            prefixes: resource.prefixes.clone(),
            suffixes: resource.suffixes.clone(),
            subject_namespaces,
            role,
        })
    }

    /// True if the referrer can see this object at all.
    fn can_see(&self, candidate: &Candidate) -> bool {
        self.id.is_cluster_scoped()
            || candidate.id.is_cluster_scoped()
            || candidate.id.effective == self.id.effective
            || self.subject_namespaces.contains(&candidate.id.namespace)
    }
}

/// One field of one object that may refer to objects of one kind.
struct Filter<'a> {
    referrer: &'a Referrer,
    target: &'a Gvk,
    spec: &'a FieldSpec,
    index: &'a Index,
}

impl Filter<'_> {
    fn update(&self, node: &mut Node) -> Result<(), String> {
        match node {
            Node::Map(_) => self.update_map(node),
            Node::List(items) => items.iter_mut().try_for_each(|item| match item {
                Node::Map(_) => self.update_map(item),
                Node::Scalar(_) => self.update_name(item),
                Node::List(_) => Err("a name or a map with a name is expected, but a list stands there".into()),
            }),
            Node::Scalar(_) => self.update_name(node),
        }
    }

    fn update_name(&self, node: &mut Node) -> Result<(), String> {
        if node.is_null() {
            return Ok(());
        }
        let Some(found) = self.referral(node.raw(), |_| true, |a, b| a.id.name == b.id.name)? else { return Ok(()) };
        if found.id.name != node.raw() {
            node.assign(Scalar::open(&found.id.name))?;
        }
        Ok(())
    }

    /// A map with a name, and perhaps a namespace.
    fn update_map(&self, node: &mut Node) -> Result<(), String> {
        let Some(name) = node.get("name") else { return Err("the field should hold a map with a name".into()) };
        let name = name.raw().to_owned();
        let namespace = node.get("namespace").map(|namespace| namespace.raw().to_owned());
        let visible = |candidate: &&Candidate| self.referrer.can_see(candidate);
        let originally = namespace.as_ref().is_some_and(|namespace| {
            self.index
                .candidates
                .iter()
                .filter(visible)
                .any(|c| !c.id.is_cluster_scoped() && c.original_namespace == *namespace)
        });
        let is_there = |candidate: &Candidate| match &namespace {
            None => true,
            Some(namespace) if originally => {
                !candidate.id.is_cluster_scoped() && candidate.original_namespace == *namespace
            }
            Some(namespace) => !candidate.id.is_cluster_scoped() && candidate.id.effective == *namespace,
        };
        let same = |a: &Candidate, b: &Candidate| a.id.name == b.id.name && a.id.namespace == b.id.namespace;
        let Some(found) = self.referral(&name, is_there, same)? else { return Ok(()) };
        if found.id.name == name && found.id.namespace.is_empty() {
            return Ok(());
        }
        node.set("name", Scalar::open(&found.id.name));
        if !found.id.namespace.is_empty() {
            node.set("namespace", Scalar::open(&found.id.namespace));
        }
        Ok(())
    }

    /// The object that a name refers to.
    fn referral(
        &self,
        name: &str,
        is_there: impl Fn(&Candidate) -> bool,
        same: impl Fn(&Candidate, &Candidate) -> bool,
    ) -> Result<Option<&Candidate>, String> {
        let places = self.index.by_previous_name.get(name).map_or(&[][..], Vec::as_slice);
        let was = |candidate: &Candidate, gvk: &Gvk| candidate.previous.iter().any(|id| id.gvk.is_selected(gvk));
        let role = self.referrer.role.as_ref().filter(|_| self.spec.path.ends_with("roleRef/name"));
        let mut found: Vec<&Candidate> = places
            .iter()
            .map(|at| &self.index.candidates[*at])
            .filter(|candidate| self.referrer.can_see(candidate) && is_there(candidate))
            .filter(|candidate| was(candidate, self.target) && role.is_none_or(|role| was(candidate, role)))
            .filter(|candidate| self.is_near(candidate))
            .collect();
        if found.len() == 1 {
            return Ok(found.pop());
        }
        found.retain(|candidate| self.shares_affixes(candidate, true));
        if found.len() > 1 {
            found.retain(|candidate| self.shares_affixes(candidate, false));
        }
        let Some((first, rest)) = found.split_first() else { return Ok(None) };
        if rest.iter().all(|other| same(first, other)) {
            return Ok(Some(first));
        }
        let names: Vec<String> = found.iter().map(|candidate| candidate.id.to_string()).collect();
        Err(format!("{}: {name} could be any of {}", self.spec.path, names.join(", ")))
    }

    /// In the same namespace, or in none, or a service account, which any binding may name.
    fn is_near(&self, candidate: &Candidate) -> bool {
        self.referrer.id.is_cluster_scoped()
            || candidate.id.is_cluster_scoped()
            || candidate.kind == "ServiceAccount"
            || candidate.id.effective == self.referrer.id.effective
    }

    /// Renamed by the same kustomizations.
    fn shares_affixes(&self, candidate: &Candidate, absent_matches: bool) -> bool {
        let shares = |own: &[String], other: &[String]| {
            absent_matches && (own.is_empty() || other.is_empty()) || same_ending(own, other)
        };
        shares(&candidate.prefixes, &self.referrer.prefixes) && shares(&candidate.suffixes, &self.referrer.suffixes)
    }
}

fn same_ending(a: &[String], b: &[String]) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short.is_empty() { long.is_empty() } else { long.ends_with(short) }
}
