//! The conditions of a movement, each a pure judgement with a sentence for people.

use crate::configuration;
use crate::facts::{Facts, State};
use crate::history::{History, changes};
use model::config::{PromotionRule, Strategy};
use model::records::{BuildPhase, Class, Gate, GateName, GateState};
use model::{BuildId, Component, Environment, EnvironmentFile, Pin};

/// Judges movements into one environment. The rule is that of the last admitted state, so that a commit cannot open
/// its own gate; a new environment is judged by its first file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub facts: &'a Facts,
    pub environment: &'a Environment,
    pub history: &'a History<'a>,
    pub suspended: bool,
}

impl<'a> Judge<'a> {
    pub fn new(facts: &'a Facts, environment: &'a Environment, history: &'a History<'a>) -> Self {
        Self { facts, environment, history, suspended: suspended(facts, environment, history) }
    }

    /// The rule in force; `None` if the environment has never been readable.
    pub fn rule(&self) -> Option<&'a PromotionRule> {
        let first = || self.facts.state(&self.facts.head, self.environment).and_then(|r| r.as_ref().ok());
        self.history.last().map(|s| s.state).or_else(first).map(|s| &s.file.promotion)
    }

    /// Every gate between the admitted state and this one. None if no pin changes: rules and overrides of an
    /// environment, its suspension too, take effect at once, and so do secrets unless they are gone.
    pub fn state(&self, candidate: &State, class: Class) -> Vec<Gate> {
        let changes = changes(self.history.last().map(|s| s.state), candidate);
        let lacking = configuration::lacking(self, candidate);
        if changes.is_empty() {
            return lacking;
        }
        let rule = self.history.last().map_or(&candidate.file.promotion, |s| &s.state.file.promotion);
        let mut gates = vec![self.suspend(), self.strategy(rule.strategy, class)];
        gates.extend(lacking);
        gates.extend(self.data_plane(&candidate.file));
        for (_, _, after) in &changes {
            if let Some(pin) = after {
                gates.push(self.built(pin));
                gates.push(self.healthy(rule, &pin.build, Some(pin)));
                gates.push(configuration::gate(self, pin));
            }
        }
        gates
    }

    /// The gates for a build of which there is no pin yet.
    pub fn build(&self, id: &BuildId, class: Class) -> Vec<Gate> {
        let rule = self.rule().cloned().unwrap_or_default();
        let mut gates = vec![
            self.suspend(),
            self.strategy(rule.strategy, class),
            self.exists(id),
            self.healthy(&rule, id, None),
            self.quarantine(id, class),
        ];
        let head = self.facts.state(&self.facts.head, self.environment).and_then(|reading| reading.as_ref().ok());
        gates.extend(head.and_then(|head| self.data_plane(&head.file)));
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

    pub fn strategy(&self, strategy: Strategy, class: Class) -> Gate {
        let environment = self.environment;
        let (state, message) = match (strategy, class) {
            (_, Class::Commit) => (GateState::Open, "asked for by a commit".to_owned()),
            (Strategy::Never, _) => (
                GateState::Closed,
                format!("only a commit by hand moves {environment}: change its files in the config repository"),
            ),
            (Strategy::Manual, Class::Auto) => {
                (GateState::Closed, format!("{environment} moves only when a person asks for it"))
            }
            (Strategy::Manual, _) => (GateState::Open, "asked for by a person".to_owned()),
            (Strategy::Auto, _) => (GateState::Open, format!("{environment} takes new builds by itself")),
        };
        gate(GateName::Strategy, state, message)
    }

    /// Whether what a pin names was built, and is what was built.
    pub fn built(&self, pin: &Pin) -> Gate {
        let known = self.exists(&pin.build);
        let Some(build) = self.facts.build(&pin.build).filter(|_| known.state == GateState::Open) else {
            return known;
        };
        let image = build.status.image.as_ref().map(|i| i.digest());
        if image != Some(pin.image.digest()) {
            let made = image.map_or_else(|| "no image".to_owned(), |d| d.to_string());
            return gate(
                GateName::Built,
                GateState::Closed,
                format!("{} made {made}, the pin names another", pin.build),
            );
        }
        if build.spec.commit != pin.source {
            let message = format!("{} is of commit {}, the pin names another", pin.build, build.spec.commit.short());
            return gate(GateName::Built, GateState::Closed, message);
        }
        known
    }

    /// Whether a build of this name succeeded.
    pub fn exists(&self, id: &BuildId) -> Gate {
        let (state, message) = match self.facts.build(id).map(|b| b.status.phase) {
            Some(BuildPhase::Succeeded) => (GateState::Open, format!("{id} was built")),
            Some(BuildPhase::Queued | BuildPhase::Running) => (GateState::Waiting, format!("{id} is being built")),
            Some(BuildPhase::Failed) => (GateState::Closed, format!("the build {id} failed")),
            Some(BuildPhase::Superseded) => {
                (GateState::Closed, format!("{id} was never built: a newer commit came first"))
            }
            None => (GateState::Closed, format!("there is no build {id}")),
        };
        gate(GateName::Built, state, message)
    }

    /// Whether it was healthy wherever the rule says. What was healthy here before may always come back.
    pub fn healthy(&self, rule: &PromotionRule, id: &BuildId, pin: Option<&Pin>) -> Gate {
        let stood_here =
            pin.is_none_or(|pin| self.history.steps.iter().any(|s| s.state.pins.get(&id.component) == Some(pin)));
        if stood_here && self.facts.was_healthy(self.environment, id) {
            return gate(
                GateName::HealthyIn,
                GateState::Open,
                format!("{id} was healthy in {} before", self.environment),
            );
        }
        let missing: Vec<&str> =
            rule.from.iter().filter(|e| !self.facts.was_healthy(e, id)).map(Environment::as_str).collect();
        if !missing.is_empty() {
            let message = format!("{id} has not been healthy in {}", missing.join(", "));
            return gate(GateName::HealthyIn, GateState::Waiting, message);
        }
        let from: Vec<&str> = rule.from.iter().map(Environment::as_str).collect();
        let message = match from.is_empty() {
            true => "no environment comes before".to_owned(),
            false => format!("{id} was healthy in {}", from.join(", ")),
        };
        gate(GateName::HealthyIn, GateState::Open, message)
    }

    /// Whether somebody went back from it. Asking for it by name puts it back.
    pub fn quarantine(&self, id: &BuildId, class: Class) -> Gate {
        let rolled_back = self.history.quarantined.contains(id);
        let (state, message) = match (rolled_back, class) {
            (false, _) => (GateState::Open, format!("{id} was not rolled back")),
            (true, Class::Auto) => (GateState::Waiting, format!("{id} was rolled back in {}", self.environment)),
            (true, _) => {
                (GateState::Open, format!("{id} was rolled back in {} and is asked for again", self.environment))
            }
        };
        gate(GateName::Quarantine, state, message)
    }
}

/// The file at head decides: who may write it may suspend, and may lift it, whatever else is held.
pub(crate) fn suspended(facts: &Facts, environment: &Environment, history: &History<'_>) -> bool {
    let head = facts.state(&facts.head, environment).and_then(|reading| reading.as_ref().ok());
    head.or(history.last().map(|s| s.state)).is_some_and(|state| state.file.suspend)
}

/// What stands between the newest build of a component and an environment, as a person's command would find it.
/// `None` if there is no newer build than the one that is admitted.
pub fn prospect(facts: &Facts, environment: &Environment, component: &Component) -> Option<(BuildId, Vec<Gate>)> {
    let history = History::of(facts, environment);
    let judge = Judge::new(facts, environment, &history);
    let present = history.pin(component).map_or(0, |pin| pin.build.number);
    let of_it = |b: &&model::Build| b.spec.build.component == *component && b.status.phase != BuildPhase::Superseded;
    let newest = facts.builds.iter().filter(of_it).map(|b| &b.spec.build).max()?;
    (newest.number > present).then(|| (newest.clone(), judge.build(newest, Class::Promote)))
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
