//! What must be there before anything else can: kinds and namespaces.

use crate::error::Failure;
use crate::execute::namespace_manifest;
use crate::kinds::Resource;
use crate::requests::Requests;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::ApiResource;
use kube::runtime::wait::{Condition, await_condition, conditions};
use kube::{Api, Client};
use model::ObjectId;
use model::ports;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

/// How long a server may take to serve a kind, or to let go of a namespace.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn kinds(client: &Client, definitions: &[Value]) -> ports::Result<()> {
    let resource = Resource { api: ApiResource::erase::<CustomResourceDefinition>(&()), namespaced: false };
    let requests = Requests::new(client, &resource, "");
    let installs = definitions.iter().map(|definition| async {
        let name = ObjectId::of(definition).name;
        requests.apply(&name, definition, false).await?;
        established(client, &name).await
    });
    try_join_all(installs).await?;
    Ok(())
}

/// Returns when the server has accepted the names of a kind and serves it.
pub(crate) async fn established(client: &Client, name: &str) -> Result<(), Failure> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let reached = await_condition(definitions, name, conditions::is_crd_established());
    within_patience(reached, || format!("CustomResourceDefinition {name} to be established")).await
}

pub(crate) async fn namespace(client: &Client, name: &str, labels: &BTreeMap<String, String>) -> ports::Result<()> {
    let resource = Resource { api: ApiResource::erase::<Namespace>(&()), namespaced: false };
    let manifest = namespace_manifest(name, json!(labels));
    let applied = Requests::new(client, &resource, "").apply(name, &manifest, false).await?;
    Ok(usable_namespace(client, &applied).await?)
}

/// Returns when objects can be created in a namespace that was just applied. One that is on its way out is waited
/// for and then refused, so that its contents are looked at anew.
pub(crate) async fn usable_namespace(client: &Client, applied: &Value) -> Result<(), Failure> {
    let name = ObjectId::of(applied).name;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let uid = applied.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    match applied.pointer("/status/phase").and_then(Value::as_str) {
        Some("Active") => Ok(()),
        Some("Terminating") => {
            let gone = await_condition(namespaces, &name, conditions::is_deleted(uid));
            within_patience(gone, || format!("namespace {name} to be gone, which is being deleted")).await?;
            Err(Failure::Conflict(format!("namespace {name} was being deleted; it is gone now")))
        }
        _ => {
            let reached = await_condition(namespaces, &name, is_active());
            within_patience(reached, || format!("namespace {name} to become active")).await
        }
    }
}

fn is_active() -> impl Condition<Namespace> {
    |namespace: Option<&Namespace>| {
        let status = namespace.and_then(|namespace| namespace.status.as_ref());
        status.and_then(|status| status.phase.as_deref()) == Some("Active")
    }
}

async fn within_patience<T>(
    reached: impl Future<Output = Result<T, kube::runtime::wait::Error>>,
    what: impl Fn() -> String,
) -> Result<(), Failure> {
    match tokio::time::timeout(PATIENCE, reached).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Failure::Unavailable(format!("waiting for {}: {error}", what()))),
        Err(_) => Err(Failure::Unavailable(format!("waited {} s for {}", PATIENCE.as_secs(), what()))),
    }
}
