//! How things stand, for people and machines: what `status` and `explain` show, on the command line and in the UI.

use crate::chart::ChartPin;
use crate::config::{Pin, Strategy};
use crate::flow::{Change, Health, Repository};
use crate::names::{BuildId, CommitId, Component, DataPlaneName, Environment, Group, Project};
use crate::policy::{PolicyAction, PolicyFile};
use crate::records::Gate;
use crate::release::{ReleaseFile, Version};
use crate::window::Window;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A project: environments × components.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectStatus {
    /// Which.
    pub project: Project,
    /// Where main of the config repository stands.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config: Option<CommitId>,
    /// What is wrong with its files; the last good state stays.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub problems: Vec<String>,
    /// In the order of `project.yaml`.
    pub environments: Vec<EnvironmentStatus>,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentStatus {
    /// Which.
    pub name: Environment,
    /// Shown with care.
    pub production: bool,
    /// Who moves builds here.
    pub strategy: Strategy,
    /// Nothing moves.
    pub suspended: bool,
    /// People change it by Changes only.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub reviewed: bool,
    /// `1.4.0 + web-44`, if it has a release.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub release: Option<String>,
    /// The release is certified here.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub certified: bool,
    /// The commit whose state is the desired one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub admitted: Option<CommitId>,
    /// What stands on main and may not come here yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<Held>,
    /// Where its workloads run, unless on the embedded data plane.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data_plane: Option<DataPlaneName>,
    /// What else is to be known: what still stands on a data plane that it has left.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
    /// Policies that what was admitted breaks; one that denies is why nothing of it is applied.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub policies: Vec<PolicyResult>,
    /// Its own config repository, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub repository: Option<Repository>,
    /// Why it cannot be made what was admitted, if so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// What was admitted, by component.
    pub components: Vec<ComponentStatus>,
}

/// A component in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Which.
    pub component: Component,
    /// The build that is admitted.
    pub build: BuildId,
    /// Its chart, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chart: Option<ChartPin>,
    /// How it is doing.
    pub health: Health,
    /// CamelCase.
    pub reason: String,
    /// For people, with the last log lines where they explain it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
    /// Public address, if an endpoint is public.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<String>,
    /// The cluster differs from what is admitted and is not being repaired.
    pub drifted: bool,
}

/// By component the newest build that could come next, and what stands between. What is not here is up to date.
pub type Prospects = BTreeMap<Component, (BuildId, Vec<Gate>)>;

/// Why a component is, or is not, where it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Which.
    pub component: Component,
    /// Where.
    pub environment: Environment,
    /// What runs there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub running: Option<ComponentStatus>,
    /// Says in sentences what holds.
    pub sentences: Vec<String>,
    /// The build that could come next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub candidate: Option<BuildId>,
    /// What stands between.
    pub gates: Vec<Gate>,
    /// What stands on main and is held.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<Held>,
}

/// A commit on main that the gates hold back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Which.
    pub commit: CommitId,
    /// Whose.
    pub author: String,
    /// What it would change: `hello-1 → hello-2`.
    pub change: String,
    /// Which components it would move.
    pub components: BTreeSet<Component>,
    /// What it waits for.
    pub gates: Vec<Gate>,
    /// The same for people.
    pub reason: String,
}

/// A policy that something breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyResult {
    /// Its name: that of its file.
    pub policy: String,
    /// What comes of it.
    pub action: PolicyAction,
    /// What breaks it: `Deployment.apps shop-prod/web`. Absent: all of it together.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub object: Option<String>,
    /// For people: what must hold and does not.
    pub message: String,
}

impl std::fmt::Display for PolicyResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "policy {}: ", self.policy)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// A policy of a project, and what breaks it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// Its name: that of its file.
    pub name: String,
    /// As its file has it; absent: it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<PolicyFile>,
    /// What is wrong with its file on main; the last good one holds.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub problems: Vec<String>,
    /// Environments in which it has a say.
    pub environments: Vec<Environment>,
    /// What breaks it, per environment, of what is admitted there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub results: BTreeMap<Environment, Vec<PolicyResult>>,
}

