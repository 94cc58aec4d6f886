//! What a decision tells the journal.

use super::{Action, Round};
use crate::revisions;
use crate::state::Delta;
use model::Promotion;
use model::journal::{Entry, EntryKind, detail};
use model::ports::Commit;
use model::records::Class;

impl Round<'_> {
    pub(super) fn admitted(
        &self,
        commit: &Commit,
        promotion: Option<&Promotion>,
        delta: &Delta<'_>,
        what: &str,
    ) -> Entry {
        let mut entry = self.plain(EntryKind::Admitted, self.id(EntryKind::Admitted, commit));
        entry.actor = promotion.map_or_else(|| commit.author.clone(), |p| p.spec.requested_by.clone());
        entry.commit = Some(commit.id.clone());
        entry.summary = format!("{}: {what}", self.judge.environment);
        if let Some((_, Some(version))) = delta.release {
            entry.details.insert(detail::RELEASE.to_owned(), version.to_string());
        }
        let before = revisions::revisions(self.judge.facts, self.judge.environment, None);
        let revisions = revisions::next(before, delta);
        if !revisions.is_empty() {
            entry.details.insert(detail::REVISIONS.to_owned(), revisions::text(&revisions));
        }
        let Some(promotion) = promotion else { return entry };
        let spec = &promotion.spec;
        entry.component.clone_from(&spec.component);
        entry.build.clone_from(&spec.build);
        entry.promotion = Some(promotion.name.clone());
        entry.reason.clone_from(&spec.reason);
        if let Some(change) = spec.change_ref.as_deref().or_else(|| commit.trailer(crate::TRAILER_CHANGE)) {
            entry.details.insert(detail::CHANGE.to_owned(), change.to_owned());
        }
        if let Some(until) = (spec.class == Class::Rollback).then(|| self.quarantine(promotion)).flatten() {
            entry.details.insert(detail::QUARANTINE.to_owned(), until.to_string());
        }
        entry
    }

    /// Until when what a rollback leaves is not taken by itself.
    pub(super) fn quarantine(&self, promotion: &Promotion) -> Option<jiff::Timestamp> {
        let length = promotion.spec.quarantine.unwrap_or(crate::history::QUARANTINE);
        promotion.spec.created.checked_add(length.duration()).ok()
    }

    pub(super) fn about(&self, kind: EntryKind, commit: &Commit, promotion: &Promotion, change: &str) -> Entry {
        let mut entry = self.plain(kind, self.id(kind, commit));
        entry.actor.clone_from(&commit.author);
        entry.component.clone_from(&promotion.spec.component);
        entry.build.clone_from(&promotion.spec.build);
        entry.commit = Some(commit.id.clone());
        entry.promotion = Some(promotion.name.clone());
        entry.summary = format!("{}: {change} is held", self.judge.environment);
        entry
    }

    /// About a request that has no commit.
    pub(super) fn of_request(&self, kind: EntryKind, promotion: &Promotion, what: &str, why: &str) -> Entry {
        let mut entry = self.plain(kind, format!("{kind}-{}", promotion.name));
        entry.actor.clone_from(&promotion.spec.requested_by);
        entry.component.clone_from(&promotion.spec.component);
        entry.build.clone_from(&promotion.spec.build);
        entry.promotion = Some(promotion.name.clone());
        entry.summary = format!("{}: {what}", self.judge.environment);
        entry.reason = why.to_owned();
        entry
    }

    fn id(&self, kind: EntryKind, commit: &Commit) -> String {
        format!("{kind}-{}-{}", self.judge.environment, &commit.id.as_str()[..12])
    }

    pub(super) fn plain(&self, kind: EntryKind, id: String) -> Entry {
        let mut entry = Entry::new(kind, id, self.judge.facts.now, crate::ACTOR);
        entry.environment = Some(self.judge.environment.clone());
        entry
    }

    pub(super) fn journal(&mut self, entry: Entry) {
        if !self.judge.case.told(&entry.id) {
            self.actions.push(Action::Journal(entry));
        }
    }
}
