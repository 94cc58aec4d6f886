//! One gateway process takes over from another, and no client notices.

use crate::support::{Endpoint, Running, gateways, options, read_head, route, until};
use gateway::Client;
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Answers `/slow` when it is told to, and turns `/tunnel` into an echo.
struct Patient {
    address: SocketAddr,
    go: Arc<Notify>,
    asked: Arc<Notify>,
}

impl Patient {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (go, asked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (wait, tell) = (go.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (wait, tell) = (wait.clone(), tell.clone());
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(head) = read_head(&mut stream).await {
                        if head.contains("/tunnel") {
                            let switch =
                                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n";
                            stream.write_all(switch.as_bytes()).await.unwrap();
                            let (mut read, mut write) = stream.into_inner().into_split();
                            let _ = tokio::io::copy(&mut read, &mut write).await;
                            return;
                        }
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nbegi").await.unwrap();
                        tell.notify_one();
                        wait.notified().await;
                        stream.write_all(b"nend").await.unwrap();
                    }
                });
            }
        });
        Self { address, go, asked }
    }
}

/// One request on a connection that stays.
async fn ask(kept: &mut TcpStream, host: &str) -> String {
    kept.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let count = kept.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

async fn exactly(stream: &mut TcpStream, expected: &str) {
    let mut heard = vec![0; expected.len()];
    tokio::time::timeout(Duration::from_secs(30), stream.read_exact(&mut heard)).await.expect(expected).unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_takes_over_and_no_connection_notices() {
    let gateway = Running::start().await;
    let (quick, patient) = (Endpoint::named("ok").await, Patient::start().await);
    let routes =
        [route("web.localhost", &[(1, &[quick.address])]), route("slow.localhost", &[(1, &[patient.address])])];
    gateway.publish(&routes).await;
    let before = gateway.client().status().await.unwrap().pid;

    let connect = async || TcpStream::connect(gateway.address).await.unwrap();
    let (mut kept, mut silent, mut slow, mut tunnel) =
        (connect().await, connect().await, connect().await, connect().await);
    assert!(ask(&mut kept, "web.localhost").await.ends_with("ok"));
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: slow.localhost\r\n\r\n").await.unwrap();
    patient.asked.notified().await;
    tunnel
        .write_all(b"GET /tunnel HTTP/1.1\r\nHost: slow.localhost\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nfirst")
        .await
        .unwrap();
    let mut switched = Vec::new();
    while !switched.ends_with(b"first") {
        switched.push(tunnel.read_u8().await.unwrap());
    }

    gateway.client().replace().await.unwrap();
    let after = gateway.client().status().await.unwrap();
    assert_ne!(after.pid, before);
    assert_eq!((after.listen, after.routes), (gateway.address, 2));
    // Whoever was between two requests is at the new one, also who has not said anything yet.
    assert!(ask(&mut kept, "web.localhost").await.ends_with("ok"));
    assert!(ask(&mut silent, "web.localhost").await.ends_with("ok"));
    assert_eq!(gateway.get("web.localhost", "/").await, (200, "ok".into()));
    until(
        "both are at the new one",
        || async { gateway.client().status().await.is_ok_and(|status| status.connections == 2) },
        || "they are not".into(),
    )
    .await;
    // What is under way goes on in the old process, and the address is not at rest.
    let socket = gateway.data.path().join("run/gateway.sock");
    let at_rest = gateway::at_rest(&socket, patient.address.ip());
    tokio::pin!(at_rest);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut at_rest).await.is_err(), "a tunnel leads there");
    tunnel.write_all(b"second").await.unwrap();
    exactly(&mut tunnel, "second").await;
    patient.go.notify_one();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(slow.read_u8().await.unwrap());
    }
    exactly(&mut slow, "beginend").await;
    // That connection is at rest now, and goes on at the new one.
    assert!(ask(&mut slow, "web.localhost").await.ends_with("ok"));
    assert_eq!(gateways(&socket).len(), 2);
    drop(tunnel);
    at_rest.await.unwrap();
    until(
        "the end of the old process",
        || async { gateways(&socket).len() == 1 },
        || format!("{:?}", gateways(&socket)),
    )
    .await;
    assert!(socket.exists() && !socket.with_extension(before.to_string()).exists());
    assert!(ask(&mut kept, "web.localhost").await.ends_with("ok"));
    // The new one is looked after.
    for pid in gateways(&socket) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    let serves = || async { gateway.try_get("web.localhost", "/").await.is_ok_and(|answer| answer.0 == 200) };
    until("serving again", serves, || "no answer".into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_fails_or_is_of_another_version_changes_nothing() {
    let mut gateway = Running::start().await;
    let endpoint = Endpoint::named("ok").await;
    gateway.publish(&[route("web.localhost", &[(1, &[endpoint.address])])]).await;
    let before = gateway.client().status().await.unwrap().pid;
    let socket = gateway.data.path().join("run/gateway.sock");

    let mut stranger = StdUnixStream::connect(&socket).unwrap();
    stranger.write_all(b"{\"protocol\":1,\"request\":{\"handOver\":99}}\n").unwrap();
    let mut said = String::new();
    std::io::BufReader::new(&stranger).read_line(&mut said).unwrap();
    assert!(said.contains("refused") && said.contains("99") && said.contains("trimtab down"), "{said}");
    // One that asks and then dies.
    let mut dies = StdUnixStream::connect(&socket).unwrap();
    dies.write_all(b"{\"protocol\":1,\"request\":{\"handOver\":1}}\n").unwrap();
    let (line, given) = gateway::descriptors::receive_line(&dies).unwrap().unwrap();
    assert!(String::from_utf8_lossy(&line).contains("handingOver") && given.len() == 1);
    drop((dies, given));
    // One that does not start.
    gateway.client = None;
    let mut broken = options(gateway.data.path(), gateway.address);
    broken.exe = "/bin/false".into();
    let client = Client::ensure(broken).await.unwrap();
    assert!(client.replace().await.is_err());
    assert_eq!(client.status().await.unwrap().pid, before);
    assert_eq!(gateway.get("web.localhost", "/").await, (200, "ok".into()));
    drop(client);
    // And one that does.
    let client = Client::ensure(options(gateway.data.path(), gateway.address)).await.unwrap();
    let replaced = || async { client.replace().await.is_ok() };
    until("taken over", replaced, || "refused".into()).await;
    assert_ne!(client.status().await.unwrap().pid, before);
    assert_eq!(gateway.get("web.localhost", "/").await, (200, "ok".into()));
}
