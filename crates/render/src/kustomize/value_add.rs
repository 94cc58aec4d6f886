//! The transformer that writes one value into fields: `ValueAddTransformer`.

use super::decode::{Fields, Rules};
use super::field::split_path;
use super::file::Selector;
use super::loader::Loader;
use super::read;
use super::set::Resources;
use super::transform::{Namespace, Subjects};
use super::tree::{Node, Scalar};
use crate::error::Error;

/// Where the value goes.
struct Target {
    selector: Option<Selector>,
    field_path: String,
    /// Which part of a path the value becomes, from 1; 0 for all of it.
    position: i64,
}

impl Target {
    fn read(rules: Rules<'_>, node: &yaml::Node, path: &str) -> Result<Self, Error> {
        let mut fields = Fields::of(rules, node, path)?;
        Ok(Self {
            selector: fields.object("selector", Selector::read)?,
            field_path: fields.text("fieldPath")?,
            position: fields.integer("filePathPosition")?,
        })
    }
}

/// Writes the value into all targets.
pub(super) fn apply(
    resources: &mut Resources,
    fields: &mut Fields<'_>,
    loader: &Loader<'_>,
    fail: &dyn Fn(String) -> Error,
) -> Result<(), Error> {
    let value = fields.text("value")?;
    let value = match value.trim() {
        "" => loader.root().rsplit('/').next().unwrap_or_default(),
        value => value,
    };
    let mut targets = fields.list("targets", Target::read)?;
    let path = fields.text("targetFilePath")?;
    if !path.is_empty() {
        let file = loader.shown(&path);
        let documents = yaml::parse(read::text(loader.read(&path).map_err(fail)?, &file)?, &file);
        let documents = documents.map_err(Error::Yaml)?;
        if let Some(document) = documents.first() {
            let rules = Rules { file: &file, known_only: false, loose: true };
            targets.extend(Fields::of(rules, document, "")?.list("targets", Target::read)?);
        }
    }
    if targets.is_empty() {
        return Err(fail("targets are missing".into()));
    }
    for target in &targets {
        write(resources, target, value, fail)?;
    }
    Ok(())
}

fn write(resources: &mut Resources, target: &Target, value: &str, fail: &dyn Fn(String) -> Error) -> Result<(), Error> {
    if target.field_path.is_empty() || target.position < 0 {
        return Err(fail("a target needs a fieldPath, and a filePathPosition that is not negative".into()));
    }
    let places = match &target.selector {
        Some(selector) => resources.select(selector).map_err(fail)?,
        None => (0..resources.list.len()).collect(),
    };
    for at in places {
        let resource = &mut resources.list[at];
        if target.field_path == "metadata/namespace" {
            let namespace = Namespace {
                namespace: value.to_owned(),
                specs: Vec::new(),
                subjects: Subjects::Default,
                unset_only: false,
            };
            namespace.apply_to(resource)?;
            continue;
        }
        let mut field = &mut resource.node;
        let path = split_path(&target.field_path, '/');
        for (index, name) in path.iter().enumerate() {
            let is_last = index + 1 == path.len();
            let made = || if is_last { Node::Scalar(Scalar::open("")) } else { Node::map() };
            let kind = field.kind();
            field = field
                .entry(name, made)
                .ok_or_else(|| fail(format!("{}: {name} is asked of {kind}", target.field_path)))?;
        }
        let text = match usize::try_from(target.position) {
            Ok(position) if position > 0 => with_part(field.raw(), position - 1, value),
            _ => value.to_owned(),
        };
        field.assign(Scalar::open(text)).map_err(fail)?;
    }
    Ok(())
}

/// A path with one more part at a place.
fn with_part(path: &str, position: usize, part: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    parts.insert(position.min(parts.len()), part);
    let joined = parts.join("/");
    if is_absolute { format!("/{joined}") } else { joined }
}
