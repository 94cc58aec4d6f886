use crate::harness::{Server, after_wakes, alarm, namespace, object, plan, scope, step, uid, widgets};
use cluster::Cluster;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use model::ObjectId;
use model::flow::Action::{Configure, Create, Delete, Unchanged};
use model::ports::{DataPlane, Scope};
use model::settings::Opened;
use serde_json::{Value, json};

fn deployment(scope: &Scope, more: Value) -> Value {
    let labels = json!({"app": "web"});
    let container = json!({"name": "main", "image": "v1"});
    let mut spec = json!({"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object(scope, "apps/v1", "Deployment", "web", json!({"spec": spec}))
}

async fn observed(cluster: &Cluster, scope: &Scope, manifest: &Value) -> Option<Value> {
    let observation = cluster.observe(scope, alarm().0).await.unwrap();
    observation.get(&ObjectId::of(manifest)).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prediction_tells_what_would_stand_there_or_why_it_is_refused() {
    let (server, scope) = (Server::start().await, scope("predict"));
    let cluster = server.cluster();
    let home = object(&scope, "v1", "Namespace", &namespace(&scope), json!({}));
    let map = object(&scope, "v1", "ConfigMap", "a", json!({"data": {"k": "v"}}));
    let widget = object(&scope, "predict.example.org/v1", "Widget", "w", json!({"spec": {}}));

    // Nothing is there yet: what the same plan brings is no reason to refuse.
    let alone = cluster.predict(std::slice::from_ref(&map)).await.unwrap();
    assert!(alone[0].as_ref().is_err_and(|words| words.contains("namespaces \"predict-dev\" not found")), "{alone:?}");
    let alone = cluster.predict(std::slice::from_ref(&widget)).await.unwrap();
    assert!(alone[0].as_ref().is_err_and(|words| words.contains("no matches for kind \"Widget\"")), "{alone:?}");
    let together = [home.clone(), map.clone(), widgets("predict.example.org"), widget.clone()];
    let predicted = cluster.predict(&together).await.unwrap();
    assert!(predicted.iter().all(Result::is_ok), "{predicted:?}");
    assert_eq!(predicted[1].as_ref(), Ok(&map));

    let receipt =
        cluster.execute(&plan(&scope, vec![step(Create, &home, None, None)]), &Opened::default()).await.unwrap();
    assert_eq!(receipt.failure(), None);
    let unknown_field = deployment(&scope, json!({"replica": 1}));
    let invalid = deployment(&scope, json!({"selector": {"matchLabels": {"app": "other"}}}));
    let homeless = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let nameless = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let manifests = [deployment(&scope, json!({})), unknown_field, invalid, homeless, nameless];
    let predicted = cluster.predict(&manifests).await.unwrap();
    let defaulted = predicted[0].as_ref().unwrap();
    assert_eq!(defaulted["spec"]["progressDeadlineSeconds"], 600, "defaults are part of the prediction");
    for (result, expect) in predicted[1..].iter().zip(["replica", "selector", "metadata.namespace", "metadata.name"]) {
        assert!(result.as_ref().is_err_and(|words| words.contains(expect)), "{expect}: {result:?}");
    }
    assert_eq!(observed(&cluster, &scope, &manifests[0]).await, None, "a prediction was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_executed_in_order_and_is_seen_at_once() {
    let (server, scope) = (Server::start().await, scope("execute"));
    let cluster = server.cluster();
    let home = object(&scope, "v1", "Namespace", &namespace(&scope), json!({}));
    let map = object(&scope, "v1", "ConfigMap", "a", json!({"data": {"k": "1"}}));
    let web = deployment(&scope, json!({"replicas": 1}));
    assert_eq!(observed(&cluster, &scope, &home).await, None);
    let steps = [&home, &map, &web].map(|manifest| step(Create, manifest, Some("web"), None));
    let receipt = cluster.execute(&plan(&scope, steps.into()), &Opened::default()).await.unwrap();
    assert_eq!((receipt.results.len(), receipt.failure()), (3, None));
    assert!(observed(&cluster, &scope, &home).await.is_some() && observed(&cluster, &scope, &web).await.is_some());
    let live = observed(&cluster, &scope, &map).await.unwrap();
    assert_eq!(live["metadata"]["managedFields"][0]["manager"], "trimtab");

    // A namesake is never touched, and a failure holds back the rest of its component only.
    let other = object(&scope, "v1", "ConfigMap", "b", json!({"data": {}}));
    let changed = object(&scope, "v1", "ConfigMap", "a", json!({"data": {"k": "2"}}));
    let foreign = "00000000-0000-0000-0000-000000000000";
    let steps = vec![
        step(Configure, &changed, Some("web"), Some(foreign)),
        step(Delete, &web, Some("web"), Some(uid(&live))),
        step(Unchanged, &home, None, None),
        step(Create, &other, Some("api"), None),
        step(Delete, &web, None, Some(foreign)),
    ];
    let receipt = cluster.execute(&plan(&scope, steps), &Opened::default()).await.unwrap();
    let failed: Vec<(&str, bool)> =
        receipt.results.iter().map(|r| (r.object.name.as_str(), r.error.is_some())).collect();
    assert_eq!(failed, [("a", true), ("b", false), ("web", true)], "{receipt:?}");
    assert_eq!(observed(&cluster, &scope, &map).await.unwrap()["data"], json!({"k": "1"}));

    let web_uid = uid(&observed(&cluster, &scope, &web).await.unwrap()).to_owned();
    let steps =
        vec![step(Configure, &changed, Some("web"), Some(uid(&live))), step(Delete, &web, Some("web"), Some(&web_uid))];
    let receipt = cluster.execute(&plan(&scope, steps.clone()), &Opened::default()).await.unwrap();
    assert_eq!((receipt.results.len(), receipt.failure()), (2, None));
    assert_eq!(observed(&cluster, &scope, &map).await.unwrap()["data"], json!({"k": "2"}));
    assert!(
        observed(&cluster, &scope, &web).await.is_none_or(|web| web["metadata"].get("deletionTimestamp").is_some())
    );
    let again = cluster.execute(&plan(&scope, steps), &Opened::default()).await.unwrap();
    assert_eq!(again.failure(), None, "what is gone is deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_somebody_else_wakes_its_scope() {
    let (server, scope) = (Server::start().await, scope("drift"));
    let cluster = server.cluster();
    let home = object(&scope, "v1", "Namespace", &namespace(&scope), json!({}));
    let map = object(&scope, "v1", "ConfigMap", "a", json!({"data": {"k": "1"}}));
    let steps = vec![step(Create, &home, None, None), step(Create, &map, None, None)];
    cluster.execute(&plan(&scope, steps), &Opened::default()).await.unwrap();
    let (wake, woken) = alarm();
    let look = async || cluster.observe(&scope, wake.clone()).await.unwrap().objects.get(&ObjectId::of(&map)).cloned();
    look().await.unwrap();

    let maps: Api<ConfigMap> = Api::namespaced(server.client(), &namespace(&scope));
    maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"k": "2"}}))).await.unwrap();
    after_wakes("the edit is seen", &woken, async || look().await.filter(|live| live["data"]["k"] == "2")).await;
    let unlabel = json!({"metadata": {"labels": null}});
    maps.patch("a", &PatchParams::default(), &Patch::Merge(unlabel)).await.unwrap();
    after_wakes("what lost its labels is not ours", &woken, async || look().await.is_none().then_some(())).await;
    maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({"metadata": map["metadata"]}))).await.unwrap();
    after_wakes("it is ours again", &woken, look).await;
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    after_wakes("the deletion is seen", &woken, async || look().await.is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_came_into_use_are_watched_and_found_again_after_a_restart() {
    let (server, scope) = (Server::start().await, scope("kinds"));
    let first = server.cluster();
    let home = object(&scope, "v1", "Namespace", &namespace(&scope), json!({}));
    let widget = object(&scope, "kinds.example.org/v1", "Widget", "w", json!({"spec": {"size": 1}}));
    assert_eq!(observed(&first, &scope, &widget).await, None);
    let steps = [&home, &widgets("kinds.example.org"), &widget].map(|manifest| step(Create, manifest, None, None));
    let receipt = first.execute(&plan(&scope, steps.into()), &Opened::default()).await.unwrap();
    assert_eq!(receipt.failure(), None);
    assert_eq!(observed(&first, &scope, &widget).await.unwrap()["spec"]["size"], 1);

    let second = server.cluster();
    let live = observed(&second, &scope, &widget).await.expect("found after a restart");
    let receipt = second
        .execute(&plan(&scope, vec![step(Delete, &widget, None, Some(uid(&live)))]), &Opened::default())
        .await
        .unwrap();
    assert_eq!(receipt.failure(), None);
    assert_eq!(observed(&second, &scope, &widget).await, None);
}
