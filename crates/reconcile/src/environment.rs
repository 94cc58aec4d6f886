//! The loop of one environment: makes the cluster what was admitted, and says how it is doing.

use crate::config::Config;
use crate::lacks::{self, Lack};
use crate::moving::Leftover;
use crate::planes::{self, Plane, Stop};
use crate::{Inner, inputs, order, project, projections, sealing, wake_of};
use model::config::{ComponentFile, EnvironmentFile};
use model::flow::{Action, Health, Manifests, ObjectId, Observation, Plan, Repository, Revision, Verdict};
use model::journal::{Entry, EntryKind};
use model::ports::{Placement, PortError, Scope};
use model::records::Kind;
use model::routes::{Backend, Route};
use model::views::ComponentStatus;
use model::{BuildId, CommitId, Component, DataPlaneName, Digest, Environment, Pin, Project};
use promote::{Facts, Report, State};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
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
/// Lines of a container's log that explain a failure.
const LOG_LINES: u32 = 20;

/// What an environment should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The admitted commit.
    pub commit: CommitId,
    /// And what stands there.
    pub state: State,
    pub report: Report,
    /// Where the source of each pinned build lies.
    pub sources: BTreeMap<BuildId, Repository>,
    /// Where it runs; `None`: on the embedded data plane.
    pub plane: Option<Plane>,
    /// Tells the project from others of its name.
    pub claim: String,
    /// The project has it no more: nothing of it shall stand.
    pub removed: bool,
}

impl Target {
    /// `None` while nothing is admitted.
    pub fn of(facts: &Facts, config: &Config, name: &Environment, report: &Report) -> Option<Self> {
        let commit = report.admitted.clone()?;
        let mut state = facts.state(&commit, name)?.as_ref().ok()?.clone();
        crate::removal::inherit(facts, &commit, &mut state.file);
        let source = |pin: &Pin| Some((pin.build.clone(), facts.build(&pin.build)?.spec.repository.clone()));
        let sources = state.pins.values().filter_map(source).collect();
        let plane = state.file.remote().map(|plane| Plane {
            name: plane.clone(),
            file: match config.data_planes.get(plane) {
                Some(read) => read.clone(),
                None => Err(format!("dataplanes/{plane}.yaml is missing on main")),
            },
        });
        let (report, claim) = (report.clone(), planes::claim(facts));
        Some(Self { commit, state, report, sources, plane, claim, removed: false })
    }

    /// Of an environment that the project has no more at head.
    pub fn removed(facts: &Facts) -> Self {
        Self {
            commit: facts.head.clone(),
            state: State::default(),
            report: Report::default(),
            sources: BTreeMap::new(),
            plane: None,
            claim: planes::claim(facts),
            removed: true,
        }
    }
}

/// How an environment stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// What the target was when this was found out.
    pub commit: Option<CommitId>,
    /// Digest of the manifests that were applied last.
    pub applied: Option<Digest>,
    /// Why the target cannot be applied.
    pub error: Option<String>,
    /// The data plane, if the error is that nobody answers there.
    pub unreachable: Option<DataPlaneName>,
    /// Where it was applied last.
    pub data_plane: Option<DataPlaneName>,
    /// Where something of it may stand that belongs there no more.
    pub left: BTreeSet<DataPlaneName>,
    /// What else people want to know.
    pub notes: Vec<String>,
    pub components: Vec<ComponentStatus>,
    /// What would be done now.
    pub plan: Option<Plan>,
}

/// An environment, as others see it.
pub struct Handle {
    pub name: Environment,
    pub scope: Scope,
    pub(crate) notify: Arc<Notify>,
    target: watch::Sender<Option<Target>>,
    outcome: watch::Sender<Outcome>,
}

impl Handle {
    pub fn new(project: &Project, name: &Environment) -> Self {
        Self {
            name: name.clone(),
            scope: Scope { project: project.clone(), environment: name.clone() },
            notify: Arc::new(Notify::new()),
            target: watch::Sender::new(None),
            outcome: watch::Sender::new(Outcome::default()),
        }
    }

