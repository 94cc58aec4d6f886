//! What the project's loop does about Changes: notices those that came to main another way or were cut off by a crash, and
//! carries what people agreed to on to the movement that a merge becomes.

use super::consent::approvals;
use super::landing::base;
use super::opening::{COMMITS_MAX, PATCH_SETS_MAX};
use super::{close, entries};
use crate::Inner;
use crate::project::Handle;
use model::change::{ChangeSpec, ChangeState, ChangeStatus, PatchSet, TRAILER};
use model::flow::Repository;
use model::journal::{Entry, EntryKind, detail};
use model::ports::PortError;
use model::records::Kind;
use model::{Change, CommitId};
use promote::{Approver, Facts};
use std::collections::BTreeMap;

/// Change → main and patch set that were compared last.
pub type Compared = BTreeMap<u64, (CommitId, CommitId)>;

/// True if something was written: read again.
pub async fn settle(inner: &Inner, handle: &Handle, facts: &Facts, compared: &mut Compared) -> Result<bool, PortError> {
    let changes = inner.all_changes(&facts.project).await?;
    let mut written = remember(inner, handle, facts, &changes).await?;
    for change in changes.iter().filter(|change| change.status.state == ChangeState::Open) {
        let _turn = handle.changes.lock().await;
        // It may have been closed, or got another patch set, since it was listed.
        let Ok(mut change) = super::find(inner, &facts.project, change.number).await else { continue };
        if change.status.state == ChangeState::Open
            && let Some((state, actor, commit)) = ended(inner, facts, &change, compared).await?
        {
            if state == ChangeState::Merged {
                let commit = commit.clone().unwrap_or_else(|| change.latest().commit.clone());
                inner.tell_change(&change, EntryKind::Merged, &actor, &commit, "").await?;
            }
            close(inner, &mut change, state, &actor, commit).await?;
            written = true;
        }
    }
    for change in changes.iter().filter(|change| change.status.state == ChangeState::Merged) {
        written |= agree(inner, facts, change).await?;
    }
    Ok(written)
}

/// Records that were lost are made anew from what was not: the journal, and the references. What was said is gone with them.
async fn remember(inner: &Inner, handle: &Handle, facts: &Facts, known: &[Change]) -> Result<bool, PortError> {
    let number = |entry: &Entry| entry.detail(detail::REVIEW).and_then(|number| number.parse::<u64>().ok());
    let opened = facts.journal.iter().filter(|entry| entry.kind == EntryKind::Opened);
    let mut written = false;
    for entry in opened {
        let Some(number) = number(entry).filter(|number| !known.iter().any(|change| change.number == *number)) else {
            continue;
        };
        let repository = entry.detail(detail::REPOSITORY).and_then(|repository| repository.split_once('/'));
        let Some((_, name)) = repository else { continue };
        let repository = Repository { project: facts.project.clone(), name: name.to_owned() };
        let _turn = handle.changes.lock().await;
        let patch_sets = patch_sets(inner, &repository, number, &entry.actor).await?;
        if patch_sets.is_empty() {
            continue;
        }
        let spec = ChangeSpec {
            project: facts.project.clone(),
            repository,
            author: entry.actor.clone(),
            topic: None,
            created: entry.at,
        };
        let status = ChangeStatus { patch_sets, ..ChangeStatus::default() };
        let change = crate::projections::change(&Change { number, spec, status });
        written |= inner.ports.records.create(Kind::Change, &change).await?;
    }
    Ok(written)
}

async fn patch_sets(
    inner: &Inner,
    repository: &Repository,
    number: u64,
    author: &str,
) -> Result<Vec<PatchSet>, PortError> {
    let repositories = &inner.ports.repositories;
    let mut found = Vec::new();
    let Some(main) = repositories.head(repository, model::MAIN).await? else { return Ok(found) };
    for set in 1..=PATCH_SETS_MAX {
        let Some(commit) = repositories.head(repository, &Change::patch_set_ref(number, set)).await? else { break };
        let Some(made) = repositories.log(repository, &commit, None, 1).await?.into_iter().next() else { break };
        let base = base(inner, repository, &main, &commit, COMMITS_MAX).await?.filter(|(_, commits)| *commits > 0);
        // On main already, it built on what came before it.
        let (base, commits) = base.or(made.parent.map(|parent| (parent, 1))).unwrap_or((main.clone(), 1));
        found.push(PatchSet {
            number: set,
            commit,
            base,
            commits,
            by: author.to_owned(),
            at: made.at,
            title: made.subject,
            description: made.body,
        });
    }
    Ok(found)
}

/// How an open Change has ended without its record saying so, by whom, and with which commit.
async fn ended(
    inner: &Inner,
    facts: &Facts,
    change: &Change,
    compared: &mut Compared,
) -> Result<Option<(ChangeState, String, Option<CommitId>)>, PortError> {
    for entry in entries(&facts.journal, change.number) {
        match entry.kind {
            EntryKind::Merged => return Ok(Some((ChangeState::Merged, entry.actor.clone(), entry.commit.clone()))),
            EntryKind::Abandoned => return Ok(Some((ChangeState::Abandoned, entry.actor.clone(), None))),
            _ => {}
        }
    }
    let (repository, latest) = (&change.spec.repository, &change.latest().commit);
    let repositories = &inner.ports.repositories;
    let Some(main) = repositories.head(repository, model::MAIN).await? else { return Ok(None) };
    let now = (main.clone(), latest.clone());
    if compared.get(&change.number) == Some(&now) {
        return Ok(None);
    }
    let found = if repositories.is_ancestor(repository, latest, &main).await? {
        Some(latest.clone())
    } else if repository.is_config() {
        let number = change.number.to_string();
        let landed = facts.log.iter().find(|commit| commit.trailer(TRAILER) == Some(number.as_str()));
        landed.map(|commit| crate::line::written(commit, &Repository::config(&facts.project)).commit)
    } else {
        None
    };
    compared.insert(change.number, now);
    let Some(commit) = found else { return Ok(None) };
    let log = repositories.log(repository, &commit, None, 1).await?;
    let author = log.into_iter().next().map_or_else(|| promote::ACTOR.to_owned(), |commit| commit.author);
    Ok(Some((ChangeState::Merged, author, Some(commit))))
}

/// Who agreed to a Change agreed to what it moves: the movement that its commit is need not be approved again.
async fn agree(inner: &Inner, facts: &Facts, change: &Change) -> Result<bool, PortError> {
    let Some(commit) = &change.status.commit else { return Ok(false) };
    let config = Repository::config(&facts.project);
    let stands = crate::line::standing_for(&facts.log, commit, &config).map_or(commit, |landed| &landed.id);
    let waits = |p: &&model::Promotion| p.spec.commit.as_ref() == Some(stands) && !p.status.phase.is_final();
    let mut written = false;
    for promotion in facts.promotions.iter().filter(waits) {
        for (name, groups) in approvals(&facts.journal, change) {
            let approver = Approver { name: &name, groups: &groups };
            let reason = format!("approved as Change {}", change.number);
            // What is not asked for, or would not count, is nobody's loss.
            let Ok(entry) = promote::approve(facts, &promotion.name, approver, &reason) else { continue };
            if !facts.journal.iter().any(|known: &Entry| known.id == entry.id) {
                inner.ports.repositories.append(&facts.project, &entry).await?;
                written = true;
            }
        }
    }
    Ok(written)
}
