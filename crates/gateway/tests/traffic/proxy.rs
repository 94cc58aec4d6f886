//! Requests on their way through.

use crate::support::{Endpoint, Running, dead, read_head, route};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_and_weights() {
    let gateway = Running::start().await;
    let (stable, canary, other) =
        (Endpoint::named("stable").await, Endpoint::named("canary").await, Endpoint::named("other").await);
    gateway
        .publish(&[
            route("web.localhost", &[(80, &[stable.address]), (20, &[canary.address])]),
            route("other.localhost", &[(1, &[other.address])]),
        ])
        .await;
    let mut counts: HashMap<String, usize> = HashMap::new();
    for _ in 0..50 {
        *counts.entry(gateway.get("Web.Localhost:7180", "/").await.1).or_default() += 1;
    }
    assert!((9..=11).contains(&counts["canary"]), "{counts:?}");
    assert_eq!(counts["canary"] + counts["stable"], 50);
    assert_eq!(gateway.get("other.localhost", "/").await, (200, "other".into()));
    let connections = stable.connections.load(Ordering::SeqCst);
    assert!(connections <= 2, "each of two threads keeps its connection: {connections}");
    let status = gateway.client().status().await.unwrap();
    assert_eq!((status.routes, status.requests), (2, 51));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_endpoint_it_says_so_and_nothing_else() {
    let gateway = Running::start().await;
    let (dead, alive) = (dead().await, Endpoint::named("alive").await);
    gateway
        .publish(&[
            route("empty.localhost", &[(1, &[])]),
            route("dead.localhost", &[(1, &[dead])]),
            route("half.localhost", &[(1, &[dead, alive.address])]),
        ])
        .await;
    let (code, body) = gateway.get("unknown.localhost", "/").await;
    assert_eq!(code, 404);
    assert!(!body.contains("empty") && !body.contains("127.0.0.1"), "{body}");
    let answer = gateway.raw("GET / HTTP/1.1\r\nHost: empty.localhost\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.contains("empty.localhost: Progressing"), "{answer}");
    assert_eq!(gateway.get("dead.localhost", "/").await.0, 502);
    for _ in 0..4 {
        assert_eq!(gateway.get("half.localhost", "/").await, (200, "alive".into()));
    }
    // Not sent yet, so a POST may go elsewhere too.
    let post = "POST / HTTP/1.1\r\nHost: half.localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    for _ in 0..4 {
        assert!(gateway.raw(post).await.ends_with("alive"));
    }
    assert_eq!(gateway.get("half.localhost", "/.well-known/trimtab/x").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_cannot_hide_another() {
    let gateway = Running::start().await;
    let endpoint = Endpoint::named("ok").await;
    gateway.publish(&[route("web.localhost", &[(1, &[endpoint.address])])]).await;
    let host = "Host: web.localhost\r\n";
    for (name, request) in [
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("two hosts", format!("GET / HTTP/1.1\r\n{host}Host: other\r\n\r\n")),
        ("two lengths", format!("POST / HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
        ("bad coding", format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: x\r\nContent-Length: 1\r\n\r\na")),
        ("space before colon", format!("GET / HTTP/1.1\r\n{host}X : 1\r\n\r\n")),
        ("negative length", format!("POST / HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n")),
    ] {
        let request = request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
        let answer = gateway.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{name}: {answer}");
    }
    assert_eq!(endpoint.requests.load(Ordering::SeqCst), 0, "nothing reached the endpoint");
    // Length and chunks together: whatever the endpoint sees has one meaning.
    let both = format!(
        "POST /headers HTTP/1.1\r\n{host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n"
    );
    let answer = gateway.raw(&both).await.to_ascii_lowercase();
    let (_, seen) = answer.split_once("\r\n\r\n").unwrap_or_default();
    assert!(answer.starts_with("http/1.1 400") || !(seen.contains("content-length: 4")), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_endpoint_learns_who_asked() {
    let gateway = Running::start().await;
    let endpoint = Endpoint::named("ok").await;
    gateway.publish(&[route("web.localhost", &[(1, &[endpoint.address])])]).await;
    let request = "GET /headers HTTP/1.1\r\nHost: web.localhost:80\r\nX-Forwarded-For: 9.9.9.9\r\n\
                   Connection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\n\r\n";
    let seen = gateway.raw(request).await.to_ascii_lowercase();
    for expect in ["host: web.localhost:80", "x-forwarded-for: 9.9.9.9, 127.0.0.1", "x-forwarded-proto: http"] {
        assert!(seen.contains(expect), "{expect:?} is not in {seen}");
    }
    assert!(!seen.contains("x-hop") && !seen.contains("keep-alive"), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_answer_outlives_its_route() {
    let gateway = Running::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (slow, new) = (listener.local_addr().unwrap(), Endpoint::named("new").await);
    gateway.publish(&[route("web.localhost", &[(1, &[slow])])]).await;

    let mut reader = BufReader::new(TcpStream::connect(gateway.address).await.unwrap());
    reader.write_all(b"GET / HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut endpoint = BufReader::new(listener.accept().await.unwrap().0);
    read_head(&mut endpoint).await.unwrap();
    endpoint.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n").await.unwrap();
    let mut line = String::new();
    while line.trim() != "first" {
        line.clear();
        assert_ne!(reader.read_line(&mut line).await.unwrap(), 0, "it ended early");
    }
    gateway.publish(&[route("web.localhost", &[(1, &[new.address])])]).await;
    assert_eq!(gateway.get("web.localhost", "/").await, (200, "new".into()));
    endpoint.write_all(b"7\r\nsecond\n\r\n0\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("second") && rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_acknowledgement_nobody_gets_the_old_endpoint() {
    let gateway = Running::start().await;
    let (blue, green) = (Endpoint::named("blue").await, Endpoint::named("green").await);
    let table = |endpoint: &Endpoint| vec![route("web.localhost", &[(1, &[endpoint.address])])];
    gateway.publish(&table(&blue)).await;
    let hammer = async {
        for _ in 0..400 {
            let (code, _) = gateway.get("web.localhost", "/").await;
            assert_eq!(code, 200, "a request was lost in a switch");
        }
    };
    let switch = async {
        for _ in 0..10 {
            for (endpoint, name) in [(&green, "green"), (&blue, "blue")] {
                gateway.publish(&table(endpoint)).await;
                for _ in 0..5 {
                    assert_eq!(gateway.get("web.localhost", "/").await, (200, name.into()));
                }
            }
        }
    };
    tokio::join!(hammer, switch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_a_tunnel() {
    let gateway = Running::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    gateway.publish(&[route("web.localhost", &[(1, &[listener.local_addr().unwrap()])])]).await;
    let endpoint = async {
        let mut stream = BufReader::new(listener.accept().await.unwrap().0);
        let head = read_head(&mut stream).await.unwrap().to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(switch).await.unwrap();
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.unwrap();
        stream.write_all(b"<").await.unwrap();
        stream.write_all(&heard).await.unwrap();
    };
    let client = async {
        let mut stream = BufReader::new(TcpStream::connect(gateway.address).await.unwrap());
        let ask = b"GET /ws HTTP/1.1\r\nHost: web.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert!(line.starts_with("HTTP/1.1 101"), "{line}");
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
        }
        stream.write_all(b"hello").await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "<hello");
    };
    tokio::join!(endpoint, client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_closes_idle_connections_is_asked_again() {
    let gateway = Running::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    gateway.publish(&[route("web.localhost", &[(1, &[listener.local_addr().unwrap()])])]).await;
    let endpoint = async {
        for _ in 0..5 {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            read_head(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            // Promised to stay open, but is closed.
        }
    };
    let client = async {
        for _ in 0..5 {
            assert_eq!(gateway.get("web.localhost", "/").await, (200, "ok".into()));
        }
    };
    tokio::join!(endpoint, client);
}
