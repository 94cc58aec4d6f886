use crate::harness::World;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

fn job(name: &str, image: &str, spec: Value) -> Value {
    let template = json!({"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": image}]}});
    let mut job = json!({"metadata": {"name": name}, "spec": {"template": template}});
    job["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    job
}

/// The Job as soon as it has a condition.
async fn until(world: &World, name: &str, kind: &str) -> Job {
    world
        .until(kind, async |world| {
            let job = world.api::<Job>().get(name).await.ok()?;
            let holds = |job: &Job| {
                let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
                conditions.into_iter().any(|condition| condition.type_ == kind && condition.status == "True")
            };
            holds(&job).then_some(job)
        })
        .await
}

fn reason(job: &Job, kind: &str) -> Option<String> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)?.reason.clone()
}

async fn pods(world: &World) -> Vec<Pod> {
    world.list::<Pod>().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_to_completion_exactly() {
    let world = World::start("completions").await;
    world.create::<Job>(job("work", "succeeds", json!({"completions": 12, "parallelism": 5}))).await;
    let done = until(&world, "work", "Complete").await;
    let status = done.status.clone().unwrap();
    assert_eq!((status.succeeded, status.failed, status.active), (Some(12), None, None));
    assert!(status.start_time.is_some() && status.completion_time.is_some());
    assert_eq!(reason(&done, "SuccessCriteriaMet").as_deref(), Some("CompletionsReached"));
    let pods = pods(&world).await;
    assert_eq!(pods.len(), 12, "no Pod too many");
    for pod in &pods {
        assert!(pod.finalizers().is_empty(), "{pod:?}");
        assert_eq!(pod.labels()["batch.kubernetes.io/job-name"], "work");
        assert_eq!(pod.owner_references()[0].uid, done.uid().unwrap());
    }
    // With its Job, a Pod goes.
    world.api::<Job>().delete("work", &DeleteParams::background()).await.unwrap();
    world.until("its Pods are gone", async |world| pods_gone(world).await).await;
}

async fn pods_gone(world: &World) -> Option<()> {
    pods(world).await.is_empty().then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_fails_beyond_its_limit_and_stops_the_others() {
    let world = World::start("backoff").await;
    world.create::<Job>(job("work", "fails", json!({"backoffLimit": 0}))).await;
    let failed = until(&world, "work", "Failed").await;
    assert_eq!(reason(&failed, "Failed").as_deref(), Some("BackoffLimitExceeded"));
    assert_eq!((failed.status.clone().unwrap().failed, pods(&world).await.len()), (Some(1), 1));
    world
        .create::<Job>(job("late", "v1", json!({"activeDeadlineSeconds": 1, "parallelism": 2, "completions": 2})))
        .await;
    let late = until(&world, "late", "Failed").await;
    assert_eq!(reason(&late, "Failed").as_deref(), Some("DeadlineExceeded"));
    assert_eq!(late.status.unwrap().failed, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_deleted_is_counted_and_replaced() {
    let world = World::start("deleted").await;
    world.create::<Job>(job("work", "v1", json!({}))).await;
    let first = world.until("a Pod runs", async |world| pods(world).await.pop()).await;
    world.api::<Pod>().delete(&first.name_any(), &DeleteParams::default()).await.unwrap();
    world
        .until("it is counted and gone", async |world| {
            let job = world.api::<Job>().get("work").await.ok()?;
            let gone = world.api::<Pod>().get_opt(&first.name_any()).await.ok()?.is_none();
            (gone && job.status?.failed == Some(1)).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_job_waits_and_goes_on() {
    let world = World::start("suspend").await;
    world.create::<Job>(job("work", "v1", json!({"parallelism": 2, "completions": 2}))).await;
    world.until("two Pods", async |world| (pods(world).await.len() == 2).then_some(())).await;
    world.patch::<Job>("work", json!({"spec": {"suspend": true}})).await;
    world.until("no Pod", async |world| pods_gone(world).await).await;
    let suspended = until(&world, "work", "Suspended").await;
    assert_eq!(suspended.status.unwrap().failed, None, "to be suspended is no failure");
    world.patch::<Job>("work", json!({"spec": {"suspend": false}})).await;
    world.until("two Pods again", async |world| (pods(world).await.len() == 2).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_goes_when_its_time_is_over() {
    let world = World::start("ttl").await;
    world.create::<Job>(job("work", "succeeds", json!({"ttlSecondsAfterFinished": 0}))).await;
    world
        .until("Job and Pods are gone", async |world| {
            let gone = world.api::<Job>().get_opt("work").await.ok()?.is_none();
            (gone && pods(world).await.is_empty()).then_some(())
        })
        .await;
}
