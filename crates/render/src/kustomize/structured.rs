//! Paths that lead on into JSON or YAML inside of a text.

use super::hash::compact_json;
use super::path;
use super::tree::{Node, Tag};

/// Writes into a document that is the text of a field on the way. False if there is none, or no such field in it.
pub(super) fn write(
    node: &mut Node,
    path: &[String],
    create: Option<&Node>,
    set: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> bool {
    let Some(end) = (1..path.len()).find(|end| is_document(node, &path[..*end])) else { return false };
    let (outer, inner) = path.split_at(end);
    let Ok(Some(Node::Scalar(scalar))) = path::lookup(node, outer) else { return false };
    let text = scalar.text.clone();
    let Some(mut document) = parse(&text) else { return false };
    if !matches!(path::for_each(&mut document, inner, create, set), Ok(count) if count > 0) {
        return false;
    }
    let Some(written) = serialized(&document, &text) else { return false };
    let done = path::for_each(node, outer, None, &mut |node| {
        if let Node::Scalar(scalar) = node {
            scalar.text.clone_from(&written);
        }
        Ok(())
    });
    done.is_ok()
}

fn is_document(node: &Node, path: &[String]) -> bool {
    match path::lookup(node, path) {
        Ok(Some(Node::Scalar(scalar))) => scalar.tag != Tag::Null && parse(&scalar.text).is_some(),
        _ => false,
    }
}

fn parse(text: &str) -> Option<Node> {
    let documents = yaml::parse(text, "").ok()?;
    Node::from_yaml(documents.into_iter().next()?).ok()
}

/// As JSON if it was JSON, in lines if it was written so; else as YAML.
fn serialized(document: &Node, original: &str) -> Option<String> {
    let value = document.to_json().ok()?;
    if original.trim_start().starts_with(['{', '[']) {
        let mut value = value;
        value.sort_all_objects();
        return Some(if original.contains('\n') && original.contains("  ") {
            super::hash::pretty_json(&value)
        } else {
            compact_json(&value)
        });
    }
    Some(yaml::to_string_in_order(&value).trim().to_owned())
}
