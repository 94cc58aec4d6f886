//! What was found out about open Changes, kept for as long as nothing that it depends on changes: they are listed often, and
//! to say whether a policy denies one, what it would do is rendered.
//!
//! Who looks at one Change, or merges it, is told what holds at that moment.

use super::consent::{Matter, matter};
use super::{checks, view::denials};
use crate::environment::Recorded;
use crate::evidence::Law;
use crate::project::{Handle, View};
use crate::requests::Refusal;
use crate::{Inner, Reconciler};
use model::ports::PortError;
use model::release::{Release, Version};
use model::{BuildId, Change, CommitId, Environment, ImageRef, Pin};
use promote::{Builds, State};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};

/// By number.
#[derive(Default)]
pub struct Known(HashMap<u64, Found>);

struct Found {
    stands: Stands,
    matter: Arc<Matter>,
    denied: Option<(Basis, Arc<Vec<String>>)>,
}

/// What a matter depends on.
#[derive(Clone, PartialEq)]
struct Stands {
    /// The last patch set, and what it builds on.
    set: (CommitId, CommitId),
    /// Main of its repository.
    main: Option<CommitId>,
    /// Main of the config repositories, all together.
    line: Option<CommitId>,
}

/// What is denied depends on that, and on what is rendered and judged.
#[derive(Clone)]
struct Basis {
    image: Option<ImageRef>,
    head: CommitId,
    admitted: BTreeMap<Environment, Option<CommitId>>,
    law: Arc<Law>,
    releases: Arc<BTreeMap<Version, Release>>,
    capabilities: BTreeMap<Environment, Option<Arc<Recorded>>>,
    builds: Builds,
}

impl Basis {
    fn of(handle: &Handle, view: &View, change: &Change) -> Self {
        let environments = &view.decision.environments;
        Self {
            image: checks::image(change),
            head: view.facts.head.clone(),
            admitted: environments.iter().map(|(name, report)| (name.clone(), report.admitted.clone())).collect(),
            law: view.law.clone(),
            releases: view.facts.releases.clone(),
            capabilities: environments.keys().map(|name| (name.clone(), handle.capabilities(name))).collect(),
            builds: view.facts.builds.clone(),
        }
    }

    /// True if what was found on the other still holds on this one.
    fn holds(&self, other: &Self, change: &Change, matter: &Matter, view: &View) -> bool {
        self.image == other.image
            && self.head == other.head
            && self.admitted == other.admitted
            && Arc::ptr_eq(&self.releases, &other.releases)
            && self.capabilities == other.capabilities
            && *self.law == *other.law
            && self.same_builds(other, change, matter, view)
    }

    /// Builds come and go all the time: only those count that some pin names, or that come before the one that is proposed.
    fn same_builds(&self, other: &Self, change: &Change, matter: &Matter, view: &View) -> bool {
        if self.builds.same(&other.builds) {
            return true;
        }
        let own = |builds: &Builds| {
            let of_it = builds.iter().filter(|build| build.spec.repository == change.spec.repository);
            of_it.map(|build| build.spec.build.clone()).collect::<BTreeSet<BuildId>>()
        };
        let admitted = self.admitted.iter().filter_map(|(name, commit)| view.facts.state(commit.as_ref()?, name));
        let proposed = matter.before.environments.values().chain(matter.after.environments.values());
        let states = admitted.chain(proposed).filter_map(|reading| reading.as_ref().ok());
        let pins = states.flat_map(|state: &State| state.pins.values());
        let released = self.releases.values().flat_map(|release| release.file.pins.values());
        let same = |pin: &Pin| self.builds.get(&pin.build) == other.builds.get(&pin.build);
        pins.chain(released).all(same) && own(&self.builds) == own(&other.builds)
    }
}

impl Inner {
    fn known_changes<'h>(&self, handle: &'h Handle) -> MutexGuard<'h, Known> {
        handle.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are not open any more are forgotten.
    pub(super) fn forget_changes(&self, handle: &Handle, open: &BTreeSet<u64>) {
        self.known_changes(handle).0.retain(|number, _| open.contains(number));
    }

    /// What a Change is judged by, read if something moved since it was read last.
    pub(super) async fn known_matter(&self, handle: &Handle, change: &Change) -> Result<Arc<Matter>, PortError> {
        let set = change.latest();
        let stands = Stands {
            set: (set.commit.clone(), set.base.clone()),
            main: self.ports.repositories.head(&change.spec.repository, model::MAIN).await?,
            line: self.main(handle).await?,
        };
        if let Some(found) = self.known_changes(handle).0.get(&change.number).filter(|found| found.stands == stands) {
            return Ok(found.matter.clone());
        }
        let matter = Arc::new(matter(self, handle, change).await?);
        let found = Found { stands, matter: matter.clone(), denied: None };
        self.known_changes(handle).0.insert(change.number, found);
        Ok(matter)
    }
}

impl Reconciler {
    /// Which policies deny a Change, for people.
    pub(super) async fn denied(
        &self,
        handle: &Handle,
        view: &View,
        change: &Change,
        matter: &Arc<Matter>,
    ) -> Result<Arc<Vec<String>>, Refusal> {
        if !matter.may_be_denied(view) {
            return Ok(Arc::default());
        }
        let basis = Basis::of(handle, view, change);
        if let Some(found) = self.0.known_changes(handle).0.get_mut(&change.number)
            && Arc::ptr_eq(&found.matter, matter)
            && let Some((on, denied)) = &mut found.denied
            && basis.holds(on, change, matter, view)
        {
            *on = basis;
            return Ok(denied.clone());
        }
        let (plans, certain) = self.plans(handle, view, change, matter).await?;
        let denied: Arc<Vec<String>> = Arc::new(denials(&plans).collect());
        if let Some(found) = self.0.known_changes(handle).0.get_mut(&change.number)
            && Arc::ptr_eq(&found.matter, matter)
        {
            found.denied = certain.then(|| (basis, denied.clone()));
        }
        Ok(denied)
    }
}
