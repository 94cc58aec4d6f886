//! Against repositories that listen on loopback.

use super::*;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use model::ports::Charts as _;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Default)]
struct Files {
    files: Arc<BTreeMap<String, Vec<u8>>>,
    /// `name:password` that is asked for.
    user: Option<&'static str>,
    asked: Arc<AtomicUsize>,
}

async fn answer(State(files): State<Files>, request: Request) -> Response {
    files.asked.fetch_add(1, Ordering::SeqCst);
    if let Some(user) = files.user {
        let wanted = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user));
        if request.headers().get(header::AUTHORIZATION).is_none_or(|given| given.as_bytes() != wanted.as_bytes()) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
    }
    match files.files.get(request.uri().path()) {
        Some(bytes) => Bytes::from(bytes.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Serves files until the test ends; answers with its address.
async fn serve(files: Files) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer).with_state(files)).await });
    format!("http://{address}")
}

fn files(list: &[(&str, &[u8])]) -> Files {
    let files = list.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
    Files { files: Arc::new(files), ..Files::default() }
}

fn source(repository: &str) -> ChartSource {
    ChartSource { repository: repository.to_owned(), name: "web".into(), version: "*".into() }
}

fn index(digest: &str, url: &str) -> Vec<u8> {
    format!("apiVersion: v1\nentries:\n  web:\n  - {{version: 1.0.0, digest: '{digest}', urls: ['{url}']}}\n")
        .into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    Digest::of(bytes).hex().to_owned()
}

fn store() -> (tempfile::TempDir, Charts) {
    let directory = tempfile::tempdir().unwrap();
    let charts = Charts::open(directory.path().join("charts")).unwrap();
    (directory, charts)
}

#[tokio::test]
async fn a_chart_is_found_by_the_index_kept_and_needs_no_network_again() {
    let files = files(&[
        ("/repo/index.yaml", &index(&hex(b"chart"), "charts/web-1.0.0.tgz")),
        ("/repo/charts/web-1.0.0.tgz", b"chart"),
    ]);
    let asked = files.asked.clone();
    let source = source(&format!("{}/repo", serve(files).await));
    let (directory, charts) = store();
    assert_eq!(charts.versions(&source, &ChartAccess::default()).await.unwrap(), ["1.0.0"]);
    let digest = charts.fetch(&source, "1.0.0", &ChartAccess::default()).await.unwrap();
    assert_eq!(digest, Digest::of(b"chart"));
    let before = asked.load(Ordering::SeqCst);
    assert_eq!(charts.archive(&digest).await.unwrap().unwrap().as_ref(), b"chart");
    assert_eq!(asked.load(Ordering::SeqCst), before);

    std::fs::write(directory.path().join("charts/sha256").join(digest.hex()), b"other").unwrap();
    assert_eq!(charts.archive(&digest).await.unwrap(), None, "what is damaged on disk is not used");
}

#[tokio::test]
async fn an_archive_that_is_not_what_the_index_says_is_refused() {
    let files = files(&[("/index.yaml", &index(&hex(b"chart"), "web.tgz")), ("/web.tgz", b"other")]);
    let source = source(&serve(files).await);
    let (_directory, charts) = store();
    let error = charts.fetch(&source, "1.0.0", &ChartAccess::default()).await.unwrap_err();
    assert!(matches!(&error, PortError::Terminal(text) if text.contains("the index says")), "{error}");
    let error = charts.fetch(&source, "2.0.0", &ChartAccess::default()).await.unwrap_err();
    assert!(error.to_string().contains("has no web 2.0.0"), "{error}");
}

