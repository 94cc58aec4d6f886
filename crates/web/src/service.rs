//! What the API asks of the rest of the program.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use model::journal::Entry;
use model::views::{Explanation, ProjectStatus, Resources};
use model::{Build, BuildId, CommitId, Component, Environment, Plan, Project, Promotion};
use serde::{Deserialize, Serialize};

/// Why a request was not done. The kind decides the HTTP status and the CLI's exit code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such thing; the message names it and lists what there is.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense; the message says what would.
    #[error("{0}")]
    Invalid(String),
    /// Understood and refused, with the rule.
    #[error("{0}")]
    Refused(String),
    /// Something does not answer now.
    #[error("{0}")]
    Unavailable(String),
}

/// Of a service.
pub type Result<T> = std::result::Result<T, Error>;

/// A promotion as it changes, until it is final.
pub type Updates = BoxStream<'static, Promotion>;
/// Something has changed: read again.
pub type Changes = BoxStream<'static, ()>;
/// Text as it comes.
pub type Text = BoxStream<'static, std::io::Result<Bytes>>;

/// `POST /api/v1/projects`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// Created if it does not exist.
    pub project: Project,
    /// Joins it; its repository has the same name.
    pub component: Component,
}

/// What `init` answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitDone {
    /// Where to push.
    pub repository: String,
    /// The project's config repository.
    pub config: String,
    /// False if the project was there before.
    pub created: bool,
}

/// `POST /api/v1/projects/{project}/promotions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promote {
    /// What moves.
    pub component: Component,
    /// Which build; absent: the newest that may.
    #[serde(default)]
    pub build: Option<BuildId>,
    /// Into which environment.
    pub to: Environment,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /api/v1/projects/{project}/rollbacks`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// Where.
    pub environment: Environment,
    /// Only this component.
    #[serde(default)]
    pub component: Option<Component>,
    /// To this build; absent: the one before the latest movement.
    #[serde(default)]
    pub to: Option<BuildId>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `GET /api/v1/projects/{project}/logs`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogRequest {
    /// Whose.
    pub component: Component,
    /// Where.
    pub env: Environment,
    /// Keep on sending.
    #[serde(default)]
    pub follow: bool,
    /// How many lines of the past.
    #[serde(default)]
    pub tail: Option<u32>,
    /// Of the container before its last restart.
    #[serde(default)]
    pub previous: bool,
}

/// `POST /api/v1/backup`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// To whom keys are encrypted; absent: they are left out.
    #[serde(default)]
    pub protection: serde_json::Value,
}

/// Delivery, as the CLI and the UI see it.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// Names of all projects.
    async fn projects(&self) -> Result<Vec<Project>>;
    /// Creates or joins a project.
    async fn init(&self, request: Init, actor: &str) -> Result<InitDone>;
    /// Environments × components.
    async fn status(&self, project: &Project) -> Result<ProjectStatus>;
    /// Why a component is or is not where it should be.
    async fn explain(&self, project: &Project, component: &Component, environment: &Environment)
    -> Result<Explanation>;
    /// The journal, newest first.
    async fn history(&self, project: &Project, environment: Option<&Environment>, limit: usize) -> Result<Vec<Entry>>;
    /// What applying would do now.
    async fn diff(&self, project: &Project, environment: &Environment) -> Result<Plan>;
    /// Asks for a promotion; answers with its name.
    async fn promote(&self, project: &Project, request: Promote, actor: &str) -> Result<String>;
    /// Asks for a rollback; answers with the promotion's name.
    async fn rollback(&self, project: &Project, request: Rollback, actor: &str) -> Result<String>;
    /// Stops all movement in an environment, or lifts that. Answers with the commit; `None`: it stood so already.
    async fn suspend(
        &self,
        project: &Project,
        environment: &Environment,
        suspend: bool,
        actor: &str,
    ) -> Result<Option<CommitId>>;
    /// All builds, newest first.
    async fn builds(&self, project: &Project) -> Result<Vec<Build>>;
    /// A build's log: what is there and, with `follow`, what comes until it ends.
    async fn build_log(&self, project: &Project, build: &BuildId, follow: bool) -> Result<Text>;
    /// What stands in the cluster for an environment.
    async fn resources(&self, project: &Project, environment: &Environment) -> Result<Resources>;
    /// Something whenever a page about this project, or about all, may look different.
    async fn changes(&self, project: Option<&Project>) -> Result<Changes>;
    /// A promotion as it changes, until it is final.
    async fn promotion(&self, project: &Project, name: &str) -> Result<Updates>;
    /// A component's log.
    async fn logs(&self, project: &Project, request: LogRequest) -> Result<Text>;
    /// Public address of a component.
    async fn url(&self, project: &Project, component: &Component, environment: &Environment) -> Result<String>;
    /// Takes an image tar into the store; answers with the names in it.
    async fn import_image(&self, tar: Text) -> Result<Vec<String>>;
    /// Everything that cannot be made again, as one file; without its seal if it breaks off.
    async fn backup(&self, request: Backup) -> Result<Text>;
    /// Stops everything that runs, then the process itself.
    async fn down(&self) -> Result<()>;
}

/// Who a token belongs to.
pub trait People: Send + Sync {
    /// `None`: unknown or expired.
    fn who(&self, token: &str) -> Option<String>;
}
