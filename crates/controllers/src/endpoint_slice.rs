//! EndpointSlices of Services that select Pods.

mod endpoints;

pub(crate) use endpoints::{MANAGED_BY, MANAGER};

use crate::caches::Caches;
use crate::controller;
use crate::error::{self, Error, WriteResult};
use crate::informer::Change;
use crate::objects::{Key, is_deleting, label, name, namespace};
use crate::queue::{Next, Queue};
use endpoints::SERVICE_NAME;
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
        self.queue.add_all(seen.sides().map(Key::of));
    }

    pub(crate) fn on_pod(&self, seen: &Change<'_, Pod>) {
        let Some(namespace) = seen.sides().next().map(namespace) else { return };
        for service in self.caches.services.in_namespace(namespace) {
            if let Some(selector) = selector(&service)
                && seen.sides().any(|pod| is_selected(selector, pod))
            {
                self.queue.add(Key::of(&*service));
            }
        }
    }

    pub(crate) fn on_slice(&self, seen: &Change<'_, EndpointSlice>) {
        let service = |slice: &EndpointSlice| Some(Key::new(namespace(slice), label(slice, SERVICE_NAME)?));
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
        let mut pods = self.caches.pods.in_namespace(&key.namespace);
        pods.retain(|pod| is_selected(selector, pod));
        let wanted = endpoints::slices(&service, &pods, |node| self.caches.nodes.get(&Key::new("", node)));

        let mut live = self.caches.endpoint_slices.in_namespace(&key.namespace);
        live.retain(|slice| label(&**slice, SERVICE_NAME) == Some(&key.name) && !is_deleting(&**slice));
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
fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() != Some("ExternalName"))?;
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}

fn is_selected(selector: &BTreeMap<String, String>, pod: &Pod) -> bool {
    selector.iter().all(|(key, value)| label(pod, key) == Some(value))
}
