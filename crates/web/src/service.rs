//! What the API asks of the rest of the program.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use model::{BuildId, Component, Environment, Project};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// Values as they change, until the last.
pub type Updates = BoxStream<'static, Value>;
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

/// Delivery, as the CLI sees it.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// Names of all projects.
    async fn projects(&self) -> Result<Vec<Project>>;
    /// Creates or joins a project.
    async fn init(&self, request: Init, actor: &str) -> Result<InitDone>;
    /// Environments × components.
    async fn status(&self, project: &Project) -> Result<Value>;
    /// Why a component is or is not where it should be.
    async fn explain(&self, project: &Project, component: &Component, environment: &Environment) -> Result<Value>;
    /// The journal, newest first.
    async fn history(&self, project: &Project, environment: Option<&Environment>, limit: usize) -> Result<Value>;
    /// What applying would do now.
    async fn diff(&self, project: &Project, environment: &Environment) -> Result<Value>;
    /// Asks for a promotion; answers with its name.
    async fn promote(&self, project: &Project, request: Promote, actor: &str) -> Result<String>;
    /// Asks for a rollback; answers with the promotion's name.
    async fn rollback(&self, project: &Project, request: Rollback, actor: &str) -> Result<String>;
    /// A promotion as it changes, until it is final.
    async fn promotion(&self, project: &Project, name: &str) -> Result<Updates>;
    /// A component's log.
    async fn logs(&self, project: &Project, request: LogRequest) -> Result<Text>;
    /// Public address of a component.
    async fn url(&self, project: &Project, component: &Component, environment: &Environment) -> Result<String>;
    /// Takes an image tar into the store; answers with the names in it.
    async fn import_image(&self, tar: Text) -> Result<Vec<String>>;
    /// Stops everything that runs, then the process itself.
    async fn down(&self) -> Result<()>;
}

/// Who a token belongs to.
pub trait People: Send + Sync {
    /// `None`: unknown or expired.
    fn who(&self, token: &str) -> Option<String>;
}
