//! The rules of delivery, one test each.

use super::world::{World, component, env};
use crate::prospect;
use model::config::Strategy;
use model::journal::EntryKind;
use model::records::{BuildPhase, Class, GateName, GateState, PromotionPhase};
use model::{BuildId, ImageRef};

const BUILT: BuildPhase = BuildPhase::Succeeded;

/// dev runs web-1 and web-2, staging both one after the other.
fn two_in_staging() -> (World, BuildId, BuildId) {
    let mut world = World::new();
    let first = world.build("web", BUILT);
    world.settle();
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    let second = world.build("web", BUILT);
    world.settle();
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-2 | prod -");
    (world, first, second)
}

#[test]
fn a_new_project_is_admitted_without_promotions() {
    let mut world = World::new();
    world.settle();
    assert!(world.promotions.is_empty());
    assert_eq!(world.journal.len(), 3, "one entry per environment");
    assert!(world.decide().environments.values().all(|r| r.admitted.is_some() && r.held.is_none()));
}

#[test]
fn auto_takes_the_newest_build_that_succeeded_with_one_commit() {
    let mut world = World::new();
    world.settle();
    world.build("web", BUILT);
    world.build("web", BUILT);
    world.build("web", BuildPhase::Failed);
    let before = world.commits.len();
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging - | prod -");
    assert_eq!(world.commits.len(), before + 1);
    assert_eq!(world.head().0.subject, "dev: web-2");
    assert_eq!(world.phase("dev-web-2").0, PromotionPhase::Succeeded);
    let gates = &world.promotion("dev-web-2").status.gates;
    assert!(gates.len() >= 4 && gates.iter().all(|g| g.state == GateState::Open), "{gates:?}");
    world.build("web", BUILT);
    world.settle();
    assert_eq!(world.head().0.subject, "dev: web web-2 → web-4");
}

#[test]
fn a_command_promotes_what_was_healthy_before() {
    let mut world = World::new();
    world.build("web", BUILT);
    world.settle_with(|_| None);
    let name = world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle_with(|_| None);
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "web-1 has not been healthy in dev"));
    let before = world.commits.len();
    world.settle();
    assert_eq!(world.runs(), "dev web-1 | staging web-1 | prod -");
    assert_eq!((world.phase(&name).0, world.commits.len()), (PromotionPhase::Succeeded, before + 1));
    let again = world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.phase(&again), (PromotionPhase::Succeeded, "web-1 is in staging and there is no newer one"));
    assert_eq!(world.commits.len(), before + 1);
}

#[test]
fn requests_that_can_never_pass_fail_and_say_why() {
    let cases: [(Class, &str, Option<u64>, &str); 5] = [
        (Class::Promote, "staging", Some(9), "there is no build web-9"),
        (Class::Promote, "staging", Some(2), "the build web-2 failed"),
        (
            Class::Promote,
            "prod",
            Some(1),
            "only a commit by hand moves prod: change its files in the config repository",
        ),
        (Class::Rollback, "staging", None, "there is nothing in staging to go back to: what is there is the first"),
        (Class::Rollback, "staging", Some(2), "web-2 never was in staging: a rollback goes back to what was there"),
    ];
    for (class, to, number, why) in cases {
        let mut world = World::new();
        world.build("web", BUILT);
        world.build("web", BuildPhase::Failed);
        world.edit("prod", |state| state.file.promotion.strategy = Strategy::Never);
        world.settle();
        world.ask(Class::Promote, "staging", Some("web"), None);
        world.settle();
        let before = world.commits.len();
        let build = number.map(|number| BuildId { component: component("web"), number });
        let name = world.ask(class, to, Some("web"), build.as_ref());
        world.settle();
        assert_eq!(world.phase(&name), (PromotionPhase::Failed, why));
        assert_eq!((world.told(EntryKind::Refused, to).len(), world.commits.len()), (1, before), "{why}");
    }
}

#[test]
fn a_rollback_is_one_commit_and_quarantines_the_build() {
    let (mut world, first, second) = two_in_staging();
    let before = world.commits.len();
    let name = world.ask(Class::Rollback, "staging", None, None);
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-1 | prod -");
    assert_eq!(world.commits.len(), before + 1);
    let commit = &world.head().0;
    assert_eq!(commit.subject, "staging: rollback web web-2 → web-1");
    let trailer = commit.trailer("Trimtab-Quarantine").unwrap();
    assert!(trailer.starts_with("web=web-2 until 2027-02-14T"), "{trailer}: 30 days");
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
    assert_eq!(world.told(EntryKind::RolledBack, "staging").len(), 1);
    assert!(world.decide().environments[&env("staging")].quarantined.contains_key(&second));
    // A plain request does not take it again; a second rollback finds nothing before the first build.
    let plain = world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.phase(&plain).0, PromotionPhase::Succeeded);
    assert_eq!(world.admitted("staging").unwrap().pins[&component("web")].build, first);
    // Asked for by name it comes back, and is not quarantined any more.
    world.ask(Class::Promote, "staging", Some("web"), Some(&second));
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-2 | prod -");
    assert!(world.decide().environments[&env("staging")].quarantined.is_empty());
}

