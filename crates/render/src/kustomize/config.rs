//! Where transformers look: the field specs, as they are by default and as `configurations` and `crds` add to them.

use super::decode::{Fields, Rules};
use super::file::gvk;
use super::id::Gvk;
use crate::error::Error;
use serde_json::{Map, Value};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use yaml::Node;

type Result<T> = std::result::Result<T, Error>;

/// A place in objects of some kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldSpec {
    pub gvk: Gvk,
    /// `spec/template/spec/containers[]/image`.
    pub path: String,
    pub create: bool,
}

impl FieldSpec {
    /// A place in objects of every kind.
    pub fn everywhere(path: &str, create: bool) -> Self {
        Self { gvk: Gvk::default(), path: path.to_owned(), create }
    }

    pub fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let spec = Self { gvk: gvk(&mut fields)?, path: fields.text("path")?, create: fields.flag("create")? };
        fields.close()?;
        Ok(spec)
    }
}

/// What names refer to, and the fields in which they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NameReference {
    pub target: Gvk,
    pub fields: Vec<FieldSpec>,
}

/// All field specs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Config {
    /// By section, in the order of [`SECTIONS`].
    sections: [Vec<FieldSpec>; SECTIONS.len()],
    pub name_references: Vec<NameReference>,
}

/// What field specs are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    NamePrefix,
    NameSuffix,
    Namespace,
    CommonLabels,
    Labels,
    TemplateLabels,
    VolumeClaimTemplateLabels,
    CommonAnnotations,
    VarReference,
    Images,
    Replicas,
}

const SECTIONS: [&str; 11] = [
    "namePrefix",
    "nameSuffix",
    "namespace",
    "commonLabels",
    "labels",
    "templateLabels",
    "volumeClaimTemplateLabels",
    "commonAnnotations",
    "varReference",
    "images",
    "replicas",
];

static DEFAULT: LazyLock<Arc<Config>> = LazyLock::new(|| {
    let mut config = Config::default();
    config.read_table(include_str!("data/field_specs.txt"));
    config.sort();
    Arc::new(config)
});

thread_local! {
    /// Shared, so that merging the default with itself costs nothing.
    static SHARED: Rc<Config> = Rc::new(Config::clone(&DEFAULT));
}

impl Config {
    /// What holds without any configuration.
    pub fn standard() -> Rc<Self> {
        SHARED.with(Rc::clone)
    }

    pub fn section(&self, section: Section) -> &[FieldSpec] {
        &self.sections[section as usize]
    }

