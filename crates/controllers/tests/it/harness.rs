//! One API server, the controllers, and a pretended node.

use apiserver::{ApiServer, Config, Identity};
use controllers::Options;
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json};
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub const NODE: &str = "node-1";
/// Far above what anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Everything ends when this is dropped.
pub struct World {
    pub client: Client,
    pub namespace: String,
    tasks: JoinSet<()>,
    _server: Server,
}

impl World {
    /// With a node and its kubelet.
    pub async fn start(name: &str) -> Self {
        let mut world = Self::without_node(name).await;
        world.add_node().await;
        world
    }

    pub async fn without_node(name: &str) -> Self {
        let server = Server::start().await;
        let client = server.client();
        let namespace = format!("it-{name}");
        let mut tasks = JoinSet::new();
        let options = Options { node_name: NODE.into(), root_ca: Some("PEM".into()) };
        let running = controllers::run(client.clone(), options, CancellationToken::new());
        tasks.spawn(async move { running.await.expect("the controllers ended") });
        let world = Self { client, namespace, tasks, _server: server };
        let object: Namespace = from_value(json!({"metadata": {"name": world.namespace}})).expect("a namespace");
        Api::all(world.client.clone()).create(&PostParams::default(), &object).await.expect("namespace created");
        world
    }

    pub async fn add_node(&mut self) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node: Node = from_value(json!({"metadata": {"name": NODE}})).expect("a node");
        nodes.create(&PostParams::default(), &node).await.expect("node created");
        self.tasks.spawn(pretend_to_run_pods(self.client.clone()));
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let object: K = from_value(object).expect("an object of this kind");
        self.api().create(&PostParams::default(), &object).await.expect("created")
    }

    pub async fn patch<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.api().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched")
    }

    pub async fn list<K>(&self) -> Vec<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.api().list(&ListParams::default()).await.expect("listed").items
    }

    /// Returns what `of` gives as soon as it gives something; tells all that there is if that does not happen.
    pub async fn until<T>(&self, what: &str, of: impl AsyncFn(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = of(self).await {
                return value;
            }
            if start.elapsed() > LIMIT {
                panic!("not within {LIMIT:?}: {what}\n{}", self.state().await);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn state(&self) -> String {
        let mut text = String::new();
        dump(&mut text, self.list::<Deployment>().await);
        dump(&mut text, self.list::<ReplicaSet>().await);
        dump(&mut text, self.list::<Job>().await);
        dump(&mut text, self.list::<Pod>().await);
        dump(&mut text, self.list::<Service>().await);
        dump(&mut text, self.list::<EndpointSlice>().await);
        text
    }
}

fn dump<K: Resource<DynamicType = ()> + Serialize>(text: &mut String, objects: Vec<K>) {
    for object in objects {
        let mut value = serde_json::to_value(&object).expect("JSON");
        value["metadata"].as_object_mut().expect("metadata").remove("managedFields");
        let _ = writeln!(text, "{} {}: {value}", K::kind(&()), object.name_any());
    }
}

/// An API server of its own; with `TRIMTAB_TEST_KUBECONFIG` the one named there, one test at a time, to see whether the
/// tests ask for what Kubernetes does.
enum Server {
    Embedded { server: ApiServer, _directory: TempDir },
    Other(Client),
}

impl Server {
    async fn start() -> Self {
        let Ok(path) = std::env::var("TRIMTAB_TEST_KUBECONFIG") else {
            let directory = tempfile::tempdir().expect("a directory");
            let config = Config { store: directory.path().join("store.redb"), admission: None, services: None };
            let server = ApiServer::open(config).await.expect("server opened");
            return Self::Embedded { server, _directory: directory };
        };
        let kubeconfig = kube::config::Kubeconfig::read_from(path).expect("kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("config");
        let client = Client::try_from(config).expect("client");
        // What an earlier test left behind.
        let _ = Api::<Node>::all(client.clone()).delete(NODE, &DeleteParams::background()).await;
        Self::Other(client)
    }

    fn client(&self) -> Client {
        match self {
            Self::Embedded { server, .. } => server.client(Identity::master("test")),
            Self::Other(client) => client.clone(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Embedded { server, .. } = self {
            let server = server.clone();
            tokio::spawn(async move { server.shutdown().await });
        }
    }
}

/// As a kubelet: what is bound to the node runs and is ready at once, unless its image is `never-ready`; what is to
/// be deleted is gone, unless its image is `lingering`. What has the image `succeeds` or `fails` does so at once.
async fn pretend_to_run_pods(client: Client) {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={NODE}"));
    let events = watcher(Api::<Pod>::all(client.clone()), config).default_backoff().applied_objects();
    let mut pods = std::pin::pin!(events);
    while let Some(pod) = pods.next().await {
        let Ok(pod) = pod else { continue };
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let image = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default();
        let is_running = pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some());
        if pod.metadata.deletion_timestamp.is_some() {
            if image != "lingering" {
                let _ = api.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
            }
        } else if !is_running {
            let status = match image.as_str() {
                "succeeds" => ended("Succeeded", 0),
                "fails" => ended("Failed", 1),
                image => running(image != "never-ready"),
            };
            let _ = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(status)).await;
        }
    }
}

fn ended(phase: &str, code: i32) -> Value {
    let mut status = running(false);
    let now = status["status"]["startTime"].clone();
    let state = json!({"terminated": {"exitCode": code, "finishedAt": now}});
    status["status"]["phase"] = phase.into();
    status["status"]["containerStatuses"] = json!([
        {"name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}
    ]);
    status
}

fn running(ready: bool) -> Value {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let ip = format!("10.99.{}.{}", number / 250, number % 250 + 1);
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let ready = if ready { "True" } else { "False" };
    let conditions = json!([{"type": "Ready", "status": ready, "lastTransitionTime": now}]);
    json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": now, "conditions": conditions}})
}

/// A Deployment of one container.
pub fn deployment(name: &str, replicas: u32, image: &str) -> Value {
    let labels = json!({"app": name});
    let container = json!({"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}]});
    json!({
        "metadata": {"name": name, "annotations": {"note": "kept"}},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}},
        },
    })
}

/// Reason and message of a condition that has this status.
pub fn condition(deployment: &Deployment, kind: &str, status: &str) -> Option<(String, String)> {
    let mut conditions = deployment.status.as_ref()?.conditions.iter().flatten();
    let found = conditions.find(|condition| condition.type_ == kind && condition.status == status)?;
    Some((found.reason.clone()?, found.message.clone()?))
}

pub fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
