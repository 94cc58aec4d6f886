//! Changes as people see them.

use super::checks::BUILD;
use super::consent::{Matter, approvals, matter};
use super::find;
use super::landing::{self, Landing};
use crate::Reconciler;
use crate::project::{Handle, View};
use crate::requests::Refusal;
use model::change::{ChangeDetail, ChangeState, ChangeSummary, CheckState, EnvironmentPlan, FileDifference, Need};
use model::flow::{File, FileMode};
use model::journal::Entry;
use model::{Change, Project};
use std::collections::BTreeSet;

/// A file whose difference is longer is not shown: the working tree is the place to look at it.
const DIFF_BYTES_MAX: usize = 256 * 1024;
/// Files whose differences are shown.
const FILES_MAX: usize = 300;

impl Reconciler {
    /// All Changes, newest first: those that are open, then `closed` of the others.
    pub async fn all_changes(&self, project: &Project, closed: usize) -> Result<Vec<ChangeSummary>, Refusal> {
        let (handle, view) = self.look(project).await?;
        let journal = self.0.ports.repositories.journal(project).await?;
        let changes = self.0.all_changes(project).await?;
        let (open, done): (Vec<Change>, Vec<Change>) =
            changes.iter().rev().cloned().partition(|change| change.status.state == ChangeState::Open);
        let mut found = Vec::new();
        self.0.forget_changes(&handle, &open.iter().map(|change| change.number).collect());
        for change in open.into_iter().chain(done.into_iter().take(closed)) {
            found.push(self.summary(&handle, &view, &journal, change).await?);
        }
        Ok(found)
    }

    /// What stands in a list.
    async fn summary(
        &self,
        handle: &Handle,
        view: &View,
        journal: &[Entry],
        change: Change,
    ) -> Result<ChangeSummary, Refusal> {
        let approved_by = approvers(journal, &change);
        if change.status.state != ChangeState::Open {
            return Ok(ChangeSummary { change, approved_by, blocked: Vec::new() });
        }
        let matter = self.0.known_matter(handle, &change).await?;
        let needs = matter.needs(&change, view, journal);
        let denied = self.denied(handle, view, &change, &matter).await?;
        let blocked = blocked(&change, &matter, &needs, denied.iter().cloned());
        Ok(ChangeSummary { change, approved_by, blocked })
    }

    /// The same with what it would do and who must agree, as it is now.
    async fn looked_at(
        &self,
        handle: &Handle,
        view: &View,
        journal: &[Entry],
        change: Change,
    ) -> Result<(ChangeSummary, Vec<EnvironmentPlan>, Vec<Need>), Refusal> {
        let approved_by = approvers(journal, &change);
        if change.status.state != ChangeState::Open {
            return Ok((ChangeSummary { change, approved_by, blocked: Vec::new() }, Vec::new(), Vec::new()));
        }
        let matter = matter(&self.0, handle, &change).await?;
        let needs = matter.needs(&change, view, journal);
        let (plans, _) = self.plans(handle, view, &change, &matter).await?;
        let blocked = blocked(&change, &matter, &needs, denials(&plans));
        Ok((ChangeSummary { change, approved_by, blocked }, plans, needs))
    }

    /// One Change, with what it would do.
    pub async fn change(&self, project: &Project, number: u64) -> Result<ChangeDetail, Refusal> {
        let (handle, view) = self.look(project).await?;
        let journal = self.0.ports.repositories.journal(project).await?;
        let change = find(&self.0, project, number).await?;
        let (summary, plans, needs) = self.looked_at(&handle, &view, &journal, change).await?;
        let files = self.files(&summary.change).await?;
        Ok(ChangeDetail { summary, address: self.change_address(project, number), needs, plans, files })
    }

    async fn files(&self, change: &Change) -> Result<Vec<FileDifference>, Refusal> {
        let set = change.latest();
        let before = landing::snapshot(&self.0, change, &set.base).await?;
        let after = landing::snapshot(&self.0, change, &set.commit).await?;
        let one = |(path, file): (String, Option<File>)| {
            let diff = shown(before.files.get(&path), file.as_ref());
            FileDifference { path, diff }
        };
        Ok(landing::difference(&before, &after).into_iter().take(FILES_MAX).map(one).collect())
    }
}

