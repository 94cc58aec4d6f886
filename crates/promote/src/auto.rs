//! The strategy Auto: the newest build that all gates let through, by itself.

use crate::configuration;
use crate::decide::free_name;
use crate::facts::State;
use crate::gates::{Judge, all_open};
use model::config::Strategy;
use model::records::{BuildPhase, Class, PromotionPhase, PromotionSpec, PromotionStatus};
use model::{Build, BuildId, CommitId, Component, Promotion};
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
        let build = judge.facts.builds.iter().filter(passes).max_by_key(|b| b.spec.build.number);
        if let Some(build) = build.filter(|build| !tried(judge, &build.spec.build, None)) {
            return Some(promotion(judge, &build.spec.build, None, &build.spec.message));
        }
        if open.iter().any(|p| p.spec.component.as_ref() == Some(component)) {
            return None;
        }
        let (build, config) = configuration::next(judge, component)?;
        if tried(judge, &build, Some(&config)) {
            return None;
        }
        let subject = judge.facts.log.iter().find(|c| c.id == config).map(|c| c.subject.as_str());
        Some(promotion(judge, &build, Some(config.clone()), subject.unwrap_or_default()))
    })
}

fn theirs(promotion: &Promotion, component: &Component) -> bool {
    promotion.spec.class != Class::Auto && promotion.spec.component.as_ref().is_none_or(|c| c == component)
}

/// It is on its way, or was refused: asking again changes nothing.
fn tried(judge: &Judge<'_>, build: &BuildId, config: Option<&CommitId>) -> bool {
    judge.facts.promotions.iter().any(|p| {
        p.spec.class == Class::Auto
            && p.spec.environment == *judge.environment
            && p.spec.build.as_ref() == Some(build)
            && p.spec.config.as_ref() == config
            && (!p.status.phase.is_final() || (p.status.phase == PromotionPhase::Failed && p.status.commit.is_none()))
    })
}

fn promotion(judge: &Judge<'_>, id: &BuildId, config: Option<CommitId>, reason: &str) -> Promotion {
    let stem = match &config {
        None => format!("{}-{id}", judge.environment),
        Some(config) => format!("{}-{id}-config-{}", judge.environment, config.short()),
    };
    let spec = PromotionSpec {
        project: judge.facts.project.clone(),
        environment: judge.environment.clone(),
        class: Class::Auto,
        component: Some(id.component.clone()),
        build: Some(id.clone()),
        config,
        commit: None,
        requested_by: crate::ACTOR.to_owned(),
        reason: reason.to_owned(),
        created: judge.facts.now,
    };
    let name = free_name(judge.facts, &stem);
    Promotion { name, spec, status: PromotionStatus::default() }
}
