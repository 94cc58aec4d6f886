//! Charts that leave an environment: their hooks for deletions run before anything of them is deleted, and when nothing of
//! them stands any more.
//!
//! What left is rendered once more as it stood last. The journal says that it began to go: from then on it goes to the end,
//! whatever restarts in between.

use super::hooking::{self, Act, Said};
use super::rendering::Rendering;
use super::{Target, Work};
use crate::planes::{self, Stop};
use crate::sealing;
use jiff::{SignedDuration, Timestamp};
use model::flow::{Action, Health, HookEvent, Observation, Repository, Step};
use model::ports::Placement;
use model::views::ComponentStatus;
use model::{BuildId, CommitId, Component, Environment, LABEL_COMPONENT, LABEL_HOOK, Pin};
use promote::{Facts, Report, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a hook that failed keeps from being deleted goes after this nevertheless: nothing is held for ever.
pub const HELD: SignedDuration = SignedDuration::from_hours(1);

/// A component with a chart that an environment has no more, as it stood there last.
#[derive(Debug, Clone, PartialEq)]
pub struct Parting {
    /// What ran.
    pub pin: Pin,
    /// The last admitted commit with it.
    pub commit: CommitId,
    /// And what stood there.
    pub state: State,
    /// Where its source is.
    pub repository: Repository,
    /// When its build was asked for.
    pub made: Timestamp,
    /// The first admitted commit without it; the last with it, if the environment itself goes.
    pub since: CommitId,
    /// Its number among the pins that stood there.
    pub revision: u32,
}

/// What left an environment since it began, latest departures only. `is_removed`: all of it has.
pub fn partings(facts: &Facts, name: &Environment, is_removed: bool) -> Vec<Parting> {
    let admitted = hooking::admitted(facts, name);
    let states: Vec<(&CommitId, &State)> =
        admitted.iter().filter_map(|commit| Some((*commit, facts.state(commit, name)?.as_ref().ok()?))).collect();
    let mut left: BTreeMap<&Component, Parting> = BTreeMap::new();
    let parting = |pin: &Pin, (commit, state): (&CommitId, &State), since: &CommitId| {
        let build = facts.build(&pin.build)?;
        let mut state = state.clone();
        state.pins.retain(|component, _| *component == pin.build.component);
        Some(Parting {
            pin: pin.clone(),
            commit: commit.clone(),
            state,
            repository: build.spec.repository.clone(),
            made: build.spec.created,
            since: since.clone(),
            revision: promote::revisions(facts, name, Some(commit)).get(&pin.build.component).copied().unwrap_or(1),
        })
    };
    for pair in states.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        left.retain(|component, _| !after.1.pins.contains_key(*component));
        for (component, pin) in before.1.pins.iter().filter(|(_, pin)| pin.chart.is_some()) {
            if !after.1.pins.contains_key(component) {
                left.extend(parting(pin, before, after.0).map(|parting| (component, parting)));
            }
        }
    }
    if let Some(last) = states.last().filter(|_| is_removed) {
        let charts = last.1.pins.iter().filter(|(_, pin)| pin.chart.is_some());
        left.extend(charts.filter_map(|(component, pin)| Some((component, parting(pin, *last, last.0)?))));
    }
    left.into_values().collect()
}

/// How far what leaves has come.
#[derive(Default)]
pub(crate) struct Parted {
    /// What hooks say, by component.
    said: BTreeMap<Component, (Pin, Said)>,
    /// Of these nothing may be deleted now.
    held: BTreeSet<Component>,
    /// Of these something is still to be done.
    pending: BTreeSet<Component>,
    /// For people.
    pub(crate) notes: Vec<String>,
}

impl Parted {
    /// True if a step of a plan may run.
    pub(crate) fn lets(&self, step: &Step) -> bool {
        step.action != Action::Delete || !step.component.as_ref().is_some_and(|name| self.held.contains(name))
    }

    /// True if something has not gone to its end.
    pub(crate) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// True if nothing may be deleted of something.
    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// How each of them stands.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = ComponentStatus> {
        self.said.values().filter_map(|(pin, said)| {
            let (health, reason, message) = match said {
                Said::Clear => return None,
                Said::Works(what) => (Health::Progressing, hooking::REASON, what),
                Said::Failed(why) => (Health::Degraded, hooking::FAILED, why),
            };
            Some(ComponentStatus {
                component: pin.build.component.clone(),
                build: pin.build.clone(),
                chart: pin.chart.clone(),
                health,
                reason: reason.to_owned(),
                message: message.clone(),
                url: None,
                drifted: false,
            })
        })
    }
}

impl Target {
    /// As it was for something that left.
    fn before(&self, parting: &Parting) -> Self {
        let component = &parting.pin.build.component;
        Self {
            commit: parting.commit.clone(),
            state: parting.state.clone(),
            report: Report {
                since: BTreeMap::from([(component.clone(), parting.since.clone())]),
                suspended: self.report.suspended,
                ..Report::default()
            },
            sources: BTreeMap::from([(parting.pin.build.clone(), parting.repository.clone())]),
            made: BTreeMap::from([(parting.pin.build.clone(), parting.made)]),
            movements: BTreeMap::from([(component.clone(), hooking::Movement::Upgrade)]),
            revisions: BTreeMap::from([(component.clone(), parting.revision)]),
            partings: Vec::new(),
            ..self.clone()
        }
    }
}

impl Work {
    /// True if something left that has not gone to its end: its chart has to be seen again.
    pub(crate) fn parts(&self, target: &Target, observation: &Observation) -> bool {
        target.partings.iter().any(|parting| self.is_open(target, parting, observation))
    }

