//! What environments have of others, and environments that the project has no more.

use crate::environment::{IN_FLIGHT, LEFT, Outcome, Target, Work};
use crate::planes::{self, Stop};
use crate::project::View;
use crate::projections::Projected;
use crate::{sealing, wake_of};
use model::journal::{Entry, EntryKind};
use model::ports::PortError;
use model::records::Kind;
use model::{CommitId, Environment, EnvironmentFile};
use promote::Facts;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

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
    gone(&view.facts.journal, &project.environments)
}

/// Environments that were admitted once and are none of these, and of which something may still stand.
pub fn gone(journal: &[Entry], environments: &[Environment]) -> Vec<Environment> {
    let mut known: BTreeMap<&Environment, bool> = BTreeMap::new();
    for entry in journal {
        match (entry.kind, &entry.environment) {
            (EntryKind::Admitted, Some(environment)) => drop(known.insert(environment, true)),
            (EntryKind::Removed, Some(environment)) => drop(known.insert(environment, false)),
            _ => {}
        }
    }
    let gone = known.into_iter().filter(|(name, there)| *there && !environments.contains(name));
    gone.map(|(name, _)| name.clone()).collect()
}

impl Work {
    /// Takes away what stands of an environment that the project has no more, wherever it ran. Answers when to look
    /// again at the latest.
    pub async fn remove(&mut self, target: &Target) -> Result<Option<Duration>, Stop> {
        // First nobody is sent there any more.
        self.inner.routes.set(&self.handle.scope, Vec::new()).await;
        if let Some(wait) = self.part_all(target).await? {
            return Ok(Some(wait));
        }
        self.left.insert(self.on.take().unwrap_or_else(planes::embedded));
        let leftovers = self.leftovers(target).await;
        let commit = Some(target.commit.clone());
        let plan = leftovers.iter().find_map(|one| one.plan.as_ref().ok().filter(|plan| !plan.is_empty())).cloned();
        let notes = self.notes(target, &leftovers);
        let wait = if leftovers.iter().all(|one| one.plan.is_ok()) { IN_FLIGHT } else { LEFT };
        if self.clear(target, leftovers).await? {
            self.publish(Outcome { commit, plan, notes, left: self.left.clone(), ..Outcome::default() });
            return Ok(Some(wait));
        }
        if !target.partings.is_empty() && self.still_parts(target).await? {
            return Ok(Some(wait));
        }
        self.bury(target).await?;
        Ok(None)
    }

    /// Runs the hooks for deletions of its charts, where it ran last. Answers when to look again as long as nothing may be
    /// deleted.
    async fn part_all(&mut self, target: &Target) -> Result<Option<Duration>, Stop> {
        if target.partings.is_empty() {
            return Ok(None);
        }
        let name = target.plane_name();
        let placement = planes::find(&self.inner, &self.project, &name).await.map_err(Stop::DataPlane)?;
        let observed = placement.plane.observe(&self.handle.scope, wake_of(&self.handle.notify)).await;
        let mut observation = observed.map_err(Stop::DataPlane)?;
        if !self.parts(target, &observation) {
            return Ok(None);
        }
        let seen = Arc::new(observation.clone());
        sealing::mask_observation(&*self.inner.ports.secrets, &mut observation)?;
        self.hooks_until = None;
        let parted = self.part(target, &placement, &observation, &seen).await?;
        if !parted.holds() {
            return Ok(None);
        }
        let (commit, left) = (Some(target.commit.clone()), self.left.clone());
        let (components, notes) = (parted.statuses().collect(), parted.notes);
        self.publish(Outcome { commit, components, notes, left, data_plane: Some(name), ..Outcome::default() });
        Ok(Some([Some(LEFT), self.hooks_until].into_iter().flatten().min().unwrap_or(LEFT)))
    }

    /// True if a chart of it has not gone to its end: its Pods are ending, or hooks run when they have.
    async fn still_parts(&self, target: &Target) -> Result<bool, Stop> {
        let name = target.plane_name();
        let placement = planes::find(&self.inner, &self.project, &name).await.map_err(Stop::DataPlane)?;
        let observed = placement.plane.observe(&self.handle.scope, wake_of(&self.handle.notify)).await;
        Ok(self.parts(target, &observed.map_err(Stop::DataPlane)?))
    }

    /// Nothing of it stands any more (its namespace does, with what others put there): its records go, and the journal
    /// says so.
    async fn bury(&mut self, target: &Target) -> Result<(), PortError> {
        let (project, name) = (&self.handle.scope.project, self.handle.name.clone());
        let records = &self.inner.ports.records;
        for object in records.list(Kind::ComponentDeployment, project).await? {
            if object["metadata"]["labels"][model::LABEL_ENVIRONMENT] == name.as_str() {
                let id = object["metadata"]["name"].as_str().unwrap_or_default();
                records.delete(Kind::ComponentDeployment, project, id).await?;
            }
        }
        records.delete(Kind::Environment, project, name.as_str()).await?;
        let mut entry = self.entry(EntryKind::Removed, format!("removed-{name}-{}", &target.commit.as_str()[..12]));
        entry.commit = Some(target.commit.clone());
        entry.summary = format!("{name}: nothing of it runs any more");
        self.inner.ports.repositories.append(project, &entry).await?;
        (self.applied, self.on, self.told, self.shown) = (None, None, BTreeSet::new(), Projected::default());
        self.in_flight.clear();
        self.publish(Outcome::default());
        // Until one of its name is made, nothing is left to do.
        self.handle.aim(None);
        self.project.told();
        Ok(())
    }
}
