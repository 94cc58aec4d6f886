//! What is acknowledged survives the death of the process at any moment.
//!
//! The test runs itself as a child that writes and says what was acknowledged, and ends that child
//! by SIGKILL or at a failpoint.

use crate::support::{ask, open};
use serde_json::json;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const STORE: &str = "APISERVER_TEST_STORE";
const ACKNOWLEDGED: usize = 40;

/// The child: writes for ever, in eight tasks, and says `name revision` for each answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes() {
    let Some(store) = std::env::var_os(STORE) else { return };
    let api = open(Path::new(&store)).await;
    let writers = (0..8).map(|writer| {
        let api = api.clone();
        tokio::spawn(async move {
            for turn in 0.. {
                let name = format!("c{writer}-{}", turn % 7);
                let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"turn": turn.to_string(), "child": std::process::id().to_string()}});
                let path = format!("/api/v1/namespaces/default/configmaps/{name}?fieldManager=child&force=true");
                let request = http::Request::patch(path).header("content-type", "application/apply-patch+yaml");
                let answer = ask(&api, request, body.to_string()).await;
                assert!(answer.code < 300, "{answer:?}");
                println!("\nACK {name} {} {turn}", answer.json()["metadata"]["resourceVersion"].as_str().expect("a revision"));
            }
        })
    });
    futures::future::join_all(writers).await;
}

#[tokio::test]
async fn acknowledged_writes_survive() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store.redb");
    let mut known: HashMap<String, (u64, u64)> = HashMap::new();
    for round in 0..6 {
        let api = open(&store).await;
        let before = api.revision();
        api.shutdown().await;
        let failpoint = match round % 3 {
            0 => None,
            1 => Some("apiserver.commit.before"),
            _ => Some("apiserver.commit.after"),
        };
        for (name, revision, turn) in run_child(&store, failpoint) {
            assert!(
                revision > before,
                "round {round}: revision {revision} was given out before the restart at {before}"
            );
            known.insert(name, (revision, turn));
        }
        let api = open(&store).await;
        for (name, (revision, turn)) in &known {
            let request = http::Request::get(format!("/api/v1/namespaces/default/configmaps/{name}"));
            let found = ask(&api, request, "").await.json();
            let stands: u64 =
                found["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect(name);
            assert!(stands >= *revision, "round {round}: {name} was acknowledged at {revision} and stands at {stands}");
            assert!(stands > *revision || found["data"]["turn"] == *turn.to_string(), "round {round}: {found}");
            assert!(stands <= api.revision());
        }
        api.shutdown().await;
    }
    assert!(known.len() > 8, "{known:?}");
}

/// What the child acknowledged before it died. A failpoint ends it at its first commit or, since opening
/// commits nothing on a store that exists, at its first write: so there it acknowledges nothing.
fn run_child(store: &Path, failpoint: Option<&str>) -> Vec<(String, u64, u64)> {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["kill::child_writes", "--exact", "--nocapture"]).env(STORE, store);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(name) = failpoint {
        command.env("TRIMTAB_FAILPOINT", name);
    }
    let mut child = command.spawn().expect("the child starts");
    let mut acknowledged = Vec::new();
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("UTF-8");
        let Some(rest) = line.strip_prefix("ACK ") else { continue };
        let parts: Vec<&str> = rest.split(' ').collect();
        let number = |at: usize| parts[at].parse().expect("a number");
        acknowledged.push((parts[0].to_owned(), number(1), number(2)));
        if failpoint.is_none() && acknowledged.len() == ACKNOWLEDGED {
            child.kill().expect("it runs");
        }
    }
    let status = child.wait().expect("it ends");
    assert!(!status.success(), "the child must not end by itself");
    assert!(failpoint.is_none() || acknowledged.is_empty());
    acknowledged
}

#[tokio::test]
async fn a_damaged_store_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store.redb");
    std::fs::write(&store, "this is no store").expect("writable");
    let config = apiserver::Config { store: store.clone(), admission: None, services: None };
    let error = apiserver::ApiServer::open(config).await.err().expect("it is damaged");
    let told = format!("{error}: {}", std::error::Error::source(&error).expect("a source"));
    assert!(told.contains("store.redb"), "{told}");
}

#[tokio::test]
async fn a_second_server_on_the_store_is_refused() {
    let server = crate::support::server().await;
    let config =
        apiserver::Config { store: server.directory.path().join("store.redb"), admission: None, services: None };
    let error = apiserver::ApiServer::open(config).await.err().expect("it is in use");
    assert!(std::error::Error::source(&error).expect("a source").to_string().contains("in use"), "{error:?}");
}
