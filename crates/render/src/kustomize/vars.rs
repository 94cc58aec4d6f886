//! `$(NAME)` in fields, replaced by what `vars` name.

use super::config::FieldSpec;
use super::field;
use super::file::Var;
use super::path;
use super::read::located;
use super::set::Resources;
use super::tree::{Node, Scalar, Tag};
use crate::error::Error;
use std::collections::BTreeMap;

/// Replaces all references to the vars.
pub(super) fn resolve(resources: &mut Resources, vars: &[Var], specs: &[FieldSpec]) -> Result<(), Error> {
    if vars.is_empty() {
        return Ok(());
    }
    let mut values = BTreeMap::new();
    for var in vars {
        let value = value_of(resources, var).map_err(|problem| Error::Kustomization {
            file: "vars".into(),
            line: 0,
            problem: format!("{}: {problem}", var.name),
        })?;
        values.insert(var.name.as_str(), value);
    }
    for resource in &mut resources.list {
        let gvk = resource.gvk();
        for spec in specs {
            field::for_each(&mut resource.node, &gvk, spec, None, &mut |node| replace(node, &values))
                .map_err(|problem| located(&resource.place, problem))?;
        }
    }
    Ok(())
}

/// The scalar that a var names; `None` if it is a list or a map.
fn value_of(resources: &Resources, var: &Var) -> Result<Option<Scalar>, String> {
    let Some(resource) = resources.list.iter().find(|resource| resource.vars.contains(&var.name)) else {
        return Err("no object is the one that it names".into());
    };
    let fields = path::indexed(&path::split(&var.field_path));
    match path::lookup(&resource.node, &fields)? {
        Some(Node::Scalar(scalar)) => Ok(Some(scalar.clone())),
        Some(_) => Ok(None),
        None => Err(format!("{} has no field {}", resource.id(), var.field_path)),
    }
}

fn replace(node: &mut Node, values: &BTreeMap<&str, Option<Scalar>>) -> Result<(), String> {
    match node {
        Node::Scalar(scalar) if scalar.is_text() => {
            *scalar = expanded(&scalar.text, values);
            Ok(())
        }
        Node::Scalar(_) => Ok(()),
        Node::Map(pairs) => {
            for (key, value) in pairs {
                if !key.is_text() {
                    return Err(format!("the key {} is no text", key.text));
                }
                if let Node::Scalar(scalar) = value
                    && scalar.is_text()
                {
                    *scalar = expanded(&scalar.text, values);
                }
            }
            Ok(())
        }
        Node::List(items) => items.iter_mut().try_for_each(|item| match item {
            Node::Scalar(scalar) if scalar.is_text() => {
                *scalar = expanded(&scalar.text, values);
                Ok(())
            }
            _ => Err("a list of texts is expected".into()),
        }),
    }
}

/// The text with its references replaced. A text that is nothing but a reference takes on the type of the value.
fn expanded(text: &str, values: &BTreeMap<&str, Option<Scalar>>) -> Scalar {
    let known = |name: &str| values.get(name).and_then(Option::as_ref);
    let whole = text.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')')).filter(|name| !name.contains(')'));
    if let Some(value) = whole.and_then(known) {
        return typed(value);
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(first) = rest.chars().next() else {
            result.push('$');
            break;
        };
        match (first, rest.find(')')) {
            ('$', _) => {
                result.push('$');
                rest = &rest[1..];
            }
            ('(', Some(end)) => {
                let name = &rest[1..end];
                match known(name) {
                    Some(value) => result.push_str(&typed(value).text),
                    None => result.push_str(&format!("$({name})")),
                }
                rest = &rest[end + 1..];
            }
            _ => {
                result.push('$');
                result.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    result.push_str(rest);
    Scalar::text(result)
}

/// The value as it is written: numbers in their plain form.
fn typed(value: &Scalar) -> Scalar {
    match value.tag {
        Tag::Int | Tag::Bool => Scalar::of(value.tag, value.text.clone()),
        Tag::Float => match value.text.parse::<f64>() {
            Ok(number) => Scalar::of(Tag::Float, number.to_string()),
            Err(_) => Scalar::of(Tag::Float, value.text.clone()),
        },
        _ => Scalar::text(value.text.clone()),
    }
}
