//! What environments have of others, and environments that the project has no more.

use crate::project::View;
use model::journal::EntryKind;
use model::{CommitId, Environment, EnvironmentFile};
use promote::Facts;
use std::collections::BTreeMap;

/// What differs per component: its own, else that of the environment that it is like, and so on.
pub fn inherit(facts: &Facts, commit: &CommitId, file: &mut EnvironmentFile) {
    let mut next = file.like.clone();
    // Each environment once at most: a circle was refused when it was read.
    for _ in 0..facts.environments.len() {
        let Some(state) = next.as_ref().and_then(|name| facts.state(commit, name)?.as_ref().ok()) else { return };
        for (component, theirs) in &state.file.overrides {
            let own = file.overrides.entry(component.clone()).or_default();
            own.replicas = own.replicas.or(theirs.replicas);
            for (key, value) in &theirs.env {
                own.env.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        next.clone_from(&state.file.like);
    }
}

/// Environments that were admitted once, that the project has no more, and of which something may still stand.
pub fn removed(view: &View) -> Vec<Environment> {
    let Ok(project) = &view.config.project else { return Vec::new() };
    let mut known: BTreeMap<&Environment, bool> = BTreeMap::new();
    for entry in &view.facts.journal {
        match (entry.kind, &entry.environment) {
            (EntryKind::Admitted, Some(environment)) => drop(known.insert(environment, true)),
            (EntryKind::Removed, Some(environment)) => drop(known.insert(environment, false)),
            _ => {}
        }
    }
    let gone = known.into_iter().filter(|(name, there)| *there && !project.environments.contains(name));
    gone.map(|(name, _)| name.clone()).collect()
}
