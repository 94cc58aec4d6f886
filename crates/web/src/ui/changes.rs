//! `/p/{project}/changes`: what is proposed for main.

use super::layout::{Page, change_path};
use super::words::{Tone, badge, sign, time};
use super::{Result, Ui, name, shown};
use crate::reviews::CLOSED;
use crate::sessions::Session;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::Project;
use model::change::{ChangeState, ChangeSummary, FOR_MAIN};

pub async fn handle(State(ui): State<Ui>, session: Session, Path(project): Path<String>) -> Result<Response> {
    let project: Project = name(&project)?;
    let changes = ui.delivery.all_changes(&project, CLOSED).await?;
    let page = Page::of(&project, &session, "Changes");
    Ok(shown(page.render(main(&project, &changes))).into_response())
}

pub fn main(project: &Project, changes: &[ChangeSummary]) -> Markup {
    let (open, ended): (Vec<&ChangeSummary>, Vec<&ChangeSummary>) =
        changes.iter().partition(|one| one.change.status.state == ChangeState::Open);
    html! {
        h1 { "Changes" }
        @if open.is_empty() {
            p.quiet { "Nothing is proposed. A Change is opened by a push:" }
            pre.command { "git push origin HEAD:" (FOR_MAIN) }
        }
        @for one in open {
            section.panel {
                h2 { a href=(change_path(project, one.change.number)) { (one.change.number) " " (one.change.title()) } }
                p.meta {
                    span { (one.change.spec.repository.name) }
                    span { "by " (one.change.spec.author) }
                    (time(one.change.latest().at))
                    @if let Some(topic) = &one.change.spec.topic { span.tag { (topic) } }
                    @if one.change.latest().number > 1 { span { "patch set " (one.change.latest().number) } }
                }
                (approved(one))
                (blocked(one))
            }
        }
        @if !ended.is_empty() {
            section {
                h2 { "Ended" }
                div.boards {
                    table.list {
                        thead { tr { th scope="col" { "Change" } th scope="col" { "What" } th scope="col" { "Outcome" } th scope="col" { "Author" } th scope="col" { "When" } } }
                        tbody {
                            @for one in ended {
                                tr {
                                    th scope="row" { a href=(change_path(project, one.change.number)) { (one.change.number) } }
                                    td.wide { (one.change.title()) }
                                    td { (badge(one.change.status.state)) }
                                    td { (one.change.spec.author) }
                                    td { @if let Some(closed) = one.change.status.closed { (time(closed)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Who agrees.
pub fn approved(one: &ChangeSummary) -> Markup {
    html! {
        @if !one.approved_by.is_empty() { p { (sign("Approved", Tone::Good)) " by " (one.approved_by.join(", ")) } }
    }
}

/// What keeps an open Change from main.
pub fn blocked(one: &ChangeSummary) -> Markup {
    html! {
        @if one.change.status.state == ChangeState::Open {
            @if one.blocked.is_empty() { p { (sign("Ready", Tone::Good)) " Nothing blocks it." } }
            @for why in &one.blocked { p.pre { (sign("Blocked", Tone::Warn)) " " (why) } }
        }
    }
}
