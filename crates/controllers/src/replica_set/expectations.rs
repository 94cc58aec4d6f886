//! Writes that the cache does not show yet. Until it does, a ReplicaSet counts no Pods: it would make too many.

use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

/// After this long the cache is believed again, whatever it was to show.
pub(crate) const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// By uid of the ReplicaSet, so that a namesake begins anew; only of those that wait for something.
#[derive(Default)]
pub(crate) struct Expectations(Mutex<HashMap<String, Expected>>);

struct Expected {
    creations: usize,
    /// Uids of Pods.
    deletions: HashSet<String>,
    since: Timestamp,
}

impl Expected {
    fn is_met(&self) -> bool {
        self.creations == 0 && self.deletions.is_empty()
    }
}

impl Expectations {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Expected>> {
        self.0.lock().expect("no panic happens while the expectations are locked")
    }

    /// True if the cache shows all that was written.
    pub(crate) fn are_met(&self, owner: &str, now: Timestamp) -> bool {
        let all = self.lock();
        all.get(owner).is_none_or(|expected| expected.is_met() || now.duration_since(expected.since) > PATIENCE)
    }

    /// Before Pods are written, so that no event can come too early.
    pub(crate) fn expect(&self, owner: &str, creations: usize, deletions: HashSet<String>, now: Timestamp) {
        self.lock().insert(owner.to_owned(), Expected { creations, deletions, since: now });
    }

    /// One Pod was seen, or could not be created.
    pub(crate) fn created(&self, owner: &str) {
        self.change(owner, |expected| expected.creations = expected.creations.saturating_sub(1));
    }

    /// One Pod is seen to be on its way out, or could not be deleted.
    pub(crate) fn deleted(&self, owner: &str, pod: &str) {
        self.change(owner, |expected| {
            expected.deletions.remove(pod);
        });
    }

    fn change(&self, owner: &str, change: impl FnOnce(&mut Expected)) {
        let mut all = self.lock();
        let Some(expected) = all.get_mut(owner) else { return };
        change(expected);
        if expected.is_met() {
            all.remove(owner);
        }
    }

    pub(crate) fn forget(&self, owner: &str) {
        self.lock().remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_met_when_every_write_is_seen_or_after_a_long_time() {
        let (expectations, now) = (Expectations::default(), Timestamp::UNIX_EPOCH);
        assert!(expectations.are_met("set", now));
        expectations.expect("set", 2, ["pod".to_owned()].into(), now);
        expectations.created("set");
        expectations.created("set");
        assert!(!expectations.are_met("set", now));
        expectations.deleted("set", "another");
        assert!(!expectations.are_met("set", now));
        expectations.deleted("set", "pod");
        assert!(expectations.are_met("set", now));
        assert!(expectations.lock().is_empty(), "what is met is remembered");

        expectations.expect("set", 1, HashSet::new(), now);
        assert!(!expectations.are_met("set", now + PATIENCE));
        assert!(expectations.are_met("set", now + PATIENCE + SignedDuration::from_secs(1)));
    }
}
