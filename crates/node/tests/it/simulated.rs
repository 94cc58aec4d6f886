//! Pods that are only pretended to run: everything but containers is real.

use crate::cluster::{Cluster, NODE, condition, pod, waiting_reason};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

#[tokio::test]
async fn a_pod_lives_and_leaves() {
    let cluster = Cluster::simulated().await;
    cluster.create(pod("web", json!({}))).await;
    let running = cluster.until_ready("web").await;
    let status = running.status.clone().unwrap();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    let container = &status.container_statuses.unwrap()[0];
    assert!(container.ready && container.started == Some(true) && container.restart_count == 0);
    assert!(cluster.logs("web", false).await.contains("simulated: no container runs here (a test)"));
    cluster.until_event("web", "Started: Started container main").await;
    cluster.delete("web").await;
    cluster.until_gone("web").await;
    cluster.until_event("web", "Killing: Stopping container main").await;
    let left = std::fs::read_dir(cluster.data().join("pods")).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(left, 0, "its directory is gone");
}

#[tokio::test]
async fn the_node_says_plainly_that_it_simulates() {
    let cluster = Cluster::simulated().await;
    let node = Api::<Node>::all(cluster.client.clone()).get(NODE).await.unwrap();
    assert_eq!(node.metadata.annotations.unwrap()[node::SIMULATED_ANNOTATION], "a test");
    let status = node.status.unwrap();
    let conditions = status.conditions.unwrap();
    let of = |name: &str| conditions.iter().find(|c| c.type_ == name).map(|c| c.status.clone());
    assert_eq!((of("Ready"), of("Simulated")), (Some("True".into()), Some("True".into())));
    assert!(status.capacity.unwrap().contains_key("memory"));
}

#[tokio::test]
async fn what_is_missing_is_waited_for() {
    let cluster = Cluster::simulated().await;
    let env = json!({"env": [{"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "config", "key": "level"}}}]});
    cluster.create(pod("web", env)).await;
    cluster
        .until("web", "waiting for its configuration", |pod| {
            waiting_reason(pod).as_deref() == Some("CreateContainerConfigError")
        })
        .await;
    cluster.until_event("web", "Failed: Error: configmap \"config\" not found").await;
    cluster.create_object("configmaps", json!({"metadata": {"name": "config"}, "data": {"other": "x"}})).await;
    cluster.until_event("web", "Failed: Error: couldn't find key level in ConfigMap default/config").await;
    let patch = kube::api::Patch::Merge(json!({"data": {"level": "debug"}}));
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    maps.patch("config", &Default::default(), &patch).await.unwrap();
    cluster.until_ready("web").await;
}

#[tokio::test]
async fn a_pod_that_waits_can_be_deleted() {
    let cluster = Cluster::simulated().await;
    let mut waiting = pod("web", json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}));
    waiting["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "none"}}]);
    cluster.create(waiting).await;
    cluster
        .until_event("web", "FailedMount: MountVolume.SetUp failed for volume \"v\" : secret \"none\" not found")
        .await;
    cluster.delete("web").await;
    cluster.until_gone("web").await;
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_name() {
    let cluster = Cluster::simulated().await;
    let mut refused = pod("web", json!({"tty": true}));
    refused["spec"]["hostPID"] = json!(true);
    cluster.create(refused).await;
    let pod = cluster.until("web", "refused", |pod| waiting_reason(pod).is_some()).await;
    let message = serde_json::to_string(&pod.status).unwrap();
    assert!(message.contains("this node does not support: spec.containers[0] (main): tty; spec.hostPID"), "{message}");
    cluster.delete("web").await;
    cluster.until_gone("web").await;
}

#[tokio::test]
async fn a_restarted_node_takes_its_pods_over() {
    let mut cluster = Cluster::simulated().await;
    cluster.create(pod("stays", json!({}))).await;
    cluster.create(pod("goes", json!({}))).await;
    let before = cluster.until_ready("stays").await;
    cluster.until_ready("goes").await;
    cluster.stop_node();
    // While nobody looks: one Pod vanishes, one comes.
    cluster.pods().delete("goes", &DeleteParams::default().grace_period(0)).await.unwrap();
    cluster.create(pod("comes", json!({}))).await;
    cluster.start_node().await;
    cluster.until_ready("comes").await;
    let after = cluster.until_ready("stays").await;
    assert_eq!(
        before.status.unwrap().container_statuses,
        after.status.unwrap().container_statuses,
        "nothing was restarted"
    );
    assert_eq!(condition(&cluster.until_ready("comes").await, "Initialized"), Some("True".into()));
}

#[tokio::test]
async fn a_pod_leaves_its_endpoints_before_it_is_stopped() {
    let cluster = Cluster::simulated().await;
    cluster.create(pod("web", json!({}))).await;
    let ready = cluster.until_ready("web").await;
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client.clone(), "default");
    let slice = serde_json::from_value(json!({
        "metadata": {"name": "web"}, "addressType": "IPv4",
        "endpoints": [{
            "addresses": [ready.status.unwrap().pod_ip.unwrap()],
            "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "name": "web", "namespace": "default", "uid": ready.metadata.uid}
        }]
    }));
    slices.create(&Default::default(), &slice.unwrap()).await.unwrap();
    cluster.delete("web").await;
    cluster.until("web", "leaving", |pod| condition(pod, "Ready") == Some("False".into())).await;
    assert!(!cluster.events("web").await.iter().any(|e| e.starts_with("Killing")), "it still has traffic");
    let unready = json!([{"op": "replace", "path": "/endpoints/0/conditions/ready", "value": false}]);
    let patch = Patch::<()>::Json(serde_json::from_value(unready).unwrap());
    slices.patch("web", &PatchParams::default(), &patch).await.unwrap();
    cluster.until_gone("web").await;
    cluster.until_event("web", "Killing: Stopping container main").await;
}

#[tokio::test]
async fn logs_of_what_is_not_there_say_why() {
    let cluster = Cluster::simulated().await;
    let missing = json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]});
    cluster.create(pod("waits", missing)).await;
    cluster.until("waits", "waiting", |pod| waiting_reason(pod).as_deref() == Some("CreateContainerConfigError")).await;
    cluster.create(pod("runs", json!({}))).await;
    cluster.until_ready("runs").await;
    for (name, previous, expected) in [
        ("waits", false, "container \"main\" in pod \"waits\" is waiting to start: CreateContainerConfigError"),
        ("runs", true, "previous terminated container \"main\" in pod \"runs\" not found"),
    ] {
        let params = kube::api::LogParams { previous, ..Default::default() };
        let error = cluster.pods().logs(name, &params).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
