//! `/p/{project}/e/{environment}`: what is admitted in one environment, what waits, and how it came to this.

use super::forms::{Ask, ask, asking, choice, line, reason};
use super::layout::{Page, component_path, done, environment_path, gates, project_path, promotion_path, release_path};
use super::project::{next, suspend};
use super::viewer::Viewer;
use super::windows::window_list;
use super::words::{self, Tone, badge, sign, time};
use super::{Refusal, Result, Ui, name, shown};
use crate::service::Error;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::people::Right;
use model::views::{Deployment, EnvironmentStatus, Explanation, ReleaseStatus, WindowStatus};
use model::{CommitId, Environment, Project, Promotion};
use serde::Deserialize;

/// Rows of the history.
const DEPLOYMENTS_MAX: usize = 50;
/// Builds that are named in a row: with more components, what ran at a time is asked for.
const BUILDS_MAX: usize = 20;

#[derive(Deserialize)]
pub struct At {
    /// A day, a time, or how long ago.
    #[serde(default)]
    time: String,
    /// What the person who is sent here has just done.
    commit: Option<CommitId>,
}

/// What the page is made of.
pub struct Look {
    pub project: Project,
    pub environment: EnvironmentStatus,
    pub explanations: Vec<Explanation>,
    /// Those that are open.
    pub promotions: Vec<Promotion>,
    pub releases: Vec<ReleaseStatus>,
    /// Those that have a say here.
    pub windows: Vec<WindowStatus>,
    /// Newest first.
    pub deployments: Vec<Deployment>,
    /// What was asked for, and what ran then.
    pub then: Option<(String, Option<Deployment>)>,
    pub did: Option<CommitId>,
}

pub async fn handle(
    State(ui): State<Ui>,
    viewer: Viewer,
    Path((project, environment)): Path<(String, String)>,
    Query(at): Query<At>,
) -> Result<Response> {
    let (project, environment): (Project, Environment) = (name(&project)?, name(&environment)?);
    let look = gather(&ui, project, &environment, at).await?;
    let page = Page::of(&look.project, &viewer.session, environment.to_string());
    Ok(shown(page.render(look.main(&viewer))).into_response())
}

async fn gather(ui: &Ui, project: Project, environment: &Environment, at: At) -> Result<Look> {
    let delivery = &ui.delivery;
    let status = delivery.status(&project).await?;
    let known: Vec<&str> = status.environments.iter().map(|known| known.name.as_str()).collect();
    let missing = || format!("there is no environment {environment} in {project}; there is: {}", known.join(", "));
    let found = status.environments.iter().find(|known| known.name == *environment);
    let found = found.ok_or_else(|| Refusal::Service(Error::NotFound(missing())))?;
    let explanations = delivery.explanations(&project, Some(environment)).await?;
    let mut promotions = delivery.promotions(&project).await?;
    promotions.retain(|one| one.spec.environment == *environment && !one.status.phase.is_final());
    let mut windows = delivery.windows(&project).await?;
    windows.retain(|window| window.environments.contains(environment));
    let releases = delivery.releases(&project).await?;
    let deployments = delivery.deployments(&project, Some(environment), None, DEPLOYMENTS_MAX).await?;
    let time = at.time.trim().to_owned();
    let then = match time.is_empty() {
        true => None,
        false => {
            let found = delivery.at(&project, environment, &time).await?;
            Some((time, found))
        }
    };
    let environment = found.clone();
    Ok(Look { project, environment, explanations, promotions, releases, windows, deployments, then, did: at.commit })
}

