//! ConfigMaps and Secrets that Pods refer to: reading them, and waiting for those that are missing.

use crate::error::Error;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};

/// Kinds whose data a Pod may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
}

/// A reference inside the Pod's namespace.
pub(crate) type Reference = (Kind, String);

/// The data of one object. Has no `Debug`: it may be secret.
#[derive(Clone, Default)]
pub(crate) struct Data {
    pub entries: BTreeMap<String, Vec<u8>>,
    pub version: Option<String>,
}

/// What was read; an object that does not exist has no data.
pub(crate) type Lookup = BTreeMap<Reference, Option<Data>>;

/// Something that a Pod needs is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// In kubelet's words.
    pub message: String,
    /// A change of this may help; `None`: nothing will.
    pub of: Option<Reference>,
}

impl Missing {
    pub(crate) fn hopeless(message: impl Into<String>) -> Self {
        Self { message: message.into(), of: None }
    }
}

/// The data of a required or optional object.
pub(crate) fn required(lookup: &Lookup, reference: Reference, optional: bool) -> Result<Option<&Data>, Missing> {
    match lookup.get(&reference).and_then(Option::as_ref) {
        Some(data) => Ok(Some(data)),
        None if optional => Ok(None),
        None => {
            let kind = if reference.0 == Kind::ConfigMap { "configmap" } else { "secret" };
            Err(Missing { message: format!("{kind} {:?} not found", reference.1), of: Some(reference) })
        }
    }
}

/// Reads all of these.
pub(crate) async fn fetch(client: &Client, namespace: &str, needs: BTreeSet<Reference>) -> Result<Lookup, Error> {
    let mut lookup = Lookup::new();
    for reference in needs {
        let what = format!("reading {:?} {}/{}", reference.0, namespace, reference.1);
        let data = read(client, namespace, &reference).await.map_err(Error::api(what))?;
        lookup.insert(reference, data);
    }
    Ok(lookup)
}

async fn read(client: &Client, namespace: &str, (kind, name): &Reference) -> Result<Option<Data>, kube::Error> {
    Ok(match kind {
        Kind::ConfigMap => Api::namespaced(client.clone(), namespace).get_opt(name).await?.map(of_config_map),
        Kind::Secret => Api::namespaced(client.clone(), namespace).get_opt(name).await?.map(of_secret),
    })
}

/// Until the object differs from what was read.
pub(crate) async fn changed(client: &Client, namespace: &str, reference: &Reference, lookup: &Lookup) {
    let known = lookup.get(reference).and_then(Option::as_ref).and_then(|d| d.version.clone());
    match reference {
        (Kind::ConfigMap, name) => differs::<ConfigMap>(client, namespace, name, known).await,
        (Kind::Secret, name) => differs::<Secret>(client, namespace, name, known).await,
    }
}

async fn differs<K>(client: &Client, namespace: &str, name: &str, known: Option<String>)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let mut states = std::pin::pin!(watch_object(api, name).default_backoff());
    while let Some(state) = states.next().await {
        let Ok(state) = state else { continue };
        if state.and_then(|object| object.resource_version()) != known {
            return;
        }
    }
}

fn of_config_map(map: ConfigMap) -> Data {
    let version = map.resource_version();
    let text = map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
    let binary = map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0));
    Data { entries: text.chain(binary).collect(), version }
}

fn of_secret(secret: Secret) -> Data {
    let version = secret.resource_version();
    Data { entries: secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect(), version }
}
