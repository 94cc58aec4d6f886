//! What the API asks of the rest of the program.

use crate::reviews::Reviews;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use model::change::Opened;
use model::config::Seconds;
use model::journal::Entry;
use model::names::RegistryHost;
use model::people::{Denied, Grant, Person};
use model::views::{
    DataPlaneStatus, Deployment, Difference, Explanation, PolicyStatus, ProjectStatus, Prospects, Recreated,
    ReleaseStatus, Resources, WindowStatus,
};
use model::{
    Build, BuildId, Check, CommitId, Component, DataPlaneName, Environment, NewEnvironment, Plan, Project, Promotion,
    Recreate, Removal, UserName, Version, Window,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// What was asked for touches what is reviewed: a Change was opened with it instead.
    #[error("{0}")]
    Opened(Opened),
    /// A right is missing; the message says which, and who can give it.
    #[error(transparent)]
    Denied(#[from] Denied),
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
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Promote {
    /// What moves: a component ...
    #[serde(default)]
    pub component: Option<Component>,
    /// Which build; absent: the newest that may.
    #[serde(default)]
    pub build: Option<BuildId>,
    /// With the configuration of this commit of the config repository (its id, or how that begins); absent: with the one
    /// that was healthy in the environment before, else the newest.
    #[serde(default)]
    pub config: Option<String>,
    /// ... or a release.
    #[serde(default)]
    pub release: Option<Version>,
    /// Into which environment.
    pub to: Environment,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// The change that it belongs to.
    #[serde(default)]
    pub change_ref: Option<String>,
    /// Emergency: why gates are passed.
    #[serde(default, rename = "override")]
    pub overriding: Option<String>,
}

/// `POST /api/v1/projects/{project}/rollbacks`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollback {
    /// Where.
    pub environment: Environment,
    /// Only this component.
    #[serde(default)]
    pub component: Option<Component>,
    /// To this build; absent: the one before the latest movement.
    #[serde(default)]
    pub to: Option<BuildId>,
    /// To this release, all of it.
    #[serde(default)]
    pub release: Option<Version>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// What is left is not taken by itself for so long.
    #[serde(default)]
    pub quarantine: Option<Seconds>,
}

/// Why somebody says what the path says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// In their words.
    #[serde(default)]
    pub reason: String,
}

/// `POST /api/v1/projects/{project}/windows`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWindow {
    /// The window.
    pub window: Window,
    /// Environments whose rules name it from now on.
    #[serde(default)]
    pub environments: Vec<Environment>,
}

/// `POST /api/v1/projects/{project}/releases`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRelease {
    /// Its version.
    pub version: Version,
    /// What is admitted and settled there is what it holds.
    pub from: Environment,
}