impl Look {
    pub fn main(&self, viewer: &Viewer) -> Markup {
        let (project, environment) = (&self.project, &self.environment);
        let path = environment_path(project, &environment.name);
        html! {
            h1 {
                (environment.name)
                @if environment.production { " " span.tag { "production" } }
                @if environment.reviewed { " " span.tag { "reviewed" } }
            }
            (done(self.did.as_ref()))
            (self.facts())
            (self.notices())
            div.actions {
                a href={ (path) "/diff" } { "What applying would do" }
                (suspend(viewer, project, environment))
                (self.promote_release(viewer))
                (self.roll_back(viewer))
            }
            section.panel {
                h2 { "What runs" }
                (self.components(viewer))
            }
            @if !self.promotions.is_empty() {
                section.panel {
                    h2 { "On its way" }
                    @for one in &self.promotions {
                        h3 { a href=(promotion_path(project, &one.name)) { (one.name) } " " (badge(one.status.phase)) }
                        @if !one.status.change.is_empty() { p { (one.status.change) } }
                        (gates(&one.status.gates))
                    }
                }
            }
            @if !self.windows.is_empty() { section.panel { h2 { "Windows" } (window_list(&self.windows)) } }
            section.panel {
                h2 { "History" }
                (self.then(&path))
                (deployments(project, &self.deployments, None))
            }
            @if viewer.may_configure(project) {
                div.actions { a href={ (path) "/removal" } { "Delete " (environment.name) "…" } }
            }
        }
    }

    fn facts(&self) -> Markup {
        let environment = &self.environment;
        html! {
            dl.facts {
                div { dt { "Movements" } dd { (words::strategy(environment.strategy)) } }
                @if let Some(release) = &environment.release {
                    div {
                        dt { "Release" }
                        dd {
                            a href=(release_path(&self.project, release)) { (release) }
                            @if environment.certified { " " (sign("Certified", Tone::Good)) }
                        }
                    }
                }
                div { dt { "Runs on" } dd { @match &environment.data_plane { Some(plane) => { (plane) }, None => "this machine" } } }
                @if let Some(admitted) = &environment.admitted {
                    div { dt { "Admitted" } dd { code title=(admitted) { (admitted.short()) } } }
                }
                @if environment.suspended { div { dt { "State" } dd { (sign("Suspended", Tone::Warn)) } } }
            }
        }
    }

    fn notices(&self) -> Markup {
        let environment = &self.environment;
        html! {
            @if let Some(error) = &environment.error { p.notice.pre { (sign("Not applied", Tone::Bad)) " " (error) } }
            @if let Some(held) = &environment.held {
                section.panel {
                    h2 { (sign("Held", Tone::Warn)) " " (held.change) }
                    p.meta { span { "by " (held.author) } code title=(held.commit) { (held.commit.short()) } }
                    p { (held.reason) }
                    (gates(&held.gates))
                }
            }
            @for note in &environment.notes { p.notice { (note) } }
            @if let Some(own) = &environment.repository { p.quiet { "Its file and its pins stand in " code { (own) } "." } }
            @for result in &environment.policies { p.notice { (result.action.to_string()) ": " (result.to_string()) } }
        }
    }

    fn components(&self, viewer: &Viewer) -> Markup {
        let (project, environment) = (&self.project, &self.environment);
        html! {
            @if self.explanations.is_empty() { p.quiet { "nothing was built yet" } } @else {
                table.list {
                    thead { tr { th scope="col" { "Component" } th scope="col" { "Build" } th scope="col" { "Health" } th scope="col" { "Next" } } }
                    tbody {
                        @for explanation in &self.explanations {
                            tr {
                                th scope="row" { a href=(component_path(project, &explanation.component, Some(&environment.name))) { (explanation.component) } }
                                td { @match &explanation.running { Some(running) => { (running.build) }, None => span.quiet { "none" } } }
                                td {
                                    @if let Some(running) = &explanation.running {
                                        (badge(running.health))
                                        @if running.drifted { " " (sign("Drifted", Tone::Warn)) }
                                    }
                                }
                                td.wide { (next(viewer, project, environment, explanation.candidate.as_ref(), &explanation.gates)) }
                            }
                        }
                    }
                }
            }
        }
    }

    fn promote_release(&self, viewer: &Viewer) -> Markup {
        let (project, environment) = (&self.project, &self.environment);
        if self.releases.is_empty() || !viewer.may(Right::Promote, project, environment) {
            return html! {};
        }
        let fields = html! { (choice("Release", "release", None, self.releases.iter().map(|one| &one.version), None)) (reason()) };
        let hidden = [("environment", environment.name.as_str())];
        let path = format!("{}/promote", project_path(project));
        let words = format!("Promote a release to {}", environment.name);
        asking(
            &viewer.session,
            &Ask { id: "promote-release".into(), path: &path, hidden: &hidden, words: &words, primary: false },
            &fields,
        )
    }

