//! The way through one kustomization: resources, generators, components, transformers.

use super::FILE_NAMES;
use super::chart;
use super::config::{self, Config, FieldSpec, Section};
use super::file::{FileKind, GeneratorArgs, Kustomization, Labels, Var};
use super::generate::{Generated, generate};
use super::id::Id;
use super::loader::Loader;
use super::patch::{self, Asker};
use super::plugin;
use super::read;
use super::resource::{Origin, Place, Resource};
use super::schema::{Known, Types};
use super::set::Resources;
use super::transform::{Affix, ImageChange, Namespace, Subjects, set_replicas, set_texts};
use crate::error::Error;
use model::remote::Address;
use std::rc::Rc;
use std::sync::Arc;

type Result<T> = std::result::Result<T, Error>;

/// What was gathered so far, and the rules for it.
#[derive(Default)]
pub(super) struct Accumulator {
    pub resources: Resources,
    pub config: Option<Rc<Config>>,
    pub vars: Vec<Var>,
}

impl Accumulator {
    fn add_config(&mut self, other: &Rc<Config>) -> std::result::Result<(), String> {
        let none = Rc::default();
        self.config = Some(Config::merged(self.config.as_ref().unwrap_or(&none), other)?);
        Ok(())
    }

    fn add_vars(&mut self, vars: &[Var]) -> std::result::Result<(), String> {
        for var in vars {
            if self.vars.iter().any(|other| other.name == var.name) {
                return Err(format!("the var {} stands there twice", var.name));
            }
            self.vars.push(var.clone());
        }
        self.vars.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// Remembers which objects the vars read.
    fn bind_vars(&mut self, vars: &[Var], types: &Types) -> std::result::Result<(), String> {
        for var in vars {
            let wanted = Id::new(var.gvk.clone(), var.object.clone(), var.namespace.clone(), types);
            let exact = !var.namespace.is_empty() || wanted.is_cluster_scoped();
            let found =
                self.resources.with_id(|id| if exact { wanted.same(id) } else { wanted.same_but_namespace(id) });
            match found.as_slice() {
                [] => {}
                [at] => self.resources.list[*at].vars.push(var.name.clone()),
                _ => return Err(format!("several objects are the {wanted} of the var {}", var.name)),
            }
        }
        Ok(())
    }
}

/// One directory with a kustomization.
pub(super) struct Target<'s> {
    pub loader: Loader<'s>,
    /// The kustomization file, from the top of the snapshot.
    pub file: String,
    pub kustomization: Kustomization,
    pub known: Rc<Known>,
    /// From the directory that is built, if the build is to tell where things come from.
    pub origin: Option<Origin>,
    name: &'static str,
}

impl<'s> Target<'s> {
    /// Reads the kustomization of the loader's directory.
    pub fn load(loader: Loader<'s>, known: &Rc<Known>, origin: Option<Origin>) -> Result<Self> {
        let found: Vec<_> =
            FILE_NAMES.iter().filter_map(|name| loader.read(name).ok().map(|content| (*name, content))).collect();
        let fail = |problem: &str| {
            let file = if loader.root().is_empty() { ".".to_owned() } else { loader.root().to_owned() };
            Err(Error::Kustomization { file, line: 0, problem: problem.to_owned() })
        };
        let (name, content) = match found.as_slice() {
            [one] => *one,
            [] => return fail(&format!("there is no kustomization here ({})", FILE_NAMES.join(", "))),
            _ => return fail(&format!("there is more than one kustomization here ({})", FILE_NAMES.join(", "))),
        };
        let file = loader.shown(name);
        let kustomization = Kustomization::read(read::text(content, &file)?, &file)?;
        Ok(Self { loader, file, kustomization, known: known.clone(), origin, name })
    }

