//! The wiring: the only place where places meet.

mod admission;
mod calls;
mod clock;
mod delivery;
mod handover;
mod images;
mod listener;
mod listeners;
mod people;
mod planes;
mod policies;
mod process;
mod recover;
mod recreate;
mod resources;
mod rest;
mod reviews;
mod rights;
mod settings;
mod tls;

use crate::instance::{Instance, Layout, Written, write_durably};
use crate::output::{Output, mention};
use anyhow::{Context, Result};
use apiserver::{ApiServer, Ending, Identity};
pub use handover::FAILPOINTS;
use listeners::{Listeners, answer_on};
use people::People;
pub use process::{Wishes, run};
use reconcile::{Ports, Reconciler, Settings};
pub use recreate::OldRegistry;
use serde_json::json;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
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
    api: ApiServer,
    gateway: Arc<gateway::Client>,
    /// What answers on the listeners.
    doors: JoinSet<()>,
    /// How these end.
    ending: Ending,
    /// By their names; none ends before it is told to.
    tasks: JoinSet<(&'static str, Result<()>)>,
    shutdown: CancellationToken,
    /// Cancelled by `down`, after everything was stopped.
    down: CancellationToken,
    /// Processes that are to take over; the first one does.
    successors: mpsc::Receiver<UnixStream>,
    simulated: Option<String>,
    started: Instant,
}

/// How a control process runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Even where containers could run.
    pub simulate: bool,
    /// Programs that kubeconfigs may run.
    pub allow_exec: Vec<String>,
}

