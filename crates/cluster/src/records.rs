//! Objects of the control API.

use crate::Cluster;
use crate::backoff::WatchBackoff;
use crate::error::Failure;
use crate::kinds::Resource;
use crate::requests::Requests;
use async_trait::async_trait;
use futures::StreamExt;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use model::ports::{Records, Result, Wake};
use model::records::Kind;
use model::{GROUP, Project, VERSION};
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::task::JoinSet;

#[async_trait]
impl Records for Cluster {
    async fn open(&self, project: &Project) -> Result<()> {
        let labels = BTreeMap::from([(model::LABEL_PROJECT.to_owned(), project.to_string())]);
        self.ensure_namespace(project.as_str(), &labels).await
    }

    async fn list(&self, kind: Kind, project: &Project) -> Result<Vec<Value>> {
        let api = resource(kind).api;
        let mut objects = self.records(kind, project.as_str()).list().await?;
        for object in objects.iter_mut().filter_map(Value::as_object_mut) {
            // Objects of a list do not say what they are.
            object.entry("apiVersion").or_insert_with(|| api.api_version.clone().into());
            object.entry("kind").or_insert_with(|| api.kind.clone().into());
        }
        Ok(objects)
    }

    async fn create(&self, kind: Kind, object: &Value) -> Result<bool> {
        let record = Record::read(kind, object)?;
        let requests = self.records(kind, record.namespace);
        match requests.create(&record.without_status).await {
            Ok(_) => {}
            Err(Failure::Conflict(_)) if requests.get(record.name).await?.is_some() => return Ok(false),
            Err(failure) => return Err(failure.into()),
        }
        if let Some(status) = record.status_only() {
            requests.apply_status(record.name, &status).await?;
        }
        Ok(true)
    }

    async fn apply(&self, kind: Kind, object: &Value) -> Result<()> {
        let record = Record::read(kind, object)?;
        let requests = self.records(kind, record.namespace);
        let live = requests.get(record.name).await?;
        if !live.as_ref().is_some_and(|live| covers(live, &record.without_status)) {
            requests.apply(record.name, &record.without_status, false).await?;
        }
        if let Some(status) = record.status_only()
            && live.as_ref().and_then(|live| live.get("status")) != status.get("status")
        {
            requests.apply_status(record.name, &status).await?;
        }
        Ok(())
    }

    async fn delete(&self, kind: Kind, project: &Project, name: &str) -> Result<()> {
        self.records(kind, project.as_str()).delete(name, None).await?;
        Ok(())
    }

    async fn watch(&self, project: &Project, wake: Wake) -> Result<()> {
        self.inner.records.watch(&self.inner.client, project, wake);
        Ok(())
    }
}

impl Cluster {
    fn records(&self, kind: Kind, namespace: &str) -> Requests<'_> {
        Requests::new(&self.inner.client, &resource(kind), namespace)
    }
}

fn resource(kind: Kind) -> Resource {
    let api = ApiResource {
        group: GROUP.into(),
        version: VERSION.into(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: kind.name().into(),
        plural: kind.plural().into(),
    };
    Resource { api, namespaced: true }
}

/// An object to be written, in the two parts in which the server takes it.
struct Record<'a> {
    namespace: &'a str,
    name: &'a str,
    without_status: Value,
    status: Option<Value>,
}

impl<'a> Record<'a> {
    fn read(kind: Kind, object: &'a Value) -> std::result::Result<Self, Failure> {
        let text = |field: &str| object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str);
        let (Some(namespace), Some(name)) = (text("namespace"), text("name")) else {
            return Err(Failure::Refused(format!("a {} needs metadata.namespace and metadata.name", kind.name())));
        };
        let mut without_status = object.clone();
        drop_nulls(&mut without_status);
        let status = without_status.as_object_mut().and_then(|object| object.remove("status"));
        Ok(Self { namespace, name, without_status, status })
    }

    /// What is sent to the status subresource.
    fn status_only(&self) -> Option<Value> {
        let status = self.status.clone()?;
        let head = ["apiVersion", "kind"].map(|field| (field.to_owned(), self.without_status[field].clone()));
        let metadata = serde_json::json!({"namespace": self.namespace, "name": self.name});
        let rest = [("metadata".to_owned(), metadata), ("status".to_owned(), status)];
        Some(Value::Object(head.into_iter().chain(rest).collect()))
    }
}

