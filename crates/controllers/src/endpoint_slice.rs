//! EndpointSlices of Services that select Pods.

mod endpoints;

pub(crate) use endpoints::{MANAGED_BY, MANAGER, SERVICE_NAME};

use crate::cache::Change;
use crate::caches::Caches;
use crate::controller;
use crate::error::{self, Error, WriteResult};
use crate::held::{Kept, Labels};
use crate::objects::{Key, is_deleting, name};
use crate::queue::{Next, Queue};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) struct EndpointSlices {
    pub(crate) client: Client,
    pub(crate) caches: Arc<Caches>,
    pub(crate) queue: Queue,
}

impl EndpointSlices {
    pub(crate) fn on_service(&self, seen: &Change<'_, Service>) {
        self.queue.add(seen.key.clone());
    }

    pub(crate) fn on_pod(&self, seen: &Change<'_, Pod>) {
        let is_selected = |wanted: &Labels| seen.sides().any(|pod| pod.facts.labels.include(wanted));
        let selects = |service: &Kept<Service>| service.facts.as_ref().is_some_and(is_selected);
        self.queue.add_all(self.caches.services.keys(&seen.key.namespace, selects));
    }

    pub(crate) fn on_slice(&self, seen: &Change<'_, EndpointSlice>) {
        let service = |slice: &Kept<EndpointSlice>| Some(Key::new(&seen.key.namespace, slice.facts.as_deref()?));
        self.queue.add_all(seen.sides().filter_map(service));
    }

    async fn write(&self, key: &Key, live: Option<&EndpointSlice>, wanted: &EndpointSlice) -> Result<(), Error> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        let parameters = PostParams::default();
        let Some(live) = live else {
            return match api.create(&parameters, wanted).await {
                Err(error) if error::namespace_is_ending(&error) => Ok(()),
                created => created.map(drop).during("creating an EndpointSlice of Service", key),
            };
        };
        let mut wanted = wanted.clone();
        wanted.metadata = kube::api::ObjectMeta { labels: wanted.metadata.labels, ..live.metadata.clone() };
        let written = api.replace(name(live), &parameters, &wanted).await;
        written.map(drop).during("writing an EndpointSlice of Service", key)
    }

    async fn delete(&self, key: &Key, slice: &EndpointSlice) -> Result<(), Error> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        let preconditions = Preconditions { uid: slice.metadata.uid.clone(), resource_version: None };
        let deleted = api.delete(name(slice), &DeleteParams::default().preconditions(preconditions)).await;
        deleted.unless_gone().during("deleting an EndpointSlice of Service", key).map(drop)
    }
}

impl controller::Reconcile for EndpointSlices {
    const NAME: &'static str = "EndpointSlice controller";

    fn queue(&self) -> &Queue {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        // The slices of a Service that is gone go by garbage collection.
        let Some(service) = self.caches.services.get(key).filter(|service| !is_deleting(&**service)) else {
            return Ok(Next::Wait);
        };
        let Some(selector) = selector(&service) else { return Ok(Next::Wait) };
        let wanted = Labels::of(Some(selector));
        let pods = self.caches.pods.select(&key.namespace, |pod| pod.facts.labels.include(&wanted));
        let wanted = endpoints::slices(&service, &pods, |node| self.caches.nodes.get(&Key::new("", node)));

        let is_its = |slice: &Kept<EndpointSlice>| slice.facts.as_deref() == Some(&key.name) && !slice.deleting;
        let live = self.caches.endpoint_slices.select(&key.namespace, is_its);
        let (ours, foreign): (Vec<_>, Vec<_>) = live.into_iter().partition(|slice| endpoints::is_of(slice, &service));
        for slice in &foreign {
            self.delete(key, slice).await?; // it may hold a name that is needed
        }
        for slice in &wanted {
            let live = ours.iter().find(|live| name(&***live) == name(slice));
            if !live.is_some_and(|live| endpoints::is_same(live, slice)) {
                self.write(key, live.map(|live| &**live), slice).await?;
            }
        }
        for slice in ours.iter().filter(|slice| !wanted.iter().any(|wanted| name(wanted) == name(&***slice))) {
            self.delete(key, slice).await?;
        }
        Ok(Next::Wait)
    }
}

/// `None` if somebody else looks after the endpoints of this Service.
pub(crate) fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() != Some("ExternalName"))?;
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}
