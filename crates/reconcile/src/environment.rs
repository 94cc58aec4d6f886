//! The loop of one environment: makes the cluster what was admitted, and says how it is doing.

use crate::{Inner, order, project, projections, wake_of};
use model::config::ComponentFile;
use model::flow::{Action, Health, Manifests, ObjectId, Observation, Plan, Repository, Revision, Verdict};
use model::journal::{Entry, EntryKind};
use model::ports::{PortError, Scope};
use model::records::Kind;
use model::routes::{Backend, Route};
use model::views::ComponentStatus;
use model::{BuildId, CommitId, Component, Digest, Environment, Pin, Project};
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
/// An object on which a step ran and that has not changed in the observation since is not looked at again before this.
const IN_FLIGHT: Duration = Duration::from_secs(3);
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
    /// The project has it no more: nothing of it shall stand.
    pub removed: bool,
}

impl Target {
    /// `None` while nothing is admitted.
    pub fn of(facts: &Facts, name: &Environment, report: &Report) -> Option<Self> {
        let commit = report.admitted.clone()?;
        let mut state = facts.state(&commit, name)?.as_ref().ok()?.clone();
        crate::removal::inherit(facts, &commit, &mut state.file);
        let source = |pin: &Pin| Some((pin.build.clone(), facts.build(&pin.build)?.spec.repository.clone()));
        let sources = state.pins.values().filter_map(source).collect();
        Some(Self { commit, state, report: report.clone(), sources, removed: false })
    }

    /// Of an environment that the project has no more since this commit.
    pub fn removed(commit: &CommitId) -> Self {
        let (state, report, sources) = (State::default(), Report::default(), BTreeMap::new());
        Self { commit: commit.clone(), state, report, sources, removed: true }
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
    pub components: Vec<ComponentStatus>,
    /// What would be done now.
    pub plan: Option<Plan>,
}

/// An environment, as others see it.
pub struct Handle {
    pub name: Environment,
    pub scope: Scope,
    notify: Arc<Notify>,
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

