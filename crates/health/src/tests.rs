//! Cases are data: an object, what it owns, and the verdict that people see.

use super::*;
use serde_json::json;

/// A Deployment of `wanted` replicas whose status is up to date.
fn deployment(wanted: i64, status: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop-dev", "uid": "d", "generation": 2},
        "spec": {"replicas": wanted, "template": template("v2")},
        "status": {"observedGeneration": 2},
    });
    for (key, value) in status.as_object().expect("a table") {
        object["status"][key] = value.clone();
    }
    object
}

fn template(version: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}, "annotations": {"version": version}}, "spec": {}})
}

fn replica_set(name: &str, version: &str) -> Value {
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "shop-dev", "uid": name, "ownerReferences": [{"uid": "d", "controller": true}]},
        "spec": {"template": template(version)},
    });
    set["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] = json!("abc");
    set
}

fn pod(name: &str, owner: &str, status: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop-dev", "uid": name, "ownerReferences": [{"uid": owner}]},
        "spec": {"restartPolicy": "Always"}, "status": status,
    })
}

fn observed(objects: &[Value]) -> Observation {
    objects.iter().cloned().collect()
}

fn check(case: &str, object: &Value, related: &[Value], expect: (Health, &str, &str)) {
    let found = verdict(object, &observed(related));
    assert_eq!((found.health, found.reason.as_str(), found.message.as_str()), expect, "{case}");
}

fn crashing(restarts: i64) -> Value {
    json!({"phase": "Running", "containerStatuses": [{"name": "web", "restartCount": restarts,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 3, "reason": "Error", "message": "no database\n"}}}]})
}

#[test]
fn a_deployment_is_judged_by_its_counters() {
    use Health::*;
    let settled = json!({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
    let cases = [
        ("settled", settled.clone(), (Healthy, "Available", "2 of 2 replicas are available")),
        (
            "not seen by the controller",
            json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
            (
                Progressing,
                "ObservedGeneration",
                "Deployment.apps shop-dev/web has changed and no controller has looked at it yet",
            ),
        ),
        (
            "too few updated",
            json!({"replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}),
            (Progressing, "RollingOut", "deployment web: 1 of 2 replicas are available"),
        ),
        (
            "too few available",
            json!({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}),
            (Progressing, "RollingOut", "deployment web: 1 of 2 replicas are available"),
        ),
        (
            "surplus",
            json!({"replicas": 3, "updatedReplicas": 2, "availableReplicas": 3}),
            (Progressing, "RollingOut", "deployment web: 1 old replicas are still there"),
        ),
        (
            "deadline",
            json!({"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too slow"}]}),
            (Degraded, "ProgressDeadlineExceeded", "too slow"),
        ),
        (
            "quota",
            json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "forbidden"}]}),
            (Degraded, "FailedCreate", "forbidden"),
        ),
    ];
    for (case, status, expect) in cases {
        check(case, &deployment(2, status), &[], expect);
    }
    let mut paused = deployment(2, settled.clone());
    paused["spec"]["paused"] = json!(true);
    check("paused", &paused, &[], (Suspended, "Paused", "deployment web is paused"));
    let mut gone = deployment(2, settled);
    gone["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    check("gone", &gone, &[], (Progressing, "Terminating", "Deployment.apps shop-dev/web is being deleted"));
    let zero = deployment(0, json!({}));
    check("zero", &zero, &[], (Healthy, "Available", "0 of 0 replicas are available"));
}

