//! `/p/{project}/c/{component}?env=…`: what runs, why it waits, what it is made of.

use super::layout::{Page, component_path, entries, gates, log, project_path};
use super::live::gather;
use super::project::{builds, last_change, next, rollback};
use super::resources::{events, tree};
use super::viewer::Viewer;
use super::words::{Tone, badge, sign, time};
use super::{Refusal, Result, Ui, name, shown};
use crate::service::{Error, LogRequest};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::flow::Health;
use model::journal::{Entry, EntryKind};
use model::views::{EnvironmentStatus, Explanation, ProjectStatus, Resources};
use model::{Build, BuildId, Component, Environment, Project};
use serde::Deserialize;

/// Entries of the journal that are looked through.
const JOURNAL_MAX: usize = 1000;
/// Rows of a list.
const ROWS_MAX: usize = 12;
/// Lines of the log that stand in the page itself.
const LOG_LINES: u32 = 200;

#[derive(Deserialize)]
pub struct At {
    env: Option<String>,
}

/// What the page is made of.
pub struct Look {
    pub status: ProjectStatus,
    pub environment: EnvironmentStatus,
    pub explanation: Explanation,
    pub builds: Vec<Build>,
    /// Of this component and environment, newest first.
    pub journal: Vec<Entry>,
    pub resources: Resources,
    pub log: String,
}

pub async fn handle(
    State(ui): State<Ui>,
    viewer: Viewer,
    Path((project, component)): Path<(String, String)>,
    Query(at): Query<At>,
) -> Result<Response> {
    let (project, component): (Project, Component) = (name(&project)?, name(&component)?);
    let wanted: Option<Environment> = at.env.as_deref().map(name).transpose()?;
    let status = ui.delivery.status(&project).await?;
    let environment = match &wanted {
        Some(wanted) => status.environments.iter().find(|environment| environment.name == *wanted),
        None => status.environments.first(),
    };
    let environment = environment.cloned().ok_or_else(|| no_environment(&project, wanted.as_ref()))?;
    let look = gather_look(&ui, &project, component, status, environment).await?;
    let page =
        Page::of(&project, &viewer.session, format!("{} in {}", look.explanation.component, look.environment.name));
    Ok(shown(page.render(look.main(&viewer))).into_response())
}

fn no_environment(project: &Project, wanted: Option<&Environment>) -> Refusal {
    Refusal::Service(Error::NotFound(match wanted {
        Some(wanted) => format!("there is no environment {wanted} in {project}"),
        None => format!("{project} has no environment: name one in project.yaml"),
    }))
}

async fn gather_look(
    ui: &Ui,
    project: &Project,
    component: Component,
    status: ProjectStatus,
    environment: EnvironmentStatus,
) -> Result<Look> {
    let delivery = &ui.delivery;
    let explanation = delivery.explain(project, &component, &environment.name).await?;
    let mut builds = delivery.builds(project).await?;
    builds.retain(|build| build.spec.build.component == component);
    let mut journal = delivery.history(project, Some(&environment.name), JOURNAL_MAX).await?;
    journal.retain(|entry| entry.component.as_ref().is_none_or(|of| *of == component));
    let resources = delivery.resources(project, &environment.name, &component).await?;
    let request =
        LogRequest { component, env: environment.name.clone(), follow: false, tail: Some(LOG_LINES), previous: false };
    // A log that cannot be read (no Pod yet) takes nothing from the rest of the page.
    let log = match delivery.logs(project, request).await {
        Ok(text) => gather(text).await,
        Err(_) => String::new(),
    };
    Ok(Look { status, environment, explanation, builds, journal, resources, log })
}

