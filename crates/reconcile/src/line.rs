//! The history of a project's desired state, over all of its config repositories.
//!
//! An environment may have a config repository of its own (`ownRepositories` of `project.yaml`): its file and its pins stand
//! there, and movements into it are commits there. So that decisions read one history nevertheless, each commit of these
//! repositories is followed by one of the *line*: same author, time and message, over the files of all of them, in the
//! order in which they came. The line stands under `refs/trimtab/keep/line` in the project's repository and is brought up to
//! date before anybody reads it; a crash costs nothing. Where no environment has a repository of its own, main is the line.

use crate::Inner;
use crate::changes::difference;
use crate::failpoint;
use crate::project::{Handle, LOG_MAX};
use model::config::ProjectFile;
use model::flow::{Repository, Revision, Snapshot};
use model::ports::{Commit, PortError, Write, Written};
use model::{CommitId, Environment};
use std::collections::{BTreeMap, BTreeSet};

/// Under which name the project's repository keeps it.
const NAME: &str = "line";
/// Where the line of a project stands, in its config repository.
pub const REFERENCE: &str = "refs/trimtab/keep/line";
/// Trailer of a commit of the line: what it stands for, `config.prod 91bc…`.
const TRAILER_OF: &str = "Trimtab-Of";
/// The same, one for each repository: where it stood then.
const TRAILER_AT: &str = "Trimtab-At";

type Files = BTreeMap<String, Option<Vec<u8>>>;

/// Where the line of a project stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tip {
    /// Its newest commit.
    pub commit: CommitId,
    /// Name of a repository → its main, as far as the line has followed it.
    at: BTreeMap<String, CommitId>,
    /// Environments that have a repository of their own.
    pub own: BTreeSet<Environment>,
    /// False: it is main of the project's repository.
    apart: bool,
}

impl Tip {
    /// False: it is main of the project's repository.
    pub fn is_apart(&self) -> bool {
        self.apart || !self.own.is_empty()
    }
}

/// What is wanted of one repository.
pub(crate) struct Part {
    pub repository: Repository,
    /// Where its main stands.
    pub expect: Option<CommitId>,
    pub files: Files,
}

/// The environment that a file is about.
fn environment_of(path: &str) -> Option<Environment> {
    let inner = path.strip_prefix("environments/")?;
    inner.split_once('/').map_or_else(|| inner.trim_end_matches(".yaml"), |(name, _)| name).parse().ok()
}

/// True if a file belongs to one of these environments.
fn belongs(path: &str, environments: &BTreeSet<Environment>) -> bool {
    !environments.is_empty() && environment_of(path).is_some_and(|name| environments.contains(&name))
}

/// What a commit of the line stands for; `None`: it stands for itself.
fn named(commit: &Commit, repository: &Repository) -> Option<Revision> {
    // The last one is ours: what the commit itself said of that was left out.
    let (_, value) = commit.trailers.iter().rev().find(|(key, _)| key == TRAILER_OF)?;
    let (name, id) = value.split_once(' ')?;
    let repository = Repository { project: repository.project.clone(), name: name.to_owned() };
    Some(Revision { repository, commit: id.parse().ok()? })
}

/// Where a commit of the line was written, as it says itself.
pub(crate) fn written(commit: &Commit, repository: &Repository) -> Revision {
    let itself = || Revision { repository: repository.clone(), commit: commit.id.clone() };
    named(commit, repository).unwrap_or_else(itself)
}

/// The commit of the line that is, or stands for, a commit of a config repository.
pub(crate) fn standing_for<'l>(log: &'l [Commit], commit: &CommitId, repository: &Repository) -> Option<&'l Commit> {
    let of_it = |c: &&Commit| c.id == *commit || named(c, repository).is_some_and(|of| of.commit == *commit);
    log.iter().find(of_it)
}

/// Where the repositories stood that a commit of the line has followed, by their names, as its message says.
pub fn followed(message: &str) -> BTreeMap<String, CommitId> {
    let trailers = message.lines().filter_map(|line| line.strip_prefix(TRAILER_AT)?.strip_prefix(": "));
    trailers.filter_map(at).collect()
}

