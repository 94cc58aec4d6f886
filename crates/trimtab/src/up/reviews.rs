//! What the HTTP API asks about Changes.

use super::delivery::{Delivery, refusal};
use async_trait::async_trait;
use model::change::{ChangeDetail, ChangeSummary, Check, Comment, NewCheck, NewComment};
use model::journal::Entry;
use model::{Change, Person, Project};

#[async_trait]
impl web::Reviews for Delivery {
    async fn all_changes(&self, project: &Project, closed: usize) -> web::Result<Vec<ChangeSummary>> {
        self.reconciler.all_changes(project, closed).await.map_err(refusal)
    }

    async fn change(&self, project: &Project, number: u64) -> web::Result<ChangeDetail> {
        self.reconciler.change(project, number).await.map_err(refusal)
    }

    async fn approve_change(
        &self,
        project: &Project,
        number: u64,
        reason: &str,
        person: &Person,
    ) -> web::Result<Entry> {
        // Rules name people or what they are, as with promotions.
        let roles: Vec<String> = person.roles(project).iter().map(ToString::to_string).collect();
        self.reconciler.approve_change(project, number, &person.name, &roles, reason).await.map_err(refusal)
    }

    async fn comment_change(
        &self,
        project: &Project,
        number: u64,
        said: NewComment,
        actor: &str,
    ) -> web::Result<Comment> {
        self.reconciler.comment(project, number, said, actor).await.map_err(refusal)
    }

    async fn check_change(&self, project: &Project, number: u64, found: NewCheck, actor: &str) -> web::Result<Check> {
        self.reconciler.check_change(project, number, found, actor).await.map_err(refusal)
    }

    async fn merge_change(&self, project: &Project, number: u64, person: &Person) -> web::Result<Change> {
        self.reconciler.merge(project, number, person).await.map_err(refusal)
    }

    async fn abandon_change(
        &self,
        project: &Project,
        number: u64,
        reason: &str,
        person: &Person,
    ) -> web::Result<Change> {
        self.reconciler.abandon(project, number, person, reason).await.map_err(refusal)
    }
}
