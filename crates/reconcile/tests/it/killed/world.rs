//! All places in memory, a reconciler over them that can be killed, and people who push and ask.

use super::cluster::{FakeCluster, FakeRecords};
use super::fuse::Fuse;
use super::repositories::{FakeRepositories, Staged};
use async_trait::async_trait;
use model::flow::Repository;
use model::journal::{Entry, EntryKind};
use model::ports::{BuildFailure, BuildRequest, Builder, Gateway, Lines, Push, Receiver, RefUpdate};
use model::records::{Class, Kind, PromotionPhase, PromotionSpec};
use model::{
    BuildId, CommitId, Component, Digest, Environment, ImageRef, MAIN, Person, Project, Promotion, RouteTable,
};
use reconcile::{Ports, Reconciler, Settings};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer than milliseconds; a machine under load may.
const LIMIT: Duration = Duration::from_secs(30);
/// So long without an effect is rest.
const QUIET: Duration = Duration::from_millis(150);

pub fn env(name: &str) -> Environment {
    name.parse().unwrap()
}
pub fn build(name: &str) -> BuildId {
    name.parse().unwrap()
}
fn hello() -> Component {
    "hello".parse().unwrap()
}

pub struct World {
    pub project: Project,
    pub fuse: Arc<Fuse>,
    pub repositories: Arc<FakeRepositories>,
    pub records: Arc<FakeRecords>,
    pub cluster: Arc<FakeCluster>,
    pub builder: Arc<FakeBuilder>,
    pub gateway: Arc<FakeGateway>,
    logs: tempfile::TempDir,
    process: Option<(Runtime, Reconciler)>,
}

#[derive(Default)]
pub struct FakeBuilder {
    pub builds: AtomicUsize,
}

#[async_trait]
impl Builder for FakeBuilder {
    async fn build(&self, request: &BuildRequest, lines: &dyn Lines) -> Result<ImageRef, BuildFailure> {
        self.builds.fetch_add(1, Ordering::SeqCst);
        let Some(Ok(text)) = request.snapshot.text(&request.rule.dockerfile) else {
            return Err(BuildFailure { message: format!("{} is missing", request.rule.dockerfile) });
        };
        text.lines().for_each(|line| {
            lines.line(line);
        });
        match text.lines().position(|line| line == "RUN false") {
            Some(line) => Err(BuildFailure { message: format!("Dockerfile:{}: RUN false: exit code 1", line + 1) }),
            None => Ok(image(text)),
        }
    }

    async fn fetch(&self, _: &Project, _: &BuildId, image: &str, _: &dyn Lines) -> Result<ImageRef, BuildFailure> {
        image.parse().map_err(|_| BuildFailure { message: format!("{image} is not there") })
    }

    async fn has(&self, _: &ImageRef) -> model::ports::Result<bool> {
        Ok(true)
    }

    async fn discard(&self, _: &Project, _: &BuildId) -> model::ports::Result<()> {
        Ok(())
    }
}

/// What the builder makes of a Dockerfile.
pub fn image(dockerfile: &str) -> ImageRef {
    ImageRef::recorded(&"hello".parse().unwrap(), &hello(), &Digest::of(dockerfile.as_bytes()))
}

#[derive(Default)]
pub struct FakeGateway {
    pub table: Mutex<RouteTable>,
}

#[async_trait]
impl Gateway for FakeGateway {
    async fn publish(&self, table: &RouteTable) -> model::ports::Result<()> {
        *self.table.lock().unwrap() = table.clone();
        Ok(())
    }
}

#[derive(Default)]
struct Terminal(Mutex<Vec<String>>);

impl Lines for Terminal {
    fn line(&self, text: &str) -> bool {
        self.0.lock().unwrap().push(text.to_owned());
        true
    }
}

impl World {
    /// Project `hello` with dev (Auto), staging and prod, and nothing pushed.
    pub fn new() -> Self {
        let fuse = Arc::new(Fuse::default());
        let mut world = Self {
            project: "hello".parse().unwrap(),
            repositories: Arc::new(FakeRepositories::new(fuse.clone())),
            records: Arc::new(FakeRecords::new(fuse.clone())),
            cluster: Arc::new(FakeCluster::new(fuse.clone())),
            builder: Arc::default(),
            gateway: Arc::default(),
            logs: tempfile::tempdir().unwrap(),
            process: None,
            fuse,
        };
        world.repositories.create(&world.config());
        world.repositories.create(&world.app());
        world.boot();
        assert!(world.ask(async |r, p| r.init_project(p, "ada").await).unwrap());
        world.eventually("three environments are admitted", |w| w.told(EntryKind::Admitted).len() == 3);
        world
    }