    fn read_table(&mut self, table: &str) {
        let part = |word: &str| if word == "-" { String::new() } else { word.to_owned() };
        let mut open: Option<usize> = None;
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["section", name] => open = SECTIONS.iter().position(|other| other == name),
                ["target", group, version, kind] => {
                    let target = Gvk { group: part(group), version: part(version), kind: part(kind) };
                    self.name_references.push(NameReference { target, fields: Vec::new() });
                }
                [path, group, version, kind, rest @ ..] => {
                    let gvk = Gvk { group: part(group), version: part(version), kind: part(kind) };
                    let spec = FieldSpec { gvk, path: (*path).to_owned(), create: !rest.is_empty() };
                    match open {
                        Some(at) => self.sections[at].push(spec),
                        None => {
                            if let Some(reference) = self.name_references.last_mut() {
                                reference.fields.push(spec);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// A file named by `configurations`.
    pub fn read(content: &str, file: &str) -> Result<Self> {
        let mut config = Self::default();
        let documents = yaml::parse(content, file).map_err(Error::Yaml)?;
        let Some(node) = documents.first() else { return Ok(config) };
        let rules = Rules { file, known_only: true, loose: true };
        let mut fields = Fields::of(rules, node, "")?;
        for (at, name) in SECTIONS.iter().enumerate() {
            config.sections[at] = fields.list(name, FieldSpec::read)?;
        }
        config.name_references = fields.list("nameReference", |rules, node, path| {
            let mut fields = Fields::of(rules, node, path)?;
            let reference =
                NameReference { target: gvk(&mut fields)?, fields: fields.list("fieldSpecs", FieldSpec::read)? };
            fields.close()?;
            Ok(reference)
        })?;
        fields.close()?;
        config.sort();
        Ok(config)
    }

    fn sort(&mut self) {
        for section in &mut self.sections {
            section.sort_by_cached_key(|spec| rank(&spec.gvk));
        }
        self.name_references.sort_by_cached_key(|reference| rank(&reference.target));
    }

    /// Both together. Of specs for the same place, `create` must agree.
    pub fn merged(own: &Rc<Self>, other: &Rc<Self>) -> std::result::Result<Rc<Self>, String> {
        if Rc::ptr_eq(own, other) || other.is_empty() {
            return Ok(own.clone());
        }
        if own.is_empty() && Rc::ptr_eq(other, &Self::standard()) {
            return Ok(other.clone());
        }
        // Into an empty one too: a spec for all kinds behind one for a single kind falls away, as in the original.
        let mut result = Self::clone(own);
        for (at, specs) in other.sections.iter().enumerate() {
            merge_all(&mut result.sections[at], specs).map_err(|problem| format!("{}: {problem}", SECTIONS[at]))?;
        }
        for reference in &other.name_references {
            result.add_reference(reference).map_err(|problem| format!("nameReference: {problem}"))?;
        }
        result.sort();
        Ok(Rc::new(result))
    }

    fn is_empty(&self) -> bool {
        self.name_references.is_empty() && self.sections.iter().all(Vec::is_empty)
    }

    fn add_reference(&mut self, reference: &NameReference) -> std::result::Result<(), String> {
        let mut found = false;
        for own in self.name_references.iter_mut().filter(|own| own.target == reference.target) {
            merge_all(&mut own.fields, &reference.fields)?;
            found = true;
        }
        if !found {
            self.name_references.push(reference.clone());
        }
        Ok(())
    }
}

/// Adds the specs that are not there yet.
pub(super) fn merge_all(own: &mut Vec<FieldSpec>, others: &[FieldSpec]) -> std::result::Result<(), String> {
    for other in others {
        merge_one(own, other)?;
    }
    Ok(())
}

pub(super) fn merge_one(own: &mut Vec<FieldSpec>, other: &FieldSpec) -> std::result::Result<(), String> {
    match own.iter().find(|spec| spec.path == other.path && spec.gvk.is_selected(&other.gvk)) {
        Some(spec) if spec.create != other.create => {
            Err(format!("two entries for {} disagree about create", other.path))
        }
        Some(_) => Ok(()),
        None => {
            own.push(other.clone());
            Ok(())
        }
    }
}

/// Kinds that come before and behind all others.
pub(super) const FIRST: [&str; 22] = [
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];
pub(super) const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// Place of a kind in the given orders: negative, zero for the unnamed, positive.
pub(super) fn place(kind: &str, first: &[impl AsRef<str>], last: &[impl AsRef<str>]) -> isize {
    if let Some(at) = last.iter().rposition(|other| other.as_ref() == kind) {
        return isize::try_from(at).unwrap_or(isize::MAX - 1) + 1;
    }
    match first.iter().rposition(|other| other.as_ref() == kind) {
        Some(at) => isize::try_from(at).unwrap_or(0) - isize::try_from(first.len()).unwrap_or(isize::MAX),
        None => 0,
    }
}

/// What orders groups, versions and kinds.
pub(super) fn sort_text(gvk: &Gvk) -> String {
    let part = |text: &str, none: &'static str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
    format!("{}_{}_{}", part(&gvk.group, "~G"), part(&gvk.version, "~V"), part(&gvk.kind, "~K"))
}

fn rank(gvk: &Gvk) -> (isize, String) {
    (place(&gvk.kind, &FIRST, &LAST), sort_text(gvk))
}

/// What the types of custom resources (`crds`: Go's OpenAPI definitions) say about their fields.
pub(super) fn from_definitions(definitions: &Value) -> std::result::Result<Config, String> {
    let mut config = Config::default();
    let types = definitions.as_object().ok_or("definitions of types are expected")?;
    for (name, ty) in types {
        let properties = properties(ty);
        if ["kind", "apiVersion", "metadata"].iter().all(|field| properties.is_some_and(|p| p.contains_key(*field))) {
            let kind = name.rsplit('.').next().unwrap_or(name);
            let gvk = Gvk { kind: kind.to_owned(), ..Gvk::default() };
            read_definition(&mut config, &gvk, types, name, &mut Vec::new())?;
        }
    }
    config.sort();
    Ok(config)
}

fn properties(ty: &Value) -> Option<&Map<String, Value>> {
    ty.pointer("/Schema/properties").and_then(Value::as_object)
}

/// Types that contain each other are followed no deeper than this.
const DEPTH_MAX: usize = 20;

fn read_definition(
    config: &mut Config,
    gvk: &Gvk,
    types: &Map<String, Value>,
    name: &str,
    path: &mut Vec<String>,
) -> std::result::Result<(), String> {
    if path.len() > DEPTH_MAX {
        return Err(format!("{name} contains itself"));
    }
    for (property, schema) in types.get(name).and_then(properties).into_iter().flatten() {
        path.push(property.clone());
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        let spec = |path: &[String]| FieldSpec { gvk: gvk.clone(), path: path.join("/"), create: false };
        let sections = [
            ("x-kubernetes-annotation", Section::CommonAnnotations),
            ("x-kubernetes-label-selector", Section::CommonLabels),
            ("x-kubernetes-identity", Section::NamePrefix),
        ];
        for (key, section) in sections {
            if text(key).is_some() {
                merge_one(&mut config.sections[section as usize], &spec(path))?;
            }
        }
        if let (Some(version), Some(kind)) =
            (text("x-kubernetes-object-ref-api-version"), text("x-kubernetes-object-ref-kind"))
        {
            let mut field = path.clone();
            field.push(text("x-kubernetes-object-ref-name-key").unwrap_or("name").to_owned());
            let target = Gvk { group: String::new(), version: version.to_owned(), kind: kind.to_owned() };
            config.add_reference(&NameReference { target, fields: vec![spec(&field)] })?;
        }
        if let Some(reference) = text("$ref") {
            read_definition(config, gvk, types, reference, path)?;
        }
        path.pop();
    }
    Ok(())
}
