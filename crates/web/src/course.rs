//! Routes of what stands between environments: approvals, checks, windows, releases, history. What ends in a commit of
//! the config repository is for those who may push there.

use crate::api::{App, At, HISTORY_MAX, Input, name};
use crate::consent;
use crate::people::{configures, moves, rules};
use crate::service::{Certify, Delivery, Error, NewRelease, NewWindow, Reason, Result};
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use model::journal::Entry;
use model::people::{Person, Right};
use model::views::{Deployment, Difference, Recreated, ReleaseStatus, WindowStatus};
use model::{Check, Component, Environment, NewEnvironment, Project, Recreate, Removal};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

pub fn routes() -> Router<Arc<dyn Delivery>> {
    Router::new()
        .route("/api/v1/projects/{project}/promotions/{name}/approvals", post(approve))
        .route("/api/v1/projects/{project}/promotions/{name}/cancel", post(cancel))
        .route("/api/v1/projects/{project}/checks", post(check))
        .route("/api/v1/projects/{project}/environments", post(create_environment))
        .route("/api/v1/projects/{project}/environments/{env}/suspend", post(suspend))
        .route("/api/v1/projects/{project}/environments/{env}/removal", post(delete_environment))
        .route("/api/v1/projects/{project}/windows", get(windows).post(add_window))
        .route("/api/v1/projects/{project}/releases", get(releases).post(create_release))
        .route("/api/v1/projects/{project}/releases/{version}/certificates", post(certify))
        .route("/api/v1/projects/{project}/components/{component}/chart", post(update_chart))
        .route("/api/v1/projects/{project}/difference", get(difference))
        .route("/api/v1/projects/{project}/deployments", get(deployments))
        .route("/api/v1/projects/{project}/at", get(at).post(recreate))
}

type Who = Extension<Person>;

async fn approve(
    State(app): App,
    Path((project, promotion)): Path<(String, String)>,
    Extension(person): Who,
    Input(request): Input<Reason>,
) -> Result<Json<Entry>> {
    let project = name(&project)?;
    Ok(Json(consent::approve(&*app, &person, &project, &promotion, &request.reason).await?))
}

async fn cancel(
    State(app): App,
    Path((project, promotion)): Path<(String, String)>,
    Extension(person): Who,
    Input(request): Input<Reason>,
) -> Result<Json<Entry>> {
    let project = name(&project)?;
    Ok(Json(consent::cancel(&*app, &person, &project, &promotion, &request.reason).await?))
}

async fn check(
    State(app): App,
    Path(project): Path<String>,
    Extension(person): Who,
    Input(request): Input<Check>,
) -> Result<Json<Entry>> {
    let project = name(&project)?;
    moves(&*app, &person, Right::Promote, &project, &request.environment).await?;
    Ok(Json(app.check(&project, request, &person.name).await?))
}

async fn certify(
    State(app): App,
    Path((project, version)): Path<(String, String)>,
    Extension(person): Who,
    Input(request): Input<Certify>,
) -> Result<Json<Entry>> {
    let (project, version) = (name(&project)?, name(&version)?);
    Ok(Json(consent::certify(&*app, &person, &project, &version, request).await?))
}

/// `{version: "^1.2"}`, or nothing for the range of the component.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateChart {
    #[serde(default)]
    version: Option<String>,
}

async fn update_chart(
    State(app): App,
    Path((project, component)): Path<(String, String)>,
    Extension(person): Who,
    Input(wanted): Input<UpdateChart>,
) -> Result<Json<Value>> {
    let (project, component): (Project, Component) = (name(&project)?, name(&component)?);
    configures(&person, &project)?;
    let build = app.update_chart(&project, &component, wanted.version.as_deref(), &person.name).await?;
    Ok(Json(json!({ "build": build })))
}

