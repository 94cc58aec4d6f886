//! CustomResourceDefinitions: checking them, and what they add to what is served.

use crate::clock;
use crate::jsonpath::JsonPath;
use crate::resource::{Registry, Resource};
use object::schema::ErrorKind;
use object::{FieldError, GroupResource, Gvk, Schema, meta};
use serde_json::{Value, json};
use std::sync::Arc;

/// Resource of the definitions.
pub const ID: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// Finalizer: the definition goes after its objects.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What a definition says of one version beyond names and schema.
#[derive(Debug)]
pub struct Custom {
    /// `BuildList`.
    pub list_kind: String,
    /// As it was written, for OpenAPI.
    pub open_api: Value,
    /// Columns for people.
    pub columns: Vec<Column>,
    /// The status is written through an endpoint of its own.
    pub status: bool,
    /// Where the numbers of `scale` stand.
    pub scale: Option<Scale>,
}

/// A printer column.
#[derive(Debug)]
pub struct Column {
    /// `name`, `type`, `format`, `description`, `priority`, as Tables carry them.
    pub definition: Value,
    /// Where its value stands.
    pub path: JsonPath,
}

/// JSON paths of the scale subresource, as JSON pointers.
#[derive(Debug)]
pub struct Scale {
    /// `/spec/replicas`.
    pub wanted: String,
    /// `/status/replicas`.
    pub actual: String,
    /// `/status/selector`.
    pub selector: Option<String>,
}

/// The resources that a definition adds: one per served version, if its names were accepted.
pub fn resources(definition: &Value) -> Vec<Arc<Resource>> {
    let established = definition["status"]["conditions"]
        .as_array()
        .is_some_and(|list| list.iter().any(|c| c["type"] == "Established" && c["status"] == "True"));
    if !established {
        return Vec::new();
    }
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    versions.filter(|version| version["served"] == true).filter_map(|version| resource(definition, version)).collect()
}

