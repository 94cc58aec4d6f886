//! Generators, transformers and validators in files of their own, of the built-in kinds.

use super::accumulate::{Accumulator, Target, tell};
use super::config::FieldSpec;
use super::decode::{Fields, Rules};
use super::file::{GeneratorArgs, Image, Patch, Replacement, Replica, Selector};
use super::generate::{Generated, generate as generated};
use super::hash;
use super::loader::Loader;
use super::patch::{self, Asker};
use super::read::{self, located};
use super::replacement;
use super::resource::{Origin, Resource};
use super::set::Resources;
use super::transform::{Affix, ImageChange, Namespace, Subjects, set_replicas, set_texts};
use super::tree::{Node, Scalar};
use super::value_add;
use crate::error::Error;
use yaml::{Kind, Position};

type Result<T> = std::result::Result<T, Error>;

/// The objects that describe generators or transformers: written in place, in files, or made by other kustomizations.
fn described(target: &Target<'_>, field: &str, entries: &[String]) -> Result<Vec<Resource>> {
    let mut acc = Accumulator::default();
    let mut paths = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let file = format!("{}, {field}[{at}]", target.file);
        match read::resources(entry.as_bytes(), &file, &target.types()) {
            Ok(mut inline) => {
                for resource in &mut inline {
                    resource.origin = target.told_file();
                }
                acc.resources.append(inline)?;
            }
            Err(error) if entry.contains('\n') => return Err(error),
            Err(_) => paths.push(entry.clone()),
        }
    }
    target.add_resources(&mut acc, field, &paths)?;
    Ok(acc.resources.list)
}

/// What a plugin writes into the origin of objects, if the build is to tell.
fn teller(plugin: &Resource) -> Option<Origin> {
    let origin = plugin.origin.as_ref()?;
    let configured_by = [plugin.api_version(), plugin.kind(), plugin.name(), plugin.namespace()].map(str::to_owned);
    let configured_in = origin.path.clone();
    Some(Origin { path: String::new(), configured_in, configured_by: Some(configured_by), ..origin.clone() })
}

/// What `generators` make.
pub(super) fn generate(target: &Target<'_>, entries: &[String]) -> Result<Vec<Resource>> {
    let mut result = Vec::new();
    for plugin in described(target, "generators", entries)? {
        let node = built_in(&plugin)?;
        let rules = Rules { file: &plugin.place.file, known_only: false, loose: true };
        let fail = |problem: String| Err(located(&plugin.place, format!("{}: {problem}", plugin.id())));
        let mut made = match plugin.kind() {
            "ConfigMapGenerator" | "SecretGenerator" => {
                let is_secret = plugin.kind() == "SecretGenerator";
                let what = if is_secret { Generated::Secret } else { Generated::ConfigMap };
                let args = GeneratorArgs::read(rules, &node, "", is_secret)?;
                generated(what, &args, &target.loader, &target.types(), plugin.place.clone()).or_else(fail)?
            }
            "IAMPolicyGenerator" => iam_policy(&node, rules, &plugin)?,
            kind => fail(format!("{kind} is no generator that is built in"))?,
        };
        made.origin = teller(&plugin);
        result.push(made);
    }
    Ok(result)
}

/// Carries out `transformers`.
pub(super) fn transform(target: &Target<'_>, resources: &mut Resources, entries: &[String]) -> Result<()> {
    for plugin in described(target, "transformers", entries)? {
        apply(target, resources, &plugin)?;
        if let Some(origin) = teller(&plugin) {
            tell(resources, &origin);
        }
        resources.drop_empty();
    }
    Ok(())
}

/// Carries out `validators`, which may change nothing.
pub(super) fn validate(target: &Target<'_>, resources: &mut Resources, entries: &[String]) -> Result<()> {
    for plugin in described(target, "validators", entries)? {
        let before = resources.clone();
        apply(target, resources, &plugin)?;
        let same = before.list.len() == resources.list.len()
            && before.list.iter().zip(&resources.list).all(|(a, b)| a.node == b.node);
        if !same {
            let problem = format!("{} is a validator and must not change anything", plugin.id());
            return Err(located(&plugin.place, problem));
        }
    }
    Ok(())
}

