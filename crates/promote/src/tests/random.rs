//! Random histories: whatever people push and ask for, and wherever the process dies.

use super::world::{World, component, env};
use crate::Action;
use model::journal::EntryKind;
use model::records::{BuildPhase, Class, PromotionPhase};
use model::window::{Manual, Selector, Window, WindowKind};
use model::{BuildId, Pin};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const ENVIRONMENTS: [&str; 3] = ["dev", "staging", "prod"];
const COMPONENTS: [&str; 2] = ["web", "api"];

#[derive(Debug, Clone)]
enum Event {
    Build {
        component: usize,
        succeeds: bool,
    },
    Promote {
        environment: usize,
        component: usize,
        number: Option<u64>,
    },
    Rollback {
        environment: usize,
        component: Option<usize>,
        number: Option<u64>,
    },
    Pin {
        environment: usize,
        component: usize,
        number: u64,
    },
    Unpin {
        environment: usize,
        component: usize,
    },
    Suspend {
        environment: usize,
        on: bool,
    },
    Revert {
        environment: usize,
    },
    Configure,
    /// So many actions of the next decision are done, then the process dies.
    Crash {
        after: usize,
    },
    Settle {
        healthy: bool,
    },
    /// prod moves only with an approval from here on.
    Careful,
    /// Somebody who wrote nothing approves the latest open request for prod.
    Approve,
    /// Nothing moves in prod, or it may again.
    Freeze {
        on: bool,
    },
    /// The clock is set.
    Clock {
        seconds: i64,
    },
    /// What runs in dev gets a version.
    Release,
    PromoteRelease {
        environment: usize,
        newest: bool,
        emergency: bool,
    },
    /// A request is taken back.
    Cancel,
}

fn event() -> impl Strategy<Value = Event> {
    let (environment, part, number) = (|| 0..3_usize, || 0..2_usize, || 1..6_u64);
    prop_oneof![
        4 => (part(), prop::bool::weighted(0.8)).prop_map(|(component, succeeds)| Event::Build { component, succeeds }),
        4 => (environment(), part(), prop::option::of(number()))
            .prop_map(|(environment, component, number)| Event::Promote { environment, component, number }),
        3 => (environment(), prop::option::of(part()), prop::option::weighted(0.2, number())).prop_map(
            |(environment, component, number)| Event::Rollback { environment, component, number }
        ),
        2 => (environment(), part(), number())
            .prop_map(|(environment, component, number)| Event::Pin { environment, component, number }),
        1 => (environment(), part()).prop_map(|(environment, component)| Event::Unpin { environment, component }),
        1 => (environment(), any::<bool>()).prop_map(|(environment, on)| Event::Suspend { environment, on }),
        1 => environment().prop_map(|environment| Event::Revert { environment }),
        2 => Just(Event::Configure),
        6 => (0..4_usize).prop_map(|after| Event::Crash { after }),
        6 => prop::bool::weighted(0.8).prop_map(|healthy| Event::Settle { healthy }),
        1 => Just(Event::Careful),
        3 => Just(Event::Approve),
        1 => any::<bool>().prop_map(|on| Event::Freeze { on }),
        1 => (-100_000..100_000_i64).prop_map(|seconds| Event::Clock { seconds }),
        2 => Just(Event::Release),
        3 => (environment(), any::<bool>(), prop::bool::weighted(0.2)).prop_map(
            |(environment, newest, emergency)| Event::PromoteRelease { environment, newest, emergency }
        ),
        1 => Just(Event::Cancel),
    ]
}

