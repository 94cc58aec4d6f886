//! `/p/{project}/promotions/{name}`: one movement, with its gates and its commit.

use super::forms::{Ask, ask};
use super::layout::{Page, build_path, component_path, environment_path, gates, promotion_path};
use super::viewer::Viewer;
use super::words::{self, badge, duration, time};
use super::{Refusal, Result, Ui, name, shown};
use crate::service::Error;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use maud::{Markup, html};
use model::people::Right;
use model::records::{Gate, GateName, GateState};
use model::{Project, Promotion};

pub async fn handle(
    State(ui): State<Ui>,
    viewer: Viewer,
    Path((project, promotion)): Path<(String, String)>,
) -> Result<Response> {
    let project: Project = name(&project)?;
    // The stream waits for one that was asked for a moment ago.
    let first = ui.delivery.promotion(&project, &promotion).await?.next().await;
    let promotion = first
        .ok_or_else(|| Refusal::Service(Error::NotFound(format!("there is no promotion {promotion} in {project}"))))?;
    let status = ui.delivery.status(&project).await?;
    let environment = status.environments.iter().find(|one| one.name == promotion.spec.environment);
    let production = environment.is_some_and(|environment| environment.production);
    let page = Page::of(&project, &viewer.session, promotion.name.clone());
    Ok(shown(page.render(main(&viewer, &promotion, production))).into_response())
}

pub fn main(viewer: &Viewer, promotion: &Promotion, production: bool) -> Markup {
    let (spec, status) = (&promotion.spec, &promotion.status);
    let project = &spec.project;
    html! {
        h1 { (promotion.name) " " (badge(status.phase)) }
        p.lead {
            @if status.change.is_empty() { "A " (words::class(spec.class)) } @else { strong { (status.change) } }
            " in " a href=(environment_path(project, &spec.environment)) { strong { (spec.environment) } }
        }
        @if !status.message.is_empty() { pre.message { (status.message) } }
        dl.facts {
            div { dt { "Asked by" } dd { (spec.requested_by) ", " (time(spec.created)) " (" (words::class(spec.class)) ")" } }
            @if !spec.reason.is_empty() { div { dt { "Reason" } dd { (spec.reason) } } }
            @if let Some(build) = &spec.build { div { dt { "Build" } dd { a href=(build_path(project, build)) { (build) } } } }
            @if let Some(component) = &spec.component {
                div { dt { "Component" } dd { a href=(component_path(project, component, Some(&spec.environment))) { (component) " in " (spec.environment) } } }
            }
            @if let Some(finished) = status.finished { div { dt { "Took" } dd { (duration(spec.created, finished)) } } }
            div.row {
                dt { "Commit" }
                dd { @match &status.commit { Some(commit) => code.long { (commit) }, None => span.quiet { "none yet" } } }
            }
        }
        section.panel {
            h2 { "Gates" }
            @if status.gates.is_empty() { p.quiet { "not judged yet" } }
            (gates(&status.gates))
            @if !status.phase.is_final() { (answers(viewer, promotion, production)) }
        }
    }
}

/// What those who look may do about one that is not final.
fn answers(viewer: &Viewer, promotion: &Promotion, production: bool) -> Markup {
    let (project, environment) = (&promotion.spec.project, &promotion.spec.environment);
    let path = promotion_path(project, &promotion.name);
    let (approve, cancel) = (format!("{path}/approve"), format!("{path}/cancel"));
    let waits = |gate: &Gate| gate.name == GateName::Approvals && gate.state != GateState::Open;
    let wanted = promotion.status.gates.iter().any(waits);
    html! {
        div.actions {
            @if wanted && viewer.may_in(Right::Approve, project, environment, production) {
                (ask(&viewer.session, &Ask { id: "approve".into(), path: &approve, hidden: &[], words: "Approve", primary: true }))
            }
            @if viewer.may_in(Right::Promote, project, environment, production) {
                (ask(&viewer.session, &Ask { id: "cancel".into(), path: &cancel, hidden: &[], words: "Cancel", primary: false }))
            }
        }
    }
}
