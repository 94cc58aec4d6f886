//! What people say of a movement, with the right that each word needs: the API and the pages ask here alike.

use crate::people::moves;
use crate::service::{Certify, Delivery, Error, Result};
use futures::StreamExt;
use model::journal::Entry;
use model::people::{Person, Right};
use model::{Environment, Project, Version};

pub async fn approve(
    delivery: &dyn Delivery,
    person: &Person,
    project: &Project,
    promotion: &str,
    reason: &str,
) -> Result<Entry> {
    let environment = destination(delivery, project, promotion).await?;
    moves(delivery, person, Right::Approve, project, &environment).await?;
    delivery.approve(project, promotion, reason, person).await
}

pub async fn cancel(
    delivery: &dyn Delivery,
    person: &Person,
    project: &Project,
    promotion: &str,
    reason: &str,
) -> Result<Entry> {
    let environment = destination(delivery, project, promotion).await?;
    moves(delivery, person, Right::Promote, project, &environment).await?;
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

async fn destination(delivery: &dyn Delivery, project: &Project, promotion: &str) -> Result<Environment> {
    let known = delivery.promotion(project, promotion).await?.next().await;
    let known = known.ok_or_else(|| Error::NotFound(format!("there is no promotion {promotion}")))?;
    Ok(known.spec.environment)
}
