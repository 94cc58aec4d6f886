//! Nodes → JSON values.

use crate::error::Error;
use crate::node::{Kind, Node, Style};
use crate::number::shortest;
use crate::resolve::{Dialect, Scalar, resolve};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use std::borrow::Cow;

/// The documents of a manifest file, each with the line where it begins. Empty ones are left out.
pub fn documents(text: &str, file: &str, dialect: Dialect) -> Result<Vec<(Value, usize)>, Error> {
    let nodes = crate::parse(text, file)?;
    let document = |node: &Node| to_json(node, dialect).map(|value| (value, node.position.line));
    let placed = |error: Error| Error { file: file.to_owned(), ..error };
    nodes.iter().map(document).collect::<Result<_, _>>().map_err(placed)
}

/// What values are made of nodes.
pub trait Make {
    /// A value.
    type Value;
    /// A map while it is filled.
    type Map: Default;
    /// `null`
    fn null(&mut self) -> Self::Value;
    /// `true`, `false`
    fn bool(&mut self, flag: bool) -> Self::Value;
    /// A number.
    fn number(&mut self, number: Number) -> Self::Value;
    /// A text.
    fn text(&mut self, text: &str) -> Self::Value;
    /// A list.
    fn list(&mut self, items: Vec<Self::Value>) -> Self::Value;
    /// A map that is full.
    fn map(&mut self, map: Self::Map) -> Self::Value;
    /// Puts a value into a map, over one that is there.
    fn insert(&mut self, map: &mut Self::Map, key: &str, value: Self::Value);
    /// Puts all of another map into a map.
    fn extend(&mut self, map: &mut Self::Map, other: Self::Map);
}

/// JSON.
pub(crate) struct Json;

impl Make for Json {
    type Value = Value;
    type Map = Map<String, Value>;

    fn null(&mut self) -> Value {
        Value::Null
    }

    fn bool(&mut self, flag: bool) -> Value {
        Value::Bool(flag)
    }

    fn number(&mut self, number: Number) -> Value {
        Value::Number(number)
    }

    fn text(&mut self, text: &str) -> Value {
        Value::String(text.to_owned())
    }

    fn list(&mut self, items: Vec<Value>) -> Value {
        Value::Array(items)
    }

    fn map(&mut self, map: Self::Map) -> Value {
        Value::Object(map)
    }

    fn insert(&mut self, map: &mut Self::Map, key: &str, value: Value) {
        map.insert(key.to_owned(), value);
    }

    fn extend(&mut self, map: &mut Self::Map, other: Self::Map) {
        map.extend(other);
    }
}

/// The first document of a text; nothing if it is empty.
///
/// # Errors
/// As [`parse`](crate::parse()) and [`to_json`].
pub fn value_in(text: &str, file: &str, dialect: Dialect) -> Result<Option<Value>, Error> {
    made_in(text, file, dialect, &mut Json)
}

/// As [`value_in`], for those who have values of their own.
///
/// # Errors
/// As there.
pub fn made_in<M: Make>(text: &str, file: &str, dialect: Dialect, make: &mut M) -> Result<Option<M::Value>, Error> {
    match crate::direct::read(text, dialect, make) {
        Some(value) => Ok(Some(value)),
        None => crate::parse(text, file)?.first().map(|node| made(node, dialect, make)).transpose(),
    }
}

/// The JSON that a node stands for. Of keys that stand there twice the last one counts; `<<` merges; keys that
/// are numbers or booleans become texts. What JSON has no word for (`.inf`, a list as key) is an error, whose
/// `file` is left empty.
pub fn to_json(node: &Node, dialect: Dialect) -> Result<Value, Error> {
    made(node, dialect, &mut Json)
}

/// As [`to_json`], for those who have values of their own.
///
/// # Errors
/// As there.
pub fn made<M: Make>(node: &Node, dialect: Dialect, make: &mut M) -> Result<M::Value, Error> {
    match &node.kind {
        Kind::Sequence(items) => {
            let items = items.iter().map(|item| made(item, dialect, make)).collect::<Result<_, _>>()?;
            Ok(make.list(items))
        }
        Kind::Mapping(pairs) => map_of(pairs, dialect, make).map(|map| make.map(map)),
        Kind::Scalar(text, style) => match meaning(node, text, *style, dialect)? {
            Scalar::Null => Ok(make.null()),
            Scalar::Bool(flag) => Ok(make.bool(flag)),
            Scalar::Integer(number) => Ok(make.number(integer(number))),
            Scalar::Float(number) => json_float(number)
                .map(|number| make.number(number))
                .ok_or_else(|| Error::new("", node.position, format!("{text} is a number that JSON cannot hold"))),
            Scalar::Timestamp | Scalar::Merge | Scalar::Text if is_binary(node) => {
                decoded(node, text).map(|text| make.text(&text))
            }
            Scalar::Timestamp | Scalar::Merge | Scalar::Text => Ok(make.text(text)),
        },
    }
}

