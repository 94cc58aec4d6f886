//! The digest of a ConfigMap or Secret that becomes part of its name, and JSON as Go writes it.

use super::resource::Resource;
use super::tree::Node;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Ten letters and digits that stand for the content.
pub(super) fn of(resource: &Resource) -> Result<String, String> {
    let content = match resource.kind() {
        "ConfigMap" => content(resource, &["data"], &["binaryData"])?,
        "Secret" => content(resource, &["type", "data"], &["stringData"])?,
        _ => resource.node.to_json()?,
    };
    let digest = hex::encode(Sha256::digest(compact_json(&content).as_bytes()));
    // No vowels and nothing that looks like one: no words by chance.
    let letter = |digit: char| match digit {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        other => other,
    };
    Ok(digest.chars().take(10).map(letter).collect())
}

/// What counts: the name is no part of it.
fn content(resource: &Resource, always: &[&str], if_map: &[&str]) -> Result<Value, String> {
    let mut map = Map::new();
    map.insert("kind".into(), resource.kind().into());
    map.insert("name".into(), "".into());
    for field in always {
        let value = match resource.node.get(field) {
            None => "".into(),
            Some(Node::Scalar(scalar)) => scalar.text.clone().into(),
            Some(node) => node.to_json()?,
        };
        map.insert((*field).into(), value);
    }
    for field in if_map {
        if let Some(node @ Node::Map(_)) = resource.node.get(field) {
            map.insert((*field).into(), node.to_json()?);
        }
    }
    Ok(Value::Object(map))
}

/// Without blanks, keys sorted, and `<`, `>`, `&` escaped.
pub(super) fn compact_json(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    escaped(&value.to_string())
}

/// In lines.
pub(super) fn pretty_json(value: &Value) -> String {
    escaped(&format!("{value:#}"))
}

fn escaped(json: &str) -> String {
    let mut result = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => result.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => result.push(other),
        }
    }
    result
}
