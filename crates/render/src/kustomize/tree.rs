//! The tree that transformers work on: YAML with the types and quotes of its scalars.
//!
//! Kustomize changes nodes and decides only when it prints what they mean: a number written into a quoted field stays
//! a text. So scalars keep their text, the type they were read with, and whether they were quoted.

use super::fold::refolded;
use super::time;
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};
use std::collections::HashSet;
use yaml::{Dialect, Kind, Style};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Scalar, Node)>),
}

/// A text, and what it was taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar {
    pub text: String,
    pub tag: Tag,
    pub style: Style,
}

/// Types of scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// Decided from the text when it is printed.
    Open,
    Null,
    Bool,
    Int,
    Float,
    Str,
    Timestamp,
    Binary,
}

impl Scalar {
    /// A text whose type is open: `5` becomes a number unless the field it goes to was quoted.
    pub fn open(text: impl Into<String>) -> Self {
        Self { text: text.into(), tag: Tag::Open, style: Style::Plain }
    }

    /// A text that stays one.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), tag: Tag::Str, style: Style::Plain }
    }

    pub fn of(tag: Tag, text: impl Into<String>) -> Self {
        Self { text: text.into(), tag, style: Style::Plain }
    }

    pub fn is_text(&self) -> bool {
        matches!(self.tag, Tag::Str | Tag::Open)
    }

    fn from_yaml(text: String, style: Style, tag: Option<&str>) -> Self {
        let tag = match (tag.map(|tag| tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag)), style) {
            (Some("null"), _) => Tag::Null,
            (Some("bool"), _) => Tag::Bool,
            (Some("int"), _) => Tag::Int,
            (Some("float"), _) => Tag::Float,
            (Some("binary"), _) => Tag::Binary,
            (Some(_), _) => Tag::Str,
            (None, Style::Plain) => plain_tag(&text),
            (None, _) => Tag::Str,
        };
        Self { text, tag, style }
    }

    /// What it is when it is printed and read again.
    fn into_value(self) -> Result<Value, String> {
        let tag = match (self.tag, self.style) {
            // Most scalars: their text says nothing else, or is in quotes.
            (Tag::Str, _) => Tag::Str,
            (Tag::Open, Style::Plain) => plain_tag(&self.text),
            (Tag::Open, _) => Tag::Str,
            // A tag that the text has anyway is not written, and quotes then make it a text.
            (tag, style) if style != Style::Plain && tag == plain_tag(&self.text) => Tag::Str,
            (tag, _) => tag,
        };
        match tag {
            Tag::Null => Ok(Value::Null),
            Tag::Bool if self.text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Tag::Bool if self.text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Tag::Open | Tag::Str if self.style == Style::Folded => Ok(refolded(&self.text).into()),
            Tag::Open | Tag::Str => Ok(Value::String(self.text)),
            Tag::Timestamp => Ok(Value::String(time::as_json(&self.text))),
            Tag::Bool | Tag::Int | Tag::Float | Tag::Binary => {
                let tag = match tag {
                    Tag::Bool => "bool",
                    Tag::Int => "int",
                    Tag::Float => "float",
                    _ => "binary",
                };
                let node = yaml::Node {
                    position: yaml::Position::default(),
                    tag: Some(format!("tag:yaml.org,2002:{tag}")),
                    kind: Kind::Scalar(self.text, Style::Plain),
                };
                yaml::to_json(&node, Dialect::V3).map_err(|error| error.message)
            }
        }
    }
}

fn plain_tag(text: &str) -> Tag {
    match yaml::resolve(text, Dialect::V3) {
        yaml::Scalar::Null => Tag::Null,
        yaml::Scalar::Bool(_) => Tag::Bool,
        yaml::Scalar::Integer(_) => Tag::Int,
        yaml::Scalar::Float(_) => Tag::Float,
        yaml::Scalar::Timestamp => Tag::Timestamp,
        yaml::Scalar::Merge | yaml::Scalar::Text => Tag::Str,
    }
}

impl From<Scalar> for Node {
    fn from(scalar: Scalar) -> Self {
        Self::Scalar(scalar)
    }
}

impl Node {
    /// `{}`.
    pub fn map() -> Self {
        Self::Map(Vec::new())
    }

