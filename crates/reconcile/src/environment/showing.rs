//! What others get to see: the outcome and the records of the control API.

use super::{Outcome, Rendered, Target, Work};
use crate::projections;
use model::DataPlaneName;
use model::ports::PortError;
use model::records::Kind;
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

    pub(crate) fn publish(&self, outcome: impl Into<Arc<Outcome>>) {
        let outcome = outcome.into();
        let mut answers = true;
        let changed = self.handle.outcome.send_if_modified(|current| {
            let changed = **current != *outcome;
            answers = current.unreachable == outcome.unreachable;
            if changed {
                *current = outcome;
            }
            changed
        });
        if changed {
            self.project.tick();
        }
        // Movements wait for it.
        if !answers {
            self.project.told();
        }
    }

    async fn show_environment(&mut self, target: &Target, outcome: &Outcome) -> Result<(), PortError> {
        let repository = &target.repository;
        let object = projections::environment(repository, &self.handle.name, &target.state, &target.report, outcome);
        self.shown.put(&*self.inner.ports.records, Kind::Environment, &object).await
    }

    /// Shows the environment and its pins in the control API.
    pub(super) async fn show(
        &mut self,
        target: &Target,
        rendered: &[Rendered],
        outcome: &Outcome,
    ) -> Result<(), PortError> {
        self.show_environment(target, outcome).await?;
        let (records, mut names) = (&*self.inner.ports.records, BTreeSet::new());
        for (one, status) in rendered.iter().zip(&outcome.components) {
            let object =
                projections::deployment(&target.repository, &self.handle.name, &one.pin, &target.commit, status);
            self.shown.put(records, Kind::ComponentDeployment, &object).await?;
            names.insert(projections::deployment_name(&self.handle.name, &one.pin.build.component));
        }
        self.shown.keep_only(records, &self.handle.scope.project, Kind::ComponentDeployment, &names).await
    }
}
