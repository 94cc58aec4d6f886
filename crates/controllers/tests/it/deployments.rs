use crate::harness::{World, condition, deployment, is_ready};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

const REVISION: &str = "deployment.kubernetes.io/revision";

/// Waits until a rollout is told to be complete.
async fn complete(world: &World, name: &str) -> Deployment {
    world
        .until("the rollout is complete", async |world| {
            let live = world.api::<Deployment>().get(name).await.ok()?;
            let status = live.status.clone()?;
            let replicas = live.spec.as_ref()?.replicas?;
            let is_complete = status.observed_generation == live.metadata.generation
                && status.updated_replicas.unwrap_or(0) == replicas
                && status.replicas.unwrap_or(0) == replicas
                && status.available_replicas.unwrap_or(0) == replicas
                && condition(&live, "Progressing", "True")?.0 == "NewReplicaSetAvailable";
            is_complete.then_some(live)
        })
        .await
}

/// The ReplicaSet of a revision.
async fn revision(world: &World, revision: &str) -> ReplicaSet {
    let mut sets = world.list::<ReplicaSet>().await;
    sets.retain(|set| set.annotations().get(REVISION).map(String::as_str) == Some(revision));
    assert_eq!(sets.len(), 1, "revision {revision}: {sets:?}");
    sets.remove(0)
}

