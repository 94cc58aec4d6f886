//! The distribution protocol over our store: docker, buildah, skopeo and every other client can push and pull.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;

use crate::digest::Digest;
use crate::reference::{Reference, is_repository, is_tag};
use crate::store::Store;

mod blobs;
mod failure;
mod manifests;
mod uploads;

use failure::{Code, Failure};

/// What a request does to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Pull,
    /// The names of all repositories.
    List,
    Push,
    Delete,
}

/// User and password of a request; the password is usually a token. A bearer token comes without a user.
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    pub user: String,
    pub password: String,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// Not signed in, or wrongly: the client is asked for user and password.
    Unauthorized,
    /// Signed in, but without the right.
    Denied,
}

/// Who may do what.
#[async_trait]
pub trait RegistryAuth: Send + Sync {
    /// `repository` is `None` for what concerns all of them: the version check (any client that may do something) and the catalog.
    async fn decide(&self, credentials: Option<&Basic>, repository: Option<&str>, access: Access) -> Decision;
}

/// The registry as a service for `/v2/`. Repository `shop/web` of a request is `<host>/shop/web` in the store, where `host` is
/// the name that images are recorded under, such as `registry.trimtab.internal`.
pub fn router(store: Store, host: impl Into<String>, auth: Arc<dyn RegistryAuth>) -> Router {
    let registry = Registry { uploads: uploads::Uploads::new(), store, host: host.into(), auth };
    Router::new().fallback(handle).with_state(Arc::new(registry))
}

struct Registry {
    store: Store,
    host: String,
    auth: Arc<dyn RegistryAuth>,
    uploads: uploads::Uploads,
}

impl Registry {
    /// A repository's name in the store.
    fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.host)
    }

    fn reference(&self, repository: &str, target: &Target) -> Reference {
        let (tag, digest) = match target {
            Target::Tag(tag) => (Some(tag.clone()), None),
            Target::Digest(digest) => (None, Some(digest.clone())),
        };
        Reference { registry: self.host.clone(), repository: repository.to_owned(), tag, digest }
    }
}

/// A manifest, as a URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Tag(String),
    Digest(Digest),
}

/// What a URL means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Version,
    Catalog,
    Tags(String),
    Manifest(String, Target),
    Blob(String, Digest),
    Uploads(String),
    Upload(String, String),
    Referrers(String),
}

async fn handle(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let mut response = match serve(&registry, request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    };
    let version = HeaderName::from_static("docker-distribution-api-version");
    response.headers_mut().insert(version, HeaderValue::from_static("registry/2.0"));
    response
}

async fn serve(registry: &Registry, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let route = parse(parts.uri.path())?;
    authorize(registry, &parts.headers, &route, &parts.method).await?;
    let query = Query(parts.uri.query().unwrap_or_default());
    let headers = &parts.headers;
    let get = parts.method == Method::GET || parts.method == Method::HEAD;
    match (route, parts.method.as_str()) {
        (Route::Version, _) if get => Ok(json(StatusCode::OK, "{}")),
        (Route::Catalog, "GET") => manifests::catalog(registry, &query),
        (Route::Tags(name), "GET") => manifests::tags(registry, &name, &query),
        (Route::Manifest(name, target), _) if get => {
            manifests::get(registry, &name, &target, parts.method == Method::HEAD).await
        }
        (Route::Manifest(name, target), "PUT") => manifests::put(registry, &name, &target, headers, body).await,
        (Route::Manifest(name, target), "DELETE") => manifests::delete(registry, &name, &target),
        (Route::Blob(_, digest), _) if get => {
            blobs::get(registry, &digest, headers, parts.method == Method::HEAD).await
        }
        (Route::Uploads(name), "POST") => uploads::start(registry, &name, &query, body).await,
        (Route::Upload(name, id), "PATCH") => uploads::append(registry, &name, &id, headers, body).await,
        (Route::Upload(name, id), "PUT") => uploads::finish(registry, &name, &id, &query, headers, body).await,
        (Route::Upload(name, id), "GET") => uploads::status(registry, &name, &id).await,
        (Route::Upload(_, id), "DELETE") => uploads::cancel(registry, &id),
        (Route::Referrers(_), "GET") => Ok(manifests::no_referrers()),
        _ => Err(Failure::new(Code::Unsupported, format!("{} is not supported here", parts.method))),
    }
}

/// Which right a request needs, and whether its sender has it.
async fn authorize(registry: &Registry, headers: &HeaderMap, route: &Route, method: &Method) -> Result<(), Failure> {
    let credentials = headers.get(AUTHORIZATION).and_then(basic);
    let repository = match route {
        Route::Version | Route::Catalog => None,
        Route::Tags(name)
        | Route::Manifest(name, _)
        | Route::Blob(name, _)
        | Route::Uploads(name)
        | Route::Upload(name, _)
        | Route::Referrers(name) => Some(name.as_str()),
    };
    let access = match (route, method.as_str()) {
        (Route::Uploads(_) | Route::Upload(..), _) | (_, "PUT" | "POST" | "PATCH") => Access::Push,
        (_, "DELETE") => Access::Delete,
        (Route::Catalog, _) => Access::List,
        _ => Access::Pull,
    };
    match registry.auth.decide(credentials.as_ref(), repository, access).await {
        Decision::Allow => Ok(()),
        Decision::Unauthorized => Err(Failure::new(Code::Unauthorized, "sign in with user and token")),
        Decision::Denied => {
            let right = if matches!(access, Access::Pull | Access::List) { "read" } else { "write" };
            Err(Failure::new(Code::Denied, format!("you may not {right} {}", repository.unwrap_or("the catalog"))))
        }
    }
}

