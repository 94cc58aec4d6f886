//! Which commit of the config repository a pin carries, and what secrets do.

use super::world::{World, component, env};
use crate::{Input, compared};
use model::records::{BuildPhase, Class, GateName, PromotionPhase};
use model::{BuildId, CommitId, Digest};
use std::collections::BTreeMap;
use std::sync::Arc;

impl World {
    /// A commit to `config/`, with which a build gets this in every environment.
    pub fn configure(&mut self, build: &BuildId, given: &str) -> CommitId {
        let commit = self.touch("config/common.yaml");
        self.give(build, &commit, given);
        commit
    }

    pub fn give(&mut self, build: &BuildId, config: &CommitId, given: &str) {
        let one = |name: &model::Environment| match given.strip_prefix("lacks ") {
            Some(why) => (name.clone(), Err(why.to_owned())),
            None => (name.clone(), Ok(Digest::of(given.as_bytes()))),
        };
        let environments = self.environments.iter().map(one).collect();
        let input = Input { environments, secrets: ["db".parse().unwrap()].into() };
        self.inputs.insert(build.clone(), config.clone(), Arc::new(input));
    }

    pub fn config_in(&self, environment: &str) -> CommitId {
        self.admitted(environment).unwrap().pins[&component("web")].config.clone()
    }

    fn effects(&self) -> usize {
        self.commits.iter().filter(|(c, _)| c.trailer(crate::TRAILER_ID).is_some()).count()
    }
}

/// With web-1 in dev, given "a" by the first commit of `config/`.
pub fn world() -> (World, BuildId, CommitId) {
    let mut world = World::new();
    let build = world.build("web", BuildPhase::Succeeded);
    let first = world.configure(&build, "a");
    world.settle();
    assert_eq!(world.config_in("dev"), first);
    (world, build, first)
}

#[test]
fn auto_moves_what_differs_by_one_commit_and_an_equal_result_nothing() {
    let (mut world, build, first) = world();
    let effects = world.effects();
    world.configure(&build, "a");
    world.settle();
    assert_eq!((world.config_in("dev"), world.effects()), (first.clone(), effects));
    let third = world.configure(&build, "b");
    world.settle();
    assert_eq!((world.config_in("dev"), world.effects()), (third.clone(), effects + 1));
    let subject = &world.commits.last().unwrap().0.subject;
    assert_eq!(*subject, format!("dev: web config {} → {}", first.short(), third.short()));
}

#[test]
fn other_environments_get_the_configuration_that_was_healthy_before_with_the_build() {
    let (mut world, build, first) = world();
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    let second = world.configure(&build, "b");
    // Nothing is healthy with it yet: staging would get what it has.
    world.settle_with(|_| None);
    assert_eq!((world.config_in("dev"), world.config_in("staging")), (second.clone(), first));
    world.settle();
    let asked = world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert_eq!(world.phase(&asked).0, PromotionPhase::Succeeded);
    assert_eq!(world.config_in("staging"), second);
    let again = world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    assert!(world.phase(&again).1.contains("there is no newer one"), "{:?}", world.phase(&again));
}

#[test]
fn a_configuration_that_was_rolled_back_is_not_taken_again_until_it_is_another() {
    let (mut world, build, first) = world();
    world.configure(&build, "bad");
    world.settle();
    world.ask(Class::Rollback, "dev", None, None);
    world.settle();
    assert_eq!(world.config_in("dev"), first);
    let message = &world.commits.last().unwrap().0;
    assert!(message.trailer(crate::TRAILER_QUARANTINE).unwrap().starts_with("web=web-1@"), "{message:?}");
    assert_eq!(compared(&world.facts()).retracted.len(), 1);
    // The same by another commit, and with the next build.
    let third = world.configure(&build, "bad");
    let next = world.build("web", BuildPhase::Succeeded);
    world.give(&next, &third, "bad with web-2");
    world.settle();
    assert_eq!((world.runs().as_str(), world.config_in("dev")), ("dev web-2 | staging - | prod -", first));
    let fourth = world.configure(&next, "good");
    world.give(&build, &fourth, "good");
    world.settle();
    assert_eq!(world.config_in("dev"), fourth);
    assert!(world.decide().environments[&env("dev")].quarantined.is_empty(), "the build was never to blame");
}

#[test]
fn what_cannot_be_given_holds_with_the_reason_until_it_can() {
    let (mut world, build, first) = world();
    let second = world.configure(&build, "lacks PASSWORD: trimtab secret set db PASSWORD --env dev");
    world.settle();
    assert_eq!(world.config_in("dev"), first);
    let waiting: Vec<_> = world.promotions.iter().filter(|p| p.status.phase == PromotionPhase::Waiting).collect();
    let gate = waiting[0].status.gates.iter().find(|g| g.name == GateName::Configuration).unwrap();
    assert!(gate.message.contains("trimtab secret set db PASSWORD --env dev"));
    world.give(&build, &second, "b");
    world.settle();
    assert_eq!(world.config_in("dev"), second);
}

#[test]
fn a_commit_that_is_named_skips_the_environments_before() {
    let (mut world, build, _) = world();
    world.ask(Class::Promote, "staging", Some("web"), None);
    world.settle();
    let hot = world.configure(&build, "hot");
    let asked = world.ask(Class::Promote, "staging", Some("web"), Some(&build));
    world.promotions.last_mut().unwrap().spec.config = Some(hot.clone());
    world.settle_with(|_| None);
    world.settle();
    assert_eq!((world.phase(&asked).0, world.config_in("staging")), (PromotionPhase::Succeeded, hot));
}

#[test]
fn secrets_move_by_a_promotion_of_their_own_and_no_rollback_brings_them_back() {
    let (mut world, build, _) = world();
    let second = world.build("web", BuildPhase::Succeeded);
    let config = world.config_in("dev");
    world.give(&second, &config, "a");
    world.settle();
    let secrets = |value: &str| BTreeMap::from([("db".parse().unwrap(), Digest::of(value.as_bytes()))]);
    let before = world.decide().environments[&env("dev")].since[&component("web")].clone();
    world.edit("dev", |state| state.secrets = secrets("new"));
    world.settle_with(|_| None);
    let promotion = world.promotions.iter().find(|p| p.spec.class == Class::Secret).unwrap();
    assert_eq!((promotion.status.phase, promotion.status.change.as_str()), (PromotionPhase::Admitted, "secret db"));
    let name = promotion.name.clone();
    assert_ne!(world.decide().environments[&env("dev")].since[&component("web")], before, "its consumers roll");
    world.settle();
    assert_eq!(world.phase(&name).0, PromotionPhase::Succeeded);
    world.ask(Class::Rollback, "dev", None, None);
    world.settle();
    let state = world.admitted("dev").unwrap();
    assert_eq!((&state.pins[&component("web")].build, state.secrets), (&build, secrets("new")));
}
