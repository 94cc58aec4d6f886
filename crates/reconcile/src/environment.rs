//! The loop of one environment: makes the cluster what was admitted, and says how it is doing.

mod charting;
mod hooking;
mod judging;
mod parting;
mod policies;
mod rendering;
mod showing;
mod target;
mod testing;

pub use charting::Drawn;
pub use rendering::Rendered;
pub use target::{Handle, Outcome, Recorded, Target};
pub(crate) use testing::tested;

use crate::planes::{self, Stop};
use crate::projections::Projected;
use crate::{Inner, lacks, order, project, sealing, wake_of};
use charting::Known;
use hooking::{Act, Ran};
use judging::Judged;
use model::flow::{Action, Health, Manifests, ObjectId, Observation, Plan, Receipt};
use model::journal::{Entry, EntryKind};
use model::ports::{Placement, PortError};
use model::records::Kind;
use model::views::PolicyResult;
use model::{Component, DataPlaneName, Digest};
use render::kustomize::Cache;
use rendering::{Ingredients, Rendering};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Waits after a place did not answer, or a plan could not be carried out.
const RETRY: Duration = Duration::from_secs(1);
/// The wait doubles with every failure in a row, up to this.
const RETRY_MAX: Duration = Duration::from_secs(8);
/// What stands on a data plane that was left, and that does not answer, is looked for again.
pub(crate) const LEFT: Duration = Duration::from_secs(30);
/// An object on which a step ran and that has not changed in the observation since is not looked at again before this.
pub(crate) const IN_FLIGHT: Duration = Duration::from_secs(3);

/// Runs until `shutdown`.
pub async fn run(inner: Arc<Inner>, project: Arc<project::Handle>, handle: Arc<Handle>, shutdown: CancellationToken) {
    let Last { applied, on, left, capabilities } = last_applied(&inner, &handle).await.unwrap_or_default();
    let mut work = Work {
        inner,
        project,
        handle: handle.clone(),
        applied,
        on,
        left,
        arriving: false,
        unguarded: false,
        failures: 0,
        in_flight: BTreeMap::new(),
        behind: BTreeMap::new(),
        told: BTreeSet::new(),
        shown: Projected::default(),
        digests: sealing::Digests::default(),
        broken: Vec::new(),
        described: BTreeMap::new(),
        charted: BTreeMap::new(),
        capabilities,
        hooked: BTreeMap::new(),
        parted: BTreeSet::new(),
        hooks_until: None,
        overlays: Cache::default(),
    };
    loop {
        let wait = match work.pass().await {
            Ok(wait) => {
                work.failures = 0;
                wait
            }
            Err(stop) => {
                work.stopped(stop).await;
                work.failures += 1;
                Some((RETRY * (1 << (work.failures - 1).min(8))).min(RETRY_MAX))
            }
        };
        let woken = async {
            match wait {
                Some(limit) => drop(tokio::time::timeout(limit, handle.notify.notified()).await),
                None => handle.notify.notified().await,
            }
        };
        if shutdown.run_until_cancelled(woken).await.is_none() {
            return;
        }
    }
}

/// What an earlier process applied, where, and what it left elsewhere: a difference from that is drift.
#[derive(Default)]
struct Last {
    applied: Option<Digest>,
    on: Option<DataPlaneName>,
    left: BTreeSet<DataPlaneName>,
    capabilities: Option<Arc<Recorded>>,
}

async fn last_applied(inner: &Inner, handle: &Handle) -> Option<Last> {
    let environments = inner.ports.records.list(Kind::Environment, &handle.scope.project).await.ok()?;
    let own = environments.iter().find(|e| e["metadata"]["name"] == handle.name.as_str())?;
    let status = &own["status"];
    let applied: Option<Digest> = status["applied"].as_str().and_then(|digest| digest.parse().ok());
    // Before there were others, everything was on the embedded one.
    let on = status["dataPlane"].as_str().and_then(|name| name.parse().ok());
    let on = on.or_else(|| applied.is_some().then(planes::embedded));
    let left = status["dataPlanesLeft"].as_array().into_iter().flatten();
    let left = left.filter_map(|name| name.as_str()?.parse().ok()).collect();
    let capabilities = serde_json::from_value(status["capabilities"].clone()).ok().map(Arc::new);
    Some(Last { applied, on, left, capabilities })
}

