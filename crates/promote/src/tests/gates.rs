//! Gates that are waited for: soak, checks, windows, approvals, change references, emergencies.

use super::world::{World, component, env};
use model::config::{ChangeRef, Strategy};
use model::journal::EntryKind;
use model::records::{BuildPhase, Class, GateName, GateState, PromotionPhase};
use model::window::{Manual, Selector, Window, WindowKind};
use model::{BuildId, Component};

const BUILT: BuildPhase = BuildPhase::Succeeded;

/// web-1 is healthy in dev and staging.
fn proven() -> (World, BuildId) {
    let mut world = World::new();
    let build = world.build("web", BUILT);
    world.settle();
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    (world, build)
}

fn web() -> Option<&'static str> {
    Some("web")
}

fn window(name: &str, kind: WindowKind, cron: &str, duration: &str) -> Window {
    Window {
        name: name.into(),
        kind,
        schedule: Some(cron.into()),
        duration: Some(duration.parse().unwrap()),
        from: None,
        to: None,
        time_zone: "Europe/Berlin".into(),
        selector: None,
        manual: Manual::Denied,
    }
}

#[test]
fn a_build_soaks_before_it_moves_and_the_next_look_is_known() {
    let (mut world, build) = proven();
    world.rule("prod", |rule| rule.requires.soak = Some("30m".parse().unwrap()));
    let name = world.ask(Class::Promote, "prod", web(), None);
    world.settle();
    let (phase, why) = world.phase(&name);
    assert_eq!(phase, PromotionPhase::Waiting);
    assert!(why.starts_with("web-1 soaks in staging for 30m, until 2027-01-15T08:"), "{why}");
    let until = world.promotion(&name).status.gates.iter().find(|g| g.name == GateName::Soak).unwrap().until;
    assert_eq!(world.decide().wake_at, until);
    let healthy = world.told(EntryKind::Healthy, "staging")[0].at;
    assert_eq!(world.sleep().duration_since(healthy).as_mins(), 30);
    assert_eq!(world.runs(), "dev web-1 | staging web-1 | prod web-1");
    assert_eq!(world.admitted("prod").unwrap().pins[&component("web")].build, build);
}

#[test]
fn a_soak_that_was_cut_short_does_not_count() {
    let (mut world, first) = proven();
    world.rule("prod", |rule| rule.requires.soak = Some("30m".parse().unwrap()));
    world.build("web", BUILT);
    world.settle();
    world.ask(Class::Promote, "staging", web(), None);
    world.settle();
    let name = world.ask(Class::Promote, "prod", web(), Some(&first));
    world.settle();
    let (phase, why) = world.phase(&name);
    assert_eq!(phase, PromotionPhase::Waiting);
    assert!(why.starts_with("web-1 was replaced in staging at") && why.ends_with("before it had soaked"), "{why}");
}

#[test]
fn a_strategy_auto_waits_for_soak_and_takes_the_newest_that_has_it() {
    let (mut world, _) = proven();
    world.rule("prod", |rule| {
        rule.strategy = Strategy::Auto;
        rule.requires.soak = Some("1h".parse().unwrap());
    });
    assert_eq!(world.runs(), "dev web-1 | staging web-1 | prod -");
    world.sleep();
    assert_eq!(world.runs(), "dev web-1 | staging web-1 | prod web-1");
}

#[test]
fn checks_must_have_passed_and_the_latest_result_counts() {
    let (mut world, _) = proven();
    world.rule("prod", |rule| rule.requires.checks = vec!["acceptance".into()]);
    let name = world.ask(Class::Promote, "prod", web(), None);
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "check acceptance of web-1 has not passed in staging"));
    world.check("acceptance", "web-1", "dev", "passed");
    world.check("acceptance", "web-1", "staging", "passed");
    world.check("acceptance", "web-1", "staging", "failed");
    world.settle();
    assert_eq!(world.phase(&name).1, "check acceptance of web-1 failed in staging");
    world.check("acceptance", "web-1", "staging", "passed");
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
}

#[test]
fn what_waits_for_a_window_says_until_when() {
    let (mut world, _) = proven();
    world.windows = vec![window("nights", WindowKind::Allow, "0 22 * * *", "2h")];
    world.rule("prod", |rule| rule.windows = vec!["nights".into()]);
    let name = world.ask(Class::Promote, "prod", web(), None);
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "window nights opens at 2027-01-15T21:00:00Z"));
    assert_eq!(world.sleep().to_string(), "2027-01-15T21:00:00Z");
    assert_eq!(world.runs(), "dev web-1 | staging web-1 | prod web-1");
}

