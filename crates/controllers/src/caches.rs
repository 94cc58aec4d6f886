//! Everything the controllers know, each kind watched once.

use crate::informer::{Cache, Trim};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;

#[derive(Default)]
pub(crate) struct Caches {
    pub(crate) deployments: Cache<Deployment>,
    pub(crate) replica_sets: Cache<ReplicaSet>,
    pub(crate) jobs: Cache<Job>,
    pub(crate) pods: Cache<Pod>,
    pub(crate) services: Cache<Service>,
    /// Only those that this controller manages.
    pub(crate) endpoint_slices: Cache<EndpointSlice>,
    pub(crate) nodes: Cache<Node>,
    pub(crate) namespaces: Cache<Namespace>,
    /// Only those named `default`.
    pub(crate) service_accounts: Cache<ServiceAccount>,
    /// Only those that hold the CA of the API server.
    pub(crate) root_ca: Cache<ConfigMap>,
}

/// Templates are copied, and the others are written back as a whole: they stay as they are.
impl Trim for Deployment {}
impl Trim for ReplicaSet {}
impl Trim for Job {}
impl Trim for Service {}
impl Trim for EndpointSlice {}
impl Trim for Node {}
impl Trim for Namespace {}
impl Trim for ServiceAccount {}
impl Trim for ConfigMap {}

/// Controllers count Pods, and read where they are, what they ask for and how they stand. What they run is the node's.
impl Trim for Pod {
    fn trim(&mut self) {
        let Some(spec) = &mut self.spec else { return };
        (spec.volumes, spec.ephemeral_containers, spec.security_context) = (None, None, None);
        let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
        for container in containers {
            let Container { name, ports, resources, restart_policy, .. } = std::mem::take(container);
            *container = Container { name, ports, resources, restart_policy, ..Container::default() };
        }
    }
}
