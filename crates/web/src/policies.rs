//! Routes of policies. Writing some is for those who make the rules.

use crate::api::{Input, authenticate, name};
use crate::service::{People, Result};
use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use model::people::{Person, Right, Target, allowed};
use model::views::{PolicyResult, PolicyStatus};
use model::{CommitId, Environment, Project};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// `POST /api/v1/projects/{project}/policies/test`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestPolicies {
    /// Against what is admitted there.
    pub env: Environment,
    /// Name → text, instead of the policies on main.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// `POST /api/v1/projects/{project}/policies/starter`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddPolicies {
    /// Which of the starter set; empty: all.
    #[serde(default)]
    pub names: Vec<String>,
}

/// Policies, as the CLI sees them.
#[async_trait]
pub trait Policies: Send + Sync {
    /// All of them, with what breaks them.
    async fn policies(&self, project: &Project) -> Result<Vec<PolicyStatus>>;
    /// What would break them; nothing is changed.
    async fn test_policies(&self, project: &Project, request: TestPolicies) -> Result<Vec<PolicyResult>>;
    /// Writes policies of the starter set by one commit. `None`: they stand there already.
    async fn add_policies(&self, project: &Project, request: AddPolicies, actor: &str) -> Result<Option<CommitId>>;
}

type App = State<Arc<dyn Policies>>;

/// All routes, each behind a bearer token.
pub fn policies_router(policies: Arc<dyn Policies>, people: Arc<dyn People>) -> Router {
    Router::new()
        .route("/api/v1/projects/{project}/policies", get(list))
        .route("/api/v1/projects/{project}/policies/test", post(test))
        .route("/api/v1/projects/{project}/policies/starter", post(add))
        .with_state(policies)
        .layer(middleware::from_fn_with_state(people, authenticate))
}

async fn list(State(app): App, Path(project): Path<String>) -> Result<Json<Vec<PolicyStatus>>> {
    Ok(Json(app.policies(&name(&project)?).await?))
}

async fn test(
    State(app): App,
    Path(project): Path<String>,
    Input(request): Input<TestPolicies>,
) -> Result<Json<Vec<PolicyResult>>> {
    Ok(Json(app.test_policies(&name(&project)?, request).await?))
}

async fn add(
    State(app): App,
    Path(project): Path<String>,
    Extension(person): Extension<Person>,
    Input(request): Input<AddPolicies>,
) -> Result<Json<Value>> {
    let project = name(&project)?;
    allowed(&person, Right::Administer, &Target::Project(&project))?;
    Ok(Json(json!({ "commit": app.add_policies(&project, request, &person.name).await? })))
}
