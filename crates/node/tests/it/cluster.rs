//! An API server and a node in this process, and ways to look at them.

use apiserver::{ApiServer, Identity};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use node::{Mode, Node, Options};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Generous: a busy machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const NODE: &str = "local";

/// A name that no other test of this machine has.
fn instance() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    format!("{:04x}{:04x}", std::process::id() as u16, NEXT.fetch_add(1, Ordering::Relaxed))
}

pub struct Cluster {
    /// Deleted with the cluster.
    _directory: tempfile::TempDir,
    pub api: ApiServer,
    pub client: Client,
    pub node: Option<Node>,
    shutdown: CancellationToken,
    options: Options,
}

impl Cluster {
    pub async fn simulated() -> Self {
        Self::start(Mode::Simulated { reason: "a test".into() }, PathBuf::new()).await
    }

    pub async fn start(mode: Mode, exe: PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store.redb");
        let (data, instance) = (directory.path().join("node"), instance());
        let services = node::service_network(&data, &instance, &mode).await.unwrap();
        let services = services.map(|(address, prefix)| apiserver::Network { address, prefix });
        let api = ApiServer::open(apiserver::Config { store, admission: None, services }).await.unwrap();
        let client = api.client(Identity::master("test"));
        let options = Options {
            node_name: NODE.into(),
            data,
            instance,
            exe,
            images: oci::Store::open(directory.path().join("oci")).unwrap(),
            registry: "registry.test.internal".into(),
            mode,
            before_stop: None,
        };
        let mut cluster =
            Self { _directory: directory, api, client, node: None, shutdown: CancellationToken::new(), options };
        cluster.start_node().await;
        cluster
    }

    pub fn data(&self) -> &Path {
        &self.options.data
    }

    pub fn instance(&self) -> &str {
        &self.options.instance
    }

    pub fn images(&self) -> &oci::Store {
        &self.options.images
    }

    pub async fn start_node(&mut self) {
        self.shutdown = CancellationToken::new();
        let client = self.api.client(Identity::master("system:node:local"));
        let node = Node::start(client, self.options.clone(), self.shutdown.clone()).await.unwrap();
        self.api.set_kubelet(node.kubelet());
        self.node = Some(node);
    }

    /// The control process ends; containers live on.
    pub fn stop_node(&mut self) {
        self.shutdown.cancel();
        self.node = None;
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub async fn create(&self, pod: Value) -> Pod {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap()
    }

    pub async fn create_object(&self, kind: &str, object: Value) -> Value {
        let path = format!("/api/v1/namespaces/default/{kind}");
        let request = http::Request::post(path).body(serde_json::to_vec(&object).unwrap()).unwrap();
        self.client.request::<Value>(request).await.unwrap()
    }

    /// The Pod as soon as it is so; the failure shows it as it is.
    pub async fn until(&self, name: &str, what: &str, condition: impl Fn(&Pod) -> bool) -> Pod {
        let mut last = None;
        let work = async {
            let mut states = std::pin::pin!(watch_object(self.pods(), name));
            while let Some(state) = states.next().await {
                if let Some(pod) = state.unwrap() {
                    if condition(&pod) {
                        return Some(pod);
                    }
                    last = Some(pod);
                }
            }
            None
        };
        if let Ok(Some(pod)) = tokio::time::timeout(PATIENCE, work).await {
            return pod;
        }
        let status = last.map(|pod| serde_json::to_string_pretty(&pod.status).unwrap());
        panic!("{name} is not {what}: {}\nevents: {:#?}", status.unwrap_or_default(), self.events(name).await);
    }

    pub async fn until_ready(&self, name: &str) -> Pod {
        self.until(name, "ready", |pod| condition(pod, "Ready") == Some("True".into())).await
    }

    pub async fn until_gone(&self, name: &str) {
        let work = async {
            let mut states = std::pin::pin!(watch_object(self.pods(), name));
            while states.next().await.is_some_and(|state| state.unwrap().is_some()) {}
        };
        if tokio::time::timeout(PATIENCE, work).await.is_err() {
            let pod = self.pods().get(name).await.unwrap();
            panic!(
                "{name} is not gone: {}\nevents: {:#?}",
                serde_json::to_string_pretty(&pod).unwrap(),
                self.events(name).await
            );
        }
    }

    pub async fn delete(&self, name: &str) {
        self.pods().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Reasons and messages about a Pod.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let events = api.list(&Default::default()).await.unwrap();
        let about = events.items.into_iter().filter(|e| e.involved_object.name.as_deref() == Some(name));
        about.map(|e| format!("{}: {}", e.reason.unwrap_or_default(), e.message.unwrap_or_default())).collect()
    }

    pub async fn until_event(&self, name: &str, start: &str) {
        let api: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let work = async {
            let mut changes = std::pin::pin!(kube::runtime::watcher(api, Default::default()));
            while changes.try_next().await.unwrap().is_some() {
                if self.events(name).await.iter().any(|e| e.starts_with(start)) {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, work).await.is_err() {
            panic!("no event {start:?} about {name}: {:#?}", self.events(name).await);
        }
    }

    pub async fn logs(&self, name: &str, previous: bool) -> String {
        let params = kube::api::LogParams { previous, ..Default::default() };
        self.pods().logs(name, &params).await.unwrap()
    }
}

pub fn condition(pod: &Pod, name: &str) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| c.type_ == name).map(|c| c.status.clone())
}

/// A Pod of one container on this node.
pub fn pod(name: &str, container: Value) -> Value {
    let mut whole = json!({"name": "main", "image": "registry.test.internal/test@sha256:0"});
    whole.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"nodeName": NODE, "containers": [whole]}
    })
}

pub fn waiting_reason(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.state.as_ref()?.waiting.as_ref()?.reason.clone()
}
