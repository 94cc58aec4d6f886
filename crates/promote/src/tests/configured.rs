//! Configuration with releases, gates and approvals: what is certified, soaks and is gone back from is a build with its
//! configuration.

use super::configuration::world;
use super::world::{World, env};
use model::config::Strategy;
use model::journal::EntryKind;
use model::records::{BuildPhase, Class, GateName, PromotionPhase};
use model::{BuildId, CommitId, Digest};
use std::collections::BTreeMap;

/// 1.0.0 is web-1 with the first configuration, 1.1.0 the same build with the second; 1.0.0 runs in staging.
fn train() -> (World, BuildId, [CommitId; 2]) {
    let (mut world, build, first) = world();
    world.draft("1.0.0", "dev");
    world.settle();
    world.ask_release(Class::Promote, "staging", "1.0.0");
    world.settle();
    let second = world.configure(&build, "b");
    world.settle();
    assert_eq!(world.config_in("dev"), second);
    world.draft("1.1.0", "dev");
    world.settle();
    (world, build, [first, second])
}

fn label(world: &World, environment: &str) -> String {
    world.admitted(environment).unwrap().label().unwrap_or_default()
}

#[test]
fn a_release_moves_its_configuration_and_takes_it_back() {
    let (mut world, build, [first, second]) = train();
    assert_eq!(world.config_in("staging"), first);
    world.ask_release(Class::Promote, "staging", "1.1.0");
    world.settle();
    assert_eq!((label(&world, "staging").as_str(), world.config_in("staging")), ("1.1.0", second.clone()));
    // What is set for one component by a newer commit stands beside the release.
    let third = world.configure(&build, "c");
    world.settle();
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!((label(&world, "staging").as_str(), world.config_in("staging")), ("1.1.0 + web-1", third));
    world.ask(Class::Rollback, "staging", None, None);
    world.settle();
    assert_eq!((label(&world, "staging").as_str(), world.config_in("staging")), ("1.1.0", second));
    world.ask(Class::Rollback, "staging", None, None);
    world.settle();
    assert_eq!((label(&world, "staging").as_str(), world.config_in("staging")), ("1.0.0", first));
}

#[test]
fn a_rollback_to_a_release_leaves_the_secrets_of_today() {
    let (mut world, ..) = train();
    world.ask_release(Class::Promote, "staging", "1.1.0");
    world.settle();
    let secrets = BTreeMap::from([("db".parse().unwrap(), Digest::of(b"new"))]);
    world.edit("staging", |state| state.secrets = secrets.clone());
    world.settle();
    world.ask_release(Class::Rollback, "staging", "1.0.0");
    world.settle();
    assert_eq!((label(&world, "staging").as_str(), world.admitted("staging").unwrap().secrets), ("1.0.0", secrets));
}

#[test]
fn the_strategy_takes_no_release_with_configuration_that_somebody_went_back_from() {
    let (mut world, build, [first, second]) = train();
    world.rule("prod", |rule| {
        rule.requires.certified = true;
        rule.strategy = Strategy::Auto;
    });
    world.settle();
    world.ask_release(Class::Promote, "staging", "1.1.0");
    world.settle();
    assert_eq!((label(&world, "prod").as_str(), world.config_in("prod")), ("1.1.0", second.clone()));
    let name = world.ask_release(Class::Rollback, "prod", "1.0.0");
    world.spec(&name).quarantine = Some("2h".parse().unwrap());
    world.settle();
    assert_eq!((label(&world, "prod").as_str(), world.config_in("prod")), ("1.0.0", first));
    assert!(world.decide().environments[&env("prod")].quarantined.is_empty(), "the build is not to blame");
    // 1.2.0 has the same by another commit.
    world.configure(&build, "other");
    world.settle();
    let same = world.configure(&build, "b");
    world.settle();
    world.draft("1.2.0", "dev");
    world.settle();
    world.ask_release(Class::Promote, "staging", "1.2.0");
    world.settle();
    assert_eq!((world.config_in("staging"), label(&world, "prod").as_str()), (same, "1.0.0"));
    // Until its time is over.
    world.sleep();
    assert_eq!(label(&world, "prod"), "1.2.0");
}

