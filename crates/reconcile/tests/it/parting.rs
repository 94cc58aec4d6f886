//! Hooks of charts that leave an environment.

use crate::charts::{chart, hook};
use crate::rules::{Shop, name};
use model::flow::Health;
use model::journal::EntryKind;

const FILE: &str = "environments/staging/web.yaml";

impl Shop {
    /// A chart with these hooks, healthy in staging, where nothing comes by itself.
    async fn settled(&self, hooks: &[(&str, &str)]) {
        let files = chart(hooks);
        self.push_chart("0.1.0", "chart: {path: chart}\n", &files);
        self.healthy("dev", "web-1").await;
        self.promote("staging").await;
        self.healthy("staging", "web-1").await;
    }

    fn stands(&self, kind: &str, object: &str) -> bool {
        self.world.object(kind, "shop-staging", object).is_some()
    }

    fn hooked(&self) -> Vec<String> {
        let journal = self.world.journal_of(&self.project());
        journal.into_iter().filter(|e| e.kind == EntryKind::Hooked).map(|e| e.summary).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_for_deletions_run_by_weight_before_anything_goes_and_after_all_is_gone() {
    let shop = Shop::open().await;
    let (second, first) = (hook("second", "pre-delete", "5"), hook("first", "pre-delete", "-5"));
    let after =
        hook("after", "post-delete", "0").replace("before-hook-creation,hook-succeeded", "before-hook-creation");
    shop.settled(&[("templates/1.yaml", &second), ("templates/2.yaml", &first), ("templates/3.yaml", &after)]).await;
    assert!(!shop.stands("Job", "first") && !shop.stands("Job", "after"));

    shop.edit("staging: web goes", &[(FILE, None)]);
    shop.eventually("the first hook runs", async || shop.stands("Job", "first")).await;
    shop.shows("staging", Health::Progressing, "Hook").await;
    assert!(!shop.stands("Job", "second") && shop.stands("Deployment", "web"), "nothing is deleted yet");
    shop.world.finish_job("first", "Complete");
    shop.eventually("the second hook runs", async || shop.stands("Job", "second")).await;
    assert!(shop.stands("Deployment", "web"));
    shop.world.finish_job("second", "Complete");
    shop.eventually("it goes", async || !shop.stands("Deployment", "web")).await;
    shop.eventually("the last hook runs", async || shop.stands("Job", "after")).await;

    // A crash in between: nothing runs twice, and what is to come comes.
    let shop = shop.restart();
    shop.eventually("the last hook runs on", async || shop.stands("Job", "after")).await;
    shop.world.finish_job("after", "Complete");
    shop.eventually("nothing is left", async || {
        ["first", "second", "after"].iter().all(|job| !shop.stands("Job", job))
    })
    .await;
    assert_eq!(
        shop.hooked(),
        ["staging: web-1: hooks of pre-delete succeeded", "staging: web-1: hooks of post-delete succeeded"]
    );
    assert_eq!(shop.told(EntryKind::Repaired, "staging"), 0);
    let status = shop.reconciler.status(&shop.project()).await.unwrap();
    assert!(status.environments[1].components.is_empty(), "{status:#?}");
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_for_deletions_run_when_an_environment_is_deleted() {
    let shop = Shop::open().await;
    let (before, after) = (hook("before", "pre-delete", "0"), hook("after", "post-delete", "0"));
    shop.settled(&[("templates/1.yaml", &before), ("templates/2.yaml", &after)]).await;
    shop.edit("nobody needs staging", &[("environments/prod.yaml", Some("promotion: {from: [dev]}\n"))]);
    shop.eventually("it may go", async || {
        shop.reconciler.delete_environment(&shop.project(), &name("staging"), true, "ada").await.is_ok()
    })
    .await;
    shop.eventually("the first hook runs", async || shop.stands("Job", "before")).await;
    assert!(shop.stands("Deployment", "web"));
    let shop = shop.restart();
    shop.world.finish_job("before", "Complete");
    shop.eventually("the last hook runs", async || shop.stands("Job", "after")).await;
    assert!(!shop.stands("Deployment", "web"));
    assert_eq!(shop.told(EntryKind::Removed, "staging"), 0, "not before its hooks are done");
    shop.world.finish_job("after", "Complete");
    shop.eventually("it is gone", async || shop.told(EntryKind::Removed, "staging") == 1).await;
    assert!(!shop.stands("Job", "before") && !shop.stands("Job", "after"));
    assert_eq!(shop.hooked().len(), 2);
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_fails_holds_a_deletion_loudly_and_not_for_ever() {
    let shop = Shop::open().await;
    let backup = hook("backup", "pre-delete", "0");
    shop.settled(&[("templates/1.yaml", &backup)]).await;
    let pin = shop.pin("staging").unwrap();
    shop.edit("staging: web goes", &[(FILE, None)]);
    shop.eventually("the hook runs", async || shop.stands("Job", "backup")).await;
    shop.world.finish_job("backup", "Failed");
    shop.shows("staging", Health::Degraded, "HookFailed").await;
    assert!(shop.stands("Deployment", "web"), "what could not be saved is not deleted");
    let status = shop.reconciler.status(&shop.project()).await.unwrap();
    let message = &status.environments[1].components[0].message;
    assert!(message.contains("nothing of it is deleted until") && message.contains("Reverting"), "{message}");

    // Reverted, and taken away again: the hook runs again.
    shop.edit("staging: web stays", &[(FILE, Some(&pin))]);
    shop.healthy("staging", "web-1").await;
    shop.edit("staging: web goes after all", &[(FILE, None)]);
    shop.eventually("the hook runs again", async || {
        let job = shop.world.object("Job", "shop-staging", "backup");
        job.is_some_and(|job| job["status"].get("conditions").is_none())
    })
    .await;
    shop.world.finish_job("backup", "Failed");
    shop.shows("staging", Health::Degraded, "HookFailed").await;
    assert!(shop.stands("Deployment", "web"));
    shop.world.pass(3601);
    shop.eventually("it goes all the same", async || !shop.stands("Deployment", "web")).await;
    assert_eq!(shop.hooked().iter().filter(|text| text.ends_with("hooks of pre-delete failed")).count(), 2);
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_there_runs_no_hooks_for_deletions() {
    let shop = Shop::open().await;
    shop.settled(&[]).await;
    shop.edit("staging: web goes", &[(FILE, None)]);
    shop.eventually("it goes", async || !shop.stands("Deployment", "web")).await;
    assert_eq!(shop.hooked(), Vec::<String>::new());
    shop.rests().await;
}
