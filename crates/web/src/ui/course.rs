//! What people say of movements, and what they change between environments: releases, windows, environments.

use super::actions::{Asked, optional};
use super::layout::{environment_path, project_path, promotion_path, release_path};
use super::{Refusal, Result, Ui, name};
use crate::consent;
use crate::people::{configures, rules};
use crate::service::{Certify, Error, NewRelease, NewWindow};
use axum::extract::{Path, State};
use axum::response::Redirect;
use model::window::{Manual, Selector, Window, WindowKind};
use model::{Environment, NewEnvironment, Project, Version};

/// `POST /p/{project}/promotions/{name}/approve`.
pub async fn approve(
    State(ui): State<Ui>,
    Path((project, promotion)): Path<(String, String)>,
    asked: Asked,
) -> Result<Redirect> {
    let project: Project = name(&project)?;
    let person = ui.person(&asked.session)?;
    consent::approve(&*ui.delivery, &person, &project, &promotion, asked.fields.reason.trim()).await?;
    Ok(Redirect::to(&promotion_path(&project, &promotion)))
}

/// `POST /p/{project}/promotions/{name}/cancel`.
pub async fn cancel(
    State(ui): State<Ui>,
    Path((project, promotion)): Path<(String, String)>,
    asked: Asked,
) -> Result<Redirect> {
    let project: Project = name(&project)?;
    let person = ui.person(&asked.session)?;
    consent::cancel(&*ui.delivery, &person, &project, &promotion, asked.fields.reason.trim()).await?;
    Ok(Redirect::to(&promotion_path(&project, &promotion)))
}

/// `POST /p/{project}/releases`.
pub async fn create_release(State(ui): State<Ui>, Path(project): Path<String>, asked: Asked) -> Result<Redirect> {
    let project: Project = name(&project)?;
    let person = ui.person(&asked.session)?;
    configures(&person, &project)?;
    let wanted = NewRelease { version: name(asked.fields.release.trim())?, from: name(&asked.fields.environment)? };
    let made = ui.delivery.create_release(&project, wanted, &person.name).await?;
    Ok(Redirect::to(&release_path(&project, &made.version.to_string())))
}

/// `POST /p/{project}/releases/{version}/certify`.
pub async fn certify(
    State(ui): State<Ui>,
    Path((project, version)): Path<(String, String)>,
    asked: Asked,
) -> Result<Redirect> {
    let (project, version): (Project, Version) = (name(&project)?, name(&version)?);
    let person = ui.person(&asked.session)?;
    let request = Certify { env: name(&asked.fields.environment)?, reason: asked.fields.reason.trim().to_owned() };
    consent::certify(&*ui.delivery, &person, &project, &version, request).await?;
    Ok(Redirect::to(&release_path(&project, &version.to_string())))
}

/// `POST /p/{project}/windows`.
pub async fn add_window(State(ui): State<Ui>, Path(project): Path<String>, asked: Asked) -> Result<Redirect> {
    let project: Project = name(&project)?;
    let person = ui.person(&asked.session)?;
    rules(&person, &project)?;
    let fields = &asked.fields;
    let environment: Option<Environment> = optional(&fields.environment)?;
    let deny = fields.kind == "deny";
    let wanted = NewWindow {
        window: Window {
            name: fields.window.trim().to_owned(),
            kind: if deny { WindowKind::Deny } else { WindowKind::Allow },
            schedule: Some(fields.schedule.trim().to_owned()).filter(|text| !text.is_empty()),
            duration: optional(fields.duration.trim())?,
            from: optional(fields.from.trim())?,
            to: optional(fields.to.trim())?,
            time_zone: match fields.timezone.trim() {
                "" => "UTC".to_owned(),
                zone => zone.to_owned(),
            },
            // A freeze applies to what it selects; a window that allows is named by those whom it binds.
            selector: environment
                .clone()
                .filter(|_| deny)
                .map(|environment| Selector { environments: vec![environment], ..Selector::default() }),
            manual: Manual::Denied,
        },
        environments: environment.into_iter().filter(|_| !deny).collect(),
    };
    let commit = ui.delivery.add_window(&project, wanted, &person.name).await?;
    Ok(Redirect::to(&format!("{}/windows?commit={commit}", project_path(&project))))
}

/// `POST /p/{project}/environments`.
pub async fn create_environment(State(ui): State<Ui>, Path(project): Path<String>, asked: Asked) -> Result<Redirect> {
    let project: Project = name(&project)?;
    let person = ui.person(&asked.session)?;
    configures(&person, &project)?;
    let fields = &asked.fields;
    let wanted = NewEnvironment {
        name: name(fields.environment.trim())?,
        like: optional(&fields.like)?,
        after: optional(&fields.after)?.into_iter().collect(),
        strategy: None,
        production: fields.production,
        domain: None,
        own_repo: false,
    };
    let made = wanted.name.clone();
    let commit = ui.delivery.create_environment(&project, wanted, &person.name).await?;
    Ok(Redirect::to(&format!("{}?commit={commit}", environment_path(&project, &made))))
}

/// `POST /p/{project}/e/{environment}/delete`.
pub async fn delete_environment(
    State(ui): State<Ui>,
    Path((project, environment)): Path<(String, String)>,
    asked: Asked,
) -> Result<Redirect> {
    let (project, environment): (Project, Environment) = (name(&project)?, name(&environment)?);
    let person = ui.person(&asked.session)?;
    configures(&person, &project)?;
    if asked.fields.confirm.trim() != environment.as_str() {
        let text = format!("{:?} is not {environment}: nothing was deleted", asked.fields.confirm.trim());
        return Err(Refusal::Service(Error::Invalid(text)));
    }
    ui.delivery.delete_environment(&project, &environment, true, &person.name).await?;
    Ok(Redirect::to(&project_path(&project)))
}
