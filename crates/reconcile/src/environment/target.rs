//! What an environment should be, how it stands, and the handle by which others know it.

use super::hooking::{self, Movement, Ran};
use super::parting::{self, Parting};
use super::policies::Bench;
use crate::config::Config;
use crate::evidence::Law;
use crate::planes::{self, Plane};
use jiff::Timestamp;
use model::flow::{Plan, Repository};
use model::ports::{Capabilities, Scope};
use model::views::{ComponentStatus, PolicyResult};
use model::{BuildId, CommitId, Component, DataPlaneName, Digest, Environment, Pin, Project};
use promote::{Facts, Report, Revisions, State};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// What an environment should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The admitted commit.
    pub commit: CommitId,
    /// And what stands there.
    pub state: State,
    pub report: Report,
    /// Where the source of each pinned build lies.
    pub sources: BTreeMap<BuildId, Repository>,
    /// Where it runs; `None`: on the embedded data plane.
    pub plane: Option<Plane>,
    /// Where its file and its pins stand.
    pub repository: Repository,
    /// Hosts from which manifests may take what lies elsewhere, as main says now.
    pub remotes: Vec<String>,
    /// Tells the project from others of its name.
    pub claim: String,
    /// What it is judged by.
    pub bench: Bench,
    /// When each pinned build was asked for.
    pub made: BTreeMap<BuildId, Timestamp>,
    /// How each component with a chart came to be what it is.
    pub movements: BTreeMap<Component, Movement>,
    /// Hooks that ran here, and how that ended.
    pub hooked: BTreeMap<String, Ran>,
    /// The number of each chart's pin among those that stood here.
    pub revisions: Revisions,
    /// Charts that left.
    pub partings: Vec<Parting>,
    /// Tests of charts are asked for.
    pub tests: bool,
    /// The project has it no more: nothing of it shall stand.
    pub removed: bool,
}

impl Target {
    /// `None` while nothing is admitted.
    pub fn of(facts: &Facts, config: &Config, law: &Law, name: &Environment, report: &Report) -> Option<Self> {
        let commit = report.admitted.clone()?;
        let mut state = facts.state(&commit, name)?.as_ref().ok()?.clone();
        crate::removal::inherit(facts, &commit, &mut state.file);
        let source = |pin: &Pin| Some((pin.build.clone(), facts.build(&pin.build)?.spec.repository.clone()));
        let sources = state.pins.values().filter_map(source).collect();
        let plane = plane_of(&state, config);
        let created = |pin: &Pin| Some((pin.build.clone(), facts.build(&pin.build)?.spec.created));
        let charts = || state.pins.values().filter(|pin| pin.chart.is_some());
        let made = state.pins.values().filter_map(created).collect();
        let movements = hooking::movements(facts, name, report, &state);
        let (partings, revisions) = (parting::partings(facts, name, false), promote::revisions(facts, name, None));
        let (hooked, tests) = match charts().next().is_some() || !partings.is_empty() {
            true => (hooking::hooked(facts, name), hooking::tests(facts, name)),
            false => (BTreeMap::new(), false),
        };
        let (report, claim, remotes) = (report.clone(), planes::claim(facts), config.remotes().to_vec());
        let repository = config.repository(&facts.project, name).unwrap_or_else(|| Repository::config(&facts.project));
        let bench = Bench::of(facts, law, name, &state);
        Some(Self {
            commit,
            state,
            report,
            sources,
            plane,
            repository,
            remotes,
            claim,
            bench,
            made,
            movements,
            hooked,
            revisions,
            partings,
            tests,
            removed: false,
        })
    }

    /// Of an environment that the project has no more at head.
    pub fn removed(facts: &Facts, config: &Config, name: &Environment) -> Self {
        let partings = parting::partings(facts, name, true);
        let last = hooking::admitted(facts, name).last().and_then(|commit| facts.state(commit, name)?.as_ref().ok());
        Self {
            commit: facts.head.clone(),
            state: State::default(),
            report: Report::default(),
            sources: BTreeMap::new(),
            plane: last.and_then(|state| plane_of(state, config)),
            repository: Repository::config(&facts.project),
            remotes: config.remotes().to_vec(),
            claim: planes::claim(facts),
            bench: Bench::default(),
            made: BTreeMap::new(),
            movements: BTreeMap::new(),
            hooked: if partings.is_empty() { BTreeMap::new() } else { hooking::hooked(facts, name) },
            revisions: Revisions::new(),
            partings,
            tests: false,
            removed: true,
        }
    }
}

/// Where a state runs; `None`: on the embedded data plane.
fn plane_of(state: &State, config: &Config) -> Option<Plane> {
    state.file.remote().map(|plane| Plane {
        name: plane.clone(),
        file: match config.data_planes.get(plane) {
            Some(read) => read.clone(),
            None => Err(format!("dataplanes/{plane}.yaml is missing on main")),
        },
    })
}

/// What a cluster could do when something was admitted: charts are rendered for that until something else is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// What was admitted.
    pub commit: CommitId,
    /// Which cluster.
    pub data_plane: DataPlaneName,
    /// What it answered.
    #[serde(flatten)]
    pub capabilities: Capabilities,
}

/// How an environment stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// What the target was when this was found out.
    pub commit: Option<CommitId>,
    /// Digest of the manifests that were applied last.
    pub applied: Option<Digest>,
    /// Why the target cannot be applied.
    pub error: Option<String>,
    /// The data plane, if the error is that nobody answers there.
    pub unreachable: Option<DataPlaneName>,
    /// Where it was applied last.
    pub data_plane: Option<DataPlaneName>,
    /// Where something of it may stand that belongs there no more.
    pub left: BTreeSet<DataPlaneName>,
    /// What the cluster could do when the target came.
    pub capabilities: Option<Arc<Recorded>>,
    /// What else people want to know.
    pub notes: Vec<String>,
    /// Policies that the target breaks.
    pub policies: Vec<PolicyResult>,
    pub components: Vec<ComponentStatus>,
    /// What would be done now.
    pub plan: Option<Plan>,
}

/// An environment, as others see it.
pub struct Handle {
    pub name: Environment,
    pub scope: Scope,
    pub(crate) notify: Arc<Notify>,
    target: watch::Sender<Option<Arc<Target>>>,
    pub(super) outcome: watch::Sender<Arc<Outcome>>,
}

impl Handle {
    pub fn new(project: &Project, name: &Environment) -> Self {
        Self {
            name: name.clone(),
            scope: Scope { project: project.clone(), environment: name.clone() },
            notify: Arc::new(Notify::new()),
            target: watch::Sender::new(None),
            outcome: watch::Sender::default(),
        }
    }

    /// What it should be from now on.
    pub fn aim(&self, target: Option<Target>) {
        let changed = self.target.send_if_modified(|current| {
            let changed = current.as_deref() != target.as_ref();
            if changed {
                *current = target.map(Arc::new);
            }
            changed
        });
        if changed {
            self.notify.notify_one();
        }
    }

    /// Something may have changed.
    pub fn wake(&self) {
        self.notify.notify_one();
    }
    pub fn target(&self) -> Option<Arc<Target>> {
        self.target.borrow().clone()
    }
    pub fn outcome(&self) -> Arc<Outcome> {
        self.outcome.borrow().clone()
    }
}