fn resource(definition: &Value, version: &Value) -> Option<Arc<Resource>> {
    let spec = &definition["spec"];
    let (group, names) = (spec["group"].as_str()?, &spec["names"]);
    let strings = |key: &str| -> Vec<String> {
        names[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let open_api = version["schema"]["openAPIV3Schema"].clone();
    let schema = match Schema::from_crd(&open_api) {
        Ok(schema) => schema,
        Err(error) => {
            tracing::error!(definition = meta(definition).name(), %error, "stored schema does not compile");
            return None;
        }
    };
    let subresources = &version["subresources"];
    let status = subresources.get("status").is_some();
    let scale = subresources.get("scale").and_then(scale);
    let kind = names["kind"].as_str()?;
    let gvk = Gvk::new(group, version["name"].as_str()?, kind);
    let plural = GroupResource { group: group.into(), resource: names["plural"].as_str()?.into() };
    let offered = [("status", status), ("scale", scale.is_some())];
    Some(Arc::new(Resource {
        id: plural.to_string().into(),
        singular: names["singular"].as_str().map_or_else(|| kind.to_lowercase(), str::to_owned),
        short: strings("shortNames"),
        categories: strings("categories"),
        namespaced: spec["scope"] == "Namespaced",
        subresources: offered.iter().filter(|(_, has)| *has).map(|(name, _)| (*name).to_owned()).collect(),
        schema,
        custom: Some(Custom {
            list_kind: names["listKind"].as_str().map_or_else(|| format!("{kind}List"), str::to_owned),
            open_api,
            columns: version["additionalPrinterColumns"].as_array().into_iter().flatten().filter_map(column).collect(),
            status,
            scale,
        }),
        review: false,
        effective: true,
        gvk,
        names: plural,
    }))
}

fn scale(scale: &Value) -> Option<Scale> {
    let pointer = |key: &str| Some(scale[key].as_str()?.replace('.', "/"));
    Some(Scale {
        wanted: pointer("specReplicasPath")?,
        actual: pointer("statusReplicasPath")?,
        selector: pointer("labelSelectorPath"),
    })
}

fn column(column: &Value) -> Option<Column> {
    let text = |key: &str| column[key].as_str().unwrap_or_default().to_owned();
    let definition = json!({
        "name": text("name"),
        "type": text("type"),
        "format": text("format"),
        "description": text("description"),
        "priority": column["priority"].as_i64().unwrap_or_default(),
    });
    Some(Column { definition, path: JsonPath::parse(column["jsonPath"].as_str()?)? })
}

/// Every rule that a definition breaks.
pub fn validate(definition: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let full = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
    if meta(definition).name() != full {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(invalid("metadata.name", &meta(definition).name().into(), detail));
    }
    for (path, value) in [
        ("spec.group", &spec["group"]),
        ("spec.scope", &spec["scope"]),
        ("spec.names.plural", &spec["names"]["plural"]),
        ("spec.names.kind", &spec["names"]["kind"]),
    ] {
        if text(value).is_empty() {
            errors.push(required(path, ""));
        }
    }
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        errors.push(invalid(
            "spec.versions",
            &spec["versions"],
            "must have exactly one version marked as storage version",
        ));
    }
    if spec["conversion"]["strategy"].as_str().is_some_and(|strategy| strategy != "None") {
        let detail = "conversion webhooks are not supported here; only None is";
        errors.push(invalid("spec.conversion.strategy", &spec["conversion"]["strategy"], detail));
    }
    for (at, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{at}].schema.openAPIV3Schema");
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema.is_null() {
            errors.push(required(path, ""));
        } else if let Err(error) = Schema::from_crd(schema) {
            errors.push(invalid(format!("{path}.{}", error.path), &Value::Null, error.message));
        } else {
            structural(schema, &mut "spec.validation.openAPIV3Schema".to_owned(), &mut errors);
        }
    }
    for field in ["group", "scope"] {
        if let Some(old) = old
            && old["spec"][field] != spec[field]
        {
            errors.push(invalid(format!("spec.{field}"), &spec[field], "field is immutable"));
        }
    }
    errors
}

/// What a definition asks for and does not get here.
pub fn warnings(definition: &Value) -> Vec<String> {
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let mut warnings = Vec::new();
    for version in versions {
        let name = version["name"].as_str().unwrap_or_default();
        if holds(&version["schema"], "x-kubernetes-validations") {
            warnings.push(format!("version {name}: x-kubernetes-validations are stored, but not evaluated here"));
        }
        if version["selectableFields"].as_array().is_some_and(|fields| !fields.is_empty()) {
            warnings.push(format!("version {name}: selectableFields are stored, but cannot be selected by here"));
        }
    }
    warnings
}

/// A key stands somewhere in a value.
fn holds(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(map) => map.contains_key(key) || map.values().any(|value| holds(value, key)),
        Value::Array(items) => items.iter().any(|value| holds(value, key)),
        _ => false,
    }
}

/// The number of replicas must be one, or `scale` could not tell it.
pub fn scale_error(custom: &Custom, object: &Value) -> Option<FieldError> {
    let pointer = &custom.scale.as_ref()?.wanted;
    let found = object.pointer(pointer)?;
    let (shown, sort) = match found {
        Value::Number(number) if number.is_f64() => (number.as_f64()?.to_string(), "float64"),
        Value::String(text) => (text.clone(), "string"),
        Value::Bool(flag) => (flag.to_string(), "bool"),
        _ => return None,
    };
    let path = pointer.replace('/', ".");
    let detail = format!("{path} accessor error: {shown} is of the type {sort}, expected int64");
    Some(invalid(path, &0.into(), detail))
}

