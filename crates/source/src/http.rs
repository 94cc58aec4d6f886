//! Git's smart HTTP protocol: authentication, then a git process whose input and output are the bodies.

use crate::git::Git;
use crate::hook::TOKEN_VARIABLE;
use crate::push::Opened;
use crate::{GitAuth, Inner};
use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use bytes::Bytes;
use futures::StreamExt as _;
use model::flow::Repository;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tower_http::decompression::RequestDecompressionLayer;

/// A client that sends nothing for this long has gone without saying so.
const INPUT_TIMEOUT: Duration = Duration::from_secs(60);
/// Of git's output on its way to the client.
const CHUNK_BYTES: usize = 32 * 1024;
const CHUNKS_MAX: usize = 4;
/// What a git process may say about a failure, for the log.
const COMPLAINT_BYTES_MAX: u64 = 8 * 1024;

#[derive(Clone)]
struct Context {
    inner: Arc<Inner>,
    auth: Arc<dyn GitAuth>,
}

/// The two services of git.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Upload,
    Receive,
}

impl Service {
    fn parse(name: &str) -> Option<Self> {
        [Self::Upload, Self::Receive].into_iter().find(|service| service.name() == name)
    }
    fn name(self) -> &'static str {
        match self {
            Self::Upload => "git-upload-pack",
            Self::Receive => "git-receive-pack",
        }
    }
    fn command(self) -> &'static str {
        self.name().strip_prefix("git-").expect("both names begin so")
    }
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
    let (_, host, _) = authorise(&context, service, &project, &repository, &headers)?;
    let _permit = context.inner.admit_fetch().ok_or_else(busy)?;

    let protocol = protocol(service, &headers);
    let mut command = context.inner.git.command(&host);
    command.args([service.command(), "--stateless-rpc", "--advertise-refs", "."]);
    let mut body = Vec::new();
    match &protocol {
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
    let (repository, host, actor) = authorise(&context, service, &project, &repository, &headers)?;
    let output = match service {
        Service::Upload => {
            let permit = context.inner.admit_fetch().ok_or_else(busy)?;
            let mut command = rpc(&context.inner.git, &host, service);
            if let Some(protocol) = protocol(service, &headers) {
                command.env("GIT_PROTOCOL", protocol);
            }
            fetch(command, body, permit).map_err(broken)?
        }
        Service::Receive => {
            let permit = context.inner.admit_push().ok_or_else(busy)?;
            let opened = context.inner.sessions.open(repository, actor);
            let mut command = rpc(&context.inner.git, &host, service);
            command.env(TOKEN_VARIABLE, &opened.token);
            push(&context.inner, command, body, opened, permit).map_err(broken)?
        }
    };
    let kind = format!("application/x-{}-result", service.name());
    Ok(respond(&kind, Body::from_stream(ReceiverStream::new(output))))
}

fn rpc(git: &Git, directory: &FilePath, service: Service) -> Command {
    let mut command = git.command(directory);
    command.args([service.command(), "--stateless-rpc", "."]);
    command
}

type Output = mpsc::Receiver<std::io::Result<Bytes>>;

/// The process ends when the client does.
fn fetch(mut command: Command, body: Body, permit: OwnedSemaphorePermit) -> std::io::Result<Output> {
    let (mut child, input, complaint) = start(&mut command)?;
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::spawn(async move {
        let _permit = permit;
        let feed = tokio::spawn(feed(body.into_data_stream(), input));
        if let Some(mut output) = child.stdout.take() {
            copy(&mut output, &sender, || false).await;
        }
        feed.abort();
        drop(sender);
        drop(child);
        complaint.await;
    });
    Ok(receiver)
}

/// The process lives on when the client goes: killed between two references it would leave locks behind, and a push
/// that was accepted is to be finished.
fn push(
    inner: &Arc<Inner>,
    mut command: Command,
    body: Body,
    opened: Opened,
    permit: OwnedSemaphorePermit,
) -> std::io::Result<Output> {
    let (mut child, input, complaint) = start(&mut command)?;
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let inner = inner.clone();
    tokio::spawn(async move {
        let _permit = permit;
        let feed = tokio::spawn(feed(body.into_data_stream(), input));
        let gone = opened.session.gone.clone();
        let left = {
            let (gone, sender) = (gone.clone(), sender.clone());
            tokio::spawn(async move {
                sender.closed().await;
                gone.cancel();
            })
        };
        if let Some(mut output) = child.stdout.take() {
            copy(&mut output, &sender, || true).await;
        }
        left.abort();
        feed.abort();
        let _ = child.wait().await;
        drop(opened);
        complaint.await;
        // Also when the hook could not tell us.
        inner.changed();
    });
    Ok(receiver)
}

