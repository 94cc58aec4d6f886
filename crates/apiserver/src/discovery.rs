//! What is served, told to clients: discovery in both forms, OpenAPI, the version.

use crate::reply::{self, Body};
use crate::resource::{Registry, Resource, Version};
use crate::status::{Refusal, Result};
use bytes::Bytes;
use http::{HeaderMap, Response};
use object::schema::openapi::{self, Published};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Verbs of all subresources that are objects.
const PART_VERBS: [&str; 3] = ["get", "patch", "update"];

/// Answers a path that is about kinds; `None` if it is about something else.
pub fn answer(registry: &Registry, path: &str, headers: &HeaderMap) -> Option<Result<Response<Body>>> {
    let json = |value: Value| Some(Ok(reply::json_response(200, reply::bytes(&value), headers)));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api"] if aggregated(headers) => Some(Ok(tagged(&group_list(registry, true), headers))),
        ["apis"] if aggregated(headers) => Some(Ok(tagged(&group_list(registry, false), headers))),
        ["api"] => json(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            let groups: Vec<Value> =
                registry.groups().iter().filter(|g| !g.name.is_empty()).map(|g| group(registry, &g.name)).collect();
            json(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["api", version] => Some(resource_list(registry, "", version).map(|list| tagged(&list, headers))),
        ["apis", name] => match registry.group(name) {
            Some(_) => {
                let mut group = group(registry, name);
                group["kind"] = "APIGroup".into();
                group["apiVersion"] = "v1".into();
                json(group)
            }
            None => Some(Err(Refusal::no_such_path())),
        },
        ["apis", name, version] => Some(resource_list(registry, name, version).map(|list| tagged(&list, headers))),
        ["openapi", "v2"] => Some(Ok(reply::json_response(200, reply::bytes(&swagger()), headers))),
        ["openapi", "v3"] => json(open_api_index(registry)),
        ["openapi", "v3", "api", version] => Some(open_api(registry, "", version, headers)),
        ["openapi", "v3", "apis", group, version] => Some(open_api(registry, group, version, headers)),
        _ => None,
    }
}

/// `/version`.
pub fn version() -> Value {
    let version = object::schema::KUBERNETES_VERSION;
    let mut parts = version.trim_start_matches('v').split('.');
    json!({
        "major": parts.next(),
        "minor": parts.next(),
        "gitVersion": format!("{version}+trimtab"),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

fn aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // The first type that is known wins, so plain JSON in front asks for the plain form.
    let first = accept.split(',').map(str::trim).find(|media| media.starts_with("application/json"));
    first.is_some_and(|media| media.contains("as=APIGroupDiscoveryList") && media.contains("v=v2"))
}

/// A response that clients may keep: with an ETag, and with the type of aggregated discovery.
fn tagged(value: &Value, headers: &HeaderMap) -> Response<Body> {
    let body = reply::bytes(value);
    let tag = format!("\"{}\"", hash(&body));
    if headers.get(http::header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        let mut response = Response::new(reply::full(Bytes::new()));
        *response.status_mut() = http::StatusCode::NOT_MODIFIED;
        return response;
    }
    let mut response = reply::json_response(200, body, headers);
    if let Ok(tag) = tag.parse() {
        response.headers_mut().insert(http::header::ETAG, tag);
    }
    if value["kind"] == "APIGroupDiscoveryList" {
        let media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(media));
    }
    response
}

fn hash(bytes: &[u8]) -> String {
    hex::encode_upper(&Sha256::digest(bytes)[..16])
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn group(registry: &Registry, name: &str) -> Value {
    let versions: Vec<Value> = registry
        .group(name)
        .into_iter()
        .flat_map(|group| &group.versions)
        .map(|version| json!({"groupVersion": group_version(name, &version.name), "version": version.name}))
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

fn resource_list(registry: &Registry, group: &str, version: &str) -> Result<Value> {
    let found = registry.version(group, version).ok_or_else(Refusal::no_such_path)?;
    let resources: Vec<Value> = sorted(found).into_iter().flat_map(plain_entries).collect();
    let mut list = json!({"kind": "APIResourceList"});
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    list["groupVersion"] = group_version(group, version).into();
    list["resources"] = resources.into();
    Ok(list)
}

fn sorted(version: &Version) -> Vec<&Resource> {
    let mut resources: Vec<&Resource> = version.resources.iter().map(|resource| &**resource).collect();
    resources.sort_by(|a, b| a.names.resource.cmp(&b.names.resource));
    resources
}

fn plain_entries(resource: &Resource) -> Vec<Value> {
    let mut entry = json!({
        "name": resource.names.resource,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.gvk.kind,
        "verbs": resource.verbs(),
    });
    if !resource.short.is_empty() {
        entry["shortNames"] = resource.short.clone().into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.clone().into();
    }
    let mut entries = vec![entry];
    for subresource in &resource.subresources {
        let (group, version, kind, verbs) = part(resource, subresource);
        let mut entry = json!({
            "name": format!("{}/{subresource}", resource.names.resource),
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": kind,
            "verbs": verbs,
        });
        if (group, version) != (resource.gvk.group.as_str(), resource.gvk.version.as_str()) {
            entry["group"] = group.into();
            entry["version"] = version.into();
        }
        entries.push(entry);
    }
    entries
}

/// Group, version, kind and verbs of a subresource.
fn part<'a>(resource: &'a Resource, subresource: &str) -> (&'a str, &'a str, &'a str, &'static [&'static str]) {
    let Resource { gvk, .. } = resource;
    match subresource {
        "scale" => ("autoscaling", "v1", "Scale", &PART_VERBS),
        "eviction" => ("policy", "v1", "Eviction", &["create"]),
        "binding" => (&gvk.group, &gvk.version, "Binding", &["create"]),
        "log" => (&gvk.group, &gvk.version, &gvk.kind, &["get"]),
        "finalize" => (&gvk.group, &gvk.version, &gvk.kind, &["update"]),
        _ => (&gvk.group, &gvk.version, &gvk.kind, &PART_VERBS),
    }
}

fn group_list(registry: &Registry, core: bool) -> Value {
    let items: Vec<Value> = registry
        .groups()
        .iter()
        .filter(|group| group.name.is_empty() == core)
        .map(|group| {
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = sorted(version).into_iter().map(aggregated_entry).collect();
                    json!({"version": version.name, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if core { json!({}) } else { json!({"name": group.name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_entry(resource: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut entry = json!({
        "resource": resource.names.resource,
        "responseKind": kind(&resource.gvk.group, &resource.gvk.version, &resource.gvk.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs(),
    });
    if !resource.short.is_empty() {
        entry["shortNames"] = resource.short.clone().into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.clone().into();
    }
    if !resource.subresources.is_empty() {
        entry["subresources"] = resource
            .subresources
            .iter()
            .map(|subresource| {
                let (group, version, name, verbs) = part(resource, subresource);
                json!({"subresource": subresource, "responseKind": kind(group, version, name), "verbs": verbs})
            })
            .collect();
    }
    entry
}

/// OpenAPI v2 as far as the oldest clients need it: a document that is one.
fn swagger() -> Value {
    let version = object::schema::KUBERNETES_VERSION;
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": version}, "paths": {}, "definitions": {}})
}

fn open_api_index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for group in registry.groups() {
        for version in &group.versions {
            let root = if group.name.is_empty() { "api" } else { "apis" };
            let path = format!("{root}/{}", group_version(&group.name, &version.name));
            let hash = version_hash(version);
            paths.insert(path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}));
        }
    }
    json!({"paths": paths})
}

/// Changes when the document would: built-in kinds never do.
fn version_hash(version: &Version) -> String {
    let mut hasher = Sha256::new();
    hasher.update(object::schema::KUBERNETES_VERSION);
    for resource in sorted(version) {
        hasher.update(&resource.names.resource);
        if let Some(custom) = &resource.custom {
            hasher.update(custom.open_api.to_string());
        }
    }
    hex::encode_upper(&hasher.finalize()[..16])
}

fn open_api(registry: &Registry, group: &str, version: &str, headers: &HeaderMap) -> Result<Response<Body>> {
    let found = registry.version(group, version).ok_or_else(Refusal::no_such_path)?;
    let published: Vec<Published<'_>> = sorted(found)
        .into_iter()
        .map(|resource| Published {
            gvk: &resource.gvk,
            resource: &resource.names.resource,
            namespaced: resource.namespaced,
            custom: resource.custom.as_ref().map(|custom| &custom.open_api),
        })
        .collect();
    Ok(reply::json_response(200, reply::bytes(&openapi::document(&published)), headers))
}
