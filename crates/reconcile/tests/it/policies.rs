//! Policies and signatures: what breaks them does not move, and people are told which and why.

use crate::rules::{Shop, name};
use model::records::{Class, GateName, GateState, PromotionPhase};
use model::views::EnvironmentStatus;
use model::{BuildId, CommitId};
use reconcile::{Refusal, Wish};
use std::collections::BTreeMap;

const COMPONENT: &str = "project: shop\ncomponent: web\nworkload: {replicas: 3}\nendpoints: {http: {port: 8080}}\n";
const FEW: &str = "action: deny\nmatch: {kinds: [Deployment]}\nrules: [{expression: object.spec.replicas < 3, message: too many Pods}]\n";

impl Shop {
    fn policy(&self, name: &str, text: Option<&str>) {
        self.edit("a policy", &[(&format!("policies/{name}.yaml"), text)]);
    }

    async fn environment(&self, name: &str) -> EnvironmentStatus {
        let status = self.reconciler.status(&self.project()).await.unwrap();
        status.environments.into_iter().find(|e| e.name.as_str() == name).unwrap()
    }

    async fn knows(&self, policies: &[&str]) {
        self.eventually(&format!("it knows {policies:?}"), async || {
            let Ok(known) = self.reconciler.policies(&self.project()).await else { return false };
            known.iter().filter(|one| one.file.is_some()).map(|one| one.name.as_str()).eq(policies.iter().copied())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_denies_does_not_move_and_says_policy_object_and_message() {
    let shop = Shop::open().await;
    shop.push("1");
    shop.healthy("dev", "web-1").await;
    shop.policy("few", Some(FEW));
    shop.knows(&["few"]).await;
    // The strategy waits, ...
    shop.push_with(Some(COMPONENT), "2");
    let why = "denied by policy few: Deployment.apps shop-dev/web: too many Pods";
    shop.eventually("web-2 waits", async || {
        let explained = shop.reconciler.explain(&shop.project(), &shop.web(), &name("dev")).await.unwrap();
        explained.gates.iter().any(|g| g.name == GateName::Policy && g.state != GateState::Open && g.message == why)
    })
    .await;
    assert_eq!(shop.runs("dev").await.as_deref(), Some("web-1"));
    // ... a person is refused, ...
    let wish =
        Wish { component: Some(shop.web()), build: Some(name("web-2")), ..Wish::new(Class::Promote, &name("dev")) };
    let asked = shop.reconciler.request(&shop.project(), wish, "ada").await.unwrap();
    let refused = shop.ended(&asked).await;
    assert_eq!((refused.status.phase, refused.status.message.as_str()), (PromotionPhase::Failed, why));
    // ... and so is a hand edit held, of which nothing is applied.
    let builds = shop.reconciler.builds(&shop.project()).await.unwrap();
    let [first, second] = ["web-1", "web-2"].map(|id| builds.iter().find(|b| b.spec.build.to_string() == id).unwrap());
    let (before, after) = (first.status.image.as_ref().unwrap(), second.status.image.as_ref().unwrap());
    let pin =
        shop.pin("dev").unwrap().replace("web-1", "web-2").replace(before.digest().as_str(), after.digest().as_str());
    let pin = pin.replace(first.spec.commit.as_str(), second.spec.commit.as_str());
    shop.edit("by hand", &[("environments/dev/web.yaml", Some(&pin))]);
    shop.eventually("the edit is held", async || {
        shop.environment("dev").await.held.is_some_and(|held| held.reason.contains(why))
    })
    .await;
    assert_eq!(shop.world.object("Deployment", "shop-dev", "web").unwrap()["spec"]["replicas"], 1);
    // Once the policy is gone it moves.
    shop.policy("few", None);
    shop.healthy("dev", "web-2").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_over_the_plan_is_enforced_at_apply_and_nothing_of_the_set_is_applied() {
    let shop = Shop::open().await;
    let text =
        "match: {environments: [dev]}\nrules: [{expression: plan.create == 0, message: 'nothing new, please'}]\n";
    shop.policy("settled", Some(text));
    shop.knows(&["settled"]).await;
    shop.push("1");
    let why = "nothing is applied: denied by policy settled: nothing new, please";
    shop.eventually("dev says so", async || shop.environment("dev").await.error.as_deref() == Some(why)).await;
    assert_eq!(shop.world.object("Deployment", "shop-dev", "web"), None);
    let environment = shop.environment("dev").await;
    assert_eq!(environment.policies.len(), 1, "{environment:?}");
    shop.policy("settled", None);
    shop.healthy("dev", "web-1").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_asks_for_an_approval_makes_a_movement_wait_for_one() {
    let shop = Shop::open().await;
    shop.policy("big", Some(&FEW.replace("deny", "requireApproval")));
    shop.knows(&["big"]).await;
    shop.push_with(Some(COMPONENT), "1");
    let mut waiting = None;
    shop.eventually("it waits for an approval", async || {
        let held = shop.reconciler.explain(&shop.project(), &shop.web(), &name("dev")).await;
        waiting = held.ok().and_then(|held| held.gates.into_iter().find(|g| g.name == GateName::Approvals));
        waiting.is_some()
    })
    .await;
    let gate = waiting.unwrap();
    let message = "0 of 1 approvals, policy big: Deployment.apps shop-dev/web: too many Pods";
    assert_eq!((gate.state, gate.message.as_str()), (GateState::Waiting, message));
    let refused = shop.reconciler.approve(&shop.project(), "dev-web-1", "ada", &[], "").await.unwrap_err();
    assert!(matches!(&refused, Refusal::Refused(why) if why.contains("somebody else")), "{refused:?}");
    shop.reconciler.approve(&shop.project(), "dev-web-1", "olga", &[], "").await.unwrap();
    shop.healthy("dev", "web-1").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_is_shown_and_nothing_is_held() {
    let shop = Shop::open().await;
    shop.policy("few", Some(&FEW.replace("deny", "warn")));
    shop.knows(&["few"]).await;
    shop.push_with(Some(COMPONENT), "1");
    shop.healthy("dev", "web-1").await;
    let environment = shop.environment("dev").await;
    let told: Vec<String> = environment.policies.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["policy few: Deployment.apps shop-dev/web: too many Pods"]);
    let listed = shop.reconciler.policies(&shop.project()).await.unwrap();
    assert_eq!(listed[0].results.keys().map(|e| e.as_str()).collect::<Vec<_>>(), ["dev"]);
    assert_eq!(listed[0].environments.len(), 3);
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_policy_that_slipped_in_is_said_and_the_last_good_one_holds() {
    let shop = Shop::open().await;
    shop.policy("few", Some(FEW));
    shop.knows(&["few"]).await;
    shop.policy("few", Some("rules: [{expression: objekt.x}]\n"));
    shop.push_with(Some(COMPONENT), "1");
    let problem = "policies/few.yaml:1:22: rules[0].expression: there is no objekt";
    shop.eventually("web-1 is denied", async || {
        let explained = shop.reconciler.explain(&shop.project(), &shop.web(), &name("dev")).await;
        explained.is_ok_and(|e| e.gates.iter().any(|g| g.message.contains("denied by policy few")))
    })
    .await;
    let status = shop.reconciler.status(&shop.project()).await.unwrap();
    assert!(status.problems.iter().any(|told| told.starts_with(problem)), "{:?}", status.problems);
    let listed = shop.reconciler.policies(&shop.project()).await.unwrap();
    assert!(listed[0].file.is_some() && listed[0].problems[0].starts_with(problem), "{listed:?}");
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_tested_before_they_are_there_and_the_starter_set_is_written_once() {
    let shop = Shop::open().await;
    shop.push_with(Some(COMPONENT), "1");
    shop.healthy("dev", "web-1").await;
    let project = shop.project();
    let test = async |text: &str| {
        let files = BTreeMap::from([("few".to_owned(), text.to_owned())]);
        shop.reconciler.test_policies(&project, &name("dev"), &files).await
    };
    let told: Vec<String> = test(FEW).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(told, ["policy few: Deployment.apps shop-dev/web: too many Pods"]);
    assert_eq!(test(&FEW.replace("< 3", "< 4")).await.unwrap(), []);
    let refused = test("rules: [{expression: x}]").await.unwrap_err();
    assert!(matches!(&refused, Refusal::Refused(why) if why.starts_with("policies/few.yaml:1:22:")), "{refused:?}");
    let starter = ["limits-set", "no-latest-tag", "no-privileged", "signed-commits", "trusted-registries"];
    assert!(shop.reconciler.add_starter_policies(&project, &[], "ada").await.unwrap().is_some());
    assert_eq!(shop.reconciler.add_starter_policies(&project, &[], "ada").await.unwrap(), None);
    shop.knows(&starter).await;
    let unknown = shop.reconciler.add_starter_policies(&project, &["x".into()], "ada").await.unwrap_err();
    assert!(matches!(&unknown, Refusal::NotFound(why) if why.contains("no-latest-tag")), "{unknown:?}");
    let found = shop.reconciler.test_policies(&project, &name("dev"), &BTreeMap::new()).await.unwrap();
    assert_eq!(found.iter().map(|one| one.policy.as_str()).collect::<Vec<_>>(), ["limits-set"]);
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_commits_are_held_where_signatures_are_asked_for_until_the_key_is_registered() {
    let shop = Shop::open().await;
    let staging = "promotion: {from: [dev], strategy: Manual}\nverify: {commits: {}}\n";
    shop.edit("signatures", &[("environments/staging.yaml", Some(staging))]);
    shop.push("1");
    shop.healthy("dev", "web-1").await;
    shop.eventually("staging asks for signatures", async || {
        shop.world.file(&shop.config(), "environments/staging.yaml").is_some_and(|text| text.contains("verify"))
            && shop.environment("staging").await.admitted.is_some()
    })
    .await;
    let waits = shop.promote("staging").await;
    assert_eq!(waits.status.phase, PromotionPhase::Waiting, "{waits:?}");
    let message = &waits.status.message;
    for words in ["of shop/web by ada is not signed: it has none", "git commit --amend -S", "trimtab key add"] {
        assert!(message.contains(words), "{words:?} is missing in: {message}");
    }
    shop.world.register("ada");
    shop.reconciler.wake();
    shop.healthy("staging", "web-1").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_gate_names_a_commit_by_twelve_digits() {
    let shop = Shop::open().await;
    let starter = plan::policy::STARTER.iter().find(|(name, _)| *name == "signed-commits").unwrap().1;
    shop.policy("signed-commits", Some(&starter.replace("production: true", "environments: [dev]")));
    shop.knows(&["signed-commits"]).await;
    shop.push("1");
    let mut message = String::new();
    shop.eventually("it waits for an approval", async || {
        let held = shop.reconciler.explain(&shop.project(), &shop.web(), &name("dev")).await;
        let gate = held.ok().and_then(|held| held.gates.into_iter().find(|g| g.name == GateName::Approvals));
        message = gate.map(|gate| gate.message).unwrap_or_default();
        message.contains("signed-commits")
    })
    .await;
    let builds = shop.reconciler.builds(&shop.project()).await.unwrap();
    let commit = builds[0].spec.commit.as_str();
    let told = format!("commit {} is not signed by anybody who is known", &commit[..12]);
    assert!(message.contains(&told) && !message.contains(&commit[..13]), "{message}");
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_open_changes_is_not_worked_out_again() {
    let shop = Shop::open().await;
    for number in ["1", "2"] {
        shop.push(number);
        shop.healthy("dev", &format!("web-{number}")).await;
    }
    let rule = "match: {environments: [staging], kinds: [Deployment]}\nrules: [{expression: object.spec.replicas > LEAST, message: too few Pods}]\naction: deny\n";
    let reviewed = "changes: reviewed\npromotion: {from: [dev], strategy: Manual}\n";
    shop.edit("reviewed", &[("environments/staging.yaml", Some(reviewed))]);
    shop.eventually("staging is reviewed", async || shop.environment("staging").await.reviewed).await;
    let propose = async |build: &str| {
        let build: BuildId = name(build);
        let wish =
            Wish { component: Some(shop.web()), build: Some(build), ..Wish::new(Class::Promote, &name("staging")) };
        match shop.reconciler.request(&shop.project(), wish, "ada").await {
            Err(Refusal::Opened(opened)) => opened.number,
            other => panic!("no Change was opened: {other:?}"),
        }
    };
    // Newest first.
    let list = async || {
        let all = shop.reconciler.all_changes(&shop.project(), 0).await.unwrap();
        let why = "denied for staging by policy some: Deployment.apps shop-staging/web: too few Pods";
        all.iter().for_each(|one| assert!(one.blocked.iter().any(|told| told == why), "{:?}", one.blocked));
        all.iter().map(|one| one.change.latest().commit.clone()).collect::<Vec<CommitId>>()
    };
    let read = |commits: &[CommitId]| commits.iter().map(|commit| shop.world.logged(commit)).collect::<Vec<usize>>();
    propose("web-1").await;
    propose("web-2").await;
    shop.policy("some", Some(&rule.replace("LEAST", "1")));
    shop.knows(&["some"]).await;
    let two = list().await;
    let known = read(&two);
    assert_eq!((list().await, read(&two)), (two.clone(), known.clone()), "nothing moved: nothing is read again");
    shop.policy("some", Some(&rule.replace("LEAST", "2")));
    shop.eventually("the policy is another", async || {
        let all = shop.reconciler.policies(&shop.project()).await.unwrap();
        all.iter().filter_map(|one| one.file.as_ref()).any(|file| file.rules[0].expression.ends_with("> 2"))
    })
    .await;
    list().await;
    assert!(read(&two).iter().zip(&known).all(|(now, then)| now > then), "each is judged anew");
    shop.rests().await;
}
