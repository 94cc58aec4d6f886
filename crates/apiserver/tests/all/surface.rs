//! The corners of HTTP: bodies, forms, limits, what is told about kinds.

use crate::support::{ask, server};
use serde_json::{Value, json};
use std::io::{Read, Write};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn post(path: &str, media: &str) -> http::request::Builder {
    http::Request::post(path).header("content-type", media)
}

#[tokio::test]
async fn bodies() {
    let server = server().await;
    let yaml = "metadata:\n  name: written\ndata: {a: 'yes', b: \"1\"}\n";
    let made = ask(&server.api, post(MAPS, "application/yaml"), yaml).await;
    assert_eq!((made.code, made.json()["data"].clone()), (201, json!({"a": "yes", "b": "1"})), "{made:?}");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(br#"{"metadata":{"name":"z"}}"#).expect("memory");
    let request = post(MAPS, "application/json").header("content-encoding", "gzip");
    assert_eq!(ask(&server.api, request, packed.finish().expect("memory")).await.code, 201);
    let large = json!({"metadata": {"name": "l"}, "data": {"k": "x".repeat(3 << 20)}}).to_string();
    assert_eq!(ask(&server.api, post(MAPS, "application/json"), large).await.code, 413);
    let refused = ask(&server.api, post(MAPS, "application/vnd.kubernetes.protobuf"), "k8s\0").await;
    assert_eq!(refused.code, 415);
    assert!(refused.json()["message"].as_str().expect("text").contains("application/vnd.kubernetes.protobuf"));
    for (body, code) in [("{", 400), ("[]", 400), ("{\"metadata\": 1}", 400), ("", 400), (&"[".repeat(5000), 400)] {
        assert_eq!(ask(&server.api, post(MAPS, "application/json"), body.to_owned()).await.code, code, "{body:.20}");
    }
}

#[tokio::test]
async fn answers_are_compressed_and_shortened() {
    let server = server().await;
    for at in 0..40 {
        let object = json!({"metadata": {"name": format!("m{at}")}, "data": {"k": "x".repeat(4096)}});
        assert_eq!(ask(&server.api, post(MAPS, "application/json"), object.to_string()).await.code, 201);
    }
    let plain = ask(&server.api, http::Request::get(MAPS), "").await;
    let packed = ask(&server.api, http::Request::get(MAPS).header("accept-encoding", "gzip"), "").await;
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).expect("gzip");
    assert!(packed.body.len() * 4 < plain.body.len() && unpacked == plain.body);
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";
    let partial = ask(&server.api, http::Request::get(MAPS).header("accept", accept), "").await.json();
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert_eq!(partial["items"][0]["kind"], "PartialObjectMetadata");
    assert_eq!(partial["items"][0]["data"], Value::Null);
    let unknown = http::Request::get(MAPS).header("accept", "application/vnd.kubernetes.protobuf");
    assert_eq!(ask(&server.api, unknown, "").await.code, 406);
    let deleted = ask(&server.api, http::Request::delete(format!("{MAPS}?fieldSelector=metadata.name%3Dm1")), "").await;
    assert_eq!(deleted.json()["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(ask(&server.api, http::Request::delete(MAPS), "").await.code, 200);
    assert_eq!(ask(&server.api, http::Request::get(MAPS), "").await.json()["items"], json!([]));
}

#[tokio::test]
async fn what_is_served_is_told() {
    let server = server().await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let groups = ask(&server.api, http::Request::get("/apis").header("accept", accept), "").await.json();
    assert_eq!(groups["kind"], "APIGroupDiscoveryList");
    let names: Vec<&str> =
        groups["items"].as_array().expect("items").iter().filter_map(|g| g["metadata"]["name"].as_str()).collect();
    assert!(names.contains(&"apps") && names.contains(&"apiextensions.k8s.io"), "{names:?}");
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}}}});
    let definition = json!({
        "metadata": {"name": "builds.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "builds", "kind": "Build"},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}},
                {"name": "v1beta1", "served": true, "storage": false, "schema": {"openAPIV3Schema": schema}},
            ]},
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(ask(&server.api, post(path, "application/json"), definition.to_string()).await.code, 201);
    let group = ask(&server.api, http::Request::get("/apis/example.com"), "").await.json();
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let document = ask(&server.api, http::Request::get("/openapi/v3/apis/example.com/v1"), "").await.json();
    assert!(document["components"]["schemas"].get("com.example.v1.Build").is_some(), "{document}");
    let index = ask(&server.api, http::Request::get("/openapi/v3"), "").await.json();
    assert!(index["paths"].get("apis/example.com/v1").is_some() && index["paths"].get("api/v1").is_some());
    // What is written in one version is read in the other.
    let build = json!({"apiVersion": "example.com/v1beta1", "kind": "Build", "metadata": {"name": "b"}, "spec": {}});
    let path = |version: &str| format!("/apis/example.com/{version}/namespaces/default/builds");
    assert_eq!(ask(&server.api, post(&path("v1beta1"), "application/json"), build.to_string()).await.code, 201);
    let read = ask(&server.api, http::Request::get(format!("{}/b", path("v1"))), "").await.json();
    assert_eq!((read["apiVersion"].as_str(), read["spec"]["n"].as_i64()), (Some("example.com/v1"), Some(3)));
    let list = ask(&server.api, http::Request::get(path("v1")), "").await.json();
    assert_eq!(list["items"][0]["apiVersion"], "example.com/v1");
}

