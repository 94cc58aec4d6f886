//! The loop of one project: reads everything, decides, acts, until there is nothing to do.

mod aiming;
mod finding;
mod reading;

pub use finding::highest;
pub use reading::resolved;

use crate::config::{Config, Reader};
use crate::evidence::Law;
use crate::progress::{Logs, directory};
use crate::projections::promotion as promotion_object;
use crate::{Inner, RETRY, builds, changes, charts, environment, projections, wake_of};
use jiff::Timestamp;
use model::flow::Repository;
use model::ports::{Commit, PortError, Wake, Written};
use model::records::Kind;
use model::release::{Release, Version};
use model::views::Prospects;
use model::{BuildId, CommitId, Component, DataPlaneName, Environment, Project};
use promote::{Action, Decision, Facts, States};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Commits of main that are read; older movements are in the journal.
pub const LOG_MAX: usize = 1000;
/// Decisions that one wake may take; each makes at most one commit, so more means that something goes in circles.
const ROUNDS_MAX: usize = 1000;
/// What the loop knows, published after each decision.
#[derive(Clone)]
pub struct View {
    pub facts: Arc<Facts>,
    pub decision: Arc<Decision>,
    /// The config repository at `facts.head`.
    pub config: Arc<Config>,
    /// Policies as they hold.
    pub law: Arc<Law>,
    /// Application repository → the head that was looked at, and what came of it.
    pub heads: Arc<Heads>,
    /// True when there was nothing left to do.
    pub settled: bool,
    prospects: Arc<OnceLock<Arc<BTreeMap<Environment, Prospects>>>>,
}

impl View {
    /// What could come next where, found when somebody asks for the first time.
    pub fn prospects(&self) -> Arc<BTreeMap<Environment, Prospects>> {
        self.prospects.get_or_init(|| Arc::new(promote::prospects(&self.facts))).clone()
    }
}

/// Application repository → the head that was looked at, and what came of it.
pub type Heads = BTreeMap<Repository, (CommitId, Seen)>;

/// What came of a head of an application repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It is, or will be, this build.
    Build(BuildId),
    /// It is none, with the reason.
    Nothing(String),
}

/// A project, as others see it.
pub struct Handle {
    pub name: Project,
    pub config: Repository,
    /// Whoever reads a Change to write it takes a turn.
    pub changes: tokio::sync::Mutex<()>,
    /// Where its config repositories stand, all together: a cache, and the turn of whoever writes there.
    pub line: tokio::sync::Mutex<Option<crate::line::Tip>>,
    notify: Arc<Notify>,
    /// A repository may have moved since the loop looked at all of them.
    pushed: AtomicBool,
    /// Wakes the loop that builds.
    pub builds: Arc<Notify>,
    /// Wakes the loop that looks for newer charts.
    pub charts: Notify,
    view: watch::Sender<Option<View>>,
    /// Counts changes of anything that people look at.
    tick: watch::Sender<u64>,
    /// The same, of all projects together.
    ticks: watch::Sender<u64>,
    environments: Mutex<BTreeMap<Environment, Arc<environment::Handle>>>,
    trouble: Mutex<Option<String>>,
    reader: OnceLock<Reader>,
    /// What was found out about open Changes.
    pub known: Mutex<changes::Known>,
    logs: OnceLock<Logs>,
}

impl Handle {
    pub fn new(name: Project, ticks: watch::Sender<u64>) -> Self {
        Self {
            config: Repository::config(&name),
            changes: tokio::sync::Mutex::default(),
            line: tokio::sync::Mutex::default(),
            name,
            notify: Arc::new(Notify::new()),
            pushed: AtomicBool::new(true),
            builds: Arc::new(Notify::new()),
            charts: Notify::new(),
            view: watch::Sender::new(None),
            tick: watch::Sender::new(0),
            ticks,
            environments: Mutex::default(),
            trouble: Mutex::default(),
            reader: OnceLock::new(),
            known: Mutex::default(),
            logs: OnceLock::new(),
        }
    }

