//! Everything the controllers know, each kind watched once.

use crate::informer::Cache;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service, ServiceAccount};
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
