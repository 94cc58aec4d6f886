//! What all pages share: head, header, navigation, footer, and the small parts that several use.

use super::assets;
use super::words::{self, Tone, badge, sign, time};
use crate::sessions::Session;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use model::journal::Entry;
use model::records::Gate;
use model::{BuildId, CommitId, Component, Environment, Project};

/// Pages of a project.
const PAGES: [(&str, &str); 7] = [
    ("changes", "Changes"),
    ("promotions", "Promotions"),
    ("releases", "Releases"),
    ("windows", "Windows"),
    ("policies", "Policies"),
    ("difference", "Compare"),
    ("history", "History"),
];

/// A page: what stands around its content.
pub struct Page<'a> {
    pub title: String,
    /// Who looks; absent before sign-in.
    pub session: Option<&'a Session>,
    /// Links above the title, from the top.
    pub crumbs: Vec<(String, String)>,
    /// Where changes of this page are announced.
    pub events: Option<String>,
    /// Of this project: shows its navigation.
    pub project: Option<&'a Project>,
}

impl<'a> Page<'a> {
    /// A page of a project, below the project's own.
    pub fn of(project: &'a Project, session: &'a Session, title: impl Into<String>) -> Self {
        let page = Self::top(project, session);
        Self { title: title.into(), ..page.under(project.to_string(), project_path(project)) }
    }

    /// A project's own page.
    pub fn top(project: &'a Project, session: &'a Session) -> Self {
        Self {
            title: project.to_string(),
            session: Some(session),
            crumbs: Vec::new(),
            events: Some(format!("{}/events", project_path(project))),
            project: Some(project),
        }
    }

    /// Another link above the title.
    pub fn under(mut self, words: impl Into<String>, path: String) -> Self {
        self.crumbs.push((words.into(), path));
        self
    }

    /// The whole document.
    pub fn render(&self, main: Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · Trimtab" }
                    link rel="icon" href=(assets::ICON.address()) type="image/svg+xml";
                    link rel="stylesheet" href=(assets::STYLE.address());
                    script src=(assets::SCRIPT.address()) defer {}
                }
                body data-events=[self.events.as_deref()] {
                    a.skip href="#main" { "Skip to content" }
                    (self.header())
                    main #main tabindex="-1" { (main) }
                    footer { p { "Trimtab " (env!("CARGO_PKG_VERSION")) } }
                }
            }
        }
    }

    fn header(&self) -> Markup {
        html! {
            header.top {
                a.brand href="/" { (PreEscaped(assets::MARK)) "Trimtab" }
                @if let Some(project) = self.project {
                    nav aria-label="Project" {
                        a.project href=(project_path(project)) { (project) }
                        @for (page, title) in PAGES { a href={ (project_path(project)) "/" (page) } { (title) } }
                    }
                }
                @if let Some(session) = self.session {
                    div.who {
                        @if self.events.is_some() { span #live role="status" {} }
                        span.actor { span.sr { "signed in as " } (session.actor) }
                        form method="post" action="/sign-out" { (csrf(session)) button.plain { "Sign out" } }
                    }
                }
            }
            @if !self.crumbs.is_empty() {
                nav.crumbs aria-label="Breadcrumb" {
                    ol { @for (text, path) in &self.crumbs { li { a href=(path) { (text) } } } }
                }
            }
        }
    }
}

/// The token that every form carries.
pub fn csrf(session: &Session) -> Markup {
    html! { input type="hidden" name="csrf" value=(session.csrf); }
}

pub fn project_path(project: &Project) -> String {
    format!("/p/{project}")
}
pub fn component_path(project: &Project, component: &Component, environment: Option<&Environment>) -> String {
    let query = environment.map_or(String::new(), |environment| format!("?env={environment}"));
    format!("/p/{project}/c/{component}{query}")
}
pub fn build_path(project: &Project, build: &BuildId) -> String {
    format!("/p/{project}/b/{build}")
}
pub fn environment_path(project: &Project, environment: &Environment) -> String {
    format!("/p/{project}/e/{environment}")
}
/// Of a release, which may have pins beside: `1.4.0 + web-44`.
pub fn release_path(project: &Project, release: &str) -> String {
    format!("/p/{project}/releases/{}", release.split(' ').next().unwrap_or_default())
}
pub fn promotion_path(project: &Project, name: &str) -> String {
    format!("/p/{project}/promotions/{name}")
}

pub fn change_path(project: &Project, number: u64) -> String {
    format!("/p/{project}/changes/{number}")
}

/// What the person who is sent to a page has just done.
pub fn done(commit: Option<&CommitId>) -> Markup {
    html! {
        @if let Some(commit) = commit {
            p.notice role="status" { (sign("Done", Tone::Good)) " by commit " code title=(commit) { (commit.short()) } "." }
        }
    }
}

/// Gates in the order in which they are judged.
pub fn gates(gates: &[Gate]) -> Markup {
    html! {
        ul.gates {
            @for gate in gates {
                li {
                    (badge(gate.state))
                    div {
                        strong { (words::gate(gate.name)) } " "
                        span { (gate.message) }
                        @if let Some(until) = gate.until { span.quiet { " until " (time(until)) } }
                    }
                }
            }
        }
    }
}

/// Entries of the journal, newest first.
pub fn entries<'a>(project: &Project, entries: impl IntoIterator<Item = &'a Entry>) -> Markup {
    html! {
        ol.journal {
            @for entry in entries {
                li {
                    (badge(entry.kind))
                    div {
                        p { (entry.summary) }
                        @if !entry.reason.is_empty() { p.reason { (entry.reason) } }
                        p.meta {
                            span { (entry.actor) }
                            (time(entry.at))
                            @if let Some(promotion) = &entry.promotion {
                                a href=(promotion_path(project, promotion)) { (promotion) }
                            }
                            @if let Some(commit) = &entry.commit { code title=(commit) { (commit.short()) } }
                        }
                    }
                }
            }
        }
    }
}

/// A log that grows while one looks at it; without the script it shows what there is now.
pub fn log(id: &str, stream: &str, text: &str) -> Markup {
    html! {
        pre.log #(id) data-stream=(stream) data-keep tabindex="0" role="log" aria-live="off" aria-label="Log" { (text) }
        p.meta { a href=(stream) { "Follow as plain text" } }
    }
}
