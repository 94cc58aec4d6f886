//! The wiring: the only place where places meet.

mod admission;
mod clock;
mod delivery;
mod listener;
mod people;
mod planes;
mod recreate;
mod settings;
mod tls;

use crate::instance::{Instance, Layout, Lock, PORT, write_durably};
use crate::output::Output;
use anyhow::{Context, Result, bail};
use apiserver::{ApiServer, Identity};
use people::People;
use reconcile::{Ports, Reconciler, Settings};
pub use recreate::OldRegistry;
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A running control process.
pub struct Control {
    instance: Instance,
    layout: Layout,
    /// Fingerprint of the SSH host key.
    host_key: String,
    source: source::Source,
    images: oci::Store,
    reconciler: Reconciler,
    /// Signs in to the UI, once.
    sign_in: String,
    tasks: JoinSet<Result<()>>,
    shutdown: CancellationToken,
    /// Cancelled by `down`, after everything was stopped.
    down: CancellationToken,
    simulated: Option<String>,
    started: Instant,
    _lock: Lock,
}

impl Control {
    /// Takes the data directory, opens everything in it, and begins to work.
    pub async fn start(layout: Layout, listen: Option<SocketAddr>, simulate: bool, exec: Vec<String>) -> Result<Self> {
        let started = Instant::now();
        let clock = clock::Clock::of_process(simulate)?;
        let lock = Lock::take(&layout)?;
        let instance = Instance::load_or_create(&layout, listen)?;
        let exe = std::env::current_exe().context("where this program is")?;
        let shutdown = CancellationToken::new();
        let down = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let credentials = planes::Credentials::new(layout.data_planes(), exec);
        let people = Arc::new(People::load(&layout, jiff::Timestamp::now)?);

        let control = bind(instance.control).await?;
        let kubernetes = bind(instance.kubernetes).await?;
        let ssh = bind(instance.ssh()?).await?;

        // What this machine can do, and where its Services have their addresses.
        let lacks = node::preflight();
        let simulated = match (simulate, lacks.as_slice()) {
            (true, _) => Some("asked for with --simulate".to_owned()),
            (false, []) => None,
            (false, lacks) => Some(
                lacks.iter().map(|l| format!("{}: {} ({})", l.what, l.why, l.remedy)).collect::<Vec<_>>().join("; "),
            ),
        };
        let mode = match &simulated {
            Some(reason) => node::Mode::Simulated { reason: reason.clone() },
            None => node::Mode::Real,
        };
        let services = node::service_network(&layout.node(), instance.short(), &mode).await?;

        // The Kubernetes API first: everything else talks to it.
        let api = ApiServer::open(apiserver::Config {
            store: layout.store(),
            admission: Some(Arc::new(admission::Projections)),
            services: services.map(|(address, prefix)| apiserver::Network { address, prefix }),
        })
        .await?;
        let config = tls::server_config(&layout)?;
        let (server, authenticator, stop) = (api.clone(), people.clone(), shutdown.clone());
        tasks.spawn(async move {
            server.serve(kubernetes, config, authenticator, stop).await;
            Ok(())
        });

        // The node and its controllers.
        let images = oci::Store::open(layout.images())?;
        // Delivery comes after the node, and tells it when a Pod gets no traffic any more.
        let drain: Arc<OnceLock<Reconciler>> = Arc::default();
        let node = node::Node::start(
            api.client(system("system:node:local")),
            node::Options {
                node_name: NODE.into(),
                data: layout.node(),
                instance: instance.short().to_owned(),
                exe: exe.clone(),
                images: images.clone(),
                registry: model::REGISTRY.to_owned(),
                before_stop: Some(before_stop(drain.clone(), layout.run().join("gateway.sock"))),
                mode,
            },
            shutdown.clone(),
        )
        .await?;
        api.set_kubelet(node.kubelet());
        let options = controllers::Options { node_name: NODE.into(), root_ca: Some(tls::authority(&layout)?) };
        let (client, stop) = (api.client(system("system:kube-controller-manager")), shutdown.clone());
        tasks.spawn(async move { Ok(controllers::run(client, options, stop).await?) });

        // Git, traffic, the data plane, builds.
        let source = source::Source::open(layout.source_options()?).await?;
        let gateway = gateway::Client::ensure(gateway::ClientOptions {
            exe: exe.clone(),
            log: layout.log().join("gateway.log"),
            gateway: gateway::Options {
                listen: instance.gateway,
                state: layout.gateway().join("routes.json"),
                socket: layout.run().join("gateway.sock"),
            },
        })
        .await?;
        let gateway = Arc::new(gateway);
        let cluster = cluster::Cluster::new(api.client(system(TRIMTAB)));
        cluster.install_kinds(&reconcile::kinds()).await?;
        let builder = builder(&layout, &instance, &exe, images.clone()).await?;

        // Delivery.
        let planes = Arc::new(planes::Planes::new(cluster.clone(), credentials.clone(), instance.control));
        let reconciler = Reconciler::new(
            Ports {
                repositories: Arc::new(source.clone()),
                builder: Arc::new(builder),
                charts: Arc::new(source::Charts::open(layout.charts())?),
                data_planes: planes.clone(),
                records: Arc::new(cluster.clone()),
                gateway: gateway.clone(),
                secrets: Arc::new(settings::Keys(vault::Vault::new(layout.keys().join("secrets")))),
                clock: clock.now,
            },
            Settings {
                gateway: instance.gateway,
                control: instance.control,
                logs: layout.build_logs(),
                clock_noticed: clock.noticed,
            },
        );
        let _ = drain.set(reconciler.clone());
        source.set_receiver(Arc::new(reconciler.clone()));
        let wake = reconciler.clone();
        source.on_change(Arc::new(move || wake.wake()));
        let (wake, mut arrivals, stop) = (reconciler.clone(), images.changes(), shutdown.clone());
        tasks.spawn(async move {
            while let Some(Ok(())) = stop.run_until_cancelled(arrivals.changed()).await {
                wake.wake();
            }
            Ok(())
        });
        let (work, stop) = (reconciler.clone(), shutdown.clone());
        tasks.spawn(async move { Ok(work.run(stop).await?) });

        // The control listener: git, registry, API.
        let configuration = Arc::new(settings::Settings(reconciler.clone()));
        let app = delivery::Delivery {
            reconciler: reconciler.clone(),
            source: source.clone(),
            client: api.client(system(TRIMTAB)),
            planes,
            images: images.clone(),
            node,
            gateway,
            api: api.clone(),
            instance: instance.clone(),
            layout: layout.clone(),
            scratch: layout.run(),
            down: down.clone(),
        };
        let pulls = planes::registry_auth(people.clone(), credentials);
        let registry = oci::registry::router(images.clone(), model::REGISTRY, pulls);
        let sessions = Arc::new(web::Sessions::new(instance.short()));
        let sign_in = format!("http://{}{}", instance.control, sessions.link(people::ADMIN));
        let router = web::router(Arc::new(app), people.clone(), sessions)
            .merge(web::settings_router(configuration, people.clone()))
            .merge(source.router(people.clone()))
            .fallback_service(registry);
        let stop = shutdown.clone();
        tasks.spawn(async move {
            listener::serve(control, router, listener::Limits::default(), stop).await;
            Ok(())
        });

        // Git over SSH.
        let server = source.ssh(&layout.ssh_host_key(), source::SshLimits::default())?;
        let host_key = server.host_key().clone();
        // Beside the private key, for those who write it into their known_hosts.
        write_durably(&layout.ssh_host_key().with_extension("pub"), format!("{}\n", host_key.line).as_bytes(), 0o644)?;
        let stop = shutdown.clone();
        tasks.spawn(async move {
            server.serve(ssh, people, stop).await;
            Ok(())
        });
        Ok(Self {
            instance,
            layout,
            host_key: host_key.fingerprint,
            source,
            images,
            reconciler,
            sign_in,
            tasks,
            shutdown,
            down,
            simulated,
            started,
            _lock: lock,
        })
    }

