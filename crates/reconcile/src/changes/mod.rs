//! Changes: what is proposed for main is looked at, agreed to, and merged, without a forge.
//!
//! A Change is a record with the proposed commits (patch sets, kept under `refs/changes/`); what people agreed to and how it
//! ended stands in the journal. Everything that reads a record to write it holds the project's turn (`Handle::changes`).

mod checks;
mod consent;
mod known;
mod landing;
mod merge;
mod opening;
mod plan;
mod rendering;
mod settle;
mod telling;
mod touch;
mod view;

pub(crate) use checks::next as next_check;
pub(crate) use known::Known;
pub(crate) use landing::difference;
pub(crate) use settle::{Compared, settle};
pub(crate) use touch::reviewed;

use crate::config::parse_config;
use crate::projections::change as object;
use crate::requests::Refusal;
use crate::{Inner, Reconciler};
use model::change::{ChangeState, Comment, NewCheck, NewComment};
use model::journal::{Entry, EntryKind, detail};
use model::people::{Person, Right, Target, allowed};
use model::ports::PortError;
use model::records::Kind;
use model::{Change, CommitId, Digest, Project};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A comment is cut off behind so many bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// What is said of one Change.
const COMMENTS_MAX: usize = 1000;
/// Systems that report on one patch set.
const CHECKS_MAX: usize = 50;

impl Inner {
    /// All Changes of a project, oldest first.
    pub(crate) async fn all_changes(&self, project: &Project) -> Result<Arc<Vec<Change>>, PortError> {
        self.records.changes(project).await
    }

    /// Archives that pins of open Changes name.
    pub(crate) async fn proposed_charts(&self, project: &Project) -> Result<BTreeSet<Digest>, PortError> {
        let changes = self.all_changes(project).await?;
        let open = changes.iter().filter(|change| change.status.state == ChangeState::Open);
        let mut found = BTreeSet::new();
        for change in open.filter(|change| change.spec.repository.is_config()) {
            let snapshot = landing::snapshot(self, change, &change.latest().commit).await?;
            let states = parse_config(&snapshot).environments.into_values().flatten();
            let charts = states.flat_map(|state| state.pins.into_values()).filter_map(|pin| pin.chart);
            found.extend(charts.map(|chart| chart.digest));
        }
        Ok(found)
    }

    pub(crate) async fn record_change(&self, change: &Change) -> Result<(), PortError> {
        self.ports.records.apply(Kind::Change, &object(change)).await
    }

    /// Tells the journal of a Change.
    pub(crate) async fn tell_change(
        &self,
        change: &Change,
        kind: EntryKind,
        actor: &str,
        commit: &CommitId,
        reason: &str,
    ) -> Result<(), PortError> {
        let number = change.number;
        let mut entry = Entry::new(kind, format!("change-{number}-{kind}"), self.now(), actor);
        entry.summary = format!("Change {number} is {kind}: {}", change.title());
        entry.reason = reason.to_owned();
        about(&mut entry, change, commit);
        self.ports.repositories.append(&change.spec.project, &entry).await
    }
}

/// What entries about a Change have in common. `commit` stands in its repository.
fn about(entry: &mut Entry, change: &Change, commit: &CommitId) {
    entry.commit = Some(commit.clone());
    entry.details.insert(detail::REVIEW.to_owned(), change.number.to_string());
    entry.details.insert(detail::REPOSITORY.to_owned(), change.spec.repository.to_string());
}

/// The Change of this number.
pub(crate) async fn find(inner: &Inner, project: &Project, number: u64) -> Result<Change, Refusal> {
    let changes = inner.all_changes(project).await?;
    let known = changes.iter().rev().take(5).map(|change| change.number.to_string()).collect::<Vec<_>>().join(", ");
    let known = if known.is_empty() { "none yet".to_owned() } else { known };
    let found = changes.iter().find(|change| change.number == number).cloned();
    found.ok_or_else(|| Refusal::NotFound(format!("there is no Change {number} in {project}; there is: {known}")))
}

/// The same, if it may still be changed.
async fn open(inner: &Inner, project: &Project, number: u64) -> Result<Change, Refusal> {
    let change = find(inner, project, number).await?;
    match change.status.state {
        ChangeState::Open => Ok(change),
        state => Err(Refusal::Refused(format!("Change {number} is {state}"))),
    }
}