fn map_of<M: Make>(pairs: &[(Node, Node)], dialect: Dialect, make: &mut M) -> Result<M::Map, Error> {
    let mut map = M::Map::default();
    // To v2 a merge is one of the pairs, in their order; to v3 what stands beside it counts for more.
    let merges_first = dialect == Dialect::V3;
    if merges_first {
        for (_, value) in pairs.iter().filter(|(key, _)| is_merge(key, dialect)) {
            merge(&mut map, value, dialect, make)?;
        }
    }
    for (key, value) in pairs {
        if !is_merge(key, dialect) {
            let value = made(value, dialect, make);
            make.insert(&mut map, &key_text(key, dialect)?, value?);
        } else if !merges_first {
            merge(&mut map, value, dialect, make)?;
        }
    }
    Ok(map)
}

pub(crate) fn integer(number: i128) -> Number {
    i64::try_from(number).map(Number::from).or(u64::try_from(number).map(Number::from)).unwrap_or(Number::from(0))
}

/// A whole float becomes an integer, as it does on its way through Go's JSON.
pub(crate) fn json_float(number: f64) -> Option<Number> {
    let whole = number.fract() == 0.0 && number.abs() < 9e18;
    if whole {
        #[allow(clippy::cast_possible_truncation)]
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}

/// The meaning of a scalar with its style and tag.
pub(crate) fn meaning(node: &Node, text: &str, style: Style, dialect: Dialect) -> Result<Scalar, Error> {
    let wrong =
        |what: &str| Err(Error::new("", node.position, format!("{text:?} is no {what}, though its tag says so")));
    let tag = node.tag.as_deref().and_then(|tag| tag.strip_prefix("tag:yaml.org,2002:"));
    match (tag, resolve(text, dialect)) {
        (Some("str" | "binary"), _) => Ok(Scalar::Text),
        (Some("int"), scalar @ Scalar::Integer(_)) | (Some("float"), scalar @ Scalar::Float(_)) => Ok(scalar),
        (Some("bool"), scalar @ Scalar::Bool(_)) | (Some("null"), scalar @ Scalar::Null) => Ok(scalar),
        #[allow(clippy::cast_precision_loss)]
        (Some("float"), Scalar::Integer(number)) => Ok(Scalar::Float(number as f64)),
        (Some("int"), _) => wrong("integer"),
        (Some("float"), _) => wrong("number"),
        (Some("bool"), _) => wrong("boolean"),
        (Some("null"), _) => wrong("null"),
        (_, scalar) if style == Style::Plain && node.tag.as_deref() != Some("!") => Ok(scalar),
        _ => Ok(Scalar::Text),
    }
}

fn is_merge(key: &Node, dialect: Dialect) -> bool {
    match &key.kind {
        Kind::Scalar(text, Style::Plain) => resolve(text, dialect) == Scalar::Merge,
        _ => key.tag.as_deref() == Some("tag:yaml.org,2002:merge"),
    }
}

/// All fields of a map or of a list of maps, of which the first one wins.
fn merge<M: Make>(map: &mut M::Map, value: &Node, dialect: Dialect, make: &mut M) -> Result<(), Error> {
    let refuse =
        |node: &Node| Error::new("", node.position, "map merge requires map or sequence of maps as the value".into());
    let sources = match &value.kind {
        Kind::Mapping(_) => std::slice::from_ref(value),
        Kind::Sequence(items) => items.as_slice(),
        Kind::Scalar(..) => return Err(refuse(value)),
    };
    for source in sources.iter().rev() {
        let Kind::Mapping(pairs) = &source.kind else { return Err(refuse(source)) };
        let other = map_of(pairs, dialect, make)?;
        make.extend(map, other);
    }
    Ok(())
}

fn is_binary(node: &Node) -> bool {
    node.tag.as_deref() == Some("tag:yaml.org,2002:binary")
}

fn decoded(node: &Node, text: &str) -> Result<String, Error> {
    let packed: String = text.split_whitespace().collect();
    let bytes = STANDARD.decode(packed).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    bytes.ok_or_else(|| Error::new("", node.position, "!!binary is no base 64 of a text".into()))
}

fn key_text(key: &Node, dialect: Dialect) -> Result<Cow<'_, str>, Error> {
    let refuse =
        |what: &str| Err(Error::new("", key.position, format!("{what} cannot be a key; quote it to make it a text")));
    let Kind::Scalar(text, style) = &key.kind else { return refuse("a list or a map") };
    match meaning(key, text, *style, dialect)? {
        Scalar::Null => refuse("null"),
        Scalar::Bool(flag) => Ok(flag.to_string().into()),
        Scalar::Integer(number) => Ok(number.to_string().into()),
        Scalar::Float(number) => Ok(shortest(number).into()),
        Scalar::Timestamp | Scalar::Merge | Scalar::Text => Ok(text.into()),
    }
}
