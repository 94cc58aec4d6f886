//! The journal of a project, held in memory once it was read: we are its only writer.

use crate::error::Error;
use crate::git::Git;
use crate::object::{Kind, Object, Oid};
use crate::read::Objects;
use crate::write::{Committer, Draft, Failpoints, store};
use model::JOURNAL;
use model::journal::Entry;
use std::collections::HashSet;
use std::sync::Arc;

const FAILPOINTS: Failpoints = Failpoints { before: "source.journal.before", after: "source.journal.after" };
/// A write that loses this often is not racing but broken.
const ATTEMPTS_MAX: usize = 3;

/// What stands in `refs/trimtab/journal`.
#[derive(Default)]
pub struct Journal {
    tip: Option<Oid>,
    /// Shared with whoever reads: those keep what they were given when another entry comes.
    entries: Arc<Vec<Entry>>,
    ids: HashSet<String>,
}

impl Journal {
    /// Reads it whole, oldest first.
    pub async fn load(git: &Git, objects: &Objects) -> Result<Self, Error> {
        let Some(tip) = objects.resolve(JOURNAL).await? else { return Ok(Self::default()) };
        // One process for thousands of entries; %B is never empty and holds no NUL.
        let args = ["log", "-z", "--reverse", "--first-parent", "--format=%H%n%B", &tip.to_string()];
        let text = git.run(&objects.place.directory, args, &[]).await?;
        let text = String::from_utf8_lossy(&text);
        let mut journal = Self { tip: Some(tip), ..Self::default() };
        for record in text.split('\0').filter(|record| !record.is_empty()) {
            let (commit, message) = record.split_once('\n').unwrap_or((record, ""));
            let entry = Entry::parse(message)
                .map_err(|error| Error::Content(format!("{JOURNAL}, commit {commit}: {error}")))?;
            journal.remember(entry);
        }
        Ok(journal)
    }

    pub fn entries(&self) -> Arc<Vec<Entry>> {
        self.entries.clone()
    }

    /// Appends, unless the id is there.
    pub async fn append(
        &mut self,
        git: &Git,
        objects: &Objects,
        committer: &Committer,
        entry: &Entry,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS_MAX {
            if self.ids.contains(&entry.id) {
                return Ok(());
            }
            let tree = Object::new(Kind::Tree, Vec::new());
            let message = entry.to_message();
            let draft =
                Draft { tree: tree.id, parent: self.tip, author: &entry.actor, at: entry.at, message: &message };
            let commit = committer.commit(&draft);
            let step = (JOURNAL, self.tip, commit.id);
            let made = [tree, commit];
            if store(git, objects, &made, step, &FAILPOINTS).await? {
                self.tip = Some(step.2);
                // What is read back after a restart is what counts, so that is what is remembered now.
                self.remember(Entry::parse(&message).map_err(|error| Error::Content(error.to_string()))?);
                return Ok(());
            }
            *self = Self::load(git, objects).await?;
        }
        Err(Error::Content(format!("{JOURNAL} is moved by somebody else all the time")))
    }

    fn remember(&mut self, entry: Entry) {
        self.ids.insert(entry.id.clone());
        Arc::make_mut(&mut self.entries).push(entry);
    }
}
