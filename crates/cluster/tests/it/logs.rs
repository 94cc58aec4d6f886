//! Logs need a node; here a made-up server knows two Pods.

use cluster::Cluster;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use model::ports::{DataPlane, PortError};
use serde_json::json;
use std::convert::Infallible;

/// `one` has a container, `two` has two, which the server wants to be named.
async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let failure = |code: u16, message: &str| {
        (
            code,
            json!({"kind": "Status", "status": "Failure", "reason": "x", "message": message, "code": code}).to_string(),
        )
    };
    let (code, body) = match (path.as_str(), query.contains("container=first")) {
        ("/api/v1/namespaces/n/pods/one/log", _) | ("/api/v1/namespaces/n/pods/two/log", true) => (200, query),
        ("/api/v1/namespaces/n/pods/two/log", false) => failure(400, "a container name must be specified"),
        ("/api/v1/namespaces/n/pods/two", _) => {
            let containers = json!([{"name": "first"}, {"name": "second"}]);
            (200, json!({"metadata": {"name": "two"}, "spec": {"containers": containers}}).to_string())
        }
        ("/api/v1/namespaces/n/pods/busy/log", _) => failure(503, "not now"),
        _ => failure(404, "not found"),
    };
    Ok(Response::builder().status(code).body(Body::from(body.into_bytes())).expect("a response"))
}

#[tokio::test]
async fn logs_are_of_the_first_container_unless_there_is_only_one() {
    let cluster = Cluster::new(Client::new(tower::service_fn(answer), "n"));
    assert_eq!(cluster.logs("n", "one", 20, false).await.unwrap(), "&tailLines=20");
    assert_eq!(cluster.logs("n", "two", 5, true).await.unwrap(), "&container=first&previous=true&tailLines=5");
    assert_eq!(cluster.logs("n", "none", 5, false).await, Err(PortError::Terminal("not found".into())));
    assert_eq!(cluster.logs("n", "busy", 5, false).await, Err(PortError::Transient("not now".into())));
}
