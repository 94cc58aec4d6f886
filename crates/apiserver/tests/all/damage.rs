//! A store file that is not what was written is told apart from one that is, and is left as it is.

use crate::support::{ask, open};
use serde_json::json;
use std::fs;
use std::path::Path;

async fn filled(path: &Path) {
    let api = open(path).await;
    for number in 0..40 {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{number}")}, "data": {"text": "x".repeat(2000)}});
        let request =
            http::Request::post("/api/v1/namespaces/default/configmaps").header("content-type", "application/json");
        assert_eq!(ask(&api, request, body.to_string()).await.code, 201);
    }
    api.shutdown().await;
}

async fn opened(path: &Path) -> Result<usize, String> {
    let config = apiserver::Config { store: path.to_owned(), admission: None, services: None };
    match apiserver::ApiServer::open(config).await {
        Ok(api) => {
            let rows = api.dump().rows().filter(|(key, _)| key.starts_with("configmaps/default/c")).count();
            api.shutdown().await;
            Ok(rows)
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            Err(format!("{error}: {cause}"))
        }
    }
}

#[tokio::test]
async fn a_torn_store_is_told_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let good = directory.path().join("good.redb");
    filled(&good).await;
    let bytes = fs::read(&good).unwrap();
    let cut = |keep: usize| bytes[..keep].to_vec();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("cut in its header", cut(100)),
        ("cut in half", cut(bytes.len() / 2)),
        ("cut by a page", cut(bytes.len() - 4096)),
        ("not a store", vec![0x42; bytes.len()]),
        ("zeroes behind the header", {
            let mut torn = cut(4096);
            torn.resize(bytes.len(), 0);
            torn
        }),
    ];
    for (what, content) in cases {
        let path = directory.path().join("torn.redb");
        fs::write(&path, &content).unwrap();
        let error = opened(&path).await.expect_err(what);
        for word in ["torn.redb", "damaged", "restore"] {
            assert!(error.contains(word), "{what}: {error}");
        }
        assert_eq!(fs::read(&path).unwrap().len(), content.len(), "{what}: the file was changed");
    }
    assert_eq!(opened(&good).await, Ok(40));
}

/// Bytes flipped anywhere: either it is said, or everything is there; an object that is gone or other without a word is the defect.
#[tokio::test]
async fn flipped_bytes_never_lose_an_object_in_silence() {
    let directory = tempfile::tempdir().unwrap();
    let good = directory.path().join("good.redb");
    filled(&good).await;
    let bytes = fs::read(&good).unwrap();
    let (mut told, mut seed) = (0, 7u64);
    for _ in 0..60 {
        let mut torn = bytes.clone();
        for _ in 0..16 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (seed >> 20) as usize % torn.len();
            torn[at] ^= (seed >> 8) as u8 | 1;
        }
        let path = directory.path().join("torn.redb");
        fs::write(&path, &torn).unwrap();
        match opened(&path).await {
            Ok(rows) => assert_eq!(rows, 40, "objects are gone"),
            Err(error) => {
                assert!(error.contains("torn.redb"), "{error}");
                told += 1;
            }
        }
    }
    println!("{told} of 60 damaged files were refused");
}