fn shown(before: Option<&File>, after: Option<&File>) -> String {
    let bytes = |file: Option<&File>| file.map_or(&[][..], |file| &file.bytes).to_vec();
    let (old, new) = (bytes(before), bytes(after));
    if old.len() + new.len() > DIFF_BYTES_MAX {
        return format!("too large to be shown: {} bytes before, {} after\n", old.len(), new.len());
    }
    let mode = match (before.map(|file| file.mode), after.map(|file| file.mode)) {
        (Some(old), Some(new)) if old != new => format!("mode {} → {}\n", word(old), word(new)),
        _ => String::new(),
    };
    match (String::from_utf8(old), String::from_utf8(new)) {
        (Ok(old), Ok(new)) => format!("{mode}{}", object::unified(&old, &new)),
        _ => format!("{mode}no text: its bytes differ\n"),
    }
}

fn word(mode: FileMode) -> &'static str {
    match mode {
        FileMode::Regular => "file",
        FileMode::Executable => "executable",
        FileMode::Symlink => "link",
    }
}

/// Who agrees to it, each once.
fn approvers(journal: &[Entry], change: &Change) -> Vec<String> {
    let names: BTreeSet<String> = approvals(journal, change).into_iter().map(|(name, _)| name).collect();
    names.into_iter().collect()
}

/// What policies deny of plans, for people.
pub fn denials(plans: &[EnvironmentPlan]) -> impl Iterator<Item = String> {
    let of = |plan: &EnvironmentPlan| {
        let told = plan.denied.iter().map(|broken| format!("denied for {} by {broken}", plan.environment));
        told.collect::<Vec<_>>()
    };
    plans.iter().flat_map(of)
}

/// What keeps a Change from being merged, for people.
pub fn blocked(change: &Change, matter: &Matter, needs: &[Need], denied: impl Iterator<Item = String>) -> Vec<String> {
    let mut why: Vec<String> = Vec::new();
    for need in needs.iter().filter(|need| (need.by.len() as u64) < u64::from(need.count)) {
        let from = if need.from.is_empty() { String::new() } else { format!(" of {}", need.from.join(", ")) };
        let by = if need.by.is_empty() { String::new() } else { format!(" ({})", need.by.join(", ")) };
        why.push(format!("{} of {} approvals for {}{from}{by}", need.by.len(), need.count, need.environment));
    }
    why.extend(denied);
    let checks = &change.status.checks;
    for check in checks.iter().filter(|check| check.state != CheckState::Passed) {
        why.push(match check.state {
            CheckState::Failed => {
                format!("check {} failed: {}", check.name, check.message.lines().next().unwrap_or(""))
            }
            _ => format!("check {} is on its way", check.name),
        });
    }
    if !change.spec.repository.is_config() && !checks.iter().any(|check| check.name == BUILD) {
        why.push(format!("check {BUILD} is on its way"));
    }
    match &matter.landing {
        Landing::Conflict(paths) => {
            why.push(format!("main has moved and touches the same files ({}): {}", paths.join(", "), rebase(change)));
        }
        Landing::Behind => why.push(format!("main has moved: {}", rebase(change))),
        Landing::On(..) | Landing::There => {}
    }
    let known = matter.before.problems();
    why.extend(matter.after.problems().into_iter().filter(|problem| !known.contains(problem)));
    why
}

/// How its author brings it up to date.
fn rebase(change: &Change) -> String {
    let remote = remote(change);
    let number = change.number;
    format!("rebase it: git pull --rebase {remote} main && git push -o change={number} {remote} HEAD:refs/for/main")
}

/// What remotes are called: `trimtab init` makes one, clones of a config repository have the other.
fn remote(change: &Change) -> &'static str {
    if change.spec.repository.is_config() { "origin" } else { "trimtab" }
}