    fn is_open(&self, target: &Target, parting: &Parting, observation: &Observation) -> bool {
        let run = |event| hooking::run_of(target, &self.handle.name, &parting.pin.build, &parting.since, event);
        let told = |run: &String| self.ran(target, run).is_some();
        let (first, last) = (run(HookEvent::PreDelete), run(HookEvent::PostDelete));
        !self.parted.contains(&last)
            && !told(&last)
            && target.state.file.sync.prune
            && (told(&first) || stands(observation, &parting.pin.build.component))
    }

    /// Runs what charts that left want to run, as far as it can go now. `seen` is what stands, in the open.
    pub(crate) async fn part(
        &mut self,
        target: &Target,
        placement: &Placement,
        observation: &Observation,
        seen: &Arc<Observation>,
    ) -> Result<Parted, Stop> {
        let mut parted = Parted::default();
        for parting in &target.partings {
            if self.is_open(target, parting, observation) {
                self.part_one(target, parting, placement, observation, seen, &mut parted).await?;
            }
        }
        Ok(parted)
    }

    async fn part_one(
        &mut self,
        target: &Target,
        parting: &Parting,
        placement: &Placement,
        observation: &Observation,
        seen: &Arc<Observation>,
        parted: &mut Parted,
    ) -> Result<(), Stop> {
        let before = target.before(parting);
        let (component, build) = (&parting.pin.build.component, &parting.pin.build);
        let last = before.run(&self.handle.name, build, HookEvent::PostDelete);
        let mut rendering = match self.render(&before, seen).await? {
            Ok(rendering) if rendering.sourceless.is_empty() => rendering,
            Ok(Rendering { sourceless, .. }) => {
                let why = sourceless.first().map(|(_, lack)| lack.message.clone()).unwrap_or_default();
                parted.notes.push(unknown(build, &why));
                return Ok(());
            }
            Err(why) => {
                parted.notes.push(unknown(build, &why));
                return Ok(());
            }
        };
        drop(planes::desired(&self.handle, &mut rendering.rendered, &before, placement, None));
        let hooks = rendering.rendered.iter_mut().flat_map(|one| &mut one.manifests.hooks);
        let open = sealing::mask_manifests(&*self.inner.ports.secrets, hooks.map(|hook| &mut hook.object))?;
        let Some(one) = rendering.rendered.first() else { return Ok(()) };
        let has = |event| one.manifests.hooks.iter().any(|hook| hook.events.contains(&event));
        let (first, then) = (has(HookEvent::PreDelete), has(HookEvent::PostDelete));
        let stands = stands(observation, component);
        if !(first || then) || (!then && !stands) {
            self.parted.insert(last);
            return Ok(());
        }
        parted.pending.insert(component.clone());
        let act = Act { target: &before, placement, observation, open: &open };
        let event = if stands { HookEvent::PreDelete } else { HookEvent::PostDelete };
        let run = before.run(&self.handle.name, build, event);
        let said = match self.hooks(act, one, event).await? {
            // Nothing is to be done before; the journal has to know that it goes.
            Said::Clear if self.ran(&before, &run).is_none() && event == HookEvent::PreDelete => {
                self.begin(&run, one, event).await?;
                Said::Clear
            }
            Said::Failed(why) if event == HookEvent::PreDelete => self.held(&before, &run, why),
            said => said,
        };
        match &said {
            Said::Clear if event == HookEvent::PostDelete => drop(parted.pending.remove(component)),
            Said::Clear => {}
            Said::Works(_) | Said::Failed(_) => drop(parted.held.insert(component.clone())),
        }
        // What failed when nothing stood any more holds nothing: the journal has it.
        if matches!(said, Said::Failed(_)) && event == HookEvent::PostDelete {
            (parted.held.remove(component), parted.pending.remove(component));
        }
        parted.said.insert(component.clone(), (parting.pin.clone(), said));
        Ok(())
    }

    /// What a hook that failed before a deletion means now.
    fn held(&mut self, before: &Target, run: &str, why: String) -> Said {
        let now = self.inner.now();
        let failed = self.ran(before, run).map_or(now, |ran| ran.at);
        let until = failed.checked_add(HELD).unwrap_or(now);
        if until <= now {
            return Said::Clear;
        }
        let left = Duration::try_from(until.duration_since(now)).ok();
        self.hooks_until = [self.hooks_until, left].into_iter().flatten().min();
        let seconds = until.strftime("%Y-%m-%d %H:%M:%S UTC");
        Said::Failed(format!(
            "{why}\nnothing of it is deleted until {seconds}; then it goes all the same. Reverting the commit that took it away keeps it, and taking it away again runs the hook again"
        ))
    }
}

fn unknown(build: &BuildId, why: &str) -> String {
    format!("{build} goes without hooks of its chart, which cannot be rendered any more: {why}")
}

/// True if something of a component stands that no hook made: what was applied, or Pods of it that are still ending.
fn stands(observation: &Observation, component: &Component) -> bool {
    observation.objects.values().any(|object| {
        let labels = object.pointer("/metadata/labels");
        let label = |key: &str| labels.and_then(|labels| labels.get(key)?.as_str());
        let owned = object.pointer("/metadata/ownerReferences").is_some();
        label(LABEL_COMPONENT) == Some(component.as_str())
            && label(LABEL_HOOK).is_none()
            && (!owned || object["kind"] == "Pod")
    })
}