/// `config.prod 91bc…`.
fn at(value: &str) -> Option<(String, CommitId)> {
    let (name, id) = value.split_once(' ')?;
    Some((name.to_owned(), id.parse().ok()?))
}

/// The environments that have a repository of their own, as a text of `project.yaml` says.
fn own(text: &[u8]) -> BTreeSet<Environment> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let file = yaml::from_str::<ProjectFile>(text, "project.yaml");
    file.map(|file| file.own_repositories.into_iter().collect()).unwrap_or_default()
}

fn own_at(snapshot: &Snapshot) -> BTreeSet<Environment> {
    snapshot.files.get("project.yaml").map(|file| own(&file.bytes)).unwrap_or_default()
}

impl Inner {
    async fn files(&self, repository: &Repository, commit: &CommitId) -> Result<Snapshot, PortError> {
        let revision = Revision { repository: repository.clone(), commit: commit.clone() };
        self.ports.repositories.snapshot(&revision, ".").await
    }

    /// Where the line of a project stands, after everything that its repositories hold; `None` while there is nothing.
    pub(crate) async fn line(&self, handle: &Handle) -> Result<Option<Tip>, PortError> {
        let mut known = handle.line.lock().await;
        self.brought_up(handle, &mut known).await
    }

    /// The newest commit of the line.
    pub(crate) async fn main(&self, handle: &Handle) -> Result<Option<CommitId>, PortError> {
        Ok(self.line(handle).await?.map(|tip| tip.commit))
    }

    async fn brought_up(&self, handle: &Handle, known: &mut Option<Tip>) -> Result<Option<Tip>, PortError> {
        let (config, repositories) = (&handle.config, &self.ports.repositories);
        let Some(main) = repositories.head(config, model::MAIN).await? else { return Ok(None) };
        let begun = match known.take() {
            Some(tip) => tip,
            None => self.begun(handle, &main).await?,
        };
        let tip = self.advanced(handle, begun, &main).await?;
        *known = Some(tip.clone());
        Ok(Some(tip))
    }

    /// The line as it was left; a new one begins with the last commit that knew of no other repository.
    async fn begun(&self, handle: &Handle, main: &CommitId) -> Result<Tip, PortError> {
        let (config, repositories) = (&handle.config, &self.ports.repositories);
        if let Some(commit) = repositories.head(config, REFERENCE).await? {
            let log = repositories.log(config, &commit, None, 1).await?;
            let trailers = log.iter().flat_map(|newest| &newest.trailers).filter(|(key, _)| key == TRAILER_AT);
            let at: BTreeMap<String, CommitId> = trailers.filter_map(|(_, value)| at(value)).collect();
            let own = at.keys().filter_map(|name| handle.config.beside(name).environment()).collect();
            return Ok(Tip { commit, at, own, apart: true });
        }
        let at = |base: &CommitId| BTreeMap::from([(config.name.clone(), base.clone())]);
        let begins = |commit: CommitId, at| Tip { commit, at, own: BTreeSet::new(), apart: false };
        if own_at(&self.files(config, main).await?).is_empty() {
            return Ok(begins(main.clone(), at(main)));
        }
        let mut last = main.clone();
        for commit in repositories.log(config, main, None, LOG_MAX).await? {
            last = commit.id;
            if own_at(&self.files(config, &last).await?).is_empty() {
                return Ok(begins(last.clone(), at(&last)));
            }
        }
        // It never was without: what came before is not told apart.
        Ok(begins(last, BTreeMap::new()))
    }

