//! Users, SSH keys and tokens, under `/api/v1/users`.

use crate::api::Input;
use crate::service::{AddKey, AddUser, Delivery, Error, KeyView, MadeToken, NewToken, People, Result, UserView};
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get};
use axum::{Extension, Json, Router};
use model::flow::Repository;
use model::people::{Grant, Person, Right, Target, allowed};
use model::{Environment, Project, Role};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

type App = State<Arc<dyn People>>;

/// The routes; who asks is known by then.
pub fn router(people: Arc<dyn People>) -> Router {
    Router::new()
        .route("/api/v1/users", get(users).post(add_user))
        .route("/api/v1/users/{name}", delete(remove_user))
        .route("/api/v1/users/{name}/roles", delete(remove_role))
        .route("/api/v1/users/{name}/keys", get(keys).post(add_key).delete(remove_key))
        .route("/api/v1/users/{name}/tokens", get(tokens).post(create_token))
        .route("/api/v1/users/{name}/tokens/{id}", delete(revoke_token))
        .with_state(people)
}

/// `403` unless the person may administer this instance.
pub fn administers(person: &Person) -> Result<()> {
    Ok(allowed(person, Right::Administer, &Target::Instance)?)
}

/// Everybody minds their own keys and tokens, but not with a token that only reads; those of others are for
/// administrators. `me` is whoever asks.
fn minds<'a>(person: &'a Person, name: &'a str) -> Result<&'a str> {
    let name = if name == "me" { &person.name } else { name };
    if name != person.name || person.read_only {
        administers(person)?;
    }
    Ok(name)
}

fn found(people: &dyn People, name: &str) -> Result<UserView> {
    people
        .users()
        .into_iter()
        .find(|user| user.name == name)
        .ok_or_else(|| Error::NotFound(format!("there is no user {name}: trimtab user list")))
}

async fn users(State(people): App, Extension(person): Extension<Person>) -> Result<Json<Vec<UserView>>> {
    administers(&person)?;
    Ok(Json(people.users()))
}

async fn add_user(
    State(people): App,
    Extension(person): Extension<Person>,
    Input(request): Input<AddUser>,
) -> Result<Json<UserView>> {
    administers(&person)?;
    Ok(Json(people.add_user(request)?))
}

async fn remove_user(
    State(people): App,
    Extension(person): Extension<Person>,
    Path(name): Path<String>,
) -> Result<Json<Value>> {
    administers(&person)?;
    people.remove_user(&name)?;
    Ok(Json(json!({ "removed": name })))
}

#[derive(Deserialize)]
struct WhichRole {
    role: Role,
    project: Option<Project>,
}

async fn remove_role(
    State(people): App,
    Extension(person): Extension<Person>,
    Path(name): Path<String>,
    Query(WhichRole { role, project }): Query<WhichRole>,
) -> Result<Json<UserView>> {
    administers(&person)?;
    Ok(Json(people.remove_role(&name, &Grant { role, project, branches: Vec::new(), environments: Vec::new() })?))
}

async fn keys(
    State(people): App,
    Extension(person): Extension<Person>,
    Path(name): Path<String>,
) -> Result<Json<Vec<KeyView>>> {
    Ok(Json(found(&*people, minds(&person, &name)?)?.keys))
}

async fn add_key(
    State(people): App,
    Extension(person): Extension<Person>,
    Path(name): Path<String>,
    Input(AddKey { key }): Input<AddKey>,
) -> Result<Json<KeyView>> {
    Ok(Json(people.add_key(minds(&person, &name)?, &key)?))
}

/// With a body, because fingerprints hold slashes.
async fn remove_key(
    State(people): App,
    Extension(person): Extension<Person>,
    Path(name): Path<String>,
    Input(AddKey { key }): Input<AddKey>,
) -> Result<Json<KeyView>> {
    Ok(Json(people.remove_key(minds(&person, &name)?, &key)?))
}

async fn tokens(
    State(people): App,
    Extension(person): Extension<Person>,
    Path(name): Path<String>,
) -> Result<Json<Value>> {
    Ok(Json(json!(found(&*people, minds(&person, &name)?)?.tokens)))
}

async fn create_token(
    State(people): App,
    Extension(person): Extension<Person>,
    Path(name): Path<String>,
    Input(request): Input<NewToken>,
) -> Result<Json<MadeToken>> {
    Ok(Json(people.create_token(minds(&person, &name)?, &request)?))
}

async fn revoke_token(
    State(people): App,
    Extension(person): Extension<Person>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Value>> {
    people.revoke_token(minds(&person, &name)?, &id)?;
    Ok(Json(json!({ "revoked": id })))
}

/// Before anything of a project is answered: whoever asks must be allowed to read it. `prefix` stands before its name.
pub fn reads(person: &Person, path: &str, prefix: &str) -> Result<()> {
    let name = path.strip_prefix(prefix).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    // What is no name is no project; the route says so.
    match name.parse::<Project>() {
        Ok(project) => Ok(allowed(person, Right::Read, &Target::Project(&project))?),
        Err(_) => Ok(()),
    }
}

/// `403` unless the person may write what stands on main of the config repository.
pub fn configures(person: &Person, project: &Project) -> Result<()> {
    let repository = Repository::config(project);
    Ok(allowed(person, Right::Write, &Target::Reference(&repository, "refs/heads/main"))?)
}

/// `403` unless the person may make rules that others are held to: windows, policies, gates.
pub fn rules(person: &Person, project: &Project) -> Result<()> {
    Ok(allowed(person, Right::Administer, &Target::Project(project))?)
}

/// `403` unless the person may do this in this environment. Whether it is production is asked only where that matters.
pub async fn moves(
    delivery: &dyn Delivery,
    person: &Person,
    right: Right,
    project: &Project,
    environment: &Environment,
) -> Result<()> {
    let ask = |production| allowed(person, right, &Target::Environment { project, environment, production });
    if ask(true).is_ok() {
        return Ok(());
    }
    ask(false)?;
    let status = delivery.status(project).await?;
    let found = status.environments.iter().find(|status| status.name == *environment);
    let found = found.ok_or_else(|| Error::NotFound(format!("there is no environment {environment} in {project}")))?;
    Ok(ask(found.production)?)
}
