//! Who looks at a page. Nobody is offered what they may not do; whether they may is asked again when they do it.

use super::{Refusal, Result, Ui};
use crate::people::{configures, rules};
use crate::sessions::Session;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use model::people::{Person, Right, Target, allowed};
use model::views::EnvironmentStatus;
use model::{Environment, Project};

/// Somebody who is signed in, with the rights that they have now.
pub struct Viewer {
    pub session: Session,
    pub person: Person,
}

impl FromRequestParts<Ui> for Viewer {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, ui: &Ui) -> Result<Self> {
        let session = Session::from_request_parts(parts, ui).await?;
        let person = ui.person(&session)?;
        Ok(Self { session, person })
    }
}

impl Viewer {
    /// In an environment of which the status is known.
    pub fn may(&self, right: Right, project: &Project, environment: &EnvironmentStatus) -> bool {
        self.may_in(right, project, &environment.name, environment.production)
    }

    pub fn may_in(&self, right: Right, project: &Project, environment: &Environment, production: bool) -> bool {
        allowed(&self.person, right, &Target::Environment { project, environment, production }).is_ok()
    }

    /// Approve Changes: they are of the whole project.
    pub fn may_approve(&self, project: &Project) -> bool {
        allowed(&self.person, Right::Approve, &Target::Project(project)).is_ok()
    }

    /// Make rules that others are held to.
    pub fn may_rule(&self, project: &Project) -> bool {
        rules(&self.person, project).is_ok()
    }

    /// Write what stands on main of the config repository.
    pub fn may_configure(&self, project: &Project) -> bool {
        configures(&self.person, project).is_ok()
    }
}
