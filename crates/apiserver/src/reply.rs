//! Answers: in the form that the client accepts.

use crate::resource::Resource;
use crate::status::{Refusal, Result};
use crate::store::Stored;
use crate::table;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;

/// The body of a response, and of requests to the kubelet.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BodyError>;
/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a body ends before its end. A type of its own: the compiler loses the lifetime of a
/// trait object in a generic future.
#[derive(Debug, thiserror::Error)]
#[error("the body ends early")]
pub struct BodyError(#[source] BoxError);

/// As kube-apiserver: below this, compression costs more than it saves.
const GZIP_BYTES_MIN: usize = 128 << 10;

/// What a handler found or did.
#[derive(Debug)]
pub enum Reply {
    /// An object as it is stored.
    Stored(u16, Arc<Stored>),
    /// An object that is not stored, or a Status.
    Value(u16, Value),
    /// A collection.
    List {
        /// In order.
        objects: Vec<Arc<Stored>>,
        /// `resourceVersion`, and `continue` and `remainingItemCount` if there is more.
        metadata: Value,
    },
}

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Whole.
    Object,
    /// As rows for people.
    Table,
    /// Only their metadata.
    Partial,
}

impl Form {
    /// The first form in `Accept` that is offered.
    pub fn accepted(headers: &HeaderMap) -> Result<Self> {
        let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else { return Ok(Form::Object) };
        for option in accept.split(',') {
            let mut parts = option.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameter = |key: &str| parts.clone().find_map(|p| p.strip_prefix(key)?.strip_prefix('='));
            match (media, parameter("as")) {
                ("application/json" | "application/*" | "*/*" | "", None) => return Ok(Form::Object),
                ("application/json", Some("Table")) => return Ok(Form::Table),
                ("application/json", Some("PartialObjectMetadata" | "PartialObjectMetadataList")) => {
                    return Ok(Form::Partial);
                }
                _ => {}
            }
        }
        Err(Refusal::not_acceptable())
    }
}

/// The object in full, in the version of the resource.
pub fn whole(resource: &Resource, object: &Stored) -> Bytes {
    let head = head(resource);
    let json = object.json();
    if json.starts_with(head.as_bytes()) {
        return json;
    }
    [head.as_bytes(), &object.tail()].concat().into()
}

fn head(resource: &Resource) -> String {
    format!("{{\"apiVersion\":\"{}\",\"kind\":\"{}\",", resource.gvk.api_version(), resource.gvk.kind)
}

/// The object's metadata as an object of its own.
pub fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_default(),
    })
}

impl Reply {
    /// HTTP status.
    pub fn code(&self) -> u16 {
        match self {
            Reply::Stored(code, _) | Reply::Value(code, _) => *code,
            Reply::List { .. } => 200,
        }
    }

    /// The bytes in a form. A Status is always whole.
    pub fn render(self, resource: &Resource, form: Form, include: table::Include) -> Bytes {
        match (self, form) {
            (Reply::Stored(_, object), Form::Object) => whole(resource, &object),
            (Reply::Stored(_, object), Form::Partial) => bytes(&partial(&object.value())),
            (Reply::Stored(_, object), Form::Table) => {
                let value = object.value();
                bytes(&table::of(
                    resource,
                    std::slice::from_ref(&value),
                    &json!({"resourceVersion": object.revision.to_string()}),
                    include,
                ))
            }
            (Reply::Value(_, value), Form::Object) => bytes(&value),
            (Reply::Value(_, value), _) if value["kind"] == "Status" => bytes(&value),
            (Reply::Value(_, value), Form::Partial) => bytes(&partial(&value)),
            (Reply::Value(_, value), Form::Table) => {
                bytes(&table::of(resource, std::slice::from_ref(&value), &json!({}), include))
            }
            (Reply::List { objects, metadata }, Form::Object) => whole_list(resource, &objects, &metadata),
            (Reply::List { objects, metadata }, Form::Partial) => {
                let items: Vec<Value> = objects.iter().map(|object| partial(&object.value())).collect();
                bytes(
                    &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items}),
                )
            }
            (Reply::List { objects, metadata }, Form::Table) => {
                let values: Vec<Value> = objects.iter().map(|object| object.value()).collect();
                bytes(&table::of(resource, &values, &metadata, include))
            }
        }
    }
}

/// Puts the stored JSON together: no object is parsed. Items of built-in kinds carry no type, as
/// in Kubernetes, because the list's own says it.
fn whole_list(resource: &Resource, objects: &[Arc<Stored>], metadata: &Value) -> Bytes {
    let mut metadata = metadata.clone();
    if resource.custom.is_some() && metadata.get("continue").is_none() {
        metadata["continue"] = "".into();
    }
    let start = json!({"kind": resource.list_kind(), "apiVersion": resource.gvk.api_version(), "metadata": metadata});
    let head = if resource.custom.is_some() { head(resource) } else { "{".to_owned() };
    let length: usize = objects.iter().map(|object| object.length() + head.len() + 1).sum();
    let mut list = Vec::with_capacity(length + 256);
    serde_json::to_writer(&mut list, &start).expect("memory takes everything");
    list.pop();
    list.extend_from_slice(b",\"items\":[");
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            list.push(b',');
        }
        list.extend_from_slice(head.as_bytes());
        list.extend_from_slice(&object.tail());
    }
    list.extend_from_slice(b"]}");
    list.into()
}

/// Serialises a value.
pub fn bytes(value: &Value) -> Bytes {
    serde_json::to_vec(value).expect("memory takes everything").into()
}

/// A body of known bytes.
pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A JSON response, compressed if it is large and the client can read that.
pub fn json_response(code: u16, body: Bytes, request: &HeaderMap) -> Response<Body> {
    let accepts_gzip = request
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.split(',').any(|part| part.trim().split(';').next() == Some("gzip")));
    let compressed = if accepts_gzip && body.len() >= GZIP_BYTES_MIN { gzip(&body) } else { None };
    let encoded = compressed.is_some();
    let mut response = Response::new(full(compressed.unwrap_or(body)));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if encoded {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn gzip(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// A refusal as a response.
pub fn refusal_response(refusal: &Refusal, request: &HeaderMap) -> Response<Body> {
    let mut response = json_response(refusal.code, bytes(&refusal.to_value()), request);
    if refusal.code == 504 || refusal.code == 503 {
        response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// `Warning: 299 - "text"`, in characters that a header can hold.
pub fn warning(text: &str) -> Option<HeaderValue> {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    let quoted = clean.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()).ok()
}

/// A short plain answer.
pub fn text_response(code: u16, text: &'static str) -> Response<Body> {
    let mut response = Response::new(full(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Any body as [`Body`].
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(|error| BodyError(error.into())).boxed_unsync()
}