#[test]
fn a_freeze_stops_auto_too_and_components_by_name() {
    let mut world = World::new();
    let mut freeze = window("fair", WindowKind::Deny, "0 8 * * fri", "12h");
    freeze.selector = Some(Selector { environments: vec![env("dev")], components: vec![component("web")] });
    world.windows = vec![freeze];
    world.build("web", BUILT);
    world.build("api", BUILT);
    world.settle();
    assert_eq!(world.runs(), "dev api-1 | staging - | prod -");
    assert_eq!(world.phase("dev-web-1").1, "freeze fair ends at 2027-01-15T19:00:00Z");
    world.sleep();
    assert_eq!(world.runs(), "dev api-1,web-1 | staging - | prod -");
}

#[test]
fn a_window_says_what_becomes_of_a_persons_request() {
    for (manual, expect) in [(Manual::Allowed, true), (Manual::NeedsApproval, false), (Manual::Denied, false)] {
        let (mut world, _) = proven();
        let mut nights = window("nights", WindowKind::Allow, "0 22 * * *", "2h");
        nights.manual = manual;
        world.windows = vec![nights];
        world.rule("prod", |rule| rule.windows = vec!["nights".into()]);
        let name = world.ask(Class::Promote, "prod", web(), None);
        world.settle();
        assert_eq!(world.phase(&name).0 == PromotionPhase::Succeeded, expect, "{manual:?}");
        if manual == Manual::NeedsApproval {
            assert_eq!(world.phase(&name).1, "0 of 1 approvals");
            world.approve(&name, "eve").unwrap();
            world.settle();
            assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
        }
    }
}

#[test]
fn a_window_that_is_gone_or_never_opens_is_a_clear_state() {
    for (windows, why) in [
        (vec![], "windows.yaml names no window nights"),
        (vec![window("nights", WindowKind::Allow, "0 0 30 2 *", "1h")], "window nights never opens again"),
        (
            vec![Window { time_zone: "Mars/Base".into(), ..window("nights", WindowKind::Allow, "0 1 * * *", "1h") }],
            "window nights: there is no time zone \"Mars/Base\"; zones are called Europe/Berlin, and so on",
        ),
    ] {
        let (mut world, _) = proven();
        world.rule("prod", |rule| rule.windows = vec!["nights".into()]);
        world.windows = windows;
        let name = world.ask(Class::Promote, "prod", web(), None);
        world.settle();
        assert_eq!(world.phase(&name), (PromotionPhase::Waiting, why));
        assert_eq!(world.decide().wake_at, None);
    }
}

#[test]
fn n_people_approve_and_none_of_them_is_the_author() {
    let (mut world, _) = proven();
    world.rule("prod", |rule| rule.approvals.count = 2);
    let name = world.ask(Class::Promote, "prod", web(), None);
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "0 of 2 approvals"));
    let refused = world.approve(&name, "Ada").unwrap_err();
    assert_eq!(refused, "Ada asked for it, wrote it or pushed a build in it: somebody else has to approve it");
    world.approve(&name, "eve").unwrap();
    world.approve(&name, "eve").unwrap();
    world.settle();
    assert_eq!(world.phase(&name).1, "1 of 2 approvals (eve)");
    world.approve(&name, "bob").unwrap();
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
    assert_eq!(world.told(EntryKind::Approved, "prod").len(), 2, "the same word twice is one word");
    assert!(world.approve(&name, "kim").unwrap_err().contains("waits for nothing"));
}

#[test]
fn who_pushed_a_build_in_it_may_not_approve_unless_the_rule_says_so() {
    for may in [false, true] {
        let (mut world, _) = proven();
        world.builds[0].spec.pushed_by = "eve".into();
        world.rule("prod", |rule| {
            rule.approvals.count = 1;
            rule.approvals.author_may_approve = may;
        });
        let name = world.ask(Class::Promote, "prod", web(), None);
        world.settle();
        assert_eq!(world.approve(&name, "eve").is_ok(), may);
    }
}

#[test]
fn only_those_whom_the_rule_names_approve() {
    let (mut world, _) = proven();
    world.rule("prod", |rule| {
        rule.approvals.count = 1;
        rule.approvals.from = vec!["leads".into(), "kim".into()];
    });
    let name = world.ask(Class::Promote, "prod", web(), None);
    world.settle();
    assert_eq!(world.approve(&name, "bob").unwrap_err(), "bob may not approve for prod: leads, kim may");
    let leads = ["leads".to_owned()];
    let entry = crate::approve(&world.facts(), &name, crate::Approver { name: "bob", groups: &leads }, "looks good");
    world.tell(entry).unwrap();
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
}

