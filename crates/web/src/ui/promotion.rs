//! `/p/{project}/promotions/{name}`: one movement, with its gates and its commit.

use super::layout::{Page, build_path, component_path, gates, project_path};
use super::words::{self, badge, duration, time};
use super::{Refusal, Result, Ui, name, shown};
use crate::service::Error;
use crate::sessions::Session;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use maud::{Markup, html};
use model::{Project, Promotion};

pub async fn handle(
    State(ui): State<Ui>,
    session: Session,
    Path((project, promotion)): Path<(String, String)>,
) -> Result<Response> {
    let project: Project = name(&project)?;
    // The stream waits for one that was asked for a moment ago.
    let first = ui.delivery.promotion(&project, &promotion).await?.next().await;
    let promotion = first
        .ok_or_else(|| Refusal::Service(Error::NotFound(format!("there is no promotion {promotion} in {project}"))))?;
    let page = Page {
        title: promotion.name.clone(),
        session: Some(&session),
        crumbs: vec![(project.to_string(), project_path(&project))],
        events: Some(format!("{}/events", project_path(&project))),
        project: Some(&project),
    };
    Ok(shown(page.render(main(&promotion))).into_response())
}

pub fn main(promotion: &Promotion) -> Markup {
    let (spec, status) = (&promotion.spec, &promotion.status);
    let project = &spec.project;
    html! {
        h1 { (promotion.name) " " (badge(status.phase)) }
        p.lead {
            @if status.change.is_empty() { "A " (words::class(spec.class)) } @else { strong { (status.change) } }
            " in " strong { (spec.environment) }
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
        }
    }
}
