//! One request: find its endpoint, send it there, bring the answer back.

use crate::body::{Answer, Lease, Moving, Payload};
use crate::headers;
use crate::pool::{Pool, Sender, connect};
use crate::table::{Pick, Shared, Table};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use model::RouteTable;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Below this the gateway answers itself; nothing is passed on.
const RESERVED: &str = "/.well-known/trimtab/";
/// From sending a request to the first byte of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// Endpoints, and connections that turn out to be closed, tried for one request.
const ATTEMPTS_MAX: usize = 6;

/// Serves requests by the latest table.
#[derive(Clone, Default)]
pub struct Proxy {
    table: Shared,
    pool: Arc<Pool>,
    requests: Arc<AtomicU64>,
}

/// A client's connection. It counts as one for as long as anything of it is left, tunnels included.
pub struct Guest {
    pub address: IpAddr,
    #[expect(dead_code, reason = "held, not read")]
    pub permit: OwnedSemaphorePermit,
}

/// Why there is no answer.
enum Failed {
    /// The request was not sent; here it is.
    Unsent(Request<Payload>),
    /// The table changed meanwhile and no longer allows this endpoint.
    Moved(Request<Payload>),
    /// It was sent, on a connection that had idled (`stale`: the endpoint may have closed it unseen) or a new one.
    Lost { stale: bool },
    /// It was sent, and nothing came for too long.
    Silent,
}

impl Proxy {
    /// Replaces the table. When this returns, no request is handed to an endpoint that it does not name.
    pub fn publish(&self, table: RouteTable) {
        let table = Table::new(table);
        *self.table.write().expect("no code panics while it holds this lock") = table;
        self.pool.retain(|endpoint| self.read().names(endpoint));
    }

    pub fn published(&self) -> RouteTable {
        self.read().published.clone()
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().expect("no code panics while it holds this lock")
    }

