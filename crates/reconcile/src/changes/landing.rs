//! How a Change gets to main: forward, or as one commit on top of what has come since.

use crate::Inner;
use model::change::TRAILER;
use model::flow::{File, Repository, Revision, Snapshot};
use model::ports::{PortError, Write};
use model::{Change, CommitId};
use std::collections::{BTreeMap, BTreeSet};

/// What main would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landing {
    /// Main moves from the first of these to the second.
    On(CommitId, CommitId),
    /// Main has come to touch the same files; these.
    Conflict(Vec<String>),
    /// Main has moved, and only a commit on top of it may come to an application repository.
    Behind,
    /// It stands on main already.
    There,
}

/// Files of a commit in the repository of a Change.
pub async fn snapshot(inner: &Inner, change: &Change, commit: &CommitId) -> Result<Snapshot, PortError> {
    let revision = Revision { repository: change.spec.repository.clone(), commit: commit.clone() };
    inner.ports.repositories.snapshot(&revision, ".").await
}

/// What is different between two snapshots: path → content after, `None` if it is gone.
pub fn difference(before: &Snapshot, after: &Snapshot) -> BTreeMap<String, Option<File>> {
    let gone = before.files.keys().filter(|path| !after.files.contains_key(*path)).map(|path| (path.clone(), None));
    let other = after.files.iter().filter(|(path, file)| before.files.get(*path) != Some(file));
    gone.chain(other.map(|(path, file)| (path.clone(), Some(file.clone())))).collect()
}

/// How the last patch set would get to main as it stands. A config repository takes one commit per Change.
pub async fn landing(inner: &Inner, change: &Change) -> Result<Landing, PortError> {
    let (repository, set) = (&change.spec.repository, change.latest());
    let repositories = &inner.ports.repositories;
    let head = repositories.head(repository, model::MAIN).await?;
    let Some(head) = head else {
        return Err(PortError::Terminal(format!("{repository} has no commit on main")));
    };
    if repositories.is_ancestor(repository, &set.commit, &head).await? {
        return Ok(Landing::There);
    }
    if !repository.is_config() {
        return Ok(match repositories.is_ancestor(repository, &head, &set.commit).await? {
            true => Landing::On(head, set.commit.clone()),
            false => Landing::Behind,
        });
    }
    if head == set.base && set.commits == 1 {
        return Ok(Landing::On(head, set.commit.clone()));
    }
    let base = snapshot(inner, change, &set.base).await?;
    let proposed = difference(&base, &snapshot(inner, change, &set.commit).await?);
    if head != set.base {
        let moved = difference(&base, &snapshot(inner, change, &head).await?);
        let both: Vec<String> = proposed
            .iter()
            .filter(|(path, file)| moved.get(*path).is_some_and(|other| other != *file))
            .map(|(path, _)| path.clone())
            .collect();
        if !both.is_empty() {
            return Ok(Landing::Conflict(both));
        }
        if proposed.iter().all(|(path, file)| moved.get(path) == Some(file)) {
            return Ok(Landing::There);
        }
    }
    let write = Write {
        expect: Some(head.clone()),
        files: proposed.into_iter().map(|(path, file)| (path, file.map(|file| file.bytes.to_vec()))).collect(),
        author: change.spec.author.clone(),
        message: message(inner, change).await?,
        at: set.at,
    };
    // The same parent, files, author, message and time make the same commit: asking again stores nothing new.
    let commit = repositories.stage(repository, &write).await?;
    Ok(Landing::On(head, commit))
}

/// Of a commit that is written anew: what its author said, and which Change it is.
async fn message(inner: &Inner, change: &Change) -> Result<String, PortError> {
    let set = change.latest();
    let log = inner.ports.repositories.log(&change.spec.repository, &set.commit, None, 1).await?;
    let mut text = format!("{}\n", set.title);
    if !set.description.is_empty() {
        text.push_str(&format!("\n{}\n", set.description));
    }
    text.push('\n');
    for (key, value) in log.iter().flat_map(|commit| &commit.trailers).filter(|(key, _)| key != TRAILER) {
        text.push_str(&format!("{key}: {value}\n"));
    }
    text.push_str(&format!("{TRAILER}: {}\n", change.number));
    Ok(text)
}

/// The newest commit of main that a commit builds on, and how many come after it on the way.
pub async fn base(
    inner: &Inner,
    repository: &Repository,
    main: &CommitId,
    commit: &CommitId,
    most: usize,
) -> Result<Option<(CommitId, u32)>, PortError> {
    let repositories = &inner.ports.repositories;
    let log = repositories.log(repository, commit, None, most + 1).await?;
    for (count, one) in log.iter().enumerate() {
        if repositories.is_ancestor(repository, &one.id, main).await? {
            return Ok(Some((one.id.clone(), u32::try_from(count).unwrap_or(u32::MAX))));
        }
    }
    Ok(None)
}

/// Paths that a Change touches.
pub async fn paths(inner: &Inner, change: &Change) -> Result<BTreeSet<String>, PortError> {
    let set = change.latest();
    let (base, after) = (snapshot(inner, change, &set.base).await?, snapshot(inner, change, &set.commit).await?);
    Ok(difference(&base, &after).into_keys().collect())
}
