//! Schemas as OpenAPI v3 publishes them.

use super::builtin;
use crate::meta::Gvk;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A kind that a document of one group and version describes.
#[derive(Debug, Clone)]
pub struct Published<'a> {
    /// Group, version, kind.
    pub gvk: &'a Gvk,
    /// Plural, as in paths.
    pub resource: &'a str,
    /// False for cluster-scoped kinds.
    pub namespaced: bool,
    /// `openAPIV3Schema` of a custom resource; `None` for built-in kinds.
    pub custom: Option<&'a Value>,
}

const REF: &str = "#/components/schemas/";

/// The OpenAPI v3 document of one group and version: the schemas of its kinds with everything that they
/// refer to, and per kind the paths which clients look for (`kubectl explain` and `kubectl apply` do).
pub fn document(published: &[Published<'_>]) -> Value {
    let definitions = builtin::definitions();
    let (mut schemas, mut paths) = (Map::new(), Map::new());
    for kind in published {
        let name = match kind.custom {
            Some(schema) => {
                let name = custom_name(kind.gvk);
                schemas.insert(name.clone(), custom_schema(kind.gvk, schema));
                name
            }
            None => match builtin_name(kind.gvk, &definitions) {
                Some(name) => name.to_owned(),
                None => continue,
            },
        };
        add_with_references(&name, &definitions, &mut schemas);
        paths.extend(paths_of(kind, &name));
    }
    for common in ["DeleteOptions", "Status", "WatchEvent"] {
        let name = format!("io.k8s.apimachinery.pkg.apis.meta.v1.{common}");
        add_with_references(&name, &definitions, &mut schemas);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": builtin::KUBERNETES_VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn builtin_name<'a>(gvk: &Gvk, definitions: &'a Map<String, Value>) -> Option<&'a str> {
    let mut all = definitions.iter();
    all.find(|(_, schema)| builtin::kinds(schema).any(|kind| kind == *gvk)).map(|(name, _)| name.as_str())
}

/// `dev.trimtab.v1alpha1.Build`: the group's words reversed.
fn custom_name(gvk: &Gvk) -> String {
    let group: Vec<&str> = gvk.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), gvk.version, gvk.kind)
}

fn custom_schema(gvk: &Gvk, schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(map) = schema.as_object_mut() {
        let properties = map.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("apiVersion".into(), json!({"type": "string"}));
            properties.insert("kind".into(), json!({"type": "string"}));
            let metadata = format!("{REF}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
            properties.insert("metadata".into(), json!({"allOf": [{"$ref": metadata}]}));
        }
        let kind = json!([{"group": gvk.group, "version": gvk.version, "kind": gvk.kind}]);
        map.insert("x-kubernetes-group-version-kind".into(), kind);
    }
    schema
}

fn add_with_references(name: &str, definitions: &Map<String, Value>, schemas: &mut Map<String, Value>) {
    let mut waiting = BTreeSet::from([name.to_owned()]);
    while let Some(name) = waiting.pop_first() {
        let known = schemas.contains_key(&name);
        match (schemas.get(&name), definitions.get(&name)) {
            (Some(custom), None) => references(custom, &mut waiting, schemas),
            (None, Some(definition)) if !known => {
                schemas.insert(name, definition.clone());
                references(definition, &mut waiting, schemas);
            }
            _ => {}
        }
    }
}

fn references(schema: &Value, found: &mut BTreeSet<String>, known: &Map<String, Value>) {
    match schema {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix(REF))
                && !known.contains_key(name)
            {
                found.insert(name.to_owned());
            }
            map.values().for_each(|value| references(value, found, known));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found, known)),
        _ => {}
    }
}

fn paths_of(kind: &Published<'_>, schema: &str) -> Vec<(String, Value)> {
    let root = if kind.gvk.group.is_empty() { "/api/".to_owned() } else { "/apis/".to_owned() };
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{}{scope}/{}", kind.gvk.api_version(), kind.resource);
    let gvk = json!({"group": kind.gvk.group, "version": kind.gvk.version, "kind": kind.gvk.kind});
    let operation = |action: &str, bodies: &[&str]| {
        let schema = json!({"schema": {"$ref": format!("{REF}{schema}")}});
        let mut operation = json!({
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
            "responses": {"200": {"description": "OK", "content": {"application/json": schema}}},
        });
        if !bodies.is_empty() {
            let content: Map<String, Value> = bodies.iter().map(|body| ((*body).to_owned(), schema.clone())).collect();
            operation["requestBody"] = json!({"required": true, "content": content});
            operation["parameters"] = ["dryRun", "fieldManager", "fieldValidation"]
                .iter()
                .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
                .collect();
        }
        operation
    };
    let mut patches =
        vec!["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];
    if kind.custom.is_none() {
        patches.push("application/strategic-merge-patch+json");
    }
    vec![
        (collection.clone(), json!({"get": operation("list", &[]), "post": operation("post", &["*/*"])})),
        (
            format!("{collection}/{{name}}"),
            json!({
                "get": operation("get", &[]),
                "put": operation("put", &["*/*"]),
                "patch": operation("patch", &patches),
                "delete": operation("delete", &[]),
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references_of(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references_of(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references_of(value, found)),
            _ => {}
        }
    }

    #[test]
    fn documents_are_whole() {
        let deployment = Gvk::new("apps", "v1", "Deployment");
        let widget = Gvk::new("example.com", "v1", "Widget");
        let custom = json!({"type": "object", "properties": {"spec": {"type": "object"}}});
        let published = [
            Published { gvk: &deployment, resource: "deployments", namespaced: true, custom: None },
            Published { gvk: &widget, resource: "widgets", namespaced: false, custom: Some(&custom) },
        ];
        let document = document(&published);
        let mut references = BTreeSet::new();
        references_of(&document, &mut references);
        assert!(references.len() > 100, "{references:?}");
        for reference in references {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
        }
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        let kind = &document["components"]["schemas"]["com.example.v1.Widget"]["x-kubernetes-group-version-kind"][0];
        assert_eq!(kind["kind"], "Widget");
        assert!(document["paths"]["/apis/example.com/v1/widgets"]["get"].is_object());
    }
}
