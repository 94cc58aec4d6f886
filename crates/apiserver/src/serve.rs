//! The API on a TCP port, over TLS.

use crate::door::{Ending, let_in};
use crate::reply::{self, Body};
use crate::server::{ApiServer, Identity, Inner};
use crate::status::Refusal;
use http::header::{AUTHORIZATION, CONNECTION};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Connections at one time; others wait to be accepted. One machine's clients need tens.
const CONNECTIONS_MAX: usize = 1024;
/// A handshake takes two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A client of HTTP/2 that does not answer a ping is gone.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Answers that are under way when the server ends get this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Tells who holds a token.
pub trait Authenticator: Send + Sync {
    /// `None`: nobody that is known.
    fn authenticate(&self, bearer: &str) -> Option<Identity>;
}

impl ApiServer {
    /// Answers on a listener until `shutdown`, with HTTP/1.1 and HTTP/2. Callers show a bearer token.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        authenticator: Arc<dyn Authenticator>,
        shutdown: CancellationToken,
    ) {
        self.serve_until(listener, tls, authenticator, Ending { leaving: shutdown.clone(), closing: shutdown }).await;
    }

    /// As [`Self::serve`], with an end in two steps.
    pub async fn serve_until(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        authenticator: Arc<dyn Authenticator>,
        ending: Ending,
    ) {
        let mut tls = (*tls).clone();
        if tls.alpn_protocols.is_empty() {
            tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let connections = let_in(&listener, CONNECTIONS_MAX, &ending.leaving, |stream| {
            let (acceptor, authenticator) = (acceptor.clone(), authenticator.clone());
            connection(stream, acceptor, self.inner().clone(), authenticator, ending.clone())
        })
        .await;
        // Whatever has no end of its own ends here.
        ending.closing.cancelled().await;
        if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
            tracing::info!("the Kubernetes API ends with {} connections open", connections.len());
        }
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    inner: Arc<Inner>,
    authenticator: Arc<dyn Authenticator>,
    ending: Ending,
) {
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake"),
        Err(_) => return tracing::debug!("TLS handshake took too long"),
    };
    // What was agreed on, not what the first bytes look like: to wait for these there is no limit.
    let second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let mut stream = BufReader::new(stream);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.fill_buf()).await {
        Ok(Ok(bytes)) if !bytes.is_empty() => {}
        _ => return tracing::debug!("a client that says nothing"),
    }
    let leaving = ending.leaving.clone();
    let service = service_fn(move |request| {
        let (inner, authenticator, leaving) = (inner.clone(), authenticator.clone(), leaving.clone());
        async move {
            let answered = answer(inner, authenticator, request).await;
            // HTTP/2 has a word of its own for this.
            let last = !second && leaving.is_cancelled();
            answered.map(|mut response| {
                if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            })
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut builder = if second { builder.http2_only() } else { builder.http1_only() };
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(KEEPALIVE));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = if second { ending.leaving.cancelled() } else { ending.closing.cancelled() } => {
            auto::UpgradeableConnection::graceful_shutdown(connection.as_mut());
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection");
    }
}

async fn answer(
    inner: Arc<Inner>,
    authenticator: Arc<dyn Authenticator>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let Some(identity) = bearer(request.headers()).and_then(|token| authenticator.authenticate(token)) else {
        return Ok(match request.uri().path() {
            // Whoever starts the process asks whether it is up, without a token.
            "/healthz" | "/livez" | "/readyz" => reply::text_response(200, "ok"),
            _ => reply::refusal_response(&Refusal::unauthorized(), request.headers()),
        });
    };
    Ok(inner.answer(identity, request).await)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
