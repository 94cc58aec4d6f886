//! A kustomization as it is written.

use super::chart::{ChartArgs, Globals};
use super::config::FieldSpec;
use super::decode::{Fields, Rules};
use super::id::Gvk;
use crate::error::Error;
use std::collections::BTreeMap;
use yaml::Node;

type Result<T> = std::result::Result<T, Error>;

/// What a file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Kustomization,
    /// Works on what stands there already.
    Component,
}

/// The fields of a kustomization that decide what is built.
#[derive(Debug)]
pub(super) struct Kustomization {
    pub kind: FileKind,
    /// With `bases`.
    pub resources: Vec<String>,
    pub components: Vec<String>,
    pub crds: Vec<String>,
    pub configurations: Vec<String>,
    pub open_api: BTreeMap<String, String>,
    pub name_prefix: String,
    pub name_suffix: String,
    pub namespace: String,
    pub common_labels: BTreeMap<String, String>,
    pub labels: Vec<Labels>,
    pub common_annotations: BTreeMap<String, String>,
    pub patches_strategic_merge: Vec<String>,
    pub patches_json: Vec<Patch>,
    pub patches: Vec<Patch>,
    pub images: Vec<Image>,
    pub replacements: Vec<Replacement>,
    pub replicas: Vec<Replica>,
    pub vars: Vec<Var>,
    pub sort_options: Option<SortOptions>,
    pub config_maps: Vec<GeneratorArgs>,
    pub secrets: Vec<GeneratorArgs>,
    pub generators: Vec<String>,
    pub transformers: Vec<String>,
    pub validators: Vec<String>,
    pub build_metadata: Vec<String>,
    pub helm_globals: Globals,
    pub charts: Vec<ChartArgs>,
}

/// An entry of `labels`.
#[derive(Debug)]
pub(super) struct Labels {
    pub pairs: BTreeMap<String, String>,
    pub selectors: bool,
    pub templates: bool,
    pub volume_claim_templates: bool,
    pub fields: Vec<FieldSpec>,
}

/// An entry of `patches` or `patchesJson6902`.
#[derive(Debug, Default)]
pub(super) struct Patch {
    pub path: String,
    pub patch: String,
    pub target: Option<Selector>,
    pub allow_name_change: bool,
    pub allow_kind_change: bool,
}

/// What a patch or a replacement applies to; names are regular expressions.
#[derive(Debug, Default, Clone)]
pub(super) struct Selector {
    pub gvk: Gvk,
    pub name: String,
    pub namespace: String,
    pub annotations: String,
    pub labels: String,
}

/// An entry of `images`.
#[derive(Debug, Default, Clone)]
pub(super) struct Image {
    pub name: String,
    pub new_name: String,
    pub tag_suffix: String,
    pub new_tag: String,
    pub digest: String,
}

/// An entry of `replicas`.
#[derive(Debug, Default, Clone)]
pub(super) struct Replica {
    pub name: String,
    pub count: i64,
}

/// An entry of `replacements`: a file with more of them, or one written in place.
#[derive(Debug, Default)]
pub(super) struct Replacement {
    pub path: String,
    pub source: Option<Source>,
    pub source_value: Option<String>,
    /// `None` if the field is absent.
    pub targets: Option<Vec<Target>>,
}

/// Where a value comes from.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub gvk: Gvk,
    pub name: String,
    pub namespace: String,
    pub field_path: String,
    pub options: FieldOptions,
}

/// Where a value goes.
#[derive(Debug, Default)]
pub(super) struct Target {
    pub select: Option<Selector>,
    pub reject: Vec<Selector>,
    pub field_paths: Vec<String>,
    pub options: FieldOptions,
}

/// Which part of a field is meant.
#[derive(Debug, Default, Clone)]
pub(super) struct FieldOptions {
    pub delimiter: String,
    pub index: i64,
    pub create: bool,
}

/// An entry of `vars`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Var {
    pub name: String,
    pub gvk: Gvk,
    pub object: String,
    pub namespace: String,
    pub field_path: String,
}

/// `sortOptions`.
#[derive(Debug, Clone)]
pub(super) struct SortOptions {
    pub order: String,
    /// Kinds that come first and last.
    pub legacy: Option<(Vec<String>, Vec<String>)>,
}

