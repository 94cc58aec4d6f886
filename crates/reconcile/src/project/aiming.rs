//! Environments are told what they should be.

use super::{View, Work};
use crate::environment::{self, Target};
use crate::removal;
use model::Environment;
use model::journal::EntryKind;
use std::sync::{Arc, PoisonError};

impl Work {
    /// Tells every environment what it should be, if that may be something else than `before`.
    pub(super) fn aim(&self, before: Option<&View>, view: &View) {
        self.inner.routes.expect(&self.handle.name, view.decision.environments.keys().cloned());
        let mut environments = self.handle.environments.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = |name: &Environment| Some(Target::removed(&view.facts, &view.config, name));
        let gone = removal::removed(view).into_iter().map(|name| (name.clone(), removed(&name)));
        let present = view.decision.environments.iter();
        let present = present.filter(|(name, _)| !before.is_some_and(|before| alike(before, view, name)));
        let present = present
            .map(|(name, report)| (name.clone(), Target::of(&view.facts, &view.config, &view.law, name, report)));
        for (name, target) in present.chain(gone) {
            let environment = environments.entry(name.clone()).or_insert_with(|| {
                let handle = Arc::new(environment::Handle::new(&self.handle.name, &name));
                tokio::spawn(environment::run(
                    self.inner.clone(),
                    self.handle.clone(),
                    handle.clone(),
                    self.shutdown.clone(),
                ));
                handle
            });
            environment.aim(target);
        }
    }
}

/// True if everything that an environment's target is made of is as it was.
fn alike(before: &View, view: &View, name: &Environment) -> bool {
    let (old, new) = (&before.facts, &view.facts);
    let told = |view: &View| {
        let counts = |kind| {
            use EntryKind::{Admitted, Checked, Hooked, Removed};
            matches!(kind, Admitted | Checked | Hooked | Removed)
        };
        let of_it = |entry: &&model::journal::Entry| counts(entry.kind) && entry.environment.as_ref() == Some(name);
        view.facts.journal.iter().filter(of_it).count()
    };
    old.head == new.head
        && Arc::ptr_eq(&before.config, &view.config)
        && Arc::ptr_eq(&before.law, &view.law)
        && Arc::ptr_eq(&old.releases, &new.releases)
        && old.builds.same(&new.builds)
        && old.evidence.signed == new.evidence.signed
        && before.decision.environments.get(name) == view.decision.environments.get(name)
        && told(before) == told(view)
}