    /// Never fails: what goes wrong is an answer.
    pub async fn serve(&self, guest: &Arc<Guest>, mut request: Request<Incoming>) -> Response<Answer> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let tunnel = headers::upgrade(request.headers()).map(|kind| (kind, hyper::upgrade::on(&mut request)));
        let (mut head, body) = request.into_parts();
        let authority = match headers::authority(&head) {
            Ok(authority) => authority,
            Err(why) => return say(StatusCode::BAD_REQUEST, why),
        };
        if head.uri.path().starts_with(RESERVED) {
            return say(StatusCode::NOT_FOUND, "this path is reserved for Trimtab");
        }
        if matches!(head.method, Method::CONNECT | Method::TRACE) {
            return say(StatusCode::METHOD_NOT_ALLOWED, "CONNECT and TRACE are not served here");
        }
        let (kind, client) = tunnel.unzip();
        let tunnel = client.map(|client| Tunnel { client, guest: guest.clone() });
        headers::forward(&mut head, &authority, guest.address, kind);
        let payload = if body.is_end_stream() { Payload::Empty } else { Payload::Moving(Moving::new(body)) };
        self.send(&headers::host(&authority), Request::from_parts(head, payload), tunnel).await
    }

    /// Tries endpoints until one answers, as long as it is certain that no other has acted on the request.
    async fn send(&self, host: &str, request: Request<Payload>, tunnel: Option<Tunnel>) -> Response<Answer> {
        let (head, payload) = request.into_parts();
        let spare = replayable(&head, &payload).then(|| head.clone());
        let mut request = Request::from_parts(head, payload);
        let mut tried = Vec::new();
        for _ in 0..ATTEMPTS_MAX {
            let pick = self.read().pick(host, &tried);
            let endpoint = match pick {
                Pick::Endpoint(endpoint) => endpoint,
                Pick::Unknown => return say(StatusCode::NOT_FOUND, &format!("nothing is served at {host}")),
                Pick::Nobody { label } if tried.is_empty() => return unavailable(&label),
                Pick::Nobody { label } => return say(StatusCode::BAD_GATEWAY, &format!("{label}: nobody answered")),
            };
            match self.exchange(host, endpoint, request).await {
                Ok((response, sender)) => return self.finish(response, sender, endpoint, tunnel),
                Err(Failed::Moved(back)) => request = back,
                Err(Failed::Unsent(back)) => {
                    request = back;
                    tried.push(endpoint);
                }
                Err(Failed::Lost { stale }) => {
                    let Some(head) = &spare else { break };
                    request = Request::from_parts(head.clone(), Payload::Empty);
                    if !stale {
                        tried.push(endpoint);
                    }
                }
                Err(Failed::Silent) => return say(StatusCode::GATEWAY_TIMEOUT, "the service did not answer in time"),
            }
        }
        say(StatusCode::BAD_GATEWAY, "the service broke off")
    }

    /// One request on one connection: an idle one, or a new one.
    async fn exchange(
        &self,
        host: &str,
        endpoint: SocketAddr,
        mut request: Request<Payload>,
    ) -> Result<(Response<Incoming>, Sender), Failed> {
        while let Some(sender) = self.pool.take(endpoint).await {
            match self.hand_over(host, endpoint, sender, request, true).await {
                Err(Failed::Unsent(back)) => request = back, // It was closed just now: the next one.
                other => return other,
            }
        }
        match connect(endpoint).await {
            Ok(sender) => self.hand_over(host, endpoint, sender, request, false).await,
            Err(error) => {
                tracing::debug!(%endpoint, %error, "no connection");
                Err(Failed::Unsent(request))
            }
        }
    }

    async fn hand_over(
        &self,
        host: &str,
        endpoint: SocketAddr,
        mut sender: Sender,
        request: Request<Payload>,
        stale: bool,
    ) -> Result<(Response<Incoming>, Sender), Failed> {
        let answer = {
            // Under the lock: a table that is published now waits, and the next request sees it.
            let table = self.read();
            if !table.allows(host, endpoint) {
                return Err(Failed::Moved(request));
            }
            sender.try_send_request(request)
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(response)) => Ok((response, sender)),
            Ok(Err(error)) => Err(unanswered(error, endpoint, stale)),
            Err(_) => Err(Failed::Silent),
        }
    }

    fn finish(
        &self,
        mut response: Response<Incoming>,
        sender: Sender,
        endpoint: SocketAddr,
        tunnel: Option<Tunnel>,
    ) -> Response<Answer> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(tunnel) = tunnel else {
                return say(StatusCode::BAD_GATEWAY, "the service changed the protocol unasked");
            };
            tokio::spawn(tunnel.join(hyper::upgrade::on(&mut response)));
            let (mut head, _) = response.into_parts();
            let kind = headers::upgrade(&head.headers);
            headers::strip(&mut head.headers, kind);
            return Response::from_parts(head, Answer::Text(Full::default()));
        }
        let (mut head, body) = response.into_parts();
        headers::strip(&mut head.headers, None);
        head.version = http::Version::HTTP_11;
        let mut lease = Lease { sender: Some(sender), endpoint, pool: self.pool.clone() };
        if body.is_end_stream() {
            lease.give_back();
        }
        Response::from_parts(head, Answer::Moving(Moving::new(body), lease))
    }
}

fn unanswered(mut error: TrySendError<Request<Payload>>, endpoint: SocketAddr, stale: bool) -> Failed {
    match error.take_message() {
        Some(request) => Failed::Unsent(request),
        None => {
            tracing::debug!(%endpoint, error = %error.error(), "no answer");
            Failed::Lost { stale }
        }
    }
}

/// Sending it twice is the same as once (RFC 9110, 9.2.2), and we still have all of it.
fn replayable(head: &request::Parts, payload: &Payload) -> bool {
    let idempotent = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE);
    idempotent && matches!(payload, Payload::Empty)
}

/// The client's half of a connection that changes its protocol.
struct Tunnel {
    client: OnUpgrade,
    guest: Arc<Guest>,
}

impl Tunnel {
    /// Passes bytes both ways until both ends are done.
    async fn join(self, endpoint: OnUpgrade) {
        let _guest = self.guest;
        if let (Ok(client), Ok(endpoint)) = tokio::join!(self.client, endpoint) {
            let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
            let _ = tokio::io::copy_bidirectional(&mut client, &mut endpoint).await;
        }
    }
}

fn unavailable(label: &str) -> Response<Answer> {
    let mut response = say(StatusCode::SERVICE_UNAVAILABLE, label);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The gateway's own words: plain text, which no browser takes for a page of the service.
fn say(status: StatusCode, text: &str) -> Response<Answer> {
    let mut response = Response::new(Answer::Text(Full::new(Bytes::from(format!("{text}\n")))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
