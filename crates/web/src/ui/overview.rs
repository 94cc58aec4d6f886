//! `/`: all projects.

use super::layout::{Page, project_path};
use super::words::{Tone, badge, sign};
use super::{Result, Ui, shown};
use crate::sessions::Session;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::people::{Right, Target, allowed};
use model::views::{EnvironmentStatus, ProjectStatus};

pub async fn handle(State(ui): State<Ui>, session: Session) -> Result<Response> {
    let mut projects = Vec::new();
    let person = ui.person(&session)?;
    let mut names = ui.delivery.projects().await?;
    names.retain(|project| allowed(&person, Right::Read, &Target::Project(project)).is_ok());
    for name in names {
        projects.push((name.clone(), ui.delivery.status(&name).await.map_err(|error| error.to_string())));
    }
    let page = Page {
        title: "Projects".into(),
        session: Some(&session),
        crumbs: Vec::new(),
        events: Some("/events".into()),
        project: None,
    };
    Ok(shown(page.render(main(&projects))).into_response())
}

/// A project that cannot be read hides no other.
type Reading = (model::Project, std::result::Result<ProjectStatus, String>);

pub fn main(projects: &[Reading]) -> Markup {
    html! {
        h1 { "Projects" }
        @if projects.is_empty() {
            div.empty {
                p { "There is no project yet. In a directory with a Dockerfile:" }
                pre.command { "trimtab init\ngit push trimtab main" }
            }
        }
        ul.projects {
            @for (name, status) in projects {
                li.card {
                    h2 { a href=(project_path(name)) { (name) } }
                    @match status {
                        Ok(status) => (environments(status)),
                        Err(problem) => { p { (sign("Cannot be read", Tone::Bad)) } p.pre { (problem) } },
                    }
                }
            }
        }
    }
}

fn environments(status: &ProjectStatus) -> Markup {
    html! {
        dl.environments {
            @for environment in &status.environments {
                div {
                    dt { (environment.name) }
                    dd {
                        (summary(environment))
                        @if environment.held.is_some() { " " (sign("Held", Tone::Warn)) }
                        @if environment.suspended { " " (sign("Suspended", Tone::Warn)) }
                    }
                }
            }
        }
        @for problem in &status.problems { p.problem.pre { (sign("Problem", Tone::Bad)) " " (problem) } }
    }
}

/// The worst of what runs there.
fn summary(environment: &EnvironmentStatus) -> Markup {
    if environment.error.is_some() {
        return sign("Not applied", Tone::Bad);
    }
    let worst = environment.components.iter().max_by_key(|component| component.health);
    html! {
        @match worst {
            None => span.quiet { "nothing runs" },
            Some(worst) => {
                (badge(worst.health)) " "
                span.quiet {
                    @match environment.components.len() { 1 => { (worst.build) }, several => { (several) " components" } }
                }
            }
        }
    }
}