    /// What a person needs next.
    pub fn print_addresses(&self, output: Output) {
        let Instance { gateway, control, kubernetes, ssh, .. } = &self.instance;
        let ssh = ssh.map_or(String::new(), |ssh| ssh.to_string());
        let data = self.layout.root().display();
        let value = json!({ "gateway": gateway, "control": control, "kubernetes": kubernetes, "ssh": ssh, "sshHostKey": self.host_key, "browser": self.sign_in, "simulated": self.simulated });
        output.print(&value, |_| {
            let mut text = format!("Trimtab is ready after {} ms.\n", self.started.elapsed().as_millis());
            text.push_str(&format!("  traffic      http://{gateway}\n  git, images  http://{control}\n  git by SSH   ssh://git@{ssh}\n               (host key {})\n  Kubernetes   https://{kubernetes}\n  data         {data}\n", self.host_key));
            text.push_str(&format!("  browser      {}\n               (once, within 15 minutes; `trimtab ui` prints another)\n", self.sign_in));
            if let Some(reason) = &self.simulated {
                text.push_str(&format!("  PODS ARE SIMULATED, no container runs: {reason}\n"));
            }
            text.push_str("In a second terminal, in a directory with a Dockerfile: trimtab init\n");
            text
        });
    }

    /// Until Ctrl-C, SIGTERM, `down`, or the first failure.
    pub async fn wait(mut self) -> Result<ExitCode> {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let ended = tokio::select! {
            ended = self.tasks.join_next() => ended,
            _ = tokio::signal::ctrl_c() => None,
            _ = terminate.recv() => None,
            () = self.down.cancelled() => {
                self.stop().await;
                println!("Everything is stopped.");
                return Ok(ExitCode::SUCCESS);
            }
        };
        match ended {
            Some(Ok(Ok(()))) | None => {}
            Some(Ok(Err(error))) => return Err(error),
            Some(Err(error)) => return Err(error.into()),
        }
        self.stop().await;
        println!("The control process has stopped. Containers and the gateway run on; `trimtab down` stops them.");
        Ok(ExitCode::SUCCESS)
    }