/// The loop's own state: nothing but caches, and steps whose effect has not been observed.
pub struct Work {
    pub(crate) inner: Arc<Inner>,
    pub(crate) project: Arc<project::Handle>,
    pub(crate) handle: Arc<Handle>,
    pub(crate) applied: Option<Digest>,
    /// Where that was.
    pub(crate) on: Option<DataPlaneName>,
    /// Where something may stand that belongs there no more.
    pub(crate) left: BTreeSet<DataPlaneName>,
    /// It has moved, and was not healthy yet where it is now.
    arriving: bool,
    /// Changes are reviewed, and its API does not keep people from writing.
    pub(crate) unguarded: bool,
    /// In a row.
    failures: u32,
    /// Object → what it looked like when a step ran on it, and when that was.
    pub(crate) in_flight: BTreeMap<ObjectId, (Option<String>, Instant)>,
    /// Objects of which the server knows a newer state than the observation, and since when.
    behind: BTreeMap<ObjectId, Instant>,
    pub(crate) told: BTreeSet<String>,
    pub(crate) shown: Projected,
    digests: sealing::Digests,
    /// Policies that the target breaks.
    broken: Vec<PolicyResult>,
    /// What components describe themselves, by what it was made of.
    described: BTreeMap<Component, (Ingredients, Manifests)>,
    /// Charts that were rendered.
    charted: BTreeMap<Component, Known>,
    /// What the cluster could do when the target came.
    capabilities: Option<Arc<Recorded>>,
    /// Hooks that ran, and that the target does not know of yet.
    hooked: BTreeMap<String, Ran>,
    /// Charts that left and have nothing more to do.
    parted: BTreeSet<String>,
    /// When a hook has worked for too long.
    pub(crate) hooks_until: Option<Duration>,
    /// Overlays that were built for earlier pins: most commits leave them as they were.
    overlays: Cache,
}

