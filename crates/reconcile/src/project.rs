//! The loop of one project: reads everything, decides, acts, until there is nothing to do.

use crate::config::{Config, Described, Reader, listed};
use crate::environment::Target;
use crate::evidence::{Law, evidence, law};
use crate::inputs::inputs;
use crate::progress::{Logs, directory};
use crate::projections::{promotion as promotion_object, read_build, read_promotion};
use crate::{Inner, builds, changes, charts, environment, projections, removal, wake_of};
use jiff::Timestamp;
use model::chart::ChartWish;
use model::flow::{Repository, Revision};
use model::journal::EntryKind;
use model::ports::{Commit, PortError, Wake, Written};
use model::records::{BuildPhase, BuildSpec, BuildStatus, Kind};
use model::{Build, BuildId, CommitId, Component, DataPlaneName, Digest, Environment, Project};
use promote::{Action, Decision, Facts};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Commits of main that are read; older movements are in the journal.
pub const LOG_MAX: usize = 1000;
/// Decisions that one wake may take; each makes at most one commit, so more means that something goes in circles.
const ROUNDS_MAX: usize = 1000;
/// Waits after a place did not answer.
const RETRY: Duration = Duration::from_millis(500);

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
    pub heads: BTreeMap<Repository, (CommitId, Seen)>,
    /// True when there was nothing left to do.
    pub settled: bool,
}

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
            builds: Arc::new(Notify::new()),
            charts: Notify::new(),
            view: watch::Sender::new(None),
            tick: watch::Sender::new(0),
            ticks,
            environments: Mutex::default(),
            trouble: Mutex::default(),
            reader: OnceLock::new(),
            logs: OnceLock::new(),
        }
    }

    /// Something may have changed.
    pub fn wake(&self) {
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
        heads: BTreeMap::new(),
        described: BTreeMap::new(),
        looked_at: None,
        compared: BTreeMap::new(),
        projected: BTreeMap::new(),
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
    log: Option<(CommitId, Vec<Commit>)>,
    heads: BTreeMap<Repository, (CommitId, Seen)>,
    /// Application repository → the component that its head describes itself, if that can be read.
    described: BTreeMap<Repository, Option<Component>>,
    /// Head of the config repository when they were looked at.
    looked_at: Option<CommitId>,
    /// Changes that are not on main yet, as far as was looked.
    compared: changes::Compared,
    /// Records as they were written last: what tells one from another.
    projected: BTreeMap<(Kind, String), Digest>,
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
            let view = View { facts: facts.clone(), decision: decision.clone(), config, law, heads, settled };
            self.handle.view.send_replace(Some(view.clone()));
            self.aim(&view);
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

    /// Everything that a decision depends on; `None` while the config repository is empty.
    async fn facts(&mut self) -> Result<Option<(Facts, Arc<Config>, Arc<Law>)>, PortError> {
        let ports = &self.inner.ports;
        let (name, repository) = (&self.handle.name, &self.handle.config);
        let Some(head) = self.inner.main(&self.handle).await? else { return Ok(None) };
        if self.log.as_ref().is_none_or(|(at, _)| *at != head) {
            self.log = Some((head.clone(), ports.repositories.log(repository, &head, None, LOG_MAX).await?));
        }
        let log = self.log.as_ref().map(|(_, log)| log.clone()).unwrap_or_default();
        let journal = ports.repositories.journal(name).await?;
        let config = self.handle.reader(&self.inner).config(repository, &head).await?;
        let environments = match &config.project {
            Ok(file) => file.environments.clone(),
            Err(_) => known_environments(&journal),
        };
        let reader = self.handle.reader(&self.inner);
        let (releases, untagged) = reader.releases(repository, &config.versions).await?;
        let mut states = BTreeMap::new();
        let gone = removal::gone(&journal, &environments);
        let all: Vec<Environment> = environments.iter().chain(&gone).cloned().collect();
        for commit in promote::needs(&head, &log, &journal, &all) {
            let config = reader.config(repository, &commit).await?;
            let resolved = config.environments.iter().map(|(name, reading)| {
                let state = reading.as_ref().map_err(Clone::clone).and_then(|state| state.resolve(name, &releases));
                (name.clone(), state)
            });
            states.insert(commit, resolved.collect());
        }
        let builds = ports.records.list(Kind::Build, name).await?;
        let promotions = ports.records.list(Kind::Promotion, name).await?;
        let mut facts = Facts {
            project: name.clone(),
            now: self.inner.now(),
            head,
            environments,
            log,
            states,
            texts: config.texts.clone(),
            windows: config.windows.clone(),
            releases,
            untagged: untagged.into_iter().collect(),
            builds: builds.iter().filter_map(|value| readable(value, read_build(value))).collect(),
            promotions: promotions.iter().filter_map(|value| readable(value, read_promotion(value))).collect(),
            journal,
            inputs: promote::Inputs::default(),
            evidence: promote::Evidence::default(),
            undescribed: BTreeSet::new(),
            unreachable: self.handle.unreachable(),
        };
        facts.inputs = inputs(self.handle.reader(&self.inner), name, &facts).await?;
        let law = law(self.handle.reader(&self.inner), &facts, &config).await?;
        facts.evidence = evidence(&self.inner, &self.handle, &facts, &config, &law).await?;
        Ok(Some((facts, config, Arc::new(law))))
    }

    /// Components whose newest build is of a repository that describes them no more, and that nothing else does.
    fn undescribed(&self, facts: &Facts, config: &Config) -> BTreeSet<Component> {
        let mut newest: BTreeMap<&Component, &BuildSpec> = BTreeMap::new();
        for build in &facts.builds {
            let (component, spec) = (&build.spec.build.component, &build.spec);
            let last = newest.entry(component).or_insert(spec);
            if spec.build.number > last.build.number {
                *last = spec;
            }
        }
        let gone = |(component, spec): &(&Component, &BuildSpec)| {
            // One that is not here, or whose head cannot be read, may describe it still.
            let left = match self.described.get(&spec.repository) {
                Some(described) => described.as_ref() != Some(*component),
                None => spec.repository.is_config(),
            };
            left && !config.components.contains_key(*component)
        };
        newest.into_iter().filter(gone).map(|(component, _)| component.clone()).collect()
    }

    /// Heads of application repositories that no build is of. True if a build was added.
    async fn find_builds(&mut self, facts: &Facts, config: &Config) -> Result<bool, PortError> {
        let (mut added, mut hosted) = (false, BTreeSet::new());
        if self.looked_at.as_ref() != Some(&facts.head) {
            // What was nothing may be described in the config repository by now.
            self.heads.retain(|_, (_, seen)| matches!(seen, Seen::Build(_)));
            self.looked_at = Some(facts.head.clone());
        }
        self.damaged.clear();
        for repository in self.inner.ports.repositories.list().await? {
            if repository.project != self.handle.name || repository.is_config() {
                continue;
            }
            let head = match self.inner.ports.repositories.head(&repository, model::MAIN).await {
                Ok(Some(head)) => head,
                Ok(None) => continue,
                Err(error) => {
                    hosted.insert(repository.name.clone());
                    self.damaged.push(error.to_string());
                    continue;
                }
            };
            hosted.insert(repository.name.clone());
            if self.heads.get(&repository).is_some_and(|(seen, _)| *seen == head) {
                continue;
            }
            let seen = match self.look(facts, &repository, &head, &mut added).await {
                Err(PortError::Terminal(error)) => {
                    self.damaged.push(format!("{repository}: {error}"));
                    continue;
                }
                seen => seen?,
            };
            self.heads.insert(repository, (head, seen));
        }
        for (file, wish) in charts::unbuilt(facts, config, &hosted) {
            let place = (listed::place(file), self.handle.config.clone());
            self.put(Kind::Component, projections::component(&Described { file: file.clone(), place })).await?;
            let record = charts::build_of(facts, file, wish, self.inner.now());
            let (spec, ports) = (&record.spec, &self.inner.ports);
            ports.repositories.keep(&spec.repository, &format!("builds/{}", spec.build), &spec.commit).await?;
            ports.records.create(Kind::Build, &projections::build(&record)).await?;
            added = true;
        }
        Ok(added)
    }

    async fn look(
        &mut self,
        facts: &Facts,
        repository: &Repository,
        head: &CommitId,
        added: &mut bool,
    ) -> Result<Seen, PortError> {
        let of_it = |b: &&Build| b.spec.repository == *repository && b.spec.commit == *head;
        let revision = Revision { repository: repository.clone(), commit: head.clone() };
        // Described in the config repository, it has the name of its repository.
        let name = repository.name.parse().ok();
        let described = self.handle.reader(&self.inner).described(&revision, &facts.head, name.as_ref()).await?;
        self.described.remove(repository);
        let described = match described {
            None => {
                self.described.insert(repository.clone(), None);
                let nothing = format!(
                    "{repository} has no {}, and the config repository no components/{}.yaml",
                    crate::config::COMPONENT_FILE,
                    repository.name
                );
                return Ok(Seen::Nothing(nothing));
            }
            Some(Err(problem)) => return Ok(Seen::Nothing(problem)),
            Some(Ok(described)) if described.file.project != self.handle.name => {
                return Ok(Seen::Nothing(format!(
                    "trimtab.yaml names project {}, the repository is of {}",
                    described.file.project, self.handle.name
                )));
            }
            Some(Ok(described)) => described,
        };
        let file = &described.file;
        let own = described.place.1 == *repository;
        self.described.insert(repository.clone(), own.then(|| file.component.clone()));
        self.put(Kind::Component, projections::component(&described)).await?;
        if let Some(build) = facts.builds.iter().find(of_it) {
            return Ok(Seen::Build(build.spec.build.clone()));
        }
        let of_component = |b: &&Build| b.spec.repository == *repository && b.spec.build.component == file.component;
        let last = facts.builds.iter().filter(of_component).max_by_key(|b| b.spec.build.number);
        let repositories = &self.inner.ports.repositories;
        let until = last.map(|b| &b.spec.commit);
        let log = repositories.log(repository, head, until, LOG_MAX).await?;
        if last.is_some() && !log.iter().any(|commit| touches(commit, &file.path)) {
            return Ok(Seen::Nothing(format!("nothing below {} has changed", file.path)));
        }
        let build = BuildId { component: file.component.clone(), number: highest(facts, file) + 1 };
        let newest = log.first();
        let spec = BuildSpec {
            project: self.handle.name.clone(),
            build: build.clone(),
            repository: repository.clone(),
            commit: head.clone(),
            pushed_by: newest.map(|c| c.author.clone()).unwrap_or_default(),
            message: newest.map(|c| c.subject.clone()).unwrap_or_default(),
            created: self.inner.now(),
            chart: file
                .chart
                .as_ref()
                .and_then(|rule| rule.source())
                .map(|source| ChartWish { source: source.clone(), version: None }),
        };
        repositories.keep(repository, &format!("builds/{build}"), head).await?;
        let record = Build { spec, status: BuildStatus { phase: BuildPhase::Queued, ..BuildStatus::default() } };
        self.inner.ports.records.create(Kind::Build, &projections::build(&record)).await?;
        *added = true;
        Ok(Seen::Build(build))
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

    /// Tells every environment what it should be.
    fn aim(&self, view: &View) {
        self.inner.routes.expect(&self.handle.name, view.decision.environments.keys().cloned());
        let mut environments = self.handle.environments.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = |name: &Environment| Some(Target::removed(&view.facts, &view.config, name));
        let gone = removal::removed(view).into_iter().map(|name| (name.clone(), removed(&name)));
        let present = view.decision.environments.iter();
        let present = present
            .map(|(name, report)| (name.clone(), Target::of(&view.facts, &view.config, &view.law, name, report)));
        for (name, target) in present.chain(gone) {
            let environment = environments.entry(name.clone()).or_insert_with(|| {
                let handle = Arc::new(environment::Handle::new(&self.handle.name, &name));
                tokio::spawn(environment::run(
                    self.inner.clone(),
                    self.handle.clone(),
                    handle.clone(),
                    self.shutdown.clone(),
                ));
                handle
            });
            environment.aim(target);
        }
    }

    /// Shows `project.yaml` in the control API.
    async fn project(&mut self, view: &View) -> Result<(), PortError> {
        let Ok(file) = &view.config.project else { return Ok(()) };
        let problems = view.config.problems();
        self.put(Kind::Project, projections::project(file, &view.facts.head, &problems)).await
    }

    async fn put(&mut self, kind: Kind, object: Value) -> Result<(), PortError> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let digest = Digest::of(object.to_string().as_bytes());
        if self.projected.get(&(kind, name.clone())) == Some(&digest) {
            return Ok(());
        }
        self.inner.ports.records.apply(kind, &object).await?;
        self.projected.insert((kind, name), digest);
        Ok(())
    }
}

