//! The conditions of a movement, each a pure judgement with a sentence for people.

mod consent;
mod evidence;
mod proof;
mod window;

pub use consent::{Approver, approve};

use crate::case::Case;
use crate::configuration;
use crate::facts::{Facts, beyond};
use crate::history::History;
use crate::state::{Delta, State};
use model::config::{PromotionRule, Strategy};
use model::ports::Commit;
use model::records::{BuildPhase, Class, Gate, GateName, GateState};
use model::views::Prospects;
use model::{Build, BuildId, CommitId, Component, Environment, EnvironmentFile, Promotion};
use std::collections::{BTreeMap, BTreeSet};

/// Open gates of one name that are shown each by itself.
const SHOWN_MAX: usize = 3;

/// Judges movements into one environment. The rule is that of the last admitted state, so that a commit cannot open
/// its own gate; a new environment is judged by its first file.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub case: &'a Case<'a>,
    pub facts: &'a Facts,
    pub environment: &'a Environment,
    pub history: &'a History<'a>,
    pub suspended: bool,
}

/// Who asks for a movement, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask<'a> {
    /// `None`: by a commit.
    pub class: Option<Class>,
    /// Some person wants it now: windows may let that through.
    pub manual: bool,
    /// Who asked for it or wrote it.
    pub by: BTreeSet<&'a str>,
    /// The change that all of it belongs to.
    pub change_ref: Option<&'a str>,
    /// Emergency: gates that could be waited for are passed.
    pub overriding: Option<&'a str>,
    /// Gates and what they should let through are changed at once.
    pub moves_windows: bool,
}

impl<'a> Ask<'a> {
    /// As a promotion has it.
    pub fn of(promotion: &'a Promotion) -> Self {
        let spec = &promotion.spec;
        Self {
            class: Some(spec.class).filter(|class| !class.is_commit()),
            manual: spec.class != Class::Auto,
            by: BTreeSet::from([spec.requested_by.as_str()]),
            change_ref: spec.change_ref.as_deref(),
            overriding: spec.overriding.as_deref(),
            moves_windows: false,
        }
    }

    /// As commits on main have it, all together.
    fn of_commits(case: &Case<'a>, environment: &Environment, commits: &[&'a Commit]) -> Self {
        let promotions: Vec<Option<&Promotion>> = commits
            .iter()
            .map(|commit| {
                let name = commit.trailer(crate::TRAILER_ID)?;
                case.facts.promotions.iter().find(|p| p.name == name && p.spec.environment == *environment)
            })
            .collect();
        let common = |of: &dyn Fn(&'a Commit) -> Option<&'a str>| {
            commits.iter().map(|commit| of(commit)).collect::<Option<Vec<_>>>().and_then(|all| all.first().copied())
        };
        let overriding: Option<Vec<&str>> =
            promotions.iter().map(|p| p.and_then(|p| p.spec.overriding.as_deref())).collect();
        Self {
            class: None,
            manual: !promotions.iter().all(|p| p.is_some_and(|p| p.spec.class == Class::Auto)),
            by: commits.iter().map(|commit| commit.author.as_str()).collect(),
            change_ref: common(&|commit| commit.trailer(crate::TRAILER_CHANGE)),
            overriding: overriding.and_then(|all| all.first().copied()),
            moves_windows: commits.iter().any(|commit| commit.paths.iter().any(|p| p == crate::WINDOWS)),
        }
    }
}

impl<'a> Judge<'a> {
    pub fn new(case: &'a Case<'a>, environment: &'a Environment, history: &'a History<'a>) -> Self {
        let facts = case.facts;
        // The file at head decides: who may write it may suspend, and may lift it, whatever else is held.
        let state = facts.at_head(environment).or(history.state());
        let suspended = state.is_some_and(|state| state.file.suspend);
        Self { case, facts, environment, history, suspended }
    }

