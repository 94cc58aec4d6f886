//! Patches: strategic merge and JSON 6902.

use super::file::{Patch, Selector};
use super::json;
use super::loader::Loader;
use super::merge;
use super::read::{self, located};
use super::resource::{Place, Resource};
use super::schema::Types;
use super::set::Resources;
use super::tree::{Node, Scalar};
use crate::error::Error;
use serde_json::Value;
use std::sync::Arc;
use yaml::{Dialect, Kind};

type Result<T> = std::result::Result<T, Error>;

/// A patch that was read.
pub(super) enum Loaded {
    Merges { patches: Vec<Resource>, target: Option<Selector> },
    Json { operations: Value, target: Option<Selector>, place: Place, stores_id: bool },
}

/// Who asks for a patch: for messages.
pub(super) struct Asker<'a> {
    /// The file that holds the patch or names it.
    pub file: &'a str,
    /// `patches[2]`.
    pub field: String,
}

impl Asker<'_> {
    fn fail<T>(&self, problem: &str) -> Result<T> {
        let problem = format!("{}: {problem}", self.field);
        Err(Error::Kustomization { file: self.file.to_owned(), line: 0, problem })
    }
}

/// An entry of `patches`.
pub(super) fn load(patch: &Patch, loader: &Loader<'_>, types: &Arc<Types>, asker: &Asker<'_>) -> Result<Loaded> {
    let inline = patch.patch.trim();
    let (content, file) = match (inline, patch.path.as_str()) {
        ("", "") => return asker.fail("neither patch nor path says what to change"),
        ("", path) => match loader.read(path) {
            Ok(content) => (content, loader.shown(path)),
            Err(problem) => return asker.fail(&problem),
        },
        (_, "") => (inline.as_bytes(), format!("{}, {}", asker.file, asker.field)),
        _ => return asker.fail("patch and path exclude each other"),
    };
    let text = read::text(content, &file)?;
    let documents = yaml::parse(text, &file).map_err(Error::Yaml)?;
    if let Some(first) = documents.first().filter(|node| matches!(node.kind, Kind::Sequence(_))) {
        let place = Place { file, line: first.position.line };
        let operations = operations(first, &place)?;
        return Ok(Loaded::Json { operations, target: patch.target.clone(), place, stores_id: true });
    }
    let mut patches = read::resources(content, &file, types)?;
    for loaded in &mut patches {
        loaded.allow_name_change = patch.allow_name_change;
        loaded.allow_kind_change = patch.allow_kind_change;
    }
    if patch.target.is_some() && patches.len() > 1 {
        return asker.fail("with a target there can be only one strategic merge patch");
    }
    Ok(Loaded::Merges { patches, target: patch.target.clone() })
}

/// An entry of `patchesJson6902`.
pub(super) fn load_json(patch: &Patch, loader: &Loader<'_>, asker: &Asker<'_>) -> Result<Loaded> {
    if patch.target.as_ref().is_none_or(|target| target.name.is_empty()) {
        return asker.fail("target.name is missing");
    }
    let (content, file) = match (patch.patch.as_str(), patch.path.as_str()) {
        ("", "") => return asker.fail("neither patch nor path says what to change"),
        ("", path) => match loader.read(path) {
            Ok(content) => (content, loader.shown(path)),
            Err(problem) => return asker.fail(&problem),
        },
        (patch, "") => (patch.as_bytes(), format!("{}, {}", asker.file, asker.field)),
        _ => return asker.fail("patch and path exclude each other"),
    };
    let documents = yaml::parse(read::text(content, &file)?, &file).map_err(Error::Yaml)?;
    let Some(first) = documents.first() else { return asker.fail("the patch is empty") };
    let place = Place { file, line: first.position.line };
    let operations = operations(first, &place)?;
    if operations.as_array().is_none_or(Vec::is_empty) {
        return Err(located(&place, "a list of operations is expected".into()));
    }
    Ok(Loaded::Json { operations, target: patch.target.clone(), place, stores_id: false })
}

/// The entries of `patchesStrategicMerge`: texts or files.
pub(super) fn load_merges(
    entries: &[String],
    loader: &Loader<'_>,
    types: &Arc<Types>,
    asker: &Asker<'_>,
) -> Result<Vec<Resource>> {
    let mut patches = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let asker = Asker { file: asker.file, field: format!("{}[{at}]", asker.field) };
        let inline = read::resources(entry.as_bytes(), &format!("{}, {}", asker.file, asker.field), types);
        match (inline, loader.read(entry)) {
            (Ok(inline), _) => patches.extend(inline),
            (Err(_), Ok(content)) => patches.extend(read::resources(content, &loader.shown(entry), types)?),
            // More than one line is no name of a file.
            (Err(error), Err(_)) if entry.contains('\n') => return Err(error),
            (Err(_), Err(problem)) => return asker.fail(&problem),
        }
    }
    if patches.is_empty() {
        return asker.fail("there is no patch in it");
    }
    Ok(patches)
}