#[test]
fn auto_does_not_take_what_was_rolled_back_but_takes_the_next() {
    let mut world = World::new();
    world.build("web", BUILT);
    world.settle();
    world.build("web", BUILT);
    world.settle();
    world.ask(Class::Rollback, "dev", None, None);
    world.settle();
    assert_eq!(world.runs(), "dev web-1 | staging - | prod -");
    world.build("web", BUILT);
    world.settle();
    assert_eq!(world.runs(), "dev web-3 | staging - | prod -");
}

#[test]
fn rollbacks_go_further_back_each_time_and_to_a_named_build() {
    let (mut world, first, _) = two_in_staging();
    world.build("web", BUILT);
    world.settle();
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    for expect in ["web-2", "web-1"] {
        world.ask(Class::Rollback, "staging", Some("web"), None);
        world.settle();
        assert_eq!(world.runs(), format!("dev web-3 | staging {expect} | prod -"));
    }
    let third = BuildId { component: component("web"), number: 3 };
    world.ask(Class::Rollback, "staging", Some("web"), Some(&third));
    world.settle();
    world.ask(Class::Rollback, "staging", Some("web"), Some(&first));
    world.settle();
    assert_eq!(world.runs(), "dev web-3 | staging web-1 | prod -");
}

#[test]
fn a_revert_by_hand_does_what_the_command_does() {
    let (mut world, _, second) = two_in_staging();
    world.revert("staging");
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-1 | prod -");
    assert!(world.decide().environments[&env("staging")].quarantined.contains_key(&second));
    world.revert("staging");
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-2 | prod -", "the revert of the revert");
    let by_hand = world.promotions.iter().filter(|p| p.spec.class == Class::Commit);
    assert!(by_hand.clone().count() == 2 && by_hand.clone().all(|p| p.status.phase == PromotionPhase::Succeeded));
}

#[test]
fn what_is_described_no_more_leaves_auto_environments_and_goes_on_by_promotion() {
    let (mut world, _, second) = two_in_staging();
    let commits = world.commits.len();
    world.undescribed.insert(component("web"));
    world.settle();
    assert_eq!(world.runs(), "dev - | staging web-2 | prod -");
    assert_eq!(world.commits.len(), commits + 1);
    assert_eq!(world.head().0.subject, "dev: web web-2 → none");
    // Elsewhere somebody asks for it, as for a change.
    let name = world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(
        (world.runs().as_str(), world.phase(&name).0),
        ("dev - | staging - | prod -", PromotionPhase::Succeeded)
    );
    let name = world.ask(Class::Promote, "prod", Some("web"), None);
    world.settle();
    assert_eq!(
        world.phase(&name),
        (PromotionPhase::Succeeded, "web is described nowhere any more, and is not in prod")
    );
    // Described again, the newest build comes again.
    world.undescribed.clear();
    world.settle();
    assert_eq!(world.admitted("dev").unwrap().pins[&component("web")].build, second);
}

#[test]
fn a_removal_waits_for_the_environments_before() {
    let (mut world, _, _) = two_in_staging();
    world.ask(Class::Promote, "prod", Some("web"), None);
    world.settle();
    world.undescribed.insert(component("web"));
    world.settle();
    let name = world.ask(Class::Promote, "prod", Some("web"), None);
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "web still runs in staging, which comes before"));
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.runs(), "dev - | staging - | prod -");
}

#[test]
fn pins_by_hand_are_held_until_their_gates_open() {
    let mut world = World::new();
    let built = world.build("web", BUILT);
    let unbuilt = BuildId { component: component("web"), number: 99 };
    world.settle();
    let pin = world.pin(&unbuilt);
    world.edit("prod", |state| drop(state.pins.insert(component("web"), pin)));
    world.settle();
    let held = world.decide().environments[&env("prod")].held.clone().expect("it is held");
    assert_eq!(held.reason, "there is no build web-99");
    assert_eq!((held.change.as_str(), held.author.as_str()), ("web-99", "ada"));
    assert_eq!(world.told(EntryKind::Held, "prod").len(), 1);

    let pin = world.pin(&built);
    let commit = world.edit("prod", |state| drop(state.pins.insert(component("web"), pin)));
    world.settle();
    assert_eq!(world.runs(), "dev web-1 | staging - | prod -");
    let held = world.decide().environments[&env("prod")].held.clone().expect("it is held");
    assert_eq!((held.commit, held.reason.as_str()), (commit, "web-1 has not been healthy in staging"));
    assert_eq!(world.told(EntryKind::Held, "prod").len(), 2, "once per commit");
    let phases: Vec<_> =
        world.promotions.iter().filter(|p| p.spec.environment == env("prod")).map(|p| p.status.phase).collect();
    assert_eq!(phases, [PromotionPhase::Superseded, PromotionPhase::Waiting]);

    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.runs(), "dev web-1 | staging web-1 | prod web-1", "the gate opened");
}