    /// With hello-1 healthy in dev.
    pub fn with_first_build() -> Self {
        let world = Self::new();
        world.push_app("1");
        world.eventually("hello-1 runs in dev", |w| w.runs("dev") == "1" && w.was_healthy("dev", "hello-1"));
        world
    }

    /// With hello-2 in dev and staging, after hello-1.
    pub fn with_two_in_staging() -> Self {
        let world = Self::with_first_build();
        world.succeeded(&world.promote("staging", None));
        world.push_app("2");
        world.eventually("hello-2 was healthy in dev", |w| w.was_healthy("dev", "hello-2"));
        world.succeeded(&world.promote("staging", None));
        assert_eq!(world.runs("staging"), "2");
        world
    }

    pub fn config(&self) -> Repository {
        Repository::config(&self.project)
    }
    pub fn app(&self) -> Repository {
        Repository { project: self.project.clone(), name: "hello".into() }
    }

    pub fn boot(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let ports = Ports {
            repositories: self.repositories.clone(),
            builder: self.builder.clone(),
            charts: Arc::new(crate::fakes::FakeCharts::default()),
            data_planes: Arc::new(crate::fakes::OnlyOne(self.cluster.clone())),
            records: self.records.clone(),
            gateway: self.gateway.clone(),
            secrets: Arc::new(crate::fakes::Keys),
            directory: Arc::new(crate::fakes::World::default()),
            clock: Arc::new(jiff::Timestamp::now),
        };
        let settings = Settings {
            gateway: "127.0.0.1:7180".parse().unwrap(),
            control: "127.0.0.1:7181".parse().unwrap(),
            logs: self.logs.path().to_owned(),
            clock_noticed: std::time::Duration::from_secs(60),
        };
        let reconciler = Reconciler::new(ports, settings);
        let running = reconciler.clone();
        runtime.spawn(async move { running.begin(CancellationToken::new()).await?.await });
        self.process = Some((runtime, reconciler));
    }

    /// `kill -9`: nothing is told, nothing is finished.
    pub fn kill(&mut self) {
        let (runtime, _) = self.process.take().expect("it runs");
        runtime.shutdown_timeout(LIMIT);
        self.cluster.forget_watches();
        self.records.forget_watches();
        self.fuse.reset();
    }

    pub fn ask<T>(&self, request: impl AsyncFnOnce(&Reconciler, &Project) -> T) -> T {
        let (runtime, reconciler) = self.process.as_ref().expect("it runs");
        runtime.block_on(request(reconciler, &self.project))
    }

    /// Pushes a commit that is staged already. The lines that the pusher sees, or those of the refusal.
    pub fn push(&self, repository: &Repository, commit: &CommitId) -> Result<Vec<String>, Vec<String>> {
        let push = self.accept(repository, Some(commit))?;
        let terminal = Terminal::default();
        self.ask(async |r, _| r.follow(&push, &terminal).await);
        Ok(terminal.0.into_inner().unwrap())
    }

    /// The first half of a push: until refs have moved.
    pub fn accept(&self, repository: &Repository, commit: Option<&CommitId>) -> Result<Push, Vec<String>> {
        let old = self.repositories.main(repository).0.first().map(|c| c.id.clone());
        let update = RefUpdate { name: MAIN.into(), old, new: commit.cloned(), fast_forward: true };
        let push = Push {
            repository: repository.clone(),
            actor: "ada".into(),
            person: Person::admin("ada"),
            updates: vec![update],
        };
        let staged = Staged(&self.repositories, repository.clone());
        self.ask(async |r, _| r.check(&push, &staged).await)?;
        self.repositories.land(repository, commit.expect("a deletion is refused"));
        self.ask(async |r, _| r.wake());
        Ok(push)
    }

    /// Pushes a version of the application that consists of its Dockerfile.
    pub fn push_app(&self, dockerfile: &str) -> Vec<String> {
        self.push(&self.app(), &self.stage_app(dockerfile)).expect("the push is taken")
    }

    pub fn stage_app(&self, dockerfile: &str) -> CommitId {
        let description =
            "project: hello\ncomponent: hello\nendpoints:\n  http:\n    port: 8080\n    visibility: public\n";
        let edits = [("trimtab.yaml", Some(description)), ("Dockerfile", Some(dockerfile))];
        self.repositories.stage(&self.app(), "ada", dockerfile, &edits)
    }

    /// Edits the config repository by hand and pushes.
    pub fn edit(&self, edits: &[(&str, Option<&str>)]) -> Result<Vec<String>, Vec<String>> {
        let commit = self.repositories.stage(&self.config(), "ada", "by hand", edits);
        self.push(&self.config(), &commit)
    }

    pub fn promote(&self, to: &str, which: Option<&str>) -> String {
        let which = which.map(build);
        self.ask(async |r, p| r.promote(p, &hello(), which, &env(to), "ada", "").await).expect("the request is taken")
    }

