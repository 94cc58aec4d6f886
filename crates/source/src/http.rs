//! Git's smart HTTP protocol: authentication, then a git process whose input and output are the bodies.

use crate::transport::{self, BUSY, Denial, Service};
use crate::{GitAuth, Inner};
use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use model::flow::Repository;
use model::people::Person;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tower_http::decompression::RequestDecompressionLayer;

/// A client that sends nothing for this long has gone without saying so.
const INPUT_TIMEOUT: Duration = Duration::from_secs(60);
/// Of a body that nobody wants any more, so much is read, for so long.
const UNWANTED_BYTES_MAX: u64 = 512 << 20;
const UNWANTED_TIME: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Context {
    inner: Arc<Inner>,
    auth: Arc<dyn GitAuth>,
}

pub fn router(inner: Arc<Inner>, auth: Arc<dyn GitAuth>) -> Router {
    Router::new()
        .route("/{project}/{repository}/info/refs", get(advertise))
        .route("/{project}/{repository}/{service}", post(serve))
        .layer(RequestDecompressionLayer::new())
        .layer(axum::extract::DefaultBodyLimit::disable()) // Git stops a push at its own limit, and says so.
        .with_state(Context { inner, auth })
}

#[derive(serde::Deserialize)]
struct ServiceQuery {
    service: Option<String>,
}

/// What may be fetched, or what a push starts from.
async fn advertise(
    State(context): State<Context>,
    Path((project, repository)): Path<(String, String)>,
    Query(query): Query<ServiceQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Some(service) = query.service.as_deref().and_then(Service::parse) else {
        return Err(refuse(
            StatusCode::FORBIDDEN,
            "this server speaks git's smart protocol only: use git 1.6.6 or later",
        ));
    };
    let (_, directory, _) = authorise(&context, service, &project, &repository, &headers)?;
    let _permit = context.inner.admit_fetch().ok_or_else(busy)?;

    let mut command = context.inner.git.command(&directory);
    command.args([service.command(), "--stateless-rpc", "--advertise-refs", "."]);
    let mut body = Vec::new();
    match protocol(service, &headers) {
        Some(protocol) => drop(command.env("GIT_PROTOCOL", protocol)),
        None => {
            let line = format!("# service={}\n", service.name());
            body = format!("{:04x}{line}0000", line.len() + 4).into_bytes();
        }
    }
    let output = command.stdin(std::process::Stdio::null()).output().await.map_err(broken)?;
    if !output.status.success() {
        return Err(broken(String::from_utf8_lossy(&output.stderr).trim()));
    }
    body.extend_from_slice(&output.stdout);
    Ok(respond(&format!("application/x-{}-advertisement", service.name()), Body::from(body)))
}

/// A fetch or a push.
async fn serve(
    State(context): State<Context>,
    Path((project, repository, service)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Some(service) = Service::parse(&service) else {
        return Err(refuse(StatusCode::NOT_FOUND, "there is nothing here"));
    };
    let expected = format!("application/x-{}-request", service.name());
    if headers.get(header::CONTENT_TYPE).is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the content type must be {expected}")));
    }
    let (repository, directory, person) = authorise(&context, service, &project, &repository, &headers)?;
    let inner = &context.inner;
    let mut command = transport::command(&inner.git, &directory, service, true);
    let running = match service {
        Service::Upload => {
            let permit = inner.admit_fetch().ok_or_else(busy)?;
            if let Some(protocol) = protocol(service, &headers) {
                command.env("GIT_PROTOCOL", protocol);
            }
            transport::fetch(command, chunks(body), permit).map_err(broken)?
        }
        Service::Receive => {
            let permit = inner.admit_push().ok_or_else(busy)?;
            let opened = inner.sessions.open(repository, person);
            transport::push(inner, command, chunks(body), opened, permit).map_err(broken)?
        }
    };
    let kind = format!("application/x-{}-result", service.name());
    Ok(respond(&kind, Body::from_stream(ReceiverStream::new(running.output))))
}

/// The request's body until its end, an error, or silence.
fn chunks(body: Body) -> impl Stream<Item = Bytes> + Send + Unpin {
    let stream = futures::stream::unfold(Input(Some(body.into_data_stream())), |mut input| async move {
        let chunk = tokio::time::timeout(INPUT_TIMEOUT, input.0.as_mut()?.next()).await.ok().flatten();
        if chunk.is_none() {
            input.0 = None; // Its end, or silence.
        }
        Some((chunk?.ok()?, input))
    });
    Box::pin(stream)
}

/// A body that is read on for a while when nobody wants it any more: a client that is still sending when git has refused
/// would see its connection cut, and not why.
struct Input(Option<BodyDataStream>);

impl Drop for Input {
    fn drop(&mut self) {
        let Some(mut rest) = self.0.take() else { return };
        tokio::spawn(async move {
            let mut left = UNWANTED_BYTES_MAX;
            let read = async {
                while let Some(Ok(chunk)) = rest.next().await {
                    left = left.saturating_sub(chunk.len() as u64);
                    if left == 0 {
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout(UNWANTED_TIME, read).await;
        });
    }
}

fn protocol(service: Service, headers: &HeaderMap) -> Option<&'static str> {
    service.protocol(headers.get("git-protocol")?.to_str().ok()?)
}

/// Which repository, where it lies, and who asks.
fn authorise(
    context: &Context,
    service: Service,
    project: &str,
    repository: &str,
    headers: &HeaderMap,
) -> Result<(Repository, PathBuf, Person), Refusal> {
    let given = credentials(headers);
    let person = given.and_then(|(user, password)| context.auth.password(&user, &password));
    let Some(person) = person else {
        return Err(refuse(
            StatusCode::UNAUTHORIZED,
            "a user name and a token are needed: `trimtab init` in your working tree sets them up",
        ));
    };
    match transport::open(&context.inner, &person, service, project, repository) {
        Ok((repository, directory)) => Ok((repository, directory, person)),
        Err(Denial::Absent(text)) => Err(refuse(StatusCode::NOT_FOUND, text)),
        Err(Denial::Denied(text)) => Err(refuse(StatusCode::FORBIDDEN, text)),
        Err(Denial::Full(text)) => Err(refuse(StatusCode::INSUFFICIENT_STORAGE, text)),
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// Why a request is not served. Git shows the text to its user, as it is text/plain.
struct Refusal(StatusCode, String);

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, text) = self;
        let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        let mut response = (status, kind, format!("trimtab: {text}\n")).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                let ask = HeaderValue::from_static("Basic realm=\"trimtab\", charset=\"UTF-8\"");
                headers.insert(header::WWW_AUTHENTICATE, ask);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

fn refuse(status: StatusCode, text: impl Into<String>) -> Refusal {
    Refusal(status, text.into())
}

fn busy() -> Refusal {
    refuse(StatusCode::SERVICE_UNAVAILABLE, BUSY)
}

fn broken(error: impl std::fmt::Display) -> Refusal {
    tracing::warn!(%error, "git could not serve a request");
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "git failed on this server; its log says why")
}

fn respond(kind: &str, body: Body) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache, max-age=0, must-revalidate")];
    (headers, body).into_response()
}
