//! What a request would change: from a Promotion to the state that it asks for.

use crate::configuration;
use crate::gates::{Ask, Judge, all_open, gate};
use crate::state::{Delta, State};
use model::records::{BuildPhase, Class, Gate, GateName, GateState};
use model::release::Version;
use model::{BuildId, CommitId, Component, EnvironmentFile, Pin, Promotion};
use std::collections::{BTreeMap, BTreeSet};

/// What a request comes down to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Movement {
    /// What would stand, which components of it were asked for, and the gates between.
    To { target: State, own: BTreeSet<Component>, gates: Vec<Gate> },
    /// There is no pin to write yet.
    Wait(Vec<Gate>),
    /// It is there already.
    Already(String),
    /// It cannot be done; for people.
    Impossible(String),
}

/// What a promotion of class Auto, Promote or Rollback asks for. `head` is what stands on main.
pub(crate) fn movement(judge: &Judge<'_>, promotion: &Promotion, head: &State) -> Movement {
    match (promotion.spec.class, &promotion.spec.release) {
        (Class::Rollback, _) => back(judge, promotion, head),
        (_, Some(version)) => release(judge, promotion, version, head),
        (_, None) => build(judge, promotion, head),
    }
}

fn build(judge: &Judge<'_>, promotion: &Promotion, head: &State) -> Movement {
    let class = promotion.spec.class;
    let Some(component) = &promotion.spec.component else {
        return Movement::Impossible("a promotion names a component or a release".to_owned());
    };
    if promotion.spec.build.is_none() && judge.facts.undescribed.contains(component) {
        return removal(judge, promotion, component, head);
    }
    let Some(id) = promotion
        .spec
        .build
        .clone()
        .or_else(|| newest(judge, component))
        .or_else(|| configuration::ahead(judge, component, class, promotion.spec.config.as_ref()))
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
    let Some(pin) = pin(judge, &id, class, promotion.spec.config.as_ref()) else {
        return Movement::Wait(judge.build(&id, class));
    };
    if judge.history.pin(component).is_some_and(|there| configuration::same(judge.facts, there, &pin)) {
        return Movement::Already(format!("{id} is in {} already", judge.environment));
    }
    let own = BTreeSet::from([component.clone()]);
    let target = head.pinned(component, Some(&pin));
    let mut gates = own_gates(judge, promotion, &target, &own, false);
    gates.push(judge.quarantine(&id, class));
    with_others(judge, &mut gates, head, &own, false);
    Movement::To { target, own, gates }
}

/// What nothing describes any more goes, as it came: from environment to environment.
fn removal(judge: &Judge<'_>, promotion: &Promotion, component: &Component, head: &State) -> Movement {
    let environment = judge.environment;
    if judge.history.pin(component).is_none() {
        return Movement::Already(format!("{component} is described nowhere any more, and is not in {environment}"));
    }
    let own = BTreeSet::from([component.clone()]);
    let target = head.pinned(component, None);
    let mut gates = own_gates(judge, promotion, &target, &own, false);
    let from = judge.rule().map(|rule| rule.from.as_slice()).unwrap_or_default();
    let runs = |name: &&model::Environment| judge.before(name).is_some_and(|history| history.pin(component).is_some());
    gates.extend(from.iter().filter(runs).map(|name| {
        gate(GateName::HealthyIn, GateState::Waiting, format!("{component} still runs in {name}, which comes before"))
    }));
    with_others(judge, &mut gates, head, &own, false);
    Movement::To { target, own, gates }
}

