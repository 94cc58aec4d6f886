//! The control listener: HTTP/1.1 with a bound on everything that a client could hold without saying who it is.

use apiserver::{Ending, let_in};
use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use futures::StreamExt as _;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Bounds of connections.
#[derive(Debug, Clone)]
pub struct Limits {
    /// At one time; others wait to be accepted.
    pub connections: usize,
    /// From the connection, or the answer before, to the end of a request's head.
    pub head: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, head: Duration::from_secs(30) }
    }
}

/// Lets clients in until `leaving`; returns when, after `closing`, the answers that are under way have ended.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, ending: Ending) {
    let end = ending.clone();
    let router = router.layer(axum::middleware::map_response(move |response| std::future::ready(last(response, &end))));
    let connections = let_in(&listener, limits.connections, &ending.leaving, |stream| {
        connection(stream, router.clone(), limits.head, ending.closing.clone())
    })
    .await;
    connections.wait().await;
}

/// What is different about answers when the server ends: each tells its client to come again for the next, and those
/// that have no end of their own get one.
fn last(response: Response, ending: &Ending) -> Response {
    let mut response =
        if is_endless(&response) { response.map(|body| until(body, ending.closing.clone())) } else { response };
    if ending.leaving.is_cancelled() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Events, followed logs and promotions: whoever reads them asks again when they end.
const ENDLESS: [&str; 3] = ["text/event-stream", "text/plain", "application/x-ndjson"];

fn is_endless(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    response.body().size_hint().exact().is_none() && ENDLESS.iter().any(|endless| kind.starts_with(endless))
}

fn until(body: Body, closing: CancellationToken) -> Body {
    Body::from_stream(body.into_data_stream().take_until(closing.cancelled_owned()))
}

async fn connection(stream: TcpStream, router: Router, head: Duration, closing: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn request(address: std::net::SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn idle_and_slow_clients_are_sent_away_and_keep_nobody_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(|| async { "served" }));
        let limits = Limits { connections: 100, head: Duration::from_millis(300) };
        let ending = Ending { leaving: CancellationToken::new(), closing: CancellationToken::new() };
        let server = tokio::spawn(serve(listener, router, limits, ending));

        // A thousand say nothing, or not enough; each is closed when its time is up.
        let begin = Instant::now();
        let mut idle = Vec::new();
        for number in 0..1000 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            idle.push(tokio::spawn(async move {
                let begun: &[u8] = if number % 2 == 0 { b"" } else { b"GET / HTTP/1.1\r\nhost: " };
                let _ = stream.write_all(begun).await;
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            }));
        }
        assert!(request(address).await.ends_with("served"));
        for task in idle {
            tokio::time::timeout(Duration::from_secs(30), task).await.expect("closed").unwrap();
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
        server.abort();
    }
}
