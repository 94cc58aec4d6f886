//! What a kustomization does to every object: namespace, prefix, labels, annotations, images, replicas.

use super::config::FieldSpec;
use super::field::{self, Create};
use super::file::{Image, Replica};
use super::id::Gvk;
use super::read::located;
use super::resource::Resource;
use super::set::Resources;
use super::tree::{Node, Scalar, Tag};
use crate::error::Error;
use regex::Regex;
use std::collections::BTreeMap;

type Result<T> = std::result::Result<T, Error>;
type Outcome = std::result::Result<(), String>;

fn at(resource: &Resource, problem: String) -> Error {
    located(&resource.place, format!("{}: {problem}", resource.id()))
}

/// Changes the fields that the specs name, in one object.
fn change(
    resource: &mut Resource,
    specs: &[FieldSpec],
    create: Option<Create>,
    set: &mut dyn FnMut(&mut Node) -> Outcome,
) -> Result<()> {
    let gvk = resource.gvk();
    for spec in specs {
        field::for_each(&mut resource.node, &gvk, spec, create, set).map_err(|problem| at(resource, problem))?;
    }
    Ok(())
}

/// Of which subjects of role bindings the namespace is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subjects {
    /// Those named `default`.
    Default,
    AllServiceAccounts,
    None,
}

/// Sets a namespace.
#[derive(Debug)]
pub(super) struct Namespace {
    pub namespace: String,
    pub specs: Vec<FieldSpec>,
    pub subjects: Subjects,
    /// Only where none is set.
    pub unset_only: bool,
}

impl Namespace {
    pub fn apply(&self, resources: &mut Resources) -> Result<()> {
        if self.namespace.is_empty() {
            return Ok(());
        }
        // Helm has seen to what charts made.
        for resource in resources.list.iter_mut().filter(|resource| !resource.is_from_chart()) {
            resource.store_id();
            self.apply_to(resource)?;
        }
        resources.check_unique()
    }

    pub fn apply_to(&self, resource: &mut Resource) -> Result<()> {
        let mut set = |node: &mut Node| self.set(node);
        if !resource.id().is_cluster_scoped() {
            let own = [FieldSpec::everywhere("metadata/namespace", true)];
            change(resource, &own, Some(Create::Scalar(Tag::Open)), &mut set)?;
        }
        let is_binding = matches!(resource.kind(), "RoleBinding" | "ClusterRoleBinding");
        if is_binding {
            self.subjects(resource).map_err(|problem| at(resource, problem))?;
        }
        let is_core = resource.api_version() == "v1";
        let is_left_out = |spec: &FieldSpec| match spec.path.as_str() {
            "metadata/namespace" => true,
            "metadata/name" => !is_core,
            "subjects/namespace" => {
                is_binding && matches!(spec.gvk.kind.as_str(), "RoleBinding" | "ClusterRoleBinding")
            }
            _ => false,
        };
        let specs: Vec<FieldSpec> = self.specs.iter().filter(|spec| !is_left_out(spec)).cloned().collect();
        change(resource, &specs, Some(Create::Scalar(Tag::Str)), &mut set)
    }

    fn set(&self, node: &mut Node) -> Outcome {
        if self.unset_only && !node.value().is_empty() {
            return Ok(());
        }
        node.assign(Scalar::text(&self.namespace))
    }

    fn subjects(&self, resource: &mut Resource) -> Outcome {
        let (field, value) = match self.subjects {
            Subjects::None => return Ok(()),
            Subjects::Default => ("name", "default"),
            Subjects::AllServiceAccounts => ("kind", "ServiceAccount"),
        };
        let Some(Node::List(subjects)) = resource.node.get_mut("subjects") else { return Ok(()) };
        for subject in subjects {
            if subject.get(field).is_some_and(|found| found.value() == value)
                && let Some(namespace) = subject.entry("namespace", || Node::Scalar(Scalar::open("")))
            {
                self.set(namespace)?;
            }
        }
        Ok(())
    }
}

/// Puts a prefix or a suffix to names.
#[derive(Debug)]
pub(super) struct Affix {
    pub text: String,
    pub is_prefix: bool,
    pub specs: Vec<FieldSpec>,
}

impl Affix {
    pub fn apply(&self, resources: &mut Resources) -> Result<()> {
        for resource in &mut resources.list {
            let original = resource.original_id().gvk;
            if keeps_its_name(&original) {
                continue;
            }
            for spec in self.specs.iter().filter(|spec| original.is_selected(&spec.gvk)) {
                if spec.path == "metadata/name" && !self.text.is_empty() {
                    let affixes = if self.is_prefix { &mut resource.prefixes } else { &mut resource.suffixes };
                    affixes.push(self.text.clone());
                    resource.store_id();
                }
                let create = Some(Create::Scalar(Tag::Str));
                change(resource, std::slice::from_ref(spec), create, &mut |node| {
                    let name = node.raw();
                    let (text, is_prefix) = (&self.text, self.is_prefix);
                    let name = if is_prefix { format!("{text}{name}") } else { format!("{name}{text}") };
                    node.assign(Scalar::open(name))
                })?;
            }
        }
        Ok(())
    }
}

/// The names of these mean something to others.
fn keeps_its_name(gvk: &Gvk) -> bool {
    match gvk.kind.as_str() {
        "CustomResourceDefinition" | "Namespace" => true,
        "APIService" => gvk.group == "apiregistration.k8s.io",
        _ => false,
    }
}

