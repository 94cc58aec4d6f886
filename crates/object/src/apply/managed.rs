//! `metadata.managedFields`: who owns which fields.

use super::set::FieldSet;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How somebody came to own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who owns fields: each of these has one entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// `kubectl`.
    pub name: String,
    /// How.
    pub operation: Operation,
    /// Of the write; empty for apply, whose entry is the same in all versions.
    pub api_version: String,
    /// `status`, or empty.
    pub subresource: String,
}

impl Manager {
    pub(super) fn new(name: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let name = if name.is_empty() { "unknown" } else { name };
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        Self {
            name: name.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }
}

/// As conflicts tell it: `"kubectl" with subresource "status" using apps/v1`.
impl std::fmt::Display for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.name)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        if self.operation == Operation::Update {
            write!(f, " using {}", self.api_version)?;
        }
        Ok(())
    }
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Version in which the fields are named.
    pub api_version: String,
    /// RFC 3339; of the last write that changed the object.
    pub time: Option<String>,
    /// The fields.
    pub fields: FieldSet,
}

/// All entries of an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Managed(pub(super) BTreeMap<Manager, Entry>);

impl Managed {
    /// Reads `metadata.managedFields`; `None` if an entry is malformed.
    pub fn read(list: &[Value]) -> Option<Self> {
        let mut managed = Self::default();
        for entry in list {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            let api_version = text("apiVersion");
            if api_version.is_empty() || text("fieldsType") != "FieldsV1" {
                return None;
            }
            let fields = entry.get("fieldsV1").map_or(Some(FieldSet::default()), FieldSet::from_json)?;
            let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
            // A manager without a name keeps none; only writers get one.
            let mut manager = Manager::new("x", operation, api_version, text("subresource"));
            manager.name = text("manager").to_owned();
            managed.0.insert(manager, Entry { api_version: api_version.to_owned(), time, fields });
        }
        Some(managed)
    }

    /// Who owns what, in no promised order.
    pub fn entries(&self) -> impl Iterator<Item = (&Manager, &Entry)> {
        self.0.iter()
    }

    /// True if nobody owns anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As `metadata.managedFields` holds it: applies first, then by time and name.
    pub fn to_json(&self) -> Vec<Value> {
        let mut entries: Vec<(&Manager, &Entry)> = self.0.iter().collect();
        let seconds = |entry: &Entry| entry.time.as_deref().map(|time| time.get(..19).unwrap_or(time).to_owned());
        entries.sort_by(|(a, a_entry), (b, b_entry)| {
            (a.operation, seconds(a_entry), &a.name, &a_entry.api_version, &a.subresource).cmp(&(
                b.operation,
                seconds(b_entry),
                &b.name,
                &b_entry.api_version,
                &b.subresource,
            ))
        });
        entries.into_iter().map(|(manager, entry)| entry_json(manager, entry)).collect()
    }

    /// Stores it in an object, or removes the list if nobody owns anything.
    pub(super) fn write(&self, object: &mut Value) {
        let Some(metadata) = crate::meta::meta_mut(object) else { return };
        if self.is_empty() {
            metadata.shift_remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), Value::Array(self.to_json()));
        }
    }
}

fn entry_json(manager: &Manager, entry: &Entry) -> Value {
    let mut map = Map::new();
    if !manager.name.is_empty() {
        map.insert("manager".into(), json!(manager.name));
    }
    map.insert("operation".into(), json!(manager.operation.word()));
    map.insert("apiVersion".into(), json!(entry.api_version));
    if let Some(time) = &entry.time {
        map.insert("time".into(), json!(time));
    }
    map.insert("fieldsType".into(), json!("FieldsV1"));
    map.insert("fieldsV1".into(), entry.fields.to_json());
    if !manager.subresource.is_empty() {
        map.insert("subresource".into(), json!(manager.subresource));
    }
    Value::Object(map)
}
