//! Objects of the control API, `trimtab.dev/v1alpha1`: typed where Trimtab works with them.

use crate::chart::{ChartPin, ChartWish};
use crate::flow::{Health, Repository};
use crate::names::{BuildId, CommitId, Component, Environment, ImageRef, Project};
use crate::release::Version;
use crate::rules::Seconds;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Kinds of the control API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Projection of `project.yaml`.
    Project,
    /// Projection of `trimtab.yaml` or `components/<name>.yaml`.
    Component,
    /// Projection of `environments/<env>.yaml`, with what is admitted and held.
    Environment,
    /// Projection of a pin, with what became of it: the only place of deployment status.
    ComponentDeployment,
    /// One attempt to make an image.
    Build,
    /// One movement of a build into an environment.
    Promotion,
    /// Something proposed for main.
    Change,
}

impl PromotionSpec {
    /// A request with nothing but what every request has.
    pub fn new(project: &Project, environment: &Environment, class: Class, by: &str, created: Timestamp) -> Self {
        Self {
            project: project.clone(),
            environment: environment.clone(),
            class,
            component: None,
            build: None,
            config: None,
            release: None,
            change_ref: None,
            overriding: None,
            quarantine: None,
            commit: None,
            requested_by: by.to_owned(),
            reason: String::new(),
            created,
        }
    }
}

impl Kind {
    /// All of them, in the order in which their definitions are installed.
    pub const ALL: [Kind; 7] = [
        Kind::Project,
        Kind::Component,
        Kind::Environment,
        Kind::ComponentDeployment,
        Kind::Build,
        Kind::Promotion,
        Kind::Change,
    ];
    /// `Build`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Project => "Project",
            Kind::Component => "Component",
            Kind::Environment => "Environment",
            Kind::ComponentDeployment => "ComponentDeployment",
            Kind::Build => "Build",
            Kind::Promotion => "Promotion",
            Kind::Change => "Change",
        }
    }
    /// `builds`.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Project => "projects",
            Kind::Component => "components",
            Kind::Environment => "environments",
            Kind::ComponentDeployment => "componentdeployments",
            Kind::Build => "builds",
            Kind::Promotion => "promotions",
            Kind::Change => "changes",
        }
    }
    /// True for the kinds whose spec is a file in git; their spec is changed there and nowhere else.
    pub fn is_projection(self) -> bool {
        !matches!(self, Kind::Build | Kind::Promotion | Kind::Change)
    }
}

/// A Build: spec and status. Its object is `<component>-<number>` in namespace `<project>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// What was asked for.
    pub spec: BuildSpec,
    /// What became of it.
    #[serde(default)]
    pub status: BuildStatus,
}

/// What a build is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildSpec {
    /// Project.
    pub project: Project,
    /// Component and number.
    pub build: BuildId,
    /// Application repository.
    pub repository: Repository,
    /// Commit of it.
    pub commit: CommitId,
    /// Who pushed it.
    pub pushed_by: String,
    /// Subject of the commit.
    pub message: String,
    /// When it was asked for.
    pub created: Timestamp,
    /// The chart of a repository that it takes, if its component is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartWish>,
}

/// What became of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct BuildStatus {
    /// Where it stands.
    pub phase: BuildPhase,
    /// The image, once it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// The chart, once it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartPin>,
    /// Why it failed: the step, its output's end, its exit code.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When work began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
}

/// Where a build stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum BuildPhase {
    /// Accepted.
    #[default]
    Queued,
    /// At work.
    Running,
    /// There is an image.
    Succeeded,
    /// There is none.
    Failed,
    /// A newer commit came before it began.
    Superseded,
}

impl BuildPhase {
    /// True when nothing will change any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Superseded)
    }
}

/// A Promotion: one movement of a build into an environment, through gates. Its object lies in namespace `<project>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// Object name.
    pub name: String,
    /// What was asked for.
    pub spec: PromotionSpec,
    /// What became of it.
    #[serde(default)]
    pub status: PromotionStatus,
}

