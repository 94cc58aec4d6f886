//! `/p/{project}/difference?from=…&to=…`: what differs between two releases, environments or times.

use super::diff::value;
use super::layout::Page;
use super::{Refusal, Result, Ui, name, shown};
use crate::service::Error;
use crate::sessions::Session;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::views::{ComponentDifference, Difference};
use model::{Pin, Project};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct Sides {
    from: String,
    to: String,
}

pub async fn handle(
    State(ui): State<Ui>,
    session: Session,
    Path(project): Path<String>,
    Query(sides): Query<Sides>,
) -> Result<Response> {
    let project: Project = name(&project)?;
    let status = ui.delivery.status(&project).await?;
    let releases = ui.delivery.releases(&project).await?;
    let (from, to) = (sides.from.trim(), sides.to.trim());
    // A side that makes no sense is said above the form, which keeps it.
    let found = match from.is_empty() || to.is_empty() {
        true => None,
        false => match ui.delivery.difference(&project, from, to).await {
            Ok(found) => Some(Ok(found)),
            Err(error @ (Error::NotFound(_) | Error::Invalid(_) | Error::Refused(_))) => Some(Err(error.to_string())),
            Err(error) => return Err(Refusal::Service(error)),
        },
    };
    let known = status.environments.iter().map(|environment| environment.name.to_string());
    let known: Vec<String> = known.chain(releases.iter().map(|release| release.version.to_string())).collect();
    let page = Page::of(&project, &session, "Compare");
    let main = html! {
        h1 { "Compare" }
        form.filter method="get" {
            label { "From " input name="from" value=(from) list="sides" placeholder="1.3.0" autocomplete="off" required; }
            label { "to " input name="to" value=(to) list="sides" placeholder="staging" autocomplete="off" required; }
            datalist #sides { @for one in &known { option value=(one) {} } }
            button { "Compare" }
        }
        p.quiet { "A release, an environment, or an environment at a time: " code { "prod@2026-11-01T14:00" } "." }
        @match &found {
            None => {},
            Some(Err(problem)) => p.notice.pre role="alert" { (problem) },
            Some(Ok(found)) => (differences(found)),
        }
    };
    Ok(shown(page.render(main)).into_response())
}

fn differences(found: &Difference) -> Markup {
    html! {
        h2 { (found.from) " → " (found.to) }
        @if found.components.is_empty() { p.notice { "They are the same." } }
        @for one in &found.components { (component(one)) }
    }
}

fn component(one: &ComponentDifference) -> Markup {
    html! {
        section.panel {
            h3 { (one.component) " " span.quiet { (pin(one.before.as_ref())) " → " (pin(one.after.as_ref())) } }
            (lines("Commits", &one.commits))
            (lines("Configuration", &one.configuration))
            @if !one.manifests.is_empty() {
                h4 { "Manifests" }
                div.boards {
                    table.list.changes {
                        thead { tr { th scope="col" { "Object" } th scope="col" { "Field" } th scope="col" { "Before" } th scope="col" { "After" } } }
                        tbody {
                            @for manifest in &one.manifests {
                                tr {
                                    th scope="row" { (manifest.object) }
                                    td { code.long { (manifest.change.path) } }
                                    td.wide { (value(manifest.change.before.as_ref(), false)) }
                                    td.wide { (value(manifest.change.after.as_ref(), true)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn pin(pin: Option<&Pin>) -> Markup {
    html! { @match pin { Some(pin) => { (pin.build) }, None => "absent" } }
}

fn lines(title: &str, lines: &[String]) -> Markup {
    html! {
        @if !lines.is_empty() {
            h4 { (title) }
            ul.plain { @for line in lines { li { (line) } } }
        }
    }
}
