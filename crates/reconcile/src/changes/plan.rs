//! What a Change would do to each environment once it is on main: rendered from the proposed commit, against what is
//! admitted there now.

use super::checks;
use super::consent::Matter;
use super::landing::Landing;
use super::rendering::{Renderer, Side, differences};
use super::touch::reviewed_by;
use crate::config::Config;
use crate::evidence::{Law, evidence, law, reviewed};
use crate::inputs::inputs;
use crate::project::{Handle, View, resolved};
use crate::requests::Refusal;
use crate::{Inner, Reconciler};
use model::change::EnvironmentPlan;
use model::config::Strategy;
use model::flow::{Repository, Revision};
use model::policy::PolicyAction;
use model::ports::PortError;
use model::records::GateState;
use model::views::PolicyResult;
use model::{BuildId, Change, CommitId, Digest, Environment, ImageRef, Pin};
use promote::{Facts, State};
use render::kustomize::Cache;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Reconciler {
    /// Per environment, in the order of the project; and whether all of it could be had.
    pub(super) async fn plans(
        &self,
        handle: &Handle,
        view: &View,
        change: &Change,
        matter: &Matter,
    ) -> Result<(Vec<EnvironmentPlan>, bool), Refusal> {
        match change.spec.repository.is_config() {
            true => Ok((configured(&self.0, handle, view, change, matter).await?, true)),
            false => built(&self.0, handle, view, change).await,
        }
    }
}

/// A plan that says nothing yet.
fn empty(config: &Config, environment: &Environment) -> EnvironmentPlan {
    EnvironmentPlan {
        environment: environment.clone(),
        reviewed: reviewed_by(config, environment),
        change: String::new(),
        objects: Vec::new(),
        gates: Vec::new(),
        policies: Vec::new(),
        denied: Vec::new(),
        notes: Vec::new(),
    }
}

/// What is admitted, with the configuration at that commit.
async fn admitted(
    inner: &Inner,
    handle: &Handle,
    view: &View,
    environment: &Environment,
) -> Result<Option<Side>, PortError> {
    let report = view.decision.environments.get(environment);
    let Some(commit) = report.and_then(|report| report.admitted.clone()) else { return Ok(None) };
    let Some(Ok(state)) = view.facts.state(&commit, environment) else { return Ok(None) };
    let config = handle.reader(inner).config(&handle.config, &commit).await?;
    Ok(Some(Side { state: state.clone(), config }))
}

