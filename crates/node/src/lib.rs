//! Runs Pods on this machine: the kubelet of the embedded cluster.
//!
//! ```text
//!  pods ─ watch ─▶ one worker per Pod ──▶ pod: state machine over values ──▶ status, events ──▶ API
//!                        │  ▲ news        (in turns: between two, a row of a table)
//!                        ▼  │
//!                  runtime (a port): real  = container, images, network, volumes
//!                                    simulated = remembered only
//!  Services ─ watch ─▶ services ─▶ packet filter, dns ─▶ answers to Pods
//! ```
//!
//! Containers outlive this process: a new one finds them by their labels and takes them over as they are. The only
//! way to the cluster is a [`kube::Client`]; nothing here knows of delivery.

mod context;
mod credentials;
mod dns;
mod downward;
mod environment;
mod error;
mod events;
mod images;
mod kubelet;
mod layout;
mod logs;
mod network;
mod nftables;
mod objects;
mod pod;
mod pods;
mod preflight;
mod register;
mod runtime;
mod services;
mod volumes;
mod worker;

pub use context::BeforeStop;
pub use error::Error;
pub use preflight::{Lack, preflight};
pub use register::SIMULATED_ANNOTATION;

use context::Context;
use downward::Facts;
use events::Recorder;
use images::Images;
use layout::{Layout, make_directory};
use network::Network;
use preflight::Machine;
use runtime::Runtime;
use runtime::real::Real;
use runtime::simulated::Simulated;
use services::Services;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Names at which `TRIMTAB_FAILPOINT` makes this crate abort the process.
pub const FAILPOINTS: &[&str] = &["node.network.before", "node.network.after"];

/// Whether containers run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// In containers of this machine; needs what [`preflight`] looks for.
    Real,
    /// Pods are only pretended to run, and plainly marked so.
    Simulated {
        /// Why; shown on the Node and in every log.
        reason: String,
    },
}

/// How to run a node.
#[derive(Clone)]
pub struct Options {
    /// Name of the Node object; Pods with this `spec.nodeName` are run.
    pub node_name: String,
    /// The node's own directory, on a file system that overlays can be written to.
    pub data: PathBuf,
    /// Eight hexadecimal digits that tell this instance's links and cgroups from another's.
    pub instance: String,
    /// Our own binary, whose `shim` subcommand is [`container::shim_main`].
    pub exe: PathBuf,
    /// Images, read directly.
    pub images: oci::Store,
    /// Host name under which images of this store are named: those are never pulled.
    pub registry: String,
    /// Whether containers run.
    pub mode: Mode,
    /// Awaited before SIGTERM, at most 2 s.
    pub before_stop: Option<BeforeStop>,
}

/// A running node. Shutdown stops it and leaves the containers alone; dropping it does the same without ado.
pub struct Node {
    context: Arc<Context>,
    stop: CancellationToken,
    /// The Pods' workers, and what serves Services.
    tasks: Mutex<JoinSet<()>>,
    options: Options,
}

impl Node {
    /// Registers the node, takes over the containers of an earlier process, and begins to run Pods.
    pub async fn start(client: kube::Client, options: Options, shutdown: CancellationToken) -> Result<Self, Error> {
        let layout = Layout::new(options.data.clone());
        make_directory(&options.data)?;
        let machine = Machine::read(&options.data);
        let mut services = None;
        let (stop, mut tasks) = (shutdown.child_token(), JoinSet::new());
        let (runtime, address, simulated): (Arc<dyn Runtime>, _, _) = match &options.mode {
            Mode::Simulated { reason } => {
                let runtime = Simulated::new(layout.clone(), reason.clone());
                (Arc::new(runtime), "127.0.0.1".to_owned(), Some(reason.as_str()))
            }
            Mode::Real => {
                let images = Images::new(options.images.clone(), options.registry.clone());
                let (instance, exe) = (&options.instance, options.exe.clone());
                let network = Arc::new(Network::open(layout.clone(), instance).await?);
                let known = services.insert(Arc::new(Services::new()));
                let name_server = serve(client.clone(), network.clone(), known.clone(), (&stop, &mut tasks)).await;
                let real =
                    Real::new(layout.clone(), instance, exe, images, machine.memory_bytes, network, name_server)?;
                let address = real.host_address().to_string();
                (Arc::new(real), address, None)
            }
        };
        register::register(&client, &options.node_name, &address, &machine, simulated).await?;
        let (events, recording) = Recorder::new(client.clone(), options.node_name.clone());
        tokio::spawn(recording);
        let facts = Facts {
            pod_ip: String::new(),
            host_ip: address,
            cpu_milli: machine.cpus as u64 * 1000,
            memory_bytes: machine.memory_bytes,
        };
        let before_stop = options.before_stop.clone();
        let context =
            Arc::new(Context { client, runtime, events, layout, facts, shown: Arc::default(), before_stop, services });
        tasks.spawn(pods::run(context.clone(), options.node_name.clone(), stop.clone()));
        Ok(Self { context, stop, tasks: Mutex::new(tasks), options })
    }

    /// The node's own HTTP API, for the API server: `GET /containerLogs/{namespace}/{pod}/{container}`.
    pub fn kubelet(&self) -> axum::Router {
        kubelet::router(self.context.clone())
    }

    /// Stops and removes everything that runs here: containers, namespaces, links, mounts, cgroups. Pods stay in the API
    /// and run again after the next start. The node does nothing more after this.
    pub async fn stop_all(&self) -> Result<(), Error> {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        // That of the Pods ends when its workers have.
        while tasks.join_next().await.is_some() {}
        match self.options.mode {
            Mode::Real => teardown(&self.options.data, &self.options.instance, &self.options.exe).await,
            Mode::Simulated { .. } => Ok(()),
        }
    }
}

/// Begins to serve Services by address and name. Returns the address of the name server, if it could listen.
async fn serve(
    client: kube::Client,
    network: Arc<Network>,
    services: Arc<Services>,
    (stop, tasks): (&CancellationToken, &mut JoinSet<()>),
) -> Option<IpAddr> {
    let (address, networks) = (network.gateway(), network.networks());
    let (known, token) = (services.clone(), stop.clone());
    tasks.spawn(async move { known.run(client, &network, token).await });
    match dns::Server::bind(address, networks, services).await {
        Ok(server) => {
            tasks.spawn(server.run(stop.clone()));
            Some(IpAddr::V4(address))
        }
        Err(error) => {
            tracing::warn!(%error, "no name server on {address}:53: names of Services are not found in Pods");
            None
        }
    }
}

/// The network that Services of an instance have their addresses in, as address and prefix length: chosen once, apart
/// from all that this machine routes to. `None` if this machine cannot serve such addresses.
pub async fn service_network(data: &Path, instance: &str, mode: &Mode) -> Result<Option<(Ipv4Addr, u8)>, Error> {
    let layout = Layout::new(data.to_owned());
    make_directory(data)?;
    let serves = *mode == Mode::Real;
    let network = network::services(&layout, instance, serves).await?;
    Ok(network.map(|network| (network.address, network.prefix)))
}

/// As [`Node::stop_all`], for an instance whose control process is gone.
pub async fn teardown(data: &Path, instance: &str, exe: &Path) -> Result<(), Error> {
    runtime::real::teardown(&Layout::new(data.to_owned()), instance, exe.to_owned()).await
}

/// Aborts the process here if the environment asks for it: a test of recovery.
fn failpoint(name: &'static str) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| std::env::var("TRIMTAB_FAILPOINT").ok());
    if wanted.as_deref() == Some(name) {
        std::process::abort();
    }
}
