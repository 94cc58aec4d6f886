//! How things stand, and why they do not stand otherwise.

use super::{Refusal, known_component, known_environment};
use crate::Reconciler;
use crate::project::{Handle, View};
use model::config::{EnvironmentFile, Strategy};
use model::flow::Health;
use model::records::{Gate, GateState};
use model::views::{ComponentStatus, EnvironmentStatus, Explanation, ProjectStatus, Prospects};
use model::{BuildId, Component, Environment, Project};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Reconciler {
    /// Environments × components.
    pub async fn status(&self, project: &Project) -> Result<ProjectStatus, Refusal> {
        let (handle, view) = self.look(project).await?;
        let environments =
            view.facts.environments.iter().map(|name| environment_status(&handle, &view, name)).collect();
        Ok(ProjectStatus {
            project: project.clone(),
            config: Some(view.facts.head.clone()),
            problems: handle.trouble().into_iter().chain(leaving(&handle)).chain(view.config.problems()).collect(),
            environments,
        })
    }

    /// Why a component is, or is not, in an environment.
    pub async fn explain(
        &self,
        project: &Project,
        component: &Component,
        environment: &Environment,
    ) -> Result<Explanation, Refusal> {
        let (handle, view) = self.look(project).await?;
        known_environment(&view, environment)?;
        known_component(&view, component)?;
        let status = environment_status(&handle, &view, environment);
        let prospect = promote::prospect(&view.facts, environment, component);
        let running = status.components.iter().find(|status| status.component == *component);
        Ok(explanation(&view, &status, component, running, prospect))
    }

    /// The same of every component that has builds, in one environment or in all of them.
    pub async fn explanations(
        &self,
        project: &Project,
        environment: Option<&Environment>,
    ) -> Result<Vec<Explanation>, Refusal> {
        let (handle, view) = self.look(project).await?;
        if let Some(environment) = environment {
            known_environment(&view, environment)?;
        }
        let components: BTreeSet<&Component> = view.facts.builds.iter().map(|b| &b.spec.build.component).collect();
        let mut found = Vec::new();
        for name in view.facts.environments.iter().filter(|name| environment.is_none_or(|wanted| wanted == *name)) {
            let status = environment_status(&handle, &view, name);
            let (all, none) = (view.prospects(), Prospects::new());
            let prospects = all.get(name).unwrap_or(&none);
            let running: BTreeMap<&Component, &ComponentStatus> =
                status.components.iter().map(|status| (&status.component, status)).collect();
            found.extend(components.iter().map(|component| {
                let running = running.get(component).copied();
                explanation(&view, &status, component, running, prospects.get(*component).cloned())
            }));
        }
        Ok(found)
    }

    /// What could come next where, by environment.
    pub async fn prospects(&self, project: &Project) -> Result<Arc<BTreeMap<Environment, Prospects>>, Refusal> {
        let (_, view) = self.look(project).await?;
        Ok(view.prospects())
    }
}

fn environment_status(handle: &Handle, view: &View, name: &Environment) -> EnvironmentStatus {
    let none = promote::Report::default();
    let report = view.decision.environments.get(name).unwrap_or(&none);
    let environment = handle.environment(name);
    let target = environment.as_ref().and_then(|e| e.target());
    let outcome = environment.map(|e| e.outcome()).unwrap_or_default();
    let head =
        view.config.environments.get(name).and_then(|reading| reading.as_ref().ok()).map(|state| state.file.clone());
    let file: EnvironmentFile = target.as_ref().map(|t| t.state.file.clone()).or(head).unwrap_or_default();
    let pins = target.iter().flat_map(|t| t.state.pins.values());
    let known: BTreeMap<&BuildId, &ComponentStatus> = outcome.components.iter().map(|c| (&c.build, c)).collect();
    let left = |c: &&ComponentStatus| target.iter().flat_map(|t| &t.partings).any(|one| one.pin.build == c.build);
    let leaving = outcome.components.iter().filter(left).cloned();
    let components = pins.map(|pin| {
        let seen = known.get(&pin.build).map(|status| (*status).clone());
        seen.unwrap_or_else(|| ComponentStatus {
            component: pin.build.component.clone(),
            build: pin.build.clone(),
            chart: pin.chart.clone(),
            health: Health::Progressing,
            reason: "Admitted".into(),
            message: String::new(),
            url: None,
            drifted: false,
        })
    });
    EnvironmentStatus {
        name: name.clone(),
        production: file.production,
        strategy: file.promotion.strategy,
        suspended: report.suspended,
        reviewed: file.is_reviewed(),
        release: report.release.clone(),
        certified: report.certified,
        admitted: report.admitted.clone(),
        held: report.held.clone(),
        data_plane: file.remote().cloned(),
        notes: outcome.notes.clone(),
        policies: outcome.policies.clone(),
        repository: view.config.repository(&view.facts.project, name).filter(|own| own.environment().is_some()),
        error: outcome.error.clone().or_else(|| (!report.problems.is_empty()).then(|| report.problems.join("; "))),
        components: components.chain(leaving).collect(),
    }
}