    /// What came to the repositories since, oldest first: the project's own, then the others in order.
    async fn advanced(&self, handle: &Handle, mut tip: Tip, main: &CommitId) -> Result<Tip, PortError> {
        let (config, repositories) = (&handle.config, &self.ports.repositories);
        if tip.at.get(&config.name) != Some(main) {
            let stands = own_at(&self.files(config, main).await?);
            if !tip.apart && tip.own.is_empty() && stands.is_empty() {
                let at = BTreeMap::from([(config.name.clone(), main.clone())]);
                return Ok(Tip { commit: main.clone(), at, own: stands, apart: false });
            }
            for commit in self.since(config, main, tip.at.get(&config.name)).await? {
                self.follow_project(handle, &mut tip, &commit).await?;
            }
        }
        for name in tip.own.clone() {
            let repository = Repository::of_environment(&handle.name, &name);
            repositories.create(&repository).await?;
            let Some(head) = repositories.head(&repository, model::MAIN).await? else {
                self.remake(handle, &mut tip, &repository, &name).await?;
                continue;
            };
            let until = tip.at.get(&repository.name).cloned();
            if until.as_ref() == Some(&head) {
                continue;
            }
            for commit in self.since(&repository, &head, until.as_ref()).await? {
                let line = self.files(config, &tip.commit).await?;
                let of_it = BTreeSet::from([name.clone()]);
                let theirs = self.files(&repository, &commit.id).await?;
                let after = replaced(&line, &of_it, &theirs);
                tip.at.insert(repository.name.clone(), commit.id.clone());
                self.append(config, &mut tip, &line, &after, &repository, &commit).await?;
            }
        }
        Ok(tip)
    }

    /// Commits since one that was followed, oldest first; what was forced is one step.
    async fn since(
        &self,
        repository: &Repository,
        head: &CommitId,
        until: Option<&CommitId>,
    ) -> Result<Vec<Commit>, PortError> {
        let repositories = &self.ports.repositories;
        let behind = match until {
            Some(until) => repositories.is_ancestor(repository, until, head).await.unwrap_or(false),
            None => false,
        };
        let limit = if behind { LOG_MAX } else { 1 };
        let mut log = repositories.log(repository, head, until.filter(|_| behind), limit).await?;
        log.reverse();
        Ok(log)
    }

    /// A commit of the project's repository: with what stands in the others.
    async fn follow_project(&self, handle: &Handle, tip: &mut Tip, commit: &Commit) -> Result<(), PortError> {
        let config = &handle.config;
        let (theirs, line) = (self.files(config, &commit.id).await?, self.files(config, &tip.commit).await?);
        let stands = own_at(&theirs);
        tip.at.insert(config.name.clone(), commit.id.clone());
        let mut after = theirs;
        after.files.retain(|path, _| !belongs(path, &stands));
        for name in &stands {
            let repository = Repository::of_environment(&handle.name, name);
            let of_it = BTreeSet::from([name.clone()]);
            let mut stood = line.clone();
            if !tip.at.contains_key(&repository.name) {
                self.ports.repositories.create(&repository).await?;
                match self.ports.repositories.head(&repository, model::MAIN).await? {
                    Some(head) => {
                        stood = self.files(&repository, &head).await?;
                        tip.at.insert(repository.name.clone(), head);
                    }
                    None => self.remake(handle, tip, &repository, name).await?,
                }
            }
            after = replaced(&after, &of_it, &stood);
        }
        tip.at.retain(|name, _| {
            *name == config.name || config.beside(name).environment().is_some_and(|e| stands.contains(&e))
        });
        tip.own = stands;
        self.append(config, tip, &line, &after, config, commit).await
    }

    /// An environment's repository that holds nothing gets what stood of it: it is new, or was lost.
    async fn remake(
        &self,
        handle: &Handle,
        tip: &mut Tip,
        repository: &Repository,
        name: &Environment,
    ) -> Result<(), PortError> {
        let line = self.files(&handle.config, &tip.commit).await?;
        let of_it = BTreeSet::from([name.clone()]);
        let own = line.files.into_iter().filter(|(path, _)| belongs(path, &of_it));
        let files: Files = own.map(|(path, file)| (path, Some(file.bytes.to_vec()))).collect();
        tip.at.remove(&repository.name);
        if files.is_empty() {
            return Ok(());
        }
        self.ports.repositories.create(repository).await?;
        let write = Write {
            expect: None,
            files,
            author: promote::ACTOR.to_owned(),
            message: format!("{name}: what stood in {}\n", handle.config),
            at: self.now(),
        };
        if let Written::Commit(commit) = self.ports.repositories.write(repository, &write).await? {
            tip.at.insert(repository.name.clone(), commit);
        }
        Ok(())
    }