impl Reconciler {
    /// Says something of a Change, which may be closed.
    pub async fn comment(
        &self,
        project: &Project,
        number: u64,
        remark: NewComment,
        actor: &str,
    ) -> Result<Comment, Refusal> {
        let (handle, _) = self.look(project).await?;
        let _turn = handle.changes.lock().await;
        let mut change = find(&self.0, project, number).await?;
        let text = remark.text.trim();
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(Refusal::Refused(format!("a comment has 1 to {TEXT_BYTES_MAX} bytes")));
        }
        if change.status.comments.len() >= COMMENTS_MAX {
            return Err(Refusal::Refused(format!("Change {number} has {COMMENTS_MAX} comments: that is the limit")));
        }
        if let Some(path) = &remark.path {
            self.commented(&change, path, remark.line).await?;
        } else if remark.line.is_some() {
            return Err(Refusal::Refused("a line is one of a file: say which".to_owned()));
        }
        let comment = Comment {
            by: actor.to_owned(),
            at: self.0.now(),
            patch_set: change.latest().number,
            path: remark.path,
            line: remark.line,
            text: text.to_owned(),
        };
        change.status.comments.push(comment.clone());
        self.0.record_change(&change).await?;
        Ok(comment)
    }

    /// A comment is about a file that stands in the proposal or in what it builds on.
    async fn commented(&self, change: &Change, path: &str, line: Option<u32>) -> Result<(), Refusal> {
        let set = change.latest();
        let after = landing::snapshot(&self.0, change, &set.commit).await?;
        let before = landing::snapshot(&self.0, change, &set.base).await?;
        let (number, patch) = (change.number, set.number);
        let file = after.files.get(path).or_else(|| before.files.get(path));
        let file =
            file.ok_or_else(|| Refusal::NotFound(format!("Change {number}, patch set {patch}, has no file {path}")))?;
        let lines = String::from_utf8_lossy(&file.bytes).lines().count();
        match line {
            Some(line) if line == 0 || line as usize > lines => {
                Err(Refusal::Refused(format!("{path} has {lines} lines, and no line {line}")))
            }
            _ => Ok(()),
        }
    }

    /// A system has looked at the last patch set.
    pub async fn check_change(
        &self,
        project: &Project,
        number: u64,
        found: NewCheck,
        actor: &str,
    ) -> Result<model::change::Check, Refusal> {
        let (handle, _) = self.look(project).await?;
        let _turn = handle.changes.lock().await;
        let mut change = open(&self.0, project, number).await?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if found.check.is_empty() || found.check.len() > 60 || !found.check.chars().all(plain) {
            return Err(Refusal::Refused(format!("{:?} is no name of a check: letters, digits, - _ .", found.check)));
        }
        if found.check == checks::BUILD {
            return Err(Refusal::Refused(format!("{} is the check that Trimtab makes itself", checks::BUILD)));
        }
        let latest = change.latest().commit.clone();
        if found.commit.as_ref().is_some_and(|commit| *commit != latest) {
            return Err(Refusal::Refused(format!(
                "that commit is no longer proposed: the last patch set of Change {number} is {}",
                latest.short()
            )));
        }
        let check = model::change::Check {
            name: found.check,
            state: found.state,
            commit: latest,
            by: actor.to_owned(),
            at: self.0.now(),
            message: found.message.chars().take(TEXT_BYTES_MAX / 4).collect(),
        };
        if !change.status.checks.iter().any(|known| known.name == check.name)
            && change.status.checks.len() >= CHECKS_MAX
        {
            return Err(Refusal::Refused(format!("Change {number} has {CHECKS_MAX} checks: that is the limit")));
        }
        checks::put(&mut change, check.clone());
        self.0.record_change(&change).await?;
        Ok(check)
    }

    /// Takes a Change back. Its patch sets stay readable.
    pub async fn abandon(
        &self,
        project: &Project,
        number: u64,
        person: &Person,
        reason: &str,
    ) -> Result<Change, Refusal> {
        let (handle, _) = self.look(project).await?;
        let _turn = handle.changes.lock().await;
        let mut change = open(&self.0, project, number).await?;
        let actor = person.name.as_str();
        if change.spec.author != actor {
            allowed(person, Right::Write, &Target::Reference(&change.spec.repository, model::MAIN))?;
        }
        let commit = change.latest().commit.clone();
        self.0.tell_change(&change, EntryKind::Abandoned, actor, &commit, reason).await?;
        close(&self.0, &mut change, ChangeState::Abandoned, actor, None).await?;
        handle.wake();
        Ok(change)
    }

    /// Where a Change is looked at in a browser.
    pub(crate) fn change_address(&self, project: &Project, number: u64) -> String {
        format!("http://{}/p/{project}/changes/{number}", self.0.settings.control)
    }
}

/// After the journal was told.
async fn close(
    inner: &Inner,
    change: &mut Change,
    state: ChangeState,
    actor: &str,
    commit: Option<CommitId>,
) -> Result<(), PortError> {
    change.status.state = state;
    change.status.commit = commit;
    change.status.closed_by = Some(actor.to_owned());
    change.status.closed = Some(inner.now());
    inner.record_change(change).await
}

/// Entries of the journal about a Change.
fn entries<'j>(journal: &'j [Entry], number: u64) -> impl Iterator<Item = &'j Entry> {
    let number = number.to_string();
    journal.iter().filter(move |entry| entry.detail(detail::REVIEW) == Some(number.as_str()))
}