fn release(judge: &Judge<'_>, promotion: &Promotion, version: &Version, head: &State) -> Movement {
    let environment = judge.environment;
    let Some(release) = judge.facts.releases.get(version) else {
        let known: Vec<String> = judge.facts.releases.keys().rev().take(5).map(ToString::to_string).collect();
        let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
        return Movement::Impossible(format!("there is no release {version}; there is: {known}"));
    };
    let target = head.released(version, release);
    // Components that the release does not know may stand beside it, before as after.
    if judge.history.state().is_some_and(|admitted| admitted.runs(&target)) {
        let label = target.label().unwrap_or_default();
        let beside = if target.release().is_some() { String::new() } else { format!(", as {label}") };
        return Movement::Already(format!("{version} is in {environment} already{beside}"));
    }
    let own: BTreeSet<Component> = target.pins.keys().chain(head.pins.keys()).cloned().collect();
    // A pin of a component that the release does not know stays, and may be held for its own reasons.
    let own: BTreeSet<Component> = own.into_iter().filter(|c| !target.beside.contains(c)).collect();
    let mut gates = own_gates(judge, promotion, &target, &own, true);
    with_others(judge, &mut gates, head, &own, true);
    Movement::To { target, own, gates }
}

/// The gates of what was asked for.
fn own_gates(
    judge: &Judge<'_>,
    promotion: &Promotion,
    target: &State,
    own: &BTreeSet<Component>,
    release: bool,
) -> Vec<Gate> {
    let delta = Delta::between(judge.history.state(), target).part(|c| own.contains(c), release);
    judge.gates(&delta, target, &Ask::of(promotion))
}

/// The newest build that may move by all it takes; else the newest that is on its way, to wait for.
fn newest(judge: &Judge<'_>, component: &Component) -> Option<BuildId> {
    let present = judge.history.pin(component).map_or(0, |pin| pin.build.number);
    let mut builds: Vec<&model::Build> =
        judge.facts.builds.iter().filter(|b| b.spec.build.component == *component).collect();
    builds.retain(|b| b.spec.build.number > present && !judge.history.quarantined.contains_key(&b.spec.build));
    builds.retain(|b| !matches!(b.status.phase, BuildPhase::Failed | BuildPhase::Superseded));
    builds.sort_by_key(|b| std::cmp::Reverse(b.spec.build.number));
    let passes = |b: &&&model::Build| b.status.phase == BuildPhase::Succeeded && proven(judge, &b.spec.build);
    builds.iter().find(passes).or(builds.first()).map(|b| b.spec.build.clone())
}

/// Whether a build has shown what can be shown before anybody asks for it.
pub(crate) fn proven(judge: &Judge<'_>, id: &BuildId) -> bool {
    let Some(rule) = judge.rule() else { return false };
    let mut gates = vec![judge.healthy(rule, id, None)];
    if all_open(&gates) {
        gates.extend(judge.soak(rule, id, None));
    }
    gates.iter().filter_map(|g| g.until).for_each(|at| judge.case.look_again(at));
    all_open(&gates)
}

/// The pin for a build, with the configuration that was asked for, or else chosen for it.
pub(crate) fn pin(judge: &Judge<'_>, id: &BuildId, class: Class, config: Option<&CommitId>) -> Option<Pin> {
    let build = judge.case.build(id)?;
    let (image, chart) = (build.status.image.clone(), build.status.chart.clone());
    if image.is_none() && chart.is_none() {
        return None;
    }
    let (source, config) = (build.spec.commit.clone(), configuration::chosen(judge, id, class, config));
    Some(Pin { build: id.clone(), source, image, chart, config })
}

fn back(judge: &Judge<'_>, promotion: &Promotion, head: &State) -> Movement {
    let Some(last) = judge.history.last() else {
        return Movement::Impossible(format!("nothing was ever admitted in {}", judge.environment));
    };
    let target = match goal(judge, promotion, last.state) {
        Ok(goal) => goal,
        Err(why) => return Movement::Impossible(why),
    };
    // Rules are those of main: only what runs goes back.
    let file = EnvironmentFile { release: target.file.release.clone(), ..head.file.clone() };
    // And secrets are those of main: no rollback brings their old values back.
    let (secrets, groups) = (head.secrets.clone(), head.groups.clone());
    let target = State { file, secrets, groups, ..target };
    if target.runs(last.state) && target.runs(head) {
        return Movement::Already(format!("{} runs that already", judge.environment));
    }
    let own: BTreeSet<Component> = target.pins.keys().chain(last.state.pins.keys()).cloned().collect();
    let mut gates = own_gates(judge, promotion, &target, &own, true);
    if gates.is_empty() {
        // Only what is held on main is taken back: nothing that runs moves.
        gates.push(judge.suspend());
    }
    Movement::To { target, own, gates }
}

