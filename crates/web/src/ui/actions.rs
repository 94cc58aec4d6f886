//! What people do here: the same requests as on the command line. Each ends in a commit or a Promotion, and shows it.

use super::layout::{project_path, promotion_path};
use super::{Refusal, Result, Ui, name};
use crate::people::moves;
use crate::service::{Error, Promote, Rollback};
use crate::sessions::Session;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::response::Redirect;
use axum::{Form, RequestExt};
use model::Project;
use model::names::NameError;
use model::people::Right;
use serde::Deserialize;
use std::str::FromStr;

/// A form that was sent from a page of this session. There is no other way to its fields.
pub struct Asked {
    pub session: Session,
    pub fields: Fields,
}

/// Whatever a form of ours may hold; what is absent is empty.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    csrf: String,
    pub component: String,
    pub build: String,
    pub release: String,
    pub environment: String,
    pub reason: String,
    pub suspend: bool,
    pub confirm: String,
    pub like: String,
    pub after: String,
    pub production: bool,
    pub window: String,
    pub kind: String,
    pub schedule: String,
    pub duration: String,
    pub from: String,
    pub to: String,
    pub timezone: String,
    pub text: String,
    pub path: String,
    pub line: String,
}

impl FromRequest<Ui> for Asked {
    type Rejection = Refusal;
    async fn from_request(request: Request, ui: &Ui) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, ui).await?;
        let form: std::result::Result<Form<Fields>, _> = Request::from_parts(parts, body).extract().await;
        let Form(fields) = form.map_err(|error| Refusal::Service(Error::Invalid(format!("the form: {error}"))))?;
        match session.sent(&fields.csrf) {
            true => Ok(Self { session, fields }),
            false => Err(Refusal::Csrf),
        }
    }
}

/// An absent field and an empty one are the same.
pub fn optional<T: FromStr<Err = NameError>>(text: &str) -> Result<Option<T>> {
    (!text.is_empty()).then(|| name(text)).transpose()
}

/// `POST /p/{project}/promote`.
pub async fn promote(State(ui): State<Ui>, Path(project): Path<String>, asked: Asked) -> Result<Redirect> {
    let (project, fields): (Project, _) = (name(&project)?, asked.fields);
    let release = optional(&fields.release)?;
    let request = Promote {
        component: if release.is_some() { None } else { Some(name(&fields.component)?) },
        config: None,
        build: optional(&fields.build)?,
        release,
        to: name(&fields.environment)?,
        reason: fields.reason.trim().to_owned(),
        change_ref: None,
        overriding: None,
    };
    let person = ui.person(&asked.session)?;
    moves(&*ui.delivery, &person, Right::Promote, &project, &request.to).await?;
    let promotion = ui.delivery.promote(&project, request, &asked.session.actor).await?;
    Ok(Redirect::to(&promotion_path(&project, &promotion)))
}

/// `POST /p/{project}/rollback`.
pub async fn rollback(State(ui): State<Ui>, Path(project): Path<String>, asked: Asked) -> Result<Redirect> {
    let (project, fields): (Project, _) = (name(&project)?, asked.fields);
    let request = Rollback {
        environment: name(&fields.environment)?,
        component: optional(&fields.component)?,
        to: optional(&fields.build)?,
        release: None,
        reason: fields.reason.trim().to_owned(),
        quarantine: None,
    };
    let person = ui.person(&asked.session)?;
    moves(&*ui.delivery, &person, Right::Rollback, &project, &request.environment).await?;
    let promotion = ui.delivery.rollback(&project, request, &asked.session.actor).await?;
    Ok(Redirect::to(&promotion_path(&project, &promotion)))
}

/// `POST /p/{project}/suspend`.
pub async fn suspend(State(ui): State<Ui>, Path(project): Path<String>, asked: Asked) -> Result<Redirect> {
    let (project, fields): (Project, _) = (name(&project)?, asked.fields);
    let environment = name(&fields.environment)?;
    moves(&*ui.delivery, &ui.person(&asked.session)?, Right::Suspend, &project, &environment).await?;
    let commit = ui.delivery.suspend(&project, &environment, fields.suspend, &asked.session.actor).await?;
    let commit = commit.map_or(String::new(), |commit| format!("&commit={commit}"));
    Ok(Redirect::to(&format!("{}?env={environment}&suspended={}{commit}", project_path(&project), fields.suspend)))
}