fn apply(target: &Target<'_>, resources: &mut Resources, plugin: &Resource) -> Result<()> {
    let node = built_in(plugin)?;
    let rules = Rules { file: &plugin.place.file, known_only: false, loose: true };
    let mut fields = Fields::of(rules, &node, "")?;
    let (loader, asker) = (&target.loader, Asker { file: &plugin.place.file, field: plugin.id().to_string() });
    let fail = |problem: String| located(&plugin.place, format!("{}: {problem}", plugin.id()));
    let specs = fields.list("fieldSpecs", FieldSpec::read)?;
    match plugin.kind() {
        "AnnotationsTransformer" => set_texts(resources, &fields.texts_by_name("annotations")?, &specs),
        "LabelTransformer" => set_texts(resources, &fields.texts_by_name("labels")?, &specs),
        "HashTransformer" => add_hashes(resources),
        "ImageTagTransformer" => {
            let image = fields.object("imageTag", Image::read)?.unwrap_or_default();
            ImageChange::new(&image).apply(resources, &specs)
        }
        "NamespaceTransformer" => namespace(&mut fields, specs, &fail)?.apply(resources),
        "PatchTransformer" => {
            let patch = Patch::read(rules, &node, "")?;
            patch::load(&patch, loader, &target.types(), &asker)?.apply(resources)
        }
        "PatchJson6902Transformer" => {
            let patch = Patch {
                path: fields.text("path")?,
                patch: fields.text("jsonOp")?,
                target: fields.object("target", Selector::read)?,
                ..Patch::default()
            };
            patch::load_json(&patch, loader, &asker)?.apply(resources)
        }
        "PatchStrategicMergeTransformer" => {
            let (paths, text) = (fields.texts("paths")?, fields.text("patches")?);
            let mut patches = Vec::new();
            if !paths.is_empty() {
                patches = patch::load_merges(&paths, loader, &target.types(), &asker)?;
            }
            patches.extend(read::resources(text.as_bytes(), &plugin.place.file, &target.types())?);
            if patches.is_empty() {
                return Err(fail("there is no patch in it".into()));
            }
            patch::apply_merges(resources, &patches)
        }
        kind @ ("PrefixTransformer" | "SuffixTransformer" | "PrefixSuffixTransformer") => {
            for (name, is_prefix) in [("prefix", true), ("suffix", false)] {
                if kind == "PrefixSuffixTransformer" || (kind == "PrefixTransformer") == is_prefix {
                    if specs.is_empty() {
                        return Err(fail("fieldSpecs are missing".into()));
                    }
                    Affix { text: fields.text(name)?, is_prefix, specs: specs.clone() }.apply(resources)?;
                }
            }
            Ok(())
        }
        "ReplacementTransformer" => {
            let entries = fields.list("replacements", Replacement::read)?;
            replace(loader, &entries, resources).map_err(|error| target.placed(error))
        }
        "ReplicaCountTransformer" => {
            let replica = fields.object("replica", Replica::read)?.unwrap_or_default();
            set_replicas(resources, &replica, &specs).map_err(|error| target.placed(error))
        }
        "ValueAddTransformer" => value_add::apply(resources, &mut fields, loader, &fail),
        kind => Err(fail(format!("{kind} is no transformer that is built in"))),
    }
}

fn namespace(fields: &mut Fields<'_>, specs: Vec<FieldSpec>, fail: &dyn Fn(String) -> Error) -> Result<Namespace> {
    let (_, namespace) = fields.object("metadata", super::file::name_and_namespace)?.unwrap_or_default();
    let subjects = match fields.text("setRoleBindingSubjects")?.as_str() {
        "" | "defaultOnly" => Subjects::Default,
        "allServiceAccounts" => Subjects::AllServiceAccounts,
        "none" => Subjects::None,
        other => {
            let problem =
                format!("setRoleBindingSubjects {other:?} is none of defaultOnly, allServiceAccounts and none");
            return Err(fail(problem));
        }
    };
    Ok(Namespace { namespace, specs, subjects, unset_only: fields.flag("unsetOnly")? })
}

/// Appends to names the digest of what they name, where a generator asks for it.
pub(super) fn add_hashes(resources: &mut Resources) -> Result<()> {
    for resource in resources.list.iter_mut().filter(|resource| resource.needs_hash) {
        let digest = hash::of(resource).map_err(|problem| located(&resource.place, problem))?;
        resource.store_id();
        let name = format!("{}-{digest}", resource.name());
        resource.set_name(&name);
    }
    Ok(())
}

