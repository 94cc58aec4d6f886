//! Policies and signatures.

use super::{Ask, Judge, gate};
use crate::state::{Delta, State};
use model::CommitId;
use model::Pin;
use model::policy::PolicyAction;
use model::records::{Class, Gate, GateName, GateState};
use model::views::PolicyResult;

/// Unsigned commits that are named each.
const NAMED_MAX: usize = 5;

impl<'a> Judge<'a> {
    /// What a movement breaks, each once.
    pub fn broken(&self, delta: &Delta<'_>, target: &State, ask: &Ask<'_>) -> Vec<&'a PolicyResult> {
        let mut broken: Vec<&'a PolicyResult> = Vec::new();
        for pin in delta.pins.iter().filter_map(|(_, _, after)| *after) {
            let key = (self.environment.clone(), (pin.build.clone(), pin.config.clone()));
            let release = target.file.release.as_ref().filter(|_| target.base.get(&pin.build.component) == Some(pin));
            let found = self.facts.evidence.findings.get(&key).into_iter().flat_map(|found| found.iter());
            let counts = found.filter(|one| {
                one.actor.as_ref().is_none_or(|actor| ask.by.contains(actor.as_str()))
                    && one.release.as_ref().is_none_or(|wanted| wanted.as_ref() == release)
            });
            broken.extend(counts.map(|one| &one.result));
        }
        broken.sort();
        broken.dedup();
        broken
    }

    /// Policies: one gate for each that is broken, or one that says that none is. `back`: nothing needs approval then.
    pub fn policies(&self, delta: &Delta<'_>, target: &State, ask: &Ask<'_>, back: bool) -> Vec<Gate> {
        if !self.facts.evidence.ruled.contains(self.environment) {
            return Vec::new();
        }
        let broken = self.broken(delta, target, ask);
        let one = |result: &&PolicyResult| match result.action {
            PolicyAction::Warn => gate(GateName::Policy, GateState::Open, format!("warning: {result}")),
            PolicyAction::RequireApproval => {
                gate(GateName::Policy, GateState::Open, format!("asks for an approval: {result}"))
            }
            PolicyAction::Deny => {
                // Policies and what they judge may change: what asks for itself waits for that.
                let waits = matches!(ask.class, None | Some(Class::Auto | Class::Commit | Class::Secret));
                let state = if waits { GateState::Waiting } else { GateState::Closed };
                gate(GateName::Policy, state, format!("denied by {result}"))
            }
        };
        let told = broken.iter().filter(|result| !(back && result.action == PolicyAction::RequireApproval));
        let mut gates: Vec<Gate> = told.map(one).collect();
        if gates.is_empty() {
            gates.push(gate(GateName::Policy, GateState::Open, "no policy is broken".to_owned()));
        }
        gates
    }

    /// The policies that ask for an approval of a movement.
    pub fn asking(&self, delta: &Delta<'_>, target: &State, ask: &Ask<'_>) -> Vec<&'a PolicyResult> {
        let mut broken = self.broken(delta, target, ask);
        broken.retain(|result| result.action == PolicyAction::RequireApproval);
        broken
    }

    /// Signatures, of what pins bring.
    pub fn signatures(&self, delta: &Delta<'_>, target: &State) -> Option<Gate> {
        let evidence = &self.facts.evidence;
        if !evidence.guarded.contains(self.environment) {
            return None;
        }
        let lacking = |pin: &Pin| {
            let key = (self.environment.clone(), (pin.build.clone(), pin.config.clone()));
            evidence.unsigned.get(&key).map(|found| found.to_vec()).unwrap_or_default()
        };
        let mut lacks: Vec<String> = delta.pins.iter().filter_map(|(_, _, after)| *after).flat_map(lacking).collect();
        if let Some(version) = delta.release.and(target.file.release.as_ref()) {
            lacks.extend(evidence.unsigned_tags.get(&(self.environment.clone(), version.clone())).cloned());
        }
        Some(signed(lacks))
    }

    /// Signatures, of a commit on main by hand.
    pub fn signature(&self, commit: &CommitId) -> Option<Gate> {
        let evidence = &self.facts.evidence;
        let lack = evidence.unsigned_commits.get(&(self.environment.clone(), commit.clone()))?;
        Some(signed(vec![lack.clone()]))
    }
}

fn signed(mut lacks: Vec<String>) -> Gate {
    lacks.sort();
    lacks.dedup();
    if lacks.is_empty() {
        return gate(GateName::Signed, GateState::Open, "everything in it is signed".to_owned());
    }
    let more = lacks.len().saturating_sub(NAMED_MAX);
    lacks.truncate(NAMED_MAX);
    let mut message = lacks.join("; ");
    if more > 0 {
        message.push_str(&format!("; and {more} more"));
    }
    gate(GateName::Signed, GateState::Waiting, message)
}
