//! Revisions of charts: how many pins of a component stood in an environment since it came there. The journal carries the
//! numbers on, so that none changes when what is long ago is read no more.

use crate::facts::Facts;
use crate::state::{Delta, State};
use model::journal::{EntryKind, detail};
use model::{CommitId, Component, Environment};
use std::collections::BTreeMap;

/// Revisions by component, of those that are charts.
pub type Revisions = BTreeMap<Component, u32>;

/// Those of an environment once a commit was admitted; without one, now.
pub fn revisions(facts: &Facts, environment: &Environment, at: Option<&CommitId>) -> Revisions {
    let (mut found, mut before) = (Revisions::new(), None::<&State>);
    for entry in facts.journal.iter().filter(|entry| entry.environment.as_ref() == Some(environment)) {
        match entry.kind {
            EntryKind::Removed => (found, before) = (Revisions::new(), None),
            EntryKind::Admitted => {
                let state = entry.commit.as_ref().and_then(|commit| facts.state(commit, environment)?.as_ref().ok());
                match (entry.detail(detail::REVISIONS), state) {
                    (Some(text), _) => found = parsed(text),
                    (None, Some(state)) => found = next(found, &Delta::between(before, state)),
                    (None, None) => {}
                }
                before = state.or(before);
                if at.is_some() && entry.commit.as_ref() == at {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// Those after a movement.
pub(crate) fn next(mut revisions: Revisions, delta: &Delta<'_>) -> Revisions {
    for (component, _, after) in &delta.pins {
        match after {
            Some(pin) if pin.chart.is_some() => *revisions.entry((*component).clone()).or_default() += 1,
            _ => drop(revisions.remove(*component)),
        }
    }
    revisions
}

/// `api=1 web=3`.
pub(crate) fn text(revisions: &Revisions) -> String {
    revisions.iter().map(|(component, number)| format!("{component}={number}")).collect::<Vec<_>>().join(" ")
}

fn parsed(text: &str) -> Revisions {
    let one = |part: &str| {
        let (component, number) = part.split_once('=')?;
        Some((component.parse().ok()?, number.parse().ok()?))
    };
    text.split(' ').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_their_text() {
        let revisions: Revisions = [("api", 1), ("web", 12)].map(|(name, n)| (name.parse().unwrap(), n)).into();
        assert_eq!(text(&revisions), "api=1 web=12");
        assert_eq!(parsed(&text(&revisions)), revisions);
        assert_eq!(parsed("web=x =3 web"), Revisions::new());
    }
}
