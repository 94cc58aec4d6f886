//! How things stand, for people and machines: what `status` and `explain` show.

use model::config::Strategy;
use model::flow::Health;
use model::records::Gate;
use model::{BuildId, CommitId, Component, Environment, Project};
use promote::Held;
use serde::{Deserialize, Serialize};

/// A project: environments × components.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectStatus {
    pub project: Project,
    /// Where main of the config repository stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<CommitId>,
    /// What is wrong with its files; the last good state stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// In the order of `project.yaml`.
    pub environments: Vec<EnvironmentStatus>,
}

/// An environment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentStatus {
    pub name: Environment,
    pub production: bool,
    pub strategy: Strategy,
    pub suspended: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted: Option<CommitId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Why it cannot be made what was admitted, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub components: Vec<ComponentStatus>,
}

/// A component in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    pub component: Component,
    /// The build that is admitted.
    pub build: BuildId,
    pub health: Health,
    /// CamelCase.
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<String>,
    /// The cluster differs from what is admitted and is not being repaired.
    pub drifted: bool,
}

/// Why a component is, or is not, where it should be.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub component: Component,
    pub environment: Environment,
    /// What runs there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<ComponentStatus>,
    /// Says in sentences what holds.
    pub sentences: Vec<String>,
    /// The build that could come next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<BuildId>,
    /// What stands between.
    pub gates: Vec<Gate>,
    /// What stands on main and is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}