impl Work {
    /// One look. Answers when to look again at the latest.
    async fn pass(&mut self) -> Result<Option<Duration>, Stop> {
        let Some(target) = self.handle.target() else { return Ok(None) };
        if target.removed {
            return self.remove(&target).await;
        }
        self.arrive(&target);
        let placement =
            planes::find(&self.inner, &self.project, &target.plane_name()).await.map_err(Stop::DataPlane)?;
        let observed = placement.plane.observe(&self.handle.scope, wake_of(&self.handle.notify)).await;
        let mut observation = observed.map_err(Stop::DataPlane)?;
        // Only templates of charts see what stands, in the open.
        let charts = target.state.pins.values().any(|pin| pin.chart.is_some());
        let parts = self.parts(&target, &observation);
        let seen = if charts || parts { Arc::new(observation.clone()) } else { Arc::default() };
        if charts {
            self.ask(&target, &placement).await.map_err(Stop::DataPlane)?;
        }
        let mut rendering = match self.render(&target, &seen).await? {
            Ok(rendering) => rendering,
            Err(problem) => {
                self.fail(problem, None).await;
                return Ok(None);
            }
        };
        let held = rendering.held();
        let writer = planes::writer(&target, &placement).await.map_err(Stop::DataPlane)?;
        self.unguarded = planes::guarded(&target) && writer.is_none();
        let mut desired =
            planes::desired(&self.handle, &mut rendering.rendered, &target, &placement, writer.as_deref());
        let hooks = rendering.rendered.iter_mut().flat_map(|one| &mut one.manifests.hooks);
        let objects = desired.iter_mut().map(|(_, object)| object).chain(hooks.map(|hook| &mut hook.object));
        let open = sealing::mask_manifests(&*self.inner.ports.secrets, objects)?;
        let Rendering { rendered, .. } = &rendering;
        let objects: Vec<Value> = desired.iter().map(|(_, object)| object.clone()).collect();
        let all = Manifests { objects, ..Manifests::default() };
        let digest = all.digest();
        sealing::mask_observation(&*self.inner.ports.secrets, &mut observation)?;
        let planned = match held.is_empty() {
            true => std::borrow::Cow::Borrowed(&observation),
            false => std::borrow::Cow::Owned(lacks::without(&observation, &held)),
        };
        let drift = self.applied.as_ref() == Some(&digest);
        let predicted = self.predict(&placement, &all.objects, &observation).await.map_err(Stop::DataPlane)?;
        let plan = match self.plan(&target, &desired, &predicted, &planned, drift) {
            Ok(plan) => plan,
            Err(refusal) => {
                self.fail(refusal, None).await;
                return Ok(None);
            }
        };
        self.broken = self.broken(&target, &desired, &observation, &plan);
        // What was applied before somebody wrote a policy stays, and is repaired.
        if let Some(denial) = policies::denial(&self.broken).filter(|_| !drift && !plan.is_empty()) {
            self.fail(denial, None).await;
            return Ok(None);
        }
        let mut waiting = match self.waiting(rendered, &plan, &observation) {
            Ok(waiting) => waiting,
            Err(problem) => {
                self.fail(problem, None).await;
                return Ok(None);
            }
        };
        let act = Act { target: &target, placement: &placement, observation: &observation, open: &open };
        let mut hooks = self.hooks_before(act, rendered, &waiting).await?;
        let parted = self.part(&target, &placement, &observation, &seen).await?;
        drop(seen);
        let mut due = self.due(&plan, &observation);
        due.steps.retain(|step| parted.lets(step));
        due.steps.retain(|step| {
            let Some(component) = &step.component else { return true };
            // Kinds come first of all: hooks may be of them.
            let first = step.object.kind == "CustomResourceDefinition" && step.action != Action::Delete;
            !waiting.contains(component) && (first || !hooks.contains_key(component))
        });
        waiting.extend(hooks.keys().cloned());
        // What waits for its turn, or was passed over because its newest state is not seen yet, was not applied: that it
        // differs is no drift.
        let whole = due.steps.len() == plan.changing().count() && !parted.is_pending();
        let repair = !drift || target.state.file.sync.self_heal || due.steps.iter().all(is_left_over);
        let mut wait = None;
        if !target.report.suspended && repair && !due.is_empty() {
            match self.execute(&placement, &target, rendered, &open, due, drift, &observation).await? {
                None if whole => self.applied = Some(digest.clone()),
                None => {}
                Some(error) => {
                    self.fail(error, None).await;
                    return Ok(Some(RETRY));
                }
            }
            wait = Some(IN_FLIGHT);
        } else if plan.is_empty() && !parted.is_pending() {
            self.in_flight.clear();
            self.applied = Some(digest.clone());
        } else if !self.in_flight.is_empty() || !self.behind.is_empty() {
            wait = Some(IN_FLIGHT);
        }
        let done = settled(rendered, &plan, &observation, &waiting);
        hooks.extend(self.hooks_after(act, rendered, &done).await?);
        let leftovers = self.leftovers(&target).await;
        let judged =
            Judged { observation: &observation, placement: &placement, leftovers: &leftovers, parted: &parted };
        let healthy = self.judge(&target, &rendering, judged, plan, &hooks).await?;
        self.arriving &= !healthy;
        if healthy && !target.report.suspended && self.clear(&target, leftovers).await? {
            wait = wait.or(Some(LEFT));
        }
        let lacks_chart = rendering.sourceless.iter().any(|(_, lack)| lack.reason == lacks::CHART);
        let again = [wait, self.hooks_until, lacks_chart.then_some(crate::charts::AGAIN)];
        Ok(again.into_iter().flatten().min())
    }

    /// What the cluster can do, asked once for each target: what is rendered follows from what was admitted, and not from
    /// what others install meanwhile.
    async fn ask(&mut self, target: &Target, placement: &Placement) -> Result<(), PortError> {
        let plane = target.plane_name();
        let known = |known: &Arc<Recorded>| known.commit == target.commit && known.data_plane == plane;
        if !self.capabilities.as_ref().is_some_and(known) {
            let answer = placement.plane.capabilities().await?;
            let recorded = |capabilities| Recorded { commit: target.commit.clone(), data_plane: plane, capabilities };
            self.capabilities = answer.map(recorded).map(Arc::new);
        }
        Ok(())
    }

