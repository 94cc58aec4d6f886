use super::*;
use serde_json::json;

fn project() -> Project {
    "shop".parse().unwrap()
}

fn labels() -> Value {
    json!({LABEL_PROJECT: "shop", LABEL_ENVIRONMENT: "dev", LABEL_COMPONENT: "web"})
}

fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop-dev", "labels": labels()}})
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop-dev", "labels": labels()}, "spec": {"clusterIP": "None"}})
}

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop-dev", "labels": labels()},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "web", "image": image}]}}},
    })
}

/// As the server keeps it.
fn live(mut object: Value) -> Value {
    object["metadata"]["uid"] = json!("u-1");
    object["metadata"]["resourceVersion"] = json!("7");
    object["metadata"]["managedFields"] =
        json!([{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    object["status"] = json!({"phase": "Active"});
    object
}

struct Case {
    desired: Vec<Value>,
    predicted: Vec<Result<Value, String>>,
    live: Vec<Value>,
    applied: bool,
    prune: bool,
}

impl Case {
    fn new(desired: &[Value], live: &[Value]) -> Self {
        let predicted = desired.iter().cloned().map(Ok).collect();
        Self { desired: desired.to_vec(), predicted, live: live.to_vec(), applied: false, prune: true }
    }

    fn plan(self) -> Result<Plan, Refusal> {
        let desired: Vec<_> = self.desired.into_iter().map(|d| (Some("web".parse().unwrap()), d)).collect();
        plan(&Input {
            project: &project(),
            environment: &"dev".parse().unwrap(),
            commit: &"0123456789012345678901234567890123456789".parse().unwrap(),
            desired: &desired,
            predicted: &self.predicted,
            observation: &self.live.into_iter().collect::<Observation>(),
            applied: self.applied,
            prune: self.prune,
        })
    }

    /// `create Service web | …`.
    fn words(self) -> Vec<String> {
        let plan = self.plan().expect("there is a plan");
        plan.steps.iter().map(|s| format!("{:?} {}: {}", s.action, s.object.kind, s.reason)).collect()
    }
}

#[test]
fn the_namespace_comes_first_and_workloads_last() {
    let words = Case::new(&[deployment("a"), service(), namespace()], &[]).words();
    assert_eq!(
        words,
        [
            "Create Namespace: described and absent",
            "Create Service: described and absent",
            "Create Deployment: described and absent"
        ]
    );
}

#[test]
fn what_the_server_keeps_is_no_change() {
    let objects = [namespace(), service(), deployment("a")];
    let plan = Case::new(&objects, &objects.clone().map(live)).plan().unwrap();
    assert!(plan.is_empty(), "{plan:#?}");
    assert!(plan.steps.iter().all(|s| s.uid.as_deref() == Some("u-1") && s.manifest.is_none()));
}

#[test]
fn a_change_names_its_fields() {
    let plan = Case::new(&[deployment("b")], &[live(deployment("a"))]).plan().unwrap();
    let [step] = &plan.steps[..] else { panic!("{plan:#?}") };
    assert_eq!((step.action, step.reason.as_str()), (Action::Configure, "described differently"));
    let change = &step.changes[0];
    assert_eq!(change.path, "spec.template.spec.containers[name=web].image");
    assert_eq!((change.before.as_ref(), change.after.as_ref()), (Some(&json!("a")), Some(&json!("b"))));
}

#[test]
fn drift_says_what_was_changed_and_by_whom() {
    let mut changed = live(deployment("a"));
    changed["spec"]["replicas"] = json!(3);
    changed["metadata"]["managedFields"] = json!([
        {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "controllers", "operation": "Update", "subresource": "status", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "other", "operation": "Update", "fieldsV1": {"f:metadata": {}}},
    ]);
    let case = Case { applied: true, ..Case::new(&[deployment("a"), service()], &[changed]) };
    assert_eq!(
        case.words(),
        [
            "Create Service: deleted in the cluster",
            "Configure Deployment: changed in the cluster by kubectl-edit: spec.replicas 1 → 3"
        ]
    );
}

#[test]
fn only_what_is_ours_and_on_top_is_pruned() {
    let mut owned = live(deployment("a"));
    owned["metadata"]["name"] = json!("owned");
    owned["metadata"]["ownerReferences"] = json!([{"kind": "X", "name": "x", "uid": "1"}]);
    let mut going = live(deployment("a"));
    going["metadata"]["name"] = json!("going");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut foreign = live(deployment("a"));
    foreign["metadata"]["name"] = json!("foreign");
    foreign["metadata"]["labels"][LABEL_PROJECT] = json!("other");
    let mut unapplied = live(deployment("a"));
    unapplied["metadata"]["name"] = json!("unapplied");
    unapplied["metadata"]["managedFields"][0]["manager"] = json!("kubectl");
    let stands = [live(namespace()), live(service()), live(deployment("a")), owned, going, foreign, unapplied];
    let words = Case::new(&[], &stands).words();
    assert_eq!(words, ["Delete Deployment: no longer described", "Delete Service: no longer described"]);
    let kept = Case { prune: false, ..Case::new(&[], &stands) };
    assert!(kept.words().is_empty());
}

#[test]
fn namespaces_of_others_are_refused() {
    let mut unlabelled = live(namespace());
    unlabelled["metadata"]["labels"] = json!({});
    let mut other = live(namespace());
    other["metadata"]["labels"][LABEL_PROJECT] = json!("other");
    for (stands, owner) in [(unlabelled, "it has no label trimtab.dev/project"), (other, "it belongs to project other")]
    {
        let refusal = Case::new(&[namespace()], &[stands]).plan().unwrap_err();
        assert_eq!(refusal, Refusal::ForeignNamespace { namespace: "shop-dev".into(), owner: owner.into() });
    }
    // Not observed, because it has none of our labels, but the dry run found it.
    for (manager, foreign) in [("kubectl-create", true), (FIELD_MANAGER, false)] {
        let mut found = live(namespace());
        found["metadata"]["managedFields"][0]["manager"] = json!(manager);
        let case = Case { predicted: vec![Ok(found)], ..Case::new(&[namespace()], &[]) };
        assert_eq!(case.plan().is_err(), foreign, "{manager}");
    }
}

#[test]
fn a_manifest_that_the_server_refuses_stops_everything() {
    let case = Case {
        predicted: vec![Ok(service()), Err("spec.replicas: Invalid value".into())],
        ..Case::new(&[service(), deployment("a")], &[])
    };
    let refusal = case.plan().unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the API server refuses Deployment.apps shop-dev/web: spec.replicas: Invalid value"
    );
}

#[test]
fn what_pods_still_refer_to_is_deleted_after_them() {
    let settings = |kind: &str, name: &str| {
        live(
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop-dev", "labels": labels()}}),
        )
    };
    let pod = |phase: &str| {
        live(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-1", "namespace": "shop-dev", "labels": labels(), "ownerReferences": [{"kind": "ReplicaSet", "name": "web"}]},
            "spec": {
                "containers": [{"name": "web", "envFrom": [{"configMapRef": {"name": "env"}}], "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "a"}}}]}],
                "volumes": [{"name": "a", "secret": {"secretName": "volume"}}, {"name": "b", "projected": {"sources": [{"configMap": {"name": "projected"}}]}}],
            },
            "status": {"phase": phase},
        }))
        .as_object()
        .map(|pod| {
            let mut pod = Value::Object(pod.clone());
            pod["status"] = json!({"phase": phase});
            pod
        })
        .unwrap()
    };
    let all = [
        settings("ConfigMap", "env"),
        settings("Secret", "key"),
        settings("Secret", "volume"),
        settings("ConfigMap", "projected"),
        settings("ConfigMap", "unused"),
    ];
    let deleted = |phase: &str| {
        let plan = Case::new(&[], &[&all[..], &[pod(phase)]].concat()).plan().unwrap();
        let names = plan.steps.iter().filter(|s| s.action == Action::Delete).map(|s| s.object.name.clone());
        names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(deleted("Running"), ["unused"]);
    assert_eq!(deleted("Failed"), ["env", "key", "projected", "unused", "volume"]);
}

#[test]
fn on_a_shared_cluster_a_namesake_is_another_project() {
    let claim = |uid: Option<&str>| {
        let mut namespace = namespace();
        if let Some(uid) = uid {
            namespace["metadata"]["labels"][LABEL_CLAIM] = json!(uid);
        }
        namespace
    };
    for (ours, stands, refused) in [
        (Some("a"), Some("a"), false),
        (None, None, false),
        (Some("a"), Some("b"), true),
        (Some("a"), None, true),
        (None, Some("a"), true),
    ] {
        let plan = Case::new(&[claim(ours)], &[live(claim(stands))]).plan();
        assert_eq!(plan.is_err(), refused, "{ours:?} {stands:?}: {plan:?}");
    }
}
