//! `replacements`: values that are copied from one object into others.

use super::file::{FieldOptions, Replacement, Source, Target};
use super::id::Id;
use super::path;
use super::resource::Resource;
use super::set::{Matcher, Resources};
use super::structured;
use super::tree::{Node, Scalar};

/// Where values come from and go to if nothing else is said.
const FIELD_PATH: &str = "metadata.name";

/// Carries out one entry.
pub(super) fn apply(resources: &mut Resources, replacement: &Replacement) -> Result<(), String> {
    let Some(targets) = &replacement.targets else { return Err("targets are missing".into()) };
    let value = match (&replacement.source, &replacement.source_value) {
        (Some(_), Some(_)) => return Err("source and sourceValue exclude each other".into()),
        (None, None) => return Err("source is missing".into()),
        (None, Some(text)) => Node::Scalar(Scalar::open(text)),
        (Some(source), None) => value_of(resources, source)?,
    };
    targets.iter().try_for_each(|target| copy(resources, &value, target))
}

fn value_of(resources: &Resources, source: &Source) -> Result<Node, String> {
    let wanted = |id: &Id| {
        (source.name.is_empty() || source.name == id.name)
            && (source.namespace.is_empty() || effective(&source.namespace) == id.effective)
            && id.gvk.is_selected(&source.gvk)
    };
    let name = || {
        let parts = [source.gvk.group.as_str(), &source.gvk.version, &source.gvk.kind, &source.namespace, &source.name];
        format!("source {}", parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
    };
    let mut found = resources.list.iter().filter(|resource| resource.ids().iter().any(wanted));
    let resource = match (found.next(), found.next()) {
        (Some(resource), None) => resource,
        (None, _) => return Err(format!("{}: there is no such object", name())),
        (Some(first), Some(second)) => {
            return Err(format!("{} could be {} or {}", name(), first.id(), second.id()));
        }
    };
    let field = if source.field_path.is_empty() { FIELD_PATH } else { &source.field_path };
    let value = path::lookup(&resource.node, &path::split(field))?;
    let value = value.filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| format!("{} has no value at fieldPath {field}", resource.id()))?;
    refined(value, &source.options)
}

fn effective(namespace: &str) -> &str {
    if namespace.is_empty() { "default" } else { namespace }
}

/// The part of the value that the options name.
fn refined(value: &Node, options: &FieldOptions) -> Result<Node, String> {
    if options.delimiter.is_empty() {
        return Ok(value.clone());
    }
    let Node::Scalar(scalar) = value else { return Err("a delimiter needs a single value".into()) };
    let part = usize::try_from(options.index).ok().and_then(|at| scalar.text.split(&options.delimiter).nth(at));
    match part {
        Some(part) => Ok(Node::Scalar(Scalar { text: part.to_owned(), ..scalar.clone() })),
        None => Err(format!("options.index {} is out of bounds for {}", options.index, scalar.text)),
    }
}

/// Writes the value into the fields of all objects that the target selects.
fn copy(resources: &mut Resources, value: &Node, target: &Target) -> Result<(), String> {
    let Some(select) = &target.select else { return Err("a target must select objects".into()) };
    let select = Matcher::new(select)?;
    let reject = target.reject.iter().map(Matcher::new).collect::<Result<Vec<_>, _>>()?;
    let standard = [FIELD_PATH.to_owned()];
    let fields = if target.field_paths.is_empty() { &standard[..] } else { &target.field_paths };
    for resource in &mut resources.list {
        if !is_selected(resource, &select, &reject) {
            continue;
        }
        for field in fields {
            write(&mut resource.node, value, field, &target.options)
                .map_err(|problem| format!("{}: {problem}", resource.id()))?;
        }
    }
    Ok(())
}

fn is_selected(resource: &Resource, select: &Matcher, reject: &[Matcher]) -> bool {
    if !select.matches_texts(resource) {
        return false;
    }
    if reject.iter().any(|matcher| matcher.asks_for_texts() && matcher.matches_texts(resource)) {
        return false;
    }
    // The current identity first, and its namespace as it is written.
    let ids = resource.ids();
    let rejects = |matcher: &Matcher| !matcher.names_nothing() && ids.iter().any(|id| matcher.matches_id(id));
    !reject.iter().any(rejects) && ids.iter().any(|id| select.matches_id(id))
}

fn write(node: &mut Node, value: &Node, field: &str, options: &FieldOptions) -> Result<(), String> {
    let words = path::split(field);
    let create = options.create.then_some(value);
    if structured::write(node, &words, create, &mut |node| set(node, value, options)) {
        return Ok(());
    }
    let missing = || {
        let or = if options.create { " and cannot be made" } else { "" };
        format!("there is no field {field:?}{or}")
    };
    match path::for_each(node, &words, create, &mut |node| set(node, value, options)) {
        Ok(0) => Err(missing()),
        Ok(_) => Ok(()),
        Err(problem) => Err(format!("{}: {problem}", missing())),
    }
}

/// Writes a value, or a part of it.
fn set(node: &mut Node, value: &Node, options: &FieldOptions) -> Result<(), String> {
    let mut value = value.clone();
    if !options.delimiter.is_empty() {
        let Node::Scalar(own) = &*node else { return Err("a delimiter needs a single value".into()) };
        let mut parts: Vec<&str> = own.text.split(&options.delimiter).collect();
        let new = value.value().to_owned();
        match usize::try_from(options.index) {
            Err(_) => parts.insert(0, &new),
            Ok(at) if at >= parts.len() => parts.push(&new),
            Ok(at) => parts[at] = &new,
        }
        let text = parts.join(&options.delimiter);
        if let Node::Scalar(scalar) = &mut value {
            scalar.text = text;
        }
    }
    match (&mut *node, value) {
        // Type and quotes are those of the field.
        (Node::Scalar(own), Node::Scalar(value)) => own.text = value.text,
        (Node::Scalar(own), _) => own.text.clear(),
        (_, value) => *node = value,
    }
    Ok(())
}