#[tokio::test]
async fn credentials_go_to_the_repository_and_nowhere_else() {
    let elsewhere = serve(Files { user: Some("eve:eve"), ..files(&[("/web.tgz", b"chart")]) }).await;
    for (url, fails) in [("web.tgz".to_owned(), None), (format!("{elsewhere}/web.tgz"), Some("401"))] {
        let mut files = files(&[("/index.yaml", &index(&hex(b"chart"), &url)), ("/web.tgz", b"chart")]);
        files.user = Some("ada:hunter2");
        let source = source(&serve(files).await);
        let (_directory, charts) = store();
        let error = charts.versions(&source, &ChartAccess::default()).await.unwrap_err();
        assert!(matches!(&error, PortError::Terminal(text) if text.contains("chart.credentials")), "{error}");
        let wrong = ChartAccess { user: Some(("ada".into(), "no".into())), ..ChartAccess::default() };
        let error = charts.versions(&source, &wrong).await.unwrap_err().to_string();
        assert!(error.contains("are wrong") && !error.contains("no:"), "{error}");
        let right = ChartAccess { user: Some(("ada".into(), "hunter2".into())), ..ChartAccess::default() };
        let fetched = charts.fetch(&source, "1.0.0", &right).await;
        match fails {
            None => assert_eq!(fetched.unwrap(), Digest::of(b"chart")),
            Some(why) => {
                let error = fetched.unwrap_err().to_string();
                assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn who_does_not_answer_is_asked_again_later() {
    let (_directory, charts) = store();
    let error = charts.versions(&source("http://127.0.0.1:1"), &ChartAccess::default()).await.unwrap_err();
    assert!(matches!(error, PortError::Transient(_)), "{error}");
    let source = source(&serve(files(&[("/index.yaml", b"<html>no</html>")])).await);
    let error = charts.versions(&source, &ChartAccess::default()).await.unwrap_err();
    assert!(matches!(error, PortError::Terminal(_)), "{error}");
}

#[tokio::test]
async fn with_keys_only_what_one_of_them_signed_is_taken() {
    let (ed, rsa): (&[u8], &[u8]) = (include_bytes!("testdata/ed.prov"), include_bytes!("testdata/rsa.prov"));
    let ring = |bytes: &[u8]| ChartAccess { keyring: Some(bytes.to_vec()), ..ChartAccess::default() };
    let both = ring(include_bytes!("testdata/both.gpg"));
    let only_ed = ring(include_bytes!("testdata/ed.asc"));
    let changed = String::from_utf8(ed.to_vec()).unwrap().replace("apiVersion: v2", "apiVersion: v1").into_bytes();
    for (archive, provenance, access, why) in [
        (b"chart", Some(ed), &both, ""),
        (b"chart", Some(rsa), &both, ""),
        (b"chart", Some(ed), &only_ed, ""),
        (b"chart", Some(rsa), &only_ed, "none of the 1 keys"),
        (b"chart", Some(changed.as_slice()), &both, "none of the 2 keys"),
        (b"other", Some(ed), &both, "the archive is sha256:"),
        (b"chart", Some(b"hello".as_slice()), &both, "no signed message"),
        (b"chart", None, &both, "no provenance file"),
        (b"chart", Some(ed), &ring(b"none"), "OpenPGP"),
    ] {
        let mut list: Vec<(&str, &[u8])> = vec![("/web.tgz", archive)];
        let index = index(&hex(archive), "web.tgz");
        list.push(("/index.yaml", &index));
        list.extend(provenance.map(|bytes| ("/web.tgz.prov", bytes)));
        let source = source(&serve(files(&list)).await);
        let fetched = fetch_chart(&source, "1.0.0", access).await;
        match why {
            "" => assert_eq!(fetched.unwrap().pin.to_string(), "web 1.0.0"),
            why => {
                let error = fetched.unwrap_err().to_string();
                assert!(error.contains(why), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn charts_in_a_registry_are_artifacts() {
    let config = b"{\"name\":\"web\"}".to_vec();
    let descriptor = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()});
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": oci::media_type::MANIFEST,
        "config": descriptor("application/vnd.cncf.helm.config.v1+json", &config),
        "layers": [descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"chart")],
    });
    let manifest = manifest.to_string().into_bytes();
    let blob = format!("/v2/charts/web/blobs/{}", Digest::of(b"chart"));
    let repository = serve(files(&[
        ("/v2/", b"{}"),
        ("/v2/charts/web/tags/list", b"{\"name\": \"charts/web\", \"tags\": [\"1.0.0_build.1\", \"0.9.0\"]}"),
        ("/v2/charts/web/manifests/1.0.0_build.1", &manifest),
        (&blob, b"chart"),
    ]));
    let source = source(&format!("{}/charts", repository.await.replace("http://", "oci://")));
    let (_directory, charts) = store();
    assert_eq!(charts.versions(&source, &ChartAccess::default()).await.unwrap(), ["1.0.0+build.1", "0.9.0"]);
    let digest = charts.fetch(&source, "1.0.0+build.1", &ChartAccess::default()).await.unwrap();
    assert_eq!(digest, Digest::of(b"chart"));
    let error = charts.fetch(&source, "0.9.0", &ChartAccess::default()).await.unwrap_err();
    assert!(matches!(error, PortError::Terminal(_)), "{error}");
}

#[tokio::test]
async fn the_oldest_archives_make_room() {
    let directory = tempfile::tempdir().unwrap();
    let charts = Charts::bounded(directory.path().to_owned(), 10).unwrap();
    let old = charts.keep(b"first!".to_vec()).await.unwrap();
    let file = std::fs::File::open(directory.path().join("sha256").join(old.hex())).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let new = charts.keep(b"second".to_vec()).await.unwrap();
    assert_eq!(charts.archive(&old).await.unwrap(), None);
    assert!(charts.archive(&new).await.unwrap().is_some());
}

#[tokio::test]
async fn what_nothing_names_any_more_is_swept_and_what_was_used_lately_is_not() {
    let (directory, charts) = store();
    let place = |digest: &Digest| directory.path().join("charts/sha256").join(digest.hex());
    let mut kept = Vec::new();
    for text in ["named", "read", "taken", "again", "old"] {
        let digest = charts.keep(text.as_bytes().to_vec()).await.unwrap();
        let file = std::fs::File::open(place(&digest)).unwrap();
        if text != "taken" {
            file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
        }
        kept.push(digest);
    }
    let named = BTreeSet::from([kept[0].clone()]);
    charts.archive(&kept[1]).await.unwrap().unwrap();
    charts.keep(b"again".to_vec()).await.unwrap();
    assert_eq!(charts.sweep(named.clone(), Duration::from_secs(3600)).await.unwrap(), (1, 3));
    let stand: Vec<bool> = kept.iter().map(|digest| place(digest).exists()).collect();
    assert_eq!(stand, [true, true, true, true, false]);
    assert_eq!(charts.sweep(named, Duration::ZERO).await.unwrap(), (3, 14));
    assert!(place(&kept[0]).exists());
}
