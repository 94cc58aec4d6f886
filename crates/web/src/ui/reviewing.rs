//! What people do with a Change: the same requests as on the command line.

use super::actions::Asked;
use super::layout::change_path;
use super::{Refusal, Result, Ui};
use crate::reviews::{proposes, which};
use crate::service::Error;
use axum::extract::{Path, State};
use axum::response::Redirect;
use model::change::NewComment;
use model::people::{Right, Target, allowed};

type Which = Path<(String, String)>;

/// `POST /p/{project}/changes/{number}/approve`.
pub async fn approve(State(ui): State<Ui>, Path(path): Which, asked: Asked) -> Result<Redirect> {
    let (project, number) = which(&path)?;
    let person = ui.person(&asked.session)?;
    allowed(&person, Right::Approve, &Target::Project(&project)).map_err(Error::from)?;
    ui.delivery.approve_change(&project, number, asked.fields.reason.trim(), &person).await?;
    Ok(Redirect::to(&change_path(&project, number)))
}

/// `POST /p/{project}/changes/{number}/merge`.
pub async fn merge(State(ui): State<Ui>, Path(path): Which, asked: Asked) -> Result<Redirect> {
    let (project, number) = which(&path)?;
    let person = ui.person(&asked.session)?;
    proposes(&person, &project)?;
    ui.delivery.merge_change(&project, number, &person).await?;
    Ok(Redirect::to(&change_path(&project, number)))
}

/// `POST /p/{project}/changes/{number}/abandon`.
pub async fn abandon(State(ui): State<Ui>, Path(path): Which, asked: Asked) -> Result<Redirect> {
    let (project, number) = which(&path)?;
    let person = ui.person(&asked.session)?;
    proposes(&person, &project)?;
    ui.delivery.abandon_change(&project, number, asked.fields.reason.trim(), &person).await?;
    Ok(Redirect::to(&change_path(&project, number)))
}

/// `POST /p/{project}/changes/{number}/comment`.
pub async fn comment(State(ui): State<Ui>, Path(path): Which, asked: Asked) -> Result<Redirect> {
    let (project, number) = which(&path)?;
    let person = ui.person(&asked.session)?;
    proposes(&person, &project)?;
    let (file, line) = (asked.fields.path.trim(), asked.fields.line.trim());
    let bad = |_| Refusal::Service(Error::Invalid(format!("{line:?} is no number of a line")));
    let said = NewComment {
        path: (!file.is_empty()).then(|| file.to_owned()),
        line: (!line.is_empty()).then(|| line.parse()).transpose().map_err(bad)?,
        // A browser ends lines with both.
        text: asked.fields.text.replace("\r\n", "\n"),
    };
    ui.delivery.comment_change(&project, number, said, &person.name).await?;
    Ok(Redirect::to(&change_path(&project, number)))
}
