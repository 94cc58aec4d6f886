//! Bringing a Change to main: one commit of a config repository, or main of an application repository moved forward.

use super::consent::{Matter, matter};
use super::landing::Landing;
use super::touch::{Needed, needed};
use super::view::{blocked, denials};
use super::{close, landing, open};
use crate::Reconciler;
use crate::requests::Refusal;
use crate::rights;
use model::change::ChangeState;
use model::journal::EntryKind;
use model::people::{Person, Right, Target, allowed};
use model::ports::{PortError, Written};
use model::{Change, CommitId, Project};

/// Somebody else may be faster so many times in a row.
const TRIES_MAX: usize = 10;

impl Reconciler {
    /// Merges a Change that nothing blocks.
    pub async fn merge(&self, project: &Project, number: u64, person: &Person) -> Result<Change, Refusal> {
        let (handle, view) = self.look(project).await?;
        let turn = handle.changes.lock().await;
        let mut change = open(&self.0, project, number).await?;
        for _ in 0..TRIES_MAX {
            let matter = matter(&self.0, &handle, &change).await?;
            may_merge(person, &change, &matter)?;
            let journal = self.0.ports.repositories.journal(project).await?;
            let plans = match matter.may_be_denied(&view) {
                true => self.plans(&handle, &view, &change, &matter).await?.0,
                false => Vec::new(),
            };
            let mut why = blocked(&change, &matter, &matter.needs(&change, &view, &journal), denials(&plans));
            if let (Landing::On(_, to), true) = (&matter.landing, change.spec.repository.is_config()) {
                let snapshot = landing::snapshot(&self.0, &change, to).await?;
                let more = self.broken(&change.spec.repository, &snapshot).await;
                let known = matter.before.problems();
                why.extend(
                    more.into_iter()
                        .filter(|problem| !known.contains(problem) && !why.contains(problem))
                        .collect::<Vec<_>>(),
                );
            }
            if !why.is_empty() {
                return Err(Refusal::Refused(format!("Change {number} cannot be merged: {}", why.join("; "))));
            }
            let commit = match matter.landing {
                Landing::On(from, to) => {
                    match self.0.ports.repositories.advance(&change.spec.repository, &from, &to).await? {
                        Written::Commit(commit) => commit,
                        Written::Superseded(_) => continue,
                    }
                }
                Landing::There => self.stands(&change).await?,
                Landing::Conflict(_) | Landing::Behind => continue,
            };
            self.0.tell_change(&change, EntryKind::Merged, &person.name, &commit, "").await?;
            close(&self.0, &mut change, ChangeState::Merged, &person.name, Some(commit.clone())).await?;
            drop(turn);
            self.wake();
            handle.wake();
            if change.spec.repository == handle.config {
                self.shown(&handle, &commit).await;
            }
            return Ok(change);
        }
        let repository = &change.spec.repository;
        Err(PortError::Transient(format!("main of {repository} moves all the time: try again")).into())
    }

    /// The commit on main of a Change whose content stands there already.
    async fn stands(&self, change: &Change) -> Result<CommitId, Refusal> {
        let head = self.0.ports.repositories.head(&change.spec.repository, model::MAIN).await?;
        Ok(head.unwrap_or_else(|| change.latest().commit.clone()))
    }
}

/// Who may push to main may merge; what only moves builds, who may do that where it does.
fn may_merge(person: &Person, change: &Change, matter: &Matter) -> Result<(), Refusal> {
    let repository = &change.spec.repository;
    let main = allowed(person, Right::Write, &Target::Reference(repository, model::MAIN));
    let Err(denied) = main else {
        if !repository.is_config() {
            return Ok(());
        }
        let lacks = rights::missing(person, &repository.project, &matter.before, &matter.after, &matter.paths);
        return if lacks.is_empty() { Ok(()) } else { Err(Refusal::Refused(lacks.join("; "))) };
    };
    if !repository.is_config() {
        return Err(denied.into());
    }
    for one in needed(&matter.before, &matter.after, &matter.paths) {
        let environment = match &one {
            Needed::Main => return Err(denied.into()),
            Needed::Promote(environment) | Needed::Suspend(environment) => environment,
        };
        let state = matter.before.environments.get(environment).and_then(|reading| reading.as_ref().ok());
        let production = state.is_some_and(|state| state.file.production);
        let project = &repository.project;
        allowed(person, one.right(), &Target::Environment { project, environment, production })?;
    }
    Ok(())
}
