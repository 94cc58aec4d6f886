//! Values on their way to YAML: what they are made of, with texts shared and without the cells that maps change in.

use template::{Text, Value};
use yaml::{Shape, Tree};

/// A value as JSON knows it; whole floats are integers.
pub(super) enum Draft {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Text),
    List(Vec<Draft>),
    Map(Vec<(Text, Draft)>),
}

/// Deeper values contain themselves.
const DEPTH_MAX: usize = 1000;

impl Draft {
    /// Nothing if JSON cannot hold it.
    pub fn of(value: &Value) -> Option<Self> {
        Self::at(value, 0)
    }

    fn at(value: &Value, depth: usize) -> Option<Self> {
        if depth > DEPTH_MAX {
            return None;
        }
        Some(match value {
            Value::Missing | Value::Nil => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Int(number) | Value::Int64(number) => Self::Integer(*number),
            Value::Byte(byte) => Self::Integer(i64::from(*byte)),
            #[allow(clippy::cast_possible_truncation)]
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Self::Integer(*number as i64),
            Value::Float(number) if number.is_finite() => Self::Float(*number),
            Value::Float(_) => return None,
            Value::Text(value) => Self::Text(text(value)),
            Value::Bytes(bytes) => {
                use base64::Engine;
                Self::Text(base64::engine::general_purpose::STANDARD.encode(bytes).into())
            }
            Value::List(list) => {
                Self::List(list.items.iter().map(|item| Self::at(item, depth + 1)).collect::<Option<_>>()?)
            }
            Value::Map(map) => {
                let entries = map.entries();
                let pair = |(key, value): (&Text, &Value)| Some((text(key), Self::at(value, depth + 1)?));
                Self::Map(entries.iter().map(pair).collect::<Option<_>>()?)
            }
            Value::Object(object) => Self::at(&object.plain(), depth + 1)?,
        })
    }

    /// As JSON.
    pub fn into_json(self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(flag) => flag.into(),
            Self::Integer(number) => number.into(),
            Self::Float(number) => number.into(),
            Self::Text(text) => (*text).into(),
            Self::List(items) => items.into_iter().map(Self::into_json).collect(),
            Self::Map(pairs) => serde_json::Value::Object(
                pairs.into_iter().map(|(key, value)| ((*key).into(), value.into_json())).collect(),
            ),
        }
    }
}

/// Bytes that are no UTF-8 cannot be written.
fn text(text: &Text) -> Text {
    let odd = |character: char| if ('\u{10FE00}'..='\u{10FEFF}').contains(&character) { '\u{fffd}' } else { character };
    if template::is_binary(text) { text.chars().map(odd).collect::<String>().into() } else { Text::clone(text) }
}

impl Tree for Draft {
    fn shape(&self) -> Shape<'_, Self> {
        match self {
            Self::Null => Shape::Null,
            Self::Bool(flag) => Shape::Bool(*flag),
            Self::Integer(number) => Shape::Integer(*number),
            Self::Float(number) => Shape::Float(*number),
            Self::Text(text) => Shape::Text(text),
            Self::List(items) => Shape::List(items),
            Self::Map(pairs) => Shape::Map { is_empty: pairs.is_empty() },
        }
    }

    fn pairs<'v>(&'v self, pairs: &mut Vec<(&'v str, &'v Self)>) {
        if let Self::Map(own) = self {
            pairs.extend(own.iter().map(|(key, value)| (&**key, value)));
        }
    }
}