fn explanation(
    view: &View,
    status: &EnvironmentStatus,
    component: &Component,
    running: Option<&ComponentStatus>,
    prospect: Option<(BuildId, Vec<Gate>)>,
) -> Explanation {
    let (candidate, gates) = prospect.map_or((None, Vec::new()), |(build, gates)| (Some(build), gates));
    let held = status.held.clone().filter(|held| held.components.contains(component) || held.components.is_empty());
    let mut sentences = sentences(status, running, component, candidate.as_ref(), &gates);
    let open = view.facts.promotions.iter().filter(|p| p.spec.environment == status.name && !p.status.phase.is_final());
    for promotion in
        open.filter(|p| p.spec.component.as_ref().is_none_or(|c| c == component) && !p.status.message.is_empty())
    {
        sentences.push(format!("{} waits: {}", promotion.name, promotion.status.message));
    }
    let (component, environment, running) = (component.clone(), status.name.clone(), running.cloned());
    Explanation { component, environment, running, sentences, candidate, gates, held }
}

/// What keeps environments that were deleted from going, for people.
fn leaving(handle: &Handle) -> Vec<String> {
    let mut told = Vec::new();
    for environment in handle.environments() {
        if environment.target().is_some_and(|target| target.removed) {
            let outcome = environment.outcome();
            let components = outcome.components.iter();
            told.extend(
                components
                    .filter(|c| c.health == Health::Degraded)
                    .map(|c| format!("{} is deleted, and {} does not go: {}", environment.name, c.build, c.message)),
            );
        }
    }
    told
}

fn sentences(
    status: &EnvironmentStatus,
    running: Option<&ComponentStatus>,
    component: &Component,
    candidate: Option<&BuildId>,
    gates: &[Gate],
) -> Vec<String> {
    let name = &status.name;
    let mut told = Vec::new();
    match running {
        Some(running) => {
            let place = status.data_plane.as_ref().map(|plane| format!(" on data plane {plane}")).unwrap_or_default();
            let chart = running.chart.as_ref().map(|chart| format!(" (chart {chart})")).unwrap_or_default();
            told.push(format!(
                "{}{chart} runs in {name}{place}: {:?} ({})",
                running.build, running.health, running.reason
            ))
        }
        None => told.push(format!("{component} does not run in {name}")),
    }
    if status.suspended {
        told.push(format!("{name} is suspended: nothing moves until `suspend` is lifted in environments/{name}.yaml"));
    }
    if let Some(held) = &status.held {
        told.push(format!(
            "on main and held: {} by {} ({}): {}",
            held.change,
            held.author,
            held.commit.short(),
            held.reason
        ));
    }
    if let Some(error) = &status.error {
        told.push(error.clone());
    }
    told.extend(status.notes.iter().cloned());
    if let Some(candidate) = candidate {
        let shut: Vec<&str> = gates.iter().filter(|g| g.state != GateState::Open).map(|g| g.message.as_str()).collect();
        match (shut.is_empty(), status.strategy) {
            (false, _) => told.push(format!("{candidate} waits: {}", shut.join("; "))),
            (true, Strategy::Auto) => told.push(format!("{candidate} is on its way")),
            (true, _) => told.push(format!("{candidate} may come: trimtab promote {component} --to {name}")),
        }
    }
    told
}
