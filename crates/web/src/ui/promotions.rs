//! `/p/{project}/promotions`: what waits, with its gates, and what came of the rest.

use super::layout::{Page, environment_path, gates, promotion_path};
use super::words::{self, badge, time};
use super::{Result, Ui, name, shown};
use crate::sessions::Session;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::{Project, Promotion};

/// Rows of those that have ended.
const ENDED_MAX: usize = 100;

pub async fn handle(State(ui): State<Ui>, session: Session, Path(project): Path<String>) -> Result<Response> {
    let project: Project = name(&project)?;
    let promotions = ui.delivery.promotions(&project).await?;
    let page = Page::of(&project, &session, "Promotions");
    Ok(shown(page.render(main(&project, &promotions))).into_response())
}

pub fn main(project: &Project, promotions: &[Promotion]) -> Markup {
    let (ended, open): (Vec<&Promotion>, Vec<&Promotion>) =
        promotions.iter().partition(|one| one.status.phase.is_final());
    html! {
        h1 { "Promotions" }
        @if open.is_empty() { p.quiet { "Nothing waits and nothing is on its way." } }
        @for one in open {
            section.panel {
                h2 { a href=(promotion_path(project, &one.name)) { (one.name) } " " (badge(one.status.phase)) }
                p {
                    @if !one.status.change.is_empty() { strong { (one.status.change) } " in " }
                    a href=(environment_path(project, &one.spec.environment)) { (one.spec.environment) }
                    " " span.quiet { (words::class(one.spec.class)) ", asked for by " (one.spec.requested_by) ", " (time(one.spec.created)) }
                }
                @if !one.spec.reason.is_empty() { p.reason { (one.spec.reason) } }
                (gates(&one.status.gates))
            }
        }
        @if !ended.is_empty() {
            section {
                h2 { "Ended" }
                div.boards {
                    table.list {
                        thead { tr { th scope="col" { "Promotion" } th scope="col" { "What" } th scope="col" { "Outcome" } th scope="col" { "Who" } th scope="col" { "When" } } }
                        tbody {
                            @for one in ended.iter().take(ENDED_MAX) {
                                tr {
                                    th scope="row" { a href=(promotion_path(project, &one.name)) { (one.name) } }
                                    td.wide { @if one.status.change.is_empty() { (words::class(one.spec.class)) } @else { (one.status.change) } }
                                    td { (badge(one.status.phase)) }
                                    td { (one.spec.requested_by) }
                                    td { (time(one.spec.created)) }
                                }
                            }
                        }
                    }
                }
                @if ended.len() > ENDED_MAX { p.quiet { "Older ones: " code { "trimtab history" } } }
            }
        }
    }
}
