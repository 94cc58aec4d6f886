//! Policies at apply: over the plan, with what stands in the cluster.

use super::{Target, Work};
use crate::evidence::{Law, facts_of};
use model::flow::{Action, ObjectId, Observation, Plan};
use model::journal::EntryKind;
use model::policy::PolicyAction;
use model::views::PolicyResult;
use model::{BuildId, Component, Environment};
use plan::policy::{Item, Part, Place, Policy, judge};
use promote::{Facts, State};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What an environment is judged by, and what is known of what runs there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bench {
    policies: Vec<Policy>,
    /// What is wrong with policies on main.
    pub problems: Vec<String>,
    groups: Vec<String>,
    builds: BTreeMap<BuildId, Value>,
    signed: BTreeSet<BuildId>,
    /// Who asked for what is admitted.
    actor: String,
}

impl Bench {
    pub fn of(facts: &Facts, law: &Law, name: &Environment, state: &State) -> Self {
        let holds = |policy: &&Policy| policy.holds_in(name, state.file.production);
        let policies: Vec<Policy> = law.policies.iter().filter(holds).cloned().collect();
        let problem = |problem: &String| format!("{problem}; the last good one holds");
        let problems = law.problems.values().flatten().map(problem).collect();
        if policies.is_empty() {
            return Self { problems, ..Self::default() };
        }
        let builds = state.pins.values().filter_map(|pin| facts.build(&pin.build));
        let of_it = |entry: &&model::journal::Entry| {
            entry.kind == EntryKind::Admitted && entry.environment.as_ref() == Some(name)
        };
        let signed = |build: &&BuildId| facts.evidence.signed.contains(&(name.clone(), (*build).clone()));
        Self {
            policies,
            problems,
            groups: state.groups.iter().map(ToString::to_string).collect(),
            builds: builds.map(|build| (build.spec.build.clone(), facts_of(build))).collect(),
            signed: state.pins.values().map(|pin| &pin.build).filter(signed).cloned().collect(),
            actor: facts.journal.iter().rev().find(of_it).map(|entry| entry.actor.clone()).unwrap_or_default(),
        }
    }
}

impl Work {
    /// What the target breaks.
    pub(super) fn broken(
        &self,
        target: &Target,
        desired: &[(Option<Component>, Value)],
        observation: &Observation,
        plan: &Plan,
    ) -> Vec<PolicyResult> {
        let bench = &target.bench;
        if bench.policies.is_empty() {
            return Vec::new();
        }
        let steps: BTreeMap<&ObjectId, Action> = plan.steps.iter().map(|step| (&step.object, step.action)).collect();
        let live: BTreeMap<&ObjectId, Value> = match bench.policies.iter().any(|policy| policy.asks("before")) {
            true => observation.objects.iter().map(|(id, object)| (id, plain(object))).collect(),
            false => BTreeMap::new(),
        };
        let mut items: BTreeMap<Option<&Component>, Vec<Item<'_>>> = BTreeMap::new();
        for (component, object) in desired {
            let id = ObjectId::of(object);
            let operation = steps.get(&id).copied().unwrap_or(Action::Unchanged);
            let item = Item { object: Some(object), before: live.get(&id), operation };
            items.entry(component.as_ref()).or_default().push(item);
        }
        for step in plan.steps.iter().filter(|step| step.action == Action::Delete) {
            let before = live.get(&step.object).or_else(|| observation.get(&step.object));
            let item = Item { object: None, before, operation: Action::Delete };
            items.entry(step.component.as_ref()).or_default().push(item);
        }
        let state = &target.state;
        let mut parts = Vec::new();
        for (component, items) in items {
            let pin = component.and_then(|component| state.pins.get(component));
            let whole = pin.is_some_and(|pin| state.base.get(&pin.build.component) == Some(pin));
            parts.push(Part {
                component,
                build: pin.and_then(|pin| bench.builds.get(&pin.build)).cloned().unwrap_or(Value::Null),
                release: state.file.release.as_ref().filter(|_| whole).map(ToString::to_string),
                actor: bench.actor.clone(),
                signed: pin.is_none_or(|pin| bench.signed.contains(&pin.build)),
                items,
            });
        }
        let place = Place {
            project: &self.handle.scope.project,
            environment: &self.handle.name,
            production: state.file.production,
            groups: bench.groups.iter().map(String::as_str).collect(),
            plan: Some(plan),
        };
        let mut broken = judge(&bench.policies, &place, &parts);
        broken.sort();
        broken
    }
}

/// Why nothing of the target is applied, if a policy denies it.
pub fn denial(broken: &[PolicyResult]) -> Option<String> {
    let denying: Vec<String> =
        broken.iter().filter(|one| one.action == PolicyAction::Deny).map(|one| format!("denied by {one}")).collect();
    (!denying.is_empty()).then(|| format!("nothing is applied: {}", denying.join("; ")))
}

/// Without what the server keeps.
fn plain(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}
