//! Why Go's decoder would refuse an object: the values that do not fit the fields of its structs.

use super::format::{base64_error, is_time};
use super::{Schema, Shape, Text, TypeId};
use crate::quantity::Quantity;
use serde_json::Value;

const DEPTH: usize = 256;

/// The first value that does not fit, in the order of the object.
pub(super) fn error(schema: &Schema, kind: &str, object: &Value) -> Option<String> {
    Decoder { schema, owner: kind.to_owned(), path: Vec::new() }.walk(schema.id, object, DEPTH)
}

struct Decoder<'a> {
    schema: &'a Schema,
    /// Struct that holds the field.
    owner: String,
    /// Names of fields from the root; keys of maps and places in lists are not told.
    path: Vec<&'a str>,
}

impl<'a> Decoder<'a> {
    fn walk(&mut self, id: TypeId, value: &'a Value, depth: usize) -> Option<String> {
        let depth = depth.checked_sub(1)?;
        let ty = self.schema.table.get(id);
        match (&ty.shape, value) {
            (_, Value::Null) | (Shape::Any, _) => None,
            (Shape::Map(map) | Shape::Union(_, map), Value::Object(object)) => {
                let owner = ty.name.as_deref().and_then(|name| name.rsplit('.').next()).map(str::to_owned);
                for (name, value) in object {
                    let (id, is_field) = match map.fields.get(name) {
                        Some(field) => (field.ty, true),
                        None => (map.values?, false),
                    };
                    let outer = owner.as_ref().filter(|_| is_field).map(|owner| {
                        self.path.push(name);
                        std::mem::replace(&mut self.owner, owner.clone())
                    });
                    let found = self.walk(id, value, depth);
                    if let Some(outer) = outer {
                        self.path.pop();
                        self.owner = outer;
                    }
                    if found.is_some() {
                        return found;
                    }
                }
                None
            }
            (Shape::List(list) | Shape::Union(list, _), Value::Array(items)) => {
                let id = list.items?;
                items.iter().find_map(|item| self.walk(id, item, depth))
            }
            (Shape::Boolean, Value::Bool(_)) | (Shape::Number, Value::Number(_)) => None,
            (Shape::Integer { bits }, Value::Number(number)) => {
                let fits = match (number.as_i64(), *bits) {
                    (Some(number), 32) => i32::try_from(number).is_ok(),
                    (Some(_), _) => true,
                    (None, _) => false,
                };
                (!fits).then(|| self.refusal(&format!("number {number}"), &format!("int{bits}")))
            }
            (Shape::String(Text::Time), Value::String(text)) => time_error(text),
            (Shape::String(Text::Bytes), Value::String(text)) => {
                base64_error(text).map(|at| format!("illegal base64 data at input byte {at}"))
            }
            (Shape::String(_) | Shape::IntOrString, Value::String(_)) => None,
            (Shape::IntOrString, Value::Number(number)) if number.is_i64() => None,
            (Shape::Quantity, Value::String(text)) if Quantity::parse(text).is_ok() => None,
            (Shape::Quantity, Value::Number(_)) => None,
            (Shape::Quantity, _) => Some(crate::quantity::FORMAT_ERROR.to_owned()),
            (_, value) => Some(self.refusal(json_word(value), &self.go_type(id))),
        }
    }

    fn refusal(&self, found: &str, expected: &str) -> String {
        if self.path.is_empty() {
            return format!("json: cannot unmarshal {found} into Go value of type {expected}");
        }
        let path = self.path.join(".");
        format!("json: cannot unmarshal {found} into Go struct field {}.{path} of type {expected}", self.owner)
    }

    fn go_type(&self, id: TypeId) -> String {
        let ty = self.schema.table.get(id);
        if let (Some(name), false) = (&ty.name, matches!(ty.shape, Shape::IntOrString)) {
            return name.to_string();
        }
        match &ty.shape {
            Shape::Boolean => "bool".into(),
            Shape::Integer { bits } => format!("int{bits}"),
            Shape::Number => "float64".into(),
            Shape::String(Text::Time) => "v1.Time".into(),
            Shape::String(Text::Bytes) => "[]uint8".into(),
            Shape::String(_) => "string".into(),
            Shape::IntOrString => "int32".into(),
            Shape::Quantity => "resource.Quantity".into(),
            Shape::List(list) | Shape::Union(list, _) => {
                format!("[]{}", list.items.map_or("interface {}".into(), |id| self.go_type(id)))
            }
            Shape::Map(map) => {
                format!("map[string]{}", map.values.map_or("interface {}".into(), |id| self.go_type(id)))
            }
            Shape::Any => "interface {}".into(),
        }
    }
}

fn json_word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Go's complaint about a time that is not RFC 3339.
fn time_error(text: &str) -> Option<String> {
    if text.is_empty() || is_time(text) {
        return None;
    }
    let layout = "2006-01-02T15:04:05Z07:00";
    Some(format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""))
}