/// Carries out `replacements`, of which some stand in files.
pub(super) fn replace(loader: &Loader<'_>, entries: &[Replacement], resources: &mut Resources) -> Result<()> {
    for (at, entry) in entries.iter().enumerate() {
        let fail = |problem: String| Error::Kustomization {
            file: String::new(),
            line: 0,
            problem: format!("replacements[{at}]: {problem}"),
        };
        if entry.path.is_empty() {
            replacement::apply(resources, entry).map_err(fail)?;
            continue;
        }
        if entry.source.is_some() || entry.targets.as_ref().is_some_and(|targets| !targets.is_empty()) {
            return Err(fail("path and a replacement in place exclude each other".into()));
        }
        let content = loader.read(&entry.path).map_err(fail)?;
        let file = loader.shown(&entry.path);
        let documents = yaml::parse(read::text(content, &file)?, &file).map_err(Error::Yaml)?;
        let Some(document) = documents.first() else { return Err(fail(format!("{file} is empty"))) };
        let items = match &document.kind {
            Kind::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(document),
        };
        for item in items {
            let rules = Rules { file: &file, known_only: false, loose: true };
            let entry = Replacement::read(rules, item, "")?;
            replacement::apply(resources, &entry).map_err(|problem| Error::Kustomization {
                file: file.clone(),
                line: item.position.line,
                problem,
            })?;
        }
    }
    Ok(())
}

/// A plugin that is not built in would be a program: it is refused.
fn built_in(plugin: &Resource) -> Result<yaml::Node> {
    let node = to_yaml(&plugin.node);
    if plugin.api_version() != "builtin" {
        let problem = format!(
            "{} is no built-in plugin (apiVersion: builtin); plugins that are programs or containers are not run",
            plugin.id()
        );
        return Err(located(&plugin.place, problem));
    }
    if plugin.kind() == "HelmChartInflationGenerator" {
        return Err(located(
            &plugin.place,
            "charts are not rendered here; name what they render to as resources".into(),
        ));
    }
    Ok(node)
}

fn to_yaml(node: &Node) -> yaml::Node {
    let scalar = |scalar: &Scalar| yaml::Node {
        position: Position::default(),
        tag: None,
        kind: Kind::Scalar(
            scalar.text.clone(),
            if scalar.tag == super::tree::Tag::Str { yaml::Style::DoubleQuoted } else { scalar.style },
        ),
    };
    let kind = match node {
        Node::Scalar(own) => return scalar(own),
        Node::List(items) => Kind::Sequence(items.iter().map(to_yaml).collect()),
        Node::Map(pairs) => Kind::Mapping(pairs.iter().map(|(key, value)| (scalar(key), to_yaml(value))).collect()),
    };
    yaml::Node { position: Position::default(), tag: None, kind }
}

/// A service account that stands for one of Google's.
fn iam_policy(node: &yaml::Node, rules: Rules<'_>, plugin: &Resource) -> Result<Resource> {
    let mut fields = Fields::of(rules, node, "")?;
    let cloud = fields.text("cloud")?;
    if cloud != "gke" {
        return Err(located(&plugin.place, format!("the cloud {cloud:?} is not known; gke is")));
    }
    let own = fields.object("kubernetesService", super::file::name_and_namespace)?.unwrap_or_default();
    let (account, project) = fields
        .object("serviceAccount", |rules, node, path| {
            let mut fields = Fields::of(rules, node, path)?;
            Ok((fields.text("name")?, fields.text("projectId")?))
        })?
        .unwrap_or_default();
    let mut annotations = Node::map();
    let email = format!("{account}@{project}.iam.gserviceaccount.com");
    annotations.set("iam.gke.io/gcp-service-account", Scalar::text(email));
    let mut meta = Node::map();
    meta.set("annotations", annotations);
    meta.set("name", Scalar::open(own.0));
    if !own.1.is_empty() {
        meta.set("namespace", Scalar::open(own.1));
    }
    let mut made = Node::map();
    made.set("apiVersion", Scalar::text("v1"));
    made.set("kind", Scalar::text("ServiceAccount"));
    made.set("metadata", meta);
    Ok(Resource::new(made, plugin.place.clone(), plugin.types.clone()))
}