#[tokio::test]
async fn pods_are_bound_evicted_and_deleted_with_grace() {
    let server = server().await;
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for name in ["a", "b"] {
        assert_eq!(ask(&server.api, post(PODS, "application/json"), pod(name).to_string()).await.code, 201);
    }
    let bind = json!({"target": {"kind": "Node", "name": "here"}}).to_string();
    let path = format!("{PODS}/a/binding");
    assert_eq!(ask(&server.api, post(&path, "application/json"), bind.clone()).await.code, 201);
    assert_eq!(ask(&server.api, post(&path, "application/json"), bind).await.code, 409, "it has a node");
    let bound =
        ask(&server.api, http::Request::get(format!("{PODS}?fieldSelector=spec.nodeName%3Dhere")), "").await.json();
    assert_eq!(bound["items"].as_array().map(Vec::len), Some(1));
    let logs = ask(&server.api, http::Request::get(format!("{PODS}/a/log")), "").await;
    assert_eq!(logs.code, 503, "no node is connected");
    // One that no node has seen goes at once.
    assert_eq!(ask(&server.api, post(&format!("{PODS}/b/eviction"), "application/json"), "{}").await.code, 201);
    assert_eq!(ask(&server.api, http::Request::get(format!("{PODS}/b")), "").await.code, 404);
    let dry = ask(&server.api, http::Request::delete(format!("{PODS}/a?dryRun=All")), "").await.json();
    assert_eq!(dry["metadata"]["deletionGracePeriodSeconds"], 30);
    let marked = ask(&server.api, http::Request::delete(format!("{PODS}/a?gracePeriodSeconds=5")), "").await.json();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 5);
    let again = ask(&server.api, http::Request::delete(format!("{PODS}/a?gracePeriodSeconds=60")), "").await.json();
    assert_eq!(again["metadata"]["resourceVersion"], marked["metadata"]["resourceVersion"], "it only gets shorter");
    assert_eq!(ask(&server.api, http::Request::delete(format!("{PODS}/a?gracePeriodSeconds=0")), "").await.code, 200);
    assert_eq!(ask(&server.api, http::Request::get(format!("{PODS}/a")), "").await.code, 404);
}

#[tokio::test]
async fn what_is_not_done_is_said() {
    let server = server().await;
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let made =
        ask(&server.api, post("/api/v1/namespaces/default/services", "application/json"), service.to_string()).await;
    assert_eq!((made.code, made.json()["spec"]["clusterIP"].as_str()), (201, Some("None")));
    assert!(made.warnings[0].starts_with("299 - \"") && made.warnings[0].contains("headless"), "{:?}", made.warnings);
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}});
    let made =
        ask(&server.api, post("/api/v1/namespaces/default/resourcequotas", "application/json"), quota.to_string())
            .await;
    assert!(made.code == 201 && made.warnings[0].contains("nothing here acts on it"), "{made:?}");
    let address = json!({"metadata": {"name": "t"}, "spec": {"clusterIP": "10.0.0.7", "ports": [{"port": 80}]}});
    let refused =
        ask(&server.api, post("/api/v1/namespaces/default/services", "application/json"), address.to_string()).await;
    assert_eq!((refused.code, refused.json()["details"]["causes"][0]["field"].as_str()), (422, Some("spec.clusterIP")));
}