fn basic(value: &HeaderValue) -> Option<Basic> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Basic { user: String::new(), password: encoded.trim().to_owned() });
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| Basic { user: user.to_owned(), password: password.to_owned() })
}

/// Repository names have slashes, so the path is read from its end.
fn parse(path: &str) -> Result<Route, Failure> {
    let missing = || Failure::new(Code::NotFound, "there is no such page in a registry");
    let rest = path.strip_prefix("/v2").ok_or_else(missing)?;
    match rest.trim_matches('/') {
        "" => return Ok(Route::Version),
        "_catalog" => return Ok(Route::Catalog),
        _ => {}
    }
    let rest = rest.strip_prefix('/').ok_or_else(missing)?;
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return repository(name).map(Route::Tags);
    }
    if let Some(name) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
        return repository(name).map(Route::Uploads);
    }
    let (head, last) = rest.rsplit_once('/').ok_or_else(missing)?;
    if let Some(name) = head.strip_suffix("/blobs/uploads") {
        return Ok(Route::Upload(repository(name)?, last.to_owned()));
    }
    if let Some(name) = head.strip_suffix("/blobs") {
        return Ok(Route::Blob(repository(name)?, digest(last)?));
    }
    if let Some(name) = head.strip_suffix("/referrers") {
        return Ok(Route::Referrers(repository(name)?));
    }
    let name = head.strip_suffix("/manifests").ok_or_else(missing)?;
    let target = match last.contains(':') {
        true => Target::Digest(digest(last)?),
        false if is_tag(last) => Target::Tag(last.to_owned()),
        false => return Err(Failure::new(Code::ManifestInvalid, format!("{last:?} is neither a tag nor a digest"))),
    };
    Ok(Route::Manifest(repository(name)?, target))
}

fn repository(name: &str) -> Result<String, Failure> {
    match is_repository(name) {
        true => Ok(name.to_owned()),
        false => Err(Failure::new(Code::NameInvalid, format!("{name:?} is not the name of a repository"))),
    }
}

fn digest(text: &str) -> Result<Digest, Failure> {
    text.parse().map_err(|error: crate::digest::DigestError| Failure::new(Code::DigestInvalid, error.to_string()))
}

/// The query of a URL. The values that the protocol uses are names, digests and numbers.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let value = self.0.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.replace("%3A", ":").replace("%3a", ":").replace("%2F", "/").replace("%2f", "/"))
    }

    /// One page of sorted names: `n` of them after `last`.
    fn page<'n>(&self, names: impl Iterator<Item = &'n str>) -> (Vec<String>, Option<String>) {
        const PAGE_MAX: usize = 10_000;
        let count = self.get("n").and_then(|n| n.parse().ok()).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let last = self.get("last").unwrap_or_default();
        let mut page: Vec<String> =
            names.filter(|name| *name > last.as_str()).take(count + 1).map(str::to_owned).collect();
        let more = page.len() > count;
        page.truncate(count);
        let next = page.last().filter(|_| more).map(|last| format!("n={count}&last={last}"));
        (page, next)
    }
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [("content-type", "application/json")], body.into()).into_response()
}

/// An answer without a body.
fn empty(status: StatusCode, headers: &[(&'static str, String)]) -> Response {
    let mut response = status.into_response();
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(*name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = Digest::of(b"");
        let cases = [
            ("/v2/".to_owned(), Route::Version),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            ("/v2/shop/web/tags/list".to_owned(), Route::Tags("shop/web".to_owned())),
            ("/v2/web/manifests/1.0".to_owned(), Route::Manifest("web".to_owned(), Target::Tag("1.0".to_owned()))),
            (format!("/v2/a/b/manifests/{digest}"), Route::Manifest("a/b".to_owned(), Target::Digest(digest.clone()))),
            (format!("/v2/blobs/blobs/{digest}"), Route::Blob("blobs".to_owned(), digest.clone())),
            ("/v2/a/blobs/uploads/".to_owned(), Route::Uploads("a".to_owned())),
            ("/v2/a/blobs/uploads/7".to_owned(), Route::Upload("a".to_owned(), "7".to_owned())),
            (format!("/v2/a/referrers/{digest}"), Route::Referrers("a".to_owned())),
        ];
        for (path, route) in cases {
            assert_eq!(parse(&path).ok(), Some(route), "{path}");
        }
        for path in [
            "/",
            "/v2x",
            "/v2/a",
            "/v2/../manifests/x",
            "/v2/A/manifests/x",
            "/v2/a/blobs/sha256:1",
            "/v2/a/manifests/.x",
        ] {
            assert!(parse(path).is_err(), "{path}");
        }
    }
}
