//! Repositories in memory, with a real graph of commits.

use super::fuse::Fuse;
use async_trait::async_trait;
use model::flow::{File, FileMode, Repository, Revision, Snapshot};
use model::journal::Entry;
use model::ports::{Commit, PortError, Pushed, Repositories, Result, Tag, Write, Written};
use model::remote::{Address, Fetched};
use model::trust::{Signers, Unsigned};
use model::{CommitId, Digest, MAIN, Project};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub type Files = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
struct Repo {
    main: Option<CommitId>,
    tags: BTreeMap<String, CommitId>,
    commits: BTreeMap<CommitId, (Commit, Files)>,
}

#[derive(Default)]
struct State {
    repos: BTreeMap<Repository, Repo>,
    journal: BTreeMap<Project, Vec<Entry>>,
}

pub struct FakeRepositories {
    state: Mutex<State>,
    fuse: Arc<Fuse>,
}

impl FakeRepositories {
    pub fn new(fuse: Arc<Fuse>) -> Self {
        Self { state: Mutex::default(), fuse }
    }

    pub fn create(&self, repository: &Repository) {
        self.state.lock().unwrap().repos.entry(repository.clone()).or_default();
    }

    /// A commit on top of main that is in no ref yet: what a push brings.
    pub fn stage(
        &self,
        repository: &Repository,
        author: &str,
        subject: &str,
        edits: &[(&str, Option<&str>)],
    ) -> CommitId {
        let edits = edits.iter().map(|(path, text)| ((*path).to_owned(), text.map(|t| t.as_bytes().to_vec())));
        let mut state = self.state.lock().unwrap();
        let repo = state.repos.entry(repository.clone()).or_default();
        repo.add(author, subject, jiff::Timestamp::now(), &edits.collect())
    }

    pub fn land(&self, repository: &Repository, commit: &CommitId) {
        self.state.lock().unwrap().repos.get_mut(repository).unwrap().main = Some(commit.clone());
    }

    /// History of main, newest first, and its files.
    pub fn main(&self, repository: &Repository) -> (Vec<Commit>, Files) {
        let state = self.state.lock().unwrap();
        let repo = &state.repos[repository];
        let files = repo.main.as_ref().map(|tip| repo.commits[tip].1.clone()).unwrap_or_default();
        (repo.history(repo.main.as_ref(), None), files)
    }

    pub fn entries(&self, project: &Project) -> Vec<Entry> {
        self.state.lock().unwrap().journal.get(project).cloned().unwrap_or_default()
    }
}

impl Repo {
    fn add(
        &mut self,
        author: &str,
        message: &str,
        at: jiff::Timestamp,
        edits: &BTreeMap<String, Option<Vec<u8>>>,
    ) -> CommitId {
        let mut files = self.main.as_ref().map(|tip| self.commits[tip].1.clone()).unwrap_or_default();
        for (path, content) in edits {
            match content {
                Some(bytes) => files.insert(path.clone(), bytes.clone()),
                None => files.remove(path),
            };
        }
        let text = format!("{:?} {author} {message} {at} {}", self.main, self.commits.len());
        let id: CommitId = Digest::of(text.as_bytes()).hex()[..40].parse().unwrap();
        let lines = message.lines().filter_map(|line| line.split_once(": "));
        let commit = Commit {
            id: id.clone(),
            parent: self.main.clone(),
            author: author.to_owned(),
            at,
            body: String::new(),
            subject: message.lines().next().unwrap_or_default().to_owned(),
            trailers: lines.filter(|(k, _)| k.starts_with("Trimtab-")).map(|(k, v)| (k.into(), v.into())).collect(),
            paths: edits.keys().cloned().collect(),
        };
        self.commits.insert(id.clone(), (commit, files));
        id
    }

    /// Newest first.
    fn history(&self, tip: Option<&CommitId>, until: Option<&CommitId>) -> Vec<Commit> {
        let mut found = Vec::new();
        let mut next = tip;
        while let Some(id) = next.filter(|id| Some(*id) != until) {
            let (commit, _) = &self.commits[id];
            found.push(commit.clone());
            next = commit.parent.as_ref();
        }
        found
    }

    fn snapshot(&self, revision: Revision, path: &str) -> Result<Snapshot> {
        let known = self.commits.get(&revision.commit);
        let (_, files) = known.ok_or_else(|| PortError::Terminal(format!("there is no commit {}", revision.commit)))?;
        let prefix = if path == "." { String::new() } else { format!("{path}/") };
        let file = |(path, bytes): (&String, &Vec<u8>)| {
            let inner = path.strip_prefix(&prefix)?;
            Some((inner.to_owned(), File { mode: FileMode::Regular, bytes: bytes.as_slice().into() }))
        };
        Ok(Snapshot { files: files.iter().filter_map(file).collect(), revision })
    }
}

#[async_trait]
impl Repositories for FakeRepositories {
    async fn unsigned(
        &self,
        _: &Repository,
        _: &CommitId,
        _: Option<&CommitId>,
        _: &Signers,
        _: usize,
    ) -> Result<Vec<Unsigned>> {
        Ok(Vec::new())
    }

