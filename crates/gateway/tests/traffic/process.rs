//! The gateway outlives whoever started it, and comes back when it is killed.

use crate::support::{Endpoint, Running, any_port, dead, gateways, options, route, until};
use gateway::Client;
use model::ports::Gateway as _;
use model::routes::RouteTable;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_survives_the_control_process_and_a_successor_finds_the_gateway() {
    let mut gateway = Running::start().await;
    let endpoint = Endpoint::named("ok").await;
    gateway.publish(&[route("web.localhost", &[(1, &[endpoint.address])])]).await;
    let before = gateway.client().status().await.unwrap();
    gateway.client = None;
    assert_eq!(gateway.get("web.localhost", "/").await, (200, "ok".into()));

    let again = Client::ensure(options(gateway.data.path(), any_port())).await.unwrap();
    assert_eq!(again.listen_address(), gateway.address);
    let after = again.status().await.unwrap();
    assert_eq!((after.pid, after.routes), (before.pid, 1));
    // Asked to serve elsewhere, it is replaced.
    let elsewhere = dead().await;
    drop(again);
    let again = Client::ensure(options(gateway.data.path(), elsewhere)).await.unwrap();
    assert_eq!(again.listen_address(), elsewhere);
    assert_ne!(again.status().await.unwrap().pid, before.pid);
    again.stop().await.unwrap();
    assert!(tokio::net::TcpStream::connect(elsewhere).await.is_err(), "it still listens");
    let socket = gateway.data.path().join("run/gateway.sock");
    until("the end of the process", || async { gateways(&socket).is_empty() }, || format!("{:?}", gateways(&socket)))
        .await;
    assert!(!socket.exists());
    again.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_is_started_again_with_its_routes() {
    let gateway = Running::start().await;
    let endpoint = Endpoint::named("ok").await;
    let table = RouteTable { routes: vec![route("web.localhost", &[(1, &[endpoint.address])])] };
    gateway.client().publish(&table).await.unwrap();
    let before = gateway.client().status().await.unwrap().pid;
    for pid in gateways(&gateway.data.path().join("run/gateway.sock")) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    // Nobody publishes: it has the routes from disk, at the same address.
    let serves =
        || async { gateway.try_get("web.localhost", "/").await.is_ok_and(|answer| answer == (200, "ok".into())) };
    until("serving again", serves, || "no answer".into()).await;
    assert_ne!(gateway.client().status().await.unwrap().pid, before);
    // And the next change reaches the new one.
    gateway.client().publish(&RouteTable::default()).await.unwrap();
    assert_eq!(gateway.get("web.localhost", "/").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_hangs_is_ended_and_started_again_with_its_routes() {
    let gateway = Running::start().await;
    let endpoint = Endpoint::named("ok").await;
    let table = RouteTable { routes: vec![route("web.localhost", &[(1, &[endpoint.address])])] };
    gateway.client().publish(&table).await.unwrap();
    let socket = gateway.data.path().join("run/gateway.sock");
    let hung = gateways(&socket);
    for pid in &hung {
        rustix::process::kill_process(*pid, rustix::process::Signal::STOP).unwrap();
    }
    let replaced = || async {
        let now = gateways(&socket);
        !now.is_empty() && now.iter().all(|pid| !hung.contains(pid))
    };
    until("another process", replaced, || format!("{hung:?} {:?}", gateways(&socket))).await;
    let serves =
        || async { gateway.try_get("web.localhost", "/").await.is_ok_and(|answer| answer == (200, "ok".into())) };
    until("serving again", serves, || "no answer".into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_told_with_its_holder() {
    let data = tempfile::tempdir().unwrap();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = Client::ensure(options(data.path(), taken.local_addr().unwrap())).await.err().expect("refused");
    let text = error.to_string();
    assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    assert!(text.contains(&taken.local_addr().unwrap().to_string()), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_table_on_disk_is_no_table() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(data.path().join("gateway")).unwrap();
    std::fs::write(data.path().join("gateway/routes.json"), "{\"routes\": [").unwrap();
    let client = Client::ensure(options(data.path(), any_port())).await.unwrap();
    assert_eq!(client.status().await.unwrap().routes, 0);
    client.stop().await.unwrap();
}
