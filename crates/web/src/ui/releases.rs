//! `/p/{project}/releases`: the sets that were released; `/p/{project}/releases/{version}`: one of them.

use super::forms::{Ask, asking, choice, line, reason};
use super::layout::{Page, environment_path, project_path, release_path};
use super::viewer::Viewer;
use super::words::{Tone, sign, time};
use super::{Refusal, Result, Ui, name, shown};
use crate::service::Error;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::people::Right;
use model::views::{EnvironmentStatus, ProjectStatus, ReleaseStatus};
use model::{Environment, Project, Version};

/// Builds that are named in a row; a release's own page names all.
const BUILDS_MAX: usize = 20;

pub async fn handle(State(ui): State<Ui>, viewer: Viewer, Path(project): Path<String>) -> Result<Response> {
    let project: Project = name(&project)?;
    let releases = ui.delivery.releases(&project).await?;
    let status = ui.delivery.status(&project).await?;
    let page = Page::of(&project, &viewer.session, "Releases");
    let main = html! {
        h1 { "Releases" }
        @if releases.is_empty() {
            div.empty {
                p { "A release is a tag over the set of builds that stands in an environment." }
                pre.command { "trimtab release create 1.0.0 --from dev" }
            }
        } @else { (list(&project, &releases)) }
        @if viewer.may_configure(&project) { (create(&viewer, &status)) }
    };
    Ok(shown(page.render(main)).into_response())
}

fn list(project: &Project, releases: &[ReleaseStatus]) -> Markup {
    html! {
        div.boards {
            table.list {
                thead { tr { th scope="col" { "Release" } th scope="col" { "Builds" } th scope="col" { "Certified in" } th scope="col" { "Runs in" } th scope="col" { "Made" } } }
                tbody {
                    @for one in releases {
                        tr {
                            th scope="row" { a href=(release_path(project, &one.version.to_string())) { (one.version) } }
                            td.wide {
                                @for pin in one.file.pins.values().take(BUILDS_MAX) { span.build { (pin.build) } " " }
                                @if let more @ 1.. = one.file.pins.len().saturating_sub(BUILDS_MAX) { span.quiet { "and " (more) " more" } }
                            }
                            td { (certified(one)) }
                            td { (places(project, &one.environments)) }
                            td { (time(one.at)) " " span.quiet { "by " (one.author) } }
                        }
                    }
                }
            }
        }
    }
}

fn certified(release: &ReleaseStatus) -> Markup {
    html! {
        @if release.certified.is_empty() { span.quiet { "nowhere yet" } }
        @for environment in &release.certified { (sign(environment.as_str(), Tone::Good)) " " }
    }
}

fn places(project: &Project, environments: &[Environment]) -> Markup {
    html! {
        @if environments.is_empty() { span.quiet { "nowhere" } }
        @for environment in environments { a href=(environment_path(project, environment)) { (environment) } " " }
    }
}

fn create(viewer: &Viewer, status: &ProjectStatus) -> Markup {
    let path = format!("{}/releases", project_path(&status.project));
    let fields = html! {
        (line("Version", "release", "1.4.0", true))
        (choice("What stands in", "environment", None, status.environments.iter().map(|environment| &environment.name), None))
        p.quiet { "Writes " code { "releases/VERSION.yaml" } " and a signed tag on that commit." }
    };
    asking(
        &viewer.session,
        &Ask { id: "create-release".into(), path: &path, hidden: &[], words: "Make a release", primary: false },
        &fields,
    )
}

pub async fn one(
    State(ui): State<Ui>,
    viewer: Viewer,
    Path((project, version)): Path<(String, String)>,
) -> Result<Response> {
    let (project, version): (Project, Version) = (name(&project)?, name(&version)?);
    let releases = ui.delivery.releases(&project).await?;
    let status = ui.delivery.status(&project).await?;
    let release = releases.iter().find(|one| one.version == version);
    let release = release.ok_or_else(|| {
        Refusal::Service(Error::NotFound(format!("there is no release {version} in {project}: trimtab release list")))
    })?;
    let page = Page::of(&project, &viewer.session, format!("Release {version}"))
        .under("Releases", format!("{}/releases", project_path(&project)));
    Ok(shown(page.render(main(&viewer, &status, release))).into_response())
}

fn main(viewer: &Viewer, status: &ProjectStatus, release: &ReleaseStatus) -> Markup {
    let project = &status.project;
    let notes = &release.file.notes;
    let path = project_path(project);
    html! {
        h1 { "Release " (release.version) }
        dl.facts {
            div { dt { "Certified in" } dd { (certified(release)) } }
            div { dt { "Runs in" } dd { (places(project, &release.environments)) } }
            div { dt { "Made" } dd { (time(release.at)) " by " (release.author) } }
            div { dt { "Tag" } dd { code { (release.version.tag()) } " on " code title=(release.commit) { (release.commit.short()) } } }
        }
        (movements(viewer, status, release))
        section.panel {
            h2 { "What is in it" }
            table.list {
                thead { tr { th scope="col" { "Component" } th scope="col" { "Build" } th scope="col" { "Commit" } th scope="col" { "Configuration" } } }
                tbody {
                    @for (component, pin) in &release.file.pins {
                        tr {
                            th scope="row" { (component) }
                            td { (pin.build) }
                            td { code title=(pin.source) { (pin.source.short()) } }
                            td { code title=(pin.config) { (pin.config.short()) } }
                        }
                    }
                }
            }
        }
        section.panel {
            h2 { "What is new in it" }
            @match &notes.since {
                Some(since) => p { "Since " a href=(release_path(project, &since.to_string())) { (since) } ". " a href={ (path) "/difference?from=" (since) "&to=" (release.version) } { "Compare with it" } },
                None => p.quiet { "It is the first." },
            }
            ul.plain { @for commit in &notes.commits { li { (commit) } } }
            @if !notes.issues.is_empty() { p { "Issues: " @for issue in &notes.issues { (issue) " " } } }
        }
    }
}

/// Where it may go, and who says that it is good.
fn movements(viewer: &Viewer, status: &ProjectStatus, release: &ReleaseStatus) -> Markup {
    let (project, version) = (&status.project, release.version.to_string());
    let path = project_path(project);
    let (promote, certify) = (format!("{path}/promote"), format!("{}/certify", release_path(project, &version)));
    let open = |environment: &&EnvironmentStatus| {
        viewer.may(Right::Promote, project, environment) && !release.environments.contains(&environment.name)
    };
    let targets: Vec<&Environment> = status.environments.iter().filter(open).map(|e| &e.name).collect();
    let uncertified = |environment: &&EnvironmentStatus| {
        viewer.may(Right::Approve, project, environment)
            && release.environments.contains(&environment.name)
            && !release.certified.contains(&environment.name)
    };
    let uncertified: Vec<&Environment> = status.environments.iter().filter(uncertified).map(|e| &e.name).collect();
    let (hidden, words) = ([("release", version.as_str())], format!("Promote {version}"));
    html! {
        div.actions {
            @if !targets.is_empty() {
                (asking(&viewer.session, &Ask { id: "promote-release".into(), path: &promote, hidden: &hidden, words: &words, primary: true },
                    &html! { (choice("To", "environment", None, targets, None)) (reason()) }))
            }
            @if !uncertified.is_empty() {
                (asking(&viewer.session, &Ask { id: "certify".into(), path: &certify, hidden: &[], words: "Certify", primary: false },
                    &html! { (choice("It is good in", "environment", None, uncertified, None)) (reason()) }))
            }
        }
    }
}