#[test]
fn a_pin_must_name_what_was_built() {
    let mut world = World::new();
    let built = world.build("web", BUILT);
    let other = world.build("web", BUILT);
    world.settle();
    let foreign = ImageRef::recorded(&"shop".parse().unwrap(), &component("web"), &model::Digest::of(b"evil"));
    let source = world.pin(&built).source;
    for (change, why) in [("image", "made sha256:"), ("source", "is of commit")] {
        let mut pin = world.pin(&other);
        match change {
            "image" => pin.image = Some(foreign.clone()),
            _ => pin.source = source.clone(),
        }
        world.edit("dev", |state| drop(state.pins.insert(component("web"), pin)));
        world.settle();
        let held = world.decide().environments[&env("dev")].held.clone().expect("it is held");
        assert!(held.reason.contains(why), "{}", held.reason);
        assert_eq!(world.runs(), "dev web-2 | staging - | prod -");
    }
}

#[test]
fn a_commit_cannot_open_its_own_gate() {
    let mut world = World::new();
    let built = world.build("web", BUILT);
    world.settle();
    let pin = world.pin(&built);
    world.edit("prod", |state| {
        state.file.promotion.from.clear();
        state.pins.insert(component("web"), pin);
    });
    world.settle();
    assert_eq!(world.runs(), "dev web-1 | staging - | prod -");
    assert!(world.decide().environments[&env("prod")].held.is_some());
}

#[test]
fn nothing_moves_while_suspended() {
    let (mut world, ..) = two_in_staging();
    world.edit("staging", |state| state.file.suspend = true);
    world.build("web", BUILT);
    let name = world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert!(world.decide().environments[&env("staging")].suspended);
    assert!(world.admitted("staging").unwrap().file.suspend, "suspending is admitted at once");
    assert_eq!(world.runs(), "dev web-3 | staging web-2 | prod -");
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "staging is suspended (environments/staging.yaml)"));
    let pin = world.pin(&BuildId { component: component("web"), number: 1 });
    world.edit("staging", |state| drop(state.pins.insert(component("web"), pin)));
    world.settle();
    assert_eq!(world.runs(), "dev web-3 | staging web-2 | prod -");
    world.revert("staging");
    world.edit("staging", |state| state.file.suspend = false);
    world.settle();
    assert_eq!(world.runs(), "dev web-3 | staging web-3 | prod -");
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
}

#[test]
fn nonsense_leaves_the_last_good_state_and_the_other_environments_move() {
    let mut world = World::new();
    world.build("web", BUILT);
    world.settle();
    world.break_file("staging", "environments/staging.yaml:1:1: unknown field");
    let name = world.ask(Class::Promote, "staging", Some("web"), None);
    world.build("web", BUILT);
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging - | prod -");
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "environments/staging.yaml:1:1: unknown field"));
    assert_eq!(world.decide().environments[&env("staging")].problems.len(), 1);
    assert!(world.decide().environments[&env("staging")].admitted.is_some());
}

#[test]
fn what_becomes_degraded_fails_its_promotion() {
    let mut world = World::new();
    world.build("web", BUILT);
    world.settle();
    world.build("web", BUILT);
    world.settle_with(|b| Some(if b.number == 2 { EntryKind::Failed } else { EntryKind::Healthy }));
    assert_eq!(world.phase("dev-web-2"), (PromotionPhase::Failed, "failed"));
    let name =
        world.ask(Class::Promote, "staging", Some("web"), Some(&BuildId { component: component("web"), number: 2 }));
    world.settle_with(|_| None);
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "web-2 has not been healthy in dev"));
    let (build, gates) = prospect(&world.facts(), &env("staging"), &component("web")).expect("web-2 is newer");
    let shut: Vec<_> = gates.iter().filter(|g| g.state != GateState::Open).map(|g| g.name).collect();
    assert_eq!((build.number, shut), (2, vec![GateName::HealthyIn]));
}