/// Of a config repository.
async fn configured(
    inner: &Inner,
    handle: &Handle,
    view: &View,
    change: &Change,
    matter: &Matter,
) -> Result<Vec<EnvironmentPlan>, Refusal> {
    let commit = match &matter.landing {
        Landing::On(_, to) => to.clone(),
        _ => change.latest().commit.clone(),
    };
    let after = &matter.after;
    let touched = matter.environments(change);
    let (facts, law) = once_merged(inner, handle, view, (&change.spec.repository, &commit), after).await?;
    let decision = promote::decide(&facts);
    let renderer = Renderer { inner, handle, view, proposed: BTreeMap::new(), overlays: Cache::default() };
    let mut names = view.facts.environments.clone();
    names.extend(facts.environments.iter().filter(|name| !view.facts.environments.contains(name)).cloned());
    let mut plans = Vec::new();
    for name in names {
        let mut plan = empty(&matter.before, &name);
        if touched.contains(&name) {
            let before = admitted(inner, handle, view, &name).await?;
            match facts.state(&commit, &name) {
                Some(Ok(state)) if facts.environments.contains(&name) => {
                    plan.change = promote::change_between(before.as_ref().map(|side| &side.state), state);
                    let side = Side { state: state.clone(), config: after.clone() };
                    compare(&renderer, &mut plan, before.as_ref(), Some(&side), &facts, &law).await?;
                    let held = decision.environments.get(&name).and_then(|report| report.held.as_ref());
                    let gates = held.into_iter().flat_map(|held| &held.gates);
                    plan.gates.extend(gates.filter(|gate| gate.state != GateState::Open).cloned());
                    plan.notes.extend(rules(before.as_ref().map(|side| &side.state), state));
                }
                Some(Err(problems)) => plan.notes.extend(problems.iter().cloned()),
                _ => {
                    compare(&renderer, &mut plan, before.as_ref(), None, &facts, &law).await?;
                    plan.notes.push("the environment goes, and all that runs there".to_owned());
                }
            }
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// What is different of an environment's own file, beside what runs.
fn rules(before: Option<&State>, after: &State) -> Vec<String> {
    let Some(before) = before else { return vec!["the environment is new".to_owned()] };
    let (old, new) = (&before.file, &after.file);
    let mut notes = Vec::new();
    if old.suspend != new.suspend {
        notes.push(if new.suspend { "it is suspended" } else { "it goes on: it was suspended" }.to_owned());
    }
    if old.changes != new.changes {
        notes.push(format!("its changes are {}", if new.is_reviewed() { "reviewed" } else { "direct" }));
    }
    if old.promotion != new.promotion {
        notes.push("its gates change".to_owned());
    }
    if old.data_plane != new.data_plane {
        let name =
            |file: &model::EnvironmentFile| file.data_plane.as_ref().map_or("embedded".to_owned(), ToString::to_string);
        notes.push(format!("it moves from data plane {} to {}", name(old), name(new)));
    }
    notes
}

async fn compare(
    renderer: &Renderer<'_>,
    plan: &mut EnvironmentPlan,
    before: Option<&Side>,
    after: Option<&Side>,
    facts: &Facts,
    law: &Law,
) -> Result<(), PortError> {
    let (old, new) =
        (renderer.objects(&plan.environment, before).await?, renderer.objects(&plan.environment, after).await?);
    plan.objects = differences(&old.objects, &new.objects);
    if let Some(side) = after {
        let judged = |state: &State, old: &BTreeMap<_, _>, new: &BTreeMap<_, _>| {
            reviewed(facts, law, &plan.environment, state, old, new)
        };
        plan.policies = judged(&side.state, &old.objects, &new.objects);
        if plan.policies.iter().any(|broken| broken.action == PolicyAction::Deny) {
            // What was there before somebody wrote the policy may stay as it is; what changes must hold to it.
            let apart = |these: &BTreeMap<String, Value>, others: &BTreeMap<String, Value>| {
                let differs = |(name, object): &(&String, &Value)| others.get(*name) != Some(object);
                these.iter().filter(differs).map(|(name, object)| (name.clone(), object.clone())).collect()
            };
            let (left, come) = (apart(&old.objects, &new.objects), apart(&new.objects, &old.objects));
            let changed = judged(&side.state, &left, &come);
            let stood = before.map(|before| judged(&before.state, &old.objects, &old.objects)).unwrap_or_default();
            let counts = |broken: &&PolicyResult| changed.contains(broken) || !stood.contains(broken);
            let denied = plan.policies.iter().filter(|broken| broken.action == PolicyAction::Deny).filter(counts);
            plan.denied = denied.cloned().collect();
        }
    }
    plan.notes.extend(new.problems.into_iter().filter(|problem| !old.problems.contains(problem)));
    Ok(())
}

/// The facts as they would be with this commit as main.
async fn once_merged(
    inner: &Inner,
    handle: &Handle,
    view: &View,
    (repository, commit): (&Repository, &CommitId),
    config: &Arc<Config>,
) -> Result<(Facts, Law), PortError> {
    let mut facts = (*view.facts).clone();
    facts.now = inner.now();
    let log = inner.ports.repositories.log(repository, commit, Some(&facts.head), 1).await?;
    // What stands in several repositories is no single commit of any.
    handle.reader(inner).remember(commit, config);
    Arc::make_mut(&mut facts.log).splice(0..0, log);
    facts.head = commit.clone();
    if let Ok(file) = &config.project {
        facts.environments.clone_from(&file.environments);
    }
    facts.states.insert(commit.clone(), Arc::new(resolved(config, &facts.releases)));
    facts.texts.clone_from(&config.texts);
    facts.windows.clone_from(&config.windows);
    facts.inputs = inputs(handle.reader(inner), &handle.name, &facts).await?;
    let law = law(handle.reader(inner), &facts, config).await?;
    facts.evidence = evidence(inner, handle, &facts, config, &law).await?;
    Ok((facts, law))
}

/// Of an application repository: what the next build would bring wherever the component is, or goes by itself.
async fn built(
    inner: &Inner,
    handle: &Handle,
    view: &View,
    change: &Change,
) -> Result<(Vec<EnvironmentPlan>, bool), Refusal> {
    let (repository, commit) = (&change.spec.repository, &change.latest().commit);
    let revision = Revision { repository: repository.clone(), commit: commit.clone() };
    let name = repository.name.parse().ok();
    let described = handle.reader(inner).described(&revision, &view.facts.head, name.as_ref()).await?;
    let file = match described {
        Some(Ok(described)) => described.file,
        Some(Err(problem)) => return Err(Refusal::Refused(problem)),
        None => return Ok((Vec::new(), true)),
    };
    let component = file.component.clone();
    let of_it = view.facts.builds.iter().filter(|build| build.spec.build.component == component);
    let number = of_it.map(|build| build.spec.build.number).max().unwrap_or(0) + 1;
    let build = BuildId { component: component.clone(), number };
    let proposed: BTreeMap<BuildId, Repository> = [(build.clone(), repository.clone())].into();
    let renderer = Renderer { inner, handle, view, proposed, overlays: Cache::default() };
    let image = checks::image(change);
    let chart = inner.proposed_chart(&file, &revision, &view.config).await;
    let mut plans = Vec::new();
    for name in &view.facts.environments {
        let mut plan = empty(&view.config, name);
        let before = admitted(inner, handle, view, name).await?;
        let pin = before.as_ref().and_then(|side| side.state.pins.get(&component)).cloned();
        let automatic = matches!(view.config.environments.get(name), Some(Ok(state)) if state.file.promotion.strategy == Strategy::Auto);
        if pin.is_none() && !automatic {
            plans.push(plan);
            continue;
        }
        let mut state = before.as_ref().map(|side| side.state.clone()).unwrap_or_default();
        let config = before.as_ref().map_or_else(|| view.config.clone(), |side| side.config.clone());
        let newest = promote::newest_configuration(&view.facts).unwrap_or_else(|| view.facts.head.clone());
        let before_it = || pin.as_ref().and_then(|pin| pin.image.clone());
        let next = image.clone().or_else(before_it).unwrap_or_else(|| unknown(&build, handle));
        let pin = Pin {
            build: build.clone(),
            source: commit.clone(),
            image: file.has_image().then_some(next),
            chart: chart.clone().unwrap_or_else(|_| pin.as_ref().and_then(|pin| pin.chart.clone())),
            config: pin.map_or(newest, |pin| pin.config),
        };
        state.pins.insert(component.clone(), pin);
        plan.change = promote::change_between(before.as_ref().map(|side| &side.state), &state);
        let side = Side { state, config };
        compare(&renderer, &mut plan, before.as_ref(), Some(&side), &view.facts, &view.law).await?;
        if let Err(problem) = &chart {
            plan.notes.push(format!("its chart cannot be had: {problem}"));
        }
        if image.is_none() && file.has_image() {
            plan.notes.push("its image is not built: the digest is that of the build before".to_owned());
        }
        if !automatic {
            // It is held to that when somebody promotes it.
            plan.denied.clear();
        }
        plan.notes.push(match automatic {
            true => format!("takes {build} by itself, once it is merged and built"),
            false => format!("gets {build} by promotion: trimtab promote {component} --to {name}"),
        });
        plans.push(plan);
    }
    Ok((plans, chart.is_ok()))
}

/// In the place of an image that nobody has made.
fn unknown(build: &BuildId, handle: &Handle) -> ImageRef {
    ImageRef::recorded(&handle.name, &build.component, &Digest::of(b"not built"))
}
