//! Opening a Change, and adding to it: by a push to `refs/for/main`, or by a command that would commit to an environment
//! whose changes are reviewed.

use super::landing;
use crate::project::Handle;
use crate::requests::Refusal;
use crate::{Inner, Reconciler};
use model::change::{ChangeOptions, ChangeSpec, ChangeState, ChangeStatus, Opened, PatchSet};
use model::flow::Repository;
use model::journal::EntryKind;
use model::ports::{PortError, Proposal, Proposed, Write};
use model::records::Kind;
use model::{Change, CommitId, Environment, Project};

/// Commits of one proposal: what is longer is not looked at as a whole by anybody.
pub const COMMITS_MAX: usize = 100;
/// A number may be taken by somebody else so many times in a row.
const TRIES_MAX: usize = 100;
/// Patch sets of one Change.
pub const PATCH_SETS_MAX: u32 = 200;

/// What somebody proposes.
pub(crate) struct Wanted {
    pub repository: Repository,
    pub actor: String,
    pub commit: CommitId,
    pub base: CommitId,
    pub commits: u32,
    pub options: ChangeOptions,
}

/// What became of it.
struct Taken {
    change: Change,
    /// Where its head stood before.
    before: Option<CommitId>,
    what: &'static str,
}

impl Reconciler {
    /// What was pushed to `refs/for/main`.
    pub(crate) async fn propose_pushed(&self, proposal: &Proposal) -> Result<Proposed, Refusal> {
        let repository = &proposal.repository;
        let options = ChangeOptions::parse(&proposal.options).map_err(|error| Refusal::Refused(error.to_string()))?;
        let (handle, _) = self.look(&repository.project).await?;
        let repositories = &self.0.ports.repositories;
        let main = repositories.head(repository, model::MAIN).await?;
        let main = main.ok_or_else(|| {
            Refusal::Refused(format!("{repository} has no main yet: push main first, Changes are for what comes after"))
        })?;
        let found = landing::base(&self.0, repository, &main, &proposal.commit, COMMITS_MAX).await?;
        let (base, commits) = match found {
            Some((_, 0)) => {
                let text = format!("{} stands on main already: there is nothing to review", proposal.commit.short());
                return Err(Refusal::Refused(text));
            }
            Some(found) => found,
            None => {
                return Err(Refusal::Refused(format!(
                    "{} has nothing in common with main within {COMMITS_MAX} commits: rebase it onto main, or squash it",
                    proposal.commit.short()
                )));
            }
        };
        let wanted = Wanted {
            repository: repository.clone(),
            actor: proposal.actor.clone(),
            commit: proposal.commit.clone(),
            base,
            commits,
            options,
        };
        let taken = self.take(&handle, &wanted).await?;
        let number = taken.change.number;
        let lines = vec![
            format!("Change {number} {}: {}", taken.what, taken.change.title()),
            format!("  {}", self.change_address(&repository.project, number)),
        ];
        Ok(Proposed { reference: Change::head_ref(number), before: taken.before, lines })
    }

    /// Opens a Change with what a command would have written on main, unless the same is open already.
    pub(crate) async fn open_change(
        &self,
        project: &Project,
        write: &Write,
        environments: Vec<Environment>,
    ) -> Result<Opened, Refusal> {
        let (handle, _) = self.look(project).await?;
        let tip = self.0.line(&handle).await?;
        let nothing = || {
            let config = &handle.config;
            Refusal::Refused(format!("{config} has no commit on main: there is nothing to propose a change of"))
        };
        let mut parts = self.0.parts(&handle, &tip.ok_or_else(nothing)?, &write.files).await?;
        let Some(part) = parts.pop().filter(|_| parts.is_empty()) else {
            let all: Vec<String> = parts.iter().map(|part| part.repository.to_string()).collect();
            return Err(Refusal::Refused(format!(
                "changes are reviewed, and this is one of several repositories ({}, …): propose a Change in each",
                all.join(", ")
            )));
        };
        let (repository, base) = (part.repository, part.expect.ok_or_else(nothing)?);
        let write = &Write { expect: Some(base.clone()), files: part.files, ..write.clone() };
        if let Some(change) = self.asked_before(&repository, write, &base).await? {
            return Ok(self.opened(&change, environments));
        }
        let commit = self.0.ports.repositories.stage(&repository, write).await?;
        let wanted = Wanted {
            repository,
            actor: write.author.clone(),
            commit,
            base,
            commits: 1,
            options: ChangeOptions::default(),
        };
        let change = self.take(&handle, &wanted).await?.change;
        Ok(self.opened(&change, environments))
    }

    fn opened(&self, change: &Change, environments: Vec<Environment>) -> Opened {
        let (number, title) = (change.number, change.title().to_owned());
        let project = change.spec.project.clone();
        Opened { address: self.change_address(&project, number), project, number, title, environments }
    }

    /// The open Change of the same person that does the very same.
    async fn asked_before(
        &self,
        repository: &Repository,
        write: &Write,
        base: &CommitId,
    ) -> Result<Option<Change>, Refusal> {
        let title = write.message.lines().next().unwrap_or_default();
        let alike = |change: &Change| {
            let set = change.latest();
            let open = change.status.state == ChangeState::Open && change.spec.repository == *repository;
            open && change.spec.author == write.author && set.base == *base && set.title == title
        };
        for change in self.0.all_changes(&repository.project).await?.iter().filter(|change| alike(change)) {
            let before = landing::snapshot(&self.0, change, base).await?;
            let after = landing::snapshot(&self.0, change, &change.latest().commit).await?;
            let files = landing::difference(&before, &after).into_iter();
            let same = files.map(|(path, file)| (path, file.map(|file| file.bytes.to_vec()))).eq(write.files.clone());
            if same {
                return Ok(Some(change.clone()));
            }
        }
        Ok(None)
    }

