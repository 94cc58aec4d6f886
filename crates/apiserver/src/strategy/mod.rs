//! What sets kinds apart beyond their schema: tables of small functions over values.
//!
//! The engine asks here at fixed points of every write. A kind that needs nothing has no row.

mod defaults;
pub mod job;
mod pod;
pub mod rules;
mod service;
mod validate;

pub use validate::validate;

use crate::crd;
use crate::resource::Resource;
use object::apply::FieldSet;
use object::meta;
use object::meta::meta_mut;
use serde_json::{Map, Value, json};

/// Namespaces that always exist.
pub const PERMANENT_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Which part of an object an endpoint writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All but the status, where that is an endpoint of its own.
    Main,
    /// The status.
    Status,
    /// `spec.finalizers` of a namespace.
    Finalize,
    /// A part that is neither: where a Pod runs.
    Subresource,
}

/// Fills in what may be left out.
pub fn default(resource: &Resource, object: &mut Value) {
    resource.schema.default(object);
    if &*resource.id == "namespaces" {
        label_namespace(object);
    }
    if resource.custom.is_none() {
        defaults::of(&resource.id, object);
    }
}

/// Sets what only the server sets on a new object; warnings.
pub fn prepare_create(resource: &Resource, object: &mut Value) -> Vec<String> {
    let status = resource.has("status") && resource.custom.as_ref().is_none_or(|custom| custom.status);
    if status && let Some(map) = object.as_object_mut() {
        map.shift_remove("status");
    }
    let mut warnings = Vec::new();
    match &*resource.id {
        "pods" => pod::prepare(object),
        "namespaces" => prepare_namespace(object),
        "services" => {
            object["status"] = json!({"loadBalancer": {}});
            service::normalise(object, None);
            warnings.extend(service::warnings(object));
        }
        crd::ID => warnings.extend(crd::warnings(object)),
        "persistentvolumeclaims" => object["status"] = json!({"phase": "Pending"}),
        "deployments.apps" | "jobs.batch" | "cronjobs.batch" => object["status"] = json!({}),
        "replicasets.apps" => object["status"] = json!({"replicas": 0}),
        "statefulsets.apps" => object["status"] = json!({"replicas": 0, "availableReplicas": 0}),
        _ => {}
    }
    warnings
}

/// Carries over what an update cannot change though it may leave it out; warnings.
pub fn prepare_update(resource: &Resource, object: &mut Value, old: &Value) -> Vec<String> {
    match &*resource.id {
        "services" => {
            service::normalise(object, Some(old));
            service::warnings(object)
        }
        _ => Vec::new(),
    }
}

fn prepare_namespace(object: &mut Value) {
    object["spec"]["finalizers"] = json!(["kubernetes"]);
    object["status"] = json!({"phase": "Active"});
}

fn label_namespace(object: &mut Value) {
    let name = meta(object).name().to_owned();
    if let Some(metadata) = meta_mut(object) {
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("kubernetes.io/metadata.name".into(), name.into());
        }
    }
}

/// Puts back what the endpoint of this scope may not write.
pub fn restrict(resource: &Resource, scope: Scope, old: &Value, new: &mut Value) {
    let has_status = resource.has("status");
    match scope {
        Scope::Status => {
            let status = new.get("status").cloned();
            let managed = new.pointer("/metadata/managedFields").cloned();
            let version = new.pointer("/metadata/resourceVersion").cloned();
            *new = old.clone();
            put(new.as_object_mut(), "status", status);
            put(meta_mut(new), "managedFields", managed);
            put(meta_mut(new), "resourceVersion", version.or_else(|| old["metadata"].get("resourceVersion").cloned()));
        }
        Scope::Main if has_status => put(new.as_object_mut(), "status", old.get("status").cloned()),
        Scope::Main | Scope::Finalize | Scope::Subresource => {}
    }
    if &*resource.id == "namespaces" && scope != Scope::Finalize {
        new["spec"] = old["spec"].clone();
    }
    for key in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "selfLink",
        "resourceVersion",
    ] {
        put(meta_mut(new), key, old["metadata"].get(key).cloned());
    }
}