    /// One more commit on the line.
    async fn append(
        &self,
        config: &Repository,
        tip: &mut Tip,
        before: &Snapshot,
        after: &Snapshot,
        of: &Repository,
        commit: &Commit,
    ) -> Result<(), PortError> {
        let mut message = format!("{}\n", commit.subject);
        if !commit.body.is_empty() {
            message.push_str(&format!("\n{}\n", commit.body));
        }
        message.push('\n');
        for (key, value) in commit.trailers.iter().filter(|(key, _)| key != TRAILER_OF && key != TRAILER_AT) {
            message.push_str(&format!("{key}: {value}\n"));
        }
        for (name, id) in &tip.at {
            message.push_str(&format!("{TRAILER_AT}: {name} {id}\n"));
        }
        message.push_str(&format!("{TRAILER_OF}: {} {}\n", of.name, commit.id));
        let content = |file: Option<model::flow::File>| file.map(|file| file.bytes.to_vec());
        let write = Write {
            expect: Some(tip.commit.clone()),
            files: difference(before, after).into_iter().map(|(path, file)| (path, content(file))).collect(),
            author: commit.author.clone(),
            message,
            at: commit.at,
        };
        tip.commit = self.ports.repositories.stage(config, &write).await?;
        tip.apart = true;
        // A crash from here on goes on behind it.
        self.ports.repositories.keep(config, NAME, &tip.commit).await
    }

    /// Which repositories a write on the line is for, in the order in which they are written.
    pub(crate) async fn parts(&self, handle: &Handle, tip: &Tip, files: &Files) -> Result<Vec<Part>, PortError> {
        let config = &handle.config;
        let stands = match files.get("project.yaml") {
            Some(Some(text)) => own(text),
            _ => tip.own.clone(),
        };
        let (mut project, mut others) = (Files::new(), BTreeMap::<Environment, Files>::new());
        for (path, content) in files {
            match environment_of(path) {
                Some(name) if stands.contains(&name) => {
                    others.entry(name).or_default().insert(path.clone(), content.clone());
                }
                // It goes as a whole, and its repository stays with what was.
                Some(name) if tip.own.contains(&name) && content.is_none() => {}
                _ => drop(project.insert(path.clone(), content.clone())),
            }
        }
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for (name, mut files) in others {
            let repository = Repository::of_environment(&handle.name, &name);
            if tip.own.contains(&name) {
                let expect = tip.at.get(&repository.name).cloned();
                last.push(Part { repository, expect, files });
                continue;
            }
            // Nobody reads it before the project names it. What one of the same name left there goes.
            self.ports.repositories.create(&repository).await?;
            let expect = self.ports.repositories.head(&repository, model::MAIN).await?;
            if let Some(head) = &expect {
                let left = self.files(&repository, head).await?.files.into_keys();
                let of_it = BTreeSet::from([name]);
                left.filter(|path| belongs(path, &of_it)).for_each(|path| {
                    files.entry(path).or_insert(None);
                });
            }
            first.push(Part { repository, expect, files });
        }
        let expect = tip.at.get(&config.name).cloned();
        first.extend((!project.is_empty()).then(|| Part { repository: config.clone(), expect, files: project }));
        first.extend(last);
        Ok(first)
    }