/// An object that cannot be read is said and passed over: somebody else wrote it.
fn readable<T>(value: &Value, read: Result<T, serde_json::Error>) -> Option<T> {
    read.inspect_err(|error| tracing::warn!(name = %value["metadata"]["name"], %error, "an object of the control API cannot be read")).ok()
}

fn known_environments(journal: &[model::journal::Entry]) -> Vec<Environment> {
    let mut known: Vec<Environment> = Vec::new();
    for environment in journal.iter().filter_map(|entry| entry.environment.as_ref()) {
        if !known.contains(environment) {
            known.push(environment.clone());
        }
    }
    known
}

/// True if a commit changes something in a component's directory, or what describes it.
fn touches(commit: &Commit, path: &str) -> bool {
    let directory = path.trim_start_matches("./").trim_end_matches('/');
    let inside =
        |changed: &String| directory == "." || directory.is_empty() || changed.starts_with(&format!("{directory}/"));
    // A merge or an empty commit names no path: building once too often is the safe side.
    commit.paths.is_empty() || commit.paths.iter().any(|p| inside(p) || p == crate::config::COMPONENT_FILE)
}

/// The highest number that a build of the component ever had: in the records, or in a pin that was admitted.
pub fn highest(facts: &Facts, file: &model::ComponentFile) -> u64 {
    let released = facts.releases.values().flat_map(|release| release.file.pins.values());
    let built = facts.builds.iter().map(|b| &b.spec.build);
    let admitted = facts.journal.iter().filter(|e| e.kind == EntryKind::Admitted);
    let states = admitted.filter_map(|e| facts.state(e.commit.as_ref()?, e.environment.as_ref()?)?.as_ref().ok());
    let pins = states.flat_map(|state| state.pins.values()).chain(released).map(|pin| &pin.build);
    built.chain(pins).filter(|id| id.component == file.component).map(|id| id.number).max().unwrap_or(0)
}