    /// The rule in force; `None` if the environment has never been readable.
    pub fn rule(&self) -> Option<&'a PromotionRule> {
        self.history.state().or_else(|| self.facts.at_head(self.environment)).map(|s| &s.file.promotion)
    }

    /// What an environment before this one has been through.
    pub fn before(&self, environment: &Environment) -> Option<&'a History<'a>> {
        self.case.history(environment)
    }

    /// What stands on main beyond the admitted state, newest first: commit, reading, and who asks for all up to it.
    pub fn candidates(&self) -> Vec<(&'a Commit, &'a State, Ask<'a>)> {
        let admitted = self.history.last().map(|s| s.commit);
        // What was taken back again on main asks for nothing.
        let undone = |commit: &&Commit| {
            let reading = self.facts.state(&commit.id, self.environment);
            reading
                .is_some_and(|reading| reading.as_ref().ok() == self.history.state() && self.history.last().is_some())
        };
        let commits: Vec<&Commit> =
            beyond(&self.facts.log, admitted, self.environment).take_while(|commit| !undone(commit)).collect();
        let found = commits.iter().enumerate().filter_map(|(index, commit)| {
            let state = self.facts.state(&commit.id, self.environment)?.as_ref().ok()?;
            Some((*commit, state, Ask::of_commits(self.case, self.environment, &commits[index..])))
        });
        found.collect()
    }

    /// Every gate between the admitted state and this one. None if nothing moves: rules and overrides of an
    /// environment, its suspension too, take effect at once, and so do secrets unless they are gone.
    pub fn state(&self, commit: &CommitId, candidate: &State, ask: &Ask<'_>) -> Vec<Gate> {
        let mut gates = self.gates(&Delta::between(self.history.state(), candidate), candidate, ask);
        gates.extend(self.signature(commit));
        gates
    }

    /// Every gate before a movement. `target`: what would stand.
    pub fn gates(&self, delta: &Delta<'_>, target: &State, ask: &Ask<'_>) -> Vec<Gate> {
        let lacking = configuration::lacking(self, delta, target);
        if delta.is_empty() {
            return lacking;
        }
        let rule = self.history.state().map_or(&target.file.promotion, |s| &s.file.promotion);
        let mut gates = vec![self.suspend(), self.strategy(rule.strategy, ask.class)];
        gates.extend(self.review(ask.class));
        let pins: Vec<_> = delta.pins.iter().filter_map(|(_, _, after)| *after).collect();
        gates.extend(pins.iter().map(|pin| self.built(pin)));
        gates.extend(pins.iter().map(|pin| self.healthy(rule, &pin.build, Some(pin))));
        gates.extend(pins.iter().map(|pin| configuration::gate(self, pin)));
        gates.extend(lacking);
        gates.extend(self.data_plane(&target.file));
        let back = self.goes_back(delta, target);
        gates.extend(self.policies(delta, target, ask, back));
        if !back {
            gates.extend(self.signatures(delta, target));
            gates.extend(pins.iter().filter_map(|pin| self.soak(rule, &pin.build, Some(pin))));
            gates.extend(self.checks(rule, delta, target));
            gates.extend(self.certified(rule, target));
            let (window, approval) = self.window(rule, delta, ask);
            gates.extend(window);
            gates.extend(self.approvals(rule, delta, target, ask, approval));
            gates.extend(self.change_ref(rule, ask));
        }
        let gates = gates.into_iter().map(|gate| overridden(gate, ask)).collect();
        let gates = gathered(gates);
        self.note(&gates);
        gates
    }

    /// The gates for a build of which there is no pin yet.
    pub fn build(&self, id: &BuildId, class: Class) -> Vec<Gate> {
        let rule = self.rule().cloned().unwrap_or_default();
        let mut gates = vec![
            self.suspend(),
            self.strategy(rule.strategy, Some(class)),
            self.exists(id),
            self.healthy(&rule, id, None),
            self.quarantine(id, class),
        ];
        gates.extend(self.facts.at_head(self.environment).and_then(|head| self.data_plane(&head.file)));
        gates
    }

    /// Whether the cluster answers that the environment runs on. Only of one that can be gone.
    pub fn data_plane(&self, file: &EnvironmentFile) -> Option<Gate> {
        let plane = file.remote()?;
        Some(match self.facts.unreachable(file) {
            Some(why) => gate(GateName::DataPlane, GateState::Waiting, why.to_owned()),
            None => gate(GateName::DataPlane, GateState::Open, format!("data plane {plane} answers")),
        })
    }

    /// What is shut is looked at again when it says so.
    fn note(&self, gates: &[Gate]) {
        gates
            .iter()
            .filter(|g| g.state != GateState::Open)
            .filter_map(|g| g.until)
            .for_each(|at| self.case.look_again(at));
    }

    pub fn suspend(&self) -> Gate {
        let environment = self.environment;
        match self.suspended {
            true => gate(
                GateName::Suspend,
                GateState::Waiting,
                format!("{environment} is suspended (environments/{environment}.yaml)"),
            ),
            false => gate(GateName::Suspend, GateState::Open, format!("{environment} is not suspended")),
        }
    }

    pub fn strategy(&self, strategy: Strategy, class: Option<Class>) -> Gate {
        let environment = self.environment;
        let (state, message) = match (strategy, class) {
            (_, None | Some(Class::Commit | Class::Secret)) => (GateState::Open, "asked for by a commit".to_owned()),
            (Strategy::Never, _) => (
                GateState::Closed,
                format!("only a commit by hand moves {environment}: change its files in the config repository"),
            ),
            (Strategy::Manual, Some(Class::Auto)) => {
                (GateState::Closed, format!("{environment} moves only when a person asks for it"))
            }
            (Strategy::Manual, _) => (GateState::Open, "asked for by a person".to_owned()),
            (Strategy::Auto, _) => (GateState::Open, format!("{environment} takes new builds by itself")),
        };
        gate(GateName::Strategy, state, message)
    }

    /// Where changes are reviewed, a person's command opens a Change: what others have looked at is a commit on main.
    pub fn review(&self, class: Option<Class>) -> Option<Gate> {
        let state = self.history.state().or_else(|| self.facts.at_head(self.environment))?;
        let environment = self.environment;
        let closed = class == Some(Class::Promote) && state.file.is_reviewed();
        closed.then(|| {
            let message = format!("changes to {environment} are reviewed: `trimtab promote` opens a Change");
            gate(GateName::Review, GateState::Closed, message)
        })
    }

    /// Whether somebody went back from it. Asking for it by name puts it back.
    pub fn quarantine(&self, id: &BuildId, class: Class) -> Gate {
        let environment = self.environment;
        let Some(quarantine) = self.history.quarantined.get(id) else {
            return gate(GateName::Quarantine, GateState::Open, format!("{id} was not rolled back"));
        };
        let why = if quarantine.reason.is_empty() { String::new() } else { format!(" ({})", quarantine.reason) };
        match class {
            Class::Auto => Gate {
                until: Some(quarantine.until),
                ..gate(GateName::Quarantine, GateState::Waiting, format!("{id} was rolled back in {environment}{why}"))
            },
            _ => gate(
                GateName::Quarantine,
                GateState::Open,
                format!("{id} was rolled back in {environment}{why} and is asked for again"),
            ),
        }
    }
}