fn happen(world: &mut World, event: &Event) {
    let id = |component: usize, number| BuildId { component: self::component(COMPONENTS[component]), number };
    match *event {
        Event::Build { component, succeeds } => {
            let phase = if succeeds { BuildPhase::Succeeded } else { BuildPhase::Failed };
            world.build(COMPONENTS[component], phase);
        }
        Event::Promote { environment, component, number } => {
            let build = number.map(|n| id(component, n));
            world.ask(Class::Promote, ENVIRONMENTS[environment], Some(COMPONENTS[component]), build.as_ref());
        }
        Event::Rollback { environment, component, number } => {
            let build = component.zip(number).map(|(c, n)| id(c, n));
            world.ask(Class::Rollback, ENVIRONMENTS[environment], component.map(|c| COMPONENTS[c]), build.as_ref());
        }
        Event::Pin { environment, component, number } => {
            let pin = world.pin(&id(component, number));
            world.edit(ENVIRONMENTS[environment], |state| drop(state.pins.insert(pin.build.component.clone(), pin)));
        }
        Event::Unpin { environment, component } => {
            let component = self::component(COMPONENTS[component]);
            world.edit(ENVIRONMENTS[environment], |state| drop(state.pins.remove(&component)));
        }
        Event::Suspend { environment, on } => {
            world.edit(ENVIRONMENTS[environment], |state| state.file.suspend = on);
        }
        Event::Revert { environment } if world.commits.len() > 1 => world.revert(ENVIRONMENTS[environment]),
        Event::Revert { .. } => {}
        Event::Configure => drop(world.touch("config/common.yaml")),
        Event::Careful => drop(world.edit("prod", |state| state.file.promotion.approvals.count = 1)),
        Event::Approve => {
            if let Some(name) = open(world, "prod") {
                // A refusal is an answer too.
                let _ = world.approve(&name, "eve");
            }
        }
        Event::Freeze { on } => world.windows = if on { vec![freeze()] } else { Vec::new() },
        Event::Clock { seconds } => world.ticks += seconds,
        Event::Release => {
            let version = format!("1.{}.0", world.drafts.len());
            if crate::draft(&world.facts(), &version.parse().unwrap(), &env("dev")).is_ok() {
                world.draft(&version, "dev");
            }
        }
        Event::PromoteRelease { environment, newest, emergency } => {
            let number = if newest { world.drafts.len().saturating_sub(1) } else { 0 };
            let name = world.ask_release(Class::Promote, ENVIRONMENTS[environment], &format!("1.{number}.0"));
            world.spec(&name).overriding = emergency.then(|| "fire".to_owned());
        }
        Event::Cancel => {
            if let Some(name) = open(world, "staging") {
                let entry = crate::cancel(&world.facts(), &name, "eve", "");
                let _ = world.tell(entry);
            }
        }
        Event::Crash { after } => {
            world.ticks += 1;
            let decision = world.decide();
            decision.actions.iter().take(after).for_each(|action| checked(world, action));
        }
        Event::Settle { healthy } => {
            let kind = if healthy { EntryKind::Healthy } else { EntryKind::Failed };
            world.settle_with(|_| Some(kind));
        }
    }
}

fn open(world: &World, environment: &str) -> Option<String> {
    let of_it = |p: &&model::Promotion| p.spec.environment == env(environment) && !p.status.phase.is_final();
    world.promotions.iter().rev().find(of_it).map(|p| p.name.clone())
}

/// Of prod, for as long as anybody looks.
fn freeze() -> Window {
    Window {
        name: "fair".into(),
        kind: WindowKind::Deny,
        schedule: None,
        duration: None,
        from: Some("2000-01-01".parse().unwrap()),
        to: Some("2999-01-01".parse().unwrap()),
        time_zone: "UTC".into(),
        selector: Some(Selector { environments: vec![env("prod")], components: Vec::new() }),
        manual: Manual::Denied,
    }
}