/// An entry of `configMapGenerator` or `secretGenerator`.
#[derive(Debug, Default)]
pub(super) struct GeneratorArgs {
    pub namespace: String,
    pub name: String,
    pub behavior: String,
    pub literals: Vec<String>,
    pub files: Vec<String>,
    pub envs: Vec<String>,
    pub options: GeneratorOptions,
    /// Of a secret.
    pub ty: String,
}

/// `generatorOptions`, or the options of one generator.
#[derive(Debug, Default, Clone)]
pub(super) struct GeneratorOptions {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub disable_name_suffix_hash: bool,
    pub immutable: bool,
}

impl GeneratorOptions {
    /// With what holds for all generators; own labels and annotations win.
    fn merged(mut self, global: &Self) -> Self {
        for (own, global) in [(&mut self.labels, &global.labels), (&mut self.annotations, &global.annotations)] {
            for (key, value) in global {
                own.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        self.disable_name_suffix_hash |= global.disable_name_suffix_hash;
        self.immutable |= global.immutable;
        self
    }
}

const KUSTOMIZATION: &str = "kustomize.config.k8s.io/v1beta1";
const COMPONENT: &str = "kustomize.config.k8s.io/v1alpha1";
/// Fields that can make a kustomization more than an empty one.
const FIELDS: [&str; 30] = [
    "metadata",
    "openapi",
    "namePrefix",
    "nameSuffix",
    "namespace",
    "commonLabels",
    "labels",
    "commonAnnotations",
    "patchesStrategicMerge",
    "patchesJson6902",
    "patches",
    "images",
    "replacements",
    "replicas",
    "vars",
    "sortOptions",
    "resources",
    "components",
    "crds",
    "configMapGenerator",
    "secretGenerator",
    "helmGlobals",
    "helmCharts",
    "generatorOptions",
    "configurations",
    "generators",
    "transformers",
    "validators",
    "buildMetadata",
    "helmChartInflationGenerator",
];

impl Kustomization {
    /// Reads a file.
    pub fn read(content: &str, file: &str) -> Result<Self> {
        let documents = yaml::parse(content, file).map_err(Error::Yaml)?;
        let fail = |problem: &str| Error::Kustomization { file: file.to_owned(), line: 0, problem: problem.to_owned() };
        let node = documents.first().ok_or_else(|| fail("the kustomization is empty"))?;
        let rules = Rules { file, known_only: true, loose: false };
        let mut fields = Fields::of(rules, node, "")?;
        let holds = FIELDS.iter().any(|name| fields.holds(name));
        let read = Self::of(&mut fields)?;
        fields.close()?;
        if !holds && read.resources.is_empty() && read.images.is_empty() {
            return Err(fail("the kustomization is empty"));
        }
        Ok(read)
    }

    fn of(fields: &mut Fields<'_>) -> Result<Self> {
        let kind = file_kind(fields)?;
        fields.object("metadata", object_meta)?;
        let mut resources = fields.texts("resources")?;
        resources.extend(fields.texts("bases")?);
        let mut images = fields.list("images", Image::read)?;
        images.extend(fields.list("imageTags", Image::read)?);
        let options = fields.object("generatorOptions", generator_options)?.unwrap_or_default();
        let generators = |list: Vec<GeneratorArgs>| -> Vec<GeneratorArgs> {
            list.into_iter()
                .map(|args| GeneratorArgs { options: args.options.clone().merged(&options), ..args })
                .collect()
        };
        let helm_globals = fields.object("helmGlobals", Globals::read)?.unwrap_or_default();
        let mut charts = fields.list("helmCharts", |r, node, path| ChartArgs::read(r, node, path, "name"))?;
        charts.extend(
            fields.list("helmChartInflationGenerator", |r, node, path| ChartArgs::read(r, node, path, "chartName"))?,
        );
        Ok(Self {
            kind,
            resources,
            components: fields.texts("components")?,
            crds: fields.texts("crds")?,
            configurations: fields.texts("configurations")?,
            open_api: fields.texts_by_name("openapi")?,
            name_prefix: fields.text("namePrefix")?,
            name_suffix: fields.text("nameSuffix")?,
            namespace: fields.text("namespace")?,
            common_labels: fields.texts_by_name("commonLabels")?,
            labels: fields.list("labels", Labels::read)?,
            common_annotations: fields.texts_by_name("commonAnnotations")?,
            patches_strategic_merge: fields.texts("patchesStrategicMerge")?,
            patches_json: fields.list("patchesJson6902", Patch::read)?,
            patches: fields.list("patches", Patch::read)?,
            images,
            replacements: fields.list("replacements", Replacement::read)?,
            replicas: fields.list("replicas", Replica::read)?,
            vars: fields.list("vars", Var::read)?,
            sort_options: fields.object("sortOptions", SortOptions::read)?,
            config_maps: generators(
                fields.list("configMapGenerator", |r, node, path| GeneratorArgs::read(r, node, path, false))?,
            ),
            secrets: generators(
                fields.list("secretGenerator", |r, node, path| GeneratorArgs::read(r, node, path, true))?,
            ),
            generators: fields.texts("generators")?,
            transformers: fields.texts("transformers")?,
            validators: fields.texts("validators")?,
            build_metadata: fields.texts("buildMetadata")?,
            helm_globals,
            charts,
        })
    }

    /// True if `buildMetadata` names this.
    pub fn tells(&self, option: &str) -> bool {
        self.build_metadata.iter().any(|other| other == option)
    }
}

fn file_kind(fields: &mut Fields<'_>) -> Result<FileKind> {
    let (kind, version) = (fields.text("kind")?, fields.text("apiVersion")?);
    let (kind, expected) = match kind.as_str() {
        "" | "Kustomization" => (FileKind::Kustomization, KUSTOMIZATION),
        "Component" => (FileKind::Component, COMPONENT),
        other => {
            return fields.fail(&format!("kind {other} is none of Kustomization and Component"));
        }
    };
    if !version.is_empty() && version != expected {
        return fields.fail(&format!("apiVersion {version} should be {expected}"));
    }
    Ok(kind)
}

fn object_meta(rules: Rules<'_>, node: &Node, path: &str) -> Result<()> {
    let mut fields = Fields::of(rules, node, path)?;
    fields.text("name")?;
    fields.text("namespace")?;
    fields.texts_by_name("labels")?;
    fields.texts_by_name("annotations")?;
    fields.close()
}

pub(super) fn gvk(fields: &mut Fields<'_>) -> Result<Gvk> {
    Ok(Gvk { group: fields.text("group")?, version: fields.text("version")?, kind: fields.text("kind")? })
}

impl Labels {
    fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let labels = Self {
            pairs: fields.texts_by_name("pairs")?,
            selectors: fields.flag("includeSelectors")?,
            templates: fields.flag("includeTemplates")?,
            volume_claim_templates: fields.flag("includeVolumeClaimTemplates")?,
            fields: fields.list("fields", FieldSpec::read)?,
        };
        fields.close()?;
        Ok(labels)
    }
}

impl Patch {
    pub fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let (allow_name_change, allow_kind_change) = fields.object("options", patch_options)?.unwrap_or_default();
        let patch = Self {
            path: fields.text("path")?,
            patch: fields.text("patch")?,
            target: fields.object("target", Selector::read)?,
            allow_name_change,
            allow_kind_change,
        };
        fields.close()?;
        Ok(patch)
    }
}