/// Gates that an emergency passes. What was never built, is suspended, or is nobody's to ask for stays shut.
fn overridden(mut gate: Gate, ask: &Ask<'_>) -> Gate {
    use GateName::{Approvals, Certified, ChangeRef, Checks, HealthyIn, Review, Soak, Window};
    let waits = matches!(gate.name, HealthyIn | Soak | Checks | Certified | Window | Approvals | ChangeRef | Review);
    if let Some(reason) = ask.overriding.filter(|_| waits && gate.state != GateState::Open) {
        gate.message = format!("overridden ({reason}): {}", gate.message);
        (gate.state, gate.until) = (GateState::Open, None);
    }
    gate
}

/// Whether an emergency was needed.
pub(crate) fn was_overridden(gates: &[Gate]) -> bool {
    gates.iter().any(|g| g.state == GateState::Open && g.message.starts_with("overridden ("))
}

/// Many open gates of one name become one: a release has as many as it has components.
fn gathered(gates: Vec<Gate>) -> Vec<Gate> {
    let mut shown: Vec<Gate> = Vec::with_capacity(gates.len());
    let plain = |g: &Gate| g.state == GateState::Open && !g.message.starts_with("overridden (");
    let count = |name| gates.iter().filter(|g| g.name == name && plain(g)).count();
    let mut told = Vec::new();
    for gate in &gates {
        let of_name = count(gate.name);
        if !plain(gate) || of_name <= SHOWN_MAX {
            shown.push(gate.clone());
        } else if !told.contains(&gate.name) {
            told.push(gate.name);
            let message = format!("{}, and {} more alike", gate.message, of_name - 1);
            shown.push(Gate { message, ..gate.clone() });
        }
    }
    shown
}