    /// The types that `openapi` names, on top of those known.
    pub fn read_types(&self, is_top: bool) -> Result<()> {
        let open_api = &self.kustomization.open_api;
        let version = open_api.get("version").filter(|version| !version.is_empty());
        match (open_api.get("path"), version) {
            (Some(_), Some(_)) => self.fail("openapi", "path and version exclude each other"),
            _ if self.known.is_set() => Ok(()),
            (None, Some(version)) if version != "v1.21.2" => {
                self.fail("openapi.version", &format!("{version} is not built in; v1.21.2 is"))
            }
            (Some(path), None) => {
                let content = self.loader.read(path).or_else(|problem| self.fail("openapi.path", &problem))?;
                let file = self.loader.shown(path);
                let documents = yaml::documents(read::text(content, &file)?, &file, yaml::Dialect::V2);
                let documents = documents.map_err(Error::Yaml)?;
                let Some((document, _)) = documents.first() else {
                    return self.fail("openapi.path", "the file is empty");
                };
                self.known.set(self.known.types().with_document(document, is_top));
                Ok(())
            }
            (None, Some(_)) => {
                self.known.set_builtin();
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    /// What is known of kinds by now.
    pub fn types(&self) -> Arc<Types> {
        self.known.types()
    }

    pub fn fail<T>(&self, field: &str, problem: &str) -> Result<T> {
        Err(Error::Kustomization { file: self.file.clone(), line: 0, problem: format!("{field}: {problem}") })
    }

    fn asker(&self, field: String) -> Asker<'_> {
        Asker { file: &self.file, field }
    }

    /// All of it. A component works on what is there.
    pub fn accumulate(&self, mut acc: Accumulator) -> Result<Accumulator> {
        let k = &self.kustomization;
        self.add_resources(&mut acc, "resources", &k.resources)?;
        self.add_config(&mut acc)?;
        for (what, args, field) in [
            (Generated::ConfigMap, &k.config_maps, "configMapGenerator"),
            (Generated::Secret, &k.secrets, "secretGenerator"),
        ] {
            for (at, args) in args.iter().enumerate() {
                acc.resources.absorb(self.generated(what, args, &format!("{field}[{at}]"))?)?;
            }
        }
        for made in chart::generate(self)? {
            acc.resources.absorb(made)?;
        }
        for made in plugin::generate(self, &k.generators)? {
            acc.resources.absorb(made)?;
        }
        for path in &k.components {
            if self.loader.lacks(path) {
                continue;
            }
            acc = self.enter(path, "components", FileKind::Component)?.accumulate(acc)?;
        }
        self.transform(&mut acc)?;
        plugin::validate(self, &mut acc.resources, &k.validators)?;
        acc.bind_vars(&k.vars, &self.types()).or_else(|problem| self.fail("vars", &problem))?;
        acc.add_vars(&k.vars).or_else(|problem| self.fail("vars", &problem))?;
        Ok(acc)
    }

    fn add_config(&self, acc: &mut Accumulator) -> Result<()> {
        let mut config = Config::standard();
        let mut own = Rc::new(Config::default());
        for path in &self.kustomization.configurations {
            let content = self.loader.read(path).or_else(|problem| self.fail("configurations", &problem))?;
            let file = self.loader.shown(path);
            let read = Rc::new(Config::read(read::text(content, &file)?, &file)?);
            own = Config::merged(&own, &read).or_else(|problem| self.fail("configurations", &problem))?;
        }
        config = Config::merged(&config, &own).or_else(|problem| self.fail("configurations", &problem))?;
        acc.add_config(&config).or_else(|problem| self.fail("configurations", &problem))?;
        for path in &self.kustomization.crds {
            let content = self.loader.read(path).or_else(|problem| self.fail("crds", &problem))?;
            let file = self.loader.shown(path);
            let documents = yaml::documents(read::text(content, &file)?, &file, yaml::Dialect::V2);
            let documents = documents.map_err(Error::Yaml)?;
            let Some((definitions, _)) = documents.first() else { continue };
            let read = config::from_definitions(definitions).or_else(|problem| self.fail("crds", &problem))?;
            acc.add_config(&Rc::new(read)).or_else(|problem| self.fail("crds", &problem))?;
        }
        Ok(())
    }

    /// Adds files, and the results of directories.
    pub fn add_resources(&self, acc: &mut Accumulator, field: &str, paths: &[String]) -> Result<()> {
        for (at, path) in paths.iter().enumerate() {
            match self.loader.read(path) {
                Ok(content) => {
                    let mut read = read::resources(content, &self.loader.shown(path), &self.types())?;
                    if let Some(origin) = &self.origin {
                        for resource in &mut read {
                            resource.origin = Some(origin.below(path));
                        }
                    }
                    acc.resources.list.extend(read);
                }
                // Gathered, so that all of it is fetched at once; this build cannot end well any more.
                Err(_) if self.loader.lacks(path) => {}
                Err(problem) => match self.loader.enter(path) {
                    Ok(_) => {
                        let target = self.enter(path, &format!("{field}[{at}]"), FileKind::Kustomization)?;
                        let inner = target.accumulate(Accumulator::default())?;
                        acc.resources.list.extend(inner.resources.list);
                        if let Some(config) = &inner.config {
                            acc.add_config(config).or_else(|problem| self.fail(field, &problem))?;
                        }
                        acc.add_vars(&inner.vars).or_else(|problem| self.fail(field, &problem))?;
                    }
                    Err(other) => {
                        // Of both, the one that says more.
                        let is_file = !problem.ends_with("is a directory") && !problem.ends_with("does not exist");
                        let problem = if is_file && Address::parse(path).is_none() { problem } else { other };
                        return self.fail(&format!("{field}[{at}]"), &problem);
                    }
                },
            }
        }
        acc.resources.check_unique()
    }

    /// A directory that this kustomization names.
    fn enter(&self, path: &str, field: &str, kind: FileKind) -> Result<Target<'s>> {
        let loader = self.loader.enter(path).or_else(|problem| self.fail(field, &problem))?;
        let origin = self.origin.as_ref().map(|origin| origin.below(path));
        let mut target = Target::load(loader, &self.known, origin)?;
        target.read_types(false)?;
        target.kustomization.build_metadata.clone_from(&self.kustomization.build_metadata);
        match (kind, target.kustomization.kind) {
            (FileKind::Component, FileKind::Kustomization) => {
                target.fail("kind", "components names this, so it should be a Component")
            }
            (FileKind::Kustomization, FileKind::Component) => {
                target.fail("kind", "a Component belongs under components")
            }
            _ => Ok(target),
        }
    }

    fn generated(&self, what: Generated, args: &GeneratorArgs, field: &str) -> Result<Resource> {
        let place = Place { file: self.file.clone(), line: 0 };
        let made = generate(what, args, &self.loader, &self.types(), place);
        let mut made = made.or_else(|problem| self.fail(field, &problem))?;
        let kind = if what == Generated::Secret { "SecretGenerator" } else { "ConfigMapGenerator" };
        made.origin = self.told_by(kind);
        Ok(made)
    }

    /// Who made or changed something, if the build is to tell.
    fn told_by(&self, kind: &str) -> Option<Origin> {
        let configured_by = Some(["builtin".to_owned(), kind.to_owned(), String::new(), String::new()]);
        let origin = self.origin.as_ref()?;
        let configured_in = origin.below(self.name).path;
        Some(Origin { path: String::new(), configured_in, configured_by, ..origin.clone() })
    }

    /// The kustomization file.
    pub fn told_file(&self) -> Option<Origin> {
        self.origin.as_ref().map(|origin| origin.below(self.name))
    }

    /// Everything that a kustomization asks for, in an order of its own.
    fn transform(&self, acc: &mut Accumulator) -> Result<()> {
        let k = &self.kustomization;
        let config = acc.config.clone().unwrap_or_else(Config::standard);
        let resources = &mut acc.resources;
        if !k.patches_strategic_merge.is_empty() {
            let asker = self.asker("patchesStrategicMerge".into());
            let patches = patch::load_merges(&k.patches_strategic_merge, &self.loader, &self.types(), &asker)?;
            patch::apply_merges(resources, &patches)?;
            self.told(resources, "PatchStrategicMergeTransformer");
        }
        let load = |(at, patch): (usize, &_)| {
            patch::load(patch, &self.loader, &self.types(), &self.asker(format!("patches[{at}]")))
        };
        let patches = k.patches.iter().enumerate().map(load).collect::<Result<Vec<_>>>()?;
        let load = |(at, patch): (usize, &_)| {
            patch::load_json(patch, &self.loader, &self.asker(format!("patchesJson6902[{at}]")))
        };
        let json_patches = k.patches_json.iter().enumerate().map(load).collect::<Result<Vec<_>>>()?;
        for patch in &patches {
            patch.apply(resources)?;
            self.told(resources, "PatchTransformer");
        }
        self.names(resources, &config)?;
        self.texts(resources, &config)?;
        for patch in &json_patches {
            patch.apply(resources)?;
            self.told(resources, "PatchJson6902Transformer");
        }
        for replica in &k.replicas {
            set_replicas(resources, replica, config.section(Section::Replicas)).map_err(|error| self.placed(error))?;
            self.told(resources, "ReplicaCountTransformer");
        }
        for image in &k.images {
            ImageChange::new(image).apply(resources, config.section(Section::Images))?;
            self.told(resources, "ImageTagTransformer");
        }
        self.replacements(resources)?;
        plugin::transform(self, resources, &k.transformers)
    }

    /// Says in which file something is wrong, if that is not said yet.
    pub fn placed(&self, error: Error) -> Error {
        match error {
            Error::Kustomization { file, line, problem } if file.is_empty() => {
                Error::Kustomization { file: self.file.clone(), line, problem }
            }
            other => other,
        }
    }

    fn names(&self, resources: &mut Resources, config: &Config) -> Result<()> {
        let k = &self.kustomization;
        if !k.namespace.is_empty() {
            let specs = config.section(Section::Namespace).to_vec();
            let change =
                Namespace { namespace: k.namespace.clone(), specs, subjects: Subjects::Default, unset_only: false };
            change.apply(resources)?;
            self.told(resources, "NamespaceTransformer");
        }
        for (text, is_prefix, section, kind) in [
            (&k.name_prefix, true, Section::NamePrefix, "PrefixTransformer"),
            (&k.name_suffix, false, Section::NameSuffix, "SuffixTransformer"),
        ] {
            if !text.is_empty() {
                Affix { text: text.clone(), is_prefix, specs: config.section(section).to_vec() }.apply(resources)?;
                self.told(resources, kind);
            }
        }
        Ok(())
    }

    fn texts(&self, resources: &mut Resources, config: &Config) -> Result<()> {
        let k = &self.kustomization;
        for labels in &k.labels {
            let specs = label_specs(labels, config).or_else(|problem| self.fail("labels", &problem))?;
            set_texts(resources, &labels.pairs, &specs)?;
            self.told(resources, "LabelTransformer");
        }
        if !k.labels.is_empty() || !k.common_labels.is_empty() {
            set_texts(resources, &k.common_labels, config.section(Section::CommonLabels))?;
            self.told(resources, "LabelTransformer");
        }
        if !k.common_annotations.is_empty() {
            set_texts(resources, &k.common_annotations, config.section(Section::CommonAnnotations))?;
            self.told(resources, "AnnotationsTransformer");
        }
        Ok(())
    }

    fn replacements(&self, resources: &mut Resources) -> Result<()> {
        let entries = &self.kustomization.replacements;
        if entries.is_empty() {
            return Ok(());
        }
        plugin::replace(&self.loader, entries, resources).map_err(|problem| self.placed(problem))?;
        self.told(resources, "ReplacementTransformer");
        Ok(())
    }

    /// Notes in all objects that a transformer of this kustomization went over them.
    fn told(&self, resources: &mut Resources, kind: &str) {
        if let Some(origin) = self.told_by(kind) {
            tell(resources, &origin);
        }
        resources.drop_empty();
    }
}

/// Notes a transformer in all objects; what it made itself has no other origin.
pub(super) fn tell(resources: &mut Resources, origin: &Origin) {
    for resource in &mut resources.list {
        match &resource.origin {
            None => resource.origin = Some(origin.clone()),
            Some(_) => resource.transformations.push(origin.clone()),
        }
    }
}

/// Where an entry of `labels` goes.
fn label_specs(labels: &Labels, config: &Config) -> std::result::Result<Vec<FieldSpec>, String> {
    let mut specs = labels.fields.clone();
    config::merge_all(&mut specs, config.section(Section::Labels))?;
    if labels.selectors {
        config::merge_all(&mut specs, config.section(Section::CommonLabels))?;
        return Ok(specs);
    }
    if labels.templates {
        config::merge_all(&mut specs, config.section(Section::TemplateLabels))?;
    }
    if labels.volume_claim_templates {
        config::merge_all(&mut specs, config.section(Section::VolumeClaimTemplateLabels))?;
    }
    config::merge_one(&mut specs, &FieldSpec::everywhere("metadata/labels", true))?;
    Ok(specs)
}
