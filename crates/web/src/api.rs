//! Routes of `/api/v1`.

use crate::people::{administers, moves, reads};
use crate::service::{
    AddDataPlane, Backup, DataPlaneAdded, Delivery, Error, Init, LogRequest, People, Promote, Result, Rollback,
};
use crate::sessions::Sessions;
use axum::body::Body;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use futures::{StreamExt, TryStreamExt};
use model::journal::Entry;
use model::people::{Person, Right, Target, allowed};
use model::views::{DataPlaneStatus, Explanation, ProjectStatus};
use model::{Component, Environment, Plan, Project};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) type App = State<Arc<dyn Delivery>>;

/// All routes, each behind a bearer token.
pub fn router(delivery: Arc<dyn Delivery>, people: Arc<dyn People>, sessions: Arc<Sessions>) -> Router {
    Router::new()
        .route("/api/v1/projects", get(projects).post(init))
        .route("/api/v1/projects/{project}/status", get(status))
        .route("/api/v1/projects/{project}/explain", get(explain))
        .route("/api/v1/projects/{project}/history", get(history))
        .route("/api/v1/projects/{project}/diff", get(diff))
        .route("/api/v1/projects/{project}/url", get(url))
        .route("/api/v1/projects/{project}/logs", get(logs))
        .route("/api/v1/projects/{project}/promotions", post(promote))
        .route("/api/v1/projects/{project}/promotions/{name}", get(promotion))
        .route("/api/v1/projects/{project}/rollbacks", post(rollback))
        .route("/api/v1/projects/{project}/dataplanes", get(data_planes).post(add_data_plane))
        .route("/api/v1/projects/{project}/dataplanes/{name}", delete(remove_data_plane))
        .merge(crate::course::routes())
        .merge(crate::reviews::routes())
        .route("/api/v1/images", post(import_image))
        .route("/api/v1/backup", post(backup))
        .route("/api/v1/down", post(down))
        .with_state(delivery)
        .merge(Router::new().route("/api/v1/sign-in-links", post(sign_in_link)).with_state((sessions, people.clone())))
        .merge(crate::people::router(people.clone()))
        .layer(middleware::from_fn_with_state(people, authenticate))
}

pub(crate) async fn authenticate(State(people): State<Arc<dyn People>>, mut request: Request, next: Next) -> Response {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match token.and_then(|token| people.who(token)) {
        Some(person) => {
            if let Err(denied) = reads(&person, request.uri().path(), "/api/v1/projects/") {
                return denied.into_response();
            }
            request.extensions_mut().insert(person);
            next.run(request).await
        }
        None => {
            let message =
                "the token is missing or not known here: the CLI reads it from its data directory (--data-dir)";
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], Json(json!({ "error": message })))
                .into_response()
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let code = match &self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Refused(_) => StatusCode::CONFLICT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            // It was done, only not at once.
            Self::Opened(opened) => return (StatusCode::ACCEPTED, Json(json!({ "opened": opened }))).into_response(),
        };
        (code, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

/// A JSON body whose errors say what was expected.
pub(crate) struct Input<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = Error;
    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let bytes = bytes::Bytes::from_request(request, state).await.map_err(|e| Error::Invalid(e.to_string()))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|e| Error::Invalid(format!("request body: {e}")))
    }
}

pub(crate) fn name<T: std::str::FromStr<Err = model::names::NameError>>(text: &str) -> Result<T> {
    text.parse().map_err(|e: model::names::NameError| Error::Invalid(e.to_string()))
}

#[derive(Deserialize)]
pub(crate) struct At {
    pub component: Option<String>,
    pub env: Option<String>,
    pub limit: Option<usize>,
    pub time: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
}

impl At {
    pub fn component(&self) -> Result<Component> {
        name(self.component.as_deref().ok_or_else(|| Error::Invalid("component is missing in the query".into()))?)
    }
    pub fn environment(&self) -> Result<Environment> {
        name(self.env.as_deref().ok_or_else(|| Error::Invalid("env is missing in the query".into()))?)
    }
}

async fn projects(State(app): App, Extension(person): Extension<Person>) -> Result<Json<Vec<Project>>> {
    let mut projects = app.projects().await?;
    projects.retain(|project| allowed(&person, Right::Read, &Target::Project(project)).is_ok());
    Ok(Json(projects))
}

async fn init(State(app): App, Extension(person): Extension<Person>, Input(request): Input<Init>) -> Result<Response> {
    allowed(&person, Right::Create, &Target::Project(&request.project))?;
    Ok(Json(app.init(request, &person.name).await?).into_response())
}

async fn status(State(app): App, Path(project): Path<String>) -> Result<Json<ProjectStatus>> {
    Ok(Json(app.status(&name(&project)?).await?))
}

async fn explain(State(app): App, Path(project): Path<String>, Query(at): Query<At>) -> Result<Json<Explanation>> {
    Ok(Json(app.explain(&name(&project)?, &at.component()?, &at.environment()?).await?))
}

