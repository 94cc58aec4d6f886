//! What an environment has been through, as the journal's `admitted` entries tell it.

use crate::facts::Facts;
use crate::state::{Delta, State};
use jiff::Timestamp;
use model::journal::{Entry, detail};
use model::rules::Seconds;
use model::{BuildId, CommitId, Component, Environment, Pin};
use std::collections::BTreeMap;

/// What was rolled back is not taken by itself for so long, unless the request says otherwise.
pub(crate) const QUARANTINE: Seconds = Seconds(30 * 86_400);

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

/// Why a build is not taken by itself, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quarantine<'a> {
    pub until: Timestamp,
    /// In the words of who went back; may be empty.
    pub reason: &'a str,
}

/// A movement that somebody went back from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Undone<'a> {
    /// `None`: the component was not there.
    pub before: Option<&'a Pin>,
    pub after: &'a Pin,
    pub quarantine: Quarantine<'a>,
}

impl Undone<'_> {
    /// True if the build stayed and only its configuration moved.
    pub fn moved_alone(&self) -> bool {
        self.before.is_some_and(|before| before.build == self.after.build)
    }
}

/// What an environment has been through.
#[derive(Debug, Clone)]
pub(crate) struct History<'a> {
    /// Admissions, oldest first.
    pub steps: Vec<Step<'a>>,
    /// Per component the movements that were not undone, latest last.
    pub moves: BTreeMap<&'a Component, Vec<Move<'a>>>,
    /// Builds that somebody went back from, that nobody put back since, and whose time is not over.
    pub quarantined: BTreeMap<&'a BuildId, Quarantine<'a>>,
    /// Movements that somebody went back from, that nobody made again since, and whose time is not over.
    pub undone: Vec<Undone<'a>>,
}

impl<'a> History<'a> {
    /// `admitted`: the environment's entries of that kind with their places.
    pub fn of(facts: &'a Facts, environment: &'a Environment, admitted: &[(usize, &'a Entry)]) -> Self {
        let step = |(place, entry): &(usize, &'a Entry)| {
            let commit = entry.commit.as_ref()?;
            let state = facts.state(commit, environment)?.as_ref().ok()?;
            Some(Step { place: *place, entry, commit, state })
        };
        Self::replayed(admitted.iter().filter_map(step).collect(), facts.now)
    }

    /// Only the first so many admissions.
    pub fn upto(&self, count: usize, now: Timestamp) -> Self {
        Self::replayed(self.steps[..count].to_vec(), now)
    }

    fn replayed(steps: Vec<Step<'a>>, now: Timestamp) -> Self {
        let mut history = Self { steps, moves: BTreeMap::new(), quarantined: BTreeMap::new(), undone: Vec::new() };
        for index in 0..history.steps.len() {
            for (component, before, after) in history.changes(index).pins {
                history.replay(component, Move { step: index, before, after });
            }
        }
        history.quarantined.retain(|_, quarantine| quarantine.until > now);
        history.undone.retain(|undone| undone.quarantine.until > now);
        history
    }

    /// The admitted state.
    pub fn last(&self) -> Option<&Step<'a>> {
        self.steps.last()
    }

    /// The admitted state itself.
    pub fn state(&self) -> Option<&'a State> {
        self.last().map(|step| step.state)
    }

    /// The pin that is admitted for a component.
    pub fn pin(&self, component: &Component) -> Option<&'a Pin> {
        self.last().and_then(|step| step.state.pins.get(component))
    }

    /// What a step changed.
    pub fn changes(&self, step: usize) -> Delta<'a> {
        let before = step.checked_sub(1).map(|previous| self.steps[previous].state);
        Delta::between(before, self.steps[step].state)
    }

    /// True if exactly this pin was admitted here once.
    pub fn stood(&self, component: &Component, pin: &Pin) -> bool {
        self.steps.iter().any(|s| s.state.pins.get(component) == Some(pin))
    }

    /// Stretches of admissions during which a component had such a pin: first step, and the step that ended it.
    pub fn stretches(&self, component: &Component, such: impl Fn(&Pin) -> bool) -> Vec<(usize, Option<usize>)> {
        let mut found: Vec<(usize, Option<usize>)> = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let there = step.state.pins.get(component).is_some_and(&such);
            match found.last_mut() {
                Some((_, end @ None)) if !there => *end = Some(index),
                Some((_, None)) => {}
                _ if there => found.push((index, None)),
                _ => {}
            }
        }
        found
    }

    /// Going back to where a movement began undoes it and all that came after it.
    fn replay(&mut self, component: &'a Component, next: Move<'a>) {
        let entry = self.steps[next.step].entry;
        let moves = self.moves.entry(component).or_default();
        match moves.iter().rposition(|m| m.before == next.after && m.before.is_some()) {
            Some(undone) => {
                let told = entry.detail(detail::QUARANTINE).and_then(|text| text.parse().ok());
                let until = told.or_else(|| entry.at.checked_add(QUARANTINE.duration()).ok());
                let quarantine = Quarantine { until: until.unwrap_or(Timestamp::MAX), reason: &entry.reason };
                let left = moves.drain(undone..).filter_map(|m| Some((m.before, m.after?)));
                let left: Vec<_> = left.map(|(before, after)| Undone { before, after, quarantine }).collect();
                self.quarantined.extend(left.iter().map(|undone| (&undone.after.build, quarantine)));
                self.undone.extend(left);
            }
            None => moves.push(next),
        }
        if let Some(pin) = next.after {
            self.quarantined.remove(&pin.build);
            self.undone.retain(|undone| undone.after != pin);
        }
    }
}
