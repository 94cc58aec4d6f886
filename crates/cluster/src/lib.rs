//! One data plane, the embedded one or any Kubernetes, through a [`kube::Client`]: what stands there, what a manifest
//! would become, and the execution of a plan. The same for the objects of the control API.
//!
//! Reading is by one watch per kind for all projects and environments together; who waits is told by labels.

mod backoff;
mod connect;
mod data_plane;
mod error;
mod execute;
mod install;
mod kinds;
mod kubeconfig;
mod records;
mod requests;
mod trouble;
mod view;
mod watch;

pub use kubeconfig::{Credential, Unusable};

use jiff::Timestamp;
use kinds::Kinds;
use kube::Client;
use model::ports::{Capabilities, Result};
use records::RecordWatches;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use watch::Watches;

/// A data plane and control API. Cloning is cheap; watches end with the last clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    kinds: Kinds,
    watches: Watches,
    records: RecordWatches,
    /// Who we are to the API if it keeps others from writing, once that was asked.
    writer: tokio::sync::Mutex<Option<Option<String>>>,
    /// What the API can do, and when that was asked.
    capabilities: tokio::sync::Mutex<Option<(Instant, Capabilities)>>,
    /// When the credential ends, if that is known.
    expires: Option<Timestamp>,
}

impl Cluster {
    /// Sends nothing yet.
    pub fn new(client: Client) -> Self {
        Self::with(client, None)
    }

    fn with(client: Client, expires: Option<Timestamp>) -> Self {
        let kinds = Kinds::new(client.clone());
        let watches = Watches::new(client.clone());
        let records = RecordWatches::default();
        let (writer, capabilities) = Default::default();
        Self { inner: Arc::new(Inner { client, kinds, watches, records, writer, capabilities, expires }) }
    }

    /// Applies CustomResourceDefinitions and returns when all of them are served.
    pub async fn install_kinds(&self, crds: &[Value]) -> Result<()> {
        install::kinds(&self.inner.client, crds).await
    }

    /// Applies a namespace with these labels and returns when objects can be created in it.
    pub async fn ensure_namespace(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<()> {
        install::namespace(&self.inner.client, name, labels).await
    }
}
