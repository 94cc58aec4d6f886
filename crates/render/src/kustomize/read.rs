//! Text → objects.

use super::resource::{Place, Resource};
use super::schema::Types;
use super::tree::Node;
use crate::error::Error;
use std::collections::VecDeque;
use std::sync::Arc;

/// The objects of a file, or of a text in a kustomization; lists are taken apart.
pub(super) fn resources(content: &[u8], file: &str, types: &Arc<Types>) -> Result<Vec<Resource>, Error> {
    let mut result = Vec::new();
    let mut nodes = documents(content, file)?;
    while let Some((node, place)) = nodes.pop_front() {
        if node.is_empty() {
            continue;
        }
        let resource = Resource::new(node, place, types.clone());
        check(&resource)?;
        if !resource.kind().ends_with("List") {
            result.push(resource);
            continue;
        }
        match resource.node.get("items") {
            None => result.push(resource),
            Some(items) if items.is_null() => {}
            Some(Node::List(items)) => nodes.extend(items.iter().map(|item| (item.clone(), resource.place.clone()))),
            Some(other) => {
                let problem = format!("items of a {} must be a list, and is {}", resource.kind(), other.kind());
                return Err(located(&resource.place, problem));
            }
        }
    }
    Ok(result)
}

/// The text of a file.
pub(super) fn text<'t>(content: &'t [u8], file: &str) -> Result<&'t str, Error> {
    std::str::from_utf8(content).map_err(|error| {
        let line = content[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::Kustomization { file: file.to_owned(), line, problem: "the file is not UTF-8".into() }
    })
}

pub(super) fn located(place: &Place, problem: String) -> Error {
    Error::Kustomization { file: place.file.clone(), line: place.line, problem }
}

fn documents(content: &[u8], file: &str) -> Result<VecDeque<(Node, Place)>, Error> {
    let text = text(content, file)?;
    let place = |line| Place { file: file.to_owned(), line };
    for (at, line) in text.lines().enumerate().skip(1) {
        let rest = line.strip_prefix("---").map(str::trim);
        if rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('#')) {
            return Err(located(&place(at + 1), format!("{line:?} is no separator of documents")));
        }
    }
    let read = |node: yaml::Node| {
        let place = place(node.position.line);
        match Node::from_yaml(node) {
            Ok(node) => Ok((node, place)),
            Err(problem) => Err(located(&place, problem)),
        }
    };
    let nodes = yaml::parse(text, file).map_err(Error::Yaml)?;
    let mut nodes: VecDeque<_> = nodes.into_iter().map(read).collect::<Result<_, _>>()?;
    // A list that stands alone is taken apart before anybody looks at what it is.
    let is_list =
        nodes.len() == 1 && nodes[0].0.get("kind").is_some_and(|kind| matches!(kind.value(), "List" | "ResourceList"));
    if is_list && let Some((node, place)) = nodes.pop_front() {
        match node.get("items") {
            Some(items) => nodes.extend(items.items().iter().map(|item| (item.clone(), place.clone()))),
            None => nodes.push_back((node, place)),
        }
    }
    Ok(nodes)
}

/// What every object must have.
fn check(resource: &Resource) -> Result<(), Error> {
    let fail = |problem: &str| Err(located(&resource.place, problem.to_owned()));
    if !matches!(resource.node, Node::Map(_)) {
        return fail(&format!(
            "an object is a map with apiVersion, kind and metadata; this is {}",
            resource.node.kind()
        ));
    }
    let kind = resource.node.get("kind").map_or("", Node::value);
    if kind.is_empty() {
        return fail("kind is missing");
    }
    if !kind.ends_with("List") && resource.name().is_empty() {
        return fail(&format!("metadata.name of this {kind} is missing"));
    }
    Ok(())
}
