//! The strategy Auto: the newest that all gates let through, by itself.

use crate::configuration;
use crate::decide::free_name;
use crate::gates::Judge;
use crate::movement::proven;
use crate::state::State;
use model::config::Strategy;
use model::records::{BuildPhase, Class, PromotionPhase, PromotionSpec, PromotionStatus};
use model::release::Version;
use model::{BuildId, CommitId, Component, Promotion};
use std::collections::BTreeMap;

/// The next promotion that the strategy asks for, one at a time. `open`: requests that have written nothing yet.
pub(crate) fn auto(judge: &Judge<'_>, head: &State, open: &[&Promotion]) -> Option<Promotion> {
    let rule = judge.rule().filter(|rule| rule.strategy == Strategy::Auto)?;
    if rule.requires.certified {
        return release(judge, head, open);
    }
    let mut builds: BTreeMap<&Component, Vec<&BuildId>> = BTreeMap::new();
    for build in judge.facts.builds.iter().filter(|b| b.status.phase == BuildPhase::Succeeded) {
        builds.entry(&build.spec.build.component).or_default().push(&build.spec.build);
    }
    builds.into_iter().find_map(|(component, mut builds)| {
        let admitted = judge.history.pin(component);
        // A hand edit that is held, or a request of a person, comes first.
        if head.pins.get(component) != admitted || open.iter().any(|p| theirs(p, component)) {
            return None;
        }
        if judge.facts.undescribed.contains(component) {
            let asked = tried(judge, |p| p.spec.component.as_ref() == Some(component) && p.spec.build.is_none());
            let reason = format!("{component} is described nowhere any more");
            let spec = PromotionSpec { component: Some(component.clone()), reason, ..spec(judge) };
            let first = judge
                .rule()?
                .from
                .iter()
                .all(|name| judge.before(name).is_none_or(|history| history.pin(component).is_none()));
            return (admitted.is_some() && first && !asked)
                .then(|| promotion(judge, &format!("{component}-removed"), spec));
        }
        builds.retain(|id| id.number > admitted.map_or(0, |pin| pin.build.number));
        builds.sort();
        let build = builds.into_iter().rev().find(|id| !quarantined(judge, id) && proven(judge, id));
        let (build, config, reason) = match build.filter(|build| !tried_build(judge, build, None)) {
            Some(build) => (build.clone(), None, judge.case.build(build).map(|b| b.spec.message.as_str())),
            // A build that is on its way gets the newest configuration anyway.
            None if open.iter().any(|p| p.spec.component.as_ref() == Some(component) && p.spec.config.is_none()) => {
                return None;
            }
            None => {
                let (build, config) = configuration::next(judge, component)?;
                if tried_build(judge, &build, Some(&config)) {
                    return None;
                }
                let subject = judge.facts.log.iter().find(|c| c.id == config).map(|c| c.subject.as_str());
                (build, Some(config), subject)
            }
        };
        let what = match &config {
            None => build.to_string(),
            Some(config) => format!("{build}-config-{}", config.short()),
        };
        let spec = PromotionSpec {
            component: Some(component.clone()),
            build: Some(build),
            config,
            reason: reason.unwrap_or_default().to_owned(),
            ..spec(judge)
        };
        Some(promotion(judge, &what, spec))
    })
}

/// The newest release that is certified wherever the rule says.
fn release(judge: &Judge<'_>, head: &State, open: &[&Promotion]) -> Option<Promotion> {
    let rule = judge.rule()?;
    let present = judge.history.state().and_then(|state| state.file.release.as_ref());
    let same = judge.history.state().is_some_and(|state| state.pins == head.pins);
    if !same || !open.is_empty() {
        return None;
    }
    let passes = |version: &&Version| {
        let release = &judge.facts.releases[*version];
        present.is_none_or(|present| present < version)
            && release.file.pins.values().all(|pin| !quarantined(judge, &pin.build))
            && release.file.pins.values().all(|pin| !configuration::barred(judge, &pin.build, &pin.config))
            && rule.from.iter().all(|e| judge.is_certified(version, e))
    };
    let version = judge.facts.releases.keys().rev().find(passes)?;
    let spec = PromotionSpec { release: Some(version.clone()), ..spec(judge) };
    (!tried(judge, |p| p.spec.release.as_ref() == Some(version))).then(|| promotion(judge, &version.to_string(), spec))
}

fn theirs(promotion: &Promotion, component: &Component) -> bool {
    promotion.spec.class != Class::Auto && promotion.spec.component.as_ref().is_none_or(|c| c == component)
}

/// Whether somebody went back from it, and until when that counts.
fn quarantined(judge: &Judge<'_>, build: &BuildId) -> bool {
    let quarantine = judge.history.quarantined.get(build);
    quarantine.inspect(|q| judge.case.look_again(q.until)).is_some()
}

fn tried_build(judge: &Judge<'_>, build: &BuildId, config: Option<&CommitId>) -> bool {
    tried(judge, |p| p.spec.build.as_ref() == Some(build) && p.spec.config.as_ref() == config)
}

/// It is on its way, was refused, or a person took it back: asking again changes nothing.
fn tried(judge: &Judge<'_>, of_it: impl Fn(&Promotion) -> bool) -> bool {
    judge.facts.promotions.iter().any(|p| {
        let given_up = matches!(p.status.phase, PromotionPhase::Failed | PromotionPhase::Cancelled);
        p.spec.class == Class::Auto
            && p.spec.environment == *judge.environment
            && of_it(p)
            && (!p.status.phase.is_final() || (given_up && p.status.commit.is_none()))
    })
}

fn spec(judge: &Judge<'_>) -> PromotionSpec {
    PromotionSpec::new(&judge.facts.project, judge.environment, Class::Auto, crate::ACTOR, judge.facts.now)
}

fn promotion(judge: &Judge<'_>, what: &str, spec: PromotionSpec) -> Promotion {
    let name = free_name(judge.facts, &format!("{}-{what}", judge.environment));
    Promotion { name, spec, status: PromotionStatus::default() }
}