    pub fn null() -> Self {
        Self::Scalar(Scalar::of(Tag::Null, ""))
    }

    /// From a document; `<<` is resolved.
    pub fn from_yaml(node: yaml::Node) -> Result<Self, String> {
        match node.kind {
            Kind::Scalar(text, style) => Ok(Self::Scalar(Scalar::from_yaml(text, style, node.tag.as_deref()))),
            Kind::Sequence(items) => items.into_iter().map(Self::from_yaml).collect::<Result<_, _>>().map(Self::List),
            Kind::Mapping(pairs) => {
                let mut map = Vec::with_capacity(pairs.len());
                let mut merged = None;
                for (key, value) in pairs {
                    let value = Self::from_yaml(value)?;
                    match key.kind {
                        Kind::Scalar(text, Style::Plain) if text == "<<" => {
                            if merged.replace(value).is_some() {
                                return Err("a map has the key << twice".into());
                            }
                        }
                        Kind::Scalar(text, style) => {
                            map.push((Scalar::from_yaml(text, style, key.tag.as_deref()), value));
                        }
                        Kind::Sequence(_) | Kind::Mapping(_) => {
                            return Err(format!("line {}: a list or a map cannot be a key", key.position.line));
                        }
                    }
                }
                match merged {
                    Some(merged) => merge_keys(map, merged).map(Self::Map),
                    None => Ok(Self::Map(map)),
                }
            }
        }
    }

    /// From JSON, keys sorted.
    pub fn from_json(value: &Value) -> Self {
        match value {
            Value::Null => Self::Scalar(Scalar::of(Tag::Null, "null")),
            Value::Bool(flag) => Self::Scalar(Scalar::of(Tag::Bool, flag.to_string())),
            Value::Number(number) => Self::Scalar(number_scalar(number)),
            Value::String(text) => {
                let mut scalar = Scalar::text(text.clone());
                if yaml::resolve(text, Dialect::V2) != yaml::Scalar::Text {
                    scalar.style = Style::DoubleQuoted;
                }
                Self::Scalar(scalar)
            }
            Value::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Value::Object(map) => {
                let mut pairs: Vec<_> =
                    map.iter().map(|(key, value)| (Scalar::text(key.clone()), Self::from_json(value))).collect();
                pairs.sort_by(|(a, _), (b, _)| a.text.cmp(&b.text));
                Self::Map(pairs)
            }
        }
    }

    /// What it prints as.
    pub fn to_json(&self) -> Result<Value, String> {
        self.clone().into_json()
    }

    /// What it prints as.
    pub fn into_json(self) -> Result<Value, String> {
        match self {
            Self::Scalar(scalar) => scalar.into_value(),
            Self::List(items) => items.into_iter().map(Self::into_json).collect(),
            Self::Map(pairs) => {
                let mut map = Map::with_capacity(pairs.len());
                for (key, value) in pairs {
                    if !key.is_text() && key.tag != Tag::Timestamp && key.style == Style::Plain {
                        return Err(format!("the key {} is no text; quote it", key.text));
                    }
                    match map.entry(key.text) {
                        Entry::Vacant(entry) => _ = entry.insert(value.into_json()?),
                        Entry::Occupied(entry) => {
                            return Err(format!("the key {:?} stands twice in one map", entry.key()));
                        }
                    }
                }
                Ok(Value::Object(map))
            }
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(Scalar { tag: Tag::Null, .. }))
    }

