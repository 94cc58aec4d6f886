//! A server that says no: made up, since a real one cannot be told to.

use controllers::Options;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Lists one ReplicaSet and nothing else, refuses every Pod, and keeps the last status written.
#[derive(Default)]
struct Refusing {
    refused: AtomicUsize,
    status: Mutex<Option<Value>>,
}

impl Refusing {
    async fn answer(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        if query.contains("watch=true") {
            std::future::pending::<()>().await;
        }
        let (code, body) = match request.method().as_str() {
            "POST" => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let message = "pods \"web-\" is forbidden: exceeded quota: two";
                (
                    403,
                    json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": message, "code": 403}),
                )
            }
            "PUT" => {
                let body = request.into_body().collect_bytes().await.expect("a body");
                let object: Value = serde_json::from_slice(&body).expect("JSON");
                *self.status.lock().expect("a lock") = Some(object["status"].clone());
                (200, object)
            }
            _ => {
                let items = if path.ends_with("/replicasets") { vec![replica_set()] } else { Vec::new() };
                (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}))
            }
        };
        let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
        Ok(response.expect("a response"))
    }
}

fn replica_set() -> Value {
    let labels = json!({"app": "web"});
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "n", "uid": "u", "generation": 1, "resourceVersion": "1"},
        "spec": {"replicas": 100, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": []}}},
    })
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_a_pod_is_not_asked_for_the_others_and_its_words_are_told() {
    let server = Arc::new(Refusing::default());
    let answering = server.clone();
    let client = Client::new(tower::service_fn(move |request| answering.clone().answer(request)), "n");
    let options = Options { node_name: "node".into(), root_ca: None };
    let running = controllers::run(client, options, CancellationToken::new());
    // In this time, which passes at once, retries come 5 ms, 15 ms, 35 ms, … after the first try.
    let _ = tokio::time::timeout(Duration::from_millis(1000), running).await;
    let refused = server.refused.load(Ordering::Relaxed);
    assert!((2..=9).contains(&refused), "{refused} Pods were asked for");
    let status = server.status.lock().unwrap().clone().expect("a status");
    let condition = &status["conditions"][0];
    assert_eq!((&condition["type"], &condition["reason"]), (&json!("ReplicaFailure"), &json!("FailedCreate")));
    assert_eq!(condition["message"], "pods \"web-\" is forbidden: exceeded quota: two");
}
