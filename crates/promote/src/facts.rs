//! Everything that a decision depends on.

use crate::configuration::Inputs;
use crate::evidence::Evidence;
use crate::state::{Reading, State};
use jiff::Timestamp;
use model::journal::{Entry, EntryKind};
use model::ports::Commit;
use model::release::{Release, Version};
use model::{
    Build, BuildId, CommitId, Component, DataPlaneName, Environment, EnvironmentFile, Project, Promotion, Window,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::Arc;

/// So many movements of an environment are remembered for going back. Each costs one reading of a commit, cached.
const HISTORY_MAX: usize = 50;

/// What stands about each environment at one commit.
pub type States = BTreeMap<Environment, Reading>;

/// Builds in the order in which they were given, each found by its name.
#[derive(Debug, Clone, Default)]
pub struct Builds(Arc<Found>);

#[derive(Debug, Default)]
struct Found {
    all: Vec<Build>,
    places: HashMap<BuildId, usize>,
}

impl Builds {
    /// The build of this name.
    pub fn get(&self, id: &BuildId) -> Option<&Build> {
        self.0.places.get(id).map(|place| &self.0.all[*place])
    }

    /// True if they were read at once: nothing of them differs.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl PartialEq for Builds {
    fn eq(&self, other: &Self) -> bool {
        self.same(other) || self.0.all == other.0.all
    }
}

impl From<Vec<Build>> for Builds {
    fn from(all: Vec<Build>) -> Self {
        let mut places = HashMap::with_capacity(all.len());
        for (place, build) in all.iter().enumerate() {
            places.entry(build.spec.build.clone()).or_insert(place);
        }
        Self(Arc::new(Found { all, places }))
    }
}

impl Deref for Builds {
    type Target = [Build];
    fn deref(&self) -> &[Build] {
        &self.0.all
    }
}

/// Everything that a decision depends on. All of it was read, nothing is remembered. A copy shares what is large.
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
    pub log: Arc<Vec<Commit>>,
    /// What stands at each commit of [`needs`], releases resolved.
    pub states: BTreeMap<CommitId, Arc<States>>,
    /// `environments/<env>.yaml` at head, as people wrote them.
    pub texts: BTreeMap<Environment, String>,
    /// `windows.yaml` at head, or what is wrong with it.
    pub windows: Result<Vec<Window>, Vec<String>>,
    /// What has a tag.
    pub releases: Arc<BTreeMap<Version, Release>>,
    /// Files in `releases/` at head that have none.
    pub untagged: BTreeSet<Version>,
    /// All builds.
    pub builds: Builds,
    /// All promotions.
    pub promotions: Arc<Vec<Promotion>>,
    /// The whole journal, oldest first.
    pub journal: Arc<Vec<Entry>>,
    /// What builds are given by commits of the config repository.
    pub inputs: Inputs,
    /// Policies that are broken, and signatures that lack.
    pub evidence: Evidence,
    /// Components with builds that nothing describes any more.
    pub undescribed: BTreeSet<Component>,
    /// Data planes that do not answer, and why.
    pub unreachable: BTreeMap<DataPlaneName, String>,
}

/// The commits whose states a decision reads: head, what was admitted lately, and what stands on main beyond that.
pub fn needs(head: &CommitId, log: &[Commit], journal: &[Entry], environments: &[Environment]) -> BTreeSet<CommitId> {
    let mut needed = BTreeSet::from([head.clone()]);
    let mut admitted: BTreeMap<&Environment, Vec<&CommitId>> = BTreeMap::new();
    for entry in journal {
        match (entry.kind, &entry.environment, &entry.commit) {
            (EntryKind::Admitted, Some(environment), Some(commit)) => {
                admitted.entry(environment).or_default().push(commit);
            }
            (EntryKind::Removed, Some(environment), _) => drop(admitted.remove(environment)),
            _ => {}
        }
    }
    for environment in environments {
        let admitted = admitted.get(environment).map(Vec::as_slice).unwrap_or_default();
        needed.extend(admitted.iter().rev().take(HISTORY_MAX).map(|c| (*c).clone()));
        needed.extend(beyond(log, admitted.last().copied(), environment).map(|c| c.id.clone()));
    }
    needed
}

/// Commits on main after the admitted one that touch what is read of an environment at the admitted commit, newest first:
/// its own files, the groups of environments, secrets.
pub(crate) fn beyond<'a>(
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

    /// What stands about an environment on main, if it can be read.
    pub(crate) fn at_head(&self, environment: &Environment) -> Option<&State> {
        self.state(&self.head, environment)?.as_ref().ok()
    }

    /// The build of this name.
    pub fn build(&self, id: &BuildId) -> Option<&Build> {
        self.builds.get(id)
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
}
