//! Configuration and secrets: which commit of the config repository a pin carries, when that moves by itself, and what
//! changes of secrets move.
//!
//! What a build is given by a commit of the config repository is an [`Input`]: digests that the caller worked out. Two
//! commits with equal inputs are the same configuration for that build, and nothing moves between them.

use crate::case::Case;
use crate::facts::Facts;
use crate::gates::Judge;
use crate::history::Step;
use crate::state::{Delta, State};
use model::journal::EntryKind;
use model::ports::Commit;
use model::records::{Class, Gate, GateName, GateState};
use model::{BuildId, CommitId, Component, Digest, Environment, Group, Pin};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What a build is given with one commit of the config repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Input {
    /// Per environment a digest of what is given there, or why nothing can be given: for people.
    pub environments: BTreeMap<Environment, Result<Digest, String>>,
    /// Secrets that the component names.
    pub secrets: BTreeSet<Group>,
}

/// The inputs that decisions look at. What is missing here is taken to be right, and like nothing else.
#[derive(Debug, Clone, Default)]
pub struct Inputs(Arc<HashMap<BuildId, BTreeMap<CommitId, Arc<Input>>>>);

impl Inputs {
    /// Adds what a build is given with a commit.
    pub fn insert(&mut self, build: BuildId, config: CommitId, input: Arc<Input>) {
        Arc::make_mut(&mut self.0).entry(build).or_default().insert(config, input);
    }
    /// What a build is given with a commit.
    pub fn get(&self, build: &BuildId, config: &CommitId) -> Option<&Input> {
        self.0.get(build)?.get(config).map(Arc::as_ref)
    }
}

/// The newest commit on main that may have changed the configuration of a component. Merges name no paths.
pub fn newest_configuration(facts: &Facts) -> Option<CommitId> {
    facts.log.iter().find(|commit| configures(commit)).map(|c| c.id.clone())
}

fn configures(commit: &Commit) -> bool {
    let touches = |path: &String| model::config::configures(path);
    commit.paths.is_empty() || commit.paths.iter().any(touches)
}

/// Who wrote the configuration that comes new with a pin.
pub(crate) fn authors<'a>(
    judge: &Judge<'a>,
    before: Option<&Pin>,
    after: &Pin,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let log = &judge.facts.log;
    let (new, old) = (judge.case.age(&after.config), before.map_or(0, |before| judge.case.age(&before.config)));
    let between = log.get(new..old.min(log.len())).unwrap_or_default();
    between.iter().filter(|commit| configures(commit)).map(|commit| commit.author.as_str())
}

/// What a decision compares.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// States: at head, and admitted.
    pub standing: Vec<(Environment, CommitId)>,
    /// What somebody went back from: decisions ask whether something newer is the same.
    pub retracted: BTreeSet<(BuildId, CommitId)>,
}

/// What a decision about these facts compares.
pub fn compared(facts: &Facts) -> Compared {
    let case = Case::of(facts);
    let mut compared = Compared::default();
    for environment in &facts.environments {
        compared.standing.push((environment.clone(), facts.head.clone()));
        let Some(history) = case.history(environment) else { continue };
        compared.standing.extend(history.last().map(|step| (environment.clone(), step.commit.clone())));
        let retracted = history.undone.iter().map(|undone| undone.after);
        compared.retracted.extend(retracted.map(|pin| (pin.build.clone(), pin.config.clone())));
    }
    compared
}

impl Facts {
    /// True if a build gets the same in every environment.
    pub(crate) fn same_input(&self, build: &BuildId, a: &CommitId, b: &CommitId) -> bool {
        let input = |config| self.inputs.get(build, config).map(|input| &input.environments);
        a == b || input(a).is_some_and(|a| Some(a) == input(b))
    }
}

/// True if both run the same, configured in the same way.
pub(crate) fn same(facts: &Facts, a: &Pin, b: &Pin) -> bool {
    let runs = |pin: &Pin| (pin.build.clone(), pin.source.clone(), pin.image.clone(), pin.chart.clone());
    runs(a) == runs(b) && facts.same_input(&a.build, &a.config, &b.config)
}

/// The commit that a pin of this build would carry: the one that was asked for, the one with which it was healthy in the
/// environment before, the one that it had here; else the newest that nobody went back from.
pub(crate) fn chosen(judge: &Judge<'_>, id: &BuildId, class: Class, asked: Option<&CommitId>) -> CommitId {
    if let Some(asked) = asked {
        return asked.clone();
    }
    if let Some(pin) = carried(judge, id) {
        return pin.config.clone();
    }
    let stood =
        || judge.history.steps.iter().rev().find_map(|s| s.state.pins.get(&id.component).filter(|p| p.build == *id));
    if let Some(pin) = stood().filter(|_| class != Class::Auto) {
        return pin.config.clone();
    }
    let newest = judge.case.newest_configuration().cloned().unwrap_or_else(|| judge.facts.head.clone());
    match judge.history.pin(&id.component) {
        Some(present) if barred(judge, id, &newest) => present.config.clone(),
        _ => newest,
    }
}