/// Why a control process ended.
#[derive(Debug)]
pub enum Ended {
    /// It was told to, by this signal.
    Stopped(&'static str),
    /// Everything that it ran was stopped too.
    Down,
    /// Another process takes over; this is the way to it.
    Left(UnixStream),
}

/// Clients that keep a connection have this long for a request whose answer tells them to come again.
const LINGER: Duration = Duration::from_millis(500);
/// What is under way when another process takes over has this long, and so has what it set in motion.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

impl Control {
    /// Opens everything in the data directory, which the caller has locked, and begins to work.
    pub async fn start(layout: Layout, instance: Instance, listeners: &Listeners, options: &Options) -> Result<Self> {
        let started = Instant::now();
        let Options { simulate, allow_exec } = options.clone();
        let clock = clock::Clock::of_process(simulate)?;
        let exe = std::env::current_exe().context("where this program is")?;
        let shutdown = CancellationToken::new();
        let down = CancellationToken::new();
        let ending = Ending { leaving: CancellationToken::new(), closing: CancellationToken::new() };
        let (mut tasks, mut doors) = (JoinSet::new(), JoinSet::new());
        let credentials = planes::Credentials::new(layout.data_planes(), allow_exec.clone());
        let people = Arc::new(People::load(&layout, jiff::Timestamp::now)?);

        let (control, kubernetes) = (answer_on(&listeners.control)?, answer_on(&listeners.kubernetes)?);
        let ssh = answer_on(&listeners.ssh)?;

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

        // Delivery comes last; what needs it before looks here.
        let drain: Arc<OnceLock<Reconciler>> = Arc::default();
        let store_is_gone = recover::is_needed(&layout);
        // The Kubernetes API first: everything else talks to it.
        let api = ApiServer::open(apiserver::Config {
            store: layout.store(),
            admission: Some(Arc::new(admission::Guard(drain.clone()))),
            services: services.map(|(address, prefix)| apiserver::Network { address, prefix }),
        })
        .await?;
        let config = tls::server_config(&layout)?;
        let (server, authenticator, end) = (api.clone(), people.clone(), ending.clone());
        doors.spawn(async move { server.serve_until(kubernetes, config, authenticator, end).await });

        // The node and its controllers.
        let images = oci::Store::open(layout.images())?;
        let node = node::Node::start(
            api.client(system("system:node:local")),
            node::Options {
                node_name: NODE.into(),
                data: layout.node(),
                instance: instance.short().to_owned(),
                exe: exe.clone(),
                images: images.clone(),
                registry: model::REGISTRY.to_owned(),
                // It is told when a Pod gets no traffic any more.
                before_stop: Some(before_stop(drain.clone(), layout.run().join("gateway.sock"))),
                mode,
            },
            shutdown.clone(),
        )
        .await?;
        api.set_kubelet(node.kubelet());
        let options = controllers::Options { node_name: NODE.into(), root_ca: Some(tls::authority(&layout)?) };
        let (client, stop) = (api.client(system("system:kube-controller-manager")), shutdown.clone());
        tasks.spawn(
            async move { ("the controllers", controllers::run(client, options, stop).await.map_err(Into::into)) },
        );

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
        let discarded = builder.discarded();
        let charts = source::Charts::open(layout.charts())?;

        // Delivery.
        let planes = Arc::new(planes::Planes::new(cluster.clone(), credentials.clone(), instance.control));
        let reconciler = Reconciler::new(
            Ports {
                repositories: Arc::new(source.clone()),
                builder: Arc::new(builder),
                charts: Arc::new(charts.clone()),
                data_planes: planes.clone(),
                records: Arc::new(cluster.clone()),
                gateway: gateway.clone(),
                secrets: Arc::new(settings::Keys(vault::Vault::new(layout.keys().join("secrets")))),
                directory: people.clone(),
                clock: clock.now,
            },
            Settings {
                gateway: instance.gateway,
                control: instance.control,
                logs: layout.build_logs(),
                clock_noticed: clock.noticed,
            },
        );
        if store_is_gone {
            let builds = recover::builds(&source, &images).await?;
            reconciler.adopt(&builds).await?;
            eprintln!("{}", recover::said(&layout, builds.len()));
        }
        let _ = drain.set(reconciler.clone());
        people.listen(reconciler.clone());
        let (client, known, stop) = (api.client(system(TRIMTAB)), reconciler.clone(), shutdown.clone());
        tasks.spawn(async move { ("what binds roles", rights::run(client, known, stop).await) });
        source.set_receiver(Arc::new(reconciler.clone()));
        let wake = reconciler.clone();
        source.on_change(Arc::new(move || wake.wake()));
        let (wake, mut arrivals, stop) = (reconciler.clone(), images.changes(), shutdown.clone());
        tasks.spawn(async move {
            while let Some(Ok(())) = stop.run_until_cancelled(arrivals.changed()).await {
                wake.wake();
            }
            ("the watch of images", Ok(()))
        });
        let (known, stop) = (reconciler.clone(), shutdown.clone());
        tasks.spawn(async move { ("what gives memory back", rest::run(known, stop).await) });
        let (store, known, client) = (images.clone(), reconciler.clone(), api.client(system(TRIMTAB)));
        let sweeping = images::run(store, charts, known, client, discarded, shutdown.clone());
        tasks.spawn(async move { ("what sweeps images", Ok(sweeping.await)) });
        let work = reconciler.begin(shutdown.clone()).await?;
        tasks.spawn(async move { ("delivery", work.await.map_err(Into::into)) });

        // The control listener: git, registry, API.
        let configuration = Arc::new(settings::Settings(reconciler.clone()));
        let app = delivery::Delivery {
            reconciler: reconciler.clone(),
            source: source.clone(),
            client: api.client(system(TRIMTAB)),
            planes,
            images: images.clone(),
            node,
            gateway: gateway.clone(),
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
            .merge(web::settings_router(configuration.clone(), people.clone()))
            .merge(web::policies_router(configuration.clone(), people.clone()))
            .merge(web::calls_router(configuration))
            .merge(source.router(people.clone()))
            .fallback_service(registry);
        let end = ending.clone();
        doors.spawn(async move { listener::serve(control, router, listener::Limits::default(), end).await });

        // Git over SSH.
        let server = source.ssh(&layout.ssh_host_key(), source::SshLimits::default())?;
        let host_key = server.host_key().clone();
        publish_host_key(&layout, &host_key.line)?;
        let Ending { leaving, closing } = ending.clone();
        doors.spawn(async move { server.serve_until(ssh, people, leaving, closing).await });

        // A process that is to take over.
        let running = handover::Running {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            gateway: Some(instance.gateway),
            simulate,
            allow_exec,
        };
        let (successor, successors) = mpsc::channel(1);
        let asked = handover::serve(handover::listen(&layout)?, running, listeners.again()?, successor);
        tokio::spawn(async move {
            if let Err(error) = asked.await {
                tracing::warn!(error = format!("{error:#}"), "no other process can take over from this one");
            }
        });
        Ok(Self {
            instance,
            layout,
            host_key: host_key.fingerprint,
            source,
            images,
            reconciler,
            sign_in,
            api,
            gateway,
            doors,
            ending,
            tasks,
            shutdown,
            down,
            successors,
            simulated,
            started,
        })
    }

    /// What a person needs next.
    pub fn print_addresses(&self, output: Output) {
        let Instance { gateway, control, kubernetes, ssh, .. } = &self.instance;
        let ssh = ssh.map_or(String::new(), |ssh| ssh.to_string());
        let data = self.layout.root().display();
        let value = json!({ "gateway": gateway, "control": control, "kubernetes": kubernetes, "ssh": ssh, "sshHostKey": self.host_key, "browser": self.sign_in, "simulated": self.simulated });
        mention(&output.of(&value, |_| {
            let mut text = format!("Trimtab is ready after {} ms.\n", self.started.elapsed().as_millis());
            text.push_str(&format!("  traffic      http://{gateway}\n  git, images  http://{control}\n  git by SSH   ssh://git@{ssh}\n               (host key {})\n  Kubernetes   https://{kubernetes}\n  data         {data}\n", self.host_key));
            text.push_str(&format!("  browser      {}\n               (once, within 15 minutes; `trimtab ui` prints another)\n", self.sign_in));
            if let Some(reason) = &self.simulated {
                text.push_str(&format!("  PODS ARE SIMULATED, no container runs: {reason}\n"));
            }
            text.push_str("In a second terminal, in a directory with a Dockerfile: trimtab init\n");
            text
        }));
    }

    /// Starts a gateway process of this program, to which the present one hands over.
    pub async fn replace_gateway(&self) -> Result<()> {
        self.gateway.replace().await.context("the gateway that runs does not give way to the one of this program")
    }

    /// Until Ctrl-C, SIGTERM, `down`, another process that takes over, or the first part that ends by itself.
    pub async fn wait(mut self) -> Result<Ended> {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let why = tokio::select! {
            Some(ended) = self.tasks.join_next() => return Err(match ended {
                Ok((name, Ok(()))) => anyhow::anyhow!("{name} ended by itself: this is a defect of Trimtab"),
                Ok((name, Err(error))) => error.context(format!("{name} ended")),
                Err(panic) => panic.into(),
            }),
            // Without a listener nobody could ask for anything any more.
            Some(ended) = self.doors.join_next() => return Err(match ended {
                Ok(()) => anyhow::anyhow!("a listener ended by itself: this is a defect of Trimtab"),
                Err(panic) => anyhow::Error::from(panic).context("a listener ended"),
            }),
            _ = tokio::signal::ctrl_c() => Ended::Stopped("SIGINT"),
            _ = terminate.recv() => Ended::Stopped("SIGTERM"),
            () = self.down.cancelled() => Ended::Down,
            Some(successor) = self.successors.recv() => Ended::Left(successor),
        };
        match &why {
            Ended::Left(_) => self.leave().await,
            Ended::Stopped(_) | Ended::Down => self.stop().await,
        }
        Ok(why)
    }

    async fn stop(&mut self) {
        self.ending.leaving.cancel();
        self.ending.closing.cancel();
        self.shutdown.cancel();
        // Streams that never end (watches, followed logs) must not hold the process.
        let ended = async {
            while self.tasks.join_next().await.is_some() {}
            while self.doors.join_next().await.is_some() {}
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), ended).await;
    }