    /// Notices that the environment has moved to another data plane.
    fn arrive(&mut self, target: &Target) {
        let name = target.plane_name();
        if self.on.as_ref() != Some(&name) {
            if let Some(before) = self.on.replace(name.clone()) {
                self.left.insert(before);
                self.arriving = true;
            }
            self.applied = None;
            self.in_flight.clear();
            self.behind.clear();
        }
        self.left.remove(&name);
    }

    /// What would stand. An object whose newest state the observation does not show yet is not judged until it does.
    async fn predict(
        &mut self,
        placement: &Placement,
        manifests: &[Value],
        observation: &Observation,
    ) -> Result<Vec<Result<Value, String>>, PortError> {
        let asked: Vec<Value> = manifests.iter().map(sealing::well_formed).collect();
        let mut predicted = placement.plane.predict(&asked).await?;
        for ((manifest, asked), predicted) in manifests.iter().zip(&asked).zip(&mut predicted) {
            if let Ok(predicted) = predicted {
                sealing::as_masked(manifest, asked, predicted);
                sealing::mask_predicted(&*self.inner.ports.secrets, manifest, predicted)?;
            }
        }
        let now = Instant::now();
        let behind: BTreeSet<ObjectId> = predicted.iter().flatten().filter_map(|p| behind(p, observation)).collect();
        self.behind.retain(|id, _| behind.contains(id));
        for id in behind {
            self.behind.entry(id).or_insert(now);
        }
        Ok(predicted)
    }

    fn plan(
        &self,
        target: &Target,
        desired: &[(Option<Component>, Value)],
        predicted: &[Result<Value, String>],
        observation: &Observation,
        applied: bool,
    ) -> Result<Plan, String> {
        let input = plan::Input {
            project: &self.handle.scope.project,
            environment: &self.handle.name,
            commit: &target.commit,
            desired,
            predicted,
            observation,
            applied,
            prune: target.state.file.sync.prune,
        };
        let mut plan = plan::plan(&input).map_err(|refusal| refusal.to_string())?;
        sealing::tell(&mut plan);
        Ok(plan)
    }

    /// Components whose turn has not come: what they need is not what was admitted, or not healthy yet.
    fn waiting(
        &self,
        rendered: &[Rendered],
        plan: &Plan,
        observation: &Observation,
    ) -> Result<BTreeSet<Component>, String> {
        let needs = order::needs(&self.handle.scope.project, rendered.iter().map(|one| &one.file));
        let ready = |component: &Component| {
            let of_it = |step: &&model::flow::Step| step.component.as_ref() == Some(component);
            let applied = plan.steps.iter().filter(of_it).all(|step| step.action == Action::Unchanged);
            let one = rendered.iter().find(|one| one.pin.build.component == *component);
            let healthy =
                |one: &Rendered| health::component(&one.manifests.objects, observation).health == Health::Healthy;
            applied && one.is_none_or(healthy)
        };
        Ok(order::waiting(&needs, ready)?.into_iter().cloned().collect())
    }

    /// The plan without the steps whose effect is still on its way to the observation.
    pub(crate) fn due(&mut self, plan: &Plan, observation: &Observation) -> Plan {
        let now = Instant::now();
        self.in_flight.retain(|id, (seen, at)| now.duration_since(*at) < IN_FLIGHT && *seen == look(observation, id));
        let behind = |id: &ObjectId| self.behind.get(id).is_some_and(|since| now.duration_since(*since) < IN_FLIGHT);
        let open = |step: &&model::flow::Step| !self.in_flight.contains_key(&step.object) && !behind(&step.object);
        Plan { steps: plan.changing().filter(open).cloned().collect(), ..plan.clone() }
    }

    /// Steps that ran: their effect is not observed yet.
    pub(crate) fn on_their_way(&mut self, receipt: &Receipt, observation: &Observation) {
        for result in receipt.results.iter().filter(|r| r.error.is_none()) {
            self.in_flight.insert(result.object.clone(), (look(observation, &result.object), Instant::now()));
        }
    }

