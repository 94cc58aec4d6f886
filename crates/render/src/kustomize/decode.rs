//! Nodes → the structs of a kustomization, with errors that name line and field.
//!
//! As Go reads JSON: names of fields without regard to case, null for absent, and no guesses between texts and numbers.

use crate::error::Error;
use std::collections::BTreeMap;
use yaml::{Dialect, Kind, Node, Scalar, Style};

type Result<T> = std::result::Result<T, Error>;

/// How a file is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub file: &'a str,
    /// Unknown fields are errors.
    pub known_only: bool,
    /// A number is taken where a text is expected.
    pub loose: bool,
}

impl Rules<'_> {
    fn fail<T>(&self, node: &Node, path: &str, problem: &str) -> Result<T> {
        let problem = if path.is_empty() { problem.to_owned() } else { format!("{path}: {problem}") };
        Err(Error::Kustomization { file: self.file.to_owned(), line: node.position.line, problem })
    }
}

/// The fields of a map.
pub(super) struct Fields<'a> {
    rules: Rules<'a>,
    path: String,
    fields: Vec<Entry<'a>>,
}

struct Entry<'a> {
    name: &'a str,
    key: &'a Node,
    value: &'a Node,
    used: bool,
}

impl<'a> Fields<'a> {
    /// The fields of a map; null has none.
    pub fn of(rules: Rules<'a>, node: &'a Node, path: &str) -> Result<Self> {
        let mut fields: Vec<Entry<'a>> = Vec::new();
        match &node.kind {
            Kind::Mapping(pairs) => collect(rules, pairs, path, &mut fields)?,
            Kind::Scalar(..) if is_null(node) => {}
            _ => return rules.fail(node, path, "a map is expected"),
        }
        Ok(Self { rules, path: path.to_owned(), fields })
    }

    /// The field's value, if it is there and not null, and its path.
    pub fn take(&mut self, name: &str) -> Option<(&'a Node, String)> {
        let exact = self.fields.iter().position(|entry| entry.name == name);
        let at = exact.or_else(|| self.fields.iter().position(|entry| entry.name.eq_ignore_ascii_case(name)))?;
        self.fields[at].used = true;
        let value = self.fields[at].value;
        (!is_null(value)).then(|| (value, self.child(name)))
    }

    fn child(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A text, empty if the field is absent.
    pub fn text(&mut self, name: &str) -> Result<String> {
        Ok(self.text_or_none(name)?.unwrap_or_default())
    }

    pub fn text_or_none(&mut self, name: &str) -> Result<Option<String>> {
        let rules = self.rules;
        self.take(name).map(|(node, path)| text(rules, node, &path)).transpose()
    }

    /// False if the field is absent.
    pub fn flag(&mut self, name: &str) -> Result<bool> {
        let rules = self.rules;
        let Some((node, path)) = self.take(name) else { return Ok(false) };
        match scalar(node) {
            Some(Scalar::Bool(flag)) => Ok(flag),
            _ => rules.fail(node, &path, "true or false is expected"),
        }
    }

    /// Zero if the field is absent.
    pub fn integer(&mut self, name: &str) -> Result<i64> {
        let rules = self.rules;
        let Some((node, path)) = self.take(name) else { return Ok(0) };
        let wrong = || rules.fail(node, &path, "a whole number is expected");
        match scalar(node) {
            Some(Scalar::Integer(number)) => i64::try_from(number).or_else(|_| wrong()),
            #[allow(clippy::cast_possible_truncation)]
            Some(Scalar::Float(number)) if number.fract() == 0.0 && number.abs() < 9e15 => Ok(number as i64),
            _ => wrong(),
        }
    }

    /// A list, empty if the field is absent.
    pub fn list<T>(
        &mut self,
        name: &str,
        mut item: impl FnMut(Rules<'a>, &'a Node, &str) -> Result<T>,
    ) -> Result<Vec<T>> {
        let rules = self.rules;
        let Some((node, path)) = self.take(name) else { return Ok(Vec::new()) };
        let Kind::Sequence(items) = &node.kind else { return rules.fail(node, &path, "a list is expected") };
        items.iter().enumerate().map(|(at, node)| item(rules, node, &format!("{path}[{at}]"))).collect()
    }

    pub fn texts(&mut self, name: &str) -> Result<Vec<String>> {
        self.list(name, text)
    }

    /// Texts by name, sorted.
    pub fn texts_by_name(&mut self, name: &str) -> Result<BTreeMap<String, String>> {
        let rules = self.rules;
        let Some((node, path)) = self.take(name) else { return Ok(BTreeMap::new()) };
        let fields = Fields::of(rules, node, &path)?;
        let value = |entry: &Entry<'a>| {
            let path = fields.child(entry.name);
            Ok((
                entry.name.to_owned(),
                if is_null(entry.value) { String::new() } else { text(rules, entry.value, &path)? },
            ))
        };
        fields.fields.iter().map(value).collect()
    }

