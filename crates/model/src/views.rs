//! How things stand, for people and machines: what `status` and `explain` show, on the command line and in the UI.

use crate::config::Strategy;
use crate::flow::Health;
use crate::names::{BuildId, CommitId, Component, DataPlaneName, Environment, Group, Project};
use crate::records::Gate;
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
    /// `v1` Events of the environment's namespace.
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