/// The server keeps no nulls, so that an object with them never equals the live one.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, part| !part.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// True if applying would change nothing: labels, annotations and owners are there, all else is the same.
fn covers(live: &Value, wanted: &Value) -> bool {
    let Some(fields) = wanted.as_object() else { return false };
    fields.iter().all(|(field, value)| match field.as_str() {
        "metadata" => {
            value.as_object().is_some_and(|metadata| metadata.iter().all(|(k, v)| holds(&live["metadata"][k], v)))
        }
        _ => live.get(field) == Some(value),
    })
}

fn holds(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, value)| live.get(key) == Some(value)),
        _ => live == wanted,
    }
}

/// One watch per kind for all projects, from the first who asks on.
#[derive(Default)]
pub(crate) struct RecordWatches {
    wakes: Arc<Wakes>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Wakes(Mutex<HashMap<String, Vec<Wake>>>);

impl Wakes {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Wake>>> {
        self.0.lock().expect("no panic happens while the wakes are locked")
    }

    /// `None` for all.
    fn wake(&self, project: Option<&str>) {
        let wakes: Vec<Wake> = match project {
            Some(project) => self.lock().get(project).cloned().unwrap_or_default(),
            None => self.lock().values().flatten().cloned().collect(),
        };
        wakes.iter().for_each(|wake| wake());
    }
}

impl RecordWatches {
    fn watch(&self, client: &Client, project: &Project, wake: Wake) {
        let mut wakes = self.wakes.lock();
        let of_project = wakes.entry(project.to_string()).or_default();
        if !of_project.iter().any(|known| Arc::ptr_eq(known, &wake)) {
            of_project.push(wake);
        }
        drop(wakes);
        let mut tasks = self.tasks.lock().expect("no panic happens while the watches are locked");
        if tasks.is_empty() {
            for kind in Kind::ALL {
                tasks.spawn(follow(client.clone(), resource(kind).api, self.wakes.clone()));
            }
        }
    }
}

/// Runs until aborted.
async fn follow(client: Client, api: ApiResource, wakes: Arc<Wakes>) {
    let objects: Api<DynamicObject> = Api::all_with(client, &api);
    let mut events = std::pin::pin!(watcher(objects, watcher::Config::default()).backoff(WatchBackoff::default()));
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            // After a gap anything may have changed.
            Ok(watcher::Event::InitDone) => wakes.wake(None),
            Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => {
                wakes.wake(object.metadata.namespace.as_deref())
            }
            Err(error) => tracing::warn!(kind = api.kind, %error, "watch broke; taking it up again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_content_needs_no_write() {
        let live = json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Build",
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "labels": {"a": "1", "other": "x"}},
            "spec": {"number": 1}, "status": {"phase": "Queued"},
        });
        // metadata.labels, spec → no write needed
        let cases = [
            (json!({"a": "1"}), json!({"number": 1}), true),
            (json!({"a": "1"}), json!({"number": 1, "note": null}), true),
            (json!({"a": "2"}), json!({"number": 1}), false),
            (json!({"a": "1", "b": "1"}), json!({"number": 1}), false),
            (json!({"a": "1"}), json!({"number": 2}), false),
            (json!({"a": "1"}), json!({}), false),
        ];
        for (labels, spec, expect) in cases {
            let object = json!({
                "apiVersion": "trimtab.dev/v1alpha1", "kind": "Build",
                "metadata": {"name": "web-1", "namespace": "shop", "labels": labels}, "spec": spec, "status": {"phase": "Running"},
            });
            let record = Record::read(Kind::Build, &object).unwrap();
            assert_eq!(covers(&live, &record.without_status), expect, "{object}");
            assert_eq!(record.status_only().unwrap()["status"], json!({"phase": "Running"}));
        }
    }

    #[test]
    fn an_object_without_a_place_is_refused() {
        let object = json!({"metadata": {"name": "web-1"}});
        assert!(
            matches!(Record::read(Kind::Build, &object), Err(Failure::Refused(words)) if words.contains("metadata.namespace"))
        );
    }
}
