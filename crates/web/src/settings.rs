//! Routes of configuration and secrets. Values of secrets come in encrypted and never go out.

use crate::api::{Input, authenticate, name};
use crate::people::configures;
use crate::service::{Error, People, Result};
use async_trait::async_trait;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use model::people::Person;
use model::settings::DEFAULT;
use model::views::{SecretRow, SettingRow};
use model::{CommitId, Group, Project};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// `POST /api/v1/projects/{project}/config`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetConfig {
    /// Which ConfigGroup; it is made if it does not exist.
    pub group: Group,
    /// An environment or a group of environments; absent: the default.
    #[serde(default)]
    pub place: Option<String>,
    /// Key → value.
    pub values: BTreeMap<String, String>,
}

/// `POST /api/v1/projects/{project}/secrets`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetSecret {
    /// Which secret; it is made if it does not exist.
    pub name: Group,
    /// Which key of it.
    pub key: String,
    /// An environment or a group of environments; absent: the default.
    #[serde(default)]
    pub place: Option<String>,
    /// The value, encrypted with age to the recipient of this instance, in base64.
    pub sealed: String,
}

/// `DELETE /api/v1/projects/{project}/secrets/{name}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveSecret {
    /// Only this key.
    #[serde(default)]
    pub key: Option<String>,
    /// Only its value there.
    #[serde(default)]
    pub place: Option<String>,
}

/// Configuration and secrets, as the CLI and the UI see them.
#[async_trait]
pub trait Settings: Send + Sync {
    /// Every key with what holds in each environment.
    async fn settings(&self, project: &Project) -> Result<Vec<SettingRow>>;
    /// Sets values by one commit. `None`: they stood so already.
    async fn set_config(&self, project: &Project, request: SetConfig, actor: &str) -> Result<Option<CommitId>>;
    /// To whom secrets are encrypted.
    async fn recipient(&self) -> Result<String>;
    /// Where secrets are set, when and by whom.
    async fn secrets(&self, project: &Project) -> Result<Vec<SecretRow>>;
    /// Sets a value by one commit.
    async fn set_secret(&self, project: &Project, request: SetSecret, actor: &str) -> Result<Option<CommitId>>;
    /// Removes by one commit what no pin names.
    async fn remove_secret(
        &self,
        project: &Project,
        secret: &Group,
        request: RemoveSecret,
        actor: &str,
    ) -> Result<Option<CommitId>>;
    /// Encrypts all secrets to a new key. Answers with its recipient.
    async fn renew_secrets(&self, project: &Project, actor: &str) -> Result<(String, Option<CommitId>)>;
}

type App = State<Arc<dyn Settings>>;

/// All routes, each behind a bearer token.
pub fn settings_router(settings: Arc<dyn Settings>, people: Arc<dyn People>) -> Router {
    Router::new()
        .route("/api/v1/projects/{project}/config", get(table).post(set_config))
        .route("/api/v1/projects/{project}/secrets", get(secrets).post(set_secret))
        .route("/api/v1/projects/{project}/secrets/{name}", axum::routing::delete(remove_secret))
        .route("/api/v1/projects/{project}/secret-key", post(renew))
        .route("/api/v1/secret-key", get(recipient))
        .with_state(settings)
        .layer(middleware::from_fn_with_state(people, authenticate))
}

async fn table(State(app): App, Path(project): Path<String>) -> Result<Json<Vec<SettingRow>>> {
    Ok(Json(app.settings(&name(&project)?).await?))
}

async fn set_config(
    State(app): App,
    Path(project): Path<String>,
    Extension(person): Extension<Person>,
    Input(request): Input<SetConfig>,
) -> Result<Json<Value>> {
    configures(&person, &name(&project)?)?;
    place(request.place.as_deref())?;
    Ok(Json(json!({ "commit": app.set_config(&name(&project)?, request, &person.name).await? })))
}

async fn recipient(State(app): App) -> Result<Json<Value>> {
    Ok(Json(json!({ "recipient": app.recipient().await? })))
}

async fn secrets(State(app): App, Path(project): Path<String>) -> Result<Json<Vec<SecretRow>>> {
    Ok(Json(app.secrets(&name(&project)?).await?))
}

async fn set_secret(
    State(app): App,
    Path(project): Path<String>,
    Extension(person): Extension<Person>,
    Input(request): Input<SetSecret>,
) -> Result<Json<Value>> {
    configures(&person, &name(&project)?)?;
    place(request.place.as_deref())?;
    Ok(Json(json!({ "commit": app.set_secret(&name(&project)?, request, &person.name).await? })))
}

async fn remove_secret(
    State(app): App,
    Path((project, secret)): Path<(String, String)>,
    Query(request): Query<RemoveSecret>,
    Extension(person): Extension<Person>,
) -> Result<Json<Value>> {
    configures(&person, &name(&project)?)?;
    place(request.place.as_deref())?;
    let commit = app.remove_secret(&name(&project)?, &name(&secret)?, request, &person.name).await?;
    Ok(Json(json!({ "commit": commit })))
}

async fn renew(
    State(app): App,
    Path(project): Path<String>,
    Extension(person): Extension<Person>,
) -> Result<Json<Value>> {
    configures(&person, &name(&project)?)?;
    let (recipient, commit) = app.renew_secrets(&name(&project)?, &person.name).await?;
    Ok(Json(json!({ "recipient": recipient, "commit": commit })))
}

/// A place has a name of the same shape as an environment or a group, or is `default`.
fn place(text: Option<&str>) -> Result<()> {
    match text {
        None | Some(DEFAULT) => Ok(()),
        Some(text) => text.parse::<Group>().map(drop).map_err(|error| Error::Invalid(error.to_string())),
    }
}
