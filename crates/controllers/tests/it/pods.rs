use crate::harness::{NODE, World, deployment, is_ready};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

async fn ready_pods(world: &World, count: usize) -> Vec<Pod> {
    world
        .until("so many Pods are ready", async |world| {
            let pods = world.list::<Pod>().await;
            (pods.len() == count && pods.iter().all(is_ready)).then_some(pods)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_deleted_is_replaced() {
    let world = World::start("replaced").await;
    world.create::<Deployment>(deployment("web", 2, "v1")).await;
    let before = ready_pods(&world, 2).await;
    world.api::<Pod>().delete(&before[0].name_any(), &DeleteParams::default()).await.unwrap();
    let gone = before[0].uid();
    world
        .until("another Pod is there", async |world| {
            let pods = world.list::<Pod>().await;
            (pods.len() == 2 && pods.iter().all(|pod| is_ready(pod) && pod.uid() != gone)).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_are_made_exactly_and_shrink_to_the_ready_one() {
    let world = World::start("many").await;
    let labels = json!({"app": "many"});
    let set = json!({
        "metadata": {"name": "many"},
        "spec": {"replicas": 40, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": "never-ready"}]},
        }},
    });
    world.create::<ReplicaSet>(set).await;
    let orphan = json!({"metadata": {"name": "orphan", "labels": labels}, "spec": {"containers": [{"name": "main", "image": "v1"}]}});
    world.create::<Pod>(orphan).await;
    world
        .until("40 Pods are there, the orphan among them", async |world| {
            let pods = world.list::<Pod>().await;
            let alive = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            (alive.clone().count() == 40 && alive.clone().all(|pod| pod.owner_references().len() == 1)).then_some(())
        })
        .await;
    world.patch::<ReplicaSet>("many", json!({"spec": {"replicas": 1}})).await;
    let left = ready_pods(&world, 1).await;
    assert_eq!(left[0].name_any(), "orphan", "the only ready Pod was deleted first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_a_node_says_why_and_runs_when_there_is_one() {
    let mut world = World::without_node("unschedulable").await;
    let pod = json!({"metadata": {"name": "alone"}, "spec": {"containers": [{"name": "main", "image": "v1"}]}});
    world.create::<Pod>(pod).await;
    let message = world
        .until("it is told to be unschedulable", async |world| {
            let pod = world.api::<Pod>().get("alone").await.ok()?;
            let told = pod.status?.conditions?.into_iter().find(|condition| condition.type_ == "PodScheduled")?;
            (told.status == "False" && told.reason.as_deref() == Some("Unschedulable")).then_some(told.message?)
        })
        .await;
    assert_eq!(message, "no nodes available to schedule pods");
    world.add_node().await;
    let pods = ready_pods(&world, 1).await;
    assert_eq!(pods[0].spec.as_ref().unwrap().node_name.as_deref(), Some(NODE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_has_its_service_account_and_the_ca() {
    let world = World::start("contents").await;
    let accounts = world.api::<ServiceAccount>();
    let first = world.until("the account is there", async |_| accounts.get("default").await.ok()).await;
    accounts.delete("default", &DeleteParams::default()).await.unwrap();
    world
        .until("the account is there again", async |_| {
            accounts.get("default").await.ok().filter(|now| now.uid() != first.uid())
        })
        .await;
    let maps = world.api::<ConfigMap>();
    world.until("the CA is published", async |_| maps.get("kube-root-ca.crt").await.ok()).await;
    world.patch::<ConfigMap>("kube-root-ca.crt", json!({"data": {"ca.crt": "other"}})).await;
    world
        .until("the CA is right again", async |_| {
            let map = maps.get("kube-root-ca.crt").await.ok()?;
            (map.data?.get("ca.crt")? == "PEM").then_some(())
        })
        .await;
}
