//! What goes because something else has gone.

use crate::support::{Server, ask, eventually, server};
use serde_json::{Value, json};

const BASE: &str = "/api/v1/namespaces";

async fn create(server: &Server, path: &str, object: Value) -> Value {
    let answer =
        ask(&server.api, http::Request::post(path).header("content-type", "application/json"), object.to_string())
            .await;
    assert_eq!(answer.code, 201, "{answer:?}");
    answer.json()
}

async fn map(server: &Server, name: &str, owner: Option<&Value>, blocks: bool) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    if let Some(owner) = owner {
        object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocks,
        }]);
    }
    create(server, &format!("{BASE}/default/configmaps"), object).await
}

async fn code(server: &Server, path: &str) -> u16 {
    ask(&server.api, http::Request::get(path), "").await.code
}

async fn gone(server: &Server, path: &str) {
    eventually(path, || async {
        let answer = ask(&server.api, http::Request::get(path), "").await;
        if answer.code == 404 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

async fn delete(server: &Server, path: &str, policy: &str) -> Value {
    let answer = ask(&server.api, http::Request::delete(format!("{path}?propagationPolicy={policy}")), "").await;
    assert_eq!(answer.code, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn dependents_go_with_their_owner() {
    let server = server().await;
    let path = |name: &str| format!("{BASE}/default/configmaps/{name}");
    for policy in ["Background", "Foreground"] {
        let owner = map(&server, "owner", None, false).await;
        let child = map(&server, "child", Some(&owner), true).await;
        map(&server, "grandchild", Some(&child), true).await;
        let other = map(&server, "other", None, false).await;
        map(&server, "shared", Some(&owner), false).await;
        let both = json!({"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]},
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": other["metadata"]["uid"]},
        ]}});
        let patch = http::Request::patch(path("shared")).header("content-type", "application/merge-patch+json");
        assert_eq!(ask(&server.api, patch, both.to_string()).await.code, 200);
        delete(&server, &path("owner"), policy).await;
        for name in ["owner", "child", "grandchild"] {
            gone(&server, &path(name)).await;
        }
        eventually("the reference to the dead owner goes", || async {
            let shared = ask(&server.api, http::Request::get(path("shared")), "").await.json();
            let left = shared["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len);
            if left == 1 { Ok(()) } else { Err(shared.to_string()) }
        })
        .await;
        delete(&server, &path("other"), "Background").await;
        gone(&server, &path("shared")).await;
    }
}

#[tokio::test]
async fn orphans_stay() {
    let server = server().await;
    let path = |name: &str| format!("{BASE}/default/configmaps/{name}");
    let owner = map(&server, "owner", None, false).await;
    map(&server, "child", Some(&owner), false).await;
    let answer = delete(&server, &path("owner"), "Orphan").await;
    assert_eq!(answer["metadata"]["finalizers"], json!(["orphan"]));
    gone(&server, &path("owner")).await;
    let child = ask(&server.api, http::Request::get(path("child")), "").await.json();
    assert_eq!(child["metadata"]["ownerReferences"], Value::Null, "{child}");
}

#[tokio::test]
async fn an_owner_that_never_was_owns_nothing() {
    let server = server().await;
    map(&server, "child", Some(&json!({"metadata": {"name": "x", "uid": "none"}})), false).await;
    gone(&server, &format!("{BASE}/default/configmaps/child")).await;
}

#[tokio::test]
async fn a_namespace_empties_pods_first() {
    let server = server().await;
    create(&server, BASE, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeName": "here", "containers": [{"name": "c", "image": "i"}]},
    });
    create(&server, &format!("{BASE}/n/pods"), pod).await;
    let held =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "finalizers": ["example.com/hold"]}});
    create(&server, &format!("{BASE}/n/configmaps"), held).await;
    let deleted = delete(&server, &format!("{BASE}/n"), "Background").await;
    assert_eq!(deleted["status"]["phase"], "Terminating");
    let pod = format!("{BASE}/n/pods/p");
    eventually("the Pod is told", || async {
        let pod = ask(&server.api, http::Request::get(&pod), "").await.json();
        if pod["metadata"]["deletionGracePeriodSeconds"] == 30 { Ok(()) } else { Err(pod.to_string()) }
    })
    .await;
    let map = ask(&server.api, http::Request::get(format!("{BASE}/n/configmaps/m")), "").await.json();
    assert_eq!(map["metadata"]["deletionTimestamp"], Value::Null, "Pods go first");
    let late = http::Request::post(format!("{BASE}/n/configmaps")).header("content-type", "application/json");
    let late = ask(&server.api, late, json!({"metadata": {"name": "late"}}).to_string()).await;
    assert_eq!(late.code, 403, "{late:?}");
    // The node is through with it.
    assert_eq!(ask(&server.api, http::Request::delete(format!("{pod}?gracePeriodSeconds=0")), "").await.code, 200);
    eventually("the content goes", || async {
        let map = ask(&server.api, http::Request::get(format!("{BASE}/n/configmaps/m")), "").await.json();
        if map["metadata"]["deletionTimestamp"].is_string() { Ok(()) } else { Err(map.to_string()) }
    })
    .await;
    assert_eq!(code(&server, &format!("{BASE}/n")).await, 200);
    let free =
        http::Request::patch(format!("{BASE}/n/configmaps/m")).header("content-type", "application/merge-patch+json");
    assert_eq!(ask(&server.api, free, json!({"metadata": {"finalizers": null}}).to_string()).await.code, 200);
    gone(&server, &format!("{BASE}/n")).await;
}

#[tokio::test]
async fn a_definition_takes_its_objects_along() {
    let server = server().await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}],
        },
    });
    create(&server, definitions, definition.clone()).await;
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"any": [1, {"x": null}]}});
    let made = create(&server, "/apis/example.com/v1/things", thing.clone()).await;
    assert_eq!(made["spec"]["any"][0], 1);
    delete(&server, &format!("{definitions}/things.example.com"), "Background").await;
    gone(&server, &format!("{definitions}/things.example.com")).await;
    // As in Kubernetes, the paths go a moment after the definition.
    gone(&server, "/apis/example.com/v1/things").await;
    create(&server, definitions, definition).await;
    let list = ask(&server.api, http::Request::get("/apis/example.com/v1/things"), "").await.json();
    assert_eq!(list["items"], json!([]), "{list}");
}

#[tokio::test]
async fn old_events_go() {
    let server = server().await;
    let path = format!("{BASE}/default/events");
    let event = |name: &str, time: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "lastTimestamp": time,
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "Test",
        })
    };
    create(&server, &path, event("old", "2020-01-01T00:00:00Z")).await;
    gone(&server, &format!("{path}/old")).await;
    create(&server, &path, event("new", "2999-01-01T00:00:00Z")).await;
    assert_eq!(code(&server, &format!("{path}/new")).await, 200);
}
