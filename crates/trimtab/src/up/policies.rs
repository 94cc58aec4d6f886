//! What the HTTP API asks about policies.

use super::delivery::refusal;
use super::settings::Settings;
use async_trait::async_trait;
use model::views::{PolicyResult, PolicyStatus};
use model::{CommitId, Project};
use web::{AddPolicies, TestPolicies};

#[async_trait]
impl web::Policies for Settings {
    async fn policies(&self, project: &Project) -> web::Result<Vec<PolicyStatus>> {
        self.0.policies(project).await.map_err(refusal)
    }

    async fn test_policies(&self, project: &Project, request: TestPolicies) -> web::Result<Vec<PolicyResult>> {
        self.0.test_policies(project, &request.env, &request.files).await.map_err(refusal)
    }

    async fn add_policies(
        &self,
        project: &Project,
        request: AddPolicies,
        actor: &str,
    ) -> web::Result<Option<CommitId>> {
        self.0.add_starter_policies(project, &request.names, actor).await.map_err(refusal)
    }
}
