//! Nodes → typed values, with errors that name the field.

use crate::error::Error;
use crate::json::meaning;
use crate::node::{Kind, Node, Position};
use crate::resolve::{Dialect, Scalar};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, Unexpected, Visitor};
use std::collections::HashMap;
use std::fmt;

/// Reads a document into a type.
pub(crate) fn read<T: DeserializeOwned>(node: &Node, file: &str) -> Result<T, Error> {
    T::deserialize(Reader { node, path: None }).map_err(|problem| Error {
        file: file.to_owned(),
        line: problem.place.as_ref().map_or(node.position, |place| place.0).line,
        column: problem.place.as_ref().map_or(node.position, |place| place.0).column,
        field: problem.place.map(|place| place.1).unwrap_or_default(),
        message: problem.message,
    })
}

/// What went wrong; the innermost reader that sees it adds the place.
#[derive(Debug)]
struct Problem {
    message: String,
    place: Option<(Position, String)>,
}

impl Problem {
    fn at(mut self, node: &Node, path: Option<&Path<'_>>) -> Self {
        self.place.get_or_insert_with(|| (node.position, path.map(Path::to_string).unwrap_or_default()));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), place: None }
    }
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!("expected {}, found {}", plain_words(expected), shown(found)))
    }
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::custom(format!("expected {}, found {length} items", plain_words(expected)))
    }
    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("unknown field `{field}`{}", choices(field, expected)))
    }
    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("unknown value `{variant}`{}", choices(variant, expected)))
    }
    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("the field `{field}` is missing"))
    }
    fn duplicate_field(field: &'static str) -> Self {
        Self::custom(format!("the field `{field}` stands there twice"))
    }
}

/// Rust's names of types say little to those who write YAML.
fn plain_words(expected: &dyn Expected) -> String {
    let range = |low: i128, high: i128| format!("a whole number from {low} to {high}");
    match expected.to_string().as_str() {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        "u64" | "usize" => "a whole number from 0 on".into(),
        "i8" => range(i8::MIN.into(), i8::MAX.into()),
        "i16" => range(i16::MIN.into(), i16::MAX.into()),
        "i32" => range(i32::MIN.into(), i32::MAX.into()),
        "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a string" | "a borrowed string" => "a text".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        text => match text.strip_prefix("struct ").or_else(|| text.strip_prefix("variant of enum ")) {
            Some(_) if text.starts_with("struct") => "a map".into(),
            Some(name) => format!("one of the values of {name}"),
            None => text.to_owned(),
        },
    }
}

fn shown(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(flag) => flag.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Str(text) => format!("{text:?}"),
        Unexpected::Unit | Unexpected::Option => "nothing".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a map".into(),
        other => other.to_string(),
    }
}

fn choices(found: &str, expected: &[&str]) -> String {
    if expected.is_empty() {
        return "; none is known here".into();
    }
    let list: Vec<String> = expected.iter().map(|word| format!("`{word}`")).collect();
    let near = expected.iter().map(|word| (distance(found, word), word)).min();
    match near {
        // A third of the letters may be wrong; beyond that it is a guess.
        Some((distance, word)) if distance <= found.chars().count().max(3) / 3 => {
            format!(", did you mean `{word}`? Known: {}", list.join(", "))
        }
        _ => format!(", known: {}", list.join(", ")),
    }
}

/// Letters to change, drop, add or swap with a neighbour; case does not count.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(left != right)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *right && *left == b[j - 1] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

/// The way from the root, as a chain on the stack.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Item(index) => write!(f, "[{index}]"),
        }
    }
}

struct Reader<'a> {
    node: &'a Node,
    path: Option<&'a Path<'a>>,
}

impl<'a> Reader<'a> {
    fn meaning(&self) -> Result<Option<(&'a str, Scalar)>, Problem> {
        let Kind::Scalar(text, style) = &self.node.kind else { return Ok(None) };
        let scalar = meaning(self.node, text, *style, Dialect::V3).map_err(|error| de::Error::custom(error.message));
        Ok(Some((text, scalar?)))
    }

    fn is_null(&self) -> bool {
        matches!(self.meaning(), Ok(Some((_, Scalar::Null))))
    }

