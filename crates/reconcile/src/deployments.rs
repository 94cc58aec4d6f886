//! What ran where and when, as the journal tells it.

use crate::Reconciler;
use crate::project::{Handle, View};
use crate::requests::{Refusal, known_environment};
use jiff::Timestamp;
use jiff::civil::DateTime;
use model::journal::{Entry, EntryKind};
use model::views::Deployment;
use model::{Component, Environment, Project};
use promote::State;

/// Admissions that are looked at for one answer.
const DEPLOYMENTS_MAX: usize = 500;

impl Reconciler {
    /// What was admitted in an environment (or in all), newest first; of a component only what moved it.
    pub async fn deployments(
        &self,
        project: &Project,
        environment: Option<&Environment>,
        component: Option<&Component>,
        limit: usize,
    ) -> Result<Vec<Deployment>, Refusal> {
        let (handle, view) = self.look(project).await?;
        if let Some(environment) = environment {
            known_environment(&view, environment)?;
        }
        let of_it = |e: &&Entry| {
            e.kind == EntryKind::Admitted && environment.is_none_or(|wanted| e.environment.as_ref() == Some(wanted))
        };
        let mut found = Vec::new();
        let mut entries = view.facts.journal.iter().rev().filter(of_it).take(DEPLOYMENTS_MAX).peekable();
        while let Some(entry) = entries.next() {
            let Some(deployment) = self.deployment(&handle, &view, entry).await? else { continue };
            let moved = match component {
                None => entry.promotion.is_some(),
                Some(component) => {
                    let earlier = view.facts.journal.iter().rev().filter(|e| {
                        e.kind == EntryKind::Admitted
                            && e.environment == entry.environment
                            && e.at <= entry.at
                            && e.id != entry.id
                    });
                    let before = match earlier.clone().next() {
                        Some(earlier) => self.deployment(&handle, &view, earlier).await?,
                        None => None,
                    };
                    deployment.builds.get(component) != before.as_ref().and_then(|before| before.builds.get(component))
                }
            };
            if moved {
                found.push(deployment);
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// What ran in an environment at a time; `None`: nothing was admitted by then.
    pub async fn at(
        &self,
        project: &Project,
        environment: &Environment,
        time: &str,
    ) -> Result<Option<Deployment>, Refusal> {
        let (handle, view) = self.look(project).await?;
        known_environment(&view, environment)?;
        let time = instant(time)?;
        match self.state_at(&handle, &view, environment, time).await? {
            Some((_, entry)) => self.deployment(&handle, &view, &entry).await,
            None => Ok(None),
        }
    }

    /// The state that was admitted at a time, and the entry that says so.
    pub(crate) async fn state_at(
        &self,
        handle: &Handle,
        view: &View,
        environment: &Environment,
        time: Timestamp,
    ) -> Result<Option<(State, Entry)>, Refusal> {
        let of_it =
            |e: &&Entry| e.kind == EntryKind::Admitted && e.environment.as_ref() == Some(environment) && e.at <= time;
        let Some(entry) = view.facts.journal.iter().rev().find(of_it) else { return Ok(None) };
        let state = self.state_of(handle, view, entry).await?;
        Ok(state.map(|state| (state, entry.clone())))
    }

    pub(crate) async fn deployment(
        &self,
        handle: &Handle,
        view: &View,
        entry: &Entry,
    ) -> Result<Option<Deployment>, Refusal> {
        let (Some(environment), Some(commit)) = (&entry.environment, &entry.commit) else { return Ok(None) };
        let Some(state) = self.state_of(handle, view, entry).await? else { return Ok(None) };
        let change = entry.summary.strip_prefix(&format!("{environment}: ")).unwrap_or(&entry.summary);
        Ok(Some(Deployment {
            environment: environment.clone(),
            at: entry.at,
            actor: entry.actor.clone(),
            change: change.to_owned(),
            reason: entry.reason.clone(),
            promotion: entry.promotion.clone(),
            commit: commit.clone(),
            builds: state.pins.iter().map(|(component, pin)| (component.clone(), pin.build.clone())).collect(),
            release: state.label(),
        }))
    }

    /// What stood at the commit of an entry, however long ago.
    async fn state_of(&self, handle: &Handle, view: &View, entry: &Entry) -> Result<Option<State>, Refusal> {
        let (Some(environment), Some(commit)) = (&entry.environment, &entry.commit) else { return Ok(None) };
        if let Some(known) = view.facts.state(commit, environment) {
            return Ok(known.as_ref().ok().cloned());
        }
        let config = handle.reader(&self.0).config(&handle.config, commit).await?;
        let reading = config.environments.get(environment).and_then(|reading| reading.as_ref().ok());
        Ok(reading.and_then(|state| state.resolve(environment, &view.facts.releases).ok()))
    }
}

/// `2026-11-01T14:00` (UTC), `2026-11-01T14:00:00Z`, `2026-11-01`.
pub(crate) fn instant(text: &str) -> Result<Timestamp, Refusal> {
    let civil = |text: &str| {
        let time = text.parse::<DateTime>().ok()?;
        time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    let found = text.parse::<Timestamp>().ok().or_else(|| civil(text));
    found.ok_or_else(|| Refusal::Refused(format!("{text:?} is not a time such as 2026-11-01T14:00 (UTC)")))
}

#[cfg(test)]
mod tests {
    use super::instant;

    #[test]
    fn a_time_without_a_zone_is_utc() {
        for (text, expect) in [
            ("2026-11-01T14:00", "2026-11-01T14:00:00Z"),
            ("2026-11-01", "2026-11-01T00:00:00Z"),
            ("2026-11-01T14:00:00+02:00", "2026-11-01T12:00:00Z"),
        ] {
            assert_eq!(instant(text).unwrap().to_string(), expect);
        }
        assert!(instant("yesterday").is_err());
    }
}