    pub fn rollback(&self, from: &str) -> String {
        self.ask(async |r, p| r.rollback(p, &env(from), None, None, "ada", "").await).expect("the request is taken")
    }

    /// A request as an object of the control API, which is there whatever becomes of the process.
    pub fn request(&self, class: Class, to: &str) {
        let spec = PromotionSpec {
            component: Some(hello()),
            ..PromotionSpec::new(&self.project, &env(to), class, "ada", jiff::Timestamp::now())
        };
        let metadata = json!({"name": format!("{to}-asked"), "namespace": self.project});
        self.records.put(Kind::Promotion, json!({"kind": "Promotion", "metadata": metadata, "spec": spec}));
    }

    /// The promotion when it has come to its end.
    pub fn settled(&self, name: &str) -> Promotion {
        self.eventually(&format!("{name} is final"), |w| w.promotion(name).status.phase.is_final());
        self.promotion(name)
    }

    pub fn succeeded(&self, name: &str) {
        let promotion = self.settled(name);
        assert_eq!(promotion.status.phase, PromotionPhase::Succeeded, "{promotion:#?}");
    }

    pub fn promotion(&self, name: &str) -> Promotion {
        let object = self.records.all(Kind::Promotion).remove(name).unwrap_or_else(|| panic!("no promotion {name}"));
        let part = |key: &str| object.get(key).cloned().unwrap_or_else(|| json!({}));
        Promotion {
            name: name.to_owned(),
            spec: serde_json::from_value(part("spec")).unwrap(),
            status: serde_json::from_value(part("status")).unwrap(),
        }
    }

    /// The Dockerfile that the image in an environment was made of, of those that tests push; `-` for none.
    pub fn runs(&self, environment: &str) -> String {
        let Some(running) = self.cluster.image(&format!("hello-{environment}"), "hello") else { return "-".into() };
        let pushed = (1..20).map(|n| n.to_string());
        pushed.into_iter().find(|text| image(text).as_str() == running).unwrap_or(running)
    }

    pub fn commits(&self) -> usize {
        self.repositories.main(&self.config()).0.len()
    }

    pub fn builds(&self) -> usize {
        self.builder.builds.load(Ordering::SeqCst)
    }

    pub fn file(&self, path: &str) -> String {
        let files = self.repositories.main(&self.config()).1;
        String::from_utf8(files.get(path).unwrap_or_else(|| panic!("no {path}")).clone()).unwrap()
    }

    pub fn journal(&self) -> Vec<Entry> {
        self.repositories.entries(&self.project)
    }

    pub fn told(&self, kind: EntryKind) -> Vec<Entry> {
        self.journal().into_iter().filter(|e| e.kind == kind).collect()
    }

    pub fn was_healthy(&self, environment: &str, which: &str) -> bool {
        let of_it = |e: &Entry| e.environment == Some(env(environment)) && e.build == Some(build(which));
        self.told(EntryKind::Healthy).iter().any(of_it)
    }

    pub fn explain(&self, environment: &str) -> String {
        let explained = self.ask(async |r, p| r.explain(p, &hello(), &env(environment)).await);
        explained.expect("there is an answer").sentences.join("\n")
    }

    pub fn status(&self, environment: &str) -> Value {
        let status = self.ask(async |r, p| r.status(p).await).expect("there is an answer");
        let status = serde_json::to_value(status).unwrap();
        let environments = status["environments"].as_array().unwrap();
        environments.iter().find(|e| e["name"] == environment).unwrap_or_else(|| panic!("{status}")).clone()
    }

    pub fn eventually(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < LIMIT, "{what}: not so after {LIMIT:?}\n{}", self.dump());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Until nothing has happened for a while: before asserting what must not happen.
    /// Answers how many effects there were.
    pub fn quiet(&self) -> usize {
        let mut effects = 0;
        let started = Instant::now();
        let mut since = started;
        while since.elapsed() < QUIET {
            assert!(started.elapsed() < LIMIT, "it never comes to rest\n{}", self.dump());
            std::thread::sleep(Duration::from_millis(5));
            let new = self.fuse.take().len();
            if new > 0 {
                since = Instant::now();
            }
            effects += new;
        }
        effects
    }

    fn dump(&self) -> String {
        let subjects: Vec<String> =
            self.repositories.main(&self.config()).0.iter().map(|c| c.subject.clone()).collect();
        let told = |e: &Entry| format!("{} {}: {}", e.kind, e.summary, e.reason);
        let journal: Vec<String> = self.journal().iter().map(told).collect();
        let all = |kind| self.records.all(kind).values().map(Value::to_string).collect::<Vec<_>>();
        format!(
            "main: {subjects:#?}\njournal: {journal:#?}\npromotions: {:#?}\nbuilds: {:#?}",
            all(Kind::Promotion),
            all(Kind::Build)
        )
    }
}
