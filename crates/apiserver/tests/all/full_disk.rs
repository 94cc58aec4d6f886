//! A full disk stops writes with its name, loses nothing, and is outlived without a restart.

use crate::support::{ask, open};
use serde_json::json;
use std::path::Path;
use std::process::Command;

struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(directory.path()).status();
        assert!(mounted.unwrap().success());
        Self(directory)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn names(api: &apiserver::ApiServer) -> Vec<String> {
    let rows = api.dump();
    rows.rows().filter_map(|(key, _)| key.strip_prefix("configmaps/default/c").map(str::to_owned)).collect()
}

async fn write(api: &apiserver::ApiServer, number: usize) -> (u16, String) {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{number}")}, "data": {"text": "x".repeat(20_000)}});
    let request =
        http::Request::post("/api/v1/namespaces/default/configmaps").header("content-type", "application/json");
    let answer = ask(api, request, body.to_string()).await;
    (answer.code, answer.json()["message"].as_str().unwrap_or_default().to_owned())
}

fn fill(directory: &Path) {
    let _ = Command::new("dd")
        .args(["if=/dev/zero", "bs=64k", &format!("of={}", directory.join("ballast").display())])
        .output();
}

#[tokio::test]
#[ignore = "root: mounts a small tmpfs"]
async fn writes_stop_when_the_disk_is_full_and_go_on_when_it_is_not() {
    let small = Small::mount();
    let store = small.0.path().join("store.redb");
    let api = open(&store).await;
    let (mut next, mut acknowledged) = (0, Vec::new());
    for round in 0..4 {
        for _ in 0..3 {
            assert_eq!(write(&api, next).await.0, 201, "round {round}");
            acknowledged.push(next.to_string());
            next += 1;
        }
        fill(small.0.path());
        let mut refusal = None;
        for _ in 0..400 {
            let (code, message) = write(&api, next).await;
            match code {
                201 => acknowledged.push(next.to_string()),
                _ => {
                    refusal = Some((code, message));
                    break;
                }
            }
            next += 1;
        }
        let (code, message) = refusal.expect("the disk is full");
        assert!(code == 503 && message.contains("full") && message.contains("store.redb"), "{code} {message}");
        next += 1;
        // While it is full, all that was acknowledged is read.
        let known = names(&api);
        assert!(acknowledged.iter().all(|name| known.contains(name)));
        std::fs::remove_file(small.0.path().join("ballast")).unwrap();
    }
    assert_eq!(write(&api, next).await.0, 201, "it goes on");
    acknowledged.push(next.to_string());
    api.shutdown().await;
    let api = open(&store).await;
    let known = names(&api);
    let lost: Vec<_> = acknowledged.iter().filter(|name| !known.contains(name)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    api.shutdown().await;
}
