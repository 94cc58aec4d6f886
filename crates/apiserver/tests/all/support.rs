//! A server of its own for every test, and a plain way to ask it.

use apiserver::{ApiServer, Config, Identity};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};
use tower::Service;

/// A server, and the directory that goes with it.
pub struct Server {
    pub api: ApiServer,
    pub directory: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub warnings: Vec<String>,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// An empty server.
pub async fn server() -> Server {
    let directory = tempfile::tempdir().expect("a directory");
    Server { api: open(&directory.path().join("store.redb")).await, directory }
}

/// A server on a store that may exist.
pub async fn open(store: &Path) -> ApiServer {
    let config = Config { store: store.to_owned(), admission: None, services: None };
    ApiServer::open(config).await.expect("the server opens")
}

/// Asks as somebody who may do everything.
pub async fn ask(api: &ApiServer, request: http::request::Builder, body: impl Into<Bytes>) -> Answer {
    ask_as(api, Identity::master("admin"), request, body).await
}

/// Asks as somebody.
pub async fn ask_as(
    api: &ApiServer,
    identity: Identity,
    request: http::request::Builder,
    body: impl Into<Bytes>,
) -> Answer {
    let request: Request<Full<Bytes>> = request.body(Full::new(body.into())).expect("a request");
    let answered = api.service(identity).call(request).await;
    let response = answered.unwrap_or_else(|never| match never {});
    let warnings = response.headers().get_all(http::header::WARNING).iter();
    Answer {
        code: response.status().as_u16(),
        warnings: warnings.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect(),
        body: response.into_body().collect().await.expect("a body").to_bytes(),
    }
}

/// Waits until `probe` gives something; panics with what it said last.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(what: &str, probe: impl Fn() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(state) if Instant::now() > deadline => panic!("{what}: {state}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
