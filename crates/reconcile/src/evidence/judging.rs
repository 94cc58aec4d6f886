//! What policies find in what would run, and in what a Change proposes.

use super::{Court, Law, SHORT_DIGITS};
use model::flow::{Action, ObjectId};
use model::release::Version;
use model::views::PolicyResult;
use model::{Build, BuildId, Component, Environment, LABEL_COMPONENT};
use plan::policy::{Item, Part, Place, Policy, judge};
use promote::{Facts, Finding, State};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The policies' findings over what is described.
#[allow(clippy::too_many_arguments)]
pub(super) fn judged(
    facts: &Facts,
    court: &Court<'_>,
    build: &Build,
    objects: &[Value],
    stood: &[Value],
    actors: &BTreeSet<String>,
    releases: &[Option<Version>],
    signed: bool,
) -> Vec<Finding> {
    let place = Place {
        project: &facts.project,
        environment: court.name,
        production: court.production,
        groups: court.head.groups.iter().map(model::Group::as_str).collect(),
        plan: None,
    };
    let before: BTreeMap<ObjectId, &Value> = stood.iter().map(|object| (ObjectId::of(object), object)).collect();
    let described: BTreeSet<ObjectId> = objects.iter().map(ObjectId::of).collect();
    let mut items: Vec<Item<'_>> = objects
        .iter()
        .map(|object| {
            let before = before.get(&ObjectId::of(object)).copied();
            let operation = match before {
                None => Action::Create,
                Some(before) if before == object => Action::Unchanged,
                Some(_) => Action::Configure,
            };
            Item { object: Some(object), before, operation }
        })
        .collect();
    let gone = before.iter().filter(|(id, _)| !described.contains(id));
    items.extend(gone.map(|(_, object)| Item { object: None, before: Some(*object), operation: Action::Delete }));
    let component: Component = build.spec.build.component.clone();
    let mut found = Vec::new();
    for policy in &court.policies {
        let anybody = BTreeSet::from([build.spec.pushed_by.clone()]);
        let actors = if policy.asks("actor") { actors } else { &anybody };
        let releases = if policy.asks("release") { releases } else { &releases[..1] };
        for (actor, release) in actors.iter().flat_map(|actor| releases.iter().map(move |release| (actor, release))) {
            let part = Part {
                component: Some(&component),
                build: facts_of(build),
                release: release.as_ref().map(ToString::to_string),
                actor: actor.clone(),
                signed,
                items: items.clone(),
            };
            let results = judge(std::slice::from_ref(policy), &place, &[part]);
            found.extend(results.into_iter().map(|result| Finding {
                result,
                actor: policy.asks("actor").then(|| actor.clone()),
                release: policy.asks("release").then(|| release.clone()),
            }));
        }
    }
    found
}

/// What a proposed state of an environment would break, objects by their names. Signatures are judged when it moves.
pub fn reviewed(
    facts: &Facts,
    law: &Law,
    environment: &Environment,
    state: &State,
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
) -> Vec<PolicyResult> {
    let holds = |policy: &&Policy| policy.holds_in(environment, state.file.production);
    let policies: Vec<Policy> =
        law.policies.iter().filter(holds).filter(|policy| !policy.asks("signed")).cloned().collect();
    let mut items: BTreeMap<Option<Component>, Vec<Item<'_>>> = BTreeMap::new();
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        let operation = match (old, new) {
            (None, _) => Action::Create,
            (_, None) => Action::Delete,
            _ if old == new => Action::Unchanged,
            _ => Action::Configure,
        };
        let label = new.or(old).and_then(|object| object.pointer("/metadata/labels")?.get(LABEL_COMPONENT)?.as_str());
        let component = label.and_then(|label| label.parse().ok());
        items.entry(component).or_default().push(Item { object: new, before: old, operation });
    }
    let parts: Vec<Part<'_>> = items
        .iter()
        .map(|(component, items)| {
            let pin = component.as_ref().and_then(|component| state.pins.get(component));
            let build = pin.and_then(|pin| facts.build(&pin.build));
            let whole = pin.is_some_and(|pin| state.base.get(&pin.build.component) == Some(pin));
            Part {
                component: component.as_ref(),
                build: build.map_or(Value::Null, facts_of),
                release: state.file.release.as_ref().filter(|_| whole).map(ToString::to_string),
                actor: build.map(|build| build.spec.pushed_by.clone()).unwrap_or_default(),
                signed: false,
                items: items.clone(),
            }
        })
        .collect();
    let place = Place {
        project: &facts.project,
        environment,
        production: state.file.production,
        groups: state.groups.iter().map(model::Group::as_str).collect(),
        plan: None,
    };
    let mut broken = judge(&policies, &place, &parts);
    broken.sort();
    broken
}

/// A build as policies see it.
pub fn facts_of(build: &Build) -> Value {
    let BuildId { component, number } = &build.spec.build;
    json!({
        "name": build.spec.build, "component": component, "number": number, "commit": build.spec.commit,
        "shortCommit": build.spec.commit.as_str().get(..SHORT_DIGITS),
        "repository": build.spec.repository.to_string(), "pushedBy": build.spec.pushed_by,
        "message": build.spec.message, "image": build.status.image,
    })
}
