//! Everything the controllers know, each kind watched once.

use crate::cache::Cache;
use crate::endpoint_slice::{self, SERVICE_NAME};
use crate::held::{Held, Labels};
use crate::job;
use crate::objects::{is_terminal, label};
use crate::scheduler::{self, Requests};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, ContainerStatus, Namespace, Node, NodeSpec, NodeStatus, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;
use std::sync::Arc;

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

impl Default for Caches {
    fn default() -> Self {
        let packer = Arc::default();
        Self {
            deployments: Cache::new(&packer),
            replica_sets: Cache::new(&packer),
            jobs: Cache::new(&packer),
            pods: Cache::new(&packer),
            services: Cache::new(&packer),
            endpoint_slices: Cache::new(&packer),
            nodes: Cache::new(&packer),
            namespaces: Cache::new(&packer),
            service_accounts: Cache::new(&packer),
            root_ca: Cache::new(&packer),
        }
    }
}

/// What a selector wants by name and value; it may want more.
fn wanted(selector: Option<&LabelSelector>) -> Labels {
    Labels::of(selector.and_then(|selector| selector.match_labels.as_ref()))
}

/// Templates are copied, and the others are written back as a whole: they stay as they are.
impl Held for Deployment {
    /// What it wants of a ReplicaSet that is nobody's.
    type Facts = Labels;

    fn facts(&self) -> Labels {
        wanted(self.spec.as_ref().map(|spec| &spec.selector))
    }
}

impl Held for ReplicaSet {
    /// What it wants of a Pod that is nobody's.
    type Facts = Labels;

    fn facts(&self) -> Labels {
        wanted(self.spec.as_ref().map(|spec| &spec.selector))
    }
}

impl Held for Job {
    type Facts = ();
    fn facts(&self) {}
}

pub(crate) struct PodFacts {
    pub(crate) labels: Labels,
    /// It has run to its end and will not run again.
    pub(crate) ended: bool,
    /// To be put on a node.
    pub(crate) waiting: bool,
    /// Held until its Job has counted it.
    pub(crate) tracked: bool,
    pub(crate) requests: Requests,
}

/// Controllers count Pods, and read where they are, what they ask for and how they stand. What they run is the node's.
impl Held for Pod {
    type Facts = PodFacts;

    fn facts(&self) -> PodFacts {
        PodFacts {
            labels: Labels::of(self.metadata.labels.as_ref()),
            ended: is_terminal(self),
            waiting: scheduler::is_waiting(self),
            tracked: job::has_finalizer(self),
            requests: self.spec.as_ref().map(Requests::of).unwrap_or_default(),
        }
    }

    fn trim(&mut self) {
        if let Some(spec) = &mut self.spec {
            (spec.volumes, spec.ephemeral_containers, spec.security_context) = (None, None, None);
            let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
            for container in containers {
                let Container { name, ports, resources, restart_policy, .. } = std::mem::take(container);
                *container = Container { name, ports, resources, restart_policy, ..Container::default() };
            }
        }
        if let Some(status) = &mut self.status {
            let lists = [&mut status.container_statuses, &mut status.init_container_statuses];
            for container in lists.into_iter().flatten().flatten() {
                let ContainerStatus { name, ready, restart_count, state, .. } = std::mem::take(container);
                *container = ContainerStatus { name, ready, restart_count, state, ..ContainerStatus::default() };
            }
        }
    }
}

impl Held for Service {
    /// The Pods whose addresses it has; `None` if somebody else looks after that.
    type Facts = Option<Labels>;

    fn facts(&self) -> Option<Labels> {
        endpoint_slice::selector(self).map(|selector| Labels::of(Some(selector)))
    }
}

impl Held for EndpointSlice {
    /// Name of its Service.
    type Facts = Option<Box<str>>;

    fn facts(&self) -> Option<Box<str>> {
        label(self, SERVICE_NAME).map(Box::from)
    }
}

/// Heartbeats and the like make no room.
impl Held for Node {
    type Facts = ();
    fn facts(&self) {}

    fn trim(&mut self) {
        let ObjectMeta { name, uid, labels, .. } = std::mem::take(&mut self.metadata);
        self.metadata = ObjectMeta { name, uid, labels, ..ObjectMeta::default() };
        let spec = self.spec.take().unwrap_or_default();
        self.spec = Some(NodeSpec { taints: spec.taints, unschedulable: spec.unschedulable, ..NodeSpec::default() });
        let allocatable = self.status.take().and_then(|status| status.allocatable);
        self.status = Some(NodeStatus { allocatable, ..NodeStatus::default() });
    }
}

impl Held for Namespace {
    type Facts = ();
    fn facts(&self) {}
}

impl Held for ServiceAccount {
    type Facts = ();
    fn facts(&self) {}
}

impl Held for ConfigMap {
    type Facts = ();
    fn facts(&self) {}
}
