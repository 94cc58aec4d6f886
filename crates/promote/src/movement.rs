//! What a request would change: from a Promotion to the state that it asks for.

use crate::configuration;
use crate::facts::State;
use crate::gates::{Judge, all_open, gate};
use model::records::{BuildPhase, Class, Gate, GateName, GateState};
use model::{BuildId, Component, Pin, Promotion};
use std::collections::BTreeMap;

/// What a request comes down to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Movement {
    /// The pins that would stand, and the gates between.
    Pins { pins: BTreeMap<Component, Pin>, gates: Vec<Gate> },
    /// There is no pin to write yet.
    Wait(Vec<Gate>),
    /// It is there already.
    Already(String),
    /// It cannot be done; for people.
    Impossible(String),
}

/// What a promotion of class Auto, Promote or Rollback asks for. `head` is what stands on main.
pub(crate) fn movement(judge: &Judge<'_>, promotion: &Promotion, head: &State) -> Movement {
    match promotion.spec.class {
        Class::Rollback => back(judge, promotion, head),
        _ => forward(judge, promotion, head),
    }
}

fn forward(judge: &Judge<'_>, promotion: &Promotion, head: &State) -> Movement {
    let class = promotion.spec.class;
    let Some(component) = &promotion.spec.component else {
        return Movement::Impossible("a promotion names a component".to_owned());
    };
    let Some(id) = promotion
        .spec
        .build
        .clone()
        .or_else(|| newest(judge, component))
        .or_else(|| configuration::ahead(judge, promotion, component))
    else {
        return match judge.history.pin(component) {
            Some(pin) => {
                Movement::Already(format!("{} is in {} and there is no newer one", pin.build, judge.environment))
            }
            None => Movement::Wait(vec![gate(
                GateName::Built,
                GateState::Waiting,
                format!("{component} has no build that succeeded"),
            )]),
        };
    };
    let mut gates = judge.build(&id, class);
    let Some(pin) = pin(judge, promotion, &id) else { return Movement::Wait(gates) };
    gates.push(configuration::gate(judge, &pin));
    if judge.history.pin(component).is_some_and(|there| configuration::same(judge.facts, there, &pin)) {
        return Movement::Already(format!("{id} is in {} already", judge.environment));
    }
    let mut pins = head.pins.clone();
    pins.insert(component.clone(), pin);
    Movement::Pins { gates: with_others(judge, gates, head, &pins, class), pins }
}

/// The newest build that may move by all it takes; else the newest that is on its way, to wait for.
fn newest(judge: &Judge<'_>, component: &Component) -> Option<BuildId> {
    let present = judge.history.pin(component).map_or(0, |pin| pin.build.number);
    let rule = judge.rule()?;
    let mut builds: Vec<&model::Build> =
        judge.facts.builds.iter().filter(|b| b.spec.build.component == *component).collect();
    builds.retain(|b| b.spec.build.number > present && !judge.history.quarantined.contains(&b.spec.build));
    builds.retain(|b| !matches!(b.status.phase, BuildPhase::Failed | BuildPhase::Superseded));
    builds.sort_by_key(|b| std::cmp::Reverse(b.spec.build.number));
    let passes = |b: &&&model::Build| {
        b.status.phase == BuildPhase::Succeeded && all_open(&[judge.healthy(rule, &b.spec.build, None)])
    };
    builds.iter().find(passes).or(builds.first()).map(|b| b.spec.build.clone())
}

/// The pin for a build, with its configuration.
fn pin(judge: &Judge<'_>, promotion: &Promotion, id: &BuildId) -> Option<Pin> {
    let build = judge.facts.build(id)?;
    let (source, image) = (build.spec.commit.clone(), build.status.image.clone()?);
    Some(Pin { build: id.clone(), source, image, config: configuration::chosen(judge, promotion, id) })
}

fn back(judge: &Judge<'_>, promotion: &Promotion, head: &State) -> Movement {
    let Some(last) = judge.history.last() else {
        return Movement::Impossible(format!("nothing was ever admitted in {}", judge.environment));
    };
    let targets = match targets(judge, promotion) {
        Ok(targets) => targets,
        Err(why) => return Movement::Impossible(why),
    };
    let mut pins = last.state.pins.clone();
    pins.extend(targets);
    if pins == last.state.pins && pins == head.pins {
        return Movement::Already(format!("{} runs that already", judge.environment));
    }
    let rule = &last.state.file.promotion;
    let mut gates = vec![judge.suspend(), judge.strategy(rule.strategy, Class::Rollback)];
    gates.extend(judge.data_plane(&head.file));
    for pin in pins.iter().filter(|(c, p)| last.state.pins.get(*c) != Some(*p)).map(|(_, p)| p) {
        gates.push(judge.built(pin));
        gates.push(judge.healthy(rule, &pin.build, Some(pin)));
    }
    Movement::Pins { pins, gates }
}

/// Where a rollback goes: the pins to put back.
fn targets(judge: &Judge<'_>, promotion: &Promotion) -> Result<Vec<(Component, Pin)>, String> {
    let environment = judge.environment;
    if let Some(id) = &promotion.spec.build {
        let stood =
            judge.history.steps.iter().rev().find_map(|s| s.state.pins.get(&id.component).filter(|p| p.build == *id));
        let pin =
            stood.ok_or_else(|| format!("{id} never was in {environment}: a rollback goes back to what was there"))?;
        return Ok(vec![(id.component.clone(), pin.clone())]);
    }
    let tops = judge.history.moves.iter().filter_map(|(component, moves)| Some((*component, moves.last()?)));
    let tops: Vec<_> =
        tops.filter(|(c, _)| promotion.spec.component.as_ref().is_none_or(|wanted| wanted == *c)).collect();
    let latest = tops.iter().map(|(_, top)| top.step).max();
    let undone = tops.into_iter().filter(|(_, top)| Some(top.step) == latest);
    let back: Vec<_> = undone.filter_map(|(c, top)| Some((c.clone(), top.before?.clone()))).collect();
    match back.is_empty() {
        true => Err(format!("there is nothing in {environment} to go back to: what is there is the first")),
        false => Ok(back),
    }
}

/// The gates of a movement, and those of hand edits on main that it would carry along: it waits for these, whatever
/// keeps them, since somebody may take them back.
fn with_others(
    judge: &Judge<'_>,
    mut gates: Vec<Gate>,
    head: &State,
    pins: &BTreeMap<Component, Pin>,
    class: Class,
) -> Vec<Gate> {
    let candidate = State { pins: pins.clone(), ..head.clone() };
    for mut more in judge.state(&candidate, class) {
        if more.state != GateState::Open && !gates.iter().any(|g| g.message == more.message) {
            more.state = GateState::Waiting;
            more.message = format!("held on main: {}", more.message);
            gates.push(more);
        }
    }
    gates
}