/// Admission is judged by what was true at that moment.
pub fn checked(world: &mut World, action: &Action) {
    if let Action::Journal(entry) = action
        && entry.kind == EntryKind::Admitted
    {
        let environment = entry.environment.clone().unwrap();
        let tree = &world.commits.iter().find(|(c, _)| Some(&c.id) == entry.commit.as_ref()).unwrap().1;
        let state = tree[&environment].as_ref().unwrap().resolve(&environment, &world.releases()).unwrap();
        let before = world.admitted(environment.as_str()).unwrap_or_default();
        let moved: Vec<&Pin> =
            state.pins.iter().filter(|(c, p)| before.pins.get(*c) != Some(*p)).map(|(_, p)| p).collect();
        let removed = before.pins.keys().any(|c| !state.pins.contains_key(c));
        let at_head = world.head().1[&environment].as_ref().unwrap();
        if !moved.is_empty() || removed {
            assert!(!at_head.file.suspend, "{environment} moved while suspended: {entry:?}");
        }
        let promotion = entry.promotion.as_ref().map(|name| world.promotion(name));
        let emergency = promotion.is_some_and(|p| p.spec.overriding.is_some());
        let stood = |pin: &&Pin| {
            let healthy = |e: &&model::journal::Entry| e.build.as_ref() == Some(&pin.build);
            world.told(EntryKind::Healthy, environment.as_str()).iter().any(|e| healthy(&e))
        };
        let back = !moved.is_empty() && moved.iter().all(stood);
        let release = before.file.release != state.file.release;
        if environment == env("prod") && (!moved.is_empty() || removed || release) && !emergency && !back && !removed {
            assert!(!world.windows.contains(&freeze()), "prod moved in a freeze: {entry:?}");
            if before.file.promotion.approvals.count > 0 {
                let told = |e: &&&model::journal::Entry| {
                    e.summary == format!("{} is approved", entry.summary) && e.actor != "ada"
                };
                assert!(world.told(EntryKind::Approved, "prod").iter().any(|e| told(&e)), "nobody approved: {entry:?}");
            }
        }
        for pin in moved {
            let build = world.builds.iter().find(|b| b.spec.build == pin.build).expect("only builds move");
            assert_eq!(build.status.image, pin.image, "only what was built moves");
            let was_healthy =
                |e: &str| world.told(EntryKind::Healthy, e).iter().any(|t| t.build.as_ref() == Some(&pin.build));
            let from: &[&str] = match environment.as_str() {
                "dev" => &[],
                "staging" => &["dev"],
                _ => &["staging"],
            };
            let back = was_healthy(environment.as_str());
            assert!(
                emergency || back || from.iter().all(|e| was_healthy(e)),
                "{} came to {environment} unproven",
                pin.build
            );
        }
    }
    world.act(action);
}

/// At the end: one commit per movement, all requests settled or with a reason, nothing forgotten.
fn check(world: &World) {
    let mut effects: BTreeMap<&str, usize> = BTreeMap::new();
    for (commit, _) in &world.commits {
        if let Some(id) = commit.trailer(crate::TRAILER_ID) {
            *effects.entry(id).or_default() += 1;
        }
    }
    assert!(effects.values().all(|n| *n == 1), "more than one commit for a movement: {effects:?}");
    for (name, _) in &effects {
        assert!(world.promotions.iter().any(|p| p.name == *name), "a commit without its promotion: {name}");
    }
    let ids: BTreeSet<&str> = world.journal.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids.len(), world.journal.len(), "an entry was written twice");
    for promotion in world.promotions.iter().filter(|p| !p.status.phase.is_final()) {
        let status = &promotion.status;
        let explained = !status.message.is_empty() && !status.gates.is_empty();
        let suspended = world.decide().environments[&promotion.spec.environment].suspended;
        let admitted = status.phase == model::records::PromotionPhase::Admitted;
        assert!(explained || (admitted && suspended), "nobody knows why it waits: {promotion:#?}");
    }
    // What runs is what was admitted, and whoever was superseded or cancelled was told so.
    for promotion in world.promotions.iter().filter(|p| p.status.phase == PromotionPhase::Succeeded) {
        let admitted = world.journal.iter().any(|e| e.promotion.as_ref() == Some(&promotion.name));
        let carried = promotion.status.commit.is_some();
        assert!(admitted || carried || !promotion.status.message.is_empty(), "nothing explains {promotion:#?}");
    }
    for environment in ENVIRONMENTS {
        let report = &world.decide().environments[&env(environment)];
        let same = world.admitted(environment) == world.standing(environment).ok();
        assert!(same || report.held.is_some(), "{environment} differs from main and nobody says why");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]
    #[test]
    fn no_history_breaks_a_rule(events in prop::collection::vec(event(), 1..40)) {
        let mut world = World::new();
        for event in &events {
            happen(&mut world, event);
        }
        // Everything comes to rest, with what is admitted healthy.
        world.settle();
        check(&world);
    }
}