    async fn stop(&mut self) {
        self.shutdown.cancel();
        // Streams that never end (watches, followed logs) must not hold the process.
        let _ = tokio::time::timeout(Duration::from_secs(2), async { while self.tasks.join_next().await.is_some() {} })
            .await;
    }
}

/// Stops what outlived a control process that is gone.
pub async fn teardown(layout: &Layout, instance: &Instance) -> Result<()> {
    let exe = std::env::current_exe().context("where this program is")?;
    gateway::stop(&layout.run().join("gateway.sock")).await?;
    node::teardown(&layout.node(), instance.short(), &exe).await?;
    Ok(())
}

async fn builder(
    layout: &Layout,
    instance: &Instance,
    exe: &std::path::Path,
    images: oci::Store,
) -> Result<build::Builder> {
    let containers = container::Runtime::new(container::Config {
        exe: exe.to_owned(),
        root: layout.builds().join("containers"),
        instance: instance.short().to_owned(),
        cgroup_parent: format!("trimtab-{}", instance.short()),
    })?;
    let builder = build::Builder::new(build::Options {
        images,
        containers,
        cache: layout.builds(),
        credentials: Default::default(),
        memory_bytes: build::MEMORY_BYTES,
    })?;
    builder.recover().await?;
    Ok(builder)
}

/// The longest that a Pod which leaves waits for the gateway to take routes without it.
const ROUTES_LIMIT: Duration = Duration::from_secs(2);

/// A container gets SIGTERM only when the gateway has acknowledged routes without its Pod, and what was sent to the Pod
/// before has been answered.
fn before_stop(delivery: Arc<OnceLock<Reconciler>>, gateway: PathBuf) -> node::BeforeStop {
    Arc::new(move |pod| {
        let (delivery, gateway) = (delivery.get().cloned(), gateway.clone());
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).and_then(|ip| ip.parse().ok());
        Box::pin(async move {
            if let (Some(delivery), Some(address)) = (delivery, address) {
                if tokio::time::timeout(ROUTES_LIMIT, delivery.drained(address)).await.is_err() {
                    tracing::warn!(%address, "the gateway still has routes to a Pod that is being deleted");
                }
                // A gateway that cannot be asked has no requests under way.
                if let Err(error) = gateway::at_rest(&gateway, address).await {
                    tracing::debug!(%address, %error, "the gateway does not say what is under way");
                }
            }
        })
    })
}

/// The identity under which Trimtab writes; people's writes to the same objects are told apart by it.
const TRIMTAB: &str = "system:trimtab";
/// Name of the one node.
const NODE: &str = "local";

/// A part of ours, as the API sees it.
fn system(user: &str) -> Identity {
    Identity::master(user)
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let holder = gateway::port_holder(address).map_or(String::new(), |holder| format!(" by {holder}"));
            bail!(
                "{address} is taken{holder}: stop that, or give another address with --listen (default 127.0.0.1:{PORT}; the next three ports are used too)"
            )
        }
        Err(error) => Err(error).with_context(|| format!("listening on {address}")),
    }
}