#[test]
fn the_failing_pod_of_the_new_replica_set_is_named_at_once() {
    use Health::*;
    let rolling = || deployment(1, json!({"replicas": 2, "updatedReplicas": 1, "availableReplicas": 1}));
    let sets = [replica_set("web-1", "v1"), replica_set("web-2", "v2")];
    let new = |status: Value| pod("web-2-x", "web-2", status);
    let waiting = |reason: &str, message: &str| json!({"phase": "Pending", "containerStatuses": [{"name": "web", "state": {"waiting": {"reason": reason, "message": message}}}]});
    let terminated = |restarts: i64| {
        json!({"phase": "Running", "containerStatuses": [{"name": "web", "restartCount": restarts,
            "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]})
    };
    let cases = [
        (
            "crash loop",
            new(crashing(4)),
            (
                Degraded,
                "CrashLoopBackOff",
                "pod web-2-x, container web: CrashLoopBackOff, exit code 3: no database, restarted 4 times",
            ),
        ),
        (
            "image",
            new(waiting("ImagePullBackOff", "no such image")),
            (Degraded, "ImagePullBackOff", "pod web-2-x, container web: ImagePullBackOff: no such image"),
        ),
        (
            "the third death",
            new(terminated(2)),
            (Degraded, "OOMKilled", "pod web-2-x, container web: OOMKilled, exit code 137, restarted 2 times"),
        ),
        (
            "the first death may be chance",
            new(terminated(0)),
            (Progressing, "RollingOut", "deployment web: 1 old replicas are still there"),
        ),
        (
            "an old Pod's troubles do not count",
            pod("web-1-x", "web-1", crashing(9)),
            (Progressing, "RollingOut", "deployment web: 1 old replicas are still there"),
        ),
    ];
    for (case, pod, expect) in cases {
        check(case, &rolling(), &[sets[0].clone(), sets[1].clone(), pod], expect);
    }
    let starting = deployment(1, json!({"replicas": 1, "updatedReplicas": 1}));
    let pulled = new(waiting("ErrImagePull", "timeout"));
    check(
        "what it waits for",
        &starting,
        &[sets[1].clone(), pulled],
        (Progressing, "ErrImagePull", "pod web-2-x, container web: ErrImagePull: timeout"),
    );
}

#[test]
fn pods_jobs_and_other_kinds() {
    use Health::*;
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let never = |mut pod: Value| {
        pod["spec"]["restartPolicy"] = json!("Never");
        pod
    };
    let object = |version: &str, kind: &str, spec: Value, status: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "n", "generation": 1}, "spec": spec, "status": status});
    let condition = |kind: &str, status: &str| json!({"conditions": [{"type": kind, "status": status, "reason": "Because", "message": "why"}]});
    let set = |partition: i64| {
        object(
            "apps/v1",
            "StatefulSet",
            json!({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": partition}}}),
            json!({"observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
        )
    };
    let cases = [
        (pod("p", "", json!({"phase": "Running", "conditions": ready})), Healthy, "Ready"),
        (pod("p", "", json!({"phase": "Pending"})), Progressing, "Pending"),
        (pod("p", "", json!({"phase": "Succeeded"})), Healthy, "Completed"),
        (pod("p", "", json!({"phase": "Failed", "reason": "Evicted"})), Degraded, "Evicted"),
        (never(pod("p", "", json!({"phase": "Running", "conditions": ready}))), Progressing, "Running"),
        (pod("p", "", crashing(1)), Degraded, "CrashLoopBackOff"),
        (
            pod(
                "p",
                "",
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}),
            ),
            Progressing,
            "Unschedulable",
        ),
        (object("batch/v1", "Job", json!({}), json!({"active": 1})), Progressing, "Running"),
        (object("batch/v1", "Job", json!({}), condition("Complete", "True")), Healthy, "Complete"),
        (object("batch/v1", "Job", json!({}), condition("Failed", "True")), Degraded, "Because"),
        (object("batch/v1", "Job", json!({"suspend": true}), json!({})), Suspended, "Suspended"),
        (
            object(
                "batch/v1",
                "CronJob",
                json!({}),
                json!({"lastScheduleTime": "2026-01-02T00:00:00Z", "lastSuccessfulTime": "2026-01-01T00:00:00Z"}),
            ),
            Degraded,
            "LastRunFailed",
        ),
        (object("batch/v1", "CronJob", json!({}), json!({})), Healthy, "Scheduled"),
        (set(0), Progressing, "RollingOut"),
        (set(2), Healthy, "Available"),
        (
            object("apps/v1", "DaemonSet", json!({}), json!({"observedGeneration": 1, "desiredNumberScheduled": 0})),
            Healthy,
            "Available",
        ),
        (
            object("apps/v1", "ReplicaSet", json!({"replicas": 1}), condition("ReplicaFailure", "True")),
            Degraded,
            "Because",
        ),
        (object("v1", "Service", json!({"clusterIP": "None"}), json!({})), Healthy, "Current"),
        (object("v1", "Service", json!({"type": "LoadBalancer"}), json!({})), Progressing, "NoAddress"),
        (object("v1", "PersistentVolumeClaim", json!({}), json!({"phase": "Lost"})), Degraded, "Lost"),
        (object("networking.k8s.io/v1", "Ingress", json!({}), json!({})), Progressing, "NoAddress"),
        (object("v1", "ConfigMap", json!({}), json!({})), Healthy, "Current"),
        (object("example.com/v1", "Thing", json!({}), condition("Ready", "False")), Progressing, "Because"),
        (object("example.com/v1", "Thing", json!({}), condition("Stalled", "True")), Degraded, "Because"),
        (
            object(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                json!({}),
                condition("NamesAccepted", "False"),
            ),
            Degraded,
            "Because",
        ),
    ];
    for (object, health, reason) in cases {
        let found = verdict(&object, &Observation::default());
        assert_eq!((found.health, found.reason.as_str()), (health, reason), "{object}");
    }
}

#[test]
fn a_set_is_as_good_as_its_worst_object() {
    let live = deployment(1, json!({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}));
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop-dev"}});
    let manifests = [live.clone(), service.clone()];
    assert_eq!(component(&manifests, &observed(&[live.clone(), service.clone()])).health, Health::Healthy);
    let missing = component(&manifests, &observed(std::slice::from_ref(&live)));
    assert_eq!((missing.health, missing.message.as_str()), (Health::Missing, "Service shop-dev/web does not exist"));
    assert_eq!(component(&[], &observed(&[])).health, Health::Healthy);
    // The cache still shows what stood there before the apply: healthy, but not what is meant.
    let mut newer = live.clone();
    newer["spec"]["template"]["metadata"]["annotations"]["version"] = json!("v3");
    assert_eq!(component(&[newer], &observed(&[live])).reason, "NotApplied");
}
