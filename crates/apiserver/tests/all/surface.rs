//! The corners of HTTP: bodies, forms, limits, what is told about kinds.

use crate::support::{Answer, ask, server};
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

/// Answers as kube-apiserver gives them.
#[tokio::test]
async fn services_have_addresses_of_their_network() {
    let directory = tempfile::tempdir().unwrap();
    let network = apiserver::Network { address: [10, 200, 0, 0].into(), prefix: 28 };
    let store = directory.path().join("store.redb");
    let config = apiserver::Config { store, admission: None, services: Some(network) };
    let api = apiserver::ApiServer::open(config).await.unwrap();
    const SERVICES: &str = "/api/v1/namespaces/default/services";
    let create = async |name: &str, spec: Value| {
        let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        service["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        ask(&api, post(SERVICES, "application/json"), service.to_string()).await
    };
    let change = async |name: &str, spec: Value| {
        let request = http::Request::patch(format!("{SERVICES}/{name}"));
        let request = request.header("content-type", "application/merge-patch+json");
        ask(&api, request, json!({"spec": spec}).to_string()).await
    };
    let address = |answer: &Answer| -> String {
        let spec = answer.json()["spec"].clone();
        assert_eq!(spec["clusterIPs"], json!([spec["clusterIP"]]), "{answer:?}");
        spec["clusterIP"].as_str().unwrap().to_owned()
    };
    assert_eq!(address(&create("seven", json!({"clusterIP": "10.200.0.7"})).await), "10.200.0.7");
    let any = create("any", json!({})).await;
    assert!(any.warnings.is_empty() && address(&any).starts_with("10.200.0."), "{any:?}");
    assert_eq!(address(&create("headless", json!({"clusterIP": "None"})).await), "None");
    let dry = ask(
        &api,
        post(&format!("{SERVICES}?dryRun=All"), "application/json"),
        json!({"metadata": {"name": "dry"}, "spec": {"ports": [{"port": 80}]}}).to_string(),
    )
    .await;
    assert_eq!(address(&dry), "10.200.0.0");
    for (spec, message) in [
        (
            json!({"clusterIP": "10.200.0.7"}),
            "spec.clusterIPs: Invalid value: [\"10.200.0.7\"]: failed to allocate IP 10.200.0.7: provided IP is already allocated",
        ),
        (
            json!({"clusterIP": "10.0.0.7"}),
            "spec.clusterIPs: Invalid value: [\"10.0.0.7\"]: failed to allocate IP 10.0.0.7: the provided network does not match the current range",
        ),
        (
            json!({"clusterIP": "10.200.0.15"}),
            "spec.clusterIPs: Invalid value: [\"10.200.0.15\"]: failed to allocate IP 10.200.0.15: the provided network does not match the current range",
        ),
        (
            json!({"clusterIP": "zzz"}),
            "spec.clusterIPs[0]: Invalid value: \"zzz\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            json!({"clusterIP": "fd00::1"}),
            "spec.clusterIPs[0]: Invalid value: [\"fd00::1\"]: IPv6 is not configured on this cluster",
        ),
        (
            json!({"clusterIPs": ["10.200.0.9"]}),
            "spec.clusterIPs: Invalid value: [\"10.200.0.9\"]: must be empty when `clusterIP` is not specified",
        ),
        (
            json!({"clusterIP": "10.200.0.8", "clusterIPs": ["10.200.0.9"]}),
            "spec.clusterIPs: Invalid value: [\"10.200.0.9\"]: first value must match `clusterIP`",
        ),
        (
            json!({"type": "ExternalName", "externalName": "x.y", "clusterIP": "10.200.0.9"}),
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
        ),
    ] {
        let refused = create("c", spec.clone()).await;
        assert_eq!(refused.json()["message"], format!("Service \"c\" is invalid: {message}"), "{spec}");
    }
    for address in ["10.200.0.8", "None"] {
        let refused = change("seven", json!({"clusterIP": address})).await.json();
        let expected = format!(
            "Service \"seven\" is invalid: spec.clusterIPs[0]: Invalid value: [{address:?}]: may not change once set"
        );
        assert_eq!(refused["message"], expected);
    }
    for left_out in [json!({"clusterIP": null}), json!({"clusterIP": "", "clusterIPs": null})] {
        assert_eq!(address(&change("seven", left_out).await), "10.200.0.7");
    }
    let external = change("seven", json!({"type": "ExternalName", "externalName": "x.y"})).await.json();
    let expected = json!({"ports": [{"protocol": "TCP", "port": 80, "targetPort": 80}], "type": "ExternalName", "sessionAffinity": "None", "externalName": "x.y"});
    assert_eq!(external["spec"], expected, "its address is free");
    assert_eq!(address(&create("eight", json!({"clusterIP": "10.200.0.7"})).await), "10.200.0.7");
    assert!(address(&change("seven", json!({"type": "ClusterIP"})).await).starts_with("10.200.0."));
    // All 14 are given, side by side and each once; then none is left, until one is freed.
    let names: Vec<String> = (0..11).map(|n| format!("more-{n}")).collect();
    let made = futures::future::join_all(names.iter().map(|name| create(name, json!({})))).await;
    let mut addresses: Vec<String> = made.iter().map(address).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 11);
    assert!(create("late", json!({})).await.json()["message"].as_str().unwrap().contains("range is full"));
    let deleted = ask(&api, http::Request::delete(format!("{SERVICES}/eight")), "").await;
    assert_eq!(deleted.code, 200);
    assert_eq!(address(&create("late", json!({})).await), "10.200.0.7");
    let loud = create("loud", json!({"type": "NodePort", "clusterIP": "None"})).await;
    assert!(loud.warnings.iter().any(|warning| warning.contains("NodePort")), "{loud:?}");
}

