//! A cluster in memory: what is applied becomes healthy, crashes or stays on its way, by its image.

use super::fuse::Fuse;
use async_trait::async_trait;
use model::flow::{Action, ObjectId, Observation, Plan, Receipt, StepResult};
use model::ports::{DataPlane, Records, Result, Scope, Wake};
use model::records::Kind;
use model::{FIELD_MANAGER, LABEL_ENVIRONMENT, LABEL_PROJECT, Project};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// How containers of an image behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Healthy,
    Starting,
    Crashing,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<ObjectId, Value>,
    wakes: Vec<(Scope, Wake)>,
    behaviours: BTreeMap<String, Behaviour>,
    version: u64,
}

pub struct FakeCluster {
    state: Mutex<State>,
    fuse: Arc<Fuse>,
}

impl FakeCluster {
    pub fn new(fuse: Arc<Fuse>) -> Self {
        Self { state: Mutex::default(), fuse }
    }

    /// What containers of this image do from now on.
    pub fn behave(&self, image: &str, behaviour: Behaviour) {
        let mut state = self.state.lock().unwrap();
        state.behaviours.insert(image.to_owned(), behaviour);
        let ids: Vec<ObjectId> = state.objects.keys().filter(|id| id.kind == "Deployment").cloned().collect();
        ids.iter().for_each(|id| state.roll(id));
        drop(state);
        self.wake();
    }

    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let state = self.state.lock().unwrap();
        let found = |id: &&ObjectId| id.kind == kind && id.namespace == namespace && id.name == name;
        state.objects.keys().find(found).map(|id| state.objects[id].clone())
    }

    /// Image of the Deployment, if there is one.
    pub fn image(&self, namespace: &str, name: &str) -> Option<String> {
        let deployment = self.get("Deployment", namespace, name)?;
        Some(deployment.pointer("/spec/template/spec/containers/0/image")?.as_str()?.to_owned())
    }

    /// Somebody deletes an object.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.objects.retain(|id, _| !(id.kind == kind && id.namespace == namespace && id.name == name));
        drop(state);
        self.wake();
    }

    /// Somebody puts or changes an object.
    pub fn put(&self, object: Value) {
        self.state.lock().unwrap().keep(object);
        self.wake();
    }

    /// The process that watched is gone.
    pub fn forget_watches(&self) {
        self.state.lock().unwrap().wakes.clear();
    }

    fn wake(&self) {
        let wakes: Vec<Wake> = self.state.lock().unwrap().wakes.iter().map(|(_, wake)| wake.clone()).collect();
        wakes.iter().for_each(|wake| wake());
    }
}

impl State {
    fn keep(&mut self, mut object: Value) {
        self.version += 1;
        let id = ObjectId::of(&object);
        let uid = self.objects.get(&id).map(|live| live["metadata"]["uid"].clone());
        object["metadata"]["uid"] = uid.unwrap_or_else(|| json!(format!("u-{}", self.version)));
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object["metadata"]["generation"] = json!(self.version);
        self.objects.insert(id.clone(), object);
        self.roll(&id);
    }

    /// The controllers, the node and the endpoints, all at once.
    fn roll(&mut self, id: &ObjectId) {
        if id.kind != "Deployment" {
            return;
        }
        self.version += 1;
        let Some(live) = self.objects.get_mut(id) else { return };
        let image = live.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str).unwrap_or_default();
        let behaviour = self.behaviours.get(image).copied().unwrap_or(Behaviour::Healthy);
        let wanted = live["spec"]["replicas"].as_i64().unwrap_or(1);
        let available = if behaviour == Behaviour::Healthy { wanted } else { 0 };
        let failed = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "it did not come up"}]);
        live["status"] = json!({
            "observedGeneration": live["metadata"]["generation"],
            "replicas": wanted, "updatedReplicas": wanted, "availableReplicas": available, "readyReplicas": available,
            "conditions": if behaviour == Behaviour::Crashing { failed } else { json!([]) },
        });
        live["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let labels = live["metadata"]["labels"].clone();
        self.endpoints(id, labels, behaviour == Behaviour::Healthy);
    }

    fn endpoints(&mut self, id: &ObjectId, mut labels: Value, ready: bool) {
        labels["kubernetes.io/service-name"] = json!(id.name);
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-x", id.name), "namespace": id.namespace, "labels": labels,
                "resourceVersion": self.version.to_string(), "uid": "slice",
                "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": id.name, "uid": "service"}],
            },
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": ready}}],
        });
        self.objects.insert(ObjectId::of(&slice), slice);
    }

    /// What stands after an apply: described fields over what is there.
    fn applied(&self, manifest: &Value) -> Value {
        let mut object = self.objects.get(&ObjectId::of(manifest)).cloned().unwrap_or_else(|| json!({}));
        merge(&mut object, manifest);
        let managers = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let others = managers.into_iter().filter(|m| m["manager"] != FIELD_MANAGER);
        let ours = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {}});
        object["metadata"]["managedFields"] = others.chain([ours]).collect();
        object
    }

    fn run(&mut self, step: &model::flow::Step) {
        match (step.action, &step.manifest) {
            (Action::Create | Action::Configure, Some(manifest)) => {
                let object = self.applied(manifest);
                self.keep(object);
            }
            (Action::Delete, _) => drop(self.objects.remove(&step.object)),
            _ => {}
        }
    }
}

