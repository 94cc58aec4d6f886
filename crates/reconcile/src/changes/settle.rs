//! What the project's loop does about Changes: notices those that came to main another way or were cut off by a crash, and
//! carries what people agreed to on to the movement that a merge becomes.

use super::consent::approvals;
use super::{close, entries};
use crate::Inner;
use crate::project::Handle;
use model::change::{ChangeState, TRAILER};
use model::journal::{Entry, EntryKind};
use model::ports::PortError;
use model::{Change, CommitId};
use promote::{Approver, Facts};
use std::collections::BTreeMap;

/// Change → main and patch set that were compared last.
pub type Compared = BTreeMap<u64, (CommitId, CommitId)>;

/// True if something was written: read again.
pub async fn settle(inner: &Inner, handle: &Handle, facts: &Facts, compared: &mut Compared) -> Result<bool, PortError> {
    let changes = inner.all_changes(&facts.project).await?;
    let mut written = false;
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
        facts.log.iter().find(|commit| commit.trailer(TRAILER) == Some(number.as_str())).map(|commit| commit.id.clone())
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
    let waits = |p: &&model::Promotion| p.spec.commit.as_ref() == Some(commit) && !p.status.phase.is_final();
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