    /// What it should be from now on.
    pub fn aim(&self, target: Option<Target>) {
        let changed = self.target.send_if_modified(|current| {
            let changed = *current != target;
            *current = target;
            changed
        });
        if changed {
            self.notify.notify_one();
        }
    }

    /// Something may have changed.
    pub fn wake(&self) {
        self.notify.notify_one();
    }
    pub fn target(&self) -> Option<Target> {
        self.target.borrow().clone()
    }
    pub fn outcome(&self) -> Outcome {
        self.outcome.borrow().clone()
    }
}

/// Runs until `shutdown`.
pub async fn run(inner: Arc<Inner>, project: Arc<project::Handle>, handle: Arc<Handle>, shutdown: CancellationToken) {
    let (applied, on, left) = last_applied(&inner, &handle).await.unwrap_or_default();
    let mut work = Work {
        inner,
        project,
        handle: handle.clone(),
        applied,
        on,
        left,
        arriving: false,
        failures: 0,
        in_flight: BTreeMap::new(),
        behind: BTreeMap::new(),
        told: BTreeSet::new(),
        shown: BTreeMap::new(),
        digests: sealing::Digests::default(),
        described: BTreeMap::new(),
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
async fn last_applied(
    inner: &Inner,
    handle: &Handle,
) -> Option<(Option<Digest>, Option<DataPlaneName>, BTreeSet<DataPlaneName>)> {
    let environments = inner.ports.records.list(Kind::Environment, &handle.scope.project).await.ok()?;
    let own = environments.iter().find(|e| e["metadata"]["name"] == handle.name.as_str())?;
    let status = &own["status"];
    let applied: Option<Digest> = status["applied"].as_str().and_then(|digest| digest.parse().ok());
    // Before there were others, everything was on the embedded one.
    let on = status["dataPlane"].as_str().and_then(|name| name.parse().ok());
    let on = on.or_else(|| applied.is_some().then(planes::embedded));
    let left = status["dataPlanesLeft"].as_array().into_iter().flatten();
    let left = left.filter_map(|name| name.as_str()?.parse().ok()).collect();
    Some((applied, on, left))
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
    /// In a row.
    failures: u32,
    /// Object → what it looked like when a step ran on it, and when that was.
    pub(crate) in_flight: BTreeMap<ObjectId, (Option<String>, Instant)>,
    /// Objects of which the server knows a newer state than the observation, and since when.
    behind: BTreeMap<ObjectId, Instant>,
    pub(crate) told: BTreeSet<String>,
    pub(crate) shown: BTreeMap<String, Value>,
    digests: sealing::Digests,
    /// What components describe themselves, by what it was made of.
    described: BTreeMap<Component, (Ingredients, Manifests)>,
}

/// What the objects depend on that a component describes itself.
type Ingredients = (Pin, EnvironmentFile, Vec<Environment>);

/// A component of the target with its manifests.
pub struct Rendered {
    pub pin: Pin,
    file: ComponentFile,
    pub manifests: Manifests,
    /// What is sealed behind the masks of its Secrets.
    behind: sealing::Behind,
    /// It is held: its manifests are not applied.
    pub lacks: Option<Lack>,
}

/// What was rendered, and the pins that cannot be.
struct Rendering {
    rendered: Vec<Rendered>,
    sourceless: Vec<(Pin, Lack)>,
}

impl Rendering {
    fn held(&self) -> BTreeSet<Component> {
        let lacking = self.rendered.iter().filter(|one| one.lacks.is_some()).map(|one| &one.pin);
        lacking.chain(self.sourceless.iter().map(|(pin, _)| pin)).map(|pin| pin.build.component.clone()).collect()
    }
}

impl Work {
    /// One look. Answers when to look again at the latest.
    async fn pass(&mut self) -> Result<Option<Duration>, Stop> {
        let Some(target) = self.handle.target() else { return Ok(None) };
        if target.removed {
            return self.remove(&target).await;
        }
        self.arrive(&target);
        let mut rendering = match self.render(&target).await? {
            Ok(rendering) => rendering,
            Err(problem) => {
                self.fail(problem, None).await;
                return Ok(None);
            }
        };
        let placement =
            planes::find(&self.inner, &self.project, &target.plane_name()).await.map_err(Stop::DataPlane)?;
        let held = rendering.held();
        let mut desired = planes::desired(&self.handle, &mut rendering.rendered, &target, &placement);
        let Rendering { rendered, .. } = &rendering;
        let open = sealing::mask_manifests(&*self.inner.ports.secrets, desired.iter_mut().map(|(_, object)| object))?;
        let objects: Vec<Value> = desired.iter().map(|(_, object)| object.clone()).collect();
        let all = Manifests { objects, notes: Vec::new() };
        let digest = all.digest();
        let observed = placement.plane.observe(&self.handle.scope, wake_of(&self.handle.notify)).await;
        let mut observation = observed.map_err(Stop::DataPlane)?;
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
        let waiting = match self.waiting(rendered, &plan, &observation) {
            Ok(waiting) => waiting,
            Err(problem) => {
                self.fail(problem, None).await;
                return Ok(None);
            }
        };
        let mut due = self.due(&plan, &observation);
        due.steps.retain(|step| step.component.as_ref().is_none_or(|component| !waiting.contains(component)));
        let repair = !drift || target.state.file.sync.self_heal || due.steps.iter().all(is_left_over);
        let mut wait = None;
        if !target.report.suspended && repair && !due.is_empty() {
            match self.execute(&placement, &target, rendered, &open, due, drift, &observation).await? {
                // What waits for its turn was not applied yet: that it differs is no drift.
                None if waiting.is_empty() => self.applied = Some(digest.clone()),
                None => {}
                Some(error) => {
                    self.fail(error, None).await;
                    return Ok(Some(RETRY));
                }
            }
            wait = Some(IN_FLIGHT);
        } else if plan.is_empty() {
            self.in_flight.clear();
            self.applied = Some(digest.clone());
        } else if !self.in_flight.is_empty() || !self.behind.is_empty() {
            wait = Some(IN_FLIGHT);
        }
        let leftovers = self.leftovers(&target).await;
        let healthy = self.judge(&target, &rendering, &observation, &placement, plan, &leftovers).await?;
        self.arriving &= !healthy;
        if healthy && !target.report.suspended && self.clear(&target, leftovers).await? {
            wait = wait.or(Some(LEFT));
        }
        Ok(wait)
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

    async fn render(&mut self, target: &Target) -> Result<Result<Rendering, String>, PortError> {
        let (mut rendered, mut sourceless) = (Vec::new(), Vec::new());
        let configuration = Repository::config(&self.handle.scope.project);
        let project = self.project.clone();
        let reader = project.reader(&self.inner);
        // Secrets, and where values are looked for, are read at the admitted commit; everything else at the pin's.
        let admitted = reader.config(&configuration, &target.commit).await?;
        let chain = admitted.chain(&self.handle.name);
        for pin in target.state.pins.values() {
            let Some(repository) = target.sources.get(&pin.build) else {
                return Ok(Err(format!("{}: its build is not known here", pin.build)));
            };
            let revision = Revision { repository: repository.clone(), commit: pin.source.clone() };
            let described = match reader.described(&revision, &pin.config, Some(&pin.build.component)).await {
                Err(PortError::Terminal(error)) => {
                    sourceless.push((pin.clone(), self.inner.source_lack(pin, repository, &error)));
                    continue;
                }
                described => described?,
            };
            let file = match described {
                Some(Ok(described)) => described.file,
                Some(Err(problem)) => return Ok(Err(format!("{}: {problem}", pin.build))),
                None => return Ok(Err(format!("{}: its commit has no {}", pin.build, crate::config::COMPONENT_FILE))),
            };
            let config = reader.config(&configuration, &pin.config).await?;
            let groups = match inputs::groups(&file, &config, &chain) {
                Ok(groups) => groups,
                Err(problem) => return Ok(Err(format!("{}: {problem}", pin.build))),
            };
            let (secrets, behind) = match self.digests.secrets(&*self.inner.ports.secrets, &file, &admitted, &chain)? {
                Ok(found) => found,
                Err(problem) => return Ok(Err(format!("{}: {problem}", pin.build))),
            };
            let settings = render::settings::Settings { groups, secrets };
            let input = render::Input {
                component: &file,
                pin,
                environment: &self.handle.name,
                file: &target.state.file,
                settings: &settings,
            };
            let made = match file.manifests {
                None => render::render(&input),
                Some(_) => self.describe(pin, &file, &revision, target, &admitted).await?,
            };
            match made {
                Ok(manifests) => {
                    let lacks = self.inner.image_lack(pin).await?;
                    rendered.push(Rendered { pin: pin.clone(), file, manifests, behind, lacks });
                }
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        Ok(Ok(Rendering { rendered, sourceless }))
    }

    /// The objects that a component describes itself. A pin's never change in one environment: they are kept.
    async fn describe(
        &mut self,
        pin: &Pin,
        file: &ComponentFile,
        revision: &Revision,
        target: &Target,
        admitted: &Config,
    ) -> Result<Result<Manifests, render::Error>, PortError> {
        let layers = admitted.layers(&self.handle.name);
        let key = (pin.clone(), target.state.file.clone(), layers.clone());
        let component = pin.build.component.clone();
        if let Some((known, manifests)) = self.described.get(&component)
            && *known == key
        {
            return Ok(Ok(manifests.clone()));
        }
        let repository = self.inner.ports.repositories.snapshot(revision, ".").await?;
        let input = render::Described {
            component: file,
            pin,
            environment: &self.handle.name,
            layers: &layers,
            file: &target.state.file,
            repository: &repository,
        };
        let made = render::described(&input);
        if let Ok(manifests) = &made {
            self.described.insert(component, (key, manifests.clone()));
        }
        Ok(made)
    }

    /// What would stand. An object whose newest state the observation does not show yet is not judged until it does.
    async fn predict(
        &mut self,
        placement: &Placement,
        manifests: &[Value],
        observation: &Observation,
    ) -> Result<Vec<Result<Value, String>>, PortError> {
        let mut predicted = placement.plane.predict(manifests).await?;
        for (manifest, predicted) in manifests.iter().zip(&mut predicted) {
            if let Ok(predicted) = predicted {
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
    fn due(&mut self, plan: &Plan, observation: &Observation) -> Plan {
        let now = Instant::now();
        self.in_flight.retain(|id, (seen, at)| now.duration_since(*at) < IN_FLIGHT && *seen == look(observation, id));
        let behind = |id: &ObjectId| self.behind.get(id).is_some_and(|since| now.duration_since(*since) < IN_FLIGHT);
        let open = |step: &&model::flow::Step| {
            step.action != Action::Unchanged && !self.in_flight.contains_key(&step.object) && !behind(&step.object)
        };
        Plan { steps: plan.steps.iter().filter(open).cloned().collect(), ..plan.clone() }
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
        for result in receipt.results.iter().filter(|r| r.error.is_none()) {
            self.in_flight.insert(result.object.clone(), (look(observation, &result.object), Instant::now()));
        }
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
            self.project.wake();
        }
        Ok(None)
    }

    /// Health, routes, journal, records: in this order, so that what is said to be healthy can be reached.
    async fn judge(
        &mut self,
        target: &Target,
        Rendering { rendered, sourceless }: &Rendering,
        observation: &Observation,
        placement: &Placement,
        mut plan: Plan,
        leftovers: &[Leftover],
    ) -> Result<bool, PortError> {
        let settled = plan.is_empty();
        let mut components = Vec::new();
        for one in rendered {
            let untouched = plan
                .steps
                .iter()
                .all(|s| s.action == Action::Unchanged || s.component.as_ref() != Some(&one.pin.build.component));
            let verdict = match untouched || target.report.suspended {
                true => health::component(&one.manifests.objects, observation),
                false => Verdict { health: Health::Progressing, reason: "Applying".into(), message: String::new() },
            };
            let mut status = self.status(target, one, verdict, observation, placement, !untouched).await;
            if let Some(lack) = one.lacks.as_ref().filter(|_| status.health != Health::Healthy) {
                lack.show(&mut status);
            }
            components.push(status);
        }
        let healthy = settled && components.iter().all(|status| status.health == Health::Healthy);
        // Requests go to where it was until it is healthy where it is.
        let reachable = if self.arriving && !healthy {
            true
        } else {
            let routed = rendered.iter().zip(&components).filter(|_| target.is_routed());
            let routes = routed.filter_map(|(one, status)| self.route(one, status, observation)).collect();
            self.inner.routes.set(&self.handle.scope, routes).await
        };
        plan.steps
            .extend(leftovers.iter().filter_map(|left| left.plan.as_ref().ok()).flat_map(|left| left.steps.clone()));
        components.extend(sourceless.iter().map(|(pin, lack)| lack.status(pin)));
        let outcome = Outcome {
            commit: Some(target.commit.clone()),
            applied: self.applied.clone(),
            error: None,
            unreachable: None,
            data_plane: self.on.clone(),
            left: self.left.clone(),
            notes: self.notes(target, leftovers),
            components,
            plan: Some(plan),
        };
        if settled && reachable {
            for (one, status) in rendered.iter().zip(&outcome.components) {
                self.tell(target, &one.pin, status).await?;
            }
        }
        self.show(target, rendered, &outcome).await?;
        self.publish(outcome);
        Ok(healthy)
    }

    async fn status(
        &self,
        target: &Target,
        one: &Rendered,
        verdict: Verdict,
        observation: &Observation,
        placement: &Placement,
        drifted: bool,
    ) -> ComponentStatus {
        let component = one.pin.build.component.clone();
        let mut message = verdict.message;
        if verdict.health == Health::Degraded
            && let Some(log) = self.last_words(&component, observation, placement).await
        {
            message = format!("{message}\n{log}");
        }
        let public = target.is_routed() && render::public_endpoint(&one.file).is_some();
        let url = public.then(|| {
            let host = render::public_host(&component, &self.handle.name, &self.handle.scope.project);
            format!("http://{host}:{}/", self.inner.settings.gateway.port())
        });
        ComponentStatus {
            component,
            build: one.pin.build.clone(),
            health: verdict.health,
            reason: verdict.reason,
            message,
            url,
            drifted,
        }
    }

    /// The end of the log of a container that failed.
    async fn last_words(
        &self,
        component: &Component,
        observation: &Observation,
        placement: &Placement,
    ) -> Option<String> {
        let failing = observation.objects.values().find(|object| {
            let restarted =
                object.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_i64).unwrap_or(0) > 0;
            let label = object.pointer("/metadata/labels").and_then(|l| l.get(model::LABEL_COMPONENT));
            object["kind"] == "Pod" && label.and_then(Value::as_str) == Some(component.as_str()) && restarted
        })?;
        let (namespace, pod) = (failing["metadata"]["namespace"].as_str()?, failing["metadata"]["name"].as_str()?);
        let running = failing.pointer("/status/containerStatuses/0/state/running").is_some();
        let log = placement.plane.logs(namespace, pod, LOG_LINES, running).await.ok()?;
        (!log.trim().is_empty())
            .then(|| log.trim_end().lines().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n"))
    }

    fn route(&self, one: &Rendered, status: &ComponentStatus, observation: &Observation) -> Option<Route> {
        let (name, endpoint) = render::public_endpoint(&one.file)?;
        let component = &one.pin.build.component;
        let endpoints = ready(observation, component, name, endpoint.port);
        Some(Route {
            host: render::public_host(component, &self.handle.name, &self.handle.scope.project),
            label: format!("{component} in {}: {:?}", self.handle.name, status.health),
            backends: vec![Backend { name: "stable".into(), weight: 1, endpoints }],
        })
    }

    /// The journal hears of health once per movement of a component.
    async fn tell(&mut self, target: &Target, pin: &Pin, status: &ComponentStatus) -> Result<(), PortError> {
        let component = &pin.build.component;
        let since = target.report.since.get(component).unwrap_or(&target.commit);
        let (kind, word) = match status.health {
            Health::Healthy => (EntryKind::Healthy, "is healthy"),
            Health::Degraded => (EntryKind::Failed, "does not become healthy"),
            Health::Suspended | Health::Progressing | Health::Missing => return Ok(()),
        };
        let id = format!("{kind}-{}-{}-{}", self.handle.name, pin.build, &since.as_str()[..12]);
        if self.told.contains(&id) {
            return Ok(());
        }
        let mut entry = self.entry(kind, id.clone());
        entry.component = Some(component.clone());
        entry.build = Some(pin.build.clone());
        entry.commit = Some(since.clone());
        entry.summary = format!("{}: {} {word}", self.handle.name, pin.build);
        if kind == EntryKind::Failed {
            entry.reason = format!("{}: {}", status.reason, status.message);
        }
        self.inner.ports.repositories.append(&self.handle.scope.project, &entry).await?;
        self.told.insert(id);
        self.project.wake();
        Ok(())
    }

    pub(crate) fn entry(&self, kind: EntryKind, id: String) -> Entry {
        let mut entry = Entry::new(kind, id, self.inner.now(), promote::ACTOR);
        entry.environment = Some(self.handle.name.clone());
        entry
    }

    /// A look ended early: why, and whether the data plane is to blame.
    async fn stopped(&mut self, stop: Stop) {
        let plane = self.handle.target().and_then(|target| target.plane).map(|plane| plane.name);
        match (stop, plane) {
            (Stop::DataPlane(error), Some(plane)) => {
                self.fail(format!("DataPlane {plane} unreachable: {error}"), Some(plane)).await;
            }
            (Stop::DataPlane(error) | Stop::Other(error), _) => self.fail(error.to_string(), None).await,
        }
    }

    /// What went wrong, in the records and for everybody who asks; the last good state stays.
    async fn fail(&mut self, error: String, unreachable: Option<DataPlaneName>) {
        tracing::warn!(environment = %self.handle.name, %error, "the environment is not what was admitted");
        let outcome = Outcome {
            error: Some(error),
            unreachable,
            data_plane: self.on.clone(),
            left: self.left.clone(),
            ..self.handle.outcome()
        };
        if let Some(target) = self.handle.target()
            && let Err(error) = self.show_environment(&target, &outcome).await
        {
            tracing::warn!(environment = %self.handle.name, %error, "the environment cannot be shown");
        }
        self.publish(outcome);
    }

    pub(crate) fn publish(&self, outcome: Outcome) {
        let mut answers = true;
        let changed = self.handle.outcome.send_if_modified(|current| {
            let changed = *current != outcome;
            answers = current.unreachable == outcome.unreachable;
            *current = outcome;
            changed
        });
        if changed {
            self.project.tick();
        }
        // Movements wait for it.
        if !answers {
            self.project.wake();
        }
    }

    async fn show_environment(&mut self, target: &Target, outcome: &Outcome) -> Result<String, PortError> {
        let (project, name) = (&self.handle.scope.project, self.handle.name.to_string());
        let object = projections::environment(project, &self.handle.name, &target.state, &target.report, outcome);
        self.put(Kind::Environment, &name, object).await?;
        Ok(name)
    }

    async fn put(&mut self, kind: Kind, name: &str, object: Value) -> Result<(), PortError> {
        if self.shown.get(name) != Some(&object) {
            self.inner.ports.records.apply(kind, &object).await?;
            self.shown.insert(name.to_owned(), object);
        }
        Ok(())
    }

    /// Shows the environment and its pins in the control API.
    async fn show(&mut self, target: &Target, rendered: &[Rendered], outcome: &Outcome) -> Result<(), PortError> {
        let mut shown = BTreeSet::from([self.show_environment(target, outcome).await?]);
        for (one, status) in rendered.iter().zip(&outcome.components) {
            let project = &self.handle.scope.project;
            let object = projections::deployment(project, &self.handle.name, &one.pin, &target.commit, status);
            let name = projections::deployment_name(&self.handle.name, &one.pin.build.component);
            self.put(Kind::ComponentDeployment, &name, object).await?;
            shown.insert(name);
        }
        let gone: Vec<String> = self.shown.keys().filter(|name| !shown.contains(*name)).cloned().collect();
        for name in gone {
            let project = &self.handle.scope.project;
            self.inner.ports.records.delete(Kind::ComponentDeployment, project, &name).await?;
            self.shown.remove(&name);
        }
        Ok(())
    }
}

/// A ConfigMap or Secret that was there for Pods of before and goes now that they are gone: nobody changed anything.
fn is_left_over(step: &model::flow::Step) -> bool {
    step.action == Action::Delete && matches!(step.object.kind.as_str(), "ConfigMap" | "Secret")
}

/// What tells one state of an object from another.
fn look(observation: &Observation, id: &ObjectId) -> Option<String> {
    let object = observation.objects.get(id)?;
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    Some(format!("{} {}", text("uid"), text("resourceVersion")))
}

/// The object, if the server knows a newer state of it than the observation shows.
fn behind(predicted: &Value, observation: &Observation) -> Option<ObjectId> {
    let revision = predicted["metadata"]["resourceVersion"].as_str().filter(|revision| !revision.is_empty())?;
    let id = ObjectId::of(predicted);
    let seen = observation.objects.get(&id).and_then(|live| live["metadata"]["resourceVersion"].as_str());
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

/// Ready addresses of a component's endpoint, out of its EndpointSlices.
fn ready(observation: &Observation, component: &Component, name: &str, port: u16) -> Vec<SocketAddr> {
    let of_it = |slice: &&Value| {
        let service = slice.pointer("/metadata/labels").and_then(|l| l.get("kubernetes.io/service-name"));
        slice["kind"] == "EndpointSlice" && service.and_then(Value::as_str) == Some(component.as_str())
    };
    let mut addresses = Vec::new();
    for slice in observation.objects.values().filter(of_it) {
        let ports = slice["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named = ports.iter().find(|p| p["name"] == name).or(ports.first());
        let port = named.and_then(|p| p["port"].as_u64()).and_then(|p| u16::try_from(p).ok()).unwrap_or(port);
        for endpoint in slice["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default() {
            if endpoint["conditions"]["ready"] == false || endpoint["conditions"]["terminating"] == true {
                continue;
            }
            let ips = endpoint["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
            addresses.extend(
                ips.iter().filter_map(|ip| ip.as_str()?.parse::<IpAddr>().ok()).map(|ip| SocketAddr::new(ip, port)),
            );
        }
    }
    addresses.sort();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_ready_addresses_are_routed() {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": { "name": "web-x", "namespace": "shop-dev", "labels": { "kubernetes.io/service-name": "web" } },
            "ports": [{ "name": "admin", "port": 9000 }, { "name": "http", "port": 3000 }],
            "endpoints": [
                { "addresses": ["10.0.0.2"], "conditions": { "ready": true } },
                { "addresses": ["10.0.0.3"], "conditions": { "ready": false } },
                { "addresses": ["10.0.0.4"], "conditions": { "ready": true, "terminating": true } },
            ],
        });
        let observation = Observation { objects: BTreeMap::from([(ObjectId::of(&slice), slice)]) };
        let web = "web".parse().unwrap();
        assert_eq!(ready(&observation, &web, "http", 80), ["10.0.0.2:3000".parse().unwrap()]);
        assert_eq!(ready(&observation, &"api".parse().unwrap(), "http", 80), []);
    }
}
