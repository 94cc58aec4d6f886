//! What became of an admitted promotion.

use crate::configuration;
use crate::gates::{Ask, Judge};
use crate::history::Step;
use model::journal::EntryKind;
use model::records::{Class, PromotionPhase, PromotionStatus};
use model::{BuildId, Component, Promotion};

/// The admission that carries a promotion's commit: the one of that commit, or of a later one.
pub(crate) fn covering<'a>(judge: &Judge<'a>, promotion: &'a Promotion) -> Option<usize> {
    let commit = judge.case.effect(promotion)?;
    let age = judge.case.age(commit);
    let covers = |step: &Step<'_>| {
        let named = step.entry.promotion.as_ref() == Some(&promotion.name);
        named || step.commit == commit || (age != usize::MAX && judge.case.age(step.commit) < age)
    };
    judge.history.steps.iter().position(covers)
}

/// Its status, given the admission that carries it.
pub(crate) fn outcome<'a>(judge: &Judge<'a>, promotion: &'a Promotion, step: usize) -> PromotionStatus {
    let mut status = PromotionStatus { phase: PromotionPhase::Admitted, ..promotion.status.clone() };
    if promotion.status.phase != PromotionPhase::Admitted {
        // What the gates said: judged against what was admitted before.
        let before = judge.history.upto(step, judge.facts.now);
        let (case, facts, environment) = (judge.case, judge.facts, judge.environment);
        let passed = Judge { case, facts, environment, history: &before, suspended: false };
        status.gates =
            passed.state(judge.history.steps[step].commit, judge.history.steps[step].state, &Ask::of(promotion));
        let delta = judge.history.changes(step);
        status.change = match promotion.spec.class {
            Class::Secret => delta.part(|_| false, false).text(),
            _ => delta.text(),
        };
        status.commit = judge.case.effect(promotion).cloned();
        status.message.clear();
    }
    let fates: Vec<Fate> = moved(judge, promotion, step).into_iter().map(|(c, b)| fate(judge, step, c, b)).collect();
    // What stands may be admitted and yet not be applied, as long as nobody answers there.
    let file = &judge.history.steps[step].state.file;
    status.message = judge.facts.unreachable(file).map(str::to_owned).unwrap_or_default();
    let ended = if let Some(Fate::Failed(why)) = fates.iter().find(|f| matches!(f, Fate::Failed(_))) {
        Some((PromotionPhase::Failed, why.clone()))
    } else if fates.iter().all(|f| *f == Fate::Healthy) {
        Some((PromotionPhase::Succeeded, String::new()))
    } else if fates.contains(&Fate::Superseded) {
        Some((PromotionPhase::Superseded, "another movement came after it".to_owned()))
    } else {
        None
    };
    if let Some((phase, message)) = ended {
        status = PromotionStatus { phase, message, finished: Some(judge.facts.now), ..status };
    }
    status
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Underway,
    Healthy,
    Failed(String),
    Superseded,
}

/// What it moved, `None` for what it removed.
fn moved<'a>(judge: &Judge<'a>, promotion: &Promotion, step: usize) -> Vec<(&'a Component, Option<&'a BuildId>)> {
    if promotion.spec.class == Class::Secret {
        return configuration::consumers(judge, step);
    }
    let of_it = |component: &Component| promotion.spec.component.as_ref().is_none_or(|c| c == component);
    let changes = judge.history.changes(step).pins.into_iter().filter(|(c, _, _)| of_it(c));
    changes.map(|(component, _, after)| (component, after.map(|pin| &pin.build))).collect()
}

fn fate(judge: &Judge<'_>, step: usize, component: &Component, build: Option<&BuildId>) -> Fate {
    let Some(build) = build else { return Fate::Healthy };
    let steps = &judge.history.steps;
    let next =
        (step + 1..steps.len()).find(|s| steps[*s].state.pins.get(component) != steps[step].state.pins.get(component));
    let until = next.map_or(usize::MAX, |s| steps[s].place);
    let told = |kind| tells(judge, kind, build, steps[step].place..until);
    if told(EntryKind::Healthy).is_some() {
        return Fate::Healthy;
    }
    match told(EntryKind::Failed) {
        Some(why) => Fate::Failed(why),
        None if next.is_some() => Fate::Superseded,
        None => Fate::Underway,
    }
}

/// What the journal tells about a build in an environment, in a stretch of it.
fn tells(judge: &Judge<'_>, kind: EntryKind, build: &BuildId, stretch: std::ops::Range<usize>) -> Option<String> {
    let mut entries = judge.case.health(kind, judge.environment, build).iter();
    let (_, entry) = entries.find(|(place, _)| stretch.contains(place))?;
    Some(if entry.reason.is_empty() { entry.summary.clone() } else { entry.reason.clone() })
}
