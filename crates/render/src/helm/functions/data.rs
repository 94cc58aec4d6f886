//! Values as YAML, JSON and TOML, and back.

use super::draft::Draft;
use super::json::{Form, float, read, write};
use super::{Result, table, toml};
use template::{Call, Entries, Function, Value};
use yaml::Dialect;

pub(super) const FUNCTIONS: &[Function] = table! {
    "toYaml" "a" |call| { let text = to_yaml(&call.args[0]); made(call, text) };
    "toYamlPretty" "a" |call| { let text = pretty_yaml(&call.args[0]); made(call, text) };
    "fromYaml" "s" |call| Ok(match from_yaml(call.str(0)) {
        Ok(map @ Value::Map(_)) => map,
        Ok(Value::Nil) => Value::map(Entries::new()),
        Ok(other) => wrong(&format!("error unmarshaling JSON: while decoding JSON: {}", not_a(&other, "map[string]interface {}"))),
        Err(error) => wrong(&error),
    });
    "fromYamlArray" "s" |call| Ok(match from_yaml(call.str(0)) {
        Ok(list @ Value::List(_)) => list,
        Ok(Value::Nil) => Value::list(Vec::new()),
        Ok(other) => {
            let error = format!("error unmarshaling JSON: while decoding JSON: {}", not_a(&other, "[]interface {}"));
            Value::list(vec![error.into()])
        }
        Err(error) => Value::list(vec![error.into()]),
    });
    "toJson" "a" |call| { let text = write(&call.args[0], Form { html: true, pretty: false }).unwrap_or_default(); made(call, text) };
    "mustToJson" "a" |call| { let text = write(&call.args[0], Form { html: true, pretty: false })?; made(call, text) };
    "toPrettyJson" "a" |call| { let text = write(&call.args[0], Form { html: true, pretty: true }).unwrap_or_default(); made(call, text) };
    "mustToPrettyJson" "a" |call| { let text = write(&call.args[0], Form { html: true, pretty: true })?; made(call, text) };
    "toRawJson" "a" |call| { let text = write(&call.args[0], Form { html: false, pretty: false })?; made(call, text) };
    "mustToRawJson" "a" |call| { let text = write(&call.args[0], Form { html: false, pretty: false })?; made(call, text) };
    "fromJson" "s" |call| Ok(match read(call.str(0)) {
        Ok(map @ Value::Map(_)) => map,
        Ok(Value::Nil) => Value::map(Entries::new()),
        Ok(other) => wrong(&not_a(&other, "map[string]interface {}")),
        Err(error) => wrong(&error),
    });
    "mustFromJson" "s" |call| read(call.str(0)).map_err(template::Fault::plain);
    "fromJsonArray" "s" |call| Ok(match read(call.str(0)) {
        Ok(list @ Value::List(_)) => list,
        Ok(Value::Nil) => Value::list(Vec::new()),
        Ok(other) => Value::list(vec![not_a(&other, "[]interface {}").into()]),
        Err(error) => Value::list(vec![error.into()]),
    });
    "toToml" "a" |call| { let text = toml::write(&call.args[0]).unwrap_or_else(|error| error); made(call, text) };
    "fromToml" "s" |call| Ok(toml::read(call.str(0)).unwrap_or_else(|error| wrong(&error)));
};

fn made(call: &mut Call<'_, '_>, text: String) -> Result {
    call.exec.account(text.len())?;
    Ok(text.into())
}

fn wrong(message: &str) -> Value {
    Value::map([("Error".into(), message.into())].into_iter().collect())
}

fn not_a(value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Bool(_) => "bool",
        Value::Text(_) => "string",
        Value::List(_) => "array",
        Value::Map(_) => "object",
        _ => "number",
    };
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}

fn from_yaml(text: &str) -> std::result::Result<Value, String> {
    let value = yaml::made_in(text, "yaml", Dialect::V2, &mut Go).map_err(|error| yaml_error(&error))?;
    Ok(value.unwrap_or(Value::Nil))
}

fn yaml_error(error: &yaml::Error) -> String {
    format!("error converting YAML to JSON: yaml: line {}: {}", error.line, error.reason())
}

/// What Go's YAML makes of a document that is to be JSON: all numbers are floats.
pub(in crate::helm) struct Go;

impl yaml::Make for Go {
    type Value = Value;
    type Map = Entries;

    fn null(&mut self) -> Value {
        Value::Nil
    }

    fn bool(&mut self, flag: bool) -> Value {
        Value::Bool(flag)
    }

    fn number(&mut self, number: serde_json::Number) -> Value {
        Value::Float(number.as_f64().unwrap_or(0.0))
    }

