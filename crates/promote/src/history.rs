//! What an environment has been through, as the journal's `admitted` entries tell it.

use crate::facts::{Facts, State, admitted};
use model::journal::Entry;
use model::{BuildId, CommitId, Component, Environment, Pin};
use std::collections::{BTreeMap, BTreeSet};

/// One admission.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'a> {
    /// Place of its entry in the journal.
    pub place: usize,
    /// Its entry.
    pub entry: &'a Entry,
    /// What was admitted.
    pub commit: &'a CommitId,
    /// And what stood there.
    pub state: &'a State,
}

/// One movement of a component that was not undone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move<'a> {
    /// The step that made it.
    pub step: usize,
    /// `None`: the component was not there.
    pub before: Option<&'a Pin>,
    /// `None`: the component was removed.
    pub after: Option<&'a Pin>,
}

/// What an environment has been through.
#[derive(Debug)]
pub(crate) struct History<'a> {
    /// Admissions, oldest first.
    pub steps: Vec<Step<'a>>,
    /// Per component the movements that were not undone, latest last.
    pub moves: BTreeMap<&'a Component, Vec<Move<'a>>>,
    /// Builds that somebody went back from, and that nobody put back since.
    pub quarantined: BTreeSet<&'a BuildId>,
    /// Movements (before, after) that somebody went back from, and that nobody made again since.
    pub undone: Vec<(Option<&'a Pin>, &'a Pin)>,
}

impl<'a> History<'a> {
    pub fn of(facts: &'a Facts, environment: &'a Environment) -> Self {
        Self::upto(facts, environment, usize::MAX)
    }

    /// Only the first so many admissions.
    pub fn upto(facts: &'a Facts, environment: &'a Environment, count: usize) -> Self {
        let step = |(place, entry): (usize, &'a Entry)| {
            let commit = entry.commit.as_ref()?;
            let state = facts.state(commit, environment)?.as_ref().ok()?;
            Some(Step { place, entry, commit, state })
        };
        let steps: Vec<Step<'a>> = admitted(&facts.journal, environment).filter_map(step).take(count).collect();
        let mut history = Self { steps, moves: BTreeMap::new(), quarantined: BTreeSet::new(), undone: Vec::new() };
        for index in 0..history.steps.len() {
            for (component, before, after) in history.changes(index) {
                history.replay(component, Move { step: index, before, after });
            }
        }
        history
    }

    /// The admitted state.
    pub fn last(&self) -> Option<&Step<'a>> {
        self.steps.last()
    }

    /// The pin that is admitted for a component.
    pub fn pin(&self, component: &Component) -> Option<&'a Pin> {
        self.last().and_then(|step| step.state.pins.get(component))
    }

    /// Which pins a step changed: component, before, after.
    pub fn changes(&self, step: usize) -> Vec<(&'a Component, Option<&'a Pin>, Option<&'a Pin>)> {
        let before = step.checked_sub(1).map(|previous| self.steps[previous].state);
        changes(before, self.steps[step].state)
    }

    /// Going back to where a movement began undoes it and all that came after it.
    fn replay(&mut self, component: &'a Component, next: Move<'a>) {
        let moves = self.moves.entry(component).or_default();
        match moves.iter().rposition(|m| m.before == next.after && m.before.is_some()) {
            Some(undone) => {
                let undone: Vec<_> = moves.drain(undone..).filter_map(|m| Some((m.before, m.after?))).collect();
                self.quarantined.extend(undone.iter().map(|(_, pin)| &pin.build));
                self.undone.extend(undone);
            }
            None => moves.push(next),
        }
        if let Some(pin) = next.after {
            self.quarantined.remove(&pin.build);
            self.undone.retain(|(_, after)| *after != pin);
        }
    }
}

/// Which pins differ: component, before, after.
pub(crate) fn changes<'s>(
    before: Option<&'s State>,
    after: &'s State,
) -> Vec<(&'s Component, Option<&'s Pin>, Option<&'s Pin>)> {
    let old = |component: &Component| before.and_then(|s| s.pins.get(component));
    let names: BTreeSet<&Component> = before.iter().flat_map(|s| s.pins.keys()).chain(after.pins.keys()).collect();
    names.into_iter().map(|c| (c, old(c), after.pins.get(c))).filter(|(_, b, a)| b != a).collect()
}
