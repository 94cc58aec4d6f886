//! Everything that a decision depends on.

use crate::configuration::Inputs;
use jiff::Timestamp;
use model::journal::{Entry, EntryKind};
use model::ports::Commit;
use model::{
    Build, CommitId, Component, DataPlaneName, Digest, Environment, EnvironmentFile, Group, Pin, Project, Promotion,
};
use std::collections::{BTreeMap, BTreeSet};

/// So many movements of an environment are remembered for going back. Each costs one reading of a commit, cached.
const HISTORY_MAX: usize = 50;

/// What stands in the config repository about one environment at one commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// `environments/<env>.yaml`.
    pub file: EnvironmentFile,
    /// `environments/<env>/<component>.yaml`.
    pub pins: BTreeMap<Component, Pin>,
    /// Per secret a digest of the sealed values that hold here.
    pub secrets: BTreeMap<Group, Digest>,
    /// Groups of `project.yaml` that hold it.
    pub groups: BTreeSet<Group>,
}

/// A state, or what is wrong with its files: lines such as `environments/dev.yaml:3:1: …`.
pub type Reading = Result<State, Vec<String>>;

/// Everything that a decision depends on. All of it was read, nothing is remembered.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Which project.
    pub project: Project,
    /// For entries of the journal and times of status.
    pub now: Timestamp,
    /// Where main of the config repository stands.
    pub head: CommitId,
    /// As `project.yaml` lists them; if that cannot be read, those that have been admitted.
    pub environments: Vec<Environment>,
    /// First-parent history of main from `head` on, newest first. May be cut off; not before the commits of
    /// promotions that are still open.
    pub log: Vec<Commit>,
    /// What stands at each commit of [`needs`].
    pub states: BTreeMap<CommitId, BTreeMap<Environment, Reading>>,
    /// All builds.
    pub builds: Vec<Build>,
    /// All promotions.
    pub promotions: Vec<Promotion>,
    /// The whole journal, oldest first.
    pub journal: Vec<Entry>,
    /// What builds are given by commits of the config repository.
    pub inputs: Inputs,
    /// Data planes that do not answer, and why.
    pub unreachable: BTreeMap<DataPlaneName, String>,
}

/// The commits whose states a decision reads: head, what was admitted lately, and what stands on main beyond that.
pub fn needs(head: &CommitId, log: &[Commit], journal: &[Entry], environments: &[Environment]) -> BTreeSet<CommitId> {
    let mut needed = BTreeSet::from([head.clone()]);
    for environment in environments {
        let admitted: Vec<&CommitId> = admitted(journal, environment).filter_map(|(_, e)| e.commit.as_ref()).collect();
        needed.extend(admitted.iter().rev().take(HISTORY_MAX).map(|c| (*c).clone()));
        needed.extend(beyond(log, admitted.last().copied(), environment).map(|c| c.id.clone()));
    }
    needed
}

/// The environment's `admitted` entries with their places in the journal.
pub(crate) fn admitted<'a>(
    journal: &'a [Entry],
    environment: &'a Environment,
) -> impl DoubleEndedIterator<Item = (usize, &'a Entry)> {
    let of_it = move |e: &Entry| e.kind == EntryKind::Admitted && e.environment.as_ref() == Some(environment);
    journal.iter().enumerate().filter(move |(_, e)| of_it(e))
}

/// Commits on main after the admitted one that touch what is read of an environment at the admitted commit, newest first:
/// its own files, the groups of environments, secrets.
fn beyond<'a>(
    log: &'a [Commit],
    admitted: Option<&'a CommitId>,
    environment: &'a Environment,
) -> impl Iterator<Item = &'a Commit> {
    let (file, directory) = (format!("environments/{environment}.yaml"), format!("environments/{environment}/"));
    log.iter().take_while(move |c| Some(&c.id) != admitted).filter(move |c| {
        c.paths
            .iter()
            .any(|p| *p == file || p.starts_with(&directory) || p == "project.yaml" || p.starts_with("secrets/"))
    })
}

impl Facts {
    /// What stands about an environment at a commit; `None` if that was not read or there is no such environment.
    pub fn state(&self, commit: &CommitId, environment: &Environment) -> Option<&Reading> {
        self.states.get(commit)?.get(environment)
    }

    /// The build of this name.
    pub fn build(&self, id: &model::BuildId) -> Option<&Build> {
        self.builds.iter().find(|b| b.spec.build == *id)
    }

    /// True if the journal says that this build was healthy there.
    pub fn was_healthy(&self, environment: &Environment, build: &model::BuildId) -> bool {
        let told = |e: &Entry| {
            e.kind == EntryKind::Healthy
                && e.environment.as_ref() == Some(environment)
                && e.build.as_ref() == Some(build)
        };
        self.journal.iter().any(told)
    }

    /// Why the data plane of an environment does not answer, if it does not.
    pub(crate) fn unreachable(&self, file: &EnvironmentFile) -> Option<&str> {
        file.remote().and_then(|plane| self.unreachable.get(plane)).map(String::as_str)
    }

    /// True if the journal holds an entry of this id.
    pub fn told(&self, id: &str) -> bool {
        self.journal.iter().any(|e| e.id == id)
    }

    /// What stands on main beyond the admitted commit, newest first.
    pub(crate) fn candidates<'a>(
        &'a self,
        environment: &'a Environment,
        admitted: Option<&'a CommitId>,
    ) -> impl Iterator<Item = (&'a Commit, &'a Reading)> {
        beyond(&self.log, admitted, environment).filter_map(|c| Some((c, self.state(&c.id, environment)?)))
    }

    /// The commit on main that is the effect of this promotion.
    pub(crate) fn effect<'a>(&'a self, promotion: &'a Promotion) -> Option<&'a CommitId> {
        let known = promotion.status.commit.as_ref().or(promotion.spec.commit.as_ref());
        let written = || self.log.iter().find(|c| c.trailer(crate::TRAILER_ID) == Some(&promotion.name));
        known.or_else(|| written().map(|c| &c.id))
    }

    /// Place of a commit in the log: smaller is newer. What is not in the log is older than everything in it.
    pub(crate) fn age(&self, commit: &CommitId) -> usize {
        self.log.iter().position(|c| c.id == *commit).unwrap_or(usize::MAX)
    }
}
