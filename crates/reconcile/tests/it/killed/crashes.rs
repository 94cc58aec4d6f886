//! `kill -9` before and after every durable effect: nothing is lost, nothing is done twice.

use super::fuse::Side;
use super::world::World;
use model::journal::EntryKind;
use model::records::{Class, Kind};

/// Runs `act` with the process dying at each effect in turn, boots again, and checks what came of it.
fn everywhere(
    prepare: impl Fn() -> World,
    act: impl Fn(&World),
    arrived: impl Fn(&World) -> bool,
    check: impl Fn(&World),
) {
    let effects = {
        let world = prepare();
        world.quiet();
        world.fuse.take();
        act(&world);
        world.eventually("it arrives", |w| arrived(w));
        let effects = world.fuse.take().len() + world.quiet();
        check(&world);
        effects
    };
    let mut deaths = 0;
    for side in [Side::Before, Side::After] {
        for at in 0..effects {
            let mut world = prepare();
            world.quiet();
            world.fuse.arm(at, side);
            act(&world);
            // Effects that a round more or less makes may not come: then it has arrived without dying.
            world.eventually("it dies or arrives", |w| w.fuse.is_blown() || arrived(w));
            if !world.fuse.is_blown() {
                world.quiet();
            }
            deaths += usize::from(world.fuse.is_blown());
            world.kill();
            world.boot();
            world.eventually(&format!("it arrives after death {side:?} effect {at}"), |w| arrived(w));
            world.quiet();
            check(&world);
        }
    }
    // Of the last effects some are made in other rounds, or not at all: status that is overtaken.
    assert!(deaths >= effects, "only {deaths} deaths at {effects} effects");
}

/// One commit per movement, no entry twice, no promotion left over.
fn consistent(world: &World) {
    let commits = world.repositories.main(&world.config()).0;
    let mut ids: Vec<&str> = commits.iter().filter_map(|c| c.trailer("Trimtab-Id")).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "a movement has more than one commit: {commits:#?}");
    // What becomes of a promotion is told after its effect; on a machine with much to do, some time after.
    world.eventually("no promotion is left open", |world| {
        world.records.all(Kind::Promotion).into_values().all(|p| !p["status"]["finished"].is_null())
    });
    assert!(world.told(EntryKind::Repaired).is_empty(), "a crash is no drift: {:#?}", world.told(EntryKind::Repaired));
}

#[test]
fn of_a_push() {
    everywhere(
        World::new,
        |world| {
            let commit = world.stage_app("1");
            world.accept(&world.app(), Some(&commit)).unwrap();
        },
        |world| world.runs("dev") == "1" && world.was_healthy("dev", "hello-1"),
        |world| {
            consistent(world);
            assert_eq!(world.records.all(Kind::Build).len(), 1, "one build");
            assert_eq!(world.commits(), 2);
        },
    );
}

#[test]
fn of_a_promotion() {
    everywhere(
        World::with_first_build,
        |world| world.request(Class::Promote, "staging"),
        |world| world.runs("staging") == "1" && world.was_healthy("staging", "hello-1"),
        |world| {
            consistent(world);
            assert_eq!((world.commits(), world.builds()), (3, 1));
        },
    );
}

#[test]
fn of_a_rollback() {
    everywhere(
        World::with_two_in_staging,
        |world| world.request(Class::Rollback, "staging"),
        |world| world.runs("staging") == "1" && world.told(EntryKind::RolledBack).len() == 1,
        |world| {
            consistent(world);
            assert_eq!((world.commits(), world.builds()), (6, 2));
        },
    );
}