/// Answers as kube-apiserver gives them.
#[tokio::test]
async fn jobs_select_their_own_pods() {
    let server = server().await;
    const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
    let create = async |name: &str, more: Value| {
        let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "m", "image": "x"}]}});
        let mut job = json!({"metadata": {"name": name}, "spec": {"template": template}});
        job["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&server.api, post(JOBS, "application/json"), job.to_string()).await
    };
    let change = async |spec: Value| {
        let request = http::Request::patch(format!("{JOBS}/a")).header("content-type", "application/merge-patch+json");
        ask(&server.api, request, json!({"spec": spec}).to_string()).await
    };
    let made = create("a", json!({})).await;
    assert!(made.warnings.is_empty(), "{made:?}");
    let job = made.json();
    let uid = &job["metadata"]["uid"];
    let labels = json!({"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": "a", "controller-uid": uid, "job-name": "a"});
    assert_eq!(job["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
    assert_eq!((&job["spec"]["template"]["metadata"]["labels"], &job["metadata"]["labels"]), (&labels, &labels));
    for (spec, message) in [
        (
            json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}}),
            "spec.template.metadata.labels: Invalid value: \"null\": `selector` does not match template `labels`",
        ),
        (json!({"completions": -1}), "spec.completions: Invalid value: -1: must be greater than or equal to 0"),
        (
            json!({"template": {"spec": {"containers": [{"name": "m", "image": "x"}]}}}),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
    ] {
        let refused = create("b", spec.clone()).await.json();
        assert_eq!(refused["message"], format!("Job.batch \"b\" is invalid: {message}"), "{spec}");
    }
    let own = create("b", json!({"selector": {"matchLabels": {"a": "b"}}})).await.json();
    assert!(own["message"].as_str().unwrap().contains("`selector` not auto-generated"), "{own}");
    for (field, value) in [("completions", json!(3)), ("completionMode", json!("Indexed"))] {
        let refused = change(json!({field: value})).await.json();
        assert_eq!(
            refused["message"],
            format!("Job.batch \"a\" is invalid: spec.{field}: Invalid value: {value}: field is immutable")
        );
    }
    let label = json!({"template": {"metadata": {"labels": {"x": "y"}}}});
    assert_eq!(change(label.clone()).await.code, 422);
    assert_eq!(change(json!({"parallelism": 3, "suspend": true, "backoffLimit": 9})).await.code, 200);
    assert_eq!(change(label).await.code, 200, "it is suspended and has not begun");
    let policy = create("c", json!({"podFailurePolicy": {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}}]}})).await;
    assert!(policy.code == 201 && policy.warnings[0].contains("podFailurePolicy"), "{policy:?}");
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