    fn any<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::Sequence(items) => visitor.visit_seq(Items { items, next: 0, path: self.path }),
            Kind::Mapping(pairs) => visitor.visit_map(Pairs::new(pairs, self.path)?),
            Kind::Scalar(text, _) => match self.meaning()?.map_or(Scalar::Text, |(_, scalar)| scalar) {
                Scalar::Null => visitor.visit_unit(),
                Scalar::Bool(flag) => visitor.visit_bool(flag),
                Scalar::Integer(number) => match (u64::try_from(number), i64::try_from(number)) {
                    (Ok(number), _) => visitor.visit_u64(number),
                    (_, Ok(number)) => visitor.visit_i64(number),
                    _ => visitor.visit_i128(number),
                },
                Scalar::Float(number) => visitor.visit_f64(number),
                Scalar::Timestamp | Scalar::Merge | Scalar::Text => visitor.visit_str(text),
            },
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        // The type decides: a commit of digits, or a version 1.10, is a text where a text is expected.
        match &self.node.kind {
            Kind::Scalar(text, _) if !self.is_null() => visitor.visit_str(text),
            _ => self.any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.is_null() { visitor.visit_map(Pairs::new(&[], self.path)?) } else { self.any(visitor) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.node.kind {
            // Serde would take a list for the fields in their order.
            Kind::Sequence(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.is_null() {
            visitor.visit_seq(Items { items: &[], next: 0, path: self.path })
        } else {
            self.any(visitor)
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let (node, path) = (self.node, self.path);
        match &node.kind {
            Kind::Scalar(..) if !self.is_null() => visitor.visit_enum(Variant { name: node, content: None, path }),
            Kind::Mapping(pairs) => match pairs.as_slice() {
                [(name, content)] => visitor.visit_enum(Variant { name, content: Some(content), path }),
                _ => Err(de::Error::custom("expected one key, the name of the variant")),
            },
            Kind::Scalar(..) | Kind::Sequence(_) => {
                Err(de::Error::custom(format!("expected one of {}", variants.join(", "))))
            }
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
    }
}

struct Items<'a> {
    items: &'a [Node],
    next: usize,
    path: Option<&'a Path<'a>>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        let Some(node) = self.items.get(self.next) else { return Ok(None) };
        let path = Path { parent: self.path, step: Step::Item(self.next) };
        self.next += 1;
        seed.deserialize(Reader { node, path: Some(&path) }).map(Some).map_err(|problem| problem.at(node, Some(&path)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

struct Pairs<'a> {
    pairs: &'a [(Node, Node)],
    next: usize,
    path: Option<&'a Path<'a>>,
}

impl<'a> Pairs<'a> {
    fn new(pairs: &'a [(Node, Node)], path: Option<&'a Path<'a>>) -> Result<Self, Problem> {
        let mut seen: HashMap<&str, Position> = HashMap::new();
        for (key, _) in pairs {
            let Kind::Scalar(text, _) = &key.kind else {
                return Err(Problem::at(de::Error::custom("a key must be a text"), key, path));
            };
            if let Some(first) = seen.insert(text, key.position) {
                let path = Path { parent: path, step: Step::Field(text) };
                let message = format!("this key stands in line {} already", first.line);
                return Err(Problem::at(de::Error::custom(message), key, Some(&path)));
            }
        }
        Ok(Self { pairs, next: 0, path })
    }
}

impl<'de> de::MapAccess<'de> for Pairs<'_> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        let Some((key, _)) = self.pairs.get(self.next) else { return Ok(None) };
        let path = Path { parent: self.path, step: Step::Field(name_of(key)) };
        seed.deserialize(Reader { node: key, path: Some(&path) })
            .map(Some)
            .map_err(|problem| problem.at(key, Some(&path)))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let Some((key, value)) = self.pairs.get(self.next) else {
            return Err(de::Error::custom("a value without a key"));
        };
        self.next += 1;
        let path = Path { parent: self.path, step: Step::Field(name_of(key)) };
        seed.deserialize(Reader { node: value, path: Some(&path) }).map_err(|problem| problem.at(value, Some(&path)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.pairs.len() - self.next)
    }
}

fn name_of(key: &Node) -> &str {
    if let Kind::Scalar(text, _) = &key.kind { text } else { "" }
}

/// `name` or `{name: content}`.
struct Variant<'a> {
    name: &'a Node,
    content: Option<&'a Node>,
    path: Option<&'a Path<'a>>,
}

impl<'de, 'a> de::EnumAccess<'de> for Variant<'a> {
    type Error = Problem;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Problem> {
        let value = seed.deserialize(Reader { node: self.name, path: self.path })?;
        Ok((value, self))
    }
}

impl Variant<'_> {
    fn content(&self) -> Result<Reader<'_>, Problem> {
        let node = self.content.ok_or_else(|| de::Error::custom(format!("`{}` needs a value", name_of(self.name))));
        node.map(|node| Reader { node, path: self.path })
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Problem;

    fn unit_variant(self) -> Result<(), Problem> {
        match self.content {
            None => Ok(()),
            Some(node) if (Reader { node, path: self.path }).is_null() => Ok(()),
            Some(_) => Err(de::Error::custom(format!("`{}` takes no value", name_of(self.name)))),
        }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Problem> {
        seed.deserialize(self.content()?)
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Problem> {
        self.content()?.deserialize_seq(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Problem> {
        self.content()?.deserialize_map(visitor)
    }
}
