//! Bytes that are no honest request, and what of them an endpoint sees.

use crate::support::{Running, route};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// An endpoint that records what comes and answers each connection once, when it has seen `until`.
struct Recorder {
    seen: Arc<Mutex<Vec<u8>>>,
    address: std::net::SocketAddr,
}

impl Recorder {
    async fn start(until: &str, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (record, until) = (seen.clone(), until.to_owned());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (record, until) = (record.clone(), until.clone());
                tokio::spawn(async move {
                    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
                    while !String::from_utf8_lossy(&bytes).contains(&until) {
                        match stream.read(&mut piece).await {
                            Ok(count) if count > 0 => {
                                bytes.extend_from_slice(&piece[..count]);
                                record.lock().unwrap().extend_from_slice(&piece[..count]);
                            }
                            _ => break,
                        }
                    }
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.read(&mut piece).await;
                });
            }
        });
        Self { seen, address }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends bytes, and reads to the end of the connection.
async fn ask(gateway: &Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    // It may be closed before all was taken: that is an answer too.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_be_read_in_two_ways_is_refused() {
    let gateway = Running::start().await;
    let endpoint = Recorder::start("\r\n\r\n", OK).await;
    gateway.publish(&[route("web", &[(1, &[endpoint.address])])]).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n";
    let post = |headers: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: web\r\n{headers}\r\n\r\n{body}");
    let get = |line: &str, headers: &str| format!("{line}\r\n{headers}\r\n\r\n");
    let cases = [
        ("length and chunks", 400, post("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n")),
        ("chunks and length", 400, post("Transfer-Encoding: chunked\r\nContent-Length: 4", "0\r\n\r\n")),
        ("two lengths", 400, post("Content-Length: 1\r\nContent-Length: 2", "ab")),
        ("the same length twice", 400, post("Content-Length: 1\r\nContent-Length: 1", "a")),
        ("a list of lengths", 400, post("Content-Length: 1, 1", "a")),
        ("a length with a sign", 400, post("Content-Length: +1", "a")),
        ("a negative length", 400, post("Content-Length: -1", "a")),
        ("a length in hexadecimal", 400, post("Content-Length: 0x1", "a")),
        ("a length that overflows", 400, post("Content-Length: 18446744073709551617", "a")),
        ("an empty length", 400, post("Content-Length: ", "a")),
        ("xchunked", 400, post("Transfer-Encoding: xchunked", "0\r\n\r\n")),
        ("chunked twice", 400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n")),
        ("chunked and identity", 400, post("Transfer-Encoding: chunked, identity", "0\r\n\r\n")),
        ("identity", 400, post("Transfer-Encoding: identity", smuggled)),
        ("gzip, chunked", 400, post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n")),
        ("chunked in quotes", 400, post("Transfer-Encoding: \"chunked\"", "0\r\n\r\n")),
        ("a vertical tab before chunked", 400, post("Transfer-Encoding: \u{b}chunked", "0\r\n\r\n")),
        ("a space before the colon", 400, post("Transfer-Encoding : chunked", "0\r\n\r\n")),
        ("a space before the name", 400, post(" Transfer-Encoding: chunked", "0\r\n\r\n")),
        ("a folded line", 400, post("X: a\r\n b", "")),
        ("a folded coding", 400, post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n")),
        ("a bare line feed", 400, "GET / HTTP/1.1\nHost: web\n\n".into()),
        ("a bare line feed in a header", 400, post("X: a\nContent-Length: 5", "")),
        ("a bare carriage return", 400, post("X: a\rContent-Length: 5", "")),
        ("a null", 400, post("X: a\0b", "")),
        ("no name", 400, post(": a", "")),
        ("no colon", 400, post("Content-Length", "")),
        ("a name in other letters", 400, post("Content\u{2010}Length: 5", "")),
        ("a chunk in decimal and more", 400, post("Transfer-Encoding: chunked", "3z\r\nabc\r\n0\r\n\r\n")),
        ("a chunk that is longer than it says", 400, post("Transfer-Encoding: chunked", "3\r\nabcd\r\n0\r\n\r\n")),
        ("a chunk's line feed in its extension", 400, post("Transfer-Encoding: chunked", "3;a\nb\r\nabc\r\n0\r\n\r\n")),
        ("a chunk with a sign", 400, post("Transfer-Encoding: chunked", "+3\r\nabc\r\n0\r\n\r\n")),
        ("a chunk that overflows", 400, post("Transfer-Encoding: chunked", "FFFFFFFFFFFFFFFF1\r\nabc\r\n")),
        (
            "chunks in HTTP/1.0",
            400,
            "POST / HTTP/1.0\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        ),
        ("no host", 400, get("GET / HTTP/1.1", "X: a")),
        ("two hosts", 400, get("GET / HTTP/1.1", "Host: web\r\nHost: web")),
        ("an empty host", 400, get("GET / HTTP/1.1", "Host:")),
        ("a host with a path", 400, get("GET / HTTP/1.1", "Host: web/x")),
        ("a host with a user", 400, get("GET / HTTP/1.1", "Host: a@web")),
        ("a host with a space", 400, get("GET / HTTP/1.1", "Host: web other")),
        ("another host in the target", 400, get("GET http://other/ HTTP/1.1", "Host: web")),
        ("a user in the target", 400, get("GET http://a@web/ HTTP/1.1", "Host: web")),
        ("another scheme", 400, get("GET ftp://web/ HTTP/1.1", "Host: web")),
        ("no path", 400, get("GET web HTTP/1.1", "Host: web")),
        ("a fragment", 400, get("GET /#x HTTP/1.1", "Host: web")),
        ("a space in the target", 400, get("GET /a b HTTP/1.1", "Host: web")),
        ("a tab in the target", 400, get("GET /a\tb HTTP/1.1", "Host: web")),
        ("two spaces", 400, get("GET  / HTTP/1.1", "Host: web")),
        ("no version", 400, get("GET /", "Host: web")),
        ("a version in small letters", 400, get("GET / http/1.1", "Host: web")),
        ("the asterisk", 400, get("GET * HTTP/1.1", "Host: web")),
        ("another version", 505, get("GET / HTTP/1.2", "Host: web")),
        ("HTTP/2 without asking", 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        ("CONNECT", 405, get("CONNECT web:80 HTTP/1.1", "Host: web")),
        ("TRACE", 405, get("TRACE / HTTP/1.1", "Host: web")),
        ("another expectation", 417, post("Expect: 200-ok\r\nContent-Length: 1", "a")),
        ("too many headers", 431, post(&"X: a\r\n".repeat(200), "")),
        ("a head without end", 431, post(&"x".repeat(70_000), "")),
        ("TLS", 400, "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n".into()),
        ("empty lines", 400, "\r\n\r\n\r\n".into()),
    ];
    for (name, status, request) in cases {
        let answer = ask(&gateway, format!("{request}{smuggled}").as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        assert_eq!(answer.matches("connection: close").count(), 1, "{name}: nothing after it is read: {answer}");
        assert_eq!(endpoint.text(), "", "{name}: nothing reached the endpoint");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_passed_on_has_one_meaning() {
    let post = "POST /x HTTP/1.1\r\nhost: web\r\n";
    let said = "x-forwarded-for: 127.0.0.1\r\nx-forwarded-host: web\r\nx-forwarded-proto: http\r\n";
    let plain = |body: &str| format!("{post}{said}{body}");
    for (name, request, expect) in [
        (
            "chunks",
            // Of one byte: a longer one may go on in the pieces in which it comes.
            "Transfer-Encoding: Chunked\r\n\r\n1;ext=1\r\na\r\n0\r\nX: 1\r\n\r\n",
            plain("transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        ),
        ("a length", "Content-Length:   003  \r\n\r\nabc", plain("content-length: 3\r\n\r\nabc")),
        ("nothing", "\r\n", plain("\r\n")),
        (
            "what belongs to the connection",
            "Connection: close, X-A, Host, Content-Length\r\nX-A: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
             Proxy-Connection: x\r\nTrailer: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nContent-Length: 2\r\n\r\nhi",
            plain("content-length: 2\r\n\r\nhi"),
        ),
        ("another protocol that is HTTP", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", plain("\r\n")),
        ("an upgrade of a POST", "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", plain("\r\n")),
        (
            "what others said of the client",
            "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n\r\n",
            format!("{post}{}\r\n", said.replace("127", "9.9.9.9, 127")),
        ),
        ("other headers", "A-b:  c\t \r\nA-b: d\r\n\r\n", format!("{post}A-b: c\r\nA-b: d\r\n{said}\r\n")),
    ] {
        for line in ["POST /x HTTP/1.1\r\nHost: web\r\n", "POST http://web/x HTTP/1.1\r\nHost: web\r\n"] {
            let gateway = Running::start().await;
            let endpoint =
                Recorder::start(&expect, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
            gateway.publish(&[route("web", &[(1, &[endpoint.address])])]).await;
            // Byte by byte, and all at once.
            let bytes = format!("\r\n{line}{request}");
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            for byte in bytes.as_bytes() {
                stream.write_all(&[*byte]).await.unwrap_or_else(|error| panic!("{name}: {error}: {}", endpoint.text()));
            }
            let mut answer = [0; 17];
            let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await;
            assert!(matches!(read, Ok(Ok(_))), "{name}: {read:?}: {:?} is not {expect:?}", endpoint.text());
            assert_eq!(std::str::from_utf8(&answer).unwrap(), "HTTP/1.1 200 OK\r\n", "{name}");
            assert_eq!(endpoint.text(), expect, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_written_anew() {
    for (name, answer, expect) in [
        ("a length", OK, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"),
        (
            "chunks",
            "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n2;x\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 200 Fine\r\nX: y\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        (
            "hop by hop",
            "HTTP/1.1 200 OK\r\nConnection: X-A\r\nX-A: 1\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        ),
        (
            "early hints",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
        ),
        (
            "not modified",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nconnection: close\r\n\r\n",
        ),
    ] {
        let gateway = Running::start().await;
        let endpoint = Recorder::start("\r\n\r\n", answer).await;
        gateway.publish(&[route("web", &[(1, &[endpoint.address])])]).await;
        let found = ask(&gateway, b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").await;
        assert_eq!(found, expect, "{name}");
    }
    for (name, answer) in [
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
        ("length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("no status", "HTTP/1.1 OK\r\n\r\n"),
        ("another protocol", "SSH-2.0-OpenSSH\r\n\r\n"),
        ("a protocol unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
    ] {
        let gateway = Running::start().await;
        let endpoint = Recorder::start("\r\n\r\n", answer).await;
        gateway.publish(&[route("web", &[(1, &[endpoint.address])])]).await;
        let found = ask(&gateway, b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").await;
        assert!(found.starts_with("HTTP/1.1 502 "), "{name}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_drips_is_given_up() {
    let gateway = Running::start().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let begin = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat_n(&b'a', 10_000)) {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::future::pending::<()>().await
    };
    let mut answer = String::new();
    tokio::select! {
        () = drip => {}
        _ = reader.read_to_string(&mut answer) => {}
    }
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_connections_cost_little_and_keep_nobody_out() {
    let gateway = Running::start().await;
    let endpoint = crate::support::Endpoint::named("ok").await;
    gateway.publish(&[route("web", &[(1, &[endpoint.address])])]).await;
    assert_eq!(gateway.get("web", "/").await.0, 200);
    let pid = gateway.client().status().await.unwrap().pid;
    let rss = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().to_owned();
        line.split(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let before = rss();
    let mut idle = Vec::new();
    for _ in 0..1000 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        idle.push(stream);
    }
    let (status, kib) = (gateway.client().status().await.unwrap(), rss() - before);
    assert!(status.connections >= 1000, "{status:?}");
    assert!(kib < 12 * 1024, "{kib} KiB for a thousand idle connections");
    assert_eq!(gateway.get("web", "/").await, (200, "ok".into()));
}