#[test]
fn a_certificate_is_of_what_runs_with_its_configuration() {
    let (mut world, ..) = train();
    world.rule("prod", |rule| rule.requires.certified = true);
    assert_eq!(world.told(EntryKind::Certified, "staging").len(), 1);
    // The build of 1.1.0 was healthy in staging, with other configuration.
    let name = world.ask_release(Class::Promote, "prod", "1.1.0");
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "1.1.0 is not certified in staging"));
    world.ask_release(Class::Promote, "staging", "1.1.0");
    world.settle_with(|_| None);
    assert_eq!(world.told(EntryKind::Certified, "staging").len(), 1, "it is not healthy yet");
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
}

#[test]
fn new_configuration_soaks_anew() {
    let (mut world, build, _) = world();
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    world.rule("prod", |rule| rule.requires.soak = Some("30m".parse().unwrap()));
    world.ticks += 3600;
    let second = world.configure(&build, "b");
    world.settle();
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    let name = world.ask(Class::Promote, "prod", Some("web"), None);
    world.settle();
    let gate = world.promotion(&name).status.gates.iter().find(|gate| gate.name == GateName::Soak).unwrap();
    let told = world.told(EntryKind::Healthy, "staging");
    assert_eq!(gate.until.unwrap().duration_since(told.last().unwrap().at).as_mins(), 30, "{gate:?}");
    world.sleep();
    assert_eq!(world.config_in("prod"), second);
}

#[test]
fn who_wrote_the_configuration_does_not_approve_it() {
    let (mut world, build, _) = world();
    world.builds[0].spec.pushed_by = "bob".into();
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    world.rule("staging", |rule| rule.approvals.count = 1);
    let second = world.configure(&build, "b");
    let commit = world.commits.iter_mut().find(|(commit, _)| commit.id == second).unwrap();
    commit.0.author = "Eve".into();
    world.settle();
    let name = world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "0 of 1 approvals"));
    let refused = world.approve(&name, "eve").unwrap_err();
    assert!(refused.starts_with("eve asked for it, wrote it"), "{refused}");
    world.approve(&name, "carol").unwrap();
    world.settle();
    assert_eq!(world.config_in("staging"), second);
}

#[test]
fn newer_configuration_comes_before_one_that_waits() {
    let (mut world, build, first) = world();
    world.configure(&build, "lacks a value for dev");
    world.settle();
    let waiting = |world: &World| world.promotions.iter().filter(|p| !p.status.phase.is_final()).count();
    assert_eq!((world.config_in("dev"), waiting(&world)), (first, 1));
    let third = world.configure(&build, "b");
    world.settle();
    assert_eq!((world.config_in("dev"), waiting(&world)), (third, 0));
    let superseded = world.promotions.iter().filter(|p| p.status.phase == PromotionPhase::Superseded).count();
    assert_eq!(superseded, 1);
}

#[test]
fn what_cannot_be_given_passes_in_no_emergency() {
    let (mut world, build, _) = world();
    let lacking = world.configure(&build, "lacks a value for staging");
    let name = world.ask(Class::Promote, "staging", Some("web"), Some(&build));
    world.spec(&name).config = Some(lacking.clone());
    world.spec(&name).overriding = Some("fire".into());
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "a value for staging"));
    // A release with it waits as well.
    world.give(&build, &lacking, "b");
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
    let next = world.build("web", BuildPhase::Succeeded);
    world.give(&next, &lacking, "b");
    world.settle();
    world.draft("1.0.0", "dev");
    world.settle();
    world.give(&next, &lacking, "lacks another");
    let name = world.ask_release(Class::Promote, "staging", "1.0.0");
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "another"));
}
