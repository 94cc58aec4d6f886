//! `/p/{project}/policies`: what must hold of everything that runs, where, and what breaks it now.

use super::layout::{Page, environment_path};
use super::viewer::Viewer;
use super::words::{Tone, sign};
use super::{Result, Ui, name, shown};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::policy::{PolicyAction, PolicyFile, PolicyRule};
use model::views::PolicyStatus;
use model::{Environment, Project};

pub async fn handle(State(ui): State<Ui>, viewer: Viewer, Path(project): Path<String>) -> Result<Response> {
    let project: Project = name(&project)?;
    let policies = ui.delivery.all_policies(&project).await?;
    let page = Page::of(&project, &viewer.session, "Policies");
    let main = html! {
        h1 { "Policies" }
        @if policies.is_empty() {
            p.quiet { "There are none: what runs is held to no rules but those of its environment. An administrator adds the starter set:" }
            pre.command { "trimtab policy add" }
        }
        @for policy in &policies { (one(&project, policy)) }
    };
    Ok(shown(page.render(main)).into_response())
}

fn one(project: &Project, policy: &PolicyStatus) -> Markup {
    html! {
        section.panel id={ "policy-" (policy.name) } {
            h2 { (policy.name) @if let Some(file) = &policy.file { " " (consequence(file.action)) } }
            @for problem in &policy.problems { p.problem { (problem) } }
            @if let Some(file) = &policy.file { (said(&policy.name, file)) }
            @if policy.environments.is_empty() {
                p.quiet { "It has a say in no environment." }
            } @else {
                ul.plain { @for environment in &policy.environments { (standing(project, policy, environment)) } }
            }
        }
    }
}

/// What it says, and of what.
fn said(name: &str, file: &PolicyFile) -> Markup {
    html! {
        @if !file.description.is_empty() { p { (file.description) } }
        @let (kinds, components) = (&file.matches.kinds, &file.matches.components);
        @if !kinds.is_empty() { p.quiet { "Of " (kinds.join(", ")) "." } }
        @if !components.is_empty() {
            p.quiet { "Of " @for (index, component) in components.iter().enumerate() { @if index > 0 { ", " } (component) } "." }
        }
        details id={ "rules-" (name) } {
            summary { (count(file.rules.len(), "rule")) }
            @for variable in &file.variables { p { span.quiet { "variables." (variable.name) } } (code(&variable.expression)) }
            @for rule in &file.rules { (self::rule(rule)) }
        }
    }
}

fn rule(rule: &PolicyRule) -> Markup {
    html! {
        @if let Some(message) = &rule.message { p { (message) } }
        (code(&rule.expression))
    }
}

/// Lines that do not fit are scrolled by themselves, with the keyboard too.
fn code(text: &str) -> Markup {
    html! { pre.command tabindex="0" { (text.trim_end()) } }
}

fn count(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What it says of an environment now.
fn standing(project: &Project, policy: &PolicyStatus, environment: &Environment) -> Markup {
    let broken = policy.results.get(environment).map(Vec::as_slice).unwrap_or_default();
    html! {
        li {
            a href=(environment_path(project, environment)) { (environment) } " "
            @if broken.is_empty() {
                (sign("Holds", Tone::Good))
            } @else {
                @for one in broken {
                    p { (consequence(one.action)) " " @if let Some(object) = &one.object { code { (object) } ": " } (one.message) }
                }
            }
        }
    }
}

/// What comes of breaking it.
pub fn consequence(action: PolicyAction) -> Markup {
    match action {
        PolicyAction::Warn => sign("Warns", Tone::Warn),
        PolicyAction::RequireApproval => sign("Asks for an approval", Tone::Warn),
        PolicyAction::Deny => sign("Denies", Tone::Bad),
    }
}