fn operations(node: &yaml::Node, place: &Place) -> Result<Value> {
    yaml::to_json(node, Dialect::V2).map_err(|error| located(place, error.message))
}

/// Applies the entries of `patchesStrategicMerge`.
pub(super) fn apply_merges(resources: &mut Resources, patches: &[Resource]) -> Result<()> {
    for patch in patches {
        let at = resources.one(&patch.original_id()).map_err(|problem| located(&patch.place, problem))?;
        merge_copy(&mut resources.list[at], patch)?;
        resources.drop_empty();
        resources.check_unique()?;
    }
    Ok(())
}

impl Loaded {
    /// Applies a patch to what it names, or to what its target selects.
    pub fn apply(&self, resources: &mut Resources) -> Result<()> {
        match self {
            Self::Merges { patches, target: None } => {
                for patch in patches {
                    let at = resources.one(&patch.original_id()).map_err(|problem| located(&patch.place, problem))?;
                    merge_one(&mut resources.list[at], patch)?;
                }
                Ok(())
            }
            Self::Merges { patches, target: Some(target) } => {
                let Some(patch) = patches.first() else { return Ok(()) };
                let places = resources.select(target).map_err(|problem| located(&patch.place, problem))?;
                for at in places {
                    merge_copy(&mut resources.list[at], patch)?;
                }
                resources.drop_empty();
                resources.check_unique()
            }
            Self::Json { operations, target, place, stores_id } => {
                let Some(target) = target else {
                    return Err(located(place, "a JSON patch needs a target".into()));
                };
                for at in resources.select(target).map_err(|problem| located(place, problem))? {
                    apply_json(&mut resources.list[at], operations, place, *stores_id)?;
                }
                Ok(())
            }
        }
    }
}

/// With a target, the patch takes on what it is applied to, and its labels and annotations are texts.
fn merge_copy(resource: &mut Resource, patch: &Resource) -> Result<()> {
    let mut copy = patch.clone();
    for field in ["labels", "annotations"] {
        let texts = copy.texts(field);
        copy.set_texts(field, &texts);
    }
    copy.set_name(patch.name());
    copy.set_namespace(patch.namespace());
    copy.set_gvk(&resource.gvk());
    copy.set_kind(patch.kind());
    merge_one(resource, &copy)
}

fn merge_one(resource: &mut Resource, patch: &Resource) -> Result<()> {
    let id = resource.id();
    let (name, namespace, kind) = (id.name.clone(), id.namespace.clone(), id.gvk.kind.clone());
    if patch.allow_name_change || patch.allow_kind_change {
        resource.store_id();
    }
    let target = std::mem::replace(&mut resource.node, Node::null());
    let merged = merge::merge(target, patch.node.clone(), &patch.types);
    let merged = merged.map_err(|problem| located(&patch.place, format!("this patch of {id}: {problem}")))?;
    let Some(node) = merged.filter(|node| !node.is_empty()) else { return Ok(()) };
    resource.node = node;
    if !patch.allow_kind_change {
        resource.set_kind(&kind);
    }
    if !patch.allow_name_change {
        resource.set_name(&name);
    }
    resource.set_namespace(&namespace);
    Ok(())
}

/// The original remembers what happened in annotations, so that patches find the field; this one stands for them.
const MARK: &str = "internal.config.kubernetes.io/previousNames";

fn apply_json(resource: &mut Resource, operations: &Value, place: &Place, stores_id: bool) -> Result<()> {
    let id = resource.id();
    let fail = |problem: String| located(place, format!("this patch of {id}: {problem}"));
    if stores_id {
        resource.store_id();
    }
    let marked = resource.is_marked() || resource.origin.is_some();
    if marked {
        let meta = resource.node.entry("metadata", Node::map);
        if let Some(annotations) = meta.and_then(|meta| meta.entry("annotations", Node::map)) {
            if annotations.is_null() {
                *annotations = Node::map();
            }
            annotations.set(MARK, Scalar::text("1"));
        }
    }
    let object = resource.node.to_json().map_err(fail)?;
    let patched = json::patch(object, operations).map_err(fail)?;
    if !patched.is_object() {
        return Err(fail("the patch leaves no object".into()));
    }
    resource.node = Node::from_json(&patched);
    if marked {
        let mut annotations = resource.texts("annotations");
        annotations.remove(MARK);
        resource.set_texts("annotations", &annotations);
    }
    Ok(())
}