#[test]
fn any_change_voids_an_approval() {
    // Of what moves, of what was there, of the gates: each by itself.
    for change in ["pin", "before", "gates", "windows"] {
        let (mut world, first) = proven();
        world.windows = vec![window("nights", WindowKind::Allow, "0 22 * * *", "2h")];
        world.rule("prod", |rule| {
            rule.approvals.count = 1;
            rule.windows = vec!["nights".into()];
        });
        let pin = world.pin(&first);
        let commit = world.edit("prod", |state| drop(state.pins.insert(component("web"), pin)));
        world.settle();
        let name = format!("prod-commit-{}", commit.short());
        world.approve(&name, "eve").unwrap();
        world.settle();
        assert!(!world.phase(&name).1.contains("approvals"), "{}", world.phase(&name).1);
        match change {
            "pin" => drop(world.edit("prod", |state| {
                state.pins.get_mut(&component("web")).unwrap().config = commit.clone();
            })),
            "before" => {
                let other = world.build("api", BUILT);
                let pin = world.pin(&other);
                world.edit("prod", |state| drop(state.pins.insert(component("api"), pin)));
            }
            "gates" => drop(world.edit("prod", |state| {
                state.pins.clear();
                state.file.promotion.approvals.from = vec!["eve".into()];
            })),
            _ => world.windows[0].duration = Some("3h".parse().unwrap()),
        }
        world.settle();
        if change == "gates" {
            // The rule is in force; the same edit again asks for a new word.
            let pin = world.pin(&first);
            world.edit("prod", |state| drop(state.pins.insert(component("web"), pin)));
            world.settle();
        }
        let held = world.decide().environments[&env("prod")].held.clone().expect("it is held");
        assert!(held.reason.contains("0 of 1 approvals"), "{change}: {}", held.reason);
    }
}

#[test]
fn a_change_reference_is_asked_for_where_the_rule_says_so() {
    let (mut world, first) = proven();
    world.rule("prod", |rule| rule.change_ref = ChangeRef::Required);
    let without = world.ask(Class::Promote, "prod", web(), None);
    world.settle();
    let why = "prod asks which change it belongs to: ask again with --change-ref";
    assert_eq!(world.phase(&without), (PromotionPhase::Failed, why));
    let pin = world.pin(&first);
    world.edit("prod", |state| drop(state.pins.insert(component("web"), pin)));
    world.settle();
    let held = world.decide().environments[&env("prod")].held.clone().expect("it is held");
    assert!(held.reason.contains("a trailer `Change-Ref: …`"), "{}", held.reason);
    world.revert("prod");
    let with = world.ask(Class::Promote, "prod", web(), None);
    world.spec(&with).change_ref = Some("CHG-7".into());
    world.settle();
    assert_eq!(world.phase(&with).0, PromotionPhase::Succeeded);
    assert_eq!(world.head().0.trailer("Change-Ref"), Some("CHG-7"));
    let told = world.told(EntryKind::Admitted, "prod");
    assert_eq!(told.last().unwrap().detail(model::journal::detail::CHANGE), Some("CHG-7"));
}

#[test]
fn an_emergency_passes_what_can_be_waited_for_and_leaves_a_record() {
    let (mut world, _) = proven();
    world.windows = vec![window("nights", WindowKind::Allow, "0 22 * * *", "2h")];
    world.rule("prod", |rule| {
        rule.windows = vec!["nights".into()];
        rule.approvals.count = 1;
    });
    let name = world.ask(Class::Promote, "prod", web(), None);
    world.spec(&name).overriding = Some("the shop is down".into());
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
    assert_eq!(world.head().0.trailer("Trimtab-Override"), Some("the shop is down"));
    let told = world.told(EntryKind::Overridden, "prod");
    assert_eq!((told.len(), told[0].actor.as_str()), (1, "ada"));
    assert!(told[0].reason.contains("0 of 1 approvals"), "{}", told[0].reason);
    // Nothing overrides suspension, and nothing makes an image of what was not built.
    world.build("web", BuildPhase::Failed);
    world.edit("prod", |state| state.file.suspend = true);
    for (number, why) in [(2, "the build web-2 failed"), (9, "there is no build web-9")] {
        let build = BuildId { component: component("web"), number };
        let name = world.ask(Class::Promote, "prod", web(), Some(&build));
        world.spec(&name).overriding = Some("now!".into());
        world.settle();
        assert_eq!(world.phase(&name), (PromotionPhase::Failed, why));
    }
    world.build("web", BUILT);
    let name = world.ask(Class::Promote, "prod", web(), None);
    world.spec(&name).overriding = Some("now!".into());
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Waiting, "prod is suspended (environments/prod.yaml)"));
}

