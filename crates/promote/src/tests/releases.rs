//! Releases: sets of pins that move, are certified and go back together.

use super::world::{World, component, env};
use model::config::Strategy;
use model::journal::{EntryKind, detail};
use model::records::{BuildPhase, Class, PromotionPhase};
use model::{BuildId, Version};

const BUILT: BuildPhase = BuildPhase::Succeeded;

fn build(name: &str, number: u64) -> BuildId {
    BuildId { component: component(name), number }
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn runs(world: &World, environment: &str) -> String {
    world.admitted(environment).unwrap().label().unwrap_or_else(|| "pins".to_owned())
}

/// web-1 and api-1 are 1.0.0, web-2 and api-1 are 1.1.0; 1.0.0 is in staging.
fn train() -> World {
    let mut world = World::new();
    world.build("web", BUILT);
    world.build("api", BUILT);
    world.settle();
    world.draft("1.0.0", "dev");
    world.settle();
    world.ask_release(Class::Promote, "staging", "1.0.0");
    world.settle();
    world.build("web", BUILT);
    world.settle();
    world.draft("1.1.0", "dev");
    world.settle();
    world
}

#[test]
fn a_release_gets_its_tag_and_moves_by_one_commit() {
    let mut world = train();
    assert_eq!(world.tags.len(), 2);
    assert_eq!(world.runs(), "dev api-1,web-2 | staging api-1,web-1 | prod -");
    assert_eq!(runs(&world, "staging"), "1.0.0");
    let before = world.commits.len();
    let name = world.ask_release(Class::Promote, "staging", "1.1.0");
    world.settle();
    assert_eq!((runs(&world, "staging").as_str(), world.commits.len()), ("1.1.0", before + 1));
    assert_eq!(world.head().0.subject, "staging: 1.0.0 → 1.1.0");
    let status = &world.promotion(&name).status;
    assert_eq!((status.phase, status.change.as_str()), (PromotionPhase::Succeeded, "1.0.0 → 1.1.0"));
    let told = world.journal.iter().filter(|e| e.kind == EntryKind::Released).count();
    assert_eq!(told, 2);
    let again = world.ask_release(Class::Promote, "staging", "1.1.0");
    world.settle();
    assert_eq!(world.phase(&again), (PromotionPhase::Succeeded, "1.1.0 is in staging already"));
}

#[test]
fn a_release_that_does_not_exist_is_refused_and_a_file_without_a_tag_is_none() {
    let mut world = train();
    let name = world.ask_release(Class::Promote, "staging", "2.0.0");
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Failed, "there is no release 2.0.0; there is: 1.1.0, 1.0.0"));
    world.edit("prod", |state| state.file.release = Some(version("2.0.0")));
    world.settle();
    let problems = &world.decide().environments[&env("prod")].problems;
    assert!(problems[0].contains("environments/prod.yaml: release: there is no release 2.0.0"), "{problems:?}");
}

#[test]
fn promoting_a_release_removes_the_pins_beside_in_the_same_commit() {
    let mut world = train();
    world.ask(Class::Promote, "staging", Some("web"), Some(&build("web", 2)));
    world.settle();
    assert_eq!(runs(&world, "staging"), "1.0.0 + web-2");
    assert_eq!(world.head().0.subject, "staging: web web-1 → web-2");
    let before = world.commits.len();
    world.ask_release(Class::Promote, "staging", "1.1.0");
    world.settle();
    assert_eq!((runs(&world, "staging").as_str(), world.commits.len()), ("1.1.0", before + 1));
    assert!(world.head().1[&env("staging")].as_ref().unwrap().pins.is_empty(), "no pin file is left");
}

#[test]
fn an_uncertified_release_cannot_enter_what_requires_it() {
    let mut world = train();
    world.rule("prod", |rule| rule.requires.certified = true);
    world.settle();
    // 1.0.0 runs in staging, healthy: that is all that is asked of it.
    assert_eq!(world.told(EntryKind::Certified, "staging").len(), 1);
    let name = world.ask_release(Class::Promote, "prod", "1.1.0");
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Waiting);
    assert!(world.phase(&name).1.contains("1.1.0 is not certified in staging"), "{}", world.phase(&name).1);
    let alone = world.ask(Class::Promote, "prod", Some("web"), Some(&build("web", 1)));
    world.settle();
    assert_eq!(world.phase(&alone).0, PromotionPhase::Failed);
    assert!(world.phase(&alone).1.contains("prod takes certified releases only"), "{}", world.phase(&alone).1);
    world.ask_release(Class::Promote, "staging", "1.1.0");
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
    assert_eq!(runs(&world, "prod"), "1.1.0");
}

#[test]
fn a_release_with_a_pin_beside_is_not_certified() {
    let mut world = train();
    world.ask(Class::Promote, "staging", Some("web"), Some(&build("web", 2)));
    world.settle();
    world.rule("prod", |rule| rule.requires.certified = true);
    assert!(world.told(EntryKind::Certified, "staging").is_empty());
    let refused = crate::certify(&world.facts(), &version("1.0.0"), &env("staging"), "eve", "").unwrap_err();
    assert!(refused.starts_with("staging runs 1.0.0 + web-2, not 1.0.0 as a whole"), "{refused}");
}

