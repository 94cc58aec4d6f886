//! Environments with a config repository of their own.

use crate::rules::{Shop, name};
use model::flow::Repository;
use model::journal::EntryKind;
use model::records::PromotionPhase;
use model::{Environment, NewEnvironment};

const PIN: &str = "environments/live/web.yaml";
const FILE: &str = "environments/live.yaml";

fn wanted(name: &str, own_repo: bool) -> NewEnvironment {
    NewEnvironment {
        name: name.parse().unwrap(),
        like: Some("dev".parse().unwrap()),
        after: vec!["dev".parse().unwrap()],
        strategy: Some(model::config::Strategy::Manual),
        production: false,
        domain: None,
        own_repo,
    }
}

impl Shop {
    fn own(&self) -> Repository {
        Repository::of_environment(&self.project(), &name("live"))
    }
    async fn with_live() -> Self {
        let shop = Self::open().await;
        shop.push("one");
        shop.healthy("dev", "web-1").await;
        shop.reconciler.create_environment(&shop.project(), &wanted("live", true), "ada").await.unwrap();
        shop
    }
    async fn live(&self, build: &str) {
        self.promote("live").await;
        self.healthy("live", build).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_movement_is_one_commit_in_the_repository_of_its_environment() {
    let shop = Shop::with_live().await;
    assert!(shop.world.file(&shop.config(), FILE).is_none());
    assert!(shop.world.file(&shop.own(), FILE).unwrap().contains("like: dev"));
    let listed = shop.world.file(&shop.config(), "project.yaml").unwrap();
    assert!(listed.contains("environments: [dev, live, staging, prod]"), "{listed}");
    assert!(listed.contains("ownRepositories: [live]"), "{listed}");

    let main = shop.world.commits(&shop.config(), "project.yaml").len();
    shop.live("web-1").await;
    let commits = shop.world.commits(&shop.own(), PIN);
    assert_eq!(commits.iter().map(|c| c.subject.as_str()).collect::<Vec<_>>(), ["live: web-1"]);
    assert_eq!(commits[0].author, "ada");
    assert!(shop.world.file(&shop.config(), PIN).is_none());
    assert_eq!(shop.world.commits(&shop.config(), "project.yaml").len(), main);

    shop.push("two");
    shop.healthy("dev", "web-2").await;
    shop.live("web-2").await;
    let back = shop.rollback("live").await;
    assert_eq!(back.status.phase, PromotionPhase::Succeeded, "{back:?}");
    shop.healthy("live", "web-1").await;
    assert_eq!(shop.world.commits(&shop.own(), PIN).len(), 3);
    let deployments = shop.reconciler.deployments(&shop.project(), Some(&name("live")), None, 10).await.unwrap();
    let changes: Vec<&str> = deployments.iter().map(|one| one.change.as_str()).collect();
    assert_eq!(changes[..3], ["web-2 → web-1", "web-1 → web-2", "web-1"], "{changes:?}");

    // Another process finds all of it as it was, and moves on.
    let told = shop.told(EntryKind::Admitted, "live");
    let shop = shop.restart();
    shop.healthy("live", "web-1").await;
    assert_eq!(shop.told(EntryKind::Admitted, "live"), told, "nothing is admitted twice");
    let live: Environment = name("live");
    shop.reconciler.suspend(&shop.project(), &live, true, "bob").await.unwrap().unwrap();
    assert!(shop.world.file(&shop.own(), FILE).unwrap().contains("suspend: true"));
    shop.eventually("it is suspended", async || {
        let status = shop.reconciler.status(&shop.project()).await.unwrap();
        status.environments.iter().any(|one| one.name == live && one.suspended)
    })
    .await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_write_in_either_repository_is_judged_as_it_stands_there() {
    let shop = Shop::with_live().await;
    shop.live("web-1").await;
    shop.push("two");
    shop.healthy("dev", "web-2").await;
    // By hand, at the same time in both: a pin there, a rule here.
    let pin = shop.pin("dev").unwrap();
    shop.world.push(&shop.own(), "eve", "live: by hand", &[(PIN, Some(&pin))]);
    shop.edit("a group", &[("config/common.yaml", Some("data: {A: {default: b}}\n"))]);
    shop.healthy("live", "web-2").await;
    let admitted = shop.world.journal_of(&shop.project()).into_iter().rev();
    let admitted: Vec<_> = admitted
        .filter(|e| e.kind == EntryKind::Admitted && e.environment.as_ref().is_some_and(|e| e.as_str() == "live"))
        .collect();
    assert_eq!((admitted[0].actor.as_str(), admitted[0].summary.as_str()), ("eve", "live: web-1 → web-2"));
    // A pin that no gate lets through is held there, and says why.
    let wrong = pin.replace("web-2", "web-9");
    shop.world.push(&shop.own(), "eve", "live: nonsense", &[(PIN, Some(&wrong))]);
    shop.reconciler.wake();
    shop.explained("live", "there is no build web-9").await;
    shop.world.push(&shop.own(), "eve", "live: as it was", &[(PIN, Some(&pin))]);
    shop.reconciler.wake();
    shop.healthy("live", "web-2").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_moves_to_a_repository_of_its_own_by_hand_and_what_ran_runs_on() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    shop.reconciler.create_environment(&shop.project(), &wanted("live", false), "ada").await.unwrap();
    shop.live("web-1").await;
    let file = shop.world.file(&shop.config(), FILE).unwrap();
    let project = shop.world.file(&shop.config(), "project.yaml").unwrap();
    let told = shop.told(EntryKind::Admitted, "live");
    let project = format!("{project}ownRepositories: [live]\n");
    shop.edit("live on its own", &[("project.yaml", Some(&project)), (FILE, None), (PIN, None)]);
    shop.eventually("its repository has what stood", async || shop.world.file(&shop.own(), FILE) == Some(file.clone()))
        .await;
    assert!(shop.world.file(&shop.own(), PIN).unwrap().contains("web-1"));
    shop.push("two");
    shop.healthy("dev", "web-2").await;
    shop.live("web-2").await;
    assert_eq!(shop.world.commits(&shop.own(), PIN)[0].subject, "live: web web-1 → web-2");
    assert!(shop.told(EntryKind::Admitted, "live") > told);
    shop.rollback("live").await;
    shop.healthy("live", "web-1").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_goes_leaves_its_repository_and_one_of_its_name_begins_anew() {
    let shop = Shop::with_live().await;
    shop.live("web-1").await;
    let plan = shop.reconciler.delete_environment(&shop.project(), &name("live"), true, "ada").await.unwrap();
    assert!(plan.files.contains(&PIN.to_owned()), "{plan:?}");
    let told = || shop.world.journal_of(&shop.project()).iter().any(|e| e.kind == EntryKind::Removed);
    shop.eventually("nothing of live stands", async || told()).await;
    let listed = shop.world.file(&shop.config(), "project.yaml").unwrap();
    assert_eq!(listed, "project: shop\nenvironments: [dev, staging, prod]\n");
    assert!(shop.world.file(&shop.own(), PIN).is_some(), "what was stays to be read");
    shop.reconciler.create_environment(&shop.project(), &wanted("live", true), "ada").await.unwrap();
    assert!(shop.world.file(&shop.own(), PIN).is_none());
    shop.live("web-1").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_was_just_made_can_be_promoted_to_at_once() {
    let shop = Shop::open().await;
    shop.push("one");
    shop.healthy("dev", "web-1").await;
    for round in 0..20 {
        let wanted = wanted(&format!("qa{round}"), round % 2 == 0);
        shop.reconciler.create_environment(&shop.project(), &wanted, "ada").await.unwrap();
        let asked = shop.reconciler.promote(&shop.project(), &shop.web(), None, &wanted.name, "ada", "").await;
        assert!(asked.is_ok(), "round {round}: {asked:?}");
        shop.reconciler.suspend(&shop.project(), &wanted.name, false, "ada").await.unwrap();
    }
    shop.rests().await;
}