    /// A new Change, or a new patch set of one. The order of effects: record, references, journal; each may be done again.
    async fn take(&self, handle: &Handle, wanted: &Wanted) -> Result<Taken, Refusal> {
        let _turn = handle.changes.lock().await;
        let project = &wanted.repository.project;
        let set = self.patch_set(wanted).await?;
        let all = self.0.all_changes(project).await?;
        let taken = match existing(&all, wanted, &set)? {
            Some(mut change) => {
                let before = change.latest().commit.clone();
                let mut what = "is that already";
                if before != set.commit {
                    if change.latest().number >= PATCH_SETS_MAX {
                        let text = format!("Change {} has {PATCH_SETS_MAX} patch sets: open another", change.number);
                        return Err(Refusal::Refused(text));
                    }
                    let number = change.latest().number + 1;
                    change.status.patch_sets.push(PatchSet { number, ..set });
                    // What was found out was about another commit.
                    change.status.checks.clear();
                    self.0.record_change(&change).await?;
                    what = "has a new patch set";
                }
                Taken { change, before: Some(before), what }
            }
            None => Taken { change: self.new_change(&all, wanted, set).await?, before: None, what: "is open" },
        };
        self.0.keep_change(&taken.change).await?;
        let change = &taken.change;
        let first = &change.status.patch_sets[0];
        self.0.tell_change(change, EntryKind::Opened, &change.spec.author, &first.commit, "").await?;
        handle.wake();
        handle.builds.notify_one();
        Ok(taken)
    }

    async fn new_change(&self, all: &[Change], wanted: &Wanted, set: PatchSet) -> Result<Change, Refusal> {
        let project = &wanted.repository.project;
        let journal = self.0.ports.repositories.journal(project).await?;
        // Records may have been lost; what the journal says was not.
        let told = journal.iter().filter_map(|entry| entry.detail(model::journal::detail::REVIEW)?.parse::<u64>().ok());
        let highest = all.iter().map(|change| change.number).chain(told).max().unwrap_or(0);
        for number in (highest + 1..).take(TRIES_MAX) {
            let spec = ChangeSpec {
                project: project.clone(),
                repository: wanted.repository.clone(),
                author: wanted.actor.clone(),
                topic: wanted.options.topic.clone(),
                created: self.0.now(),
            };
            let status = ChangeStatus { patch_sets: vec![set.clone()], ..ChangeStatus::default() };
            let change = Change { number, spec, status };
            if self.0.ports.records.create(Kind::Change, &crate::projections::change(&change)).await? {
                return Ok(change);
            }
        }
        Err(PortError::Transient(format!("numbers of Changes of {project} are taken all the time: try again")).into())
    }

    async fn patch_set(&self, wanted: &Wanted) -> Result<PatchSet, Refusal> {
        let log = self.0.ports.repositories.log(&wanted.repository, &wanted.commit, None, 1).await?;
        let commit = log.into_iter().next();
        let commit = commit.ok_or_else(|| Refusal::NotFound(format!("there is no commit {}", wanted.commit)))?;
        Ok(PatchSet {
            number: 1,
            commit: wanted.commit.clone(),
            base: wanted.base.clone(),
            commits: wanted.commits,
            by: wanted.actor.clone(),
            at: self.0.now(),
            title: if commit.subject.is_empty() { "(no subject)".to_owned() } else { commit.subject },
            description: commit.body,
        })
    }
}

impl Inner {
    /// Its patch sets are there as long as the repository is.
    pub(crate) async fn keep_change(&self, change: &Change) -> Result<(), PortError> {
        let (repository, number, set) = (&change.spec.repository, change.number, change.latest());
        for reference in [Change::patch_set_ref(number, set.number), Change::head_ref(number)] {
            self.ports.repositories.propose(repository, &reference, &set.commit).await?;
        }
        Ok(())
    }
}

/// The open Change that a proposal belongs to: the one that it names, or that of the same author and topic, or one with
/// this very commit.
fn existing(all: &[Change], wanted: &Wanted, set: &PatchSet) -> Result<Option<Change>, Refusal> {
    let open =
        |change: &&Change| change.status.state == ChangeState::Open && change.spec.repository == wanted.repository;
    if let Some(number) = wanted.options.change {
        let named = all.iter().find(|change| change.number == number);
        let repository = &wanted.repository;
        return match named {
            None => Err(Refusal::NotFound(format!("there is no Change {number}: leave `-o change` out to open one"))),
            Some(change) if change.status.state != ChangeState::Open => Err(Refusal::Refused(format!(
                "Change {number} is {}: leave `-o change` out to open another",
                change.status.state
            ))),
            Some(change) if change.spec.repository != *repository => {
                Err(Refusal::Refused(format!("Change {number} is of {}, not of {repository}", change.spec.repository)))
            }
            Some(change) => Ok(Some(change.clone())),
        };
    }
    let own = |change: &&Change| change.spec.author == wanted.actor;
    let same = |change: &&Change| change.latest().commit == set.commit;
    let found = match &wanted.options.topic {
        Some(topic) => all.iter().filter(open).filter(own).find(|change| change.spec.topic.as_ref() == Some(topic)),
        None => all.iter().filter(open).find(same),
    };
    Ok(found.cloned())
}
