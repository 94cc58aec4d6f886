//! `/p/{project}/history`: the journal.

use super::layout::{Page, entries};
use super::{Result, Ui, name, shown};
use crate::sessions::Session;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::journal::Entry;
use model::{Environment, Project};
use serde::Deserialize;

/// Entries of a page.
const ENTRIES_MAX: usize = 200;

#[derive(Deserialize)]
pub struct Filter {
    #[serde(default)]
    env: String,
}

pub async fn handle(
    State(ui): State<Ui>,
    session: Session,
    Path(project): Path<String>,
    Query(filter): Query<Filter>,
) -> Result<Response> {
    let project: Project = name(&project)?;
    let environment: Option<Environment> = (!filter.env.is_empty()).then(|| name(&filter.env)).transpose()?;
    let status = ui.delivery.status(&project).await?;
    let environments: Vec<Environment> = status.environments.into_iter().map(|environment| environment.name).collect();
    let journal = ui.delivery.history(&project, environment.as_ref(), ENTRIES_MAX).await?;
    let page = Page::of(&project, &session, "History");
    Ok(shown(page.render(main(&project, &environments, environment.as_ref(), &journal))).into_response())
}

pub fn main(project: &Project, environments: &[Environment], only: Option<&Environment>, journal: &[Entry]) -> Markup {
    html! {
        h1 { "History" }
        form.filter method="get" {
            label {
                "Environment "
                select name="env" {
                    option value="" { "all" }
                    @for environment in environments {
                        option value=(environment) selected[only == Some(environment)] { (environment) }
                    }
                }
            }
            button { "Show" }
        }
        @if journal.is_empty() { p.quiet { "nothing happened yet" } }
        (entries(project, journal))
        @if journal.len() == ENTRIES_MAX { p.quiet { "Older entries: " code { "trimtab history --limit 1000" } } }
    }
}