    /// One commit on main of the repository that a write is for, if the line stands where the write expects it. What is for
    /// several is one commit in each, in an order in which the earlier ones say nothing by themselves: whoever crashed between
    /// them asks again, and what stands already is not written twice.
    pub(crate) async fn write_line(&self, handle: &Handle, write: &Write) -> Result<Written, PortError> {
        let mut known = handle.line.lock().await;
        let Some(tip) = self.brought_up(handle, &mut known).await? else {
            return self.ports.repositories.write(&handle.config, write).await;
        };
        if write.expect.as_ref() != Some(&tip.commit) {
            return Ok(Written::Superseded(Some(tip.commit)));
        }
        let mut written = tip.commit.clone();
        let parts = self.parts(handle, &tip, &write.files).await?;
        let several = parts.len() > 1;
        for (index, part) in parts.into_iter().enumerate() {
            if index > 0 {
                failpoint("reconcile.parts.between");
            }
            if several && self.stands(&part).await? {
                continue;
            }
            let one = Write { expect: part.expect, files: part.files, ..write.clone() };
            match self.ports.repositories.write(&part.repository, &one).await? {
                Written::Commit(commit) => written = commit,
                Written::Superseded(by) => return Ok(Written::Superseded(by)),
            }
        }
        let tip = self.brought_up(handle, &mut known).await?;
        Ok(Written::Commit(tip.filter(|tip| tip.apart).map_or(written, |tip| tip.commit)))
    }

    /// True if everything that a part would write stands so already.
    async fn stands(&self, part: &Part) -> Result<bool, PortError> {
        let Some(head) = &part.expect else { return Ok(false) };
        let there = self.files(&part.repository, head).await?.files;
        Ok(part.files.iter().all(|(path, text)| there.get(path).map(|file| &*file.bytes) == text.as_deref()))
    }

    /// All files as they would stand with those of one repository as they are here.
    pub(crate) async fn whole(&self, handle: &Handle, snapshot: &Snapshot) -> Result<Snapshot, PortError> {
        let repository = &snapshot.revision.repository;
        let Some(tip) = self.line(handle).await? else { return Ok(snapshot.clone()) };
        let of_it = match repository.environment() {
            Some(name) => BTreeSet::from([name]),
            None if tip.own.is_empty() && own_at(snapshot).is_empty() => return Ok(snapshot.clone()),
            None => own_at(snapshot),
        };
        let line = self.files(&handle.config, &tip.commit).await?;
        Ok(match repository.environment() {
            Some(_) => replaced(&line, &of_it, snapshot),
            None => replaced(snapshot, &of_it, &line),
        })
    }

    /// Where a commit of the line was written, by whoever signed it.
    pub(crate) async fn signed_as(&self, handle: &Handle, commit: &Commit) -> Result<Revision, PortError> {
        let itself = Revision { repository: handle.config.clone(), commit: commit.id.clone() };
        let Some(of) = named(commit, &handle.config) else { return Ok(itself) };
        // Whoever commits to main may write what trailers he likes: only the line's are believed.
        let repositories = &self.ports.repositories;
        let Some(main) = repositories.head(&handle.config, model::MAIN).await? else { return Ok(itself) };
        let forged = repositories.is_ancestor(&handle.config, &commit.id, &main).await?;
        Ok(if forged { itself } else { of })
    }
}

/// The first, with what the second says of these environments.
fn replaced(snapshot: &Snapshot, environments: &BTreeSet<Environment>, by: &Snapshot) -> Snapshot {
    let mut after = snapshot.clone();
    after.files.retain(|path, _| !belongs(path, environments));
    let theirs = by.files.iter().filter(|(path, _)| belongs(path, environments));
    after.files.extend(theirs.map(|(path, file)| (path.clone(), file.clone())));
    after
}

/// Files of environments that have a repository of their own, and stand in the project's nevertheless.
pub(crate) fn misplaced(snapshot: &Snapshot) -> Vec<String> {
    let repository = &snapshot.revision.repository;
    let own = own_at(snapshot);
    let misplaced = snapshot.files.keys().filter(|path| repository.environment().is_none() && belongs(path, &own));
    let told = |path: &String| {
        let name = environment_of(path)?;
        let theirs = Repository::of_environment(&repository.project, &name);
        Some(format!("{path}: {name} has a repository of its own, and its files stand there: push it to {theirs}"))
    };
    misplaced.filter_map(told).collect()
}