fn patch_options(rules: Rules<'_>, node: &Node, path: &str) -> Result<(bool, bool)> {
    let mut fields = Fields::of(rules, node, path)?;
    let options = (fields.flag("allowNameChange")?, fields.flag("allowKindChange")?);
    fields.close()?;
    Ok(options)
}

impl Selector {
    pub fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let selector = Self {
            gvk: gvk(&mut fields)?,
            name: fields.text("name")?,
            namespace: fields.text("namespace")?,
            annotations: fields.text("annotationSelector")?,
            labels: fields.text("labelSelector")?,
        };
        fields.close()?;
        Ok(selector)
    }
}

impl Image {
    pub fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let image = Self {
            name: fields.text("name")?,
            new_name: fields.text("newName")?,
            tag_suffix: fields.text("tagSuffix")?,
            new_tag: fields.text("newTag")?,
            digest: fields.text("digest")?,
        };
        fields.close()?;
        Ok(image)
    }
}

impl Replica {
    pub fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let replica = Self { name: fields.text("name")?, count: fields.integer("count")? };
        fields.close()?;
        Ok(replica)
    }
}

impl Replacement {
    pub fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let targets = fields.holds("targets");
        let replacement = Self {
            path: fields.text("path")?,
            source: fields.object("source", Source::read)?,
            source_value: fields.text_or_none("sourceValue")?,
            targets: Some(fields.list("targets", Target::read)?).filter(|_| targets),
        };
        fields.close()?;
        Ok(replacement)
    }
}

