//! What calls of other systems wake.

use super::delivery::refusal;
use super::settings::Settings;
use async_trait::async_trait;
use model::Project;
use model::settings::Plain;

#[async_trait]
impl web::Calls for Settings {
    async fn charts_key(&self, project: &Project) -> web::Result<Option<Plain>> {
        self.0.charts_key(project).await.map_err(refusal)
    }

    async fn look_for_charts(&self, project: &Project) {
        self.0.look_for_charts(project);
    }
}
