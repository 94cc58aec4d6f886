//! Go's structs, as templates see them.

use std::any::Any;
use std::rc::Rc;
use template::{Entries, Object, Value, print};

/// A struct: fields by Go's name and by JSON's.
pub(super) struct Record {
    type_name: &'static str,
    kind: &'static str,
    fields: Vec<Field>,
    /// As it prints, if not field by field.
    shown: Option<String>,
    method: Option<fn(&Record, &str, &[Value]) -> Option<Value>>,
}

struct Field {
    name: &'static str,
    json: &'static str,
    value: Value,
    always: bool,
}

impl Record {
    pub fn new(type_name: &'static str, kind: &'static str) -> Self {
        Self { type_name, kind, fields: Vec::new(), shown: None, method: None }
    }

    /// A field that JSON leaves out when it is empty.
    pub fn with(mut self, name: &'static str, json: &'static str, value: Value) -> Self {
        self.fields.push(Field { name, json, value, always: false });
        self
    }

    /// A field that JSON always has.
    pub fn with_always(mut self, name: &'static str, json: &'static str, value: Value) -> Self {
        self.fields.push(Field { name, json, value, always: true });
        self
    }

    /// A type with a text of its own.
    pub fn shown_as(mut self, text: String) -> Self {
        self.shown = Some(text);
        self
    }

    /// A type with methods.
    pub fn with_methods(mut self, method: fn(&Record, &str, &[Value]) -> Option<Value>) -> Self {
        self.method = Some(method);
        self
    }

    pub fn value(self) -> Value {
        Value::Object(Rc::new(self))
    }

    /// What JSON has of it.
    fn kept(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.always || field.value.truth())
    }
}

impl Object for Record {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn kind(&self) -> &'static str {
        self.kind
    }

    fn field(&self, name: &str) -> Option<Value> {
        self.fields.iter().find(|field| field.name == name).map(|field| field.value.clone())
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        self.method.and_then(|method| method(self, name, args)).map(Ok)
    }

    fn print(&self) -> String {
        if let Some(text) = &self.shown {
            return text.clone();
        }
        let fields: Vec<String> = self.fields.iter().map(|field| print(&field.value)).collect();
        let sign = if self.kind == "ptr" { "&" } else { "" };
        format!("{sign}{{{}}}", fields.join(" "))
    }

    fn plain(&self) -> Value {
        let entries: Entries = self.kept().map(|field| (field.json.into(), field.value.clone())).collect();
        Value::map(entries)
    }

    fn fields(&self) -> Option<Vec<(&'static str, Value)>> {
        Some(self.kept().map(|field| (field.json, field.value.clone())).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
