//! The table of a project's page: what runs where. It may have thousands of cells: what they share is found once, and each
//! is written straight into the page.

use super::project::{Board, next, rollback};
use super::viewer::Viewer;
use super::words::{Sign, Tone, time};
use maud::Render;
use model::flow::Health;
use model::journal::{Entry, EntryKind};
use model::people::Right;
use model::views::{ComponentStatus, EnvironmentStatus, Prospects};
use model::{BuildId, Component, Project};
use std::cell::OnceCell;
use std::collections::HashMap;

/// All rows.
pub struct Rows<'a> {
    project: &'a Project,
    viewer: &'a Viewer,
    components: Vec<&'a Component>,
    columns: Vec<Column<'a>>,
    /// First lines of the commits.
    subjects: HashMap<&'a BuildId, &'a str>,
}

/// An environment, with what its cells look up.
struct Column<'a> {
    environment: &'a EnvironmentStatus,
    running: HashMap<&'a Component, &'a ComponentStatus>,
    prospects: Option<&'a Prospects>,
    admitted: Admitted<'a>,
    may_roll_back: bool,
}

/// Admissions of an environment in the journal that was read.
#[derive(Default)]
struct Admitted<'a> {
    /// Newest first, with how a cell tells of each.
    entries: Vec<(&'a Entry, OnceCell<String>)>,
    /// The newest that is of all components.
    whole: Option<usize>,
    /// The newest of each component.
    newest: HashMap<&'a Component, usize>,
    /// What they moved, each component by itself, newest first.
    moved: HashMap<&'a Component, Vec<&'a BuildId>>,
}

impl<'a> Rows<'a> {
    pub fn of(board: &'a Board, viewer: &'a Viewer) -> Self {
        let project = &board.status.project;
        let column = |environment: &'a EnvironmentStatus| Column {
            environment,
            running: environment.components.iter().map(|status| (&status.component, status)).collect(),
            prospects: board.prospects.get(&environment.name).filter(|prospects| !prospects.is_empty()),
            admitted: Admitted::of(&board.journal, environment),
            may_roll_back: viewer.may(Right::Rollback, project, environment),
        };
        let subjects = board.builds.iter().map(|build| (&build.spec.build, build.spec.message.as_str()));
        Self {
            project,
            viewer,
            components: board.components.iter().collect(),
            columns: board.status.environments.iter().map(column).collect(),
            subjects: subjects.collect(),
        }
    }
}

impl Render for Rows<'_> {
    fn render_to(&self, page: &mut String) {
        for component in &self.components {
            let name = component.as_str();
            page.push_str("<tr><th scope=\"row\"><a");
            href(page, &["/p/", self.project.as_str(), "/c/", name]);
            name.render_to(page);
            page.push_str("</a></th>");
            self.columns.iter().for_each(|column| self.cell(page, column, component));
            page.push_str("</tr>");
        }
    }
}

/// An address in an element that is begun, which it ends.
fn href(page: &mut String, address: &[&str]) {
    page.push_str(" href=\"");
    address.iter().for_each(|part| part.render_to(page));
    page.push_str("\">");
}

impl Rows<'_> {
    fn cell(&self, page: &mut String, column: &Column<'_>, component: &Component) {
        let Column { environment, admitted, .. } = column;
        page.push_str("<td data-environment=\"");
        environment.name.as_str().render_to(page);
        page.push_str("\">");
        let running = column.running.get(component).copied();
        match running {
            Some(running) => self.running(page, column, running),
            None => page.push_str("<p class=\"quiet\">nothing runs</p>"),
        }
        if let Some((candidate, gates)) = column.prospects.and_then(|prospects| prospects.get(component)) {
            next(self.viewer, self.project, environment, Some(candidate), gates).render_to(page);
        }
        if column.may_roll_back
            && let Some(before) = running.and_then(|running| admitted.before(running))
        {
            rollback(self.viewer, self.project, environment, before).render_to(page);
        }
        page.push_str("</td>");
    }

    fn running(&self, page: &mut String, column: &Column<'_>, running: &ComponentStatus) {
        let (component, environment) = (running.component.as_str(), column.environment.name.as_str());
        page.push_str("<p class=\"now\"><a class=\"build\"");
        href(page, &["/p/", self.project.as_str(), "/c/", component, "?env=", environment]);
        maud::display(&running.build).render_to(page);
        page.push_str("</a> ");
        Sign::of(running.health).render_to(page);
        if running.drifted {
            page.push(' ');
            Sign { word: "Drifted", tone: Tone::Warn }.render_to(page);
        }
        page.push_str("</p>");
        if let Some(subject) = self.subjects.get(&running.build) {
            page.push_str("<p class=\"subject\">");
            subject.render_to(page);
            page.push_str("</p>");
        }
        if running.health != Health::Healthy && !running.message.is_empty() {
            page.push_str("<p class=\"problem pre\">");
            running.message.render_to(page);
            page.push_str("</p>");
        }
        page.push_str("<p class=\"meta\">");
        page.push_str(column.admitted.last(&running.component).unwrap_or_default());
        if let Some(url) = &running.url {
            page.push_str("<a rel=\"noreferrer\"");
            href(page, &[url]);
            page.push_str("Open<span class=\"sr\"> ");
            component.render_to(page);
            page.push_str(" in ");
            environment.render_to(page);
            page.push_str("</span></a>");
        }
        page.push_str("</p>");
    }
}

impl<'a> Admitted<'a> {
    fn of(journal: &'a [Entry], environment: &EnvironmentStatus) -> Self {
        let mut found = Self::default();
        let here = |entry: &&Entry| entry.environment.as_ref() == Some(&environment.name);
        for entry in journal.iter().filter(|entry| entry.kind == EntryKind::Admitted).filter(here) {
            let place = found.entries.len();
            match &entry.component {
                Some(component) => drop(found.newest.entry(component).or_insert(place)),
                // A movement without a component is of all of them; without a promotion it moved none.
                None if entry.promotion.is_some() => drop(found.whole.get_or_insert(place)),
                None => {}
            }
            if let Some(build) = &entry.build {
                found.moved.entry(&build.component).or_default().push(build);
            }
            found.entries.push((entry, OnceCell::new()));
        }
        found
    }

    /// Who changed last what runs of a component, and when.
    fn last(&self, component: &Component) -> Option<&str> {
        let place = self.newest.get(component).copied().into_iter().chain(self.whole).min()?;
        let (entry, told) = &self.entries[place];
        Some(told.get_or_init(|| maud::html! { span { (entry.actor) } (time(entry.at)) }.into_string()))
    }

    /// The build that ran before the one that runs now.
    fn before(&self, running: &ComponentStatus) -> Option<&'a BuildId> {
        let moved = self.moved.get(&running.component)?;
        moved.iter().copied().find(|build| **build != running.build)
    }
}
