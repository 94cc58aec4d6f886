//! Who may do what.

use crate::support::{Answer, Server, ask, ask_as, server};
use apiserver::{Admission, AdmissionRequest, ApiServer, Config, Identity};
use serde_json::{Value, json};
use std::sync::Arc;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn alice() -> Identity {
    Identity { user: "alice".into(), groups: vec!["system:authenticated".into()] }
}

async fn create(server: &Server, path: &str, object: Value) {
    let answer = ask(&server.api, http::Request::post(path), object.to_string()).await;
    assert_eq!(answer.code, 201, "{answer:?}");
}

async fn as_alice(server: &Server, request: http::request::Builder, body: &Value) -> Answer {
    ask_as(&server.api, alice(), request, if body.is_null() { String::new() } else { body.to_string() }).await
}

fn role(name: &str, verbs: &[&str], groups: &[&str], resources: &[&str]) -> Value {
    json!({"metadata": {"name": name}, "rules": [{"verbs": verbs, "apiGroups": groups, "resources": resources}]})
}

fn binding(kind: &str, name: &str) -> Value {
    json!({"metadata": {"name": name}, "roleRef": {"kind": kind, "name": name}, "subjects": [{"kind": "User", "name": "alice"}]})
}

#[tokio::test]
async fn roles_give_what_they_say() {
    let server = server().await;
    let home = format!("{RBAC}/namespaces/default");
    create(&server, &format!("{home}/roles"), role("r", &["get", "list"], &[""], &["configmaps", "pods/log"])).await;
    create(&server, &format!("{home}/rolebindings"), binding("Role", "r")).await;
    create(&server, &format!("{RBAC}/clusterroles"), role("c", &["*"], &["apps"], &["*"])).await;
    create(&server, &format!("{RBAC}/clusterrolebindings"), binding("ClusterRole", "c")).await;
    let cases = [
        ("GET", "/api/v1/namespaces/default/configmaps", 200),
        ("GET", "/api/v1/namespaces/default/configmaps/none", 404),
        ("GET", "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1", 403),
        ("DELETE", "/api/v1/namespaces/default/configmaps/none", 403),
        ("GET", "/api/v1/namespaces/kube-system/configmaps", 403),
        ("GET", "/api/v1/configmaps", 403),
        ("GET", "/api/v1/namespaces/default/pods/none", 403),
        ("GET", "/api/v1/namespaces/default/pods/none/log", 404),
        ("GET", "/apis/apps/v1/deployments", 200),
        ("DELETE", "/apis/apps/v1/namespaces/kube-system/deployments/none", 404),
        ("GET", "/version", 200),
        ("GET", "/apis/apps/v1", 200),
    ];
    for (method, path, code) in cases {
        let answer = as_alice(&server, http::Request::builder().method(method).uri(path), &Value::Null).await;
        assert_eq!(answer.code, code, "{method} {path}: {answer:?}");
    }
    let refusal =
        as_alice(&server, http::Request::delete("/api/v1/namespaces/default/configmaps/x"), &Value::Null).await.json();
    assert_eq!(
        refusal["message"],
        "configmaps \"x\" is forbidden: User \"alice\" cannot delete resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    ask(&server.api, http::Request::delete(format!("{home}/rolebindings/r")), "").await;
    let answer = as_alice(&server, http::Request::get("/api/v1/namespaces/default/configmaps"), &Value::Null).await;
    assert_eq!(answer.code, 403, "a right that is taken away is gone at once");
}

#[tokio::test]
async fn nobody_gives_what_they_lack() {
    let server = server().await;
    create(&server, &format!("{RBAC}/clusterroles"), role("all", &["*"], &["*"], &["*"])).await;
    create(
        &server,
        &format!("{RBAC}/clusterroles"),
        role("own", &["*"], &["", "rbac.authorization.k8s.io"], &["configmaps", "roles", "rolebindings"]),
    )
    .await;
    let home = format!("{RBAC}/namespaces/default");
    create(&server, &format!("{home}/rolebindings"), json!({
        "metadata": {"name": "own"}, "roleRef": {"kind": "ClusterRole", "name": "own"}, "subjects": [{"kind": "User", "name": "alice"}],
    }))
    .await;
    // `*` on roles includes `escalate` and `bind`: so take them away first.
    let limited = json!({"rules": [{"verbs": ["create", "get", "patch"], "apiGroups": ["", "rbac.authorization.k8s.io"], "resources": ["configmaps", "roles", "rolebindings"]}]});
    let patch =
        http::Request::patch(format!("{RBAC}/clusterroles/own")).header("content-type", "application/merge-patch+json");
    assert_eq!(ask(&server.api, patch, limited.to_string()).await.code, 200);
    let cases = [
        ("roles", role("mine", &["get"], &[""], &["configmaps"]), 201),
        ("roles", role("more", &["get"], &[""], &["secrets"]), 403),
        ("roles", role("star", &["*"], &[""], &["configmaps"]), 403),
        ("rolebindings", binding("ClusterRole", "own"), 409),
        ("rolebindings", binding("ClusterRole", "all"), 403),
        ("rolebindings", binding("Role", "mine"), 201),
        ("rolebindings", binding("Role", "later"), 403),
    ];
    for (resource, object, code) in cases {
        let answer = as_alice(&server, http::Request::post(format!("{home}/{resource}")), &object).await;
        assert_eq!(answer.code, code, "{object}: {answer:?}");
    }
}

#[tokio::test]
async fn acting_for_others_is_a_right() {
    let server = server().await;
    let list = || {
        http::Request::get("/api/v1/namespaces/default/configmaps")
            .header("impersonate-user", "system:serviceaccount:default:robot")
    };
    let answer = ask(&server.api, list(), "").await;
    assert!(
        answer.code == 403
            && answer.json()["message"].as_str().expect("text").contains("system:serviceaccount:default:robot"),
        "{answer:?}"
    );
    let home = format!("{RBAC}/namespaces/default");
    create(&server, &format!("{home}/roles"), role("r", &["list"], &[""], &["configmaps"])).await;
    create(&server, &format!("{home}/rolebindings"), json!({
        "metadata": {"name": "r"}, "roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
    }))
    .await;
    assert_eq!(ask(&server.api, list(), "").await.code, 200);
    let answer = as_alice(&server, list(), &Value::Null).await;
    assert!(answer.json()["message"].as_str().expect("text").contains("cannot impersonate"), "{answer:?}");
}

struct NoSecrets;

impl Admission for NoSecrets {
    fn review(&self, request: &AdmissionRequest<'_>) -> Result<(), String> {
        let secret = request.resource.resource == "secrets";
        if secret && request.identity.user == "alice" { Err(format!("edit {} in git", request.name)) } else { Ok(()) }
    }
}

#[tokio::test]
async fn admission_has_a_say() {
    let directory = tempfile::tempdir().expect("a directory");
    let config =
        Config { store: directory.path().join("store.redb"), admission: Some(Arc::new(NoSecrets)), services: None };
    let api = ApiServer::open(config).await.expect("it opens");
    let object = json!({"metadata": {"name": "s"}}).to_string();
    let path = "/api/v1/namespaces/default/secrets";
    let mut alice = alice();
    alice.groups.push("system:masters".into());
    let answer = ask_as(&api, alice.clone(), http::Request::post(path), object.clone()).await;
    assert_eq!(
        (answer.code, answer.json()["message"].as_str()),
        (403, Some("secrets \"s\" is forbidden: edit s in git"))
    );
    assert_eq!(ask(&api, http::Request::post(path), object).await.code, 201);
    assert_eq!(ask_as(&api, alice, http::Request::delete(format!("{path}/s")), "").await.code, 403);
}