#[test]
fn an_emergency_does_not_carry_what_others_have_on_main() {
    let (mut world, _) = proven();
    world.rule("prod", |rule| rule.approvals.count = 1);
    let api = world.build("api", BUILT);
    world.settle();
    let pin = world.pin(&api);
    world.edit("prod", |state| drop(state.pins.insert(component("api"), pin)));
    let name = world.ask(Class::Promote, "prod", web(), None);
    world.spec(&name).overriding = Some("now!".into());
    world.settle();
    let (phase, why) = world.phase(&name);
    assert_eq!(phase, PromotionPhase::Waiting);
    assert!(why.contains("held on main: api-1 has not been healthy in staging"), "{why}");
    assert_eq!(world.runs(), "dev api-1,web-1 | staging web-1 | prod -");
}

#[test]
fn going_back_to_what_was_verified_waits_for_nothing() {
    let (mut world, _) = proven();
    world.ask(Class::Promote, "prod", web(), None);
    world.settle();
    world.build("web", BUILT);
    world.settle();
    for to in ["staging", "prod"] {
        world.ask(Class::Promote, to, web(), None);
        world.settle();
    }
    world.windows = vec![window("nights", WindowKind::Allow, "0 22 * * *", "2h")];
    world.rule("prod", |rule| {
        rule.windows = vec!["nights".into()];
        rule.approvals.count = 2;
        rule.change_ref = ChangeRef::Required;
        rule.requires.soak = Some("2d".parse().unwrap());
    });
    assert_eq!(world.runs(), "dev web-2 | staging web-2 | prod web-2");
    let name = world.ask(Class::Rollback, "prod", None, None);
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
    assert_eq!(world.runs(), "dev web-2 | staging web-2 | prod web-1");
    // What was left is in quarantine: coming back to it is a movement like any other.
    world.revert("prod");
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-2 | prod web-1");
    assert!(world.decide().environments[&env("prod")].held.is_some());
}

#[test]
fn a_quarantine_ends_at_its_time() {
    let mut world = World::new();
    for _ in 0..2 {
        world.build("web", BUILT);
        world.settle();
    }
    let name = world.ask(Class::Rollback, "dev", None, None);
    world.spec(&name).quarantine = Some("2d".parse().unwrap());
    world.settle();
    assert_eq!(world.runs(), "dev web-1 | staging - | prod -");
    let asked = world.promotion(&name).spec.created;
    assert_eq!(world.sleep().duration_since(asked).as_hours(), 48);
    assert_eq!(world.runs(), "dev web-2 | staging - | prod -");
}

#[test]
fn what_does_not_become_healthy_goes_back_by_itself_where_the_rule_says_so() {
    use model::config::OnFailure;
    for (on_failure, expect) in [(OnFailure::Rollback, "web-1"), (OnFailure::Hold, "web-2")] {
        let (mut world, _) = proven();
        world.rule("staging", |rule| rule.on_failure = on_failure);
        world.build("web", BUILT);
        world.settle();
        let name = world.ask(Class::Promote, "staging", web(), None);
        // Healthy in dev already: what it does in staging is what is told from now on.
        world.settle_with(|b| Some(if b.number == 2 { EntryKind::Failed } else { EntryKind::Healthy }));
        assert_eq!(world.phase(&name).0, PromotionPhase::Failed);
        assert_eq!(world.runs(), format!("dev web-2 | staging {expect} | prod -"));
        if on_failure == OnFailure::Rollback {
            let undo = format!("staging-undo-{name}");
            assert_eq!(world.phase(&undo).0, PromotionPhase::Succeeded);
            assert_eq!(
                world.told(EntryKind::RolledBack, "staging")[0].reason,
                "web-1 → web-2 did not become healthy: failed"
            );
            let quarantined = &world.decide().environments[&env("staging")].quarantined;
            assert!(quarantined.keys().any(|b| b.number == 2), "{quarantined:?}");
        }
    }
}

#[test]
fn a_request_is_cancelled_before_it_is_written_and_not_after() {
    let (mut world, first) = proven();
    world.rule("prod", |rule| rule.approvals.count = 1);
    let name = world.ask(Class::Promote, "prod", web(), None);
    world.settle();
    let entry = crate::cancel(&world.facts(), &name, "bob", "not today");
    world.tell(entry).unwrap();
    world.settle();
    assert_eq!(world.phase(&name), (PromotionPhase::Cancelled, "cancelled by bob: not today"));
    assert_eq!(
        crate::cancel(&world.facts(), &name, "bob", "").unwrap_err(),
        format!("{name} cannot be cancelled: it is Cancelled")
    );
    let pin = world.pin(&first);
    let commit = world.edit("prod", |state| drop(state.pins.insert(component("web"), pin)));
    world.settle();
    let refused = crate::cancel(&world.facts(), &format!("prod-commit-{}", commit.short()), "bob", "").unwrap_err();
    assert!(refused.contains("git revert"), "{refused}");
}

