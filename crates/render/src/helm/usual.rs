//! The schemas that most charts have, checked without a validator: that one is made of a schema of schemas first, which takes
//! longer than many a render.
//!
//! A schema is usual if it says no more than types, properties and what is beside them; and what is said here is only that
//! values fit. In all other cases the validator has the word.

use serde_json::Value as Json;
use template::Value;

/// A usual schema.
#[derive(Debug, Default)]
pub(super) struct Usual {
    kinds: Option<Vec<Kind>>,
    properties: Vec<(String, Usual)>,
    required: Vec<String>,
    others: Others,
    items: Option<Box<Usual>>,
    values: Option<Vec<Json>>,
    least: Option<f64>,
    most: Option<f64>,
}

/// Properties that have no schema of their own.
#[derive(Debug, Default)]
enum Others {
    #[default]
    Any,
    None,
    Of(Box<Usual>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// Words of some version of JSON Schema that are not understood here. Words of none mean nothing to any.
const UNUSUAL: &[&str] = &[
    "additionalItems",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "definitions",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "else",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "id",
    "if",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "readOnly",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "writeOnly",
];

/// The versions in which all that is understood here means the same.
const VERSIONS: &[&str] = &[
    "http://json-schema.org/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-07/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
];

/// Words in a list of a usual schema.
const LISTED_MAX: usize = 256;

impl Usual {
    /// A schema, if it is usual.
    pub fn of(schema: &Json) -> Option<Self> {
        Self::at(schema, true)
    }

    fn at(schema: &Json, is_top: bool) -> Option<Self> {
        let mut usual = Self::default();
        let words = match schema {
            Json::Bool(true) => return Some(usual),
            Json::Object(words) => words,
            _ => return None,
        };
        let below = |schema: &Json| Self::at(schema, false);
        for (word, said) in words {
            match word.as_str() {
                "$schema" if is_top => {
                    let version = said.as_str()?;
                    VERSIONS.contains(&version.strip_suffix('#').unwrap_or(version)).then_some(())?;
                }
                "title" | "description" => drop(said.as_str()?),
                "default" => {}
                "examples" => drop(said.as_array()?),
                "type" => {
                    let kinds: Vec<Kind> = match said {
                        Json::Array(names) if !names.is_empty() => names.iter().map(kind).collect::<Option<_>>()?,
                        name => vec![kind(name)?],
                    };
                    is_unique(&kinds).then_some(())?;
                    usual.kinds = Some(kinds);
                }
                "properties" => {
                    let pair = |(name, schema): (&String, &Json)| Some((name.clone(), below(schema)?));
                    usual.properties = said.as_object()?.iter().map(pair).collect::<Option<_>>()?;
                    usual.properties.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                "required" => {
                    let names = said.as_array()?.iter().map(|name| name.as_str().map(str::to_owned));
                    usual.required = names.collect::<Option<_>>()?;
                    (!usual.required.is_empty() && is_unique(&usual.required)).then_some(())?;
                }
                "additionalProperties" => {
                    usual.others = match said {
                        Json::Bool(false) => Others::None,
                        schema => Others::Of(Box::new(below(schema)?)),
                    };
                }
                "items" => usual.items = Some(Box::new(below(said)?)),
                "enum" => {
                    let values = said.as_array()?;
                    let is_scalar = |value: &Json| !value.is_array() && !value.is_object();
                    (!values.is_empty() && is_unique(values) && values.iter().all(is_scalar)).then_some(())?;
                    usual.values = Some(values.clone());
                }
                "minimum" => usual.least = Some(said.as_f64()?),
                "maximum" => usual.most = Some(said.as_f64()?),
                word if word.starts_with('$') || UNUSUAL.contains(&word) => return None,
                _ => {}
            }
        }
        Some(usual)
    }

    /// True if a value surely fits.
    pub fn fits(&self, value: &Value) -> bool {
        let kind = match value {
            Value::Missing | Value::Nil => Kind::Null,
            Value::Bool(_) => Kind::Boolean,
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Kind::Integer,
            Value::Float(number) if number.is_finite() && number.abs() < 9e15 => Kind::Number,
            Value::Int(_) | Value::Int64(_) | Value::Byte(_) => Kind::Integer,
            Value::Text(text) if !template::is_binary(text) => Kind::String,
            Value::List(_) => Kind::Array,
            Value::Map(_) => Kind::Object,
            _ => return false,
        };
        let is_it = |wanted: &Kind| *wanted == kind || (*wanted == Kind::Number && kind == Kind::Integer);
        if self.kinds.as_ref().is_some_and(|kinds| !kinds.iter().any(is_it)) {
            return false;
        }
        if self.values.as_ref().is_some_and(|values| !values.iter().any(|wanted| is_equal(wanted, value))) {
            return false;
        }
        if let Some(number) = number(value)
            && (self.least.is_some_and(|least| number < least) || self.most.is_some_and(|most| number > most))
        {
            return false;
        }
        match value {
            Value::List(list) => self.items.as_ref().is_none_or(|items| list.items.iter().all(|item| items.fits(item))),
            Value::Map(map) if self.says_of_maps() => {
                let entries = map.entries();
                self.required.iter().all(|name| entries.contains_key(name.as_str()))
                    && entries.iter().all(|(name, value)| self.fits_entry(name, value))
            }
            _ => true,
        }
    }

    fn says_of_maps(&self) -> bool {
        !self.properties.is_empty() || !self.required.is_empty() || !matches!(self.others, Others::Any)
    }

    fn fits_entry(&self, name: &str, value: &Value) -> bool {
        match self.properties.binary_search_by(|(other, _)| other.as_str().cmp(name)) {
            Ok(place) => self.properties[place].1.fits(value),
            Err(_) => match &self.others {
                Others::Any => true,
                Others::None => false,
                Others::Of(schema) => schema.fits(value),
            },
        }
    }
}

fn kind(name: &Json) -> Option<Kind> {
    Some(match name.as_str()? {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "string" => Kind::String,
        "array" => Kind::Array,
        "object" => Kind::Object,
        _ => return None,
    })
}

/// Of lists that are not too long to look at each pair: longer ones are the validator's.
fn is_unique<T: PartialEq>(items: &[T]) -> bool {
    items.len() <= LISTED_MAX && items.iter().enumerate().all(|(index, item)| !items[..index].contains(item))
}

#[allow(clippy::cast_precision_loss)] // What does not fit is left to the validator.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Int(number) | Value::Int64(number) => Some(*number as f64),
        Value::Byte(number) => Some(f64::from(*number)),
        _ => None,
    }
}

fn is_equal(wanted: &Json, value: &Value) -> bool {
    match (wanted, value) {
        (Json::Null, Value::Nil | Value::Missing) => true,
        (Json::Bool(wanted), Value::Bool(flag)) => wanted == flag,
        (Json::String(wanted), Value::Text(text)) => **wanted == **text,
        (Json::Number(wanted), value) => wanted.as_f64().is_some_and(|wanted| number(value) == Some(wanted)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helm::functions::{json_of, value_of};
    use serde_json::json;

    #[test]
    fn what_fits_here_fits_the_validator() {
        let schemas = [
            json!({"$schema": "http://json-schema.org/schema#", "type": "object", "form": true, "properties": {
                "a": {"type": "string", "title": "A"}, "b": {"type": ["integer", "null"], "minimum": 1, "maximum": 3}},
                "required": ["a"], "additionalProperties": false}),
            json!({"properties": {"a": {"enum": ["x", 1, true, null]}, "b": {"type": "number"}}}),
            json!({"additionalProperties": {"type": "array", "items": {"type": "boolean"}}}),
            json!({"properties": {"a": true, "b": {"properties": {"c": {"type": "integer"}}, "required": ["c"]}}}),
        ];
        let values = [
            json!({}),
            json!({"a": "x"}),
            json!({"a": 1, "b": 2}),
            json!({"a": "x", "b": 1.5}),
            json!({"a": "x", "b": 4}),
            json!({"a": "x", "b": null, "c": 1}),
            json!({"a": [true, false]}),
            json!({"a": [true, 1], "b": []}),
            json!({"a": null, "b": {"c": 1.0}}),
            json!({"a": true, "b": {"c": 1.25}}),
            json!({"a": {}, "b": {"d": 1}}),
            json!({"b": 1e300}),
        ];
        let mut fitting = 0;
        for schema in &schemas {
            let usual = Usual::of(schema).unwrap_or_else(|| panic!("{schema} is usual"));
            let validator = jsonschema::validator_for(schema).expect("a schema");
            for value in &values {
                let value = value_of(value);
                let is_valid = validator.is_valid(&json_of(&value).expect("it is JSON"));
                // Large numbers alone are left to the validator.
                let is_large =
                    matches!(&value, Value::Map(map) if map.get("b").and_then(|b| number(&b)) == Some(1e300));
                assert_eq!(usual.fits(&value), is_valid && !is_large, "{schema}: {}", template::print(&value));
                fitting += usize::from(is_valid);
            }
        }
        assert!((10..40).contains(&fitting), "{fitting} fit");
    }

    #[test]
    fn the_validator_has_the_word_on_all_else() {
        for schema in [
            json!(false),
            json!([]),
            json!({"type": "text"}),
            json!({"type": []}),
            json!({"type": ["string", "string"]}),
            json!({"title": 1}),
            json!({"properties": []}),
            json!({"properties": {"a": {"pattern": "^a"}}}),
            json!({"required": "a"}),
            json!({"required": []}),
            json!({"items": [{}]}),
            json!({"enum": []}),
            json!({"enum": [[1]]}),
            json!({"$ref": "#/x"}),
            json!({"anyOf": [{}]}),
            json!({"$schema": "http://example.com/own#"}),
            json!({"minimum": "1"}),
        ] {
            assert!(Usual::of(&schema).is_none(), "{schema}");
        }
    }
}
