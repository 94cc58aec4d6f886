//! One client's connection: its requests, one after the other.

use crate::buffer::{Buffer, fill, write};
use crate::http::{Body, Framing, HEAD_BYTES_MAX, Method, Refusal, Request, Say, Scan, forward, parse_request, say};
use crate::patience::{Deadline, Patience};
use crate::proxy::{Begun, Buffers, Sent, Worker};
use crate::serve::Guest;
use crate::talk::{Failed, Talk, Told};
use crate::tunnel;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

/// Between requests on a connection, when there is room for others.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// The same when there is little room left.
const CROWDED_IDLE_LIMIT: Duration = Duration::from_secs(5);
/// From the first byte of a head to its last.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Endpoints, and connections that turn out to be closed, tried for one request.
const ATTEMPTS_MAX: usize = 6;
/// What a client still sends after it was told no is read and forgotten, so far: otherwise it might not see the answer.
const LINGER_LIMIT: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;
/// Below this the gateway answers itself; nothing is passed on.
const RESERVED: &[u8] = b"/.well-known/trimtab/";

/// What comes after a request.
enum After {
    /// The next one.
    Keep,
    /// Nothing; the connection ends at once.
    Close,
    /// Nothing, but the client may still be sending.
    Linger,
    /// Another protocol.
    Tunnel(Sent),
}

/// Serves a client until its end.
pub async fn serve(mut stream: TcpStream, guest: Guest, worker: Arc<Worker>) {
    let _ = stream.set_nodelay(true);
    let (mut patience, deadline) = (Patience::new(IDLE_LIMIT), Deadline::new());
    loop {
        // Whoever idles holds no buffers.
        deadline.extend(if guest.is_crowded() { CROWDED_IDLE_LIMIT } else { IDLE_LIMIT });
        match patience.watch(&deadline, rest(&stream, &worker)).await {
            Some(Rest::Readable) => {}
            Some(Rest::Left) => return worker.hand_on(stream).await,
            Some(Rest::Lost) | None => return,
        }
        let mut lent = worker.lend();
        loop {
            let mut exchange =
                Exchange { patience: &mut patience, deadline: &deadline, guest: &guest, worker: &worker };
            match exchange.run(&mut stream, &mut lent).await {
                After::Keep if lent.input.is_empty() => break,
                After::Keep => {}
                After::Close => return,
                After::Linger => {
                    deadline.extend(LINGER_LIMIT);
                    patience.watch(&deadline, linger(&mut stream, &mut lent.input)).await;
                    return;
                }
                After::Tunnel(sent) => {
                    let (to_client, to_endpoint) = (lent.answer.data().to_vec(), lent.input.data().to_vec());
                    lent.answer.clear();
                    lent.input.clear();
                    worker.give_back(lent);
                    drop(patience);
                    return tunnel::join(stream, sent, &to_client, &to_endpoint).await;
                }
            }
        }
        worker.give_back(lent);
    }
}

/// How waiting for the next request ends.
enum Rest {
    Readable,
    Lost,
    /// A successor takes the connection.
    Left,
}

async fn rest(stream: &TcpStream, worker: &Worker) -> Rest {
    if worker.is_leaving() {
        return Rest::Left;
    }
    tokio::select! {
        biased;
        ready = poll_fn(|context| stream.poll_read_ready(context)) => match ready {
            Ok(()) => Rest::Readable,
            Err(_) => Rest::Lost,
        },
        () = worker.left() => Rest::Left,
    }
}

async fn linger(stream: &mut TcpStream, input: &mut Buffer) {
    use tokio::io::AsyncWriteExt as _;
    let _ = stream.shutdown().await;
    let (mut reader, _) = stream.split();
    let mut read = 0;
    while read < LINGER_BYTES {
        input.clear();
        match fill(&mut reader, input, HEAD_BYTES_MAX).await {
            Ok(0) | Err(_) => return,
            Ok(count) => read += count,
        }
    }
}