impl Source {
    fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let source = Self {
            gvk: gvk(&mut fields)?,
            name: fields.text("name")?,
            namespace: fields.text("namespace")?,
            field_path: fields.text("fieldPath")?,
            options: fields.object("options", FieldOptions::read)?.unwrap_or_default(),
        };
        fields.close()?;
        Ok(source)
    }
}

impl Target {
    fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let target = Self {
            select: fields.object("select", Selector::read)?,
            reject: fields.list("reject", Selector::read)?,
            field_paths: fields.texts("fieldPaths")?,
            options: fields.object("options", FieldOptions::read)?.unwrap_or_default(),
        };
        fields.close()?;
        Ok(target)
    }
}

impl FieldOptions {
    fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        fields.text("encoding")?;
        let options = Self {
            delimiter: fields.text("delimiter")?,
            index: fields.integer("index")?,
            create: fields.flag("create")?,
        };
        fields.close()?;
        Ok(options)
    }
}

impl Var {
    fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let name = fields.text("name")?;
        let (gvk, object, namespace) = fields.object("objref", object_reference)?.unwrap_or_default();
        let field_path = fields.object("fieldref", field_reference)?.unwrap_or_default();
        fields.close()?;
        let field_path = if field_path.is_empty() { "metadata.name".into() } else { field_path };
        Ok(Self { name, gvk, object, namespace, field_path })
    }
}

fn object_reference(rules: Rules<'_>, node: &Node, path: &str) -> Result<(Gvk, String, String)> {
    let mut fields = Fields::of(rules, node, path)?;
    let mut gvk = gvk(&mut fields)?;
    let version = fields.text("apiVersion")?;
    match version.split_once('/') {
        Some((group, version)) if !version.contains('/') => {
            (gvk.group, gvk.version) = (group.to_owned(), version.to_owned());
        }
        None if !version.is_empty() => gvk.version = version,
        _ => {}
    }
    let reference = (gvk, fields.text("name")?, fields.text("namespace")?);
    fields.close()?;
    Ok(reference)
}

fn field_reference(rules: Rules<'_>, node: &Node, path: &str) -> Result<String> {
    let mut fields = Fields::of(rules, node, path)?;
    let field_path = fields.text("fieldPath")?;
    fields.close()?;
    Ok(field_path)
}

impl SortOptions {
    pub fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let options = Self {
            order: fields.text("order")?,
            legacy: fields.object("legacySortOptions", |rules, node, path| {
                let mut fields = Fields::of(rules, node, path)?;
                let orders = (fields.texts("orderFirst")?, fields.texts("orderLast")?);
                fields.close()?;
                Ok(orders)
            })?,
        };
        fields.close()?;
        Ok(options)
    }
}

impl GeneratorArgs {
    pub fn read(rules: Rules<'_>, node: &Node, path: &str, secret: bool) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let mut args = Self {
            namespace: fields.text("namespace")?,
            name: fields.text("name")?,
            behavior: fields.text("behavior")?,
            literals: fields.texts("literals")?,
            files: fields.texts("files")?,
            envs: fields.texts("envs")?,
            options: fields.object("options", generator_options)?.unwrap_or_default(),
            ty: if secret { fields.text("type")? } else { String::new() },
        };
        let env = fields.text("env")?;
        if !env.is_empty() {
            args.envs.push(env);
        }
        if !rules.known_only
            && let Some((name, namespace)) = fields.object("metadata", name_and_namespace)?
        {
            // Of a generator in a file of its own.
            if args.name.is_empty() {
                args.name = name;
            }
            if args.namespace.is_empty() {
                args.namespace = namespace;
            }
        }
        fields.close()?;
        Ok(args)
    }
}

pub(super) fn name_and_namespace(rules: Rules<'_>, node: &Node, path: &str) -> Result<(String, String)> {
    let mut fields = Fields::of(rules, node, path)?;
    Ok((fields.text("name")?, fields.text("namespace")?))
}

fn generator_options(rules: Rules<'_>, node: &Node, path: &str) -> Result<GeneratorOptions> {
    let mut fields = Fields::of(rules, node, path)?;
    let options = GeneratorOptions {
        labels: fields.texts_by_name("labels")?,
        annotations: fields.texts_by_name("annotations")?,
        disable_name_suffix_hash: fields.flag("disableNameSuffixHash")?,
        immutable: fields.flag("immutable")?,
    };
    fields.close()?;
    Ok(options)
}