#[test]
fn certification_waits_for_soak_and_checks() {
    let mut world = train();
    world.rule("prod", |rule| {
        rule.requires.certified = true;
        rule.requires.soak = Some("1h".parse().unwrap());
        rule.requires.checks = vec!["acceptance".into()];
    });
    assert!(world.told(EntryKind::Certified, "staging").is_empty());
    world.check("acceptance", "1.0.0", "staging", "passed");
    world.settle();
    assert!(world.told(EntryKind::Certified, "staging").is_empty(), "it has not soaked");
    world.sleep();
    let told = world.told(EntryKind::Certified, "staging");
    assert_eq!((told.len(), told[0].detail(detail::RELEASE)), (1, Some("1.0.0")));
    assert!(told[0].reason.contains("check acceptance passed"), "{}", told[0].reason);
    world.ask_release(Class::Promote, "prod", "1.0.0");
    world.settle();
    assert_eq!(runs(&world, "prod"), "1.0.0");
    assert!(world.decide().environments[&env("staging")].certified);
}

#[test]
fn a_person_certifies_what_runs_and_nothing_else() {
    let mut world = train();
    world.rule("prod", |rule| {
        rule.requires.certified = true;
        rule.requires.checks = vec!["acceptance".into()];
    });
    for (what, at, why) in [
        ("1.1.0", "staging", "staging runs 1.0.0, not 1.1.0 as a whole: what runs there can be certified there"),
        ("1.0.0", "prod", "prod runs no release, not 1.0.0 as a whole: what runs there can be certified there"),
    ] {
        assert_eq!(crate::certify(&world.facts(), &version(what), &env(at), "eve", "").unwrap_err(), why);
    }
    let entry = crate::certify(&world.facts(), &version("1.0.0"), &env("staging"), "eve", "tested by hand");
    world.tell(entry).unwrap();
    assert!(crate::certify(&world.facts(), &version("1.0.0"), &env("staging"), "eve", "").is_err());
    assert_eq!(world.told(EntryKind::Certified, "staging")[0].actor, "eve");
}

#[test]
fn one_failure_rolls_the_set_back_by_one_commit() {
    let mut world = train();
    let before = world.commits.len();
    let name = world.ask_release(Class::Promote, "staging", "1.1.0");
    world.settle_with(|b| Some(if b.number == 2 { EntryKind::Failed } else { EntryKind::Healthy }));
    assert_eq!(world.phase(&name).0, PromotionPhase::Failed);
    assert_eq!((runs(&world, "staging").as_str(), world.commits.len()), ("1.0.0", before + 2));
    assert_eq!(world.head().0.subject, "staging: rollback 1.1.0 → 1.0.0");
    assert_eq!(world.phase(&format!("staging-undo-{name}")).0, PromotionPhase::Succeeded);
}

#[test]
fn a_rollback_of_an_environment_puts_the_release_back_as_a_set() {
    let mut world = train();
    // 1.2.0 brings a component that was not there before.
    world.build("job", BUILT);
    world.settle();
    world.draft("1.2.0", "dev");
    world.settle();
    world.ask_release(Class::Promote, "staging", "1.2.0");
    world.settle();
    assert_eq!(world.runs(), "dev api-1,job-1,web-2 | staging api-1,job-1,web-2 | prod -");
    let before = world.commits.len();
    world.ask(Class::Rollback, "staging", None, None);
    world.settle();
    assert_eq!(world.runs(), "dev api-1,job-1,web-2 | staging api-1,web-1 | prod -");
    assert_eq!((runs(&world, "staging").as_str(), world.commits.len()), ("1.0.0", before + 1));
    // To a release by name, and what never was there.
    world.ask_release(Class::Rollback, "staging", "1.2.0");
    world.settle();
    assert_eq!(runs(&world, "staging"), "1.2.0");
    let never = world.ask_release(Class::Rollback, "staging", "1.1.0");
    world.settle();
    let why = "1.1.0 never was in staging: a rollback goes back to what was there";
    assert_eq!(world.phase(&never), (PromotionPhase::Failed, why));
}

#[test]
fn one_component_of_a_release_goes_back_and_the_release_says_so() {
    let mut world = train();
    world.ask_release(Class::Promote, "staging", "1.1.0");
    world.settle();
    world.ask(Class::Rollback, "staging", Some("web"), None);
    world.settle();
    assert_eq!(runs(&world, "staging"), "1.1.0 + web-1");
    assert_eq!(world.runs(), "dev api-1,web-2 | staging api-1,web-1 | prod -");
}

#[test]
fn auto_takes_the_newest_certified_release() {
    let mut world = train();
    world.rule("prod", |rule| {
        rule.requires.certified = true;
        rule.strategy = Strategy::Auto;
    });
    world.settle();
    assert_eq!(runs(&world, "prod"), "1.0.0");
    world.ask_release(Class::Promote, "staging", "1.1.0");
    world.settle();
    assert_eq!(runs(&world, "prod"), "1.1.0");
}

#[test]
fn a_release_set_by_hand_is_held_like_any_other_edit() {
    let mut world = train();
    world.rule("prod", |rule| rule.approvals.count = 1);
    let commit = world.edit("prod", |state| state.file.release = Some(version("1.0.0")));
    world.settle();
    let held = world.decide().environments[&env("prod")].held.clone().expect("it is held");
    assert_eq!((held.change.as_str(), held.reason.as_str()), ("1.0.0", "0 of 1 approvals"));
    world.approve(&format!("prod-commit-{}", commit.short()), "eve").unwrap();
    world.settle();
    assert_eq!(runs(&world, "prod"), "1.0.0");
}
