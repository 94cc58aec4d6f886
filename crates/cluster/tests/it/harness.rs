//! An API server, and what there is to wait for.

use apiserver::{ApiServer, Config, Identity};
use cluster::Cluster;
use kube::Client;
use model::flow::{Action, Plan, Step};
use model::ports::{Scope, Wake};
use model::{LABEL_ENVIRONMENT, LABEL_PROJECT, ObjectId};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Notify;

/// Far above what anything here takes, even on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// An API server of its own; with `TRIMTAB_TEST_KUBECONFIG` the one named there, to see whether the tests ask for what
/// Kubernetes does.
pub struct Server {
    client: Client,
    embedded: Option<(ApiServer, TempDir)>,
}

impl Server {
    pub async fn start() -> Self {
        let Ok(path) = std::env::var("TRIMTAB_TEST_KUBECONFIG") else {
            let directory = tempfile::tempdir().expect("a directory");
            let config = Config { store: directory.path().join("store.redb"), admission: None, services: None };
            let server = ApiServer::open(config).await.expect("server opened");
            return Self { client: server.client(Identity::master("test")), embedded: Some((server, directory)) };
        };
        let kubeconfig = kube::config::Kubeconfig::read_from(path).expect("kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("config");
        Self { client: Client::try_from(config).expect("client"), embedded: None }
    }

    /// As somebody else would use it.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A new one, which knows nothing yet.
    pub fn cluster(&self) -> Cluster {
        Cluster::new(self.client())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((server, _)) = &self.embedded {
            let server = server.clone();
            tokio::spawn(async move { server.shutdown().await });
        }
    }
}

/// A wake and what it wakes.
pub fn alarm() -> (Wake, Arc<Notify>) {
    let notify = Arc::new(Notify::new());
    let woken = notify.clone();
    (Arc::new(move || woken.notify_one()), notify)
}

/// Looks after each wake until `of` gives something.
pub async fn after_wakes<T>(what: &str, notify: &Notify, of: impl AsyncFn() -> Option<T>) -> T {
    loop {
        if let Some(value) = of().await {
            return value;
        }
        let woken = tokio::time::timeout(LIMIT, notify.notified()).await;
        assert!(woken.is_ok(), "no wake within {LIMIT:?}, and it is not so: {what}");
    }
}

pub fn scope(project: &str) -> Scope {
    Scope { project: project.parse().expect("a project"), environment: "dev".parse().expect("an environment") }
}

pub fn namespace(scope: &Scope) -> String {
    model::names::workload_namespace(&scope.project, &scope.environment)
}

/// An object with the labels of its scope; the namespace itself has none around it.
pub fn object(scope: &Scope, api_version: &str, kind: &str, name: &str, more: Value) -> Value {
    let labels = json!({LABEL_PROJECT: scope.project.as_str(), LABEL_ENVIRONMENT: scope.environment.as_str()});
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": labels}});
    if !matches!(kind, "Namespace" | "CustomResourceDefinition") {
        object["metadata"]["namespace"] = json!(namespace(scope));
    }
    for (key, value) in more.as_object().expect("fields") {
        object[key] = value.clone();
    }
    object
}

pub fn step(action: Action, manifest: &Value, component: Option<&str>, uid: Option<&str>) -> Step {
    Step {
        action,
        object: ObjectId::of(manifest),
        component: component.map(|name| name.parse().expect("a component")),
        manifest: (action != Action::Delete).then(|| manifest.clone()),
        uid: uid.map(str::to_owned),
        changes: Vec::new(),
        reason: "test".into(),
    }
}

pub fn plan(scope: &Scope, steps: Vec<Step>) -> Plan {
    let commit = "0123456789012345678901234567890123456789".parse().expect("a commit");
    Plan { project: scope.project.clone(), environment: scope.environment.clone(), commit, steps }
}

pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().expect("a uid")
}

/// A definition of kind `Widget` in a group of its own, with status.
pub fn widgets(group: &str) -> Value {
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"type": "object", "properties": {"spec": free, "status": free}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}});
    let names = json!({"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget"});
    let spec = json!({"group": group, "scope": "Namespaced", "names": names, "versions": [version]});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("widgets.{group}")}, "spec": spec})
}