    async fn unsigned_tag(&self, _: &Repository, _: &str, _: &Signers) -> Result<Option<Unsigned>> {
        Ok(None)
    }

    async fn create(&self, _: &Repository) -> Result<bool> {
        unreachable!("no environment of this world has a repository of its own")
    }

    async fn list(&self) -> Result<Vec<Repository>> {
        Ok(self.state.lock().unwrap().repos.keys().cloned().collect())
    }

    async fn head(&self, repository: &Repository, reference: &str) -> Result<Option<CommitId>> {
        let state = self.state.lock().unwrap();
        let Some(repo) = state.repos.get(repository) else { return Ok(None) };
        Ok(match reference.strip_prefix("refs/tags/") {
            Some(tag) => repo.tags.get(tag).cloned(),
            None if reference.starts_with("refs/trimtab/keep/") => None,
            None => {
                assert_eq!(reference, MAIN);
                repo.main.clone()
            }
        })
    }

    async fn elsewhere(&self, _: &Revision, address: &Address, _: &[String]) -> Result<Fetched> {
        Err(PortError::Terminal(format!("nothing lies elsewhere: {address}")))
    }

    async fn snapshot(&self, revision: &Revision, path: &str) -> Result<Snapshot> {
        self.state.lock().unwrap().repos[&revision.repository].snapshot(revision.clone(), path)
    }

    async fn log(
        &self,
        repository: &Repository,
        tip: &CommitId,
        until: Option<&CommitId>,
        limit: usize,
    ) -> Result<Vec<Commit>> {
        let mut found = self.state.lock().unwrap().repos[repository].history(Some(tip), until);
        found.truncate(limit);
        Ok(found)
    }

    async fn is_ancestor(&self, repository: &Repository, ancestor: &CommitId, commit: &CommitId) -> Result<bool> {
        let state = self.state.lock().unwrap();
        Ok(state.repos[repository].history(Some(commit), None).iter().any(|c| c.id == *ancestor))
    }

    async fn write(&self, repository: &Repository, write: &Write) -> Result<Written> {
        let write = || {
            let mut state = self.state.lock().unwrap();
            let repo = state.repos.entry(repository.clone()).or_default();
            if repo.main != write.expect {
                return Ok(Written::Superseded(repo.main.clone()));
            }
            let id = repo.add(&write.author, &write.message, write.at, &write.files);
            repo.main = Some(id.clone());
            Ok(Written::Commit(id))
        };
        self.fuse.effect("write", write).await
    }

    async fn stage(&self, repository: &Repository, write: &Write) -> Result<CommitId> {
        let mut state = self.state.lock().unwrap();
        let repo = state.repos.entry(repository.clone()).or_default();
        Ok(repo.add(&write.author, &write.message, write.at, &write.files))
    }

    async fn propose(&self, _: &Repository, _: &str, _: &CommitId) -> Result<()> {
        Ok(())
    }

    async fn advance(&self, repository: &Repository, expect: &CommitId, to: &CommitId) -> Result<Written> {
        let advance = || {
            let mut state = self.state.lock().unwrap();
            let repo = state.repos.entry(repository.clone()).or_default();
            if repo.main.as_ref() != Some(expect) {
                return Ok(Written::Superseded(repo.main.clone()));
            }
            repo.main = Some(to.clone());
            Ok(Written::Commit(to.clone()))
        };
        self.fuse.effect("write", advance).await
    }

    async fn tag(&self, repository: &Repository, tag: &Tag) -> Result<()> {
        let tag = || {
            let mut state = self.state.lock().unwrap();
            let repo = state.repos.get_mut(repository).expect("it is there");
            let at = repo.tags.entry(tag.name.clone()).or_insert_with(|| tag.commit.clone());
            assert_eq!(*at, tag.commit, "a tag never moves");
            Ok(())
        };
        self.fuse.effect("tag", tag).await
    }

    async fn keep(&self, _: &Repository, _: &str, _: &CommitId) -> Result<()> {
        Ok(())
    }

    async fn unkeep(&self, _: &Repository, _: &str) -> Result<()> {
        Ok(())
    }

    async fn journal(&self, project: &Project) -> Result<Arc<Vec<Entry>>> {
        Ok(Arc::new(self.entries(project)))
    }

    async fn append(&self, project: &Project, entry: &Entry) -> Result<()> {
        let append = || {
            let mut state = self.state.lock().unwrap();
            let journal = state.journal.entry(project.clone()).or_default();
            if !journal.iter().any(|known| known.id == entry.id) {
                // As it comes back from git.
                journal.push(Entry::parse(&entry.to_message()).expect("entries can be read back"));
            }
            Ok(())
        };
        self.fuse.effect("append", append).await
    }
}

/// What a push brings, before refs move.
pub struct Staged<'a>(pub &'a FakeRepositories, pub Repository);

#[async_trait]
impl Pushed for Staged<'_> {
    async fn snapshot(&self, commit: &CommitId, path: &str) -> Result<Snapshot> {
        let revision = Revision { repository: self.1.clone(), commit: commit.clone() };
        self.0.state.lock().unwrap().repos[&self.1].snapshot(revision, path)
    }
}