/// Every field must say what it is: without that, nothing can be pruned, merged or owned.
fn structural(schema: &Value, path: &mut String, errors: &mut Vec<FieldError>) {
    let length = path.len();
    let any =
        ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"].iter().any(|key| schema[*key] == true);
    if schema["type"].as_str().unwrap_or_default().is_empty() && !any {
        let part = match path.rsplit(['[', '.']).next() {
            Some("openAPIV3Schema") => "at the root",
            Some("items") => "for specified array items",
            _ => "for specified object fields",
        };
        errors.push(required(format!("{path}.type"), &format!("must not be empty {part}")));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        path.push_str(&format!(".properties[{name}]"));
        structural(property, path, errors);
        path.truncate(length);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            path.push_str(&format!(".{key}"));
            structural(&schema[key], path, errors);
            path.truncate(length);
        }
    }
}

fn required(path: impl Into<String>, detail: &str) -> FieldError {
    FieldError { path: path.into(), kind: ErrorKind::Required, value: None, detail: detail.into() }
}

fn invalid(path: impl Into<String>, value: &Value, detail: impl Into<String>) -> FieldError {
    FieldError { path: path.into(), kind: ErrorKind::Invalid, value: Some(value.clone()), detail: detail.into() }
}

/// Writes the status that a definition has once it is stored: whether its names are free, and so
/// whether it is served. Here both are known at once.
pub fn establish(definition: &mut Value, registry: &Registry) {
    let conflict = name_conflict(definition, registry);
    let accepted = match &conflict {
        None => ("True", "NoConflicts", "no conflicts found".to_owned()),
        Some((reason, message)) => ("False", *reason, message.clone()),
    };
    let established = match &conflict {
        None => ("True", "InitialNamesAccepted", "the initial names have been accepted".to_owned()),
        Some(_) => ("False", "NotAccepted", "not all names are accepted".to_owned()),
    };
    let old = definition["status"]["conditions"].clone();
    let condition = |type_: &str, (status, reason, message): (&str, &str, String)| {
        let before = old.as_array().into_iter().flatten().find(|c| c["type"] == type_ && c["status"] == status);
        let since = before.map_or_else(|| clock::now().into(), |c| c["lastTransitionTime"].clone());
        json!({"type": type_, "status": status, "lastTransitionTime": since, "reason": reason, "message": message})
    };
    let conditions = json!([condition("NamesAccepted", accepted), condition("Established", established)]);
    let storage = definition["spec"]["versions"].as_array().into_iter().flatten().find(|v| v["storage"] == true);
    let storage = storage.map_or(Value::Null, |version| version["name"].clone());
    let mut stored = definition["status"]["storedVersions"].as_array().cloned().unwrap_or_default();
    if !stored.contains(&storage) {
        stored.push(storage);
    }
    let names =
        if conflict.is_none() { definition["spec"]["names"].clone() } else { json!({"plural": "", "kind": ""}) };
    definition["status"] = json!({"conditions": conditions, "acceptedNames": names, "storedVersions": stored});
}

/// A name that another kind of the group has already.
fn name_conflict(definition: &Value, registry: &Registry) -> Option<(&'static str, String)> {
    let spec = &definition["spec"];
    let own = meta(definition).name();
    let group = spec["group"].as_str().unwrap_or_default();
    let others = || registry.all().filter(move |r| r.gvk.group == group && *r.id != *own);
    let names = &spec["names"];
    let text = |key: &str| names[key].as_str().unwrap_or_default().to_owned();
    let in_use = |name: &str| format!("{name:?} is already in use");
    let singular = text("singular");
    if others().any(|other| other.singular == singular || other.short.contains(&singular)) {
        return Some(("SingularConflict", in_use(&singular)));
    }
    for short in names["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if others().any(|other| other.names.resource == short || other.short.iter().any(|known| known == short)) {
            return Some(("ShortNamesConflict", in_use(short)));
        }
    }
    for (key, reason) in [("kind", "KindConflict"), ("listKind", "ListKindConflict")] {
        let name = text(key);
        if others().any(|other| other.gvk.kind == name || other.list_kind() == name) {
            return Some((reason, in_use(&name)));
        }
    }
    None
}