impl Look {
    pub fn main(&self, viewer: &Viewer) -> Markup {
        let (project, component, here) = (&self.status.project, &self.explanation.component, &self.environment.name);
        html! {
            h1 { (component) span.quiet { "in " (here) } }
            nav.tabs aria-label="Environments" {
                @for environment in &self.status.environments {
                    a href=(component_path(project, component, Some(&environment.name)))
                        aria-current=[(environment.name == *here).then_some("page")] { (environment.name) }
                }
            }
            div.columns {
                section {
                    h2 { "Now" }
                    (self.now())
                    h2 { "Why" }
                    (self.why(viewer))
                }
                section {
                    h2 { "In every environment" }
                    (self.pins())
                    h2 { "Builds" }
                    (builds(project, &self.builds[..self.builds.len().min(ROWS_MAX)]))
                }
            }
            section.panel { h2 { "Resources" } (tree(&self.resources, component)) }
            @let events = events(&self.resources);
            @if let Some(events) = events { section.panel { h2 { "Events" } (events) } }
            section {
                h2 { "Log" }
                @let path = format!("{}/c/{component}/log?env={here}", project_path(project));
                @if self.explanation.running.is_some() { (log("log", &path, &self.log)) } @else { p.quiet { "nothing runs" } }
            }
            section.panel {
                h2 { "History in " (here) }
                @if self.journal.is_empty() { p.quiet { "nothing happened yet" } }
                (entries(project, self.journal.iter().take(ROWS_MAX)))
            }
        }
    }

    fn now(&self) -> Markup {
        let here = &self.environment.name;
        let Some(running) = &self.explanation.running else {
            return html! { p.quiet { "It does not run in " (here) "." } };
        };
        let change = last_change(&self.journal, here, &self.explanation.component);
        html! {
            p.now {
                a.build href=(super::layout::build_path(&self.status.project, &running.build)) { (running.build) }
                @if let Some(chart) = &running.chart { " " span.quiet { (chart) } }
                " " (badge(running.health))
                @if running.drifted { " " (sign("Drifted", Tone::Warn)) }
                @if self.environment.suspended { " " (sign("Suspended", Tone::Warn)) }
            }
            @if running.health != Health::Healthy {
                p { strong { (running.reason) } }
                @if !running.message.is_empty() { pre.message { (running.message) } }
            }
            @if let Some(url) = &running.url { p { a href=(url) rel="noreferrer" { (url) } } }
            @if let Some(change) = change { p.meta { span { "by " (change.actor) } (time(change.at)) } }
        }
    }

    fn why(&self, viewer: &Viewer) -> Markup {
        let project = &self.status.project;
        html! {
            @for sentence in &self.explanation.sentences { p.pre { (sentence) } }
            @if let Some(held) = &self.explanation.held {
                h3 { "Held on main: " (held.change) }
                (gates(&held.gates))
            }
            @if let Some(candidate) = &self.explanation.candidate {
                h3 { "Gates of " (candidate) }
                (gates(&self.explanation.gates))
            }
            (next(viewer, project, &self.environment, self.explanation.candidate.as_ref(), &self.explanation.gates))
            @for build in self.before() { (rollback(viewer, project, &self.environment, build)) }
        }
    }

    /// Builds that ran here before, newest first.
    fn before(&self) -> Vec<&BuildId> {
        /// Choices that a page offers.
        const CHOICES_MAX: usize = 3;
        let running = self.explanation.running.as_ref().map(|running| &running.build);
        let mut before: Vec<&BuildId> = Vec::new();
        for build in self.journal.iter().filter(|e| e.kind == EntryKind::Admitted).filter_map(|e| e.build.as_ref()) {
            if Some(build) != running && build.component == self.explanation.component && !before.contains(&build) {
                before.push(build);
            }
        }
        before.truncate(if running.is_some() { CHOICES_MAX } else { 0 });
        before
    }

    fn pins(&self) -> Markup {
        let (project, component) = (&self.status.project, &self.explanation.component);
        html! {
            table.list {
                thead { tr { th scope="col" { "Environment" } th scope="col" { "Build" } th scope="col" { "Health" } } }
                tbody {
                    @for environment in &self.status.environments {
                        @let running = environment.components.iter().find(|status| status.component == *component);
                        tr {
                            th scope="row" { a href=(component_path(project, component, Some(&environment.name))) { (environment.name) } }
                            td { @match running { Some(running) => { (running.build) }, None => span.quiet { "none" } } }
                            td { @if let Some(running) = running { (badge(running.health)) } }
                        }
                    }
                }
            }
        }
    }
}