/// `POST /api/v1/projects/{project}/releases/{version}/certificates`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certify {
    /// Where it runs and is good.
    pub env: Environment,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /api/v1/projects/{project}/dataplanes`. Not to be printed.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddDataPlane {
    /// How environments name it.
    pub name: DataPlaneName,
    /// The credential, complete in itself.
    pub kubeconfig: String,
    /// Which of its contexts.
    #[serde(default)]
    pub context: Option<String>,
    /// How its nodes reach the registry.
    #[serde(default)]
    pub registry: Option<RegistryHost>,
    /// The gateway reaches its Pods.
    #[serde(default)]
    pub reachable: bool,
}

/// What adding a data plane answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataPlaneAdded {
    /// The commit that describes it; `None`: it stood so already.
    pub commit: Option<CommitId>,
    /// Of its Kubernetes, if it answers.
    pub version: Option<String>,
    /// Why it does not answer.
    pub problem: Option<String>,
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
pub trait Delivery: Reviews {
    /// Names of all projects.
    async fn projects(&self) -> Result<Vec<Project>>;
    /// Creates or joins a project.
    async fn init(&self, request: Init, actor: &str) -> Result<InitDone>;
    /// Environments × components.
    async fn status(&self, project: &Project) -> Result<ProjectStatus>;
    /// Why a component is or is not where it should be.
    async fn explain(&self, project: &Project, component: &Component, environment: &Environment)
    -> Result<Explanation>;
    /// The same of every component that has builds, in one environment or in all of them.
    async fn explanations(&self, project: &Project, environment: Option<&Environment>) -> Result<Vec<Explanation>>;
    /// What could come next where, by environment.
    async fn prospects(&self, project: &Project) -> Result<Arc<BTreeMap<Environment, Prospects>>>;
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
    /// Agrees to a promotion as it stands.
    async fn approve(&self, project: &Project, promotion: &str, reason: &str, person: &Person) -> Result<Entry>;
    /// Takes a request back.
    async fn cancel(&self, project: &Project, promotion: &str, reason: &str, actor: &str) -> Result<Entry>;
    /// A check of a build or a release has ended.
    async fn check(&self, project: &Project, check: Check, actor: &str) -> Result<Entry>;
    /// A release is good where it runs, in a person's word.
    async fn certify(&self, project: &Project, version: &Version, request: Certify, actor: &str) -> Result<Entry>;
    /// Makes an environment, by one commit.
    async fn create_environment(&self, project: &Project, wanted: NewEnvironment, actor: &str) -> Result<CommitId>;
    /// What would go with an environment; with `confirmed`, it goes.
    async fn delete_environment(
        &self,
        project: &Project,
        environment: &Environment,
        confirmed: bool,
        actor: &str,
    ) -> Result<Removal>;
    /// All windows and when they open.
    async fn windows(&self, project: &Project) -> Result<Vec<WindowStatus>>;
    /// Adds a window, by one commit.
    async fn add_window(&self, project: &Project, wanted: NewWindow, actor: &str) -> Result<CommitId>;
    /// All policies, where they have a say, and what breaks them now.
    async fn all_policies(&self, project: &Project) -> Result<Vec<PolicyStatus>>;
    /// All releases, newest first.
    async fn releases(&self, project: &Project) -> Result<Vec<ReleaseStatus>>;
    /// A build of another version of a component's chart; absent: it has that version already.
    async fn update_chart(
        &self,
        project: &Project,
        component: &Component,
        version: Option<&str>,
        actor: &str,
    ) -> Result<Option<BuildId>>;
    /// Makes a release: a commit and a signed tag.
    async fn create_release(&self, project: &Project, wanted: NewRelease, actor: &str) -> Result<ReleaseStatus>;
    /// What differs between two releases, environments or times.
    async fn difference(&self, project: &Project, from: &str, to: &str) -> Result<Difference>;
    /// What was admitted, newest first.
    async fn deployments(
        &self,
        project: &Project,
        environment: Option<&Environment>,
        component: Option<&Component>,
        limit: usize,
    ) -> Result<Vec<Deployment>>;
    /// What ran in an environment at a time.
    async fn at(&self, project: &Project, environment: &Environment, time: &str) -> Result<Option<Deployment>>;
    /// Pins what ran somewhere at a time somewhere else, by one commit.
    async fn recreate(&self, project: &Project, wanted: Recreate, actor: &str) -> Result<Recreated>;
    /// All builds, newest first.
    async fn builds(&self, project: &Project) -> Result<Vec<Build>>;
    /// A build's log: what is there and, with `follow`, what comes until it ends.
    async fn build_log(&self, project: &Project, build: &BuildId, follow: bool) -> Result<Text>;
    /// What stands in the cluster for a component in an environment.
    async fn resources(&self, project: &Project, environment: &Environment, component: &Component)
    -> Result<Resources>;
    /// Something whenever a page about this project, or about all, may look different.
    async fn changes(&self, project: Option<&Project>) -> Result<Changes>;
    /// All promotions that are kept, newest first.
    async fn promotions(&self, project: &Project) -> Result<Vec<Promotion>>;
    /// A promotion as it changes, until it is final.
    async fn promotion(&self, project: &Project, name: &str) -> Result<Updates>;
    /// A component's log.
    async fn logs(&self, project: &Project, request: LogRequest) -> Result<Text>;
    /// Public address of a component.
    async fn url(&self, project: &Project, component: &Component, environment: &Environment) -> Result<String>;
    /// Other clusters of a project.
    async fn data_planes(&self, project: &Project) -> Result<Vec<DataPlaneStatus>>;
    /// Describes a cluster and keeps its credential.
    async fn add_data_plane(&self, project: &Project, request: AddDataPlane, actor: &str) -> Result<DataPlaneAdded>;
    /// Forgets a cluster and its credential. Answers with the commit.
    async fn remove_data_plane(&self, project: &Project, name: &DataPlaneName, actor: &str)
    -> Result<Option<CommitId>>;
    /// Takes an image tar into the store; answers with the names in it.
    async fn import_image(&self, tar: Text) -> Result<Vec<String>>;
    /// Everything that cannot be made again, as one file; without its seal if it breaks off.
    async fn backup(&self, request: Backup) -> Result<Text>;
    /// Stops everything that runs, then the process itself.
    async fn down(&self) -> Result<()>;
}

/// `POST /api/v1/users`: makes the user if need be, and adds what is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddUser {
    /// Who.
    pub name: UserName,
    /// Added to the roles that they have; one with the same role and project is replaced.
    #[serde(default)]
    pub role: Option<Grant>,
    /// Lines of `.pub` files.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// `POST` and `DELETE /api/v1/users/{name}/keys`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddKey {
    /// A line of a `.pub` file; to remove one, its fingerprint will do.
    pub key: String,
}

/// `POST /api/v1/users/{name}/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewToken {
    /// How long it is good.
    pub expires_in_seconds: u64,
    /// Nothing can be changed with it.
    #[serde(default)]
    pub read_only: bool,
}

