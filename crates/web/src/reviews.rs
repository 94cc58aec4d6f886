//! Changes: what people ask about what is proposed, and the routes of it.

use crate::api::{App, Input, name};
use crate::service::{Delivery, Error, Reason, Result};
use async_trait::async_trait;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use model::change::{ChangeDetail, ChangeSummary, Check, Comment, NewCheck, NewComment};
use model::flow::Repository;
use model::journal::Entry;
use model::people::{Person, Right, Target, allowed};
use model::{Change, Project};
use serde::Deserialize;
use std::sync::Arc;

/// Changes that have ended and are listed, unless more are asked for.
pub(crate) const CLOSED: usize = 20;
/// And at most.
const CLOSED_MAX: usize = 1000;

/// What is proposed for main, as the CLI and the UI see it.
#[async_trait]
pub trait Reviews: Send + Sync {
    /// Changes, newest first: those that are open, then so many that have ended.
    async fn all_changes(&self, project: &Project, closed: usize) -> Result<Vec<ChangeSummary>>;
    /// One of them, with what it would do.
    async fn change(&self, project: &Project, number: u64) -> Result<ChangeDetail>;
    /// Agrees to the last patch set.
    async fn approve_change(&self, project: &Project, number: u64, reason: &str, person: &Person) -> Result<Entry>;
    /// Says something about it.
    async fn comment_change(&self, project: &Project, number: u64, said: NewComment, actor: &str) -> Result<Comment>;
    /// A system has looked at it.
    async fn check_change(&self, project: &Project, number: u64, found: NewCheck, actor: &str) -> Result<Check>;
    /// Brings it to main. Whether this person may is asked of what it touches.
    async fn merge_change(&self, project: &Project, number: u64, person: &Person) -> Result<Change>;
    /// Takes it back: its author may, and whoever may push to main.
    async fn abandon_change(&self, project: &Project, number: u64, reason: &str, person: &Person) -> Result<Change>;
}

pub fn routes() -> Router<Arc<dyn Delivery>> {
    Router::new()
        .route("/api/v1/projects/{project}/changes", get(changes))
        .route("/api/v1/projects/{project}/changes/{number}", get(change))
        .route("/api/v1/projects/{project}/changes/{number}/approvals", post(approve))
        .route("/api/v1/projects/{project}/changes/{number}/comments", post(comment))
        .route("/api/v1/projects/{project}/changes/{number}/checks", post(check))
        .route("/api/v1/projects/{project}/changes/{number}/merge", post(merge))
        .route("/api/v1/projects/{project}/changes/{number}/abandon", post(abandon))
}

type Who = Extension<Person>;
type Which = Path<(String, String)>;

/// The project and the number in a path.
pub(crate) fn which((project, number): &(String, String)) -> Result<(Project, u64)> {
    let bad = || Error::Invalid(format!("{number:?} is no number of a Change"));
    Ok((name(project)?, number.parse().map_err(|_| bad())?))
}

/// `403` unless the person may open Changes and say something about them.
pub(crate) fn proposes(person: &Person, project: &Project) -> Result<()> {
    Ok(allowed(person, Right::Propose, &Target::Repository(&Repository::config(project)))?)
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    closed: Option<usize>,
}

async fn changes(
    State(app): App,
    Path(project): Path<String>,
    Query(listed): Query<Listed>,
) -> Result<Json<Vec<ChangeSummary>>> {
    let closed = listed.closed.unwrap_or(CLOSED).min(CLOSED_MAX);
    Ok(Json(app.all_changes(&name(&project)?, closed).await?))
}

async fn change(State(app): App, Path(path): Which) -> Result<Json<ChangeDetail>> {
    let (project, number) = which(&path)?;
    Ok(Json(app.change(&project, number).await?))
}

async fn approve(
    State(app): App,
    Path(path): Which,
    Extension(person): Who,
    Input(request): Input<Reason>,
) -> Result<Json<Entry>> {
    let (project, number) = which(&path)?;
    allowed(&person, Right::Approve, &Target::Project(&project))?;
    Ok(Json(app.approve_change(&project, number, &request.reason, &person).await?))
}

async fn comment(
    State(app): App,
    Path(path): Which,
    Extension(person): Who,
    Input(said): Input<NewComment>,
) -> Result<Json<Comment>> {
    let (project, number) = which(&path)?;
    proposes(&person, &project)?;
    Ok(Json(app.comment_change(&project, number, said, &person.name).await?))
}

async fn check(
    State(app): App,
    Path(path): Which,
    Extension(person): Who,
    Input(found): Input<NewCheck>,
) -> Result<Json<Check>> {
    let (project, number) = which(&path)?;
    // Whoever could push to main by themselves may say that something is good enough for it.
    let repository = app.change(&project, number).await?.summary.change.spec.repository;
    allowed(&person, Right::Write, &Target::Reference(&repository, model::MAIN))?;
    Ok(Json(app.check_change(&project, number, found, &person.name).await?))
}

async fn merge(State(app): App, Path(path): Which, Extension(person): Who) -> Result<Json<Change>> {
    let (project, number) = which(&path)?;
    proposes(&person, &project)?;
    Ok(Json(app.merge_change(&project, number, &person).await?))
}

async fn abandon(
    State(app): App,
    Path(path): Which,
    Extension(person): Who,
    Input(request): Input<Reason>,
) -> Result<Json<Change>> {
    let (project, number) = which(&path)?;
    proposes(&person, &project)?;
    Ok(Json(app.abandon_change(&project, number, &request.reason, &person).await?))
}
