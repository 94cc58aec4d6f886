//! What kube-controller-manager and the scheduler do, as far as one machine needs it: Deployments, ReplicaSets, Jobs,
//! EndpointSlices, the one node's scheduling, and what every namespace has.
//!
//! Everything goes through a [`kube::Client`], so it runs against any API server. Each kind is watched once; every
//! change wakes exactly the objects that it concerns, and nothing else does except a timer at a known instant. What to
//! do is decided by functions over values; the modules around them read caches and write.
//!
//! Garbage collection, namespace termination and the defaults of objects are the API server's. StatefulSets, DaemonSets
//! and CronJobs are not handled.

mod cache;
mod caches;
mod claims;
mod controller;
mod deployment;
mod endpoint_slice;
mod error;
mod hash;
mod held;
mod informer;
mod job;
mod namespace;
mod objects;
mod queue;
mod replica_set;
mod scheduler;

pub use error::Error;

use caches::Caches;
use controller::{Reconcile, work};
use deployment::Deployments;
use endpoint_slice::EndpointSlices;
use informer::inform;
use job::Jobs;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use namespace::Namespaces;
use queue::Queue;
use replica_set::ReplicaSets;
use scheduler::Scheduler;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many objects each controller looks at side by side: requests wait for the disk, not for the processor.
const WORKERS: usize = 8;

/// What the controllers must be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node that Pods are put on.
    pub node_name: String,
    /// PEM of the CA that signed the API server's certificate, published to every namespace as ConfigMap
    /// `kube-root-ca.crt`; `None` publishes nothing.
    pub root_ca: Option<String>,
}

/// Runs all controllers until `shutdown`. A request that fails is tried again for ever, later each time; an error is
/// returned only if a part of the controllers ends by itself.
pub async fn run(client: Client, options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    let all = Arc::new(Controllers::new(client, options));
    let mut tasks = JoinSet::new();
    all.watch(&mut tasks);
    all.work(&mut tasks);
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = tasks.join_next() => match ended {
            Some(Ok(name)) => Err(Error::Ended(name)),
            // A panic has printed its message where it happened.
            Some(Err(_)) | None => Err(Error::Ended("controllers")),
        },
    }
}

/// All that can wake a controller is in [`Controllers::watch`].
struct Controllers {
    client: Client,
    caches: Arc<Caches>,
    deployments: Arc<Deployments>,
    replica_sets: Arc<ReplicaSets>,
    jobs: Arc<Jobs>,
    endpoint_slices: Arc<EndpointSlices>,
    scheduler: Arc<Scheduler>,
    namespaces: Arc<Namespaces>,
}

impl Controllers {
    fn new(client: Client, options: Options) -> Self {
        let caches = Arc::new(Caches::default());
        let parts = || (client.clone(), caches.clone(), Queue::default());
        let deployments = {
            let (client, caches, queue) = parts();
            Arc::new(Deployments { client, caches, queue })
        };
        let endpoint_slices = {
            let (client, caches, queue) = parts();
            Arc::new(EndpointSlices { client, caches, queue })
        };
        let scheduler = {
            let (client, caches, queue) = parts();
            Arc::new(Scheduler { client, caches, queue, node_name: options.node_name, assumed: Default::default() })
        };
        let namespaces = {
            let (client, caches, queue) = parts();
            Arc::new(Namespaces { client, caches, queue, root_ca: options.root_ca })
        };
        let replica_sets = Arc::new(ReplicaSets::new(client.clone(), caches.clone()));
        let jobs = Arc::new(Jobs::new(client.clone(), caches.clone()));
        Self { client, caches, deployments, replica_sets, jobs, endpoint_slices, scheduler, namespaces }
    }

    fn watch(self: &Arc<Self>, tasks: &mut JoinSet<&'static str>) {
        macro_rules! watch {
            ($cache:ident, $config:expr, |$all:ident, $seen:ident| $wake:expr) => {
                let $all = self.clone();
                tasks.spawn(async move {
                    let api = Api::all($all.client.clone());
                    inform(api, $config, &$all.caches.$cache, |$seen| $wake).await;
                    concat!("watch of ", stringify!($cache))
                });
            };
        }
        let named = |name: &str| Config::default().fields(&format!("metadata.name={name}"));
        let managed = format!("{}={}", endpoint_slice::MANAGED_BY, endpoint_slice::MANAGER);
        watch!(deployments, Config::default(), |all, seen| all.deployments.on_deployment(&seen));
        watch!(replica_sets, Config::default(), |all, seen| {
            all.replica_sets.on_replica_set(&seen);
            all.deployments.on_replica_set(&seen);
        });
        watch!(jobs, Config::default(), |all, seen| all.jobs.on_job(&seen));
        watch!(pods, Config::default(), |all, seen| {
            all.scheduler.on_pod(&seen);
            all.replica_sets.on_pod(&seen);
            all.jobs.on_pod(&seen);
            all.endpoint_slices.on_pod(&seen);
            all.deployments.on_pod(&seen);
        });
        watch!(services, Config::default(), |all, seen| all.endpoint_slices.on_service(&seen));
        watch!(endpoint_slices, Config::default().labels(&managed), |all, seen| all.endpoint_slices.on_slice(&seen));
        watch!(nodes, Config::default(), |all, seen| all.scheduler.on_node(&seen));
        watch!(namespaces, Config::default(), |all, seen| all.namespaces.on_namespace(&seen));
        watch!(service_accounts, named(namespace::DEFAULT_ACCOUNT), |all, seen| all.namespaces.on_content(&seen));
        watch!(root_ca, named(namespace::ROOT_CA), |all, seen| all.namespaces.on_content(&seen));
    }

    fn work(self: &Arc<Self>, tasks: &mut JoinSet<&'static str>) {
        self.employ(&self.deployments, tasks);
        self.employ(&self.replica_sets, tasks);
        self.employ(&self.jobs, tasks);
        self.employ(&self.endpoint_slices, tasks);
        self.employ(&self.scheduler, tasks);
        self.employ(&self.namespaces, tasks);
    }

    /// Workers begin when all caches are complete: with half of the Pods known, a ReplicaSet would make the others again.
    fn employ<R: Reconcile>(self: &Arc<Self>, controller: &Arc<R>, tasks: &mut JoinSet<&'static str>) {
        for _ in 0..WORKERS {
            let (all, controller) = (self.clone(), controller.clone());
            tasks.spawn(async move {
                all.synced().await;
                work(&*controller).await;
                R::NAME
            });
        }
    }

    async fn synced(&self) {
        let caches = &self.caches;
        caches.deployments.synced().await;
        caches.replica_sets.synced().await;
        caches.jobs.synced().await;
        caches.pods.synced().await;
        caches.services.synced().await;
        caches.endpoint_slices.synced().await;
        caches.nodes.synced().await;
        caches.namespaces.synced().await;
        caches.service_accounts.synced().await;
        caches.root_ca.synced().await;
    }
}