/// Where a rollback goes: the admitted state with something of it put back.
fn goal(judge: &Judge<'_>, promotion: &Promotion, last: &State) -> Result<State, String> {
    let (environment, history) = (judge.environment, judge.history);
    if let Some(version) = &promotion.spec.release {
        let stood = history.steps.iter().rev().find(|s| s.state.release() == Some(version));
        let stood = stood
            .ok_or_else(|| format!("{version} never was in {environment}: a rollback goes back to what was there"))?;
        return Ok(stood.state.clone());
    }
    if let Some(id) = &promotion.spec.build {
        let stood = history.steps.iter().rev().find_map(|s| s.state.pins.get(&id.component).filter(|p| p.build == *id));
        let pin =
            stood.ok_or_else(|| format!("{id} never was in {environment}: a rollback goes back to what was there"))?;
        return Ok(last.pinned(&id.component, Some(pin)));
    }
    let nothing = || format!("there is nothing in {environment} to go back to: what is there is the first");
    let tops = history.moves.iter().filter_map(|(component, moves)| Some((*component, moves.last()?)));
    let tops: BTreeMap<&Component, _> =
        tops.filter(|(c, _)| promotion.spec.component.as_ref().is_none_or(|wanted| wanted == *c)).collect();
    let latest = tops.values().map(|top| top.step).max().ok_or_else(nothing)?;
    let release = history.changes(latest).release.filter(|_| promotion.spec.component.is_none());
    let whole = release.and_then(|(before, _)| before);
    let mut state = last.clone();
    let mut moved = false;
    for (component, top) in tops.into_iter().filter(|(_, top)| top.step == latest) {
        // What came new stays, unless a release brought it.
        if top.before.is_some() || whole.is_some() {
            state = state.pinned(component, top.before);
            moved = true;
        }
    }
    if release.is_some() && moved {
        let before = latest.checked_sub(1).map(|index| history.steps[index].state).ok_or_else(nothing)?;
        state = onto(&state, before);
    }
    if moved { Ok(state) } else { Err(nothing()) }
}

/// The same pins over the release of another state.
fn onto(state: &State, other: &State) -> State {
    let beside = |(component, pin): &(&Component, &Pin)| other.base.get(*component) != Some(*pin);
    let beside: BTreeSet<Component> = match other.file.release {
        Some(_) => state.pins.iter().filter(beside).map(|(component, _)| component.clone()).collect(),
        None => BTreeSet::new(),
    };
    let file = EnvironmentFile { release: other.file.release.clone(), ..state.file.clone() };
    State { file, base: other.base.clone(), beside, ..state.clone() }
}

/// The gates of hand edits on main that a movement would carry along: it waits for these, whatever keeps them, since
/// somebody may take them back.
fn with_others(judge: &Judge<'_>, gates: &mut Vec<Gate>, head: &State, own: &BTreeSet<Component>, release: bool) {
    let mut delta = Delta::between(judge.history.state(), head).part(|c| !own.contains(c), !release);
    if delta.is_empty() {
        return;
    }
    // What secrets take from the rest was asked of what would stand.
    delta.secrets.clear();
    let ask = judge.candidates().into_iter().next().map(|(_, _, ask)| ask).unwrap_or_default();
    for mut more in judge.gates(&delta, head, &ask) {
        if more.state != GateState::Open && !gates.iter().any(|g| g.message == more.message) {
            more.state = GateState::Waiting;
            more.message = format!("held on main: {}", more.message);
            gates.push(more);
        }
    }
}