    pub fn target(&self) -> Option<Target> {
        self.target.borrow().clone()
    }
    pub fn outcome(&self) -> Outcome {
        self.outcome.borrow().clone()
    }
}

/// Runs until `shutdown`.
pub async fn run(inner: Arc<Inner>, project: Arc<project::Handle>, handle: Arc<Handle>, shutdown: CancellationToken) {
    let applied = last_applied(&inner, &handle).await;
    let mut work = Work {
        inner,
        project,
        handle: handle.clone(),
        applied,
        in_flight: BTreeMap::new(),
        behind: BTreeMap::new(),
        told: BTreeSet::new(),
        shown: BTreeMap::new(),
    };
    loop {
        let wait = match work.pass().await {
            Ok(wait) => wait,
            Err(error) => {
                work.fail(error.to_string());
                Some(RETRY)
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

/// What an earlier process applied: told apart from that, a difference in the cluster is drift.
async fn last_applied(inner: &Inner, handle: &Handle) -> Option<Digest> {
    let environments = inner.ports.records.list(Kind::Environment, &handle.scope.project).await.ok()?;
    let own = environments.iter().find(|e| e["metadata"]["name"] == handle.name.as_str())?;
    own["status"]["applied"].as_str()?.parse().ok()
}

/// The loop's own state: nothing but caches, and steps whose effect has not been observed.
struct Work {
    inner: Arc<Inner>,
    project: Arc<project::Handle>,
    handle: Arc<Handle>,
    applied: Option<Digest>,
    /// Object → what it looked like when a step ran on it, and when that was.
    in_flight: BTreeMap<ObjectId, (Option<String>, Instant)>,
    /// Objects of which the server knows a newer state than the observation, and since when.
    behind: BTreeMap<ObjectId, Instant>,
    told: BTreeSet<String>,
    shown: BTreeMap<String, Value>,
}

/// A component of the target with its manifests.
struct Rendered {
    pin: Pin,
    file: ComponentFile,
    manifests: Manifests,
}

impl Work {
    /// One look. Answers when to look again at the latest.
    async fn pass(&mut self) -> Result<Option<Duration>, PortError> {
        let Some(target) = self.handle.target() else { return Ok(None) };
        let rendered = match self.render(&target).await? {
            Ok(rendered) => rendered,
            Err(problem) => {
                self.fail(problem);
                return Ok(None);
            }
        };
        let desired = if target.removed { Vec::new() } else { desired(&self.handle, &rendered) };
        if target.removed {
            // First nobody is sent there any more.
            self.inner.routes.set(&self.handle.scope, Vec::new()).await;
        }
        let objects: Vec<Value> = desired.iter().map(|(_, object)| object.clone()).collect();
        let all = Manifests { objects, notes: Vec::new() };
        let digest = all.digest();
        let data_plane = self.inner.ports.data_plane.clone();
        let observation = data_plane.observe(&self.handle.scope, wake_of(&self.handle.notify)).await?;
        let drift = self.applied.as_ref() == Some(&digest);
        let predicted = self.predict(&all.objects, &observation).await?;
        let plan = match self.plan(&target, &desired, &predicted, &observation, drift) {
            Ok(plan) => plan,
            Err(refusal) => {
                self.fail(refusal);
                return Ok(None);
            }
        };
        let waiting = match self.waiting(&rendered, &plan, &observation) {
            Ok(waiting) => waiting,
            Err(problem) => {
                self.fail(problem);
                return Ok(None);
            }
        };
        let mut due = self.due(&plan, &observation);
        due.steps.retain(|step| step.component.as_ref().is_none_or(|component| !waiting.contains(component)));
        let repair = !drift || target.state.file.sync.self_heal;
        let mut wait = None;
        if !target.report.suspended && repair && !due.is_empty() {
            match self.execute(&target, due, drift, &observation).await? {
                // What waits for its turn was not applied yet: that it differs is no drift.
                None if waiting.is_empty() => self.applied = Some(digest.clone()),
                None => {}
                Some(error) => {
                    self.fail(error);
                    return Ok(Some(RETRY));
                }
            }
            wait = Some(IN_FLIGHT);
        } else if plan.is_empty() && target.removed {
            self.bury(&target).await?;
            return Ok(None);
        } else if plan.is_empty() {
            self.in_flight.clear();
            self.applied = Some(digest.clone());
        } else if !self.in_flight.is_empty() || !self.behind.is_empty() {
            wait = Some(IN_FLIGHT);
        }
        if target.removed {
            self.publish(Outcome { commit: Some(target.commit.clone()), plan: Some(plan), ..Outcome::default() });
            return Ok(wait);
        }
        self.judge(&target, &rendered, &observation, plan).await?;
        Ok(wait)
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
        (self.applied, self.told, self.shown) = (None, BTreeSet::new(), BTreeMap::new());
        self.in_flight.clear();
        self.publish(Outcome::default());
        self.project.wake();
        Ok(())
    }

    async fn render(&self, target: &Target) -> Result<Result<Vec<Rendered>, String>, PortError> {
        let mut rendered = Vec::new();
        for pin in target.state.pins.values() {
            let Some(repository) = target.sources.get(&pin.build) else {
                return Ok(Err(format!("{}: its build is not known here", pin.build)));
            };
            let revision = Revision { repository: repository.clone(), commit: pin.source.clone() };
            let described = self.project.reader(&self.inner).component(&revision).await?;
            let file = match described.as_ref() {
                Some(Ok(file)) => file.clone(),
                Some(Err(problem)) => return Ok(Err(format!("{}: {problem}", pin.build))),
                None => return Ok(Err(format!("{}: its commit has no {}", pin.build, crate::config::COMPONENT_FILE))),
            };
            let input =
                render::Input { component: &file, pin, environment: &self.handle.name, file: &target.state.file };
            match render::render(&input) {
                Ok(manifests) => rendered.push(Rendered { pin: pin.clone(), file, manifests }),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        Ok(Ok(rendered))
    }

    /// What would stand. An object whose newest state the observation does not show yet is not judged until it does.
    async fn predict(
        &mut self,
        manifests: &[Value],
        observation: &Observation,
    ) -> Result<Vec<Result<Value, String>>, PortError> {
        let predicted = self.inner.ports.data_plane.predict(manifests).await?;
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
        plan::plan(&input).map_err(|refusal| refusal.to_string())
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
        target: &Target,
        due: Plan,
        drift: bool,
        observation: &Observation,
    ) -> Result<Option<String>, PortError> {
        let receipt = self.inner.ports.data_plane.execute(&due).await?;
        for result in receipt.results.iter().filter(|r| r.error.is_none()) {
            self.in_flight.insert(result.object.clone(), (look(observation, &result.object), Instant::now()));
        }
        if let Some(failed) = receipt.failure() {
            return Ok(Some(format!("{}: {}", failed.object, failed.error.as_deref().unwrap_or_default())));
        }
        if drift {
            let now = self.inner.now();
            let what: Vec<String> =
                due.steps.iter().map(|s| format!("{} {}: {}", verb(s.action), s.object, s.reason)).collect();
            let mut entry =
                self.entry(EntryKind::Repaired, format!("repaired-{}-{}", self.handle.name, now.as_millisecond()));
            entry.commit = Some(target.commit.clone());
            entry.component = due.steps.iter().find_map(|s| s.component.clone());
            let objects: BTreeSet<String> = due.steps.iter().map(|s| s.object.to_string()).collect();
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
        rendered: &[Rendered],
        observation: &Observation,
        plan: Plan,
    ) -> Result<(), PortError> {
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
            components.push(self.status(one, verdict, observation, !untouched).await);
        }
        let routes =
            rendered.iter().zip(&components).filter_map(|(one, status)| self.route(one, status, observation)).collect();
        let reachable = self.inner.routes.set(&self.handle.scope, routes).await;
        let outcome = Outcome {
            commit: Some(target.commit.clone()),
            applied: self.applied.clone(),
            error: None,
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
        Ok(())
    }

    async fn status(
        &self,
        one: &Rendered,
        verdict: Verdict,
        observation: &Observation,
        drifted: bool,
    ) -> ComponentStatus {
        let component = one.pin.build.component.clone();
        let mut message = verdict.message;
        if verdict.health == Health::Degraded
            && let Some(log) = self.last_words(&component, observation).await
        {
            message = format!("{message}\n{log}");
        }
        let public = render::public_endpoint(&one.file).is_some();
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
    async fn last_words(&self, component: &Component, observation: &Observation) -> Option<String> {
        let failing = observation.objects.values().find(|object| {
            let restarted =
                object.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_i64).unwrap_or(0) > 0;
            let label = object.pointer("/metadata/labels").and_then(|l| l.get(model::LABEL_COMPONENT));
            object["kind"] == "Pod" && label.and_then(Value::as_str) == Some(component.as_str()) && restarted
        })?;
        let (namespace, pod) = (failing["metadata"]["namespace"].as_str()?, failing["metadata"]["name"].as_str()?);
        let running = failing.pointer("/status/containerStatuses/0/state/running").is_some();
        let log = self.inner.ports.data_plane.logs(namespace, pod, LOG_LINES, running).await.ok()?;
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

    fn entry(&self, kind: EntryKind, id: String) -> Entry {
        let mut entry = Entry::new(kind, id, self.inner.now(), promote::ACTOR);
        entry.environment = Some(self.handle.name.clone());
        entry
    }

    /// What went wrong, in the records and for everybody who asks; the last good state stays.
    fn fail(&mut self, error: String) {
        tracing::warn!(environment = %self.handle.name, %error, "the environment is not what was admitted");
        self.publish(Outcome { error: Some(error), ..self.handle.outcome() });
    }

    fn publish(&self, outcome: Outcome) {
        let changed = self.handle.outcome.send_if_modified(|current| {
            let changed = *current != outcome;
            *current = outcome;
            changed
        });
        if changed {
            self.project.tick();
        }
    }

    /// Shows the environment and its pins in the control API.
    async fn show(&mut self, target: &Target, rendered: &[Rendered], outcome: &Outcome) -> Result<(), PortError> {
        let project = &self.handle.scope.project;
        let mut objects = vec![(
            Kind::Environment,
            projections::environment(project, &self.handle.name, &target.state, &target.report, outcome),
        )];
        for (one, status) in rendered.iter().zip(&outcome.components) {
            let object = projections::deployment(project, &self.handle.name, &one.pin, &target.commit, status);
            objects.push((Kind::ComponentDeployment, object));
        }
        let gone: Vec<String> = self
            .shown
            .keys()
            .filter(|name| !objects.iter().any(|(_, o)| o["metadata"]["name"] == name.as_str()))
            .cloned()
            .collect();
        for (kind, object) in objects {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if self.shown.get(&name) != Some(&object) {
                self.inner.ports.records.apply(kind, &object).await?;
                self.shown.insert(name, object);
            }
        }
        for name in gone {
            self.inner.ports.records.delete(Kind::ComponentDeployment, project, &name).await?;
            self.shown.remove(&name);
        }
        Ok(())
    }
}

/// All objects of the environment, the namespace first.
fn desired(handle: &Handle, rendered: &[Rendered]) -> Vec<(Option<Component>, Value)> {
    let mut desired = vec![(None, render::namespace(&handle.scope.project, &handle.name))];
    for one in rendered {
        let component = Some(one.pin.build.component.clone());
        desired.extend(one.manifests.objects.iter().map(|object| (component.clone(), object.clone())));
    }
    desired
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