fn size(set: &ReplicaSet) -> Option<i32> {
    set.spec.as_ref()?.replicas
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_comes_up_and_says_so_in_upstreams_words() {
    let world = World::start("comes-up").await;
    let created: Deployment = world.create(deployment("web", 3, "v1")).await;
    let live = complete(&world, "web").await;

    let set = revision(&world, "1").await;
    let hash = set.labels()["pod-template-hash"].clone();
    assert_eq!(set.name_any(), format!("web-{hash}"));
    assert_eq!(set.owner_references()[0].uid, created.uid().unwrap());
    assert_eq!(
        (set.owner_references()[0].controller, set.owner_references()[0].block_owner_deletion),
        (Some(true), Some(true))
    );
    assert_eq!(set.annotations()["note"], "kept");
    assert_eq!(set.annotations()["deployment.kubernetes.io/desired-replicas"], "3");
    assert_eq!(set.annotations()["deployment.kubernetes.io/max-replicas"], "4");
    assert_eq!(live.annotations()[REVISION], "1");
    let pods = world.list::<Pod>().await;
    assert_eq!(pods.len(), 3);
    for pod in &pods {
        assert_eq!(pod.labels()["pod-template-hash"], hash);
        assert!(
            pod.name_any().starts_with(&format!("web-{hash}-")) && pod.owner_references()[0].uid == set.uid().unwrap()
        );
    }
    let available = ("MinimumReplicasAvailable".into(), "Deployment has minimum availability.".into());
    assert_eq!(condition(&live, "Available", "True"), Some(available));
    let progressed = format!("ReplicaSet \"web-{hash}\" has successfully progressed.");
    assert_eq!(condition(&live, "Progressing", "True"), Some(("NewReplicaSetAvailable".into(), progressed)));
    let status = live.status.unwrap();
    assert_eq!(
        (status.ready_replicas, status.unavailable_replicas, status.terminating_replicas),
        (Some(3), None, None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_template_rolls_within_its_limits_and_the_old_one_comes_back_as_a_later_revision() {
    let world = World::start("rolls").await;
    world.create::<Deployment>(deployment("web", 4, "v1")).await;
    complete(&world, "web").await;
    let first = revision(&world, "1").await;

    world
        .patch::<Deployment>(
            "web",
            json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "v2"}]}}}}),
        )
        .await;
    world
        .until("the second revision is rolled out", async |world| {
            let pods = world.list::<Pod>().await;
            let ready = pods.iter().filter(|pod| is_ready(pod) && pod.metadata.deletion_timestamp.is_none()).count();
            assert!(ready >= 3, "{ready} Pods are ready, though at most 25 % of 4 may be unavailable");
            let sets = world.list::<ReplicaSet>().await;
            let total: i32 = sets.iter().filter_map(size).sum();
            assert!(total <= 5, "{total} Pods are wanted, though at most 25 % of 4 may be added");
            let live = world.api::<Deployment>().get("web").await.ok()?;
            (live.annotations().get(REVISION)? == "2" && live.status?.updated_replicas? == 4).then_some(())
        })
        .await;
    complete(&world, "web").await;
    assert_eq!((size(&revision(&world, "1").await), size(&revision(&world, "2").await)), (Some(0), Some(4)));

    world.patch::<Deployment>("web", json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "v1", "ports": [{"name": "http", "containerPort": 8080}]}]}}}})).await;
    world
        .until("it is the third revision", async |world| {
            let live = world.api::<Deployment>().get("web").await.ok()?;
            (live.annotations().get(REVISION)? == "3").then_some(())
        })
        .await;
    complete(&world, "web").await;
    let third = revision(&world, "3").await;
    assert_eq!(third.uid(), first.uid(), "another ReplicaSet was made though the template is the same");
    assert_eq!(third.annotations()["deployment.kubernetes.io/revision-history"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn recreate_starts_the_new_pods_when_the_old_ones_are_gone() {
    let world = World::start("recreate").await;
    let mut wanted = deployment("web", 2, "v1");
    wanted["spec"]["strategy"] = json!({"type": "Recreate"});
    world.create::<Deployment>(wanted).await;
    complete(&world, "web").await;
    world
        .patch::<Deployment>(
            "web",
            json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "v2"}]}}}}),
        )
        .await;
    world
        .until("the second revision runs", async |world| {
            let pods = world.list::<Pod>().await;
            let image = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone());
            let count = |of: &str| pods.iter().filter(|pod| image(pod).as_deref() == Some(of)).count();
            assert!(count("v1") == 0 || count("v2") == 0, "old and new Pods at once");
            (count("v2") == 2).then_some(())
        })
        .await;
    complete(&world, "web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_does_not_progress_times_out_and_a_pause_stops_it() {
    let world = World::start("times-out").await;
    let mut wanted = deployment("web", 2, "v1");
    wanted["spec"]["progressDeadlineSeconds"] = json!(1);
    world.create::<Deployment>(wanted).await;
    complete(&world, "web").await;

    world.patch::<Deployment>("web", json!({"spec": {"paused": true, "template": {"spec": {"containers": [{"name": "main", "image": "never-ready"}]}}}})).await;
    world
        .until("it is paused", async |world| {
            let live = world.api::<Deployment>().get("web").await.ok()?;
            (condition(&live, "Progressing", "Unknown")? == ("DeploymentPaused".into(), "Deployment is paused".into()))
                .then_some(())
        })
        .await;
    assert_eq!(world.list::<ReplicaSet>().await.len(), 1, "a paused Deployment began a rollout");

    world.patch::<Deployment>("web", json!({"spec": {"paused": false}})).await;
    let live = world
        .until("it times out", async |world| {
            let live = world.api::<Deployment>().get("web").await.ok()?;
            condition(&live, "Progressing", "False").is_some().then_some(live)
        })
        .await;
    let set = revision(&world, "2").await.name_any();
    let told = format!("ReplicaSet \"{set}\" has timed out progressing.");
    assert_eq!(condition(&live, "Progressing", "False"), Some(("ProgressDeadlineExceeded".into(), told)));
    assert!(condition(&live, "Available", "True").is_some(), "the old Pods went though the new ones are not ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_revisions_above_the_limit_are_deleted() {
    let world = World::start("history").await;
    let mut wanted = deployment("web", 1, "v1");
    wanted["spec"]["revisionHistoryLimit"] = json!(1);
    world.create::<Deployment>(wanted).await;
    complete(&world, "web").await;
    for number in 2..=4 {
        let image = format!("v{number}");
        world
            .patch::<Deployment>(
                "web",
                json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}),
            )
            .await;
        world
            .until("the revision is the Deployment's", async |world| {
                let live = world.api::<Deployment>().get("web").await.ok()?;
                (*live.annotations().get(REVISION)? == number.to_string()).then_some(())
            })
            .await;
        complete(&world, "web").await;
    }
    let mut revisions = world
        .until("one old revision is left", async |world| {
            let sets = world.list::<ReplicaSet>().await;
            (sets.len() == 2).then(|| sets.iter().map(|set| set.annotations()[REVISION].clone()).collect::<Vec<_>>())
        })
        .await;
    revisions.sort();
    assert_eq!(revisions, ["3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_of_the_same_name_does_not_take_its_predecessors_replica_set() {
    let world = World::start("namesake").await;
    let mut first: Deployment = world.create(deployment("web", 1, "v1")).await;
    complete(&world, "web").await;
    let old_set = revision(&world, "1").await;
    world.api::<Deployment>().delete("web", &DeleteParams::background()).await.unwrap();
    first.metadata.resource_version = None;
    first.metadata.uid = None;
    let second: Deployment = world.create(deployment("web", 1, "v1")).await;
    let uid = second.uid().unwrap();
    let new_set = world
        .until("the second Deployment has a ReplicaSet of its own", async |world| {
            let sets = world.list::<ReplicaSet>().await;
            sets.into_iter().find(|set| set.owner_references().iter().any(|owner| owner.uid == uid))
        })
        .await;
    assert_ne!(new_set.uid(), old_set.uid());
    complete(&world, "web").await;
}