fn merge(live: &mut Value, described: &Value) {
    match (live, described) {
        (Value::Object(live), Value::Object(described)) => {
            for (key, value) in described {
                merge(live.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (live, described) => *live = described.clone(),
    }
}

#[async_trait]
impl DataPlane for FakeCluster {
    async fn observe(&self, scope: &Scope, wake: Wake) -> Result<Observation> {
        let mut state = self.state.lock().unwrap();
        if !state.wakes.iter().any(|(known, _)| known == scope) {
            state.wakes.push((scope.clone(), wake));
        }
        let ours = |object: &Value| {
            let labels = &object["metadata"]["labels"];
            labels[LABEL_PROJECT] == scope.project.as_str() && labels[LABEL_ENVIRONMENT] == scope.environment.as_str()
        };
        let objects = state.objects.iter().filter(|(_, object)| ours(object));
        Ok(objects.map(|(_, object)| object.clone()).collect())
    }

    async fn predict(&self, manifests: &[Value]) -> Result<Vec<std::result::Result<Value, String>>> {
        let state = self.state.lock().unwrap();
        Ok(manifests.iter().map(|manifest| Ok(state.applied(manifest))).collect())
    }

    async fn execute(&self, plan: &Plan, _: &model::settings::Opened) -> Result<Receipt> {
        let execute = || {
            let mut state = self.state.lock().unwrap();
            plan.steps.iter().for_each(|step| state.run(step));
            let result =
                |step: &model::flow::Step| StepResult { object: step.object.clone(), action: step.action, error: None };
            Receipt { results: plan.steps.iter().map(result).collect() }
        };
        let receipt = self.fuse.effect("execute", execute).await;
        self.wake();
        Ok(receipt)
    }

    async fn logs(&self, _: &str, _: &str, _: u32, _: bool) -> Result<String> {
        Ok("its last words\n".to_owned())
    }
}

/// Objects of the control API.
pub struct FakeRecords {
    objects: Mutex<BTreeMap<(Kind, String), Value>>,
    wakes: Mutex<Vec<Wake>>,
    fuse: Arc<Fuse>,
}

impl FakeRecords {
    pub fn new(fuse: Arc<Fuse>) -> Self {
        Self { objects: Mutex::default(), wakes: Mutex::default(), fuse }
    }

    pub fn all(&self, kind: Kind) -> BTreeMap<String, Value> {
        let objects = self.objects.lock().unwrap();
        let of_kind = objects.iter().filter(|((k, _), _)| *k == kind);
        of_kind.map(|((_, name), object)| (name.clone(), object.clone())).collect()
    }

    /// Somebody puts an object.
    pub fn put(&self, kind: Kind, object: Value) {
        self.objects.lock().unwrap().insert((kind, name(&object)), object);
        self.wake();
    }

    pub fn forget_watches(&self) {
        self.wakes.lock().unwrap().clear();
    }

    fn wake(&self) {
        let wakes = self.wakes.lock().unwrap().clone();
        wakes.iter().for_each(|wake| wake());
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("objects have names").to_owned()
}

#[async_trait]
impl Records for FakeRecords {
    async fn open(&self, _: &Project) -> Result<()> {
        Ok(())
    }
    async fn list(&self, kind: Kind, _: &Project) -> Result<Vec<Value>> {
        Ok(self.all(kind).into_values().collect())
    }

    async fn create(&self, kind: Kind, object: &Value) -> Result<bool> {
        let create = || {
            let mut objects = self.objects.lock().unwrap();
            let key = (kind, name(object));
            let absent = !objects.contains_key(&key);
            objects.entry(key).or_insert_with(|| object.clone());
            absent
        };
        let created = self.fuse.effect("create", create).await;
        self.wake();
        Ok(created)
    }

    async fn apply(&self, kind: Kind, object: &Value) -> Result<()> {
        let key = (kind, name(object));
        if self.objects.lock().unwrap().get(&key) == Some(object) {
            return Ok(());
        }
        self.fuse.effect("apply", || drop(self.objects.lock().unwrap().insert(key, object.clone()))).await;
        self.wake();
        Ok(())
    }

    async fn delete(&self, kind: Kind, _: &Project, name: &str) -> Result<()> {
        self.objects.lock().unwrap().remove(&(kind, name.to_owned()));
        self.wake();
        Ok(())
    }

    async fn watch(&self, _: &Project, wake: Wake) -> Result<()> {
        self.wakes.lock().unwrap().push(wake);
        Ok(())
    }
}
