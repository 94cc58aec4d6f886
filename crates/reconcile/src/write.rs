//! One commit on main of a config repository, decided anew whenever somebody was faster.

use crate::Reconciler;
use crate::changes::reviewed;
use crate::config::parse_config;
use crate::project::Handle;
use crate::requests::Refusal;
use crate::settle::until;
use model::flow::{Revision, Snapshot};
use model::ports::{PortError, Write, Written};
use model::{CommitId, Project};
use std::collections::BTreeMap;
use std::time::Duration;

/// Somebody else may be faster so many times in a row.
const TRIES_MAX: usize = 10;
/// A project is read anew within this, or it is not waited for.
const SHOWN: Duration = Duration::from_secs(10);

/// What to write: files and message.
pub struct Edit {
    pub files: BTreeMap<String, Option<Vec<u8>>>,
    pub message: String,
}

impl Reconciler {
    /// Writes what `decide` makes of the files on main; `None`: they stand so already.
    pub(crate) async fn edit(
        &self,
        project: &Project,
        actor: &str,
        decide: impl Fn(&Snapshot) -> Result<Option<Edit>, Refusal>,
    ) -> Result<Option<CommitId>, Refusal> {
        let (handle, _) = self.look(project).await?;
        let repository = &handle.config;
        for _ in 0..TRIES_MAX {
            let head = self.0.main(&handle).await?;
            let head = head.ok_or_else(|| Refusal::NotFound(format!("{repository} has no commit on main")))?;
            let revision = Revision { repository: repository.clone(), commit: head.clone() };
            let snapshot = self.0.ports.repositories.snapshot(&revision, ".").await?;
            let Some(edit) = decide(&snapshot)? else { return Ok(None) };
            let write = Write {
                expect: Some(head),
                files: edit.files,
                author: actor.to_owned(),
                message: edit.message,
                at: self.0.now(),
            };
            if let Written::Commit(commit) = self.commit(&handle, &snapshot, &write).await? {
                handle.wake();
                self.shown(&handle, &commit).await;
                return Ok(Some(commit));
            }
        }
        Err(PortError::Transient(format!("main of {repository} moves all the time: try again")).into())
    }

    /// Waits until answers are of a state that holds this commit of the config repository, so that whoever wrote it finds
    /// it there. Where nothing can be read, or it takes too long, they will be later.
    pub(crate) async fn shown(&self, handle: &Handle, commit: &CommitId) {
        let (config, mut looked) = (&handle.config, None);
        let wait = async {
            loop {
                let newer = || match handle.trouble() {
                    Some(_) => Some(None),
                    None => Some(Some(handle.view()?.facts.head.clone())).filter(|head| *head != looked),
                };
                let Some(Some(head)) = until(handle, SHOWN, newer).await else { return };
                if head == *commit || self.0.ports.repositories.is_ancestor(config, commit, &head).await.unwrap_or(true)
                {
                    return;
                }
                looked = Some(head);
            }
        };
        let _late = tokio::time::timeout(SHOWN, wait).await;
    }

    /// Waits until there are answers about a project that was made.
    pub(crate) async fn known(&self, project: &Project) {
        let mut ticks = self.0.tick.subscribe();
        let wait = async {
            while self.project(project).is_none_or(|handle| handle.view().is_none()) {
                if ticks.changed().await.is_err() {
                    return;
                }
            }
        };
        let _late = tokio::time::timeout(SHOWN, wait).await;
    }

    /// One commit on main, which stands at `before`; where it touches an environment whose changes are reviewed, a Change
    /// instead.
    async fn commit(&self, handle: &Handle, before: &Snapshot, write: &Write) -> Result<Written, Refusal> {
        let paths = write.files.keys().cloned().collect();
        let environments = reviewed(&parse_config(before), &parse_config(&after(before, &write.files)), &paths);
        match environments.is_empty() {
            true => Ok(self.0.write_line(handle, write).await?),
            false => Err(Refusal::Opened(self.open_change(&handle.name, write, environments).await?)),
        }
    }
}

/// The text of a file that must be there.
pub fn text<'s>(snapshot: &'s Snapshot, path: &str) -> Result<&'s str, Refusal> {
    match snapshot.text(path) {
        Some(Ok(text)) => Ok(text),
        Some(Err(error)) => Err(Refusal::Refused(format!("{path} is not UTF-8: {error}"))),
        None => Err(Refusal::NotFound(format!("{path} is missing in the config repository"))),
    }
}

/// What would stand after an edit.
pub fn after(snapshot: &Snapshot, files: &BTreeMap<String, Option<Vec<u8>>>) -> Snapshot {
    let mut after = snapshot.clone();
    for (path, content) in files {
        match content {
            Some(bytes) => {
                let file = model::flow::File { mode: model::flow::FileMode::Regular, bytes: bytes.as_slice().into() };
                after.files.insert(path.clone(), file);
            }
            None => drop(after.files.remove(path)),
        }
    }
    after
}