async fn create_environment(
    State(app): App,
    Path(project): Path<String>,
    Extension(person): Who,
    Input(wanted): Input<NewEnvironment>,
) -> Result<Json<Value>> {
    let project = name(&project)?;
    configures(&person, &project)?;
    // Whose repository it is decides who may write there.
    if wanted.own_repo {
        rules(&person, &project)?;
    }
    Ok(Json(json!({ "commit": app.create_environment(&project, wanted, &person.name).await? })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Suspend {
    suspend: bool,
}

async fn suspend(
    State(app): App,
    Path((project, env)): Path<(String, String)>,
    Extension(person): Who,
    Input(request): Input<Suspend>,
) -> Result<Json<Value>> {
    let (project, env) = (name(&project)?, name(&env)?);
    moves(&*app, &person, Right::Suspend, &project, &env).await?;
    let commit = app.suspend(&project, &env, request.suspend, &person.name).await?;
    Ok(Json(json!({ "commit": commit })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmed {
    #[serde(default)]
    confirmed: bool,
}

async fn delete_environment(
    State(app): App,
    Path((project, env)): Path<(String, String)>,
    Extension(person): Who,
    Input(request): Input<Confirmed>,
) -> Result<Json<Removal>> {
    let project = name(&project)?;
    configures(&person, &project)?;
    Ok(Json(app.delete_environment(&project, &name(&env)?, request.confirmed, &person.name).await?))
}

async fn windows(State(app): App, Path(project): Path<String>) -> Result<Json<Vec<WindowStatus>>> {
    Ok(Json(app.windows(&name(&project)?).await?))
}

async fn add_window(
    State(app): App,
    Path(project): Path<String>,
    Extension(person): Who,
    Input(wanted): Input<NewWindow>,
) -> Result<Json<Value>> {
    let project = name(&project)?;
    rules(&person, &project)?;
    Ok(Json(json!({ "commit": app.add_window(&project, wanted, &person.name).await? })))
}

async fn releases(State(app): App, Path(project): Path<String>) -> Result<Json<Vec<ReleaseStatus>>> {
    Ok(Json(app.releases(&name(&project)?).await?))
}

async fn create_release(
    State(app): App,
    Path(project): Path<String>,
    Extension(person): Who,
    Input(wanted): Input<NewRelease>,
) -> Result<Json<ReleaseStatus>> {
    let project = name(&project)?;
    configures(&person, &project)?;
    Ok(Json(app.create_release(&project, wanted, &person.name).await?))
}

async fn difference(State(app): App, Path(project): Path<String>, Query(at): Query<At>) -> Result<Json<Difference>> {
    let side = |side: &Option<String>, what| {
        side.clone().ok_or_else(|| Error::Invalid(format!("{what} is missing in the query")))
    };
    let (from, to) = (side(&at.from, "from")?, side(&at.to, "to")?);
    Ok(Json(app.difference(&name(&project)?, &from, &to).await?))
}

async fn deployments(
    State(app): App,
    Path(project): Path<String>,
    Query(at): Query<At>,
) -> Result<Json<Vec<Deployment>>> {
    let environment = at.env.as_deref().map(name::<Environment>).transpose()?;
    let component = at.component.as_deref().map(name::<Component>).transpose()?;
    let limit = at.limit.unwrap_or(50).min(HISTORY_MAX);
    Ok(Json(app.deployments(&name(&project)?, environment.as_ref(), component.as_ref(), limit).await?))
}

async fn at(State(app): App, Path(project): Path<String>, Query(at): Query<At>) -> Result<Json<Option<Deployment>>> {
    let time = at.time.as_deref().ok_or_else(|| Error::Invalid("time is missing in the query".into()))?;
    Ok(Json(app.at(&name(&project)?, &at.environment()?, time).await?))
}

async fn recreate(
    State(app): App,
    Path(project): Path<String>,
    Extension(person): Who,
    Input(wanted): Input<Recreate>,
) -> Result<Json<Recreated>> {
    let project = name(&project)?;
    configures(&person, &project)?;
    Ok(Json(app.recreate(&project, wanted, &person.name).await?))
}
