//! Plain YAML: every document of every file is an object.

use crate::error::Error;
use model::{Manifests, ObjectId, Snapshot};
use serde_json::Value;
use std::collections::BTreeMap;
use yaml::Dialect;

/// The objects in the `.yaml`, `.yml` and `.json` files of a snapshot, in byte order of their paths and then as they stand.
///
/// Lists (`kind: List`) are taken apart; empty documents count for nothing. Files of other names are left out with a note.
///
/// # Errors
/// The first file that is not YAML, or holds something that is no Kubernetes object, or an object that stands twice.
pub fn plain(snapshot: &Snapshot) -> Result<Manifests, Error> {
    let mut objects = Vec::new();
    let mut notes = Vec::new();
    let mut places = BTreeMap::new();
    for (path, file) in &snapshot.files {
        if !is_manifest(path) {
            notes.push(format!("{path} is left out: it is neither .yaml nor .yml nor .json"));
            continue;
        }
        let text = std::str::from_utf8(&file.bytes).map_err(|error| {
            let line = file.bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            Error::Manifest { file: path.clone(), line, problem: "the file is not UTF-8".into() }
        })?;
        objects.extend(read(text, path, &mut places)?);
    }
    Ok(Manifests { objects, notes, ..Manifests::default() })
}

/// Where each object stands: `file:line`.
pub(crate) type Places = BTreeMap<ObjectId, String>;

/// The objects of a text, none of which may stand anywhere else.
pub(crate) fn read(text: &str, path: &str, places: &mut Places) -> Result<Vec<Value>, Error> {
    let located = |line: usize, problem: String| Error::Manifest { file: path.to_owned(), line, problem };
    let mut objects = Vec::new();
    for (document, line) in yaml::documents(text, path, Dialect::V2).map_err(Error::Yaml)? {
        for object in apart(document).map_err(|problem| located(line, problem))? {
            let id = check(&object).map_err(|problem| located(line, problem))?;
            let place = format!("{path}:{line}");
            if let Some(first) = places.insert(id.clone(), place) {
                return Err(located(line, format!("{id} stands in {first} already")));
            }
            objects.push(object);
        }
    }
    Ok(objects)
}

fn is_manifest(path: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|end| path.ends_with(end))
}

/// The objects of a document: none, one, or the items of a list.
fn apart(document: Value) -> Result<Vec<Value>, String> {
    let Value::Object(mut map) = document else {
        return match document {
            Value::Null => Ok(Vec::new()),
            other => Err(format!("an object is a map with apiVersion, kind and metadata; this is {}", kind_of(&other))),
        };
    };
    // A custom kind may be called SomethingList; then it has a name.
    let kind = map.get("kind").and_then(Value::as_str).unwrap_or_default();
    let is_list =
        kind == "List" || kind.ends_with("List") && map.get("metadata").is_none_or(|m| m.get("name").is_none());
    match map.get_mut("items") {
        Some(Value::Array(items)) if is_list => Ok(std::mem::take(items)),
        _ => Ok(vec![Value::Object(map)]),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// What every object must have.
fn check(object: &Value) -> Result<ObjectId, String> {
    if !object.is_object() {
        return Err(format!(
            "an item of the list must be a map with apiVersion, kind and metadata; it is {}",
            kind_of(object)
        ));
    }
    for (pointer, field) in [("/apiVersion", "apiVersion"), ("/kind", "kind"), ("/metadata/name", "metadata.name")] {
        match object.pointer(pointer) {
            Some(Value::String(text)) if !text.is_empty() => {}
            Some(Value::String(_)) => return Err(format!("{field} is empty")),
            Some(other) => return Err(format!("{field} must be a text, and is {}", kind_of(other))),
            None => return Err(format!("{field} is missing")),
        }
    }
    Ok(ObjectId::of(object))
}
