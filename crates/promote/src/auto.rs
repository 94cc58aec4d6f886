//! The strategy Auto: the newest build that all gates let through, by itself.

use crate::decide::free_name;
use crate::facts::State;
use crate::gates::{Judge, all_open};
use model::config::Strategy;
use model::records::{BuildPhase, Class, PromotionPhase, PromotionSpec, PromotionStatus};
use model::{Build, Component, Promotion};
use std::collections::BTreeSet;

/// The next promotion that the strategy asks for, one at a time. `open`: requests that have written nothing yet.
pub(crate) fn auto(judge: &Judge<'_>, head: &State, open: &[&Promotion]) -> Option<Promotion> {
    let rule = judge.rule().filter(|rule| rule.strategy == Strategy::Auto)?;
    let components: BTreeSet<&Component> = judge.facts.builds.iter().map(|b| &b.spec.build.component).collect();
    components.into_iter().find_map(|component| {
        let admitted = judge.history.pin(component);
        // A hand edit that is held, or a request of a person, comes first.
        if head.pins.get(component) != admitted || open.iter().any(|p| theirs(p, component)) {
            return None;
        }
        let passes = |b: &&Build| {
            b.spec.build.component == *component
                && b.spec.build.number > admitted.map_or(0, |pin| pin.build.number)
                && b.status.phase == BuildPhase::Succeeded
                && !judge.history.quarantined.contains(&b.spec.build)
                && all_open(&[judge.healthy(rule, &b.spec.build, None)])
        };
        let build = judge.facts.builds.iter().filter(passes).max_by_key(|b| b.spec.build.number)?;
        (!tried(judge, build)).then(|| promotion(judge, build))
    })
}

fn theirs(promotion: &Promotion, component: &Component) -> bool {
    promotion.spec.class != Class::Auto && promotion.spec.component.as_ref().is_none_or(|c| c == component)
}

/// It is on its way, or was refused: asking again changes nothing.
fn tried(judge: &Judge<'_>, build: &Build) -> bool {
    judge.facts.promotions.iter().any(|p| {
        p.spec.class == Class::Auto
            && p.spec.environment == *judge.environment
            && p.spec.build.as_ref() == Some(&build.spec.build)
            && (!p.status.phase.is_final() || (p.status.phase == PromotionPhase::Failed && p.status.commit.is_none()))
    })
}

fn promotion(judge: &Judge<'_>, build: &Build) -> Promotion {
    let id = &build.spec.build;
    let spec = PromotionSpec {
        project: judge.facts.project.clone(),
        environment: judge.environment.clone(),
        class: Class::Auto,
        component: Some(id.component.clone()),
        build: Some(id.clone()),
        commit: None,
        requested_by: crate::ACTOR.to_owned(),
        reason: build.spec.message.clone(),
        created: judge.facts.now,
    };
    let name = free_name(judge.facts, &format!("{}-{id}", judge.environment));
    Promotion { name, spec, status: PromotionStatus::default() }
}