#[test]
fn a_later_movement_supersedes_one_that_never_became_healthy() {
    let mut world = World::new();
    world.build("web", BUILT);
    world.settle_with(|_| None);
    assert_eq!(world.phase("dev-web-1").0, PromotionPhase::Admitted);
    world.build("web", BUILT);
    world.settle();
    assert_eq!(world.phase("dev-web-1"), (PromotionPhase::Superseded, "another movement came after it"));
    assert_eq!(world.phase("dev-web-2").0, PromotionPhase::Succeeded);
}

#[test]
fn of_two_requests_for_a_component_the_later_counts() {
    let (mut world, first, _) = two_in_staging();
    world.edit("staging", |state| state.file.suspend = true);
    let earlier = world.ask(Class::Promote, "staging", Some("web"), Some(&first));
    let third = world.build("web", BUILT);
    let later = world.ask(Class::Promote, "staging", Some("web"), Some(&third));
    world.settle();
    assert_eq!(world.phase(&earlier).0, PromotionPhase::Superseded);
    world.edit("staging", |state| state.file.suspend = false);
    world.settle();
    assert_eq!(world.phase(&later).0, PromotionPhase::Succeeded);
    assert_eq!(world.runs(), "dev web-3 | staging web-3 | prod -");
}

#[test]
fn components_move_one_by_one_and_a_set_by_hand_moves_at_once() {
    let mut world = World::new();
    let (web, api) = (world.build("web", BUILT), world.build("api", BUILT));
    world.settle();
    assert_eq!(world.runs(), "dev api-1,web-1 | staging - | prod -");
    let pins = [world.pin(&web), world.pin(&api)];
    world.edit("staging", |state| state.pins.extend(pins.map(|p| (p.build.component.clone(), p))));
    world.settle();
    assert_eq!(world.runs(), "dev api-1,web-1 | staging api-1,web-1 | prod -");
    let set = world.promotions.iter().find(|p| p.spec.class == Class::Commit).unwrap();
    assert_eq!((set.spec.component.as_ref(), set.status.change.as_str()), (None, "api-1, web-1"));
    world.build("web", BUILT);
    world.build("api", BUILT);
    world.settle();
    let pins = [2, 2].into_iter().zip(["web", "api"]).map(|(number, c)| BuildId { component: component(c), number });
    let pins: Vec<_> = pins.map(|b| world.pin(&b)).collect();
    world.edit("staging", |state| state.pins.extend(pins.into_iter().map(|p| (p.build.component.clone(), p))));
    world.settle();
    let before = world.commits.len();
    world.ask(Class::Rollback, "staging", None, None);
    world.settle();
    assert_eq!(world.runs(), "dev api-2,web-2 | staging api-1,web-1 | prod -", "a set goes back as a set");
    assert_eq!(world.commits.len(), before + 1);
}

#[test]
fn a_request_replaces_a_held_edit_of_its_component_and_waits_for_others() {
    let mut world = World::new();
    world.build("web", BUILT);
    world.build("api", BUILT);
    world.settle();
    let unbuilt = world.pin(&BuildId { component: component("web"), number: 99 });
    world.edit("staging", |state| drop(state.pins.insert(component("web"), unbuilt)));
    let other = world.ask(Class::Promote, "staging", Some("api"), None);
    world.settle();
    assert_eq!(world.phase(&other).0, PromotionPhase::Waiting);
    assert!(world.phase(&other).1.contains("held on main: there is no build web-99"), "{}", world.phase(&other).1);
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.runs(), "dev api-1,web-1 | staging api-1,web-1 | prod -");
}

#[test]
fn what_moves_to_a_data_plane_that_is_gone_waits_with_the_reason() {
    let mut world = World::new();
    world.edit("staging", |state| state.file.data_plane = Some("edge".parse().unwrap()));
    world.build("web", BUILT);
    world.settle();
    let why = "DataPlane edge unreachable: connection refused";
    world.unreachable.insert("edge".parse().unwrap(), why.into());
    let name = world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, why));
    assert_eq!(world.runs(), "dev web-1 | staging - | prod -", "others go on, nothing is committed there");
    let (_, gates) = prospect(&world.facts(), &env("staging"), &component("web")).unwrap();
    assert!(gates.iter().any(|g| g.name == GateName::DataPlane && g.state == GateState::Waiting), "{gates:?}");
    world.unreachable.clear();
    world.settle_with(|_| None);
    assert_eq!(
        (world.phase(&name), world.runs().as_str()),
        ((PromotionPhase::Admitted, ""), "dev web-1 | staging web-1 | prod -")
    );
    // Gone in the middle of a movement: it waits too.
    world.unreachable.insert("edge".parse().unwrap(), why.into());
    world.settle_with(|_| None);
    assert_eq!(world.phase(&name), (PromotionPhase::Admitted, why));
    // And the way to another data plane is open.
    world.edit("staging", |state| state.file.data_plane = None);
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
}