/// One request and its answer.
struct Exchange<'s> {
    patience: &'s mut Patience,
    deadline: &'s Deadline,
    guest: &'s Guest,
    worker: &'s Worker,
}

impl Exchange<'_> {
    async fn run(&mut self, client: &mut TcpStream, buffers: &mut Buffers) -> After {
        let (mut reader, mut writer) = client.split();
        let request = match self.head(&mut reader, buffers).await {
            Ok(Some(request)) => request,
            Ok(None) => return After::Close,
            Err(refusal) => return self.refuse(&mut writer, buffers, refusal).await,
        };
        self.worker.count();
        let begun = Instant::now();
        let Buffers { input, request: out, reply, fields, host, .. } = &mut *buffers;
        let head = &input.data()[..request.length];
        if head[request.target.clone()].starts_with(RESERVED) {
            let words = Say {
                status: 404,
                text: "this path is reserved for Trimtab",
                bodiless: request.method == Method::Head,
            };
            return self.answer(&mut writer, reply, &request, words, false).await;
        }
        key(&head[request.authority.clone()], host);
        out.clear();
        forward(head, &request, fields, self.guest.name(), out);
        input.consume(request.length);
        let mut body = Body::new(request.body, request.body == Framing::Chunked);
        if let Err(refusal) = body.pump(input, out) {
            return self.refuse(&mut writer, buffers, refusal).await;
        }
        self.send(&mut reader, &mut writer, buffers, &request, body, begun).await
    }

    /// The next head; `None` if the client has left.
    async fn head(&mut self, reader: &mut ReadHalf<'_>, buffers: &mut Buffers) -> Result<Option<Request>, Refusal> {
        let Buffers { input, fields, .. } = buffers;
        let (mut scan, mut begun) = (Scan::default(), false);
        self.deadline.extend(HEAD_LIMIT);
        loop {
            if !begun && input.data().starts_with(b"\r\n") {
                // Some clients end a body with one more line (RFC 9112, 2.2).
                input.consume(2);
                (scan, begun) = (Scan::default(), true);
            }
            if let Some(request) = parse_request(input.data(), &mut scan, fields)? {
                return Ok(Some(request));
            }
            match self.patience.watch(self.deadline, fill(reader, input, HEAD_BYTES_MAX)).await {
                Some(Ok(count)) if count > 0 => {}
                None if !input.is_empty() => {
                    return Err(Refusal { status: 408, why: "the head of the request did not come in time" });
                }
                _ => return Ok(None),
            }
        }
    }

    /// Tries endpoints until one answers, as long as it is certain that no other has acted on the request.
    async fn send(
        &mut self,
        reader: &mut ReadHalf<'_>,
        writer: &mut WriteHalf<'_>,
        buffers: &mut Buffers,
        request: &Request,
        mut body: Body,
        begun: Instant,
    ) -> After {
        // All of it is in `buffers.request`, and twice is the same as once.
        let replay = body.is_done() && request.method != Method::Other;
        let mut tried = Vec::new();
        for _ in 0..ATTEMPTS_MAX {
            let sent = match self.worker.begin(&buffers.host, &tried, &buffers.request, replay) {
                Begun::Sent(sent) => sent,
                Begun::Connect(picked) => {
                    let address = picked.endpoint.address;
                    match self.worker.connect(&buffers.host, picked, &buffers.request).await {
                        Ok(sent) => sent,
                        Err(to_blame) => {
                            tried.extend(to_blame.then_some(address));
                            continue;
                        }
                    }
                }
                Begun::Unknown => {
                    let text = format!("nothing is served at {}", buffers.host);
                    return self.own(writer, buffers, request, &body, 404, &text).await;
                }
                Begun::Nobody { label } => {
                    let (status, text) = match tried.is_empty() {
                        true => (503, label),
                        false => (502, format!("{label}: nobody answered")),
                    };
                    return self.own(writer, buffers, request, &body, status, &text).await;
                }
            };
            let (address, reused) = (sent.picked.endpoint.address, sent.reused);
            let talk = Talk { deadline: self.deadline, request, begun };
            match talk.run(self.patience, reader, writer, buffers, &mut body, sent).await {
                Ok(Told::Answered { endpoint: sent, keep }) => {
                    if let Some(Sent { stream, picked, .. }) = sent {
                        self.worker.keep(&picked.endpoint, stream);
                    }
                    return match keep {
                        true => After::Keep,
                        false if body.is_done() => After::Close,
                        false => After::Linger,
                    };
                }
                Ok(Told::Switched(sent)) => return After::Tunnel(sent),
                // An endpoint that is closing its idle connections is not to blame for one of them.
                Err(Failed::Lost) if replay => tried.extend((!reused).then_some(address)),
                Err(Failed::Lost) => break,
                Err(Failed::Silent) => {
                    let text = "the service did not answer in time";
                    return self.own(writer, buffers, request, &body, 504, text).await;
                }
                Err(Failed::Unreadable(why)) => {
                    let text = format!("the service's answer cannot be understood: {why}");
                    return self.own(writer, buffers, request, &body, 502, &text).await;
                }
                Err(Failed::Malformed(refusal)) => return self.refuse(writer, buffers, refusal).await,
                Err(Failed::Over) => return After::Close,
            }
        }
        self.own(writer, buffers, request, &body, 502, "the service broke off").await
    }

    /// The gateway's own answer to a request.
    async fn own(
        &self,
        writer: &mut WriteHalf<'_>,
        buffers: &mut Buffers,
        request: &Request,
        body: &Body,
        status: u16,
        text: &str,
    ) -> After {
        let words = Say { status, text, bodiless: request.method == Method::Head };
        self.answer(writer, &mut buffers.reply, request, words, body.is_done()).await
    }

    /// `read`: nothing of the request is left to be read.
    async fn answer(
        &self,
        writer: &mut WriteHalf<'_>,
        reply: &mut Vec<u8>,
        request: &Request,
        words: Say<'_>,
        read: bool,
    ) -> After {
        let close = !read || !request.persistent;
        reply.clear();
        say(words, close, request.old, reply);
        match write(writer, reply).await {
            Ok(()) if !close => After::Keep,
            Ok(()) => After::Linger,
            Err(_) => After::Close,
        }
    }

    /// What came is no request: nothing after it can be one.
    async fn refuse(&mut self, writer: &mut WriteHalf<'_>, buffers: &mut Buffers, refusal: Refusal) -> After {
        tracing::debug!(client = self.guest.name(), why = refusal.why, "refused");
        buffers.reply.clear();
        say(Say { status: refusal.status, text: refusal.why, bodiless: false }, true, false, &mut buffers.reply);
        match write(writer, &buffers.reply).await {
            Ok(()) => After::Linger,
            Err(_) => After::Close,
        }
    }
}

/// What a host is looked up by: lower case, without port and the dot at the end.
fn key(authority: &[u8], key: &mut String) {
    let colon = authority.iter().rposition(|b| *b == b':');
    let name = match colon {
        Some(at) if authority[at + 1..].iter().all(u8::is_ascii_digit) => &authority[..at],
        _ => authority,
    };
    let name = name.strip_suffix(b".").unwrap_or(name);
    key.clear();
    // ASCII: the head was refused otherwise.
    key.extend(name.iter().map(|b| char::from(b.to_ascii_lowercase())));
}

#[cfg(test)]
mod tests {
    #[test]
    fn hosts_are_compared_without_port_and_case() {
        let mut found = String::new();
        for (authority, expect) in [
            ("Web.Dev.Localhost:7180", "web.dev.localhost"),
            ("web.localhost.", "web.localhost"),
            ("[::1]:80", "[::1]"),
            ("web", "web"),
        ] {
            super::key(authority.as_bytes(), &mut found);
            assert_eq!(found, expect);
        }
    }
}