/// A data plane of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataPlaneStatus {
    /// Which.
    pub name: DataPlaneName,
    /// How its nodes reach the registry of this instance.
    pub registry: String,
    /// The gateway reaches its Pods.
    pub reachable: bool,
    /// The environments that run there.
    pub environments: Vec<Environment>,
    /// What is wrong, with what to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
}

/// What stands in the cluster for one component in one environment: complete objects, in no order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// Workloads, what they own, Services, EndpointSlices, configuration. Never a Secret.
    pub objects: Vec<Value>,
    /// `v1` Events about them.
    pub events: Vec<Value>,
}

/// One key of a ConfigGroup or of a secret, with what holds in each environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingRow {
    /// Name of the ConfigGroup or secret.
    pub group: Group,
    /// Variable or path of a file.
    pub key: String,
    /// True for a secret, whose values are never shown.
    pub secret: bool,
    /// What holds; an environment that is not here has no value.
    pub environments: BTreeMap<Environment, SettingCell>,
}

/// A value in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingCell {
    /// What it is; of a secret, a keyed digest.
    pub value: String,
    /// Where it is set: an environment, a group of environments or `default`.
    pub place: String,
}

/// A value of a secret: where, when and by whom it was set. Never what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRow {
    /// Which secret.
    pub name: Group,
    /// Which key of it.
    pub key: String,
    /// For which environment or group of environments; `default` for all others.
    pub place: String,
    /// When, as far as the history of main was read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<Timestamp>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// Components whose pins name the secret.
    pub used_by: BTreeSet<Component>,
}

/// A window and when it opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowStatus {
    /// As `windows.yaml` has it.
    pub window: Window,
    /// What it means now.
    pub state: WindowState,
    /// When that changes, if it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<Timestamp>,
    /// Why it never opens, or what is wrong.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
    /// Environments in which it has a say.
    pub environments: Vec<Environment>,
}

/// What a window means now. The words are shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WindowState {
    /// As far as it goes, things may move.
    Open,
    /// They may not.
    Shut,
    /// They never may.
    Never,
}

/// A release and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// Which.
    pub version: Version,
    /// The commit under its tag.
    pub commit: CommitId,
    /// Who made it.
    pub author: String,
    /// And when.
    pub at: Timestamp,
    /// What is in it.
    pub file: ReleaseFile,
    /// Where it is certified.
    pub certified: Vec<Environment>,
    /// Where it runs, as a whole or with pins beside.
    pub environments: Vec<Environment>,
}

/// What differs between two sets of pins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The first, for people: `1.3.0`, `staging (1.4.0 + web-44)`.
    pub from: String,
    /// The second.
    pub to: String,
    /// What differs, by component.
    pub components: Vec<ComponentDifference>,
}

/// What differs in one component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentDifference {
    /// Which.
    pub component: Component,
    /// Its pin in the first; absent: it is not there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<Pin>,
    /// Its pin in the second; absent: it is not there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<Pin>,
    /// Commits of the application between the two, newest first: `1234abcd Ada: faster checkout`. With a `-` in front
    /// if going from the first to the second takes them away.
    pub commits: Vec<String>,
    /// Commits of the configuration between the two, the same way.
    pub configuration: Vec<String>,
    /// Fields of manifests that differ.
    pub manifests: Vec<ManifestDifference>,
}

/// One field of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestDifference {
    /// `Deployment.apps web`.
    pub object: String,
    /// Which field; empty for the whole object.
    pub change: Change,
}

/// What was admitted in an environment, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// Where.
    pub environment: Environment,
    /// When it was admitted.
    pub at: Timestamp,
    /// Who asked for it.
    pub actor: String,
    /// What moved: `web-1 → web-2`, `1.3.0 → 1.4.0`.
    pub change: String,
    /// Why, in their words.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// The promotion that it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub promotion: Option<String>,
    /// The admitted commit.
    pub commit: CommitId,
    /// What ran from then on: component → build.
    pub builds: BTreeMap<Component, BuildId>,
    /// The release, with pins beside.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub release: Option<String>,
}

/// What ran somewhere and shall run somewhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recreated {
    /// What ran.
    pub deployment: Deployment,
    /// The commit that pins it; `None`: it stood so already.
    pub commit: Option<CommitId>,
    /// The environment was made for it.
    pub created: bool,
}