fn start(command: &mut Command) -> std::io::Result<(Child, ChildStdin, impl Future<Output = ()> + Send + use<>)> {
    let mut child = command.spawn()?;
    let input = child.stdin.take().expect("stdin is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    // Read all the time, lest git waits for it; logged at the end.
    let reading = tokio::spawn(async move {
        let mut complaint = Vec::new();
        let mut limited = stderr.take(COMPLAINT_BYTES_MAX);
        let _ = limited.read_to_end(&mut complaint).await;
        let _ = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await;
        complaint
    });
    let complaint = async move {
        let complaint = reading.await.unwrap_or_default();
        let complaint = String::from_utf8_lossy(&complaint);
        if !complaint.trim().is_empty() {
            tracing::debug!(complaint = complaint.trim(), "git");
        }
    };
    Ok((child, input, complaint))
}

/// The request's body into git; its end, an error or silence closes git's input, and git ends by itself.
async fn feed(mut body: BodyDataStream, mut input: ChildStdin) {
    while let Ok(Some(Ok(chunk))) = tokio::time::timeout(INPUT_TIMEOUT, body.next()).await {
        if input.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

/// Git's output to the client. When that is gone, `drain` decides whether to read on.
async fn copy(
    output: &mut (impl AsyncRead + Unpin),
    sender: &mpsc::Sender<std::io::Result<Bytes>>,
    drain: impl Fn() -> bool,
) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        if sender.send(Ok(Bytes::copy_from_slice(&buffer[..length]))).await.is_err() && !drain() {
            return;
        }
    }
}

/// Protocol version of a fetch, as the client asks for it; pushes know no newer one.
fn protocol(service: Service, headers: &HeaderMap) -> Option<String> {
    let text = headers.get("git-protocol")?.to_str().ok()?;
    let known = service == Service::Upload && text.split(':').any(|part| part == "version=2");
    known.then(|| "version=2".to_owned())
}

/// Which repository, where it lies, and who asks.
fn authorise(
    context: &Context,
    service: Service,
    project: &str,
    repository: &str,
    headers: &HeaderMap,
) -> Result<(Repository, std::path::PathBuf, String), Refusal> {
    let given = credentials(headers);
    let actor = given.and_then(|(user, password)| context.auth.authenticate(&user, &password));
    let Some(actor) = actor else {
        return Err(refuse(
            StatusCode::UNAUTHORIZED,
            "a user name and a token are needed: `trimtab init` in your working tree sets them up",
        ));
    };
    let absent = || {
        let text = format!("there is no repository {project}/{repository} for {actor}; `trimtab init` creates one");
        refuse(StatusCode::NOT_FOUND, text)
    };
    let name = repository.strip_suffix(".git").unwrap_or(repository);
    let project = project.parse().map_err(|_| absent())?;
    let repository = Repository { project, name: name.to_owned() };
    // Who may not read it does not learn that it exists.
    let host = context.inner.host(&repository).map_err(|_| absent())?;
    if !context.auth.may_read(&actor, &repository) {
        return Err(absent());
    }
    if service == Service::Receive && !context.auth.may_write(&actor, &repository) {
        return Err(refuse(StatusCode::FORBIDDEN, format!("{actor} may not push to {repository}")));
    }
    Ok((repository, host.objects.place.directory.clone(), actor))
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
    refuse(StatusCode::SERVICE_UNAVAILABLE, "too many fetches and pushes at once; try again")
}

fn broken(error: impl std::fmt::Display) -> Refusal {
    tracing::warn!(%error, "git could not serve a request");
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "git failed on this server; its log says why")
}

fn respond(kind: &str, body: Body) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache, max-age=0, must-revalidate")];
    (headers, body).into_response()
}
