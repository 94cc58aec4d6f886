//! Policies and signatures as gates.

use super::world::{World, env};
use crate::Finding;
use model::BuildId;
use model::journal::EntryKind;
use model::policy::PolicyAction;
use model::records::{BuildPhase, Class, GateName, GateState, PromotionPhase};
use model::views::PolicyResult;
use std::sync::Arc;

const BUILT: BuildPhase = BuildPhase::Succeeded;

fn finding(action: PolicyAction) -> Finding {
    let result = PolicyResult { policy: "few".into(), action, object: None, message: "too many".into() };
    Finding { result, actor: None, release: None }
}

impl World {
    /// A build breaks something in an environment, whatever its configuration.
    fn breaks(&mut self, environment: &str, build: &BuildId, finding: Finding) {
        self.evidence.ruled.insert(env(environment));
        let found = Arc::new(vec![finding]);
        for (commit, _) in self.commits_made() {
            self.evidence.findings.insert((env(environment), (build.clone(), commit)), found.clone());
        }
    }

    fn lacks(&mut self, environment: &str, build: &BuildId, why: &str) {
        self.evidence.guarded.insert(env(environment));
        for (commit, _) in self.commits_made() {
            self.evidence.unsigned.insert((env(environment), (build.clone(), commit)), Arc::new(vec![why.to_owned()]));
        }
    }

    fn commits_made(&self) -> Vec<(model::CommitId, String)> {
        self.facts().log.iter().map(|commit| (commit.id.clone(), commit.subject.clone())).collect()
    }
}

/// web-1 and web-2 are healthy in dev, web-1 is in staging.
fn two() -> (World, BuildId, BuildId) {
    let mut world = World::new();
    let first = world.build("web", BUILT);
    world.settle();
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    let second = world.build("web", BUILT);
    world.settle();
    (world, first, second)
}

#[test]
fn what_a_policy_denies_is_refused_a_person_and_waits_for_the_strategy() {
    let (mut world, first, second) = two();
    world.breaks("staging", &second, finding(PolicyAction::Deny));
    let name = world.ask(Class::Promote, "staging", Some("web"), Some(&second));
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Failed, "denied by policy few: too many"));
    assert_eq!(world.told(EntryKind::Refused, "staging").len(), 1);
    // Nobody passes it in an emergency either.
    let name = world.ask(Class::Promote, "staging", Some("web"), Some(&second));
    world.spec(&name).overriding = Some("it burns".into());
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Failed);
    // A hand edit is held.
    let pin = world.pin(&second);
    world.edit("staging", |state| drop(state.pins.insert(second.component.clone(), pin)));
    world.breaks("staging", &second, finding(PolicyAction::Deny));
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-1 | prod -");
    assert!(world.told(EntryKind::Held, "staging")[0].reason.contains("denied by policy few"));
    world.revert("staging");
    world.settle();
    // A rollback is no way around it.
    world.evidence = crate::Evidence::default();
    world.ask(Class::Promote, "staging", Some("web"), Some(&second));
    world.settle();
    world.breaks("staging", &first, finding(PolicyAction::Deny));
    let name = world.ask(Class::Rollback, "staging", None, None);
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Failed, "denied by policy few: too many"));
}

#[test]
fn a_policy_that_asks_for_an_approval_is_answered_by_somebody_else_and_binds_to_what_it_says() {
    let (mut world, first, second) = two();
    world.breaks("staging", &second, finding(PolicyAction::RequireApproval));
    let name = world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "0 of 1 approvals, policy few: too many"));
    assert!(world.approve(&name, "ada").unwrap_err().contains("somebody else"));
    world.approve(&name, "olga").unwrap();
    // It says something else now: that was not what somebody agreed to.
    let mut other = finding(PolicyAction::RequireApproval);
    other.result.message = "far too many".into();
    world.breaks("staging", &second, other);
    world.settle();
    assert_eq!(world.phase(&name).1, "0 of 1 approvals, policy few: far too many");
    world.approve(&name, "olga").unwrap();
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-2 | prod -");
    // Going back takes no approval.
    world.breaks("staging", &first, finding(PolicyAction::RequireApproval));
    world.ask(Class::Rollback, "staging", None, None);
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-1 | prod -");
}

#[test]
fn a_warning_is_an_open_gate_and_other_peoples_findings_are_nobody_elses() {
    let (mut world, _, second) = two();
    world.breaks("staging", &second, finding(PolicyAction::Warn));
    let name = world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-2 | prod -");
    let gates = &world.promotion(&name).status.gates;
    let gate = gates.iter().find(|gate| gate.name == GateName::Policy).unwrap();
    assert_eq!((gate.state, gate.message.as_str()), (GateState::Open, "warning: policy few: too many"));
    let third = world.build("web", BUILT);
    world.settle();
    let bobs = Finding { actor: Some("bob".into()), ..finding(PolicyAction::Deny) };
    world.breaks("staging", &third, bobs);
    let name = world.ask(Class::Promote, "staging", Some("web"), None);
    world.spec(&name).requested_by = "bob".into();
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Failed);
    let with_release = Finding { release: Some(Some("1.0.0".parse().unwrap())), ..finding(PolicyAction::Deny) };
    world.breaks("staging", &third, with_release);
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.runs(), "dev web-3 | staging web-3 | prod -");
}

#[test]
fn what_is_not_signed_waits_and_going_back_does_not_ask() {
    let (mut world, first, second) = two();
    world.lacks("staging", &second, "commit 1 by Eve is not signed");
    let name = world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "commit 1 by Eve is not signed"));
    world.evidence.unsigned.clear();
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-2 | prod -");
    world.lacks("staging", &first, "commit 0 by Eve is not signed");
    world.ask(Class::Rollback, "staging", None, None);
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-1 | prod -");
}

#[test]
fn a_commit_by_hand_that_is_not_signed_is_held() {
    let (mut world, ..) = two();
    let commit = world.edit("staging", |state| state.file.promotion.requires.certified = true);
    world.evidence.guarded.insert(env("staging"));
    world.evidence.unsigned_commits.insert((env("staging"), commit.clone()), "commit 2 by Eve is not signed".into());
    world.settle();
    let report = &world.decide().environments[&env("staging")];
    assert_eq!(report.held.as_ref().unwrap().reason, "commit 2 by Eve is not signed");
    assert!(!world.admitted("staging").unwrap().file.promotion.requires.certified);
    world.evidence.unsigned_commits.clear();
    world.settle();
    assert!(world.admitted("staging").unwrap().file.promotion.requires.certified);
}
