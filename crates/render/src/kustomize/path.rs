//! Paths with dots: `spec.containers.[name=web].image`, as replacements and vars write them.

use super::field::split_path;
use super::tree::{Node, Scalar};
use regex::Regex;

/// The words of a path. What stands in brackets may contain dots.
pub(super) fn split(path: &str) -> Vec<String> {
    let words = split_path(path, '.');
    let mut result: Vec<String> = Vec::new();
    let mut open: Option<String> = None;
    for word in words {
        let joined = match open.take() {
            Some(begun) => format!("{begun}.{word}"),
            None if word.starts_with('[') && !word.ends_with(']') => word.clone(),
            None => {
                result.push(word);
                continue;
            }
        };
        if word.ends_with(']') {
            result.push(bracketed(&joined));
        } else {
            open = Some(joined);
        }
    }
    result.extend(open.as_deref().map(bracketed));
    result
}

fn bracketed(text: &str) -> String {
    if text.contains('=') { text.to_owned() } else { text.trim_matches(['[', ']']).to_owned() }
}

/// `ports[0]` becomes `ports`, `0`.
pub(super) fn indexed(words: &[String]) -> Vec<String> {
    let mut result = Vec::new();
    for word in words {
        let index = word.strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
        match index {
            Some((name, index)) if !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()) => {
                if !name.is_empty() {
                    result.push(name.to_owned());
                }
                result.push(index.to_owned());
            }
            _ => result.push(word.clone()),
        }
    }
    result
}

/// One word of a path.
enum Word<'w> {
    Field(&'w str),
    Index(usize),
    /// `-`.
    Last,
    /// `[name=web]`; without a name, the item itself.
    Item(&'w str, &'w str),
    /// `*`.
    Every,
}

fn word(text: &str) -> Result<Word<'_>, String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let parts = inner.split_once('=').ok_or_else(|| format!("{text} should be [field=value]"))?;
        return Ok(Word::Item(parts.0, parts.1));
    }
    Ok(match text.parse() {
        Ok(index) => Word::Index(index),
        Err(_) if text == "*" => Word::Every,
        Err(_) if text == "-" => Word::Last,
        Err(_) => Word::Field(text),
    })
}

/// The value at the end of a path.
pub(super) fn lookup<'n>(node: &'n Node, path: &[String]) -> Result<Option<&'n Node>, String> {
    let mut found = node;
    for text in path.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        let next = match (word(text)?, found) {
            (_, node) if node.is_null() => return Ok(None),
            (Word::Every, _) => return Err("a source is one value; * is for targets".into()),
            (Word::Field(name), Node::Map(_)) => found.get(name),
            (Word::Index(index), Node::List(items)) => items.get(index),
            (Word::Last, Node::List(items)) => items.last(),
            (Word::Item("", value), Node::List(items)) => items.iter().find(|item| item.raw() == value),
            (Word::Item(name, value), Node::List(items)) => {
                items.iter().find(|item| item.get(name).is_some_and(|found| found.raw() == value))
            }
            (Word::Field(_), other) => return Err(format!("{text} is asked of {}", other.kind())),
            (_, other) => return Err(format!("{text} is asked of {}, no list", other.kind())),
        };
        let Some(next) = next else { return Ok(None) };
        found = next;
    }
    Ok(Some(found))
}

/// Calls `set` with every value that a path matches; the number of them. With `create`, what is missing is made,
/// with this at the end.
pub(super) fn for_each(
    node: &mut Node,
    path: &[String],
    create: Option<&Node>,
    set: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> Result<usize, String> {
    let Some((first, rest)) = path.split_first() else {
        set(node)?;
        return Ok(1);
    };
    match word(first)? {
        Word::Index(index) => {
            let Node::List(items) = node else { return no_list(first, node) };
            if items.len() == index
                && let Some(leaf) = create
            {
                items.push(made(rest, leaf));
            }
            let count = items.len();
            match items.get_mut(index) {
                Some(item) => for_each(item, rest, create, set),
                None => Err(format!("the list has {count} items, none at {index}")),
            }
        }
        Word::Every => {
            let Node::List(items) = node else { return no_list(first, node) };
            items.iter_mut().map(|item| for_each(item, rest, create, set)).sum()
        }
        Word::Item(name, pattern) => items(node, first, (name, pattern), rest, create, set),
        Word::Last | Word::Field(_) => fields(node, first, rest, create, set),
    }
}

fn no_list(word: &str, node: &Node) -> Result<usize, String> {
    if node.is_null() { Ok(0) } else { Err(format!("{word} is asked of {}, no list", node.kind())) }
}

fn fields(
    node: &mut Node,
    name: &str,
    rest: &[String],
    create: Option<&Node>,
    set: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> Result<usize, String> {
    match node {
        Node::Map(_) => {}
        other if other.is_null() => return Ok(0),
        other => return Err(format!("{name} is asked of {}", other.kind())),
    }
    let field = match create {
        Some(leaf) => node.entry(name, || made(rest, leaf)),
        None => node.get_mut(name),
    };
    match field {
        // What stands inside of a text is changed elsewhere.
        Some(Node::Scalar(scalar)) if !rest.is_empty() && scalar.tag != super::tree::Tag::Null => {
            Err(format!("{} is asked of a single value", rest[0]))
        }
        Some(field) => for_each(field, rest, create, set),
        None => Ok(0),
    }
}

fn items(
    node: &mut Node,
    word: &str,
    (name, pattern): (&str, &str),
    rest: &[String],
    create: Option<&Node>,
    set: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> Result<usize, String> {
    let pattern_of = Regex::new(pattern).map_err(|_| format!("{pattern:?} is no regular expression"))?;
    if create.is_some() && node.is_null() {
        *node = Node::List(Vec::new());
    }
    let Node::List(items) = node else { return no_list(word, node) };
    let mut walk = |items: &mut Vec<Node>| -> Result<usize, String> {
        let mut count = 0;
        for item in items {
            if name.is_empty() {
                if pattern_of.is_match(written(item).as_deref().unwrap_or_default()) {
                    set(item)?;
                    count += 1;
                }
            } else if item.get(name).and_then(written).is_some_and(|text| pattern_of.is_match(&text)) {
                count += for_each(item, rest, create, set)?;
            }
        }
        Ok(count)
    };
    let count = walk(items)?;
    if count > 0 || create.is_none() {
        return Ok(count);
    }
    let value = Node::Scalar(Scalar::open(pattern));
    items.push(if name.is_empty() { value } else { Node::Map(vec![(Scalar::open(name), value)]) });
    walk(items)
}

/// A scalar as YAML has it, with its quotes.
fn written(node: &Node) -> Option<String> {
    let Node::Scalar(scalar) = node else { return None };
    Some(match scalar.style {
        yaml::Style::DoubleQuoted => format!("\"{}\"", scalar.text.replace('\\', "\\\\").replace('"', "\\\"")),
        yaml::Style::SingleQuoted => format!("'{}'", scalar.text.replace('\'', "''")),
        _ => scalar.text.trim().to_owned(),
    })
}

/// What is made for the rest of a path.
fn made(rest: &[String], leaf: &Node) -> Node {
    match rest.first() {
        None => match leaf {
            Node::Scalar(_) => Node::Scalar(Scalar::open("")),
            Node::List(_) => Node::List(Vec::new()),
            Node::Map(_) => Node::map(),
        },
        Some(next) if next.starts_with('[') && next.ends_with(']') || next.parse::<usize>().is_ok() => {
            Node::List(Vec::new())
        }
        Some(_) => Node::map(),
    }
}