/// Sets labels or annotations.
pub(super) fn set_texts(
    resources: &mut Resources,
    texts: &BTreeMap<String, String>,
    specs: &[FieldSpec],
) -> Result<()> {
    for resource in &mut resources.list {
        for (key, text) in texts {
            change(resource, specs, Some(Create::Map), &mut |node| match node {
                Node::Map(_) => {
                    node.set(key, Scalar::text(text));
                    Ok(())
                }
                other if other.is_null() => Ok(()),
                other => Err(format!("a map is expected, but {} stands here", other.kind())),
            })?;
        }
    }
    Ok(())
}

/// Sets how many replicas there are of one object.
pub(super) fn set_replicas(
    resources: &mut Resources,
    replica: &Replica,
    specs: &[FieldSpec],
) -> std::result::Result<(), Error> {
    let mut found = false;
    for spec in specs {
        let places = resources.with_id(|id| id.name == replica.name && id.gvk.is_selected(&spec.gvk));
        for place in places {
            found = true;
            let count = Scalar::of(Tag::Int, replica.count.to_string());
            let create = Some(Create::Scalar(Tag::Int));
            change(&mut resources.list[place], std::slice::from_ref(spec), create, &mut |node| {
                node.assign(count.clone())
            })?;
        }
    }
    if found {
        return Ok(());
    }
    let kinds: Vec<&str> = specs.iter().map(|spec| spec.gvk.kind.as_str()).collect();
    let problem = format!("replicas: there is no {} among {}", replica.name, kinds.join(", "));
    Err(Error::Kustomization { file: String::new(), line: 0, problem })
}

/// Sets the name, tag or digest of an image.
pub(super) struct ImageChange<'a> {
    image: &'a Image,
    pattern: Option<Regex>,
}

impl<'a> ImageChange<'a> {
    pub fn new(image: &'a Image) -> Self {
        let tag = "(:[a-zA-Z0-9_.{}-]*)?";
        let digest = "(@[a-zA-Z0-9]+([.+_-][a-zA-Z0-9]+)*:[a-zA-Z0-9_.{}-]*)?";
        // A name that is no regular expression matches nothing.
        Self { image, pattern: Regex::new(&format!("^{}{tag}{digest}$", image.name)).ok() }
    }

    pub fn apply(&self, resources: &mut Resources, specs: &[FieldSpec]) -> Result<()> {
        for resource in &mut resources.list {
            if resource.kind() == "CustomResourceDefinition" {
                continue;
            }
            self.containers(&mut resource.node).map_err(|problem| at(resource, problem))?;
            change(resource, specs, None, &mut |node| self.set(node))?;
        }
        Ok(())
    }

    /// Containers are found wherever they stand.
    fn containers(&self, node: &mut Node) -> Outcome {
        match node {
            Node::Map(pairs) => pairs.iter_mut().try_for_each(|(key, value)| {
                self.containers(value)?;
                match value {
                    Node::List(items) if matches!(key.text.as_str(), "containers" | "initContainers") => {
                        items.iter_mut().try_for_each(|item| self.container(item))
                    }
                    _ => Ok(()),
                }
            }),
            Node::List(items) => items.iter_mut().try_for_each(|item| self.containers(item)),
            Node::Scalar(_) => Ok(()),
        }
    }

    fn container(&self, node: &mut Node) -> Outcome {
        match node {
            Node::Map(_) => node.get_mut("image").map_or(Ok(()), |image| self.set(image)),
            other if other.is_null() => Ok(()),
            other => Err(format!("a container is a map, but {} stands here", other.kind())),
        }
    }

    fn set(&self, node: &mut Node) -> Outcome {
        let Node::Scalar(scalar) = &*node else {
            return Err(format!("an image is a text, but {} stands here", node.kind()));
        };
        if !self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(&scalar.text)) {
            return Ok(());
        }
        let (name, tag, digest) = split_image(&scalar.text);
        let image = self.image;
        let mut changed = if image.new_name.is_empty() { name.to_owned() } else { image.new_name.clone() };
        let (tag, digest) = match (image.new_tag.as_str(), image.digest.as_str(), image.tag_suffix.as_str()) {
            ("", "", "") => (tag.to_owned(), digest),
            ("", "", suffix) => (format!("{tag}{suffix}"), ""),
            (tag, digest, _) => (tag.to_owned(), digest),
        };
        for (mark, part) in [(':', tag.as_str()), ('@', digest)] {
            if !part.is_empty() {
                changed.push(mark);
                changed.push_str(part);
            }
        }
        node.assign(Scalar::open(changed))
    }
}

/// Name, tag and digest; a colon before the first slash belongs to a port.
fn split_image(image: &str) -> (&str, &str, &str) {
    let start = image.find('/').unwrap_or(0);
    let (at, colon) = (image[start..].find('@'), image[start..].find(':'));
    let (at, colon) = (at.map(|at| at + start), colon.map(|at| at + start));
    match (at, colon) {
        (None, None) => (image, "", ""),
        (Some(at), Some(colon)) if colon < at => (&image[..colon], &image[colon + 1..at], &image[at + 1..]),
        (Some(at), _) => (&image[..at], "", &image[at + 1..]),
        (None, Some(colon)) => (&image[..colon], &image[colon + 1..], ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_parts() {
        let cases = [
            ("nginx", ("nginx", "", "")),
            ("nginx:1.2", ("nginx", "1.2", "")),
            ("host:5000/a/b", ("host:5000/a/b", "", "")),
            ("host:5000/a/b:1", ("host:5000/a/b", "1", "")),
            ("a@sha256:12", ("a", "", "sha256:12")),
            ("a:1@sha256:12", ("a", "1", "sha256:12")),
        ];
        for (image, parts) in cases {
            assert_eq!(split_image(image), parts, "{image}");
        }
    }
}
