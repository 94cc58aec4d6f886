//! `/p/{project}/e/{environment}/diff`: what applying would do now.

use super::layout::Page;
use super::words::{Tone, badge, sign};
use super::{Result, Ui, name, shown};
use crate::sessions::Session;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::flow::{Action, Change, Step};
use model::{Environment, Plan, Project};
use serde_json::Value;

pub async fn handle(
    State(ui): State<Ui>,
    session: Session,
    Path((project, environment)): Path<(String, String)>,
) -> Result<Response> {
    let (project, environment): (Project, Environment) = (name(&project)?, name(&environment)?);
    let plan = ui.delivery.diff(&project, &environment).await?;
    let page = Page::of(&project, &session, format!("Diff of {environment}"));
    Ok(shown(page.render(main(&plan))).into_response())
}

pub fn main(plan: &Plan) -> Markup {
    let changing: Vec<&Step> = plan.changing().collect();
    let unchanged = plan.steps.iter().filter(|step| step.action == Action::Unchanged);
    html! {
        h1 { "Diff of " (plan.environment) }
        p.quiet { "What applying commit " code title=(plan.commit) { (plan.commit.short()) } " would do now." }
        @if changing.is_empty() {
            p.notice { (sign("In sync", Tone::Good)) " The cluster is as described." }
        } @else {
            ol.steps {
                @for step in changing {
                    li.card {
                        h2 { (badge(step.action)) " " (object(step)) }
                        @if !step.reason.is_empty() { p { (step.reason) } }
                        @if !step.changes.is_empty() { (changes(&step.changes)) }
                    }
                }
            }
        }
        @if plan.steps.iter().any(|step| step.action == Action::Unchanged) {
            section.panel {
                h2 { "Unchanged" }
                ul.plain { @for step in unchanged { li { (object(step)) } } }
            }
        }
    }
}

fn object(step: &Step) -> Markup {
    html! { span.kind { (step.object.kind) } " " code { (step.object.name) } }
}

fn changes(changes: &[Change]) -> Markup {
    html! {
        table.list.changes {
            thead { tr { th scope="col" { "Field" } th scope="col" { "Now" } th scope="col" { "Then" } } }
            tbody {
                @for change in changes {
                    tr {
                        th scope="row" { code.long { (change.path) } }
                        td.wide { (value(change.before.as_ref(), false)) }
                        td.wide { (value(change.after.as_ref(), true)) }
                    }
                }
            }
        }
    }
}

/// One side of a change.
pub fn value(value: Option<&Value>, after: bool) -> Markup {
    html! {
        @match value {
            None => span.quiet { "absent" },
            Some(value) if after => ins { code.long { (shown_value(value)) } },
            Some(value) => del { code.long { (shown_value(value)) } },
        }
    }
}

/// Texts without quotation marks, all else as JSON.
fn shown_value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