    fn roll_back(&self, viewer: &Viewer) -> Markup {
        let (project, environment) = (&self.project, &self.environment);
        if self.deployments.len() < 2 || !viewer.may(Right::Rollback, project, environment) {
            return html! {};
        }
        let hidden = [("environment", environment.name.as_str())];
        let path = format!("{}/rollback", project_path(project));
        ask(
            &viewer.session,
            &Ask {
                id: "rollback-all".into(),
                path: &path,
                hidden: &hidden,
                words: "Undo the last movement",
                primary: false,
            },
        )
    }

    fn then(&self, path: &str) -> Markup {
        html! {
            form.filter method="get" action=(path) {
                label { "What ran at " input name="time" placeholder="2026-11-01T14:00" autocomplete="off" value=[self.then.as_ref().map(|(time, _)| time)]; }
                button { "Show" }
            }
            @if let Some((time, found)) = &self.then {
                @match found {
                    None => p.notice { "Nothing was admitted here before " (time) "." },
                    Some(found) => (deployments(&self.project, std::slice::from_ref(found), Some(&format!("What ran at {time}")))),
                }
            }
        }
    }
}

/// What was admitted, newest first.
pub fn deployments(project: &Project, deployments: &[Deployment], caption: Option<&str>) -> Markup {
    html! {
        @if deployments.is_empty() { p.quiet { "nothing was admitted yet" } } @else {
            div.boards {
                table.list {
                    @if let Some(caption) = caption { caption { (caption) } }
                    thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Who" } th scope="col" { "From then on" } } }
                    tbody {
                        @for one in deployments {
                            tr {
                                th scope="row" { (time(one.at)) }
                                td.wide {
                                    @match &one.promotion { Some(promotion) => a href=(promotion_path(project, promotion)) { (one.change) }, None => { (one.change) } }
                                    @if !one.reason.is_empty() { " " span.quiet { (one.reason) } }
                                }
                                td { (one.actor) }
                                td.wide {
                                    @if let Some(release) = &one.release { strong { (release) } " " }
                                    @let all = if caption.is_some() { usize::MAX } else { BUILDS_MAX };
                                    @for build in one.builds.values().take(all) { span.build { (build) } " " }
                                    @if one.builds.len() > all {
                                        @let path = environment_path(project, &one.environment);
                                        a href={ (path) "?time=" (one.at) } { "and " (one.builds.len() - all) " more" } " "
                                    }
                                    code title=(one.commit) { (one.commit.short()) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `/p/{project}/e/{environment}/removal`: what would go with it.
pub async fn removal(
    State(ui): State<Ui>,
    viewer: Viewer,
    Path((project, environment)): Path<(String, String)>,
) -> Result<Response> {
    let (project, environment): (Project, Environment) = (name(&project)?, name(&environment)?);
    crate::people::configures(&viewer.person, &project)?;
    let removal = ui.delivery.delete_environment(&project, &environment, false, &viewer.person.name).await?;
    let path = format!("{}/delete", environment_path(&project, &environment));
    let parts = [("Files", &removal.files), ("Objects", &removal.objects), ("Addresses", &removal.addresses)];
    let words = format!("Delete {environment}");
    let main = html! {
        h1 { "Delete " (environment) }
        p.lead { "This goes with it, by one commit. Its history stays." }
        @for (title, items) in parts {
            section.panel {
                h2 { (title) }
                @if items.is_empty() { p.quiet { "none" } }
                ul.plain { @for item in items { li { code { (item) } } } }
            }
        }
        (asking(&viewer.session, &Ask { id: "delete".into(), path: &path, hidden: &[], words: &words, primary: true }, &line("Its name, to be sure", "confirm", environment.as_str(), true)))
    };
    let page = Page::of(&project, &viewer.session, words.clone())
        .under(environment.to_string(), environment_path(&project, &environment));
    Ok(shown(page.render(main)).into_response())
}
