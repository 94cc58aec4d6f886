//! Through `kube::Client`, in process.

use crate::support::server;
use apiserver::Identity;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

#[tokio::test]
async fn a_client_creates_and_gets() {
    let server = server().await;
    let api: Api<ConfigMap> = Api::default_namespaced(server.api.client(Identity::master("admin")));
    let made: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).expect("a ConfigMap");
    let created = api.create(&PostParams::default(), &made).await.expect("created");
    assert!(created.metadata.uid.is_some());
    assert_eq!(api.get("a").await.expect("found"), created);
}

#[tokio::test]
async fn a_watcher_follows() {
    let server = server().await;
    let client = server.api.client(Identity::master("admin"));
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let apply = |name: &'static str, value: &'static str| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}});
        let api = api.clone();
        async move { api.patch(name, &PatchParams::apply("t").force(), &Patch::Apply(object)).await.expect("applied") }
    };
    apply("a", "1").await;
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let seen = watcher(api.clone(), config).applied_objects().map_ok(|map| {
            let value = map.data.as_ref().and_then(|data| data.get("k")).cloned().unwrap_or_default();
            format!("{} {value}", map.metadata.name.unwrap_or_default())
        });
        let mut seen = std::pin::pin!(seen);
        assert_eq!(seen.next().await.expect("an object").expect("no error"), "a 1");
        apply("a", "2").await;
        assert_eq!(seen.next().await.expect("an object").expect("no error"), "a 2");
        apply("a", "1").await;
    }
    api.delete("a", &DeleteParams::default()).await.expect("deleted");
    let error = api.get("a").await.expect_err("it is gone");
    assert!(matches!(error, kube::Error::Api(status) if status.is_not_found()));
}