    /// Runs what is due. Answers with the first failure.
    async fn execute(
        &mut self,
        placement: &Placement,
        target: &Target,
        rendered: &[Rendered],
        open: &sealing::Open,
        due: Plan,
        drift: bool,
        observation: &Observation,
    ) -> Result<Option<String>, Stop> {
        let behind = rendered.iter().flat_map(|one| one.behind.clone()).collect();
        let opened = sealing::open(&*self.inner.ports.secrets, &due, &behind, open)?;
        let receipt = placement.plane.execute(&due, &opened).await.map_err(Stop::DataPlane)?;
        drop(opened);
        self.on_their_way(&receipt, observation);
        if let Some(failed) = receipt.failure() {
            return Ok(Some(format!("{}: {}", failed.object, failed.error.as_deref().unwrap_or_default())));
        }
        let drifted: Vec<_> = due.steps.iter().filter(|step| !is_left_over(step)).collect();
        if drift && !drifted.is_empty() {
            let now = self.inner.now();
            let what: Vec<String> =
                drifted.iter().map(|s| format!("{} {}: {}", verb(s.action), s.object, s.reason)).collect();
            let mut entry =
                self.entry(EntryKind::Repaired, format!("repaired-{}-{}", self.handle.name, now.as_millisecond()));
            entry.commit = Some(target.commit.clone());
            entry.component = drifted.iter().find_map(|s| s.component.clone());
            let objects: BTreeSet<String> = drifted.iter().map(|s| s.object.to_string()).collect();
            entry.summary =
                format!("{}: repaired {}", self.handle.name, objects.into_iter().collect::<Vec<_>>().join(", "));
            entry.reason = what.join("\n");
            self.inner.ports.repositories.append(&self.handle.scope.project, &entry).await?;
            self.project.told();
        }
        Ok(None)
    }

    pub(crate) fn entry(&self, kind: EntryKind, id: String) -> Entry {
        let mut entry = Entry::new(kind, id, self.inner.now(), promote::ACTOR);
        entry.environment = Some(self.handle.name.clone());
        entry
    }

    /// A look ended early: why, and whether the data plane is to blame.
    async fn stopped(&mut self, stop: Stop) {
        let plane = self.handle.target().and_then(|target| Some(target.plane.as_ref()?.name.clone()));
        match (stop, plane) {
            (Stop::DataPlane(error), Some(plane)) => {
                self.fail(format!("DataPlane {plane} unreachable: {error}"), Some(plane)).await;
            }
            (Stop::DataPlane(error) | Stop::Other(error), _) => self.fail(error.to_string(), None).await,
        }
    }
}

/// Components that are what was admitted, and healthy.
fn settled(
    rendered: &[Rendered],
    plan: &Plan,
    observation: &Observation,
    waiting: &BTreeSet<Component>,
) -> BTreeSet<Component> {
    let done = |one: &&Rendered| {
        let component = &one.pin.build.component;
        let of_it = |step: &&model::flow::Step| step.component.as_ref() == Some(component);
        !one.manifests.hooks.is_empty()
            && !waiting.contains(component)
            && plan.steps.iter().filter(of_it).all(|step| step.action == Action::Unchanged)
            && health::component(&one.manifests.objects, observation).health == Health::Healthy
    };
    rendered.iter().filter(done).map(|one| one.pin.build.component.clone()).collect()
}

/// A ConfigMap or Secret that was there for Pods of before and goes now that they are gone: nobody changed anything.
fn is_left_over(step: &model::flow::Step) -> bool {
    step.action == Action::Delete && matches!(step.object.kind.as_str(), "ConfigMap" | "Secret")
}

/// What tells one state of an object from another.
fn look(observation: &Observation, id: &ObjectId) -> Option<String> {
    let object = observation.get(id)?;
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    Some(format!("{} {}", text("uid"), text("resourceVersion")))
}

/// The object, if the server knows a newer state of it than the observation shows.
fn behind(predicted: &Value, observation: &Observation) -> Option<ObjectId> {
    let revision = predicted["metadata"]["resourceVersion"].as_str().filter(|revision| !revision.is_empty())?;
    let id = ObjectId::of(predicted);
    let seen = observation.get(&id).and_then(|live| live["metadata"]["resourceVersion"].as_str());
    (seen != Some(revision)).then_some(id)
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::Create => "created",
        Action::Configure => "configured",
        Action::Unchanged => "unchanged",
        Action::Delete => "deleted",
    }
}