    /// Null, `{}` or `[]`.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(scalar) => scalar.tag == Tag::Null,
            Self::List(items) => items.is_empty(),
            Self::Map(pairs) => pairs.is_empty(),
        }
    }

    /// The text of a scalar, whatever its type; of null and of anything else an empty one.
    pub fn value(&self) -> &str {
        match self {
            Self::Scalar(scalar) if scalar.tag != Tag::Null => &scalar.text,
            _ => "",
        }
    }

    /// The text of a scalar as it stands, `null` included.
    pub fn raw(&self) -> &str {
        match self {
            Self::Scalar(scalar) => &scalar.text,
            _ => "",
        }
    }

    pub fn pairs(&self) -> &[(Scalar, Node)] {
        match self {
            Self::Map(pairs) => pairs,
            _ => &[],
        }
    }

    pub fn items(&self) -> &[Node] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The field of a map.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.pairs().iter().find(|(key, _)| key.text == name).map(|(_, value)| value)
    }

    /// The field of a map.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        match self {
            Self::Map(pairs) => pairs.iter_mut().find(|(key, _)| key.text == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Down through maps.
    pub fn find(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    /// The field of a map, made if it is absent.
    pub fn entry(&mut self, name: &str, default: impl FnOnce() -> Node) -> Option<&mut Node> {
        let Self::Map(pairs) = self else { return None };
        let at = match pairs.iter().position(|(key, _)| key.text == name) {
            Some(at) => at,
            None => {
                pairs.push((Scalar::open(name), default()));
                pairs.len() - 1
            }
        };
        pairs.get_mut(at).map(|(_, value)| value)
    }

    pub fn remove(&mut self, name: &str) -> Option<Node> {
        let Self::Map(pairs) = self else { return None };
        let at = pairs.iter().position(|(key, _)| key.text == name)?;
        Some(pairs.remove(at).1)
    }

    /// Puts a value into a field. A scalar takes over the quotes of the one before it, and its type with it; a new
    /// text that could be taken for something else is quoted.
    pub fn set(&mut self, name: &str, value: impl Into<Node>) {
        let Self::Map(pairs) = self else { return };
        let mut value = value.into();
        match pairs.iter_mut().find(|(key, _)| key.text == name) {
            Some((_, old)) => {
                keep_style(old, &mut value);
                *old = value;
            }
            None => {
                quote(&mut value);
                pairs.push((Scalar::open(name), value));
            }
        }
    }

    /// Replaces a scalar, which keeps its quotes.
    pub fn assign(&mut self, value: Scalar) -> Result<(), String> {
        if !matches!(self, Self::Scalar(_)) {
            return Err(format!("a single value is expected, but {} stands here", self.kind()));
        }
        let mut value = Self::Scalar(value);
        keep_style(self, &mut value);
        *self = value;
        Ok(())
    }

    /// For messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Scalar(scalar) if scalar.tag == Tag::Null => "null",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

fn keep_style(old: &Node, new: &mut Node) {
    if let Node::Scalar(new) = new {
        new.style = match old {
            Node::Scalar(old) => old.style,
            _ => Style::Plain,
        };
    }
}

fn quote(value: &mut Node) {
    if let Node::Scalar(scalar) = value
        && scalar.is_text()
        && scalar.style == Style::Plain
        && !scalar.text.is_empty()
        && !matches!(yaml::resolve(&scalar.text, Dialect::V2), yaml::Scalar::Text | yaml::Scalar::Timestamp)
    {
        scalar.style = Style::DoubleQuoted;
    }
}

/// Go reads all numbers of JSON as floats.
fn number_scalar(number: &Number) -> Scalar {
    const EXACT: u64 = 1 << 53;
    let exact = number.as_i64().map_or_else(|| number.as_u64(), |number| Some(number.unsigned_abs()));
    match (exact, number.as_f64()) {
        (Some(size), _) if size <= EXACT => Scalar::of(Tag::Int, number.to_string()),
        (_, Some(float)) => Scalar::of(Tag::Float, format!("{float:e}")),
        _ => Scalar::of(Tag::Float, number.to_string()),
    }
}

/// A map with what `<<` names: own keys win, of several maps the first.
fn merge_keys(own: Vec<(Scalar, Node)>, merged: Node) -> Result<Vec<(Scalar, Node)>, String> {
    let wrong = || "<< takes a map or a list of maps".to_owned();
    let sources = match merged {
        Node::Map(pairs) => vec![pairs],
        Node::List(items) => items
            .into_iter()
            .map(|item| if let Node::Map(pairs) = item { Ok(pairs) } else { Err(wrong()) })
            .collect::<Result<_, _>>()?,
        Node::Scalar(_) => return Err(wrong()),
    };
    let mut seen: HashSet<String> = own.iter().map(|(key, _)| key.text.clone()).collect();
    let mut result = own;
    for (key, value) in sources.into_iter().flatten() {
        if seen.insert(key.text.clone()) {
            result.push((key, value));
        }
    }
    Ok(result)
}