/// The pin with which a build was healthy last in an environment that comes before.
fn carried<'a>(judge: &Judge<'a>, id: &BuildId) -> Option<&'a Pin> {
    let from = &judge.rule()?.from;
    from.iter().find_map(|environment| {
        let told = judge.case.health(EntryKind::Healthy, environment, id).iter().rev();
        let pin = |commit: &CommitId| judge.facts.state(commit, environment)?.as_ref().ok()?.pins.get(&id.component);
        told.filter_map(|(_, entry)| pin(entry.commit.as_ref()?)).find(|pin| pin.build == *id)
    })
}

/// The build that is there, if there is other configuration for it than what it has.
pub(crate) fn ahead(
    judge: &Judge<'_>,
    component: &Component,
    class: Class,
    asked: Option<&CommitId>,
) -> Option<BuildId> {
    let present = judge.history.pin(component)?;
    let chosen = chosen(judge, &present.build, class, asked);
    (!judge.facts.same_input(&present.build, &present.config, &chosen)).then(|| present.build.clone())
}

/// What the strategy Auto moves when no build does: the admitted build with newer configuration. Where an environment comes
/// before, it is that with which the build was healthy there.
pub(crate) fn next(judge: &Judge<'_>, component: &Component) -> Option<(BuildId, CommitId)> {
    let present = judge.history.pin(component)?;
    let rule = judge.rule()?;
    let newest = match rule.from.is_empty() {
        true => judge.case.newest_configuration()?.clone(),
        false => carried(judge, &present.build)?.config.clone(),
    };
    let newer = judge.case.age(&newest) < judge.case.age(&present.config);
    let differs = !judge.facts.same_input(&present.build, &present.config, &newest);
    (newer && differs && !barred(judge, &present.build, &newest)).then(|| (present.build.clone(), newest))
}

/// True if somebody went back from this configuration of the component: from it alone, or from this build with it.
pub(crate) fn barred(judge: &Judge<'_>, build: &BuildId, config: &CommitId) -> bool {
    let undone = judge.history.undone.iter().find(|undone| {
        undone.after.build.component == build.component
            && (undone.moved_alone() || undone.after.build == *build)
            && judge.facts.same_input(&undone.after.build, &undone.after.config, config)
    });
    undone.inspect(|undone| judge.case.look_again(undone.quarantine.until)).is_some()
}

/// Whether a pin can be given what its component asks for.
pub(crate) fn gate(judge: &Judge<'_>, pin: &Pin) -> Gate {
    let input = judge.facts.inputs.get(&pin.build, &pin.config);
    let (state, message) = match input.and_then(|input| input.environments.get(judge.environment)) {
        Some(Err(why)) => (GateState::Waiting, why.clone()),
        Some(Ok(_)) | None => {
            (GateState::Open, format!("configuration {} has all that {} needs", pin.config.short(), pin.build))
        }
    };
    crate::gates::gate(GateName::Configuration, state, message)
}

/// Secrets whose values differ.
pub(crate) fn rotated<'s>(before: Option<&'s State>, after: &'s State) -> BTreeSet<&'s Group> {
    let Some(before) = before else { return BTreeSet::new() };
    let names = before.secrets.keys().chain(after.secrets.keys());
    names.filter(|name| before.secrets.get(*name) != after.secrets.get(*name)).collect()
}

/// What a change of secrets takes from components that stay as they are: the gates that they still have all they need.
pub(crate) fn lacking(judge: &Judge<'_>, delta: &Delta<'_>, candidate: &State) -> Vec<Gate> {
    if delta.secrets.is_empty() {
        return Vec::new();
    }
    let stays = |pin: &&Pin| delta.components().all(|component| *component != pin.build.component);
    let gates = candidate.pins.values().filter(stays).map(|pin| gate(judge, pin));
    gates.filter(|gate| gate.state != GateState::Open).collect()
}

/// `secret common`, for people.
pub(crate) fn rotation_text(secrets: &BTreeSet<&Group>) -> String {
    let names: Vec<&str> = secrets.iter().map(|name| name.as_str()).collect();
    format!("secret {}", names.join(", "))
}

/// Components whose secrets a step changed.
pub(crate) fn consumers<'a>(judge: &Judge<'a>, step: usize) -> Vec<(&'a Component, Option<&'a BuildId>)> {
    let steps = &judge.history.steps;
    let state = steps[step].state;
    let rotated = rotated(step.checked_sub(1).map(|previous| steps[previous].state), state);
    let uses = |pin: &&Pin| uses(judge.facts, pin).is_some_and(|uses| uses.iter().any(|name| rotated.contains(name)));
    state.pins.values().filter(uses).map(|pin| (&pin.build.component, Some(&pin.build))).collect()
}

fn uses<'a>(facts: &'a Facts, pin: &Pin) -> Option<&'a BTreeSet<Group>> {
    facts.inputs.get(&pin.build, &pin.config).map(|input| &input.secrets)
}

/// The step since which a component runs as it does now: with its pin, and with the values of its secrets.
pub(crate) fn since<'a>(judge: &Judge<'a>, component: &Component) -> Option<&'a Step<'a>> {
    let history = judge.history;
    let (last, pin) = (history.last()?, history.pin(component)?);
    let unchanged = |step: &&Step<'_>| {
        let rotated = || rotated(Some(step.state), last.state);
        let touched = || uses(judge.facts, pin).is_some_and(|uses| rotated().iter().any(|name| uses.contains(*name)));
        step.state.pins.get(component) == Some(pin) && !touched()
    };
    history.steps.iter().rev().take_while(unchanged).last()
}
