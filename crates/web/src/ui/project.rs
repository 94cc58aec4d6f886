//! `/p/{project}`: environments × components, and what may be done about them.

use super::board::Rows;
use super::forms::{Ask, ask, asking, choice, line};
use super::layout::{Page, build_path, entries, environment_path, project_path, release_path};
use super::viewer::Viewer;
use super::words::{self, Tone, badge, duration, sign, time};
use super::{Result, Ui, name, shown};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::config::Strategy;
use model::journal::{Entry, EntryKind};
use model::people::Right;
use model::records::{Gate, GateState};
use model::views::{EnvironmentStatus, ProjectStatus, Prospects};
use model::{Build, BuildId, CommitId, Component, Environment, Project};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Entries of the journal in which the last change of a component is looked for.
const JOURNAL_MAX: usize = 1000;
/// Rows of the lists below the table.
const ROWS_MAX: usize = 8;

/// What the page is made of.
pub struct Board {
    pub status: ProjectStatus,
    pub components: BTreeSet<Component>,
    /// What could come next.
    pub prospects: Arc<BTreeMap<Environment, Prospects>>,
    pub builds: Vec<Build>,
    pub journal: Vec<Entry>,
    pub did: Option<Did>,
}

/// What the person who is sent here has just done.
#[derive(Deserialize)]
pub struct Did {
    pub env: Environment,
    pub suspended: bool,
    pub commit: Option<CommitId>,
}

pub async fn handle(
    State(ui): State<Ui>,
    viewer: Viewer,
    Path(project): Path<String>,
    did: std::result::Result<Query<Did>, QueryRejection>,
) -> Result<Response> {
    let project: Project = name(&project)?;
    let status = ui.delivery.status(&project).await?;
    let builds = ui.delivery.builds(&project).await?;
    let components: BTreeSet<Component> = builds.iter().map(|build| build.spec.build.component.clone()).collect();
    let prospects = ui.delivery.prospects(&project).await?;
    let journal = ui.delivery.history(&project, None, JOURNAL_MAX).await?;
    let board = Board { status, components, prospects, builds, journal, did: did.ok().map(|Query(did)| did) };
    let page = Page::top(&project, &viewer.session);
    Ok(shown(page.render(board.main(&viewer))).into_response())
}

impl Board {
    pub fn main(&self, viewer: &Viewer) -> Markup {
        let project = &self.status.project;
        html! {
            h1 { (project) }
            (self.notices())
            @if self.components.is_empty() {
                div.empty {
                    p { "Nothing was pushed yet. In the repository of the service:" }
                    pre.command { "git push trimtab main" }
                }
            }
            div.boards {
                table.board {
                    caption.sr { "What runs where" }
                    thead {
                        tr {
                            th scope="col" { span.sr { "Component" } }
                            @for environment in &self.status.environments { (self.column(viewer, environment)) }
                        }
                    }
                    tbody { (Rows::of(self, viewer)) }
                }
            }
            @if viewer.may_configure(project) { (self.create_environment(viewer)) }
            div.columns {
                section {
                    h2 { "Latest builds" }
                    (builds(project, &self.builds[..self.builds.len().min(ROWS_MAX)]))
                }
                section {
                    h2 { "Latest changes" }
                    (entries(project, self.journal.iter().filter(|entry| entry.kind != EntryKind::Healthy).take(ROWS_MAX)))
                    p { a href={ (project_path(project)) "/history" } { "Whole history" } }
                }
            }
        }
    }

    fn create_environment(&self, viewer: &Viewer) -> Markup {
        let names: Vec<&Environment> = self.status.environments.iter().map(|environment| &environment.name).collect();
        let path = format!("{}/environments", project_path(&self.status.project));
        let fields = html! {
            (line("Name", "environment", "qa", true))
            (choice("Like", "like", Some("no other"), &names, None))
            (choice("After", "after", Some("no other"), &names, None))
            label { input type="checkbox" name="production" value="true"; " production" }
        };
        let ask = Ask { id: "create".into(), path: &path, hidden: &[], words: "Create an environment", primary: false };
        asking(&viewer.session, &ask, &fields)
    }

    fn notices(&self) -> Markup {
        html! {
            @if let Some(did) = &self.did {
                p.notice role="status" {
                    (sign("Done", Tone::Good)) " "
                    (did.env) @if did.suspended { " is suspended" } @else { " goes on" }
                    @if let Some(commit) = &did.commit { ", by commit " code title=(commit) { (commit.short()) } }
                    @else { ": it stood so already" } "."
                }
            }
            @for problem in &self.status.problems { p.notice.pre { (sign("Problem", Tone::Bad)) " " (problem) } }
            @for environment in &self.status.environments {
                @if let Some(held) = &environment.held {
                    p.notice {
                        (sign("Held", Tone::Warn)) " "
                        strong { (environment.name) } ": " (held.change) ", by " (held.author) ": " (held.reason) " "
                        code title=(held.commit) { (held.commit.short()) }
                    }
                }
                @for note in &environment.notes {
                    p.notice { (sign("Moving", Tone::Warn)) " " strong { (environment.name) } ": " (note) }
                }
                @if let Some(error) = &environment.error {
                    p.notice.pre { (sign("Not applied", Tone::Bad)) " " strong { (environment.name) } ": " (error) }
                }
            }
        }
    }