/// What stands between the newest build of a component and an environment: as the strategy Auto finds it, elsewhere as a
/// person's command would. `None` if there is no newer build than the one that is admitted.
pub fn prospect(facts: &Facts, environment: &Environment, component: &Component) -> Option<(BuildId, Vec<Gate>)> {
    let case = Case::of(facts);
    let environment = facts.environments.iter().find(|e| *e == environment)?;
    let builds = facts.builds.iter().filter(|build| build.spec.build.component == *component);
    prospects_in(&case, environment, &newest(builds)).pop_first().map(|(_, prospect)| prospect)
}

/// [`prospect`] of all components in all environments.
pub fn prospects(facts: &Facts) -> BTreeMap<Environment, Prospects> {
    let (case, newest) = (Case::of(facts), newest(facts.builds.iter()));
    let one = |environment| (Environment::clone(environment), prospects_in(&case, environment, &newest));
    facts.environments.iter().map(one).collect()
}

/// The newest build of each component.
fn newest<'b>(builds: impl Iterator<Item = &'b Build>) -> BTreeMap<&'b Component, &'b BuildId> {
    let mut newest: BTreeMap<&Component, &BuildId> = BTreeMap::new();
    for build in builds.filter(|build| build.status.phase != BuildPhase::Superseded) {
        let id = &build.spec.build;
        let last = newest.entry(&id.component).or_insert(id);
        *last = id.max(*last);
    }
    newest
}

fn prospects_in<'a>(
    case: &'a Case<'a>,
    environment: &'a Environment,
    newest: &BTreeMap<&Component, &BuildId>,
) -> Prospects {
    let Some(judge) = case.judge(environment) else { return Prospects::new() };
    let by_itself = judge.rule().is_some_and(|rule| rule.strategy == Strategy::Auto);
    let class = if by_itself { Class::Auto } else { Class::Promote };
    let head = judge.facts.at_head(environment);
    // What would stand: of one component after the other, the rest as it is at head.
    let mut target = head.cloned().unwrap_or_default();
    let mut gates = |newest: &BuildId| match (crate::movement::pin(&judge, newest, class, None), head) {
        (Some(pin), Some(head)) => {
            let component = &newest.component;
            target.pin(component, Some(&pin));
            let delta = Delta::of(component, judge.history.state(), &target);
            let ask = Ask { class: Some(class), manual: !by_itself, ..Ask::default() };
            let mut gates = judge.gates(&delta, &target, &ask);
            gates.push(judge.quarantine(newest, class));
            // The command opens a Change then.
            gates.retain(|gate| gate.name != GateName::Review);
            target.take_back(component, head);
            gates
        }
        _ => judge.build(newest, class),
    };
    let present = |component: &Component| judge.history.pin(component).map_or(0, |pin| pin.build.number);
    let newer = newest.iter().filter(|(component, newest)| newest.number > present(component));
    newer.map(|(component, newest)| ((*component).clone(), ((*newest).clone(), gates(newest)))).collect()
}

pub(crate) fn gate(name: GateName, state: GateState, message: String) -> Gate {
    Gate { name, state, message, until: None }
}

pub(crate) fn all_open(gates: &[Gate]) -> bool {
    gates.iter().all(|g| g.state == GateState::Open)
}

pub(crate) fn any_closed(gates: &[Gate]) -> bool {
    gates.iter().any(|g| g.state == GateState::Closed)
}

/// What is waited for, for people. What no waiting opens stands alone.
pub(crate) fn reason(gates: &[Gate]) -> String {
    let state = if any_closed(gates) { GateState::Closed } else { GateState::Waiting };
    let shut = gates.iter().filter(|g| g.state == state).map(|g| g.message.as_str());
    shut.collect::<Vec<_>>().join("; ")
}
