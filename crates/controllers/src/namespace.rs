//! What every namespace has: the ServiceAccount that Pods run as unless they name another, and the CA of the API server.

use crate::cache::Change;
use crate::caches::Caches;
use crate::controller;
use crate::error::{self, Error, WriteResult};
use crate::held::Held;
use crate::objects::Key;
use crate::queue::{Next, Queue};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

pub(crate) const DEFAULT_ACCOUNT: &str = "default";
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_KEY: &str = "ca.crt";

pub(crate) struct Namespaces {
    pub(crate) client: Client,
    pub(crate) caches: Arc<Caches>,
    pub(crate) queue: Queue,
    /// PEM.
    pub(crate) root_ca: Option<String>,
}

impl Namespaces {
    pub(crate) fn on_namespace(&self, seen: &Change<'_, Namespace>) {
        self.queue.add_all(seen.new.map(|_| seen.key.clone()));
    }

    /// Something that every namespace has was changed or deleted.
    pub(crate) fn on_content<K: Held>(&self, seen: &Change<'_, K>) {
        self.queue.add(Key::new("", &seen.key.namespace));
    }

    async fn create<K>(&self, key: &Key, object: &K) -> Result<(), Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Serialize
            + DeserializeOwned
            + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.name);
        match api.create(&PostParams::default(), object).await {
            Err(error) if error::already_exists(&error) || error::namespace_is_ending(&error) => Ok(()),
            created => created.map(drop).during("creating what belongs into namespace", key),
        }
    }

    async fn publish_root_ca(&self, key: &Key, root_ca: &str) -> Result<(), Error> {
        let data = BTreeMap::from([(ROOT_CA_KEY.to_owned(), root_ca.to_owned())]);
        let metadata = ObjectMeta { name: Some(ROOT_CA.into()), ..ObjectMeta::default() };
        match self.caches.root_ca.get(&Key::new(&key.name, ROOT_CA)) {
            None => self.create(key, &ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }).await,
            Some(live) if live.data.as_ref() == Some(&data) => Ok(()),
            Some(_) => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &key.name);
                let patched = api.patch(ROOT_CA, &PatchParams::default(), &Patch::Merge(json!({"data": data}))).await;
                patched.unless_gone().during("publishing the CA into namespace", key).map(drop)
            }
        }
    }
}

impl controller::Reconcile for Namespaces {
    const NAME: &'static str = "namespace controller";

    fn queue(&self) -> &Queue {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        if self.caches.namespaces.kept(key).is_none_or(|namespace| namespace.deleting) {
            return Ok(Next::Wait);
        }
        if self.caches.service_accounts.kept(&Key::new(&key.name, DEFAULT_ACCOUNT)).is_none() {
            let metadata = ObjectMeta { name: Some(DEFAULT_ACCOUNT.into()), ..ObjectMeta::default() };
            self.create(key, &ServiceAccount { metadata, ..ServiceAccount::default() }).await?;
        }
        if let Some(root_ca) = &self.root_ca {
            self.publish_root_ca(key, root_ca).await?;
        }
        Ok(Next::Wait)
    }
}