    /// A map with known fields.
    pub fn object<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Rules<'a>, &'a Node, &str) -> Result<T>,
    ) -> Result<Option<T>> {
        let rules = self.rules;
        self.take(name).map(|(node, path)| read(rules, node, &path)).transpose()
    }

    /// True if a field holds something: not null, no empty text.
    pub fn holds(&self, name: &str) -> bool {
        let entry = self.fields.iter().find(|entry| entry.name.eq_ignore_ascii_case(name));
        entry.is_some_and(|entry| match &entry.value.kind {
            Kind::Scalar(text, _) => !is_null(entry.value) && !text.is_empty(),
            _ => true,
        })
    }

    /// What is wrong with the whole of it.
    pub fn fail<T>(&self, problem: &str) -> Result<T> {
        let line = self.fields.first().map_or(0, |entry| entry.key.position.line);
        let problem = if self.path.is_empty() { problem.to_owned() } else { format!("{}: {problem}", self.path) };
        Err(Error::Kustomization { file: self.rules.file.to_owned(), line, problem })
    }

    /// All fields must have been asked for.
    pub fn close(self) -> Result<()> {
        match self.fields.iter().find(|entry| !entry.used) {
            Some(entry) if self.rules.known_only => {
                self.rules.fail(entry.key, &self.path, &format!("unknown field {:?}", entry.name))
            }
            _ => Ok(()),
        }
    }
}

/// The pairs of a map; of keys that stand there twice the last one counts, `<<` gives way to all others.
fn collect<'a>(rules: Rules<'a>, pairs: &'a [(Node, Node)], path: &str, fields: &mut Vec<Entry<'a>>) -> Result<()> {
    for (key, value) in pairs {
        let Kind::Scalar(name, style) = &key.kind else {
            return rules.fail(key, path, "a list or a map cannot be a key");
        };
        if name == "<<" && *style == Style::Plain {
            continue;
        }
        let entry = Entry { name, key, value, used: false };
        match fields.iter_mut().find(|other| other.name == name) {
            Some(other) => *other = entry,
            None => fields.push(entry),
        }
    }
    let merges = pairs.iter().filter(|(key, _)| matches!(&key.kind, Kind::Scalar(name, Style::Plain) if name == "<<"));
    for (_, value) in merges {
        let sources = match &value.kind {
            Kind::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(value),
        };
        for source in sources {
            let Kind::Mapping(pairs) = &source.kind else { return rules.fail(source, path, "<< takes a map") };
            let mut merged = Vec::new();
            collect(rules, pairs, path, &mut merged)?;
            merged.retain(|entry| fields.iter().all(|other| other.name != entry.name));
            fields.extend(merged);
        }
    }
    Ok(())
}

fn scalar(node: &Node) -> Option<Scalar> {
    match &node.kind {
        Kind::Scalar(text, Style::Plain) if node.tag.is_none() => Some(yaml::resolve(text, Dialect::V2)),
        Kind::Scalar(..) => Some(Scalar::Text),
        _ => None,
    }
}

fn is_null(node: &Node) -> bool {
    scalar(node) == Some(Scalar::Null)
}

/// A text; null is an empty one.
pub(super) fn text(rules: Rules<'_>, node: &Node, path: &str) -> Result<String> {
    match (scalar(node), &node.kind) {
        (Some(Scalar::Null), _) => Ok(String::new()),
        (Some(Scalar::Text | Scalar::Timestamp | Scalar::Merge), Kind::Scalar(text, _)) => Ok(text.clone()),
        (Some(_), Kind::Scalar(text, _)) if rules.loose => Ok(text.clone()),
        (Some(_), Kind::Scalar(text, _)) => {
            rules.fail(node, path, &format!("a text is expected, and {text} is none; quote it: \"{text}\""))
        }
        _ => rules.fail(node, path, "a text is expected"),
    }
}