/// Entries of the journal that one answer holds at most.
pub(crate) const HISTORY_MAX: usize = 10_000;

async fn history(State(app): App, Path(project): Path<String>, Query(at): Query<At>) -> Result<Json<Vec<Entry>>> {
    let environment = at.env.as_deref().map(name::<Environment>).transpose()?;
    let limit = at.limit.unwrap_or(100).min(HISTORY_MAX);
    Ok(Json(app.history(&name(&project)?, environment.as_ref(), limit).await?))
}

async fn diff(State(app): App, Path(project): Path<String>, Query(at): Query<At>) -> Result<Json<Plan>> {
    Ok(Json(app.diff(&name(&project)?, &at.environment()?).await?))
}

async fn url(State(app): App, Path(project): Path<String>, Query(at): Query<At>) -> Result<Json<Value>> {
    Ok(Json(json!({ "url": app.url(&name(&project)?, &at.component()?, &at.environment()?).await? })))
}

async fn logs(State(app): App, Path(project): Path<String>, Query(request): Query<LogRequest>) -> Result<Response> {
    let text = app.logs(&name(&project)?, request).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(text)).into_response())
}

async fn promote(
    State(app): App,
    Path(project): Path<String>,
    Extension(person): Extension<Person>,
    Input(request): Input<Promote>,
) -> Result<Json<Value>> {
    let project = name(&project)?;
    moves(&*app, &person, Right::Promote, &project, &request.to).await?;
    if request.overriding.is_some() {
        moves(&*app, &person, Right::Override, &project, &request.to).await?;
    }
    Ok(Json(json!({ "promotion": app.promote(&project, request, &person.name).await? })))
}

async fn rollback(
    State(app): App,
    Path(project): Path<String>,
    Extension(person): Extension<Person>,
    Input(request): Input<Rollback>,
) -> Result<Json<Value>> {
    let project = name(&project)?;
    moves(&*app, &person, Right::Rollback, &project, &request.environment).await?;
    Ok(Json(json!({ "promotion": app.rollback(&project, request, &person.name).await? })))
}

async fn promotion(State(app): App, Path((project, promotion)): Path<(String, String)>) -> Result<Response> {
    let updates = app.promotion(&name(&project)?, &promotion).await?;
    let lines = updates.map(|promotion| Ok::<_, std::io::Error>(format!("{}\n", json!(promotion))));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

async fn data_planes(State(app): App, Path(project): Path<String>) -> Result<Json<Vec<DataPlaneStatus>>> {
    Ok(Json(app.data_planes(&name(&project)?).await?))
}

async fn add_data_plane(
    State(app): App,
    Path(project): Path<String>,
    Extension(person): Extension<Person>,
    Input(request): Input<AddDataPlane>,
) -> Result<Json<DataPlaneAdded>> {
    administers(&person)?;
    Ok(Json(app.add_data_plane(&name(&project)?, request, &person.name).await?))
}

async fn remove_data_plane(
    State(app): App,
    Path((project, plane)): Path<(String, String)>,
    Extension(person): Extension<Person>,
) -> Result<Json<Value>> {
    administers(&person)?;
    let commit = app.remove_data_plane(&name(&project)?, &name(&plane)?, &person.name).await?;
    Ok(Json(json!({ "commit": commit })))
}

async fn import_image(State(app): App, Extension(person): Extension<Person>, request: Request) -> Result<Json<Value>> {
    administers(&person)?;
    let tar = request.into_body().into_data_stream().map_err(std::io::Error::other).boxed();
    Ok(Json(json!({ "images": app.import_image(tar).await? })))
}

async fn backup(
    State(app): App,
    Extension(person): Extension<Person>,
    Input(request): Input<Backup>,
) -> Result<Response> {
    administers(&person)?;
    let file = app.backup(request).await?;
    Ok(([(header::CONTENT_TYPE, "application/zstd")], Body::from_stream(file)).into_response())
}

async fn down(State(app): App, Extension(person): Extension<Person>) -> Result<Json<Value>> {
    administers(&person)?;
    app.down().await?;
    Ok(Json(json!({ "down": true })))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkFor {
    user: Option<String>,
}

/// A one-time link to the UI for whoever holds the token, or for somebody else.
async fn sign_in_link(
    State((sessions, people)): State<(Arc<Sessions>, Arc<dyn People>)>,
    Extension(person): Extension<Person>,
    body: bytes::Bytes,
) -> Result<Json<Value>> {
    let wish: LinkFor = match body.is_empty() {
        true => LinkFor::default(),
        false => serde_json::from_slice(&body).map_err(|e| Error::Invalid(format!("request body: {e}")))?,
    };
    let user = wish.user.unwrap_or_else(|| person.name.clone());
    // A session may all that its user may: a token that only reads must not become one.
    if user != person.name || person.read_only {
        administers(&person)?;
    }
    if people.person(&user).is_none() {
        return Err(Error::NotFound(format!("there is no user {user}: trimtab user list")));
    }
    Ok(Json(json!({ "path": sessions.link(&user) })))
}
