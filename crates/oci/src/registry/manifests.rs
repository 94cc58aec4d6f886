//! Manifests, tags and the catalog.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use super::failure::{Code, Failure};
use super::{Query, Registry, Target, empty, json as answer};
use crate::digest::Digest;
use crate::image::{references, type_of};
use crate::types::media_type;

pub(super) async fn get(registry: &Registry, name: &str, target: &Target, head: bool) -> Result<Response, Failure> {
    let digest = registry.store.resolve(&registry.reference(name, target))?;
    let limit = registry.store.shared.limits.manifest_bytes_max;
    let bytes = registry.store.read_blob("manifest", &digest, limit)?;
    let kind = registry.store.repository(&registry.name(name))?.manifests.get(&digest).cloned();
    let kind = kind.unwrap_or_else(|| media_type::MANIFEST.to_owned());
    let headers = [
        ("content-type", kind),
        ("content-length", bytes.len().to_string()),
        ("docker-content-digest", digest.to_string()),
        ("etag", format!("\"{digest}\"")),
    ];
    let mut response = empty(StatusCode::OK, &headers);
    if !head {
        *response.body_mut() = Body::from(bytes);
    }
    Ok(response)
}

pub(super) async fn put(
    registry: &Registry,
    name: &str,
    target: &Target,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let limit = registry.store.shared.limits.manifest_bytes_max;
    let bytes = axum::body::to_bytes(body, usize::try_from(limit).unwrap_or(usize::MAX)).await;
    let bytes =
        bytes.map_err(|_| Failure::new(Code::SizeInvalid, format!("a manifest may have at most {limit} bytes")))?;
    let digest = Digest::of(&bytes);
    if let Target::Digest(expected) = target
        && *expected != digest
    {
        return Err(Failure::new(Code::DigestInvalid, format!("the manifest has digest {digest}, not {expected}")));
    }
    for part in references(&bytes, &digest)? {
        // Also keeps it from garbage collection until the manifest names it.
        if !registry.store.touch(&part) {
            return Err(Failure::new(Code::ManifestBlobUnknown, format!("{part} has not been pushed")));
        }
    }
    let kind = match headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) {
        Some(kind) => kind.split(';').next().unwrap_or(kind).trim().to_owned(),
        None => type_of(&bytes, &digest)?,
    };
    registry.store.put_blob(&bytes)?;
    registry.store.change(&registry.name(name), |repository| {
        repository.manifests.insert(digest.clone(), kind);
        if let Target::Tag(tag) = target {
            repository.tags.insert(tag.clone(), digest.clone());
        }
    })?;
    let location = format!("/v2/{name}/manifests/{digest}");
    Ok(empty(StatusCode::CREATED, &[("location", location), ("docker-content-digest", digest.to_string())]))
}

pub(super) fn delete(registry: &Registry, name: &str, target: &Target) -> Result<Response, Failure> {
    match registry.store.untag(&registry.reference(name, target))? {
        true => Ok(empty(StatusCode::ACCEPTED, &[])),
        false => Err(Failure::new(Code::ManifestUnknown, "there is no such manifest")),
    }
}

pub(super) fn tags(registry: &Registry, name: &str, query: &Query<'_>) -> Result<Response, Failure> {
    let repository = registry.store.repository(&registry.name(name))?;
    if repository.manifests.is_empty() {
        return Err(Failure::new(Code::NotFound, format!("there is no repository {name}")));
    }
    let (tags, next) = query.page(repository.tags.keys().map(String::as_str));
    let path = format!("/v2/{name}/tags/list");
    Ok(page(&json!({"name": name, "tags": tags}), &path, next))
}

pub(super) fn catalog(registry: &Registry, query: &Query<'_>) -> Result<Response, Failure> {
    let prefix = registry.name("");
    let names = registry.store.repositories()?;
    let (names, next) = query.page(names.iter().filter_map(|name| name.strip_prefix(&prefix)));
    Ok(page(&json!({"repositories": names}), "/v2/_catalog", next))
}

/// We keep no referrers, and say so in the protocol's way: an index without entries.
pub(super) fn no_referrers() -> Response {
    let body = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": []}).to_string();
    let mut response = empty(StatusCode::OK, &[("content-type", media_type::INDEX.to_owned())]);
    *response.body_mut() = Body::from(body);
    response
}

fn page(body: &serde_json::Value, path: &str, next: Option<String>) -> Response {
    let mut response = answer(StatusCode::OK, body.to_string());
    if let Some(link) = next.and_then(|query| format!("<{path}?{query}>; rel=\"next\"").parse().ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}
