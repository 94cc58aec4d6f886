//! What somebody who pushed for review is told.

use super::checks::BUILD;
use super::find;
use crate::Reconciler;
use model::Project;
use model::change::{ChangeState, CheckState};
use model::ports::Lines;
use std::time::Duration;

/// A build is followed for so long; it goes on regardless.
const FOLLOW: Duration = Duration::from_secs(3600);

impl Reconciler {
    /// The plan per environment, and what keeps the Change from being merged. Of an application repository, when it is built.
    pub(crate) async fn tell_of(&self, project: &Project, number: u64, lines: &dyn Lines) {
        if tokio::time::timeout(FOLLOW, self.built(project, number, lines)).await.is_err() {
            lines.line("its build is still on its way");
        }
        match self.change(project, number).await {
            Ok(detail) => {
                for line in detail.plans.iter().flat_map(model::change::EnvironmentPlan::lines) {
                    lines.line(&line);
                }
                for why in &detail.summary.blocked {
                    lines.line(&format!("blocked: {why}"));
                }
                if detail.summary.blocked.is_empty() {
                    lines.line(&format!("nothing blocks it: trimtab change merge {number}"));
                }
            }
            Err(refusal) => {
                lines.line(&refusal.to_string());
            }
        }
    }

    /// Returns when the check of the last patch set has ended, if there is to be one.
    async fn built(&self, project: &Project, number: u64, lines: &dyn Lines) {
        let Some(handle) = self.project(project) else { return };
        let mut ticks = handle.ticks();
        loop {
            ticks.borrow_and_update();
            let Ok(change) = find(&self.0, project, number).await else { return };
            if change.spec.repository.is_config() || change.status.state != ChangeState::Open {
                return;
            }
            match change.status.checks.iter().find(|check| check.name == BUILD) {
                Some(check) if check.state == CheckState::Passed => {
                    lines.line("✔ build");
                    return;
                }
                Some(check) if check.state == CheckState::Failed => {
                    lines.line("✘ build failed");
                    for line in check.message.lines() {
                        lines.line(line);
                    }
                    return;
                }
                _ => {}
            }
            if ticks.changed().await.is_err() {
                return;
            }
        }
    }
}