fn put(map: Option<&mut Map<String, Value>>, key: &str, value: Option<Value>) {
    let Some(map) = map else { return };
    match value {
        Some(value) => drop(map.insert(key.to_owned(), value)),
        None => drop(map.shift_remove(key)),
    }
}

/// Fields that are never owned through an endpoint of this scope.
pub fn reset_fields(resource: &Resource, scope: Scope) -> FieldSet {
    match scope {
        Scope::Status => FieldSet::of([&["spec"][..], &["metadata"], &["data"]]),
        Scope::Main if resource.has("status") => FieldSet::of([&["status"][..]]),
        _ => FieldSet::default(),
    }
}

/// Objects of this resource count the changes of what is wanted.
pub fn has_generation(resource: &Resource) -> bool {
    resource.custom.is_some()
        || matches!(
            &*resource.id,
            "pods"
                | "replicationcontrollers"
                | "daemonsets.apps"
                | "deployments.apps"
                | "replicasets.apps"
                | "statefulsets.apps"
                | "cronjobs.batch"
                | "jobs.batch"
                | "endpointslices.discovery.k8s.io"
                | "ingresses.networking.k8s.io"
                | "ingressclasses.networking.k8s.io"
                | "networkpolicies.networking.k8s.io"
                | "poddisruptionbudgets.policy"
                | "priorityclasses.scheduling.k8s.io"
                | "customresourcedefinitions.apiextensions.k8s.io"
        )
}

/// What is wanted has changed: anything but metadata and status.
pub fn spec_changed(old: &Value, new: &Value) -> bool {
    let wanted = |object: &Value| -> Map<String, Value> {
        let all = object.as_object().into_iter().flatten();
        all.filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status"))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    wanted(old) != wanted(new)
}

/// An object on its way out that waits for nothing any more.
pub fn deletion_is_complete(resource: &str, object: &Value) -> bool {
    let metadata = meta(object);
    metadata.deletion_timestamp().is_some()
        && metadata.finalizers().next().is_none()
        && object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64).unwrap_or_default() == 0
        && !content_finalizers(resource, object)
}

/// Seconds between the wish to delete and the end. Only Pods have any, and only once a node runs them.
pub fn grace(resource: &str, object: &Value, asked: Option<u64>) -> u64 {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let over = matches!(text("/status/phase"), "Succeeded" | "Failed");
    if resource != "pods" || over || text("/spec/nodeName").is_empty() {
        return 0;
    }
    let own = || object.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(30);
    asked.unwrap_or_else(own)
}

/// A namespace goes when its content has gone: `spec.finalizers` says so.
pub fn content_finalizers(resource: &str, object: &Value) -> bool {
    resource == "namespaces"
        && object.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
}

/// A finalizer that a deletion begins with: a definition goes after its objects.
pub fn own_finalizer(resource: &str) -> Option<&'static str> {
    (resource == crd::ID).then_some(crd::CLEANUP)
}

/// Shows in the status that the deletion has begun.
pub fn mark_deleting(resource: &str, object: &mut Value) {
    if resource == "namespaces" {
        object["status"]["phase"] = "Terminating".into();
    }
}

/// Why an object must stay; `None` if it may go.
pub fn undeletable(resource: &str, name: &str) -> Option<&'static str> {
    (resource == "namespaces" && PERMANENT_NAMESPACES.contains(&name)).then_some("this namespace may not be deleted")
}

/// Kinds whose deletion answers with the object, not with a Status.
pub fn returns_deleted(resource: &str) -> bool {
    matches!(
        resource,
        "pods"
            | "services"
            | "serviceaccounts"
            | "namespaces"
            | "persistentvolumes"
            | "persistentvolumeclaims"
            | "podtemplates"
            | "resourcequotas"
            | "storageclasses.storage.k8s.io"
    )
}
