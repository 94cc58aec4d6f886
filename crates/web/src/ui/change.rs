//! `/p/{project}/changes/{number}`: one Change, with what it would do and what is said of it.

use super::changes::{approved, blocked};
use super::forms::{Ask, ask, asking, line};
use super::layout::{Page, change_path, environment_path, gates, project_path};
use super::policies::consequence;
use super::viewer::Viewer;
use super::words::{badge, time};
use super::{Result, Ui, shown};
use crate::reviews::{proposes, which};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::Project;
use model::change::{ChangeDetail, ChangeState, Comment, EnvironmentPlan, FileDifference};

pub async fn handle(State(ui): State<Ui>, viewer: Viewer, Path(path): Path<(String, String)>) -> Result<Response> {
    let (project, number) = which(&path)?;
    let detail = ui.delivery.change(&project, number).await?;
    let page = Page::of(&project, &viewer.session, format!("Change {number}"))
        .under("Changes", format!("{}/changes", project_path(&project)));
    Ok(shown(page.render(main(&viewer, &project, &detail))).into_response())
}

pub fn main(viewer: &Viewer, project: &Project, detail: &ChangeDetail) -> Markup {
    let change = &detail.summary.change;
    let (set, status) = (change.latest(), &change.status);
    html! {
        h1 { "Change " (change.number) " " (badge(status.state)) }
        p.lead { strong { (change.title()) } }
        @if !set.description.is_empty() { pre.message { (set.description) } }
        dl.facts {
            div { dt { "By" } dd { (change.spec.author) ", " (time(change.spec.created)) } }
            div { dt { "For main of" } dd { (change.spec.repository) } }
            div { dt { "Patch set" } dd { (set.number) @if set.by != change.spec.author { " by " (set.by) } ", " code title=(set.commit) { (set.commit.short()) } } }
            @if let Some(topic) = &change.spec.topic { div { dt { "Topic" } dd { (topic) } } }
            @if let (Some(by), Some(at)) = (&status.closed_by, status.closed) {
                div { dt { (status.state) " by" } dd { (by) ", " (time(at)) } }
            }
            @if let Some(commit) = &status.commit { div.row { dt { "On main as" } dd { code.long { (commit) } } } }
        }
        (approved(&detail.summary))
        (blocked(&detail.summary))
        @if status.state == ChangeState::Open { (actions(viewer, project, detail)) }
        @if !status.checks.is_empty() {
            section.panel {
                h2 { "Checks" }
                @for check in &status.checks {
                    p { (badge(check.state)) " " strong { (check.name) } " " span.quiet { "by " (check.by) ", " (time(check.at)) } }
                    @if !check.message.is_empty() { pre.message { (check.message) } }
                }
            }
        }
        @if !detail.plans.is_empty() {
            section {
                h2 { "What it would do" }
                @for plan in &detail.plans { (planned(project, plan)) }
            }
        }
        section {
            h2 { "Files" }
            @if detail.files.is_empty() { p.quiet { "no file differs" } }
            @for file in &detail.files { (self::file(file, &status.comments)) }
        }
        section.panel {
            h2 { "Comments" }
            @let general: Vec<&Comment> = status.comments.iter().filter(|comment| comment.path.is_none()).collect();
            @if general.is_empty() { p.quiet { "none" } }
            @for comment in general { (said(comment)) }
            @if proposes(&viewer.person, project).is_ok() { (say(viewer, project, change.number)) }
        }
        section.panel {
            h2 { "Patch sets" }
            ul.plain {
                @for set in status.patch_sets.iter().rev() {
                    li { (set.number) " " code title=(set.commit) { (set.commit.short()) } " " (set.title) " " span.quiet { "by " (set.by) ", " (time(set.at)) } }
                }
            }
            p.quiet { "To have it in a working tree: " code { "trimtab change checkout " (change.number) } }
        }
    }
}

fn actions(viewer: &Viewer, project: &Project, detail: &ChangeDetail) -> Markup {
    let change = &detail.summary.change;
    let path = |verb: &str| format!("{}/{verb}", change_path(project, change.number));
    let (approve, merge, abandon) = (path("approve"), path("merge"), path("abandon"));
    let button = |id: &str, path, words, primary| Ask { id: id.to_owned(), path, hidden: &[], words, primary };
    let has = detail.summary.approved_by.contains(&viewer.person.name);
    html! {
        div.meta {
            @if viewer.may_approve(project) && !has {
                (ask(&viewer.session, &button("approve", &approve, "Approve", false)))
            }
            @if detail.summary.blocked.is_empty() && proposes(&viewer.person, project).is_ok() {
                (asking(&viewer.session, &button("merge", &merge, "Merge", true), &html! {}))
            }
            @if proposes(&viewer.person, project).is_ok() {
                (ask(&viewer.session, &button("abandon", &abandon, "Abandon", false)))
            }
        }
    }
}

fn planned(project: &Project, plan: &EnvironmentPlan) -> Markup {
    html! {
        @if plan.is_empty() {
            p.quiet { (plan.environment) ": nothing changes" }
        } @else {
            section.panel {
                h3 {
                    a href=(environment_path(project, &plan.environment)) { (plan.environment) }
                    @if plan.reviewed { " " span.tag { "reviewed" } }
                    @if !plan.change.is_empty() { " " (plan.change) }
                }
                @for note in &plan.notes { p { (note) } }
                @for broken in &plan.policies { p { (consequence(broken.action)) " " (broken) } }
                @if !plan.gates.is_empty() {
                    p.quiet { "Once it is merged, it would wait for:" }
                    (gates(&plan.gates))
                }
                @for one in &plan.objects {
                    details.object open[plan.objects.len() <= 3] #{ "plan-" (plan.environment) "-" (one.object) } {
                        summary { (badge(one.action)) " " code { (one.object) } }
                        (diff(&one.diff))
                    }
                }
            }
        }
    }
}

fn file(file: &FileDifference, comments: &[Comment]) -> Markup {
    html! {
        section.panel {
            h3 { code.long { (file.path) } }
            (diff(&file.diff))
            @for comment in comments.iter().filter(|comment| comment.path.as_ref() == Some(&file.path)) { (said(comment)) }
        }
    }
}

/// Lines with their signs; what is new and what is gone is not told by colour alone.
fn diff(text: &str) -> Markup {
    html! {
        pre.diff tabindex="0" {
            @for line in text.lines() {
                @match line.chars().next() {
                    Some('+') => ins { (line) },
                    Some('-') => del { (line) },
                    Some('@') => span.hunk { (line) },
                    _ => span { (line) },
                }
                "\n"
            }
        }
    }
}

fn said(comment: &Comment) -> Markup {
    html! {
        div.comment {
            p.meta {
                strong { (comment.by) } (time(comment.at))
                @if let Some(line) = comment.line { span { "line " (line) } }
                span { "patch set " (comment.patch_set) }
            }
            p.pre { (comment.text) }
        }
    }
}

fn say(viewer: &Viewer, project: &Project, number: u64) -> Markup {
    let path = format!("{}/comment", change_path(project, number));
    let fields = html! {
        label { "Comment" textarea name="text" rows="4" maxlength="8000" required {} }
        (line("About file", "path", "environments/prod.yaml", false))
        (line("Line", "line", "3", false))
    };
    let ask = Ask { id: "comment".into(), path: &path, hidden: &[], words: "Comment", primary: false };
    asking(&viewer.session, &ask, &fields)
}
