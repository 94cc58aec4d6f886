//! `/p/{project}/b/{build}`: one build and its log.

use super::layout::{Page, component_path, log, project_path};
use super::live::gather;
use super::words::{badge, duration, time};
use super::{Refusal, Result, Ui, name, shown};
use crate::service::Error;
use crate::sessions::Session;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::{Build, BuildId, Environment, Project};

pub async fn handle(
    State(ui): State<Ui>,
    session: Session,
    Path((project, build)): Path<(String, String)>,
) -> Result<Response> {
    let (project, id): (Project, BuildId) = (name(&project)?, name(&build)?);
    let found = ui.delivery.builds(&project).await?.into_iter().find(|build| build.spec.build == id);
    let build =
        found.ok_or_else(|| Refusal::Service(Error::NotFound(format!("there is no build {id} in {project}"))))?;
    let status = ui.delivery.status(&project).await?;
    let runs = status.environments.iter().filter(|e| e.components.iter().any(|c| c.build == id));
    let runs: Vec<Environment> = runs.map(|environment| environment.name.clone()).collect();
    let log = gather(ui.delivery.build_log(&project, &id, false).await?).await;
    let page = Page::of(&project, &session, id.to_string())
        .under(id.component.to_string(), component_path(&project, &id.component, None));
    Ok(shown(page.render(main(&build, &runs, &log))).into_response())
}

pub fn main(build: &Build, runs: &[Environment], text: &str) -> Markup {
    let (spec, status) = (&build.spec, &build.status);
    html! {
        h1 { (spec.build) " " (badge(status.phase)) }
        @if !status.message.is_empty() { pre.message { (status.message) } }
        dl.facts {
            div { dt { "Commit" } dd { code title=(spec.commit) { (spec.commit.short()) } " " (spec.message) } }
            div { dt { "Pushed by" } dd { (spec.pushed_by) ", " (time(spec.created)) } }
            @if let (Some(started), Some(finished)) = (status.started, status.finished) {
                div { dt { "Took" } dd { (duration(started, finished)) } }
            }
            @if let Some(chart) = &status.chart {
                div.row { dt { "Chart" } dd { (chart) " " code.long { (chart.digest) } } }
            }
            @if let Some(image) = &status.image {
                div.row { dt { "Image" } dd { code.long { (image) } } }
            }
            div {
                dt { "Runs in" }
                dd {
                    @if runs.is_empty() { span.quiet { "no environment" } }
                    @for (index, environment) in runs.iter().enumerate() {
                        @if index > 0 { ", " }
                        a href=(component_path(&spec.project, &spec.build.component, Some(environment))) { (environment) }
                    }
                }
            }
        }
        section {
            h2 { "Log" }
            (log("log", &format!("{}/b/{}/log", project_path(&spec.project), spec.build), text))
        }
    }
}