    fn column(&self, viewer: &Viewer, environment: &EnvironmentStatus) -> Markup {
        let project = &self.status.project;
        let name = &environment.name;
        html! {
            th scope="col" {
                a.environment href=(environment_path(project, name)) { (name) }
                @if environment.production { " " span.tag { "production" } }
                @if environment.reviewed { " " span.tag { "reviewed" } }
                @if environment.suspended { " " (sign("Suspended", Tone::Warn)) }
                @if let Some(release) = &environment.release {
                    " " a.tag href=(release_path(project, release)) { (release) @if environment.certified { ", certified" } }
                }
                @if let Some(plane) = &environment.data_plane { " " span.tag { "on " (plane) } }
                div.meta {
                    span { (words::strategy(environment.strategy)) }
                    a href={ (project_path(project)) "/e/" (name) "/diff" } { "Diff" span.sr { " of " (name) } }
                    (suspend(viewer, project, environment))
                }
            }
        }
    }
}

/// Who changed last what runs there. A movement without a component is of all of them; without a promotion it moved none.
pub fn last_change<'a>(
    journal: impl IntoIterator<Item = &'a Entry>,
    environment: &Environment,
    component: &Component,
) -> Option<&'a Entry> {
    journal.into_iter().find(|entry| {
        entry.kind == EntryKind::Admitted
            && entry.environment.as_ref() == Some(environment)
            && entry.component.as_ref().map_or(entry.promotion.is_some(), |of| of == component)
    })
}

/// The build that could come next: why it does not, or a way to let it.
pub fn next(
    viewer: &Viewer,
    project: &Project,
    environment: &EnvironmentStatus,
    candidate: Option<&BuildId>,
    gates: &[Gate],
) -> Markup {
    let Some(candidate) = candidate else { return html! {} };
    let shut: Vec<&str> =
        gates.iter().filter(|gate| gate.state != GateState::Open).map(|gate| gate.message.as_str()).collect();
    html! {
        @if !shut.is_empty() {
            p.next { (sign("Waits", Tone::Warn)) " " strong { (candidate) } ": " (shut.join("; ")) }
        } @else if environment.strategy == Strategy::Auto {
            p.next { (sign("On its way", Tone::Busy)) " " strong { (candidate) } }
        } @else {
            (promote(viewer, project, environment, candidate))
        }
    }
}

/// A way to bring a build here, for those who may.
fn promote(viewer: &Viewer, project: &Project, to: &EnvironmentStatus, build: &BuildId) -> Markup {
    if !viewer.may(Right::Promote, project, to) {
        return html! { p.next { strong { (build) } " may come next" } };
    }
    let (component, number) = (build.component.to_string(), build.to_string());
    let hidden = [("component", component.as_str()), ("build", &number), ("environment", to.name.as_str())];
    let (path, words) = (format!("{}/promote", project_path(project)), format!("Promote {build} to {}", to.name));
    let id = format!("promote-{build}-{}", to.name);
    ask(&viewer.session, &Ask { id, path: &path, hidden: &hidden, words: &words, primary: true })
}

/// A way to bring a build back, for those who may.
pub fn rollback(viewer: &Viewer, project: &Project, environment: &EnvironmentStatus, to: &BuildId) -> Markup {
    if !viewer.may(Right::Rollback, project, environment) {
        return html! {};
    }
    let (component, number, name) = (to.component.to_string(), to.to_string(), &environment.name);
    let hidden = [("component", component.as_str()), ("build", &number), ("environment", name.as_str())];
    let (path, words) = (format!("{}/rollback", project_path(project)), format!("Roll back to {to}"));
    let id = format!("rollback-{to}-{name}");
    ask(&viewer.session, &Ask { id, path: &path, hidden: &hidden, words: &words, primary: false })
}

/// A way to stop an environment or to let it go on, for those who may.
pub fn suspend(viewer: &Viewer, project: &Project, environment: &EnvironmentStatus) -> Markup {
    if !viewer.may(Right::Suspend, project, environment) {
        return html! {};
    }
    let name = &environment.name;
    let (word, flag) = if environment.suspended { ("Resume", "false") } else { ("Suspend", "true") };
    let (path, words) = (format!("{}/suspend", project_path(project)), format!("{word} {name}"));
    let hidden = [("environment", name.as_str()), ("suspend", flag)];
    let id = format!("{word}-{name}");
    let what = html! {
        p.quiet { "Writes " code { "suspend: " (flag) } " to " code { "environments/" (name) ".yaml" } "." }
    };
    asking(&viewer.session, &Ask { id, path: &path, hidden: &hidden, words: &words, primary: false }, &what)
}

/// Builds, newest first.
pub fn builds(project: &Project, builds: &[Build]) -> Markup {
    html! {
        @if builds.is_empty() { p.quiet { "none" } } @else {
            table.list {
                thead { tr { th scope="col" { "Build" } th scope="col" { "Phase" } th scope="col" { "Commit" } th scope="col" { "When" } } }
                tbody {
                    @for build in builds {
                        tr {
                            th scope="row" { a href=(build_path(project, &build.spec.build)) { (build.spec.build) } }
                            td { (badge(build.status.phase)) @if let Some(chart) = &build.status.chart { " " span.quiet { (chart) } } }
                            td.wide { (build.spec.message) " " span.quiet { "by " (build.spec.pushed_by) } }
                            td {
                                (time(build.spec.created))
                                @if let (Some(started), Some(finished)) = (build.status.started, build.status.finished) {
                                    " " span.quiet { "in " (duration(started, finished)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
