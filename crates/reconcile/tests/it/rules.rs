//! The rules of delivery.

use crate::fakes::{World, ports};
use futures::StreamExt;
use model::flow::{Health, Repository};
use model::journal::EntryKind;
use model::records::{BuildPhase, Class, Promotion, PromotionPhase};
use model::{BuildId, Component, Environment, Project};
use reconcile::{Reconciler, Settings, Wish};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const COMPONENT: &str = "project: shop\ncomponent: web\nendpoints: {http: {port: 8080, visibility: public}}\n";

/// A project `shop` with one component `web`, and a reconciler that can be dropped and made again.
pub struct Shop {
    pub world: Arc<World>,
    pub reconciler: Reconciler,
    shutdown: CancellationToken,
    logs: tempfile::TempDir,
}

pub fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

impl Shop {
    pub async fn open() -> Self {
        let shop = Self::on(Arc::new(World::default()));
        assert!(shop.reconciler.init_project(&shop.project(), "ada").await.unwrap());
        shop
    }

    pub fn on(world: Arc<World>) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let settings = Settings {
            gateway: "127.0.0.1:7180".parse().unwrap(),
            control: "127.0.0.1:7181".parse().unwrap(),
            logs: logs.path().to_owned(),
            clock_noticed: std::time::Duration::from_secs(60),
        };
        let reconciler = Reconciler::new(ports(&world), settings);
        let shutdown = CancellationToken::new();
        let (running, stop) = (reconciler.clone(), shutdown.clone());
        tokio::spawn(async move { running.begin(stop).await?.await });
        Self { world, reconciler, shutdown, logs }
    }

    /// A crash and a new process: only what the places keep is left.
    pub fn restart(self) -> Self {
        self.shutdown.cancel();
        drop(self.logs);
        Self::on(self.world)
    }

    pub fn project(&self) -> Project {
        name("shop")
    }
    pub fn config(&self) -> Repository {
        Repository::config(&self.project())
    }
    pub fn web(&self) -> Component {
        name("web")
    }

    pub async fn eventually(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !condition().await {
            if Instant::now() > deadline {
                let status = self.reconciler.status(&self.project()).await;
                panic!("never: {what}\n{status:#?}\n{:#?}", self.world.journal_of(&self.project()));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn push(&self, text: &str) {
        self.push_with(Some(COMPONENT), text);
    }

    pub fn push_with(&self, component: Option<&str>, text: &str) {
        let repository = Repository { project: self.project(), name: "web".into() };
        self.world.push(&repository, "ada", text, &[("trimtab.yaml", component), ("Dockerfile", Some(text))]);
        self.reconciler.wake();
    }

    /// Another file of the component's repository.
    pub fn push_files(&self, message: &str, files: &[(&str, Option<&str>)]) {
        self.world.push(&Repository { project: self.project(), name: "web".into() }, "ada", message, files);
        self.reconciler.wake();
    }

    pub fn edit(&self, message: &str, files: &[(&str, Option<&str>)]) {
        self.world.push(&self.config(), "ada", message, files);
        self.reconciler.wake();
    }

    pub async fn healthy(&self, environment: &str, build: &str) {
        self.eventually(&format!("{build} is healthy in {environment}"), async || {
            self.runs(environment).await.as_deref() == Some(build)
        })
        .await;
    }

    pub async fn runs(&self, environment: &str) -> Option<String> {
        let status = self.reconciler.status(&self.project()).await.ok()?;
        let environment = status.environments.into_iter().find(|e| e.name.as_str() == environment)?;
        let web = environment.components.into_iter().find(|c| c.health == Health::Healthy)?;
        Some(web.build.to_string())
    }

    pub async fn promote(&self, to: &str) -> Promotion {
        let asked = self.reconciler.promote(&self.project(), &self.web(), None, &name(to), "ada", "").await.unwrap();
        self.ended(&asked).await
    }

    pub async fn rollback(&self, environment: &str) -> Promotion {
        let asked = self.reconciler.rollback(&self.project(), &name(environment), None, None, "ada", "").await.unwrap();
        self.ended(&asked).await
    }

    /// As it is when it is final, or waits for something.
    pub async fn ended(&self, promotion: &str) -> Promotion {
        let mut updates = Box::pin(self.reconciler.promotion(&self.project(), promotion).await.unwrap());
        let mut last = None;
        while let Some(next) = tokio::time::timeout(Duration::from_secs(30), updates.next()).await.expect("it moves on")
        {
            let waits = next.status.phase == PromotionPhase::Waiting;
            last = Some(next);
            if waits {
                break;
            }
        }
        last.unwrap()
    }

    pub async fn explained(&self, environment: &str, word: &str) {
        let environment: Environment = name(environment);
        self.eventually(&format!("explain says {word:?}"), async || {
            let told = self.reconciler.explain(&self.project(), &self.web(), &environment).await;
            told.is_ok_and(|told| told.sentences.iter().any(|s| s.contains(word)))
        })
        .await;
    }

    /// Nothing is looked at any more, because nothing happens.
    pub async fn rests(&self) {
        self.eventually("all is at rest", async || {
            let before = self.world.observed();
            tokio::time::sleep(Duration::from_millis(100)).await; // the time in which nothing happens
            self.world.observed() == before
        })
        .await;
    }

    pub fn pins(&self, environment: &str) -> usize {
        self.world.commits(&self.config(), &format!("environments/{environment}/web.yaml")).len()
    }
    pub fn told(&self, kind: EntryKind, environment: &str) -> usize {
        let of_it = |e: &&model::journal::Entry| {
            e.kind == kind && e.environment.as_ref().is_some_and(|n| n.as_str() == environment)
        };
        self.world.journal_of(&self.project()).iter().filter(of_it).count()
    }
    pub fn pin(&self, environment: &str) -> Option<String> {
        self.world.file(&self.config(), &format!("environments/{environment}/web.yaml"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_goes_to_auto_environments_and_no_further() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    assert_eq!(shop.runs("staging").await, None);
    assert_eq!((shop.pins("dev"), shop.pins("staging")), (1, 0));
    let routes = shop.world.routes().routes;
    assert_eq!(routes[0].host, "web.dev.shop.localhost");
    assert_eq!(routes[0].backends[0].endpoints.len(), 1);
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_one_commit_and_ends_healthy() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    let promotion = shop.promote("staging").await;
    assert_eq!(promotion.status.phase, PromotionPhase::Succeeded, "{promotion:#?}");
    assert_eq!(shop.runs("staging").await.as_deref(), Some("web-1"));
    assert_eq!(shop.pins("staging"), 1);
    assert_eq!(shop.pin("staging"), shop.pin("dev"), "the pin moves as it is");
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promoted_is_healthy_in_every_answer_before_its_records_are_written() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    shop.world.recording.hold(true);
    let promotion = shop.promote("staging").await;
    assert_eq!(promotion.status.phase, PromotionPhase::Succeeded, "{promotion:#?}");
    shop.healthy("staging", "web-1").await;
    shop.world.recording.hold(false);
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_one_commit_without_a_build_and_auto_does_not_undo_it() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    shop.push("two");
    shop.healthy("dev", "web-2").await;
    let (built, pins) = (shop.world.built(), shop.pins("dev"));
    let promotion = shop.rollback("dev").await;
    assert_eq!(promotion.status.phase, PromotionPhase::Succeeded, "{promotion:#?}");
    shop.healthy("dev", "web-1").await;
    assert_eq!((shop.world.built(), shop.pins("dev")), (built, pins + 1));
    assert_eq!(shop.told(EntryKind::RolledBack, "dev"), 1);
    shop.push("three");
    shop.healthy("dev", "web-3").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_reverted_by_hand_does_what_the_command_does() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    shop.promote("staging").await;
    let first = shop.pin("staging").unwrap();
    shop.push("two");
    shop.healthy("dev", "web-2").await;
    shop.promote("staging").await;
    shop.healthy("staging", "web-2").await;
    shop.edit("Revert", &[("environments/staging/web.yaml", Some(&first))]);
    shop.healthy("staging", "web-1").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_gate_lets_through_is_held_and_nothing_changes() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    let unbuilt = shop.pin("dev").unwrap().replace("web-1", "web-99");
    shop.edit("prod: never built", &[("environments/prod/web.yaml", Some(&unbuilt))]);
    shop.explained("prod", "there is no build web-99").await;
    shop.eventually("it is told", async || shop.told(EntryKind::Held, "prod") == 1).await;
    shop.edit("prod: never in staging", &[("environments/prod/web.yaml", Some(&shop.pin("dev").unwrap()))]);
    shop.explained("prod", "web-1 has not been healthy in staging").await;
    assert_eq!(shop.runs("prod").await, None);
    assert!(shop.world.object("Deployment", "shop-prod", "web").is_none(), "held means not applied");
    shop.eventually("both are told", async || shop.told(EntryKind::Held, "prod") == 2).await;
    assert_eq!(shop.runs("prod").await, None);
    // What it waits for happens: it comes in without another commit.
    shop.promote("staging").await;
    shop.healthy("prod", "web-1").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_environment_does_not_move_until_that_is_lifted() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    let file = shop.world.file(&shop.config(), "environments/staging.yaml").unwrap();
    shop.edit("suspend", &[("environments/staging.yaml", Some(&format!("suspend: true\n{file}")))]);
    shop.eventually("staging is suspended", async || {
        shop.reconciler.status(&shop.project()).await.unwrap().environments[1].suspended
    })
    .await;
    let promotion = shop.promote("staging").await;
    assert_eq!(promotion.status.phase, PromotionPhase::Waiting, "{promotion:#?}");
    shop.explained("staging", "suspended").await;
    assert_eq!(shop.pins("staging"), 0);
    shop.edit("go on", &[("environments/staging.yaml", Some(&file))]);
    shop.healthy("staging", "web-1").await;
    assert_eq!(shop.pins("staging"), 1);
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_with_the_strategy_never_moves_only_by_a_commit() {
    let shop = Shop::open().await;
    shop.edit("never", &[("environments/staging.yaml", Some("promotion: {from: [dev], strategy: Never}\n"))]);
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    let promotion = shop.promote("staging").await;
    assert_eq!(promotion.status.phase, PromotionPhase::Failed, "{promotion:#?}");
    assert!(promotion.status.message.contains("only a commit by hand"), "{promotion:#?}");
    shop.edit("staging: web-1", &[("environments/staging/web.yaml", Some(&shop.pin("dev").unwrap()))]);
    shop.healthy("staging", "web-1").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_repaired_and_told() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    shop.world.delete_object("Deployment", "web");
    shop.eventually("it is back", async || shop.world.object("Deployment", "shop-dev", "web").is_some()).await;
    shop.eventually("the repair is told", async || shop.told(EntryKind::Repaired, "dev") == 1).await;
    let journal = shop.world.journal_of(&shop.project());
    let repair = journal.iter().find(|e| e.kind == EntryKind::Repaired).unwrap();
    assert!(repair.summary.contains("Deployment.apps shop-dev/web"), "{repair:?}");
    assert!(repair.reason.contains("deleted in the cluster"), "{repair:?}");
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_passed_over_because_its_newest_state_was_not_seen_is_no_drift() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    shop.world.see_late(true);
    shop.push("two");
    let version = |kind: &str| {
        shop.world.object(kind, "shop-dev", "web").unwrap()["metadata"]["labels"]["app.kubernetes.io/version"].clone()
    };
    shop.eventually("the Service is of the second", async || version("Service") == "web-2").await;
    shop.world.see_late(false);
    shop.healthy("dev", "web-2").await;
    assert_eq!(version("Deployment"), "web-2");
    assert_eq!(shop.told(EntryKind::Repaired, "dev"), 0, "{:#?}", shop.world.journal_of(&shop.project()));
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_shown_and_left_where_self_heal_is_off() {
    let shop = Shop::open().await;
    shop.edit(
        "no self heal",
        &[("environments/dev.yaml", Some("promotion: {strategy: Auto}\nsync: {selfHeal: false}\n"))],
    );
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    shop.world.delete_object("Deployment", "web");
    shop.eventually("the drift is shown", async || {
        let status = shop.reconciler.status(&shop.project()).await.unwrap();
        status.environments[0].components.iter().any(|c| c.drifted)
    })
    .await;
    assert!(shop.world.object("Deployment", "shop-dev", "web").is_none());
    let plan = shop.reconciler.diff(&shop.project(), &name("dev")).await.unwrap();
    assert!(!plan.is_empty());
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_container_is_told_with_its_last_words() {
    let shop = Shop::open().await;
    shop.world.crash_loop("web-1");
    shop.push("one");
    shop.eventually("the failure is told", async || shop.told(EntryKind::Failed, "dev") == 1).await;
    let journal = shop.world.journal_of(&shop.project());
    let failed = journal.iter().find(|e| e.kind == EntryKind::Failed).unwrap();
    assert!(failed.reason.contains("panic: no database"), "{failed:?}");
    shop.push("two");
    shop.healthy("dev", "web-2").await;
    let promotion = shop
        .reconciler
        .promote(&shop.project(), &shop.web(), Some(name("web-1")), &name("staging"), "ada", "")
        .await
        .unwrap();
    let promotion = shop.ended(&promotion).await;
    assert_eq!(promotion.status.phase, PromotionPhase::Waiting, "never healthy in dev: {promotion:#?}");
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_without_a_dockerfile_fails_and_the_last_good_one_runs_on() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    let repository = Repository { project: shop.project(), name: "web".into() };
    shop.world.push(&repository, "ada", "no Dockerfile", &[("Dockerfile", None)]);
    shop.reconciler.wake();
    shop.eventually("web-2 failed", async || {
        let build = shop.world.record(model::records::Kind::Build, "web-2");
        build.is_some_and(|b| b["status"]["phase"] == "Failed" && b["status"]["message"] == "Dockerfile is missing")
    })
    .await;
    assert_eq!(shop.runs("dev").await.as_deref(), Some("web-1"));
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_config_repository_leaves_the_last_good_state() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    shop.edit("nonsense", &[("environments/dev.yaml", Some("promotion: {strategy: Sometimes}\n"))]);
    shop.eventually("the problem is shown", async || {
        let status = shop.reconciler.status(&shop.project()).await.unwrap();
        status.problems.iter().any(|p| p.contains("environments/dev.yaml:1"))
    })
    .await;
    assert_eq!(shop.runs("dev").await.as_deref(), Some("web-1"));
    assert_eq!(shop.promote("staging").await.status.phase, PromotionPhase::Succeeded, "the other environments go on");
    shop.rests().await;
}

/// Push, promotion and rollback, with a crash after every number of durable effects: the end is always the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_any_two_effects_changes_nothing() {
    let mut crashes = 0;
    for fuse in 0.. {
        let world = Arc::new(World::default());
        let mut shop = Shop::on(world.clone());
        shop.reconciler.init_project(&shop.project(), "ada").await.unwrap();
        shop.push("one");
        shop.healthy("dev", "web-1").await;
        world.burn_after(Some(fuse));
        shop.push("two");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !world.burnt() && shop.runs("dev").await.as_deref() != Some("web-2") && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let burnt = world.burnt();
        world.burn_after(None);
        shop = shop.restart();
        shop.healthy("dev", "web-2").await;
        assert_eq!(shop.pins("dev"), 2, "one commit per movement, after a crash at effect {fuse}");
        let admitted = world
            .journal_of(&shop.project())
            .iter()
            .filter(|e| e.kind == EntryKind::Admitted && e.build.as_ref().is_some_and(|b| b.number == 2))
            .count();
        assert_eq!(admitted, 1, "admitted once, after a crash at effect {fuse}");
        crashes += 1;
        if !burnt {
            break;
        }
    }
    assert!(crashes > 5, "only {crashes} effects: the fuse does not work");
}

#[tokio::test]
async fn suspending_by_request_is_one_commit_that_keeps_the_rest_of_the_file() {
    let shop = Shop::open().await;
    let file = "# care is taken here\nproduction: true # really\npromotion: {from: [staging]}\n";
    shop.edit("prod: by hand", &[("environments/prod.yaml", Some(file))]);
    let suspended = async |wanted: bool| {
        shop.eventually(&format!("prod is suspended: {wanted}"), async || {
            let Ok(status) = shop.reconciler.status(&shop.project()).await else { return false };
            status.environments.iter().any(|e| e.name.as_str() == "prod" && e.suspended == wanted)
        })
        .await;
    };
    let suspend = async |wanted: bool| shop.reconciler.suspend(&shop.project(), &name("prod"), wanted, "ada").await;
    suspended(false).await;
    let before = shop.world.commits(&shop.config(), "environments/prod.yaml").len();
    assert!(suspend(true).await.unwrap().is_some());
    suspended(true).await;
    assert_eq!(shop.world.file(&shop.config(), "environments/prod.yaml").unwrap(), format!("{file}suspend: true\n"));
    assert_eq!(suspend(true).await.unwrap(), None, "it stands so already");
    assert!(suspend(false).await.unwrap().is_some());
    suspended(false).await;
    assert_eq!(shop.world.file(&shop.config(), "environments/prod.yaml").unwrap(), format!("{file}suspend: false\n"));
    let commits = shop.world.commits(&shop.config(), "environments/prod.yaml");
    assert_eq!(commits.len(), before + 2);
    assert_eq!((commits[0].author.as_str(), commits[0].subject.as_str()), ("ada", "prod: resume"));
    assert!(shop.reconciler.suspend(&shop.project(), &name("moon"), true, "ada").await.is_err());
    shop.rests().await;
}

#[tokio::test]
async fn a_build_log_is_followed_to_its_end_and_can_be_read_after_it() {
    let shop = Shop::open().await;
    shop.push("HOLD");
    let build: model::BuildId = name("web-1");
    shop.eventually("web-1 runs", async || shop.world.record(model::records::Kind::Build, "web-1").is_some()).await;
    shop.eventually("web-1 is known", async || {
        shop.reconciler.builds(&shop.project()).await.is_ok_and(|builds| !builds.is_empty())
    })
    .await;
    let log = async |follow: bool| shop.reconciler.build_log(&shop.project(), &build, follow).await.unwrap();
    let mut followed = Box::pin(log(true).await);
    assert_eq!(followed.next().await.as_deref(), Some("step 1/1 FROM scratch\n"));
    let now: Vec<String> = log(false).await.collect().await;
    assert_eq!(now, ["step 1/1 FROM scratch\n"]);
    shop.world.release.notify_one();
    let rest: Vec<String> = tokio::time::timeout(Duration::from_secs(30), followed.collect()).await.expect("it ends");
    assert_eq!(rest, ["released\n"]);
    shop.healthy("dev", "web-1").await;
    for follow in [true, false] {
        let whole: Vec<String> = log(follow).await.collect().await;
        assert_eq!(whole, ["step 1/1 FROM scratch\nreleased\n"]);
    }
    assert!(shop.reconciler.build_log(&shop.project(), &name("web-9"), true).await.is_err());
    shop.rests().await;
}

#[tokio::test]
async fn who_looks_is_told_of_every_change() {
    let shop = Shop::open().await;
    shop.eventually("the project is there", async || shop.reconciler.status(&shop.project()).await.is_ok()).await;
    let mut of_it = Box::pin(shop.reconciler.changes(Some(&shop.project())).unwrap());
    let mut of_all = Box::pin(shop.reconciler.changes(None).unwrap());
    shop.push("one");
    for changes in [&mut of_it as &mut (dyn futures::Stream<Item = ()> + Unpin), &mut of_all] {
        tokio::time::timeout(Duration::from_secs(30), changes.next()).await.expect("a change is told");
    }
    assert!(shop.reconciler.changes(Some(&name("moon"))).is_err());
    shop.rests().await;
}

/// The delivery of releases and gates, with all the loops running.
#[tokio::test]
async fn an_environment_is_made_runs_and_goes_with_everything_that_ran_there() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    let wanted = model::NewEnvironment {
        name: name("qa"),
        like: Some(name("dev")),
        after: vec![name("dev")],
        strategy: None,
        production: false,
        domain: None,
        own_repo: false,
    };
    shop.reconciler.create_environment(&shop.project(), &wanted, "ada").await.unwrap();
    let known = shop.reconciler.status(&shop.project()).await.unwrap();
    assert!(known.environments.iter().any(|one| one.name == wanted.name), "whoever asks next finds it");
    shop.healthy("qa", "web-1").await;
    assert!(shop.world.object("Deployment", "shop-qa", "web").is_some());
    let refused = shop.reconciler.delete_environment(&shop.project(), &name("dev"), true, "ada").await.unwrap_err();
    assert!(refused.to_string().contains("dev cannot go: qa, staging names it"), "{refused}");
    let plan = shop.reconciler.delete_environment(&shop.project(), &name("qa"), false, "ada").await.unwrap();
    assert!(plan.objects.iter().any(|object| object.contains("Deployment")), "{plan:?}");
    assert_eq!(plan.commit, None);
    shop.reconciler.delete_environment(&shop.project(), &name("qa"), true, "ada").await.unwrap();
    let told = || shop.world.journal_of(&shop.project()).iter().any(|e| e.kind == EntryKind::Removed);
    shop.eventually("nothing of qa stands", async || told()).await;
    assert!(shop.world.object("Deployment", "shop-qa", "web").is_none());
    assert!(shop.world.record(model::records::Kind::Environment, "qa").is_none());
    assert!(shop.world.file(&shop.config(), "environments/qa.yaml").is_none());
    shop.rests().await;
    // One of the same name begins anew.
    shop.reconciler.create_environment(&shop.project(), &wanted, "ada").await.unwrap();
    shop.eventually("web-1 stands in qa again", async || shop.world.object("Deployment", "shop-qa", "web").is_some())
        .await;
    shop.rests().await;
}

#[tokio::test]
async fn a_release_is_made_certified_and_enters_what_requires_that_after_an_approval() {
    use reconcile::Wish;
    let shop = Shop::open().await;
    shop.edit(
        "prod is careful",
        &[(
            "environments/prod.yaml",
            Some("promotion:\n  from: [staging]\n  requires: {certified: true, checks: [acceptance]}\n  approvals: {count: 1}\n"),
        )],
    );
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    let (project, version) = (shop.project(), name::<model::Version>("1.0.0"));
    let create = async || shop.reconciler.create_release(&project, &version, &name("dev"), "ada").await;
    shop.eventually("dev is settled, and 1.0.0 is made", async || create().await.is_ok()).await;
    let again = create().await.unwrap_err();
    assert!(again.to_string().contains("1.0.0 exists already"), "{again}");
    let to = |environment: &str| Wish {
        release: Some(version.clone()),
        ..Wish::new(model::records::Class::Promote, &name(environment))
    };
    shop.reconciler.request(&project, to("staging"), "ada").await.unwrap();
    shop.healthy("staging", "web-1").await;
    let asked = shop.reconciler.request(&project, to("prod"), "ada").await.unwrap();
    let why = async || {
        let updates = shop.reconciler.promotion(&project, &asked).await.unwrap();
        let found = Box::pin(updates).next().await.unwrap();
        found.status.message
    };
    shop.eventually("prod waits for the certificate", async || {
        why().await.contains("1.0.0 is not certified in staging")
    })
    .await;
    let checked = model::Check {
        check: "acceptance".into(),
        environment: name("staging"),
        build: None,
        release: Some(version.clone()),
        passed: true,
        reason: String::new(),
    };
    shop.reconciler.checked(&project, &checked, "ci").await.unwrap();
    shop.eventually("only the approval is missing", async || why().await == "0 of 1 approvals").await;
    let refused = shop.reconciler.approve(&project, &asked, "ada", &[], "").await.unwrap_err();
    assert!(refused.to_string().contains("somebody else has to approve it"), "{refused}");
    shop.reconciler.approve(&project, &asked, "eve", &[], "").await.unwrap();
    shop.healthy("prod", "web-1").await;
    let list = shop.reconciler.releases(&project).await.unwrap();
    assert_eq!((list[0].certified.len(), list[0].environments.len()), (1, 2), "{list:?}");
    let difference = shop.reconciler.difference(&project, "staging", "prod").await.unwrap();
    assert!(difference.components.is_empty(), "{difference:?}");
    let told = shop.reconciler.deployments(&project, Some(&name("prod")), None, 10).await.unwrap();
    assert_eq!((told.len(), told[0].change.as_str(), told[0].release.as_deref()), (1, "1.0.0", Some("1.0.0")));
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_nothing_describes_leaves_auto_environments_and_goes_on_by_promotion() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    shop.promote("staging").await;
    shop.healthy("staging", "web-1").await;
    // A description that cannot be read is none that is gone.
    shop.push_with(Some("component: ["), "broken");
    let shop = shop.restart();
    shop.healthy("dev", "web-1").await;
    shop.push_with(None, "it goes");
    shop.eventually("its pin in dev is gone", async || shop.pin("dev").is_none()).await;
    shop.eventually("nothing of it runs in dev", async || shop.world.object("Deployment", "shop-dev", "web").is_none())
        .await;
    assert!(shop.pin("staging").is_some());
    let gone = shop.promote("staging").await;
    assert_eq!(gone.status.phase, PromotionPhase::Succeeded, "{gone:?}");
    assert!(shop.pin("staging").is_none());
    shop.push("again");
    shop.eventually("it is back in dev", async || shop.pin("dev").is_some()).await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_twenty_builds_are_kept_and_older_ones_go_unless_a_pin_or_a_release_names_them() {
    let shop = Shop::open().await;
    shop.push("1");
    shop.healthy("dev", "web-1").await;
    // The first is pinned in staging, the second released.
    shop.promote("staging").await;
    shop.healthy("staging", "web-1").await;
    shop.push("2");
    shop.healthy("dev", "web-2").await;
    let version = "1.0.0".parse().unwrap();
    shop.eventually("it is released", async || {
        shop.reconciler.create_release(&shop.project(), &version, &name("dev"), "ada").await.is_ok()
    })
    .await;
    // One that fails counts for nothing, and goes with those around it.
    shop.push_files("no Dockerfile", &[("Dockerfile", None)]);
    shop.eventually("web-3 failed", async || {
        let builds = shop.reconciler.builds(&shop.project()).await.unwrap();
        builds.iter().any(|b| b.spec.build == name("web-3") && b.status.phase == BuildPhase::Failed)
    })
    .await;
    shop.edit("dev by hand", &[("environments/dev.yaml", Some("promotion: {strategy: Manual}\n"))]);
    let built = async |number: u64| {
        shop.push(&number.to_string());
        shop.eventually("it is built", async || {
            let builds = shop.reconciler.builds(&shop.project()).await.unwrap();
            let of_it = |b: &&model::Build| b.spec.build.number == number && b.status.phase == BuildPhase::Succeeded;
            builds.iter().any(|b| of_it(&b))
        })
        .await;
    };
    for number in 4..=23 {
        built(number).await;
    }
    let known = async || -> Vec<u64> {
        let builds = shop.reconciler.builds(&shop.project()).await.unwrap();
        let mut known: Vec<u64> = builds.iter().map(|b| b.spec.build.number).collect();
        known.sort_unstable();
        known
    };
    shop.eventually("the one that failed is gone", async || shop.world.discarded() == ["web-3"]).await;
    built(24).await;
    let kept: Vec<u64> = [1, 2].into_iter().chain(5..=24).collect();
    shop.eventually("the oldest is gone", async || known().await == kept).await;
    assert_eq!(shop.world.discarded(), ["web-3", "web-4"]);
    let mut commits: Vec<u64> = shop.world.kept().iter().map(|id| id.parse::<BuildId>().unwrap().number).collect();
    commits.sort_unstable();
    assert_eq!(commits, kept);
    let images = shop.reconciler.images().await.unwrap();
    assert_eq!(images.len(), kept.len(), "{images:?}");
    // What is gone is said; what is kept moves without a build.
    let built_before = shop.world.built();
    let wish = |build: &str| Wish {
        component: Some(shop.web()),
        build: Some(name(build)),
        ..Wish::new(Class::Promote, &name("dev"))
    };
    let asked = shop.reconciler.request(&shop.project(), wish("web-4"), "ada").await.unwrap();
    let gone = shop.ended(&asked).await.status;
    assert!(gone.phase == PromotionPhase::Failed && gone.message.contains("web-4"), "{gone:?}");
    shop.reconciler.request(&shop.project(), wish("web-5"), "ada").await.unwrap();
    shop.healthy("dev", "web-5").await;
    // And so it stays: neither a look nor a new process makes it again.
    let shop = shop.restart();
    shop.healthy("dev", "web-5").await;
    assert_eq!(shop.world.built(), built_before);
    assert_eq!(shop.world.discarded(), ["web-3", "web-4"]);
    shop.rests().await;
}
