//! Through `kube::Client`, in process.

use crate::support::server;
use apiserver::Identity;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};

#[tokio::test]
async fn a_client_creates_and_gets() {
    let server = server().await;
    let api: Api<ConfigMap> = Api::default_namespaced(server.api.client(Identity::master("admin")));
    let made: ConfigMap = serde_json::from_value(serde_json::json!({"metadata": {"name": "a"}, "data": {"k": "v"}}))
        .expect("a ConfigMap");
    let created = api.create(&PostParams::default(), &made).await.expect("created");
    assert!(created.metadata.uid.is_some());
    assert_eq!(api.get("a").await.expect("found"), created);
}