    /// Lets nobody in any more, finishes what is under way, then everything else. Whoever comes now waits in the listening
    /// sockets, and the data directory is as a process leaves it that has nothing left to do.
    async fn leave(&mut self) {
        let Self { ending, doors, tasks, .. } = self;
        ending.leaving.cancel();
        let begun = tokio::time::timeout(LINGER, async { while doors.join_next().await.is_some() {} }).await;
        self.source.leave();
        ending.closing.cancel();
        self.api.end_watches();
        if begun.is_err() {
            let rest = async { while doors.join_next().await.is_some() {} };
            if tokio::time::timeout(DRAIN_LIMIT, rest).await.is_err() {
                tracing::warn!("requests that did not end within {} s are cut off", DRAIN_LIMIT.as_secs());
            }
        }
        self.shutdown.cancel();
        let rest = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_LIMIT, rest).await.is_err() {
            tracing::warn!("loops that did not end within {} s are cut off", DRAIN_LIMIT.as_secs());
        }
        self.api.shutdown().await;
    }
}

/// Beside the private key, for those who write it into their known_hosts.
fn publish_host_key(layout: &Layout, line: &str) -> Result<()> {
    let (path, text) = (layout.ssh_host_key().with_extension("pub"), format!("{line}\n"));
    match std::fs::read_to_string(&path) {
        Ok(known) if known == text => Ok(()),
        _ => write_durably(Written::Key, &path, text.as_bytes(), 0o644),
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
