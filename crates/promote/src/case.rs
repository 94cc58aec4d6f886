//! The facts, prepared: what a decision looks up often, found once.

use crate::facts::Facts;
use crate::gates::Judge;
use crate::history::History;
use jiff::Timestamp;
use model::journal::{Entry, EntryKind};
use model::{Build, BuildId, CommitId, Environment, Promotion};
use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Facts with what is looked up in them.
pub(crate) struct Case<'a> {
    pub facts: &'a Facts,
    histories: BTreeMap<&'a Environment, History<'a>>,
    index: Index<'a>,
    wake: Cell<Option<Timestamp>>,
    newest: OnceCell<Option<CommitId>>,
}

#[derive(Default)]
struct Index<'a> {
    ids: HashSet<&'a str>,
    /// Place of each commit in the log.
    ages: HashMap<&'a CommitId, usize>,
    /// Commits on main that are the effect of a promotion, by its name.
    effects: HashMap<&'a str, &'a CommitId>,
    /// Entries about the health of a build in an environment, with their places.
    health: HashMap<EntryKind, HashMap<&'a Environment, HashMap<&'a BuildId, Vec<(usize, &'a Entry)>>>>,
    /// Approvals, checks, certifications: few, by kind.
    told: HashMap<EntryKind, Vec<&'a Entry>>,
}

impl<'a> Case<'a> {
    pub fn of(facts: &'a Facts) -> Self {
        let mut index = Index::default();
        index.ages.extend(facts.log.iter().enumerate().map(|(age, c)| (&c.id, age)));
        for commit in facts.log.iter().rev() {
            if let Some(id) = commit.trailer(crate::TRAILER_ID) {
                index.effects.insert(id, &commit.id);
            }
        }
        let mut admitted: HashMap<&Environment, Vec<(usize, &Entry)>> = HashMap::new();
        for (place, entry) in facts.journal.iter().enumerate() {
            index.ids.insert(&entry.id);
            match (entry.kind, &entry.environment, &entry.build) {
                (EntryKind::Admitted, Some(environment), _) => {
                    admitted.entry(environment).or_default().push((place, entry));
                }
                (EntryKind::Healthy | EntryKind::Failed, Some(environment), Some(build)) => {
                    let of_kind = index.health.entry(entry.kind).or_default().entry(environment).or_default();
                    of_kind.entry(build).or_default().push((place, entry));
                }
                (EntryKind::Removed, Some(environment), _) => {
                    // One of the same name begins anew.
                    admitted.remove(environment);
                    index.health.values_mut().for_each(|known| drop(known.remove(environment)));
                }
                _ => index.told.entry(entry.kind).or_default().push(entry),
            }
        }
        let history = |environment: &'a Environment| {
            let entries = admitted.get(environment).map(Vec::as_slice).unwrap_or_default();
            (environment, History::of(facts, environment, entries))
        };
        let histories = facts.environments.iter().map(history).collect();
        Self { facts, histories, index, wake: Cell::new(None), newest: OnceCell::new() }
    }

    /// What an environment has been through; of one that the project does not have, nothing.
    pub fn history(&self, environment: &Environment) -> Option<&History<'a>> {
        self.histories.get(environment)
    }

    /// The judge of movements into an environment of the project.
    pub fn judge(&'a self, environment: &'a Environment) -> Option<Judge<'a>> {
        Some(Judge::new(self, environment, self.histories.get(environment)?))
    }

    /// The build of this name.
    pub fn build(&self, id: &BuildId) -> Option<&'a Build> {
        self.facts.build(id)
    }

    /// True if the journal holds an entry of this id.
    pub fn told(&self, id: &str) -> bool {
        self.index.ids.contains(id)
    }

    /// Entries about the health of a build in an environment, oldest first, with their places.
    pub fn health(&self, kind: EntryKind, environment: &Environment, build: &BuildId) -> &[(usize, &'a Entry)] {
        let found = self.index.health.get(&kind).and_then(|known| known.get(environment)?.get(build));
        found.map(Vec::as_slice).unwrap_or_default()
    }

    /// True if the journal says that this build was healthy there.
    pub fn was_healthy(&self, environment: &Environment, build: &BuildId) -> bool {
        !self.health(EntryKind::Healthy, environment, build).is_empty()
    }

    /// Entries of a kind that is neither admission nor health, oldest first.
    pub fn entries(&self, kind: EntryKind) -> &[&'a Entry] {
        self.index.told.get(&kind).map(Vec::as_slice).unwrap_or_default()
    }

    /// The commit on main that is the effect of this promotion.
    pub fn effect(&self, promotion: &'a Promotion) -> Option<&'a CommitId> {
        let known = promotion.status.commit.as_ref().or(promotion.spec.commit.as_ref());
        known.or_else(|| self.index.effects.get(promotion.name.as_str()).copied())
    }

    /// Place of a commit in the log: smaller is newer. What is not in the log is older than everything in it.
    pub fn age(&self, commit: &CommitId) -> usize {
        self.index.ages.get(commit).copied().unwrap_or(usize::MAX)
    }

    /// The newest commit on main that may have changed the configuration of a component.
    pub fn newest_configuration(&self) -> Option<&CommitId> {
        self.newest.get_or_init(|| crate::newest_configuration(self.facts)).as_ref()
    }

    /// Something may be different at this time.
    pub fn look_again(&self, at: Timestamp) {
        if at > self.facts.now && self.wake.get().is_none_or(|earlier| at < earlier) {
            self.wake.set(Some(at));
        }
    }

    /// The earliest time at which something may be different though nothing happens.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.wake.get()
    }
}
