//! One watch per kind for the whole cluster.

use crate::backoff::WatchBackoff;
use crate::error::Failure;
use crate::kinds::{Kinds, Resource};
use crate::view::View;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::core::{ApiResource, DynamicObject, TypeMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use model::ports::{PortError, Result};
use model::{FIELD_MANAGER, LABEL_PROJECT, ObjectId};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;

/// How long a first answer may take before it is said who does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts watches as kinds come into use; they end when this is dropped.
pub(crate) struct Watches {
    client: Client,
    pub(crate) view: Arc<View>,
    running: Mutex<Running>,
    begun: OnceCell<()>,
    pub(crate) lost: Arc<Lost>,
}

/// Why the cluster does not answer, as long as it does not.
#[derive(Default)]
pub(crate) struct Lost(Mutex<Option<String>>);

impl Lost {
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().expect("no panic happens while this is locked").clone()
    }
    /// True if that is news.
    pub(crate) fn set(&self, why: Option<String>) -> bool {
        let mut now = self.0.lock().expect("no panic happens while this is locked");
        let news = now.is_some() != why.is_some();
        *now = why;
        news
    }
}

#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    progress: HashMap<(String, String), watch::Receiver<Progress>>,
}

/// How far a watch has come.
#[derive(Debug, Clone)]
enum Progress {
    Begun,
    /// It does not get through; the server's words.
    Stuck(String),
    /// Nobody answers.
    Gone(String),
    /// The first list is taken in.
    Synced,
}

impl Watches {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, view: Arc::default(), running: Mutex::default(), begun: OnceCell::new(), lost: Arc::default() }
    }

    /// Watches the kinds that every environment has, and those others of which there are objects of ours.
    /// Returns when the first answers are there.
    pub(crate) async fn begin(&self, kinds: &Kinds) -> Result<()> {
        self.begun.get_or_try_init(|| self.begin_once(kinds)).await.copied()
    }

    async fn begin_once(&self, kinds: &Kinds) -> Result<()> {
        let always = always_watched();
        let mut others = kinds.watchable().await?;
        others.retain(|one| one.api.group != model::GROUP && one.api.kind != "Event");
        others.retain(|one| !always.iter().any(|api| api.group == one.api.group && api.kind == one.api.kind));
        let in_use = kinds.in_use(others, LABEL_PROJECT).await?;
        let apis: Vec<ApiResource> = always.into_iter().chain(in_use.into_iter().map(|one| one.api)).collect();
        apis.iter().for_each(|api| self.start(api));
        for api in &apis {
            self.synced(api).await?;
        }
        Ok(())
    }

    /// Watches one more kind, of which the first object is about to be applied, and waits for the first answer.
    pub(crate) async fn add(&self, resource: &Resource) -> Result<()> {
        self.start(&resource.api);
        self.synced(&resource.api).await
    }

    fn start(&self, api: &ApiResource) {
        let mut running = self.running.lock().expect("no panic happens while the watches are locked");
        let key = (api.group.clone(), api.kind.clone());
        if running.progress.contains_key(&key) {
            return;
        }
        let (progress, receiver) = watch::channel(Progress::Begun);
        running.progress.insert(key, receiver);
        running.tasks.spawn(follow(self.client.clone(), api.clone(), self.view.clone(), self.lost.clone(), progress));
    }

    async fn synced(&self, api: &ApiResource) -> Result<()> {
        let progress = {
            let running = self.running.lock().expect("no panic happens while the watches are locked");
            running.progress.get(&(api.group.clone(), api.kind.clone())).cloned()
        };
        let Some(mut progress) = progress else { return Ok(()) };
        let settled = progress.wait_for(|now| matches!(now, Progress::Synced | Progress::Gone(_)));
        let _ = tokio::time::timeout(PATIENCE, settled).await;
        let why = match &*progress.borrow() {
            Progress::Synced => return Ok(()),
            Progress::Stuck(words) | Progress::Gone(words) => words.clone(),
            Progress::Begun => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        Err(PortError::Transient(format!("watching {}: {why}", api.plural)))
    }
}

fn always_watched() -> Vec<ApiResource> {
    vec![
        ApiResource::erase::<Namespace>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<EndpointSlice>(&()),
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<ReplicaSet>(&()),
        ApiResource::erase::<Pod>(&()),
    ]
}

/// Runs until aborted.
async fn follow(client: Client, api: ApiResource, view: Arc<View>, lost: Arc<Lost>, progress: watch::Sender<Progress>) {
    let is_namespace = api.group.is_empty() && api.kind == "Namespace";
    let config = watcher::Config::default();
    let config = if is_namespace { config } else { config.labels(LABEL_PROJECT) };
    let objects: Api<DynamicObject> = Api::all_with(client, &api);
    let mut events = std::pin::pin!(watcher(objects, config).backoff(WatchBackoff::default()));
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => listed.push(value(&api, object)),
            Ok(watcher::Event::InitDone) => {
                view.replace(&api, std::mem::take(&mut listed));
                progress.send_replace(Progress::Synced);
            }
            Ok(watcher::Event::Apply(object)) => view.put(value(&api, object)),
            Ok(watcher::Event::Delete(object)) => {
                let last = value(&api, object);
                view.remove(&ObjectId::of(&last), Some(&last));
            }
            Err(error) => {
                tracing::warn!(kind = api.kind, %error, "watch broke; taking it up again");
                let now = match failure(error) {
                    Failure::Unavailable(words) => {
                        if lost.set(Some(words.clone())) {
                            view.wake_all();
                        }
                        Progress::Gone(words)
                    }
                    refused => Progress::Stuck(refused.words()),
                };
                progress.send_if_modified(|before| match before {
                    Progress::Synced => false,
                    Progress::Begun | Progress::Stuck(_) | Progress::Gone(_) => {
                        *before = now;
                        true
                    }
                });
            }
        }
    }
}

/// A stream that broke may only have been closed: whether the cluster is gone, the next try shows.
fn failure(error: watcher::Error) -> Failure {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => error.into(),
        watcher::Error::WatchError(status) => Failure::Refused(status.message),
        watcher::Error::WatchFailed(error) => Failure::Refused(error.to_string()),
        watcher::Error::NoResourceVersion => Failure::Refused("a list without resourceVersion".into()),
    }
}

/// What is asked about a change is who made it, beside us: of our own fields, and of those of a status, nothing is kept.
fn attribution(entry: &mut ManagedFieldsEntry) {
    let of_object = entry.subresource.as_deref().unwrap_or_default().is_empty();
    let theirs = of_object && entry.manager.as_deref() != Some(FIELD_MANAGER);
    *entry = ManagedFieldsEntry {
        manager: entry.manager.take(),
        subresource: entry.subresource.take(),
        fields_v1: entry.fields_v1.take().map(|fields| if theirs { fields } else { FieldsV1(serde_json::json!({})) }),
        ..ManagedFieldsEntry::default()
    };
}

/// Objects of a list do not say what they are. Who changed which field matters only of what is applied.
fn value(api: &ApiResource, mut object: DynamicObject) -> Value {
    object.types = Some(TypeMeta { api_version: api.api_version.clone(), kind: api.kind.clone() });
    match api.kind.as_str() {
        "Pod" | "ReplicaSet" | "EndpointSlice" => object.metadata.managed_fields = None,
        _ => object.metadata.managed_fields.iter_mut().flatten().for_each(attribution),
    }
    serde_json::to_value(object).expect("an object that was JSON is JSON")
}