    fn text(&mut self, text: &str) -> Value {
        text.into()
    }

    fn list(&mut self, items: Vec<Value>) -> Value {
        Value::list(items)
    }

    fn map(&mut self, map: Entries) -> Value {
        Value::map(map)
    }

    fn insert(&mut self, map: &mut Entries, key: &str, value: Value) {
        map.insert(key.into(), value);
    }

    fn extend(&mut self, map: &mut Entries, other: Entries) {
        map.extend(other);
    }
}

/// What JSON stands for to Go: all numbers are floats.
pub(in crate::helm) fn value_of(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or(0.0)),
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => Value::list(items.iter().map(value_of).collect()),
        serde_json::Value::Object(map) => {
            Value::map(map.iter().map(|(key, value)| (key.as_str().into(), value_of(value))).collect())
        }
    }
}

/// As JSON, if JSON can hold it; whole floats are integers.
pub(in crate::helm) fn json_of(value: &Value) -> Option<serde_json::Value> {
    Draft::of(value).map(Draft::into_json)
}

/// YAML without the last line's end; nothing of what cannot be written.
pub(in crate::helm) fn to_yaml(value: &Value) -> String {
    let Some(draft) = Draft::of(value) else { return String::new() };
    let mut text = yaml::to_string(&draft);
    if text.ends_with('\n') {
        text.pop();
    }
    text
}

/// YAML with lists indented below their keys, and without folded lines.
fn pretty_yaml(value: &Value) -> String {
    // What JSON cannot hold, maps that contain themselves among it, is not written.
    if Draft::of(value).is_none() {
        return String::new();
    }
    let mut out = String::new();
    let plain = match value {
        Value::Object(object) => object.plain(),
        other => other.clone(),
    };
    pretty(&mut out, &plain, 0, false);
    out.trim_end_matches('\n').to_owned()
}

fn pretty(out: &mut String, value: &Value, indent: usize, inline: bool) {
    let pad = |out: &mut String, first: &mut bool| {
        if !std::mem::replace(first, false) || !inline {
            out.extend(std::iter::repeat_n(' ', indent));
        }
    };
    let mut first = true;
    match value {
        Value::Map(map) if !map.is_empty() => {
            let mut keys: Vec<_> = map.entries().keys().cloned().collect();
            // The writer knows the natural order.
            let order = yaml::to_string(&serde_json::Value::Object(
                keys.iter().map(|key| (key.to_string(), serde_json::Value::Null)).collect(),
            ));
            let position = |key: &str| order.find(&format!("{}:", scalar(&key.into(), 0))).unwrap_or(usize::MAX);
            keys.sort_by_cached_key(|key| position(key));
            for key in keys {
                pad(out, &mut first);
                out.push_str(&scalar(&Value::Text(key.clone()), indent));
                out.push(':');
                below(out, &map.get(&key).unwrap_or(Value::Nil), indent);
            }
        }
        Value::List(list) if !list.items.is_empty() => {
            for item in list.items.iter() {
                pad(out, &mut first);
                out.push_str("- ");
                match item {
                    Value::Map(_) | Value::List(_) if item.truth() => pretty(out, item, indent + 2, true),
                    other => {
                        out.push_str(&scalar(other, indent));
                        out.push('\n');
                    }
                }
            }
        }
        other => {
            out.push_str(&scalar(other, indent));
            out.push('\n');
        }
    }
}

fn below(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Map(_) | Value::List(_) if value.truth() => {
            out.push('\n');
            pretty(out, value, indent + 2, false);
        }
        Value::Object(object) => below(out, &object.plain(), indent),
        other => {
            out.push(' ');
            out.push_str(&scalar(other, indent));
            out.push('\n');
        }
    }
}

fn scalar(value: &Value, indent: usize) -> String {
    match value {
        Value::Float(number) if number.abs() < 1e21 => float(*number).unwrap_or_default(),
        Value::Text(text) if text.contains('\n') => {
            let written = to_yaml(value);
            written.replace("\n  ", &format!("\n{}", " ".repeat(indent + 2)))
        }
        Value::Text(text) => {
            let written = to_yaml(value);
            if !written.contains('\n') {
                return written;
            }
            // A long line is not folded here; its quotes are those of its beginning.
            match written.as_bytes().first() {
                Some(b'\'') => format!("'{}'", text.replace('\'', "''")),
                Some(b'"') => template::quoted(text),
                _ => text.to_string(),
            }
        }
        Value::List(_) => "[]".into(),
        Value::Map(_) => "{}".into(),
        other => to_yaml(other),
    }
}
