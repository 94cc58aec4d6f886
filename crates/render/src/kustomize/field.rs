//! Changing the fields that a [`FieldSpec`] names.

use super::config::FieldSpec;
use super::id::Gvk;
use super::tree::{Node, Scalar, Tag};

/// What is made where a path ends in nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Create {
    Map,
    Scalar(Tag),
}

impl Create {
    fn node(self) -> Node {
        match self {
            Self::Map => Node::map(),
            Self::Scalar(_) => Node::Scalar(Scalar::open("")),
        }
    }
}

/// The words of a path; `\` keeps a separator inside of a word.
pub(super) fn split_path(path: &str, separator: char) -> Vec<String> {
    let mut parts = path.split(separator).peekable();
    if parts.peek() == Some(&"") && path.len() > 1 {
        parts.next();
    }
    let mut words: Vec<String> = Vec::new();
    for part in parts {
        match words.last_mut() {
            Some(last) if last.ends_with('\\') => {
                last.pop();
                last.push(separator);
                last.push_str(part);
            }
            _ => words.push(part.to_owned()),
        }
    }
    words
}

/// Calls `set` with every field that the spec names in this object. Lists on the way are gone through.
pub(super) fn for_each(
    object: &mut Node,
    gvk: &Gvk,
    spec: &FieldSpec,
    create: Option<Create>,
    set: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> Result<(), String> {
    if !gvk.is_selected(&spec.gvk) {
        return Ok(());
    }
    let path = split_path(&spec.path, '/');
    walk(object, &path, create.filter(|_| spec.create), set).map_err(|problem| format!("{}: {problem}", spec.path))
}

fn walk(
    node: &mut Node,
    path: &[String],
    create: Option<Create>,
    set: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> Result<(), String> {
    let Some((word, rest)) = path.split_first() else { return set(node) };
    match node {
        Node::List(items) => items.iter_mut().try_for_each(|item| walk(item, path, create, set)),
        Node::Map(_) => {
            let (name, is_list) = word.strip_suffix("[]").map_or((word.as_str(), false), |name| (name, true));
            if name.is_empty() {
                return Err("the path has an empty field name".into());
            }
            let make = create.filter(|_| !is_list).map(|create| if rest.is_empty() { create } else { Create::Map });
            let field = match make {
                Some(make) => node.entry(name, || make.node()),
                None => node.get_mut(name),
            };
            let Some(field) = field else { return Ok(()) };
            if field.is_null() {
                revive(field, make, is_list);
            }
            walk(field, rest, create, set)
        }
        Node::Scalar(scalar) if scalar.tag == Tag::Null => Ok(()),
        Node::Scalar(_) => Err(format!("a list or a map is expected above {word}, but a single value stands there")),
    }
}

/// A null where something is to be made becomes an empty one of that.
fn revive(field: &mut Node, make: Option<Create>, is_list: bool) {
    match (make, &mut *field) {
        (Some(Create::Scalar(tag)), Node::Scalar(scalar)) => scalar.tag = tag,
        (Some(Create::Map), _) => *field = Node::map(),
        _ if is_list => *field = Node::List(Vec::new()),
        _ => {}
    }
}
