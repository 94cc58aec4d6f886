//! What becomes of what stands on main.

use super::{Action, Round, free_name};
use crate::gates::{all_open, reason};
use crate::phase::{covering, outcome};
use crate::state::{Delta, State};
use model::Promotion;
use model::journal::EntryKind;
use model::ports::Commit;
use model::records::{Class, Gate, PromotionPhase, PromotionSpec, PromotionStatus};
use model::views::Held;

/// What becomes of what stands on main.
pub(super) struct Admission<'a> {
    /// May be admitted.
    pub admit: Option<(&'a Commit, &'a State)>,
    /// May not.
    pub held: Option<HeldBack<'a>>,
}

/// A state on main that may not be admitted.
pub(super) struct HeldBack<'a> {
    pub commit: &'a Commit,
    pub state: &'a State,
    pub gates: Vec<Gate>,
}

impl<'a> Round<'a> {
    /// The newest state on main that may be admitted, and the newest that may not.
    pub(super) fn admission(&self) -> Admission<'a> {
        let mut admission = Admission { admit: None, held: None };
        for (commit, state, ask) in self.judge.candidates() {
            let gates = self.judge.state(&commit.id, state, &ask);
            if all_open(&gates) {
                admission.admit = Some((commit, state));
                break;
            }
            admission.held.get_or_insert(HeldBack { commit, state, gates });
        }
        admission
    }

    /// What would move if a state were admitted.
    fn delta<'s>(&self, state: &'s State) -> Delta<'s>
    where
        'a: 's,
    {
        Delta::between(self.judge.history.state(), state)
    }

    pub(super) fn held(&self, held: &HeldBack<'_>) -> Held {
        let delta = self.delta(held.state);
        Held {
            commit: held.commit.id.clone(),
            author: held.commit.author.clone(),
            change: delta.text(),
            components: delta.components().cloned().collect(),
            gates: held.gates.clone(),
            reason: reason(&held.gates),
        }
    }

    /// Intent first, then the journal.
    pub(super) fn admit(&mut self, admission: &Admission<'a>) {
        if let Some(HeldBack { commit, state, gates }) = &admission.held {
            let change = self.delta(state).text();
            if let Some(promotion) = self.intent(commit, state) {
                let mut entry = self.about(EntryKind::Held, commit, promotion, &change);
                entry.reason = reason(gates);
                self.journal(entry);
                let status = PromotionStatus {
                    phase: PromotionPhase::Waiting,
                    gates: gates.clone(),
                    change,
                    commit: Some(commit.id.clone()),
                    message: reason(gates),
                    finished: None,
                };
                self.update(promotion, status);
            }
        }
        let Some((commit, state)) = admission.admit else { return };
        let delta = self.delta(state);
        if delta.is_empty() && delta.secrets.is_empty() {
            let subject = commit.subject.trim_start_matches(&format!("{}: ", self.judge.environment));
            let entry = self.admitted(commit, None, &delta, subject);
            return self.journal(entry);
        }
        if let Some(promotion) = self.intent(commit, state) {
            let entry = self.admitted(commit, Some(promotion), &delta, &delta.text());
            self.journal(entry);
        }
    }

    /// The promotion that a commit on main belongs to. A commit by hand gets one.
    fn intent(&mut self, commit: &Commit, state: &State) -> Option<&'a Promotion> {
        let (facts, environment) = (self.judge.facts, self.judge.environment);
        let belongs = |p: &&Promotion| {
            p.spec.environment == *environment
                && !p.status.phase.is_final()
                && self.judge.case.effect(p) == Some(&commit.id)
        };
        let found = facts.promotions.iter().find(belongs);
        if found.is_none() {
            let delta = Delta::between(self.judge.history.state(), state);
            let single = (delta.pins.len() == 1 && delta.release.is_none()).then(|| delta.pins[0]);
            let class = if delta.is_empty() { Class::Secret } else { Class::Commit };
            let spec = PromotionSpec {
                component: single.map(|(component, _, _)| component.clone()),
                build: single.and_then(|(_, _, after)| after).map(|pin| pin.build.clone()),
                release: delta.release.and_then(|(_, after)| after).cloned(),
                change_ref: commit.trailer(crate::TRAILER_CHANGE).map(str::to_owned),
                commit: Some(commit.id.clone()),
                reason: commit.subject.clone(),
                ..PromotionSpec::new(&facts.project, environment, class, &commit.author, facts.now)
            };
            let name = free_name(facts, &format!("{environment}-commit-{}", commit.id.short()));
            self.actions.push(Action::Create(Promotion { name, spec, status: PromotionStatus::default() }));
        }
        found
    }

    /// Commits by hand whose state main has left, and those that are admitted.
    pub(super) fn commits_by_hand(&mut self, admission: &Admission<'a>) {
        let current = [admission.admit.map(|(c, _)| &c.id), admission.held.as_ref().map(|held| &held.commit.id)];
        for promotion in self.open().into_iter().filter(|p| p.spec.class.is_commit()) {
            let Some(commit) = promotion.spec.commit.as_ref() else { continue };
            if self.settle(promotion) || current.contains(&Some(commit)) {
                continue;
            }
            let message = "main moved on before it could be admitted".to_owned();
            self.finish(promotion, PromotionPhase::Superseded, message);
        }
    }

    /// If it was admitted: what became of it. True if so.
    pub(super) fn settle(&mut self, promotion: &'a Promotion) -> bool {
        let Some(step) = covering(self.judge, promotion) else { return false };
        if promotion.spec.class == Class::Rollback {
            let history = self.judge.history;
            let what = format!("rolled back {}", history.changes(step).text());
            let mut entry = self.of_request(EntryKind::RolledBack, promotion, &what, &promotion.spec.reason);
            entry.commit = Some(history.steps[step].commit.clone());
            (entry.component, entry.build) = (None, None);
            self.journal(entry);
        }
        self.update(promotion, outcome(self.judge, promotion, step));
        true
    }
}