/// What is to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromotionSpec {
    /// Project.
    pub project: Project,
    /// Into which environment.
    pub environment: Environment,
    /// Why it exists.
    pub class: Class,
    /// Which component; absent for a rollback of a whole environment's last movement.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub component: Option<Component>,
    /// Which build; absent: the newest that passes the gates (promote), the one before (rollback).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub build: Option<BuildId>,
    /// With this commit of the config repository; absent: the one that was healthy in the environment before, else the newest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config: Option<CommitId>,
    /// A release instead of a build: promote sets it, rollback goes back to it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub release: Option<Version>,
    /// The change that it belongs to, in the words of whoever manages changes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub change_ref: Option<String>,
    /// Emergency: gates that could be waited for are passed, for this reason.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none", default)]
    pub overriding: Option<String>,
    /// For a rollback: what is left is not taken by itself for so long; 30 days if absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quarantine: Option<Seconds>,
    /// For a hand edit: the commit of the config repository that asks for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<CommitId>,
    /// Who asked.
    pub requested_by: String,
    /// Why, in their words.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// When.
    pub created: Timestamp,
}

/// Why a promotion exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// The environment's strategy is Auto.
    Auto,
    /// A person asked by command.
    Promote,
    /// A person went back.
    Rollback,
    /// Somebody pushed a commit that changes the environment.
    Commit,
    /// Somebody changed values of secrets.
    Secret,
}

impl Class {
    /// True if a commit on main is what asks for it, and not a command or the strategy.
    pub fn is_commit(self) -> bool {
        matches!(self, Self::Commit | Self::Secret)
    }
}

/// What became of a promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct PromotionStatus {
    /// Where it stands.
    pub phase: PromotionPhase,
    /// Every gate, passed or not, in the order in which they are judged.
    pub gates: Vec<Gate>,
    /// What moved, for people: `hello-1 → hello-2`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub change: String,
    /// The one commit that is its effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// Why it ended as it did.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it reached its last phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
}

/// Where a promotion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum PromotionPhase {
    /// Not judged yet.
    #[default]
    Pending,
    /// A gate is closed; see `gates`.
    Waiting,
    /// Admitted: committed and the environment's desired state.
    Admitted,
    /// What it moved is healthy.
    Succeeded,
    /// It can never pass, or what it moved is degraded.
    Failed,
    /// Another movement of the same component came after it.
    Superseded,
    /// A person withdrew it.
    Cancelled,
}

impl PromotionPhase {
    /// True when nothing will change any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Superseded | Self::Cancelled)
    }
}

/// One condition for a movement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Which.
    pub name: GateName,
    /// Open or not.
    pub state: GateState,
    /// For people: "hello-2 has not been healthy in staging".
    pub message: String,
    /// When it will be judged again, if that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<Timestamp>,
}

/// The gates there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GateName {
    /// The build succeeded and is known.
    Built,
    /// It was healthy in every environment of `from`.
    HealthyIn,
    /// The environment is not suspended.
    Suspend,
    /// The environment's strategy lets this class in.
    Strategy,
    /// The build is not one that was rolled back.
    Quarantine,
    /// Its component gets every ConfigGroup, value and secret that it asks for.
    Configuration,
    /// The environment's data plane answers.
    DataPlane,
    /// It was healthy for long enough in every environment of `from`.
    Soak,
    /// Checks passed in every environment of `from`.
    Checks,
    /// It is a release that was certified in every environment of `from`.
    Certified,
    /// A window is open, and no freeze is on.
    Window,
    /// Enough people agree.
    Approvals,
    /// It names the change it belongs to.
    ChangeRef,
    /// It came by a Change, where changes are reviewed.
    Review,
}

/// Whether a gate lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GateState {
    /// Yes.
    Open,
    /// Not now.
    Waiting,
    /// Never.
    Closed,
}

/// Status of a ComponentDeployment (`<component>.<env>` in namespace `<project>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentStatus {
    /// How it is doing.
    pub health: Health,
    /// Why.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The build that is applied.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub build: Option<BuildId>,
    /// The admitted config commit that is applied.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<CommitId>,
    /// Public address, if an endpoint is public.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<String>,
    /// True while the cluster differs from what is admitted and is not being repaired.
    #[serde(default)]
    pub drifted: bool,
}
