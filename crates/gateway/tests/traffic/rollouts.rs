//! Endpoints come and go as Pods do: named when they answer, gone from the table before they are at rest, ended then.

use crate::support::{Running, read_head, route};
use gateway::{at_rest, measures};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A server that ends in the middle of whatever it does.
struct Pod {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Pod {
    /// At a loopback address of its own, as Pods have.
    async fn start(number: usize) -> Self {
        let ip = [127, 1, u8::try_from(number / 200).unwrap(), u8::try_from(1 + number % 200).unwrap()];
        let listener = TcpListener::bind(SocketAddr::from((ip, 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(head) = read_head(&mut stream).await {
                        if head.starts_with("GET /echo") {
                            let head =
                                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
                            let _ = stream.write_all(head.as_bytes()).await;
                            let mut byte = [0];
                            while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
                            return;
                        }
                        if head.starts_with("GET /slow") {
                            tokio::time::sleep(Duration::from_millis(300)).await;
                        }
                        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, tasks }
    }
}

/// Asks until told to stop; `fresh`: each time on a new connection.
async fn ask(gateway: SocketAddr, request: &str, fresh: bool, stop: &AtomicBool, count: &AtomicUsize) {
    let mut kept = None;
    while !stop.load(Ordering::SeqCst) {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => TcpStream::connect(gateway).await.unwrap(),
        };
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut answer, mut piece) = (String::new(), [0; 1024]);
        while !answer.ends_with("\r\n\r\nok") {
            let read = stream.read(&mut piece).await.unwrap_or_else(|error| panic!("{request}: {error}: {answer}"));
            assert_ne!(read, 0, "{request}: it ended: {answer}");
            answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        assert!(answer.starts_with("HTTP/1.1 200 "), "{request}: {answer}");
        count.fetch_add(1, Ordering::SeqCst);
        kept = (!fresh).then_some(stream);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_switches_of_servers_that_end_at_once_fail_no_request() {
    let gateway = Running::start().await;
    let socket = gateway.data.path().join("run/gateway.sock");
    let mut pods = vec![Pod::start(0).await, Pod::start(1).await];
    let publish = |pods: &[Pod]| {
        let addresses: Vec<SocketAddr> = pods.iter().map(|pod| pod.address).collect();
        let routes = vec![route("web", &[(1, &addresses)])];
        let gateway = &gateway;
        async move { gateway.publish(&routes).await }
    };
    publish(&pods).await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = JoinSet::new();
    let get = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello";
    let slow = "GET /slow HTTP/1.1\r\nHost: web\r\n\r\n";
    for (request, fresh) in [(get, true), (get, false), (post, true), (post, false), (slow, false), (slow, true)] {
        let (address, stop, count) = (gateway.address, stop.clone(), count.clone());
        load.spawn(async move { ask(address, request, fresh, &stop, &count).await });
    }
    for round in 0..40 {
        let old = std::mem::take(&mut pods);
        pods = vec![Pod::start(2 + 2 * round).await, Pod::start(3 + 2 * round).await];
        publish(&pods).await;
        for mut pod in old {
            at_rest(&socket, pod.address.ip()).await.unwrap();
            pod.tasks.shutdown().await;
        }
        assert!(load.try_join_next().is_none(), "round {round}: a request failed");
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    let measured = measures(&socket).await.unwrap();
    assert_eq!(measured.len(), 1, "{measured:?}");
    assert_eq!((measured[0].host.as_str(), measured[0].backend.as_str()), ("web", "stable"));
    assert_eq!(measured[0].statuses, [0, count.load(Ordering::SeqCst) as u64, 0, 0, 0]);
    assert_eq!((measured[0].unanswered, measured[0].in_flight), (0, 0));
    let (half, all) = (measured[0].quantile(0.5).unwrap(), measured[0].quantile(1.0).unwrap());
    assert!(half < all && all > Duration::from_millis(300), "{half:?} {all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_with_an_open_tunnel_is_not_at_rest() {
    let gateway = Running::start().await;
    let socket = gateway.data.path().join("run/gateway.sock");
    let (old, new) = (Pod::start(1).await, Pod::start(2).await);
    gateway.publish(&[route("web", &[(1, &[old.address])])]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let ask = "GET /echo HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    gateway.publish(&[route("web", &[(1, &[new.address])])]).await;
    let rest = at_rest(&socket, old.address.ip());
    let mut rest = std::pin::pin!(rest);
    for _ in 0..5 {
        // It goes on working after its route has gone, and meanwhile nobody says that it rests.
        stream.write_all(b"x").await.unwrap();
        tokio::select! {
            biased;
            echo = stream.read_u8() => assert_eq!(echo.unwrap(), b'x'),
            _ = &mut rest => panic!("a tunnel is open"),
        }
    }
    at_rest(&socket, new.address.ip()).await.unwrap();
    drop(stream);
    tokio::time::timeout(Duration::from_secs(30), rest).await.expect("at rest").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let gateway = Running::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    gateway.publish(&[route("web", &[(1, &[listener.local_addr().unwrap()])])]).await;
    let endpoint = async {
        let mut stream = listener.accept().await.unwrap().0;
        let mut head = [0; 16];
        stream.read_exact(&mut head).await.unwrap();
        let answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(200), tokio::io::copy(&mut stream, &mut tokio::io::sink()))
            .await;
    };
    let client = async {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 100000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..50 {
            stream.write_all(&[b'x'; 1000]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("no!"), "{answer}");
    };
    tokio::join!(endpoint, client);
}
