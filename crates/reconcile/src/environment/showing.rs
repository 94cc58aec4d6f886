//! What others get to see: the outcome and the records of the control API.

use super::{Outcome, Rendered, Target, Work};
use crate::projections;
use model::ports::PortError;
use model::records::Kind;
use model::{DataPlaneName, Digest};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Work {
    /// What went wrong, in the records and for everybody who asks; the last good state stays.
    pub(super) async fn fail(&mut self, error: String, unreachable: Option<DataPlaneName>) {
        tracing::warn!(environment = %self.handle.name, %error, "the environment is not what was admitted");
        let outcome = Outcome {
            error: Some(error),
            unreachable,
            data_plane: self.on.clone(),
            left: self.left.clone(),
            capabilities: self.capabilities.clone(),
            policies: self.broken.clone(),
            ..Outcome::clone(&self.handle.outcome())
        };
        if let Some(target) = self.handle.target()
            && let Err(error) = self.show_environment(&target, &outcome).await
        {
            tracing::warn!(environment = %self.handle.name, %error, "the environment cannot be shown");
        }
        self.publish(outcome);
    }

    pub(crate) fn publish(&self, outcome: Outcome) {
        let mut answers = true;
        let changed = self.handle.outcome.send_if_modified(|current| {
            let changed = **current != outcome;
            answers = current.unreachable == outcome.unreachable;
            if changed {
                *current = Arc::new(outcome);
            }
            changed
        });
        if changed {
            self.project.tick();
        }
        // Movements wait for it.
        if !answers {
            self.project.wake();
        }
    }

    async fn show_environment(&mut self, target: &Target, outcome: &Outcome) -> Result<String, PortError> {
        let (repository, name) = (&target.repository, self.handle.name.to_string());
        let object = projections::environment(repository, &self.handle.name, &target.state, &target.report, outcome);
        self.put(Kind::Environment, &name, object).await?;
        Ok(name)
    }

    async fn put(&mut self, kind: Kind, name: &str, object: Value) -> Result<(), PortError> {
        let digest = Digest::of(object.to_string().as_bytes());
        if self.shown.get(name) != Some(&digest) {
            self.inner.ports.records.apply(kind, &object).await?;
            self.shown.insert(name.to_owned(), digest);
        }
        Ok(())
    }

    /// Shows the environment and its pins in the control API.
    pub(super) async fn show(
        &mut self,
        target: &Target,
        rendered: &[Rendered],
        outcome: &Outcome,
    ) -> Result<(), PortError> {
        let mut shown = BTreeSet::from([self.show_environment(target, outcome).await?]);
        for (one, status) in rendered.iter().zip(&outcome.components) {
            let object =
                projections::deployment(&target.repository, &self.handle.name, &one.pin, &target.commit, status);
            let name = projections::deployment_name(&self.handle.name, &one.pin.build.component);
            self.put(Kind::ComponentDeployment, &name, object).await?;
            shown.insert(name);
        }
        let gone: Vec<String> = self.shown.keys().filter(|name| !shown.contains(*name)).cloned().collect();
        for name in gone {
            let project = &self.handle.scope.project;
            self.inner.ports.records.delete(Kind::ComponentDeployment, project, &name).await?;
            self.shown.remove(&name);
        }
        Ok(())
    }
}