/// A token, the one time that it is shown.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MadeToken {
    /// Names it in lists.
    pub id: String,
    /// The secret.
    pub token: String,
    /// When it ends.
    pub expires: Timestamp,
}

/// Somebody who is known.
#[derive(Debug, Clone, Serialize)]
pub struct UserView {
    /// Who.
    pub name: String,
    /// What they may.
    pub roles: Vec<Grant>,
    /// What they come with over SSH.
    pub keys: Vec<KeyView>,
    /// What they come with over HTTP.
    pub tokens: Vec<TokenView>,
}

/// A registered SSH key.
#[derive(Debug, Clone, Serialize)]
pub struct KeyView {
    /// `SHA256:…`.
    pub fingerprint: String,
    /// What stood behind it.
    pub comment: String,
    /// When it was registered.
    pub added: Timestamp,
}

/// A token without its secret.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// Names it.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// Nothing can be changed with it.
    pub read_only: bool,
}

/// Who is who, and the list of them. What somebody may do is decided by [`model::people::allowed`].
pub trait People: Send + Sync {
    /// Whose token this is; `None`: unknown or expired.
    fn who(&self, token: &str) -> Option<Person>;
    /// Somebody by name; `None`: unknown, or not any more.
    fn person(&self, name: &str) -> Option<Person>;
    /// All users, by name, and the administrator if they have keys or tokens.
    fn users(&self) -> Vec<UserView>;
    /// Makes or extends a user.
    fn add_user(&self, request: AddUser) -> Result<UserView>;
    /// Forgets a user with all keys and tokens.
    fn remove_user(&self, name: &str) -> Result<()>;
    /// Takes a role in a project, or everywhere, away; branches do not matter.
    fn remove_role(&self, name: &str, grant: &Grant) -> Result<UserView>;
    /// Registers a key. One key is one person's.
    fn add_key(&self, name: &str, key: &str) -> Result<KeyView>;
    /// Forgets a key, by its line or its fingerprint.
    fn remove_key(&self, name: &str, key: &str) -> Result<KeyView>;
    /// Makes a token.
    fn create_token(&self, name: &str, request: &NewToken) -> Result<MadeToken>;
    /// Makes a token worthless.
    fn revoke_token(&self, name: &str, id: &str) -> Result<()>;
}
