//! The loops: the only crate that knows the order of the steps.
//!
//! Per project there is one loop that decides what moves ([`project`]), one per environment that makes the cluster what
//! was admitted ([`environment`]), and one that builds ([`builds`]). Each owns a state, publishes it as a snapshot, and is
//! woken by events that carry nothing: it reads the latest state and acts. Places are reached through `model::ports`.

mod builds;
mod changes;
mod charts;
mod config;
mod consent;
mod data_planes;
mod deployments;
mod edit;
mod elsewhere;
mod environment;
mod environments;
mod evidence;
mod given;
mod inputs;
mod kinds;
mod lacks;
mod line;
mod moving;
mod order;
mod planes;
mod policies;
mod progress;
mod project;
mod projections;
mod receive;
mod records;
mod releases;
mod removal;
mod replay;
mod requests;
mod retire;
mod rights;
mod routes;
mod sealing;
mod settings;
mod settle;
mod sketch;
mod suspend;
mod watching;
mod windows;
mod write;

pub use kinds::kinds;
pub use line::{REFERENCE as LINE, followed};
pub use requests::{Refusal, Wish};

use jiff::Timestamp;
use model::Project;
use model::flow::Repository;
use model::ports::{Builder, Charts, DataPlanes, Directory, Gateway, PortError, Records, Repositories, Secrets, Wake};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Where a killed process is tested to recover: before and after the log of a build begins, and between two commits that
/// belong together.
pub const FAILPOINTS: &[&str] = &["reconcile.log.before", "reconcile.log.after", "reconcile.parts.between"];

/// Ends the process as a crash would, if a test asks for it here.
fn failpoint(name: &'static str) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    debug_assert!(FAILPOINTS.contains(&name), "{name} is not listed");
    if WANTED.get_or_init(|| std::env::var("TRIMTAB_FAILPOINT").ok()).as_deref() == Some(name) {
        std::process::abort();
    }
}

/// Waits after a place did not answer.
const RETRY: std::time::Duration = std::time::Duration::from_millis(500);

/// The places, as reconcile knows them.
#[derive(Clone)]
pub struct Ports {
    pub repositories: Arc<dyn Repositories>,
    pub builder: Arc<dyn Builder>,
    pub charts: Arc<dyn Charts>,
    pub data_planes: Arc<dyn DataPlanes>,
    pub records: Arc<dyn Records>,
    pub gateway: Arc<dyn Gateway>,
    pub secrets: Arc<dyn Secrets>,
    /// Who is known.
    pub directory: Arc<dyn Directory>,
    /// Now.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// What is configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the gateway listens; its port stands in addresses that people see.
    pub gateway: SocketAddr,
    /// Where git and images are pushed to.
    pub control: SocketAddr,
    /// Directory of the builds' logs.
    pub logs: PathBuf,
    /// A clock that was set is noticed within this, while something waits for a time.
    pub clock_noticed: std::time::Duration,
}

/// Why the loops ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The list of repositories cannot be read.
    #[error("listing the projects")]
    Projects(#[source] PortError),
}

/// All loops. Cheap to clone.
#[derive(Clone)]
pub struct Reconciler(Arc<Inner>);

pub(crate) struct Inner {
    pub ports: Ports,
    pub settings: Settings,
    pub routes: routes::Routes,
    pub parsed: charts::Parsed,
    pub records: Arc<records::Remembered>,
    projects: Mutex<BTreeMap<Project, Arc<project::Handle>>>,
    wake: Arc<Notify>,
    /// Counts changes of anything that people look at, in any project.
    tick: watch::Sender<u64>,
}

impl Reconciler {
    /// Nothing runs yet.
    pub fn new(mut ports: Ports, settings: Settings) -> Self {
        let records = Arc::new(records::Remembered::new(ports.records.clone()));
        ports.records = records.clone();
        let routes = routes::Routes::new(ports.gateway.clone());
        Self(Arc::new(Inner {
            ports,
            settings,
            routes,
            parsed: charts::Parsed::default(),
            records,
            projects: Mutex::default(),
            wake: Arc::new(Notify::new()),
            tick: watch::Sender::new(0),
        }))
    }

    /// Something in a repository may have changed.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Takes up what a process before this one left: the gateway's routes and every project found in the repositories.
    /// Whoever asks after this is told of all of them. What is returned runs until `shutdown`, and finds new projects as
    /// they appear. To be called once.
    pub async fn begin(
        &self,
        shutdown: CancellationToken,
    ) -> Result<impl Future<Output = Result<(), Error>> + Send + use<>, Error> {
        self.0.routes.inherit().await;
        self.find_projects(&shutdown).await.map_err(Error::Projects)?;
        Ok(self.clone().go_on(shutdown))
    }

    async fn go_on(self, shutdown: CancellationToken) -> Result<(), Error> {
        let publish = tokio::spawn(self.0.clone().publish_routes(shutdown.clone()));
        while shutdown.run_until_cancelled(self.0.wake.notified()).await.is_some() {
            if let Err(error) = self.find_projects(&shutdown).await {
                // Those that are known go on; new ones are found when the disk can be read again.
                tracing::warn!(%error, "the list of repositories cannot be read");
                self.wake();
                let _ = tokio::time::timeout(RETRY, shutdown.cancelled()).await;
            }
            for project in self.projects() {
                project.wake();
                project.wake_held();
            }
        }
        let _ = publish.await;
        Ok(())
    }

    async fn find_projects(&self, shutdown: &CancellationToken) -> Result<(), PortError> {
        let mut repositories = self.0.ports.repositories.list().await?;
        // One of an environment alone belongs to a project, and makes none.
        repositories.retain(|repository| *repository == Repository::config(&repository.project));
        self.0.routes.expect_projects(repositories.iter().map(|repository| repository.project.clone()));
        for repository in repositories {
            let mut projects = self.0.projects.lock().unwrap_or_else(PoisonError::into_inner);
            if let std::collections::btree_map::Entry::Vacant(place) = projects.entry(repository.project.clone()) {
                let handle = Arc::new(project::Handle::new(repository.project, self.0.tick.clone()));
                place.insert(handle.clone());
                tokio::spawn(project::run(self.0.clone(), handle, shutdown.clone()));
            }
        }
        Ok(())
    }

    pub(crate) fn projects(&self) -> Vec<Arc<project::Handle>> {
        self.0.projects.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn project(&self, name: &Project) -> Option<Arc<project::Handle>> {
        self.0.projects.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl Inner {
    async fn publish_routes(self: Arc<Self>, shutdown: CancellationToken) {
        self.routes.run(shutdown).await;
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.ports.clock)()
    }

    /// Returns when the clock shows this time, however it came to; never if there is none.
    pub(crate) async fn until(&self, at: Option<Timestamp>) {
        let Some(at) = at else { return std::future::pending().await };
        loop {
            let left = at.duration_since(self.now());
            let Ok(left) = std::time::Duration::try_from(left) else { return };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(self.settings.clock_noticed)).await;
        }
    }
}

/// A wake for places that takes what it wakes with it.
pub(crate) fn wake_of(notify: &Arc<Notify>) -> Wake {
    let notify = notify.clone();
    Arc::new(move || notify.notify_one())
}
