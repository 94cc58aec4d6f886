//! What goes back by itself because it did not become healthy.

use super::{Action, Round};
use crate::phase::covering;
use model::Promotion;
use model::config::OnFailure;
use model::records::{Class, PromotionPhase, PromotionSpec, PromotionStatus};

impl Round<'_> {
    /// The latest movement failed: a release goes back as a set, a build if the rule says so. What went back is not
    /// taken back again, and nothing goes back behind a person's newer request.
    pub(super) fn verify(&mut self) {
        let (facts, environment, history) = (self.judge.facts, self.judge.environment, self.judge.history);
        let Some(last) = history.steps.len().checked_sub(1) else { return };
        let rule = &history.steps[last].state.file.promotion;
        let moved = (0..=last).rev().find(|step| !history.changes(*step).is_empty());
        let of_it = |p: &&Promotion| p.spec.environment == *environment;
        let failed = facts.promotions.iter().filter(of_it).find(|p| {
            p.status.phase == PromotionPhase::Failed
                && p.status.commit.is_some()
                && matches!(p.spec.class, Class::Auto | Class::Promote | Class::Commit)
                && covering(self.judge, p).is_some_and(|step| Some(step) == moved)
        });
        let Some(failed) = failed else { return };
        let release = moved.and_then(|step| history.changes(step).release);
        let set = release.is_some_and(|(before, after)| before.is_some() && after.is_some());
        let name = format!("{environment}-undo-{}", failed.name);
        let open = facts.promotions.iter().filter(of_it).any(|p| !p.status.phase.is_final());
        let known = facts.promotions.iter().any(|p| p.name == name);
        if !(set || rule.on_failure == OnFailure::Rollback) || known || open || self.judge.suspended {
            return;
        }
        let spec = PromotionSpec {
            component: failed.spec.component.clone().filter(|_| !set),
            reason: format!("{} did not become healthy: {}", failed.status.change, first_line(&failed.status.message)),
            ..PromotionSpec::new(&facts.project, environment, Class::Rollback, crate::ACTOR, facts.now)
        };
        self.actions.push(Action::Create(Promotion { name, spec, status: PromotionStatus::default() }));
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
