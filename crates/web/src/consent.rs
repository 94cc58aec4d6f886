//! What people say of a movement, with the right that each word needs: the API and the pages ask here alike.

use crate::people::moves;
use crate::service::{Certify, Delivery, Error, Result};
use futures::StreamExt;
use model::journal::Entry;
use model::people::{Person, Right, Target, allowed};
use model::{Project, Version};

pub async fn approve(
    delivery: &dyn Delivery,
    person: &Person,
    project: &Project,
    promotion: &str,
    reason: &str,
) -> Result<Entry> {
    allows(delivery, person, Right::Approve, project, promotion).await?;
    delivery.approve(project, promotion, reason, person).await
}

pub async fn cancel(
    delivery: &dyn Delivery,
    person: &Person,
    project: &Project,
    promotion: &str,
    reason: &str,
) -> Result<Entry> {
    allows(delivery, person, Right::Promote, project, promotion).await?;
    delivery.cancel(project, promotion, reason, &person.name).await
}

/// What is certified may move on to production: that is an approval.
pub async fn certify(
    delivery: &dyn Delivery,
    person: &Person,
    project: &Project,
    version: &Version,
    request: Certify,
) -> Result<Entry> {
    moves(delivery, person, Right::Approve, project, &request.env).await?;
    delivery.certify(project, version, request, &person.name).await
}

/// `403` unless the person may do this where the promotion goes. That there is none is said to those who could have a word
/// in the project.
async fn allows(
    delivery: &dyn Delivery,
    person: &Person,
    right: Right,
    project: &Project,
    promotion: &str,
) -> Result<()> {
    let known = match delivery.promotion(project, promotion).await {
        Ok(mut states) => states.next().await,
        Err(Error::NotFound(_)) => None,
        Err(other) => return Err(other),
    };
    match known {
        Some(known) => moves(delivery, person, right, project, &known.spec.environment).await,
        None => {
            allowed(person, right, &Target::Project(project))?;
            Err(Error::NotFound(format!("there is no promotion {promotion}")))
        }
    }
}
