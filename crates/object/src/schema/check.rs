//! Checking an object against its schema, in the words of a Kubernetes API server.

use super::error::{ErrorKind, FieldError};
use super::{Checks, List, ListKind, Map, Schema, Shape, Type, TypeId, format};
use serde_json::Value;
use std::collections::HashSet;

/// More broken rules than this help nobody.
pub(super) const LIMIT: usize = 100;
const DEPTH: usize = 256;

pub(super) fn check(schema: &Schema, object: &Value) -> Vec<FieldError> {
    let mut checker = Checker { schema, errors: Vec::new() };
    checker.value(schema.id, object, &mut String::new(), DEPTH);
    checker.errors.truncate(LIMIT);
    checker.errors
}

struct Checker<'a> {
    schema: &'a Schema,
    errors: Vec<FieldError>,
}

impl Checker<'_> {
    fn push(&mut self, path: &str, kind: ErrorKind, value: Option<Value>, detail: impl Into<String>) {
        if self.errors.len() < LIMIT {
            self.errors.push(FieldError::new(path, kind, value, detail));
        }
    }

    fn invalid(&mut self, path: &str, value: &Value, rule: &str) {
        self.push(path, ErrorKind::Invalid, Some(value.clone()), format!("{path} in body {rule}"));
    }

    fn value(&mut self, id: TypeId, value: &Value, path: &mut String, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        let schema = self.schema;
        let ty = schema.table.get(id);
        if value.is_null() && (ty.nullable || matches!(ty.shape, Shape::Any)) {
            return;
        }
        if let Some(expected) = mismatch(ty, value) {
            let found = Value::String(json_type(value).to_owned());
            let detail = format!("{path} in body must be of type {expected}: {found}");
            self.push(path, ErrorKind::TypeInvalid, Some(found), detail);
            return;
        }
        match (&ty.shape, value) {
            (Shape::Map(map) | Shape::Union(_, map), Value::Object(object)) => self.map(map, object, path, depth),
            (Shape::List(list) | Shape::Union(list, _), Value::Array(items)) => self.list(list, items, path, depth),
            _ => {}
        }
        if let Some(checks) = &ty.checks {
            self.limits(checks, value, path);
            self.alternatives(checks, value, path, depth);
        }
    }

    fn map(&mut self, map: &Map, object: &serde_json::Map<String, Value>, path: &mut String, depth: usize) {
        for name in &map.required {
            if !object.contains_key(name) {
                self.push(&joined(path, name), ErrorKind::Required, None, "");
            }
        }
        for (name, value) in object {
            let (id, is_field) = match (map.fields.get(name), map.values) {
                (Some(field), _) => (field.ty, true),
                (None, Some(id)) => (id, false),
                (None, None) => continue,
            };
            // Null in place of a field that may be left out counts as left out.
            if value.is_null() && is_field && !map.required.contains(name) && !self.schema.table.get(id).nullable {
                continue;
            }
            let length = path.len();
            *path = joined(path, name);
            self.value(id, value, path, depth);
            path.truncate(length);
        }
    }

    fn list(&mut self, list: &List, items: &[Value], path: &mut String, depth: usize) {
        let length = path.len();
        let mut seen = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            path.push_str(&format!("[{index}]"));
            if let Some(id) = list.items {
                self.value(id, item, path, depth);
            }
            let identity = match &list.kind {
                ListKind::Atomic => None,
                ListKind::Set => Some(item.clone()),
                ListKind::Map(keys) => Some(self.key(list, keys, item)),
            };
            if let Some(identity) = identity
                && !seen.insert(identity.to_string())
            {
                self.push(path, ErrorKind::Duplicate, Some(identity), "");
            }
            path.truncate(length);
        }
    }

    fn key(&self, list: &List, keys: &[String], item: &Value) -> Value {
        let fields = match list.items.map(|id| &self.schema.table.get(id).shape) {
            Some(Shape::Map(map) | Shape::Union(_, map)) => Some(&map.fields),
            _ => None,
        };
        let default = |key: &str| fields.and_then(|fields| fields.get(key)).and_then(|field| field.default.clone());
        let pair = |key: &String| Some((key.clone(), item.get(key).cloned().or_else(|| default(key))?));
        Value::Object(keys.iter().filter_map(pair).collect())
    }

    fn limits(&mut self, checks: &Checks, value: &Value, path: &str) {
        if !checks.choices.is_empty() && !checks.choices.contains(value) {
            let choices: Vec<String> = checks.choices.iter().map(Value::to_string).collect();
            let detail = format!("supported values: {}", choices.join(", "));
            self.push(path, ErrorKind::NotSupported, Some(value.clone()), detail);
        }
        match value {
            Value::Number(number) => self.number_limits(checks, number.as_f64().unwrap_or_default(), value, path),
            Value::String(text) => self.text_limits(checks, text, value, path),
            Value::Array(items) => {
                self.count(path, items.len(), checks.items, "items");
            }
            Value::Object(map) => {
                self.count(path, map.len(), checks.properties, "properties");
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn number_limits(&mut self, checks: &Checks, number: f64, value: &Value, path: &str) {
        if let Some((limit, exclusive)) = checks.minimum {
            if exclusive && number <= limit {
                self.invalid(path, value, &format!("should be greater than {limit}"));
            } else if number < limit {
                self.invalid(path, value, &format!("should be greater than or equal to {limit}"));
            }
        }
        if let Some((limit, exclusive)) = checks.maximum {
            if exclusive && number >= limit {
                self.invalid(path, value, &format!("should be less than {limit}"));
            } else if number > limit {
                self.invalid(path, value, &format!("should be less than or equal to {limit}"));
            }
        }
        if let Some(step) = checks.multiple_of
            && (number / step).fract() != 0.0
        {
            self.invalid(path, value, &format!("should be a multiple of {step}"));
        }
    }

    /// Only the first rule that a text breaks is told.
    fn text_limits(&mut self, checks: &Checks, text: &str, value: &Value, path: &str) {
        let length = text.chars().count() as u64;
        let over = checks.length.1.filter(|limit| length > *limit);
        let under = checks.length.0.filter(|limit| length < *limit);
        if let Some(limit) = over {
            let unit = if limit == 1 { "byte" } else { "bytes" };
            self.push(path, ErrorKind::TooLong, None, format!("may not be more than {limit} {unit}"));
        } else if let Some(limit) = under {
            self.invalid(path, value, &format!("should be at least {limit} chars long"));
        } else if let Some((pattern, _)) = checks.pattern.as_ref().filter(|(_, regex)| !regex.is_match(text)) {
            self.invalid(path, value, &format!("should match '{pattern}'"));
        }
        if let Some(format) = checks.format.as_deref().filter(|format| !format::fits(format, text)) {
            let detail = format!("{path} in body must be of type {format}: {value}");
            self.push(path, ErrorKind::TypeInvalid, Some(value.clone()), detail);
        }
    }

    fn count(&mut self, path: &str, count: usize, limits: (Option<u64>, Option<u64>), what: &str) {
        let count = count as u64;
        if let Some(limit) = limits.0
            && count < limit
        {
            self.invalid(path, &Value::from(count), &format!("should have at least {limit} {what}"));
        }
        if let Some(limit) = limits.1
            && count > limit
        {
            self.push(path, ErrorKind::TooMany, Some(Value::from(count)), format!("must have at most {limit} items"));
        }
    }

    fn alternatives(&mut self, checks: &Checks, value: &Value, path: &mut String, depth: usize) {
        for id in &checks.all_of {
            self.value(*id, value, path, depth);
        }
        let judge = |id: &TypeId| judged(self.schema, *id, value, path, depth);
        let any: Vec<_> = checks.any_of.iter().map(judge).collect();
        let one: Vec<_> = checks.one_of.iter().map(judge).collect();
        let not = checks.not.as_ref().is_some_and(|id| judge(id).is_empty());
        if !any.is_empty() && any.iter().all(|errors| !errors.is_empty()) {
            self.composed(path, "must validate at least one schema (anyOf)", any.into_iter().next());
        }
        let valid = one.iter().filter(|errors| errors.is_empty()).count();
        if valid == 0 && !one.is_empty() {
            let rule = "must validate one and only one schema (oneOf). Found none valid";
            self.composed(path, rule, one.into_iter().next());
        } else if valid > 1 {
            let rule = format!("must validate one and only one schema (oneOf). Found {valid} valid alternatives");
            self.composed(path, &rule, None);
        }
        if not {
            self.composed(path, "must not validate the schema (not)", None);
        }
    }

    /// A rule over several schemas: told without a field, with what the first of them refuses.
    fn composed(&mut self, path: &str, rule: &str, details: Option<Vec<FieldError>>) {
        self.push("", ErrorKind::Invalid, Some(Value::String(String::new())), format!("{path:?} {rule}"));
        for error in details.into_iter().flatten() {
            self.push(&error.path, error.kind, error.value, error.detail);
        }
    }
}

fn judged(schema: &Schema, id: TypeId, value: &Value, path: &str, depth: usize) -> Vec<FieldError> {
    let mut checker = Checker { schema, errors: Vec::new() };
    checker.value(id, value, &mut path.to_owned(), depth);
    checker.errors
}

/// The type that was expected, if the value is of another.
fn mismatch(ty: &Type, value: &Value) -> Option<&'static str> {
    let (fits, expected) = match &ty.shape {
        Shape::Any | Shape::Union(..) => (true, ""),
        Shape::Boolean => (value.is_boolean(), "boolean"),
        Shape::Integer { .. } => (is_integer(value), "integer"),
        Shape::Number => (value.is_number(), "number"),
        Shape::String(_) => (value.is_string(), "string"),
        Shape::IntOrString => (is_integer(value) || value.is_string(), "integer,string"),
        Shape::Quantity => (value.is_number() || value.is_string(), "string,number"),
        Shape::List(_) => (value.is_array(), "array"),
        Shape::Map(_) => (value.is_object(), "object"),
    };
    (!fits).then_some(expected)
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
