//! `/p/{project}/windows`: when environments may move.

use super::forms::{Ask, asking, choice, line};
use super::layout::{Page, done, project_path};
use super::viewer::Viewer;
use super::words::{Tone, sign, time};
use super::{Result, Ui, name, shown};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::views::{ProjectStatus, WindowState, WindowStatus};
use model::window::{Window, WindowKind};
use model::{CommitId, Project};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Did {
    commit: Option<CommitId>,
}

pub async fn handle(
    State(ui): State<Ui>,
    viewer: Viewer,
    Path(project): Path<String>,
    Query(did): Query<Did>,
) -> Result<Response> {
    let project: Project = name(&project)?;
    let windows = ui.delivery.windows(&project).await?;
    let status = ui.delivery.status(&project).await?;
    let page = Page::of(&project, &viewer.session, "Windows");
    let main = html! {
        h1 { "Windows" }
        (done(did.commit.as_ref()))
        @if windows.is_empty() { p.quiet { "There are none: what the other gates let through moves at any time." } }
        (window_list(&windows))
        @if viewer.may_rule(&project) { (add(&viewer, &status)) }
    };
    Ok(shown(page.render(main)).into_response())
}

/// Windows with what they mean now.
pub fn window_list(windows: &[WindowStatus]) -> Markup {
    html! {
        @if !windows.is_empty() {
            div.boards {
                table.list {
                    thead { tr { th scope="col" { "Window" } th scope="col" { "Now" } th scope="col" { "When" } th scope="col" { "For" } } }
                    tbody {
                        @for one in windows {
                            tr {
                                th scope="row" { (one.window.name) }
                                td {
                                    (state(one.state))
                                    @if let Some(until) = one.until { " " span.quiet { "until " (time(until)) } }
                                    @if !one.message.is_empty() { p.problem { (one.message) } }
                                }
                                td.wide { (meaning(&one.window)) }
                                td.wide { @for name in &one.environments { (name) " " } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn state(state: WindowState) -> Markup {
    match state {
        WindowState::Open => sign("Open", Tone::Good),
        WindowState::Shut => sign("Shut", Tone::Warn),
        WindowState::Never => sign("Never", Tone::Bad),
    }
}

/// A window in words.
fn meaning(window: &Window) -> Markup {
    let kind = match window.kind {
        WindowKind::Allow => "movements only in it",
        WindowKind::Deny => "a freeze: no movements in it",
    };
    html! {
        @if let Some(schedule) = &window.schedule { code { (schedule) } @if let Some(duration) = &window.duration { " for " (duration) } " " }
        @if let Some(from) = &window.from { "from " (from) " " }
        @if let Some(to) = &window.to { "to " (to) " " }
        (window.time_zone) ". " span.quiet { (kind) }
    }
}

fn add(viewer: &Viewer, status: &ProjectStatus) -> Markup {
    let project = &status.project;
    let path = format!("{}/windows", project_path(project));
    let ids: Vec<&str> = status.environments.iter().map(|environment| environment.name.as_str()).collect();
    let fields = html! {
        (line("Name", "window", "office-hours", true))
        (choice("Movements", "kind", None, ["allow", "deny"], None))
        (line("Begins, as cron has it", "schedule", "0 8 * * 1-4", false))
        (line("Stays for", "duration", "8h", false))
        (line("Or from", "from", "2026-12-24", false))
        (line("to", "to", "2027-01-02", false))
        (line("Time zone", "timezone", "Europe/Berlin", false))
        (choice("For", "environment", Some("whoever names it"), ids, None))
    };
    let ask = Ask { id: "add-window".into(), path: &path, hidden: &[], words: "Add a window", primary: false };
    asking(&viewer.session, &ask, &fields)
}
