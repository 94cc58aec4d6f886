//! ConfigMaps and Secrets from literals and files.

use super::file::GeneratorArgs;
use super::loader::Loader;
use super::resource::{Behavior, Place, Resource};
use super::schema::Types;
use super::set::encode;
use super::tree::{Node, Scalar, Tag};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generated {
    ConfigMap,
    Secret,
}

/// The object that a generator stands for.
pub(super) fn generate(
    what: Generated,
    args: &GeneratorArgs,
    loader: &Loader<'_>,
    types: &Arc<Types>,
    place: Place,
) -> Result<Resource, String> {
    if args.name.is_empty() {
        return Err("name is missing".into());
    }
    let kind = if what == Generated::Secret { "Secret" } else { "ConfigMap" };
    let mut node = Node::map();
    node.set("apiVersion", Scalar::text("v1"));
    node.set("kind", Scalar::text(kind));
    let mut meta = Node::map();
    meta.set("name", Scalar::open(&args.name));
    if !args.namespace.is_empty() {
        meta.set("namespace", Scalar::open(&args.namespace));
    }
    node.set("metadata", meta);
    if what == Generated::Secret {
        node.set("type", Scalar::text(if args.ty.is_empty() { "Opaque" } else { &args.ty }));
        node.set("data", Node::map());
    }
    for (key, bytes) in data(args, loader)? {
        let (field, text) = match (what, std::str::from_utf8(&bytes)) {
            (Generated::Secret, _) => ("data", encode(&bytes)),
            (Generated::ConfigMap, Ok(text)) => ("data", text.to_owned()),
            (Generated::ConfigMap, Err(_)) => ("binaryData", encode(&bytes)),
        };
        if let Some(map) = node.entry(field, Node::map) {
            map.set(&key, Scalar::text(text));
        }
    }
    let mut resource = Resource::new(node, place, types.clone());
    for (field, texts) in [("labels", &args.options.labels), ("annotations", &args.options.annotations)] {
        if !texts.is_empty() {
            resource.set_texts(field, texts);
        }
    }
    if args.options.immutable {
        resource.node.set("immutable", Scalar::of(Tag::Bool, "true"));
    }
    resource.needs_hash = !args.options.disable_name_suffix_hash;
    resource.behavior = Behavior::of(&args.behavior);
    Ok(resource)
}

/// The data by key, from all sources.
fn data(args: &GeneratorArgs, loader: &Loader<'_>) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut pairs = Vec::new();
    for path in &args.envs {
        let content = loader.read(path).map_err(|problem| format!("envs: {problem}"))?;
        env_pairs(content, path, &mut pairs)?;
    }
    for literal in &args.literals {
        let wrong = || format!("the literal {literal:?} should be key=value");
        let (key, value) = literal.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(wrong)?;
        pairs.push((key.to_owned(), unquoted(value).as_bytes().to_vec()));
    }
    for source in &args.files {
        let (key, path) = file_source(source)?;
        let content = loader.read(path).map_err(|problem| format!("files: {problem}"))?;
        pairs.push((key.to_owned(), content.to_vec()));
    }
    let mut data = BTreeMap::new();
    for (key, value) in pairs {
        if data.insert(key.clone(), value).is_some() {
            return Err(format!("the key {key} stands there twice"));
        }
    }
    Ok(data)
}

/// The original's reader stops at longer lines.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// `KEY=value` line by line; blanks before the key and lines that begin with `#` count for nothing.
fn env_pairs(content: &[u8], path: &str, pairs: &mut Vec<(String, Vec<u8>)>) -> Result<(), String> {
    for (at, line) in content.split(|byte| *byte == b'\n').enumerate() {
        if line.len() >= LINE_BYTES_MAX {
            break;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line).map_err(|_| format!("{path}:{}: the line is not UTF-8", at + 1))?;
        let text = if at == 0 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        let text = text.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if !key.is_empty() {
            pairs.push((key.to_owned(), value.as_bytes().to_vec()));
        }
    }
    Ok(())
}

fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

/// `path` or `key=path`.
fn file_source(source: &str) -> Result<(&str, &str), String> {
    match source.split_once('=') {
        None => {
            let trimmed = source.trim_end_matches('/');
            Ok((trimmed.rsplit('/').next().unwrap_or(trimmed), source))
        }
        Some((_, path)) if path.contains('=') => Err(format!("{source:?} has more than one =")),
        Some(("", path)) => Err(format!("the key of the file {path:?} is missing in {source:?}")),
        Some((key, "")) => Err(format!("the file of the key {key:?} is missing in {source:?}")),
        Some((key, path)) => Ok((key, path)),
    }
}
