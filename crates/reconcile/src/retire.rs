//! Builds that are not kept: of each component the last twenty that succeeded are, what came between them, and whatever a
//! pin or a release names. Nothing is lost by it but the way back to what nothing names any more.

use crate::project::Handle;
use crate::projections::build as object;
use crate::requests::Refusal;
use crate::{Inner, Reconciler};
use model::ports::PortError;
use model::records::{BuildPhase, Kind};
use model::{Build, BuildId, Component, ImageRef, Pin};
use promote::Facts;
use std::collections::{BTreeMap, BTreeSet};

/// So many successful builds of a component are kept, pinned or not.
pub const BUILDS_KEPT: usize = 20;

/// Those that go. `seen` are the builds of what stands on the main branches.
pub fn retired<'f>(facts: &'f Facts, seen: &BTreeSet<&BuildId>) -> Vec<&'f Build> {
    let mut succeeded: BTreeMap<&Component, Vec<u64>> = BTreeMap::new();
    for build in facts.builds.iter().filter(|build| build.status.phase == BuildPhase::Succeeded) {
        succeeded.entry(&build.spec.build.component).or_default().push(build.spec.build.number);
    }
    let mut oldest: BTreeMap<&Component, u64> = BTreeMap::new();
    for (component, mut numbers) in succeeded.into_iter().filter(|(_, numbers)| numbers.len() > BUILDS_KEPT) {
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        oldest.insert(component, numbers[BUILDS_KEPT - 1]);
    }
    let is_old = |build: &&Build| {
        let BuildId { component, number } = &build.spec.build;
        let over = !matches!(build.status.phase, BuildPhase::Queued | BuildPhase::Running);
        over && oldest.get(component).is_some_and(|oldest| number < oldest) && !seen.contains(&build.spec.build)
    };
    let mut old: BTreeMap<&BuildId, &Build> =
        facts.builds.iter().filter(is_old).map(|build| (&build.spec.build, build)).collect();
    if old.is_empty() {
        return Vec::new();
    }
    // What somebody asks for may still move; what was admitted lately may come back.
    let asked = facts.promotions.iter().filter(|promotion| !promotion.status.phase.is_final());
    let asked = asked.filter_map(|promotion| promotion.spec.build.as_ref());
    for named in asked.chain(named(facts).map(|pin| &pin.build)) {
        old.remove(named);
    }
    old.into_values().collect()
}

/// What pins name, of all that was admitted lately or stands on main, and what releases name.
fn named(facts: &Facts) -> impl Iterator<Item = &Pin> {
    let released = facts.releases.values().flat_map(|release| release.file.pins.values());
    let states = facts.states.values().flat_map(|environments| environments.values()).flatten();
    states.flat_map(|state| state.pins.values()).chain(released)
}

impl Inner {
    /// Lets builds go that are not kept any more: image, log, commit, and last the record, which says what is left to do.
    /// True if there were any.
    pub async fn retire(&self, handle: &Handle, facts: &Facts, seen: &BTreeSet<&BuildId>) -> Result<bool, PortError> {
        let gone = retired(facts, seen);
        for build in &gone {
            let (id, ports) = (&build.spec.build, &self.ports);
            ports.builder.discard(&facts.project, id).await?;
            handle.logs(self).remove(id);
            ports.repositories.unkeep(&build.spec.repository, &format!("builds/{id}")).await?;
            let name = object(build)["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            ports.records.delete(Kind::Build, &facts.project, &name).await?;
        }
        Ok(!gone.is_empty())
    }
}

impl Reconciler {
    /// Images that must not be lost: what pins name, of all that was admitted lately or stands on main, what releases name, and
    /// the last builds of each component.
    pub async fn images(&self) -> Result<BTreeSet<ImageRef>, Refusal> {
        let mut images = BTreeSet::new();
        for handle in self.projects() {
            if self.0.ports.repositories.head(&handle.config, model::MAIN).await?.is_none() {
                continue; // nothing was pushed to it yet
            }
            let (_, view) = self.look(&handle.name).await?;
            images.extend(named(&view.facts).filter_map(|pin| pin.image.clone()));
            let mut built: BTreeMap<&Component, BTreeMap<u64, &ImageRef>> = BTreeMap::new();
            for build in view.facts.builds.iter() {
                let id = &build.spec.build;
                if let Some(image) = &build.status.image {
                    built.entry(&id.component).or_default().insert(id.number, image);
                }
            }
            images.extend(built.values().flat_map(|b| b.values().rev().take(BUILDS_KEPT)).map(|i| (*i).clone()));
        }
        Ok(images)
    }
}