    /// Something may have changed, repositories too.
    pub fn wake(&self) {
        self.pushed.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }
    /// The journal or a record may say something new.
    pub fn told(&self) {
        self.notify.notify_one();
    }
    /// What a component waited for may have come.
    pub fn wake_held(&self) {
        for environment in self.environments.lock().unwrap_or_else(PoisonError::into_inner).values() {
            if environment.outcome().components.iter().any(crate::lacks::waits) {
                environment.wake();
            }
        }
    }
    /// Images that components wait for.
    pub fn missing_images(&self) -> Vec<model::ImageRef> {
        let mut missing = Vec::new();
        for environment in self.environments.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let Some(target) = environment.target() else { continue };
            let outcome = environment.outcome();
            let waits = outcome.components.iter().filter(|c| c.reason == crate::lacks::IMAGE);
            missing.extend(waits.filter_map(|c| target.state.pins.get(&c.component)?.image.clone()));
        }
        missing
    }
    /// Why it cannot be read, or a part of it, if so.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn set_trouble(&self, trouble: Option<String>) {
        let mut current = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != trouble {
            if let Some(trouble) = &trouble {
                tracing::warn!(project = %self.name, trouble, "the project cannot be read or written");
            }
            *current = trouble;
            drop(current);
            self.tick();
        }
    }
    /// The latest, if the loop has read anything yet.
    pub fn view(&self) -> Option<View> {
        self.view.borrow().clone()
    }
    /// Changes whenever anything that people look at does.
    pub fn ticks(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }
    /// Something that people look at has changed.
    pub fn tick(&self) {
        self.tick.send_modify(|count| *count += 1);
        self.ticks.send_modify(|count| *count += 1);
    }
    pub fn environment(&self, name: &Environment) -> Option<Arc<environment::Handle>> {
        self.environments.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
    pub fn environments(&self) -> Vec<Arc<environment::Handle>> {
        self.environments.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
    /// What the cluster of an environment could do when something was rendered for it last.
    pub fn capabilities(&self, name: &Environment) -> Option<Arc<environment::Recorded>> {
        self.environment(name).and_then(|environment| environment.outcome().capabilities.clone())
    }
    /// Data planes that do not answer, and why.
    fn unreachable(&self) -> BTreeMap<DataPlaneName, String> {
        let said = |environment: Arc<environment::Handle>| {
            let outcome = environment.outcome();
            Some((outcome.unreachable.clone()?, outcome.error.clone()?))
        };
        self.environments().into_iter().filter_map(said).collect()
    }
    pub fn reader(&self, inner: &Inner) -> &Reader {
        self.reader.get_or_init(|| Reader::new(inner.ports.repositories.clone()))
    }
    pub fn logs(&self, inner: &Inner) -> &Logs {
        self.logs.get_or_init(|| Logs::new(directory(&inner.settings.logs, &self.name)))
    }
}

/// Runs until `shutdown`.
pub async fn run(inner: Arc<Inner>, handle: Arc<Handle>, shutdown: CancellationToken) {
    let wake = wake_of(&handle.notify);
    let mut work = Work {
        inner: inner.clone(),
        handle: handle.clone(),
        shutdown: shutdown.clone(),
        log: None,
        resolved: BTreeMap::new(),
        heads: Arc::default(),
        hosted: BTreeSet::new(),
        described: BTreeMap::new(),
        looked_at: None,
        compared: BTreeMap::new(),
        projected: projections::Projected::default(),
        damaged: Vec::new(),
    };
    let mut watching = false;
    let building = tokio::spawn(builds::run(inner.clone(), handle.clone(), shutdown.clone()));
    let following = tokio::spawn(charts::watch(inner.clone(), handle.clone(), shutdown.clone()));
    loop {
        if !watching {
            watching = open(&inner, &handle, &wake).await.is_ok();
        }
        let (again, wake_at) = match work.pass().await {
            Ok(wake_at) => {
                handle.set_trouble((!work.damaged.is_empty()).then(|| work.damaged.join("\n")));
                (!watching || !work.damaged.is_empty(), wake_at)
            }
            Err(error) => {
                handle.set_trouble(Some(error.to_string()));
                (true, None)
            }
        };
        let woken = async {
            tokio::select! {
                () = handle.notify.notified() => {}
                () = tokio::time::sleep(RETRY), if again => {}
                () = inner.until(wake_at) => {}
            }
        };
        if shutdown.run_until_cancelled(woken).await.is_none() {
            break;
        }
    }
    let _ = building.await;
    let _ = following.await;
}

/// Makes room for the project's objects, and watches them.
async fn open(inner: &Inner, handle: &Handle, wake: &Wake) -> Result<(), PortError> {
    inner.ports.records.open(&handle.name).await?;
    inner.ports.records.watch(&handle.name, wake.clone()).await
}

/// The loop's own state: nothing but caches.
struct Work {
    inner: Arc<Inner>,
    handle: Arc<Handle>,
    shutdown: CancellationToken,
    log: Option<(CommitId, Arc<Vec<Commit>>)>,
    /// What stands at commits, with the releases that it was resolved with.
    resolved: BTreeMap<CommitId, (Arc<BTreeMap<Version, Release>>, Arc<States>)>,
    heads: Arc<Heads>,
    /// Names of the application repositories that have a commit, or cannot be read.
    hosted: BTreeSet<String>,
    /// Application repository → the component that its head describes itself, if that can be read.
    described: BTreeMap<Repository, Option<Component>>,
    /// Head of the config repository when they were looked at.
    looked_at: Option<CommitId>,
    /// Changes that are not on main yet, as far as was looked.
    compared: changes::Compared,
    projected: projections::Projected,
    /// Application repositories that cannot be read, and why. The others go on.
    damaged: Vec<String>,
}

impl Work {
    /// Answers when something may be different though nothing happens.
    async fn pass(&mut self) -> Result<Option<Timestamp>, PortError> {
        for _ in 0..ROUNDS_MAX {
            let Some((mut facts, config, law)) = self.facts().await? else { return Ok(None) };
            if self.inner.adopt_builds(&self.handle, &facts).await? {
                continue;
            }
            if self.find_builds(&facts, &config).await? {
                self.handle.builds.notify_one();
                continue;
            }
            facts.undescribed = self.undescribed(&facts, &config);
            if changes::settle(&self.inner, &self.handle, &facts, &mut self.compared).await? {
                continue;
            }
            let decision = Arc::new(promote::decide(&facts));
            let settled = decision.actions.is_empty();
            let (facts, heads) = (Arc::new(facts), self.heads.clone());
            let prospects = Arc::default();
            let view =
                View { facts: facts.clone(), decision: decision.clone(), config, law, heads, settled, prospects };
            let before = self.handle.view.send_replace(Some(view.clone()));
            self.aim(before.as_ref(), &view);
            self.handle.tick();
            if settled {
                self.project(&view).await?;
                let seen = self.heads.values().filter_map(|(_, seen)| match seen {
                    Seen::Build(build) => Some(build),
                    Seen::Nothing(_) => None,
                });
                match self.inner.retire(&self.handle, &facts, &seen.collect()).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    // They go with the next look.
                    Err(error) => {
                        tracing::warn!(project = %self.handle.name, %error, "old builds cannot be let go");
                    }
                }
                return Ok(decision.wake_at);
            }
            for action in &decision.actions {
                self.act(&facts, action).await?;
            }
        }
        tracing::error!(project = %self.handle.name, "the decisions go in circles: this is a defect of Trimtab");
        Ok(None)
    }

    async fn act(&mut self, facts: &Facts, action: &Action) -> Result<(), PortError> {
        let ports = &self.inner.ports;
        match action {
            Action::Create(promotion) => {
                ports.records.create(Kind::Promotion, &promotion_object(promotion)).await?;
            }
            Action::Commit(write) => {
                if let Written::Superseded(by) = self.inner.write_line(&self.handle, write).await? {
                    tracing::info!(project = %self.handle.name, ?by, "main has moved: deciding again");
                }
            }
            Action::Tag(tag) => ports.repositories.tag(&self.handle.config, tag).await?,
            Action::Journal(entry) => ports.repositories.append(&facts.project, entry).await?,
            Action::Update { name, status } => {
                if let Some(promotion) = facts.promotions.iter().find(|p| p.name == *name) {
                    let updated = model::Promotion { status: status.clone(), ..promotion.clone() };
                    ports.records.apply(Kind::Promotion, &promotion_object(&updated)).await?;
                }
            }
        }
        Ok(())
    }

    /// Shows `project.yaml` in the control API.
    async fn project(&mut self, view: &View) -> Result<(), PortError> {
        let Ok(file) = &view.config.project else { return Ok(()) };
        let problems = view.config.problems();
        self.put(Kind::Project, projections::project(file, &view.facts.head, &problems)).await
    }

    async fn put(&mut self, kind: Kind, object: Value) -> Result<(), PortError> {
        self.projected.put(&*self.inner.ports.records, kind, &object).await
    }
}