#[test]
fn a_clock_that_jumps_back_keeps_gates_shut_and_one_that_jumps_ahead_opens_them() {
    let (mut world, _) = proven();
    world.rule("prod", |rule| rule.requires.soak = Some("30m".parse().unwrap()));
    let name = world.ask(Class::Promote, "prod", web(), None);
    world.settle();
    world.ticks -= 7200;
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Waiting);
    assert!(world.decide().wake_at.is_some());
    world.ticks += 86_400;
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
}

#[test]
fn gates_are_judged_in_one_order_and_shown_with_what_passed() {
    let (mut world, _) = proven();
    world.windows = vec![window("days", WindowKind::Allow, "0 8 * * *", "9h")];
    world.rule("prod", |rule| {
        rule.windows = vec!["days".into()];
        rule.approvals.count = 1;
        rule.requires.soak = Some("1s".parse().unwrap());
    });
    let name = world.ask(Class::Promote, "prod", web(), None);
    world.settle();
    let gates: Vec<(GateName, bool)> =
        world.promotion(&name).status.gates.iter().map(|g| (g.name, g.state == GateState::Open)).collect();
    use GateName::{
        Approvals, Built, Configuration, HealthyIn, Quarantine, Soak, Strategy as Asked, Suspend, Window as Open,
    };
    let expect = [Suspend, Asked, Built, HealthyIn, Configuration, Soak, Open, Approvals, Quarantine];
    assert_eq!(gates.iter().map(|(name, _)| *name).collect::<Vec<_>>(), expect);
    assert!(gates.iter().all(|(name, open)| *open == (*name != Approvals)), "{gates:?}");
    let _: Component = component("web");
}

#[test]
fn where_changes_are_reviewed_a_command_moves_nothing_and_its_commit_is_judged_when_it_is_on_main() {
    let (mut world, build) = proven();
    world.edit("prod", |state| state.file.changes = model::config::Changes::Reviewed);
    world.settle();
    let name = world.ask(Class::Promote, "prod", web(), None);
    let spec = world.promotion(&name).spec.clone();
    world.settle();
    let (phase, why) = world.phase(&name);
    assert_eq!(
        (phase, why),
        (PromotionPhase::Failed, "changes to prod are reviewed: `trimtab promote` opens a Change")
    );
    assert_eq!(world.runs(), "dev web-1 | staging web-1 | prod -");
    // What the command would have written is there to be proposed, and says whose it is.
    let write = crate::proposal(&world.facts(), &spec).unwrap();
    assert_eq!(write.files.keys().collect::<Vec<_>>(), ["environments/prod/web.yaml"]);
    assert_eq!((write.author.as_str(), write.expect.as_ref()), ("ada", Some(&world.facts().head)));
    assert!(!write.message.contains(crate::TRAILER_ID), "{}", write.message);
    // People who look for the next build are not told of a gate that a command would get around.
    let (_, gates) = crate::prospect(&world.facts(), &env("prod"), &component("web")).unwrap();
    assert!(gates.iter().all(|gate| gate.state == GateState::Open), "{gates:?}");
    // On main it is a movement like any other.
    let pin = world.pin(&build);
    world.edit("prod", |state| drop(state.pins.insert(component("web"), pin)));
    world.settle();
    assert_eq!(world.runs(), "dev web-1 | staging web-1 | prod web-1");
    // Going back is a right, and so is an emergency.
    let second = world.build("web", BUILT);
    world.settle();
    let name = world.ask(Class::Promote, "prod", web(), Some(&second));
    world.spec(&name).overriding = Some("fire".into());
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-1 | prod web-2");
    assert!(world.told(EntryKind::Overridden, "prod")[0].reason.contains("are reviewed"));
    world.ask(Class::Rollback, "prod", None, None);
    world.settle();
    assert_eq!(world.runs(), "dev web-2 | staging web-1 | prod web-1");
    // What cannot be done at all is refused before anybody is asked to look at it.
    let again = crate::proposal(&world.facts(), &spec);
    assert_eq!(again.map(|write| write.files), Err("web-1 is in prod and there is no newer one".to_owned()));
}
