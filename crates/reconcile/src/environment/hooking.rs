//! Hooks of charts: before anything of a movement is applied, after it is healthy, and as tests.
//!
//! A movement of a component runs the hooks of an event once: the journal says that they ran, and how that ended.

use super::{Rendered, Target, Work};
use crate::planes::Stop;
use crate::sealing;
use jiff::Timestamp;
use model::flow::{HookEvent, ObjectId, Observation, Plan, Step};
use model::journal::{Entry, EntryKind, detail};
use model::ports::{Placement, PortError};
use model::{BuildId, CommitId, Component, Environment, Pin};
use plan::{HookInput, HookProgress};
use promote::{Facts, Report, State};
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the hooks wait for, as a status says it.
pub const REASON: &str = "Hook";
/// They have failed.
pub const FAILED: &str = "HookFailed";
/// The check that a chart's tests are, in `requires.checks` of an environment.
const CHECK: &str = "test";
/// Lines of the log of a hook that failed.
const LOG_LINES: u32 = 20;

/// How a component came to be what it is in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Movement {
    /// It was not there before.
    #[default]
    Install,
    /// It was.
    Upgrade,
    /// And was a later build, or went back to a configuration that this one had here before.
    Rollback,
}

impl Movement {
    /// What templates see of it.
    pub fn is_upgrade(self) -> bool {
        self != Self::Install
    }
    fn before(self) -> HookEvent {
        match self {
            Self::Install => HookEvent::PreInstall,
            Self::Upgrade => HookEvent::PreUpgrade,
            Self::Rollback => HookEvent::PreRollback,
        }
    }
    fn after(self) -> HookEvent {
        match self {
            Self::Install => HookEvent::PostInstall,
            Self::Upgrade => HookEvent::PostUpgrade,
            Self::Rollback => HookEvent::PostRollback,
        }
    }
}

/// How hooks of a run ended, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// What failed, for people.
    pub outcome: Result<(), String>,
    /// When the journal heard of it.
    pub at: Timestamp,
}

/// Commits that were admitted to an environment since it began, oldest first.
pub fn admitted<'f>(facts: &'f Facts, name: &Environment) -> Vec<&'f CommitId> {
    let of_it = |entry: &&Entry| entry.environment.as_ref() == Some(name);
    // One that was removed begins anew.
    let begin = facts.journal.iter().rposition(|e| e.kind == EntryKind::Removed && of_it(&e)).map_or(0, |at| at + 1);
    let admitted = facts.journal[begin..].iter().filter(|entry| entry.kind == EntryKind::Admitted && of_it(entry));
    admitted.filter_map(|entry| entry.commit.as_ref()).collect()
}

/// How each pinned component came to be what it is.
pub fn movements(facts: &Facts, name: &Environment, report: &Report, state: &State) -> BTreeMap<Component, Movement> {
    let admitted = admitted(facts, name);
    let movement = |pin: &Pin| {
        let since = report.since.get(&pin.build.component)?;
        let at = admitted.iter().position(|commit| *commit == since)?;
        let before = admitted.get(at.checked_sub(1)?)?;
        let pinned = |commit: &CommitId| facts.state(commit, name)?.as_ref().ok()?.pins.get(&pin.build.component);
        let before = pinned(before)?;
        let was_here = || admitted[..at].iter().any(|commit| pinned(commit) == Some(pin));
        Some(match before.build.number.cmp(&pin.build.number) {
            Ordering::Greater => Movement::Rollback,
            Ordering::Equal if before != pin && was_here() => Movement::Rollback,
            _ => Movement::Upgrade,
        })
    };
    let charts = state.pins.values().filter(|pin| pin.chart.is_some());
    charts.map(|pin| (pin.build.component.clone(), movement(pin).unwrap_or_default())).collect()
}

/// Hooks that ran in an environment: by their run, whether they failed and why.
pub fn hooked(facts: &Facts, name: &Environment) -> BTreeMap<String, Ran> {
    let of_it = |entry: &&Entry| {
        matches!(entry.kind, EntryKind::Hooked | EntryKind::Checked)
            && entry.environment.as_ref() == Some(name)
            && entry.id.starts_with(RUN)
    };
    let outcome = |entry: &Entry| match entry.detail(detail::RESULT) {
        Some("failed") => Err(entry.reason.clone()),
        _ => Ok(()),
    };
    let ran = |entry: &Entry| (entry.id.clone(), Ran { outcome: outcome(entry), at: entry.at });
    facts.journal.iter().filter(of_it).map(ran).collect()
}

/// True if some environment takes only what was tested in this one, or tests in itself.
pub fn tests(facts: &Facts, name: &Environment) -> bool {
    let asks = |environment: &Environment| {
        let Some(Ok(state)) = facts.state(&facts.head, environment) else { return false };
        let rule = &state.file.promotion;
        let here = rule.from.contains(name) || environment == name;
        here && rule.requires.checks.iter().any(|check| check == CHECK)
    };
    facts.environments.iter().any(asks)
}

const RUN: &str = "hook-";

impl Target {
    /// How a component came to be what it is.
    pub fn movement(&self, component: &Component) -> Movement {
        self.movements.get(component).copied().unwrap_or_default()
    }

    /// Name of the one run of an event's hooks that a movement of a component has here.
    pub(super) fn run(&self, environment: &Environment, build: &BuildId, event: HookEvent) -> String {
        run_of(self, environment, build, self.report.since.get(&build.component).unwrap_or(&self.commit), event)
    }
}

/// As [`Target::run`], of a movement that began with this commit.
pub(super) fn run_of(
    target: &Target,
    environment: &Environment,
    build: &BuildId,
    since: &CommitId,
    event: HookEvent,
) -> String {
    // Elsewhere it comes new.
    let place = target.plane.as_ref().map(|plane| format!("-{}", plane.name)).unwrap_or_default();
    format!("{RUN}{environment}-{build}-{}-{}{place}", &since.as_str()[..12], event.as_str())
}

/// What hooks say of their component.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// Nothing stands in the way.
    Clear,
    /// They are at work; for people.
    Works(String),
    /// They have failed; for people.
    Failed(String),
}

/// Where hooks act.
#[derive(Clone, Copy)]
pub(super) struct Act<'a> {
    pub target: &'a Target,
    pub placement: &'a Placement,
    pub observation: &'a Observation,
    pub open: &'a sealing::Open,
}

impl Work {
    /// Before anything of these components is applied. Answers for those that have to wait.
    pub(super) async fn hooks_before(
        &mut self,
        act: Act<'_>,
        rendered: &[Rendered],
        waiting: &BTreeSet<Component>,
    ) -> Result<BTreeMap<Component, Said>, Stop> {
        let mut said = BTreeMap::new();
        self.hooks_until = None;
        for one in rendered.iter().filter(|one| one.lacks.is_none() && !waiting.contains(&one.pin.build.component)) {
            let component = &one.pin.build.component;
            match self.hooks(act, one, act.target.movement(component).before()).await? {
                Said::Clear => {}
                other => drop(said.insert(component.clone(), other)),
            }
        }
        Ok(said)
    }

    /// After what was applied is healthy. Answers for those that are not done.
    pub(super) async fn hooks_after(
        &mut self,
        act: Act<'_>,
        rendered: &[Rendered],
        healthy: &BTreeSet<Component>,
    ) -> Result<BTreeMap<Component, Said>, Stop> {
        let mut said = BTreeMap::new();
        for one in rendered.iter().filter(|one| one.lacks.is_none() && healthy.contains(&one.pin.build.component)) {
            let component = &one.pin.build.component;
            match self.hooks(act, one, act.target.movement(component).after()).await? {
                // A test says nothing of health: it is a check.
                Said::Clear if act.target.tests => drop(self.hooks(act, one, HookEvent::Test).await?),
                Said::Clear => {}
                other => drop(said.insert(component.clone(), other)),
            }
        }
        Ok(said)
    }

    /// The hooks of one event, as far as they can go now.
    pub(super) async fn hooks(&mut self, act: Act<'_>, one: &Rendered, event: HookEvent) -> Result<Said, Stop> {
        if !one.manifests.hooks.iter().any(|hook| hook.events.contains(&event)) {
            return Ok(Said::Clear);
        }
        let run = act.target.run(&self.handle.name, &one.pin.build, event);
        let input = HookInput {
            component: &one.pin.build.component,
            hooks: &one.manifests.hooks,
            event,
            run: &run,
            observation: act.observation,
            now: self.inner.now(),
        };
        let name = event.as_str();
        if act.target.report.suspended {
            return Ok(Said::Works(format!("{name}: the environment is suspended")));
        }
        if let Some(Ran { outcome, .. }) = self.ran(act.target, &run).cloned() {
            self.hook_steps(act, plan::hooks_over(&input, outcome.is_ok())).await?;
            return Ok(outcome.map_or_else(Said::Failed, |()| Said::Clear));
        }
        match plan::hooks(&input) {
            HookProgress::Next(step) => {
                let object = step.object.clone();
                let error = self.hook_steps(act, vec![*step]).await?;
                Ok(Said::Works(match error {
                    None => format!("{name}: {object} begins"),
                    Some(error) => format!("{name}: {object}: {error}"),
                }))
            }
            HookProgress::Works(object, until) => {
                let left = until.and_then(|until| Duration::try_from(until.duration_since(input.now)).ok());
                self.hooks_until = [self.hooks_until, left].into_iter().flatten().min();
                Ok(Said::Works(format!("{name}: {object} is at work")))
            }
            HookProgress::Succeeded => {
                self.hook_over(&run, one, event, Ok(())).await?;
                self.hook_steps(act, plan::hooks_over(&input, true)).await?;
                Ok(Said::Clear)
            }
            HookProgress::Failed(object, why) => {
                let mut why = format!("{name}: {object}: {why}");
                if let Some(log) = hook_log(&object, act).await {
                    why.push_str(&format!("\n{log}"));
                }
                self.hook_over(&run, one, event, Err(why.clone())).await?;
                self.hook_steps(act, plan::hooks_over(&input, false)).await?;
                Ok(Said::Failed(why))
            }
        }
    }

    /// How a run ended, if it has.
    pub(super) fn ran<'a>(&'a self, target: &'a Target, run: &str) -> Option<&'a Ran> {
        target.hooked.get(run).or_else(|| self.hooked.get(run))
    }

    /// The journal hears that something goes, though no hook has to run before.
    pub(super) async fn begin(&mut self, run: &str, one: &Rendered, event: HookEvent) -> Result<(), PortError> {
        self.hook_told(run, one, event, Ok(()), "goes: its hooks run when nothing of it stands any more").await
    }

    /// Runs what is due of these steps. Answers with the first failure.
    async fn hook_steps(&mut self, act: Act<'_>, steps: Vec<Step>) -> Result<Option<String>, Stop> {
        let (project, environment) = (self.handle.scope.project.clone(), self.handle.name.clone());
        let plan = Plan { project, environment, commit: act.target.commit.clone(), steps };
        let due = self.due(&plan, act.observation);
        if due.steps.is_empty() {
            return Ok(None);
        }
        let opened = sealing::open(&*self.inner.ports.secrets, &due, &sealing::Behind::new(), act.open)?;
        let receipt = act.placement.plane.execute(&due, &opened).await.map_err(Stop::DataPlane)?;
        drop(opened);
        self.on_their_way(&receipt, act.observation);
        Ok(receipt.failure().map(|failed| failed.error.clone().unwrap_or_default()))
    }

    /// The journal hears of it: nothing runs twice, whatever happens from here on.
    async fn hook_over(
        &mut self,
        run: &str,
        one: &Rendered,
        event: HookEvent,
        outcome: Result<(), String>,
    ) -> Result<(), PortError> {
        let word = if outcome.is_ok() { "succeeded" } else { "failed" };
        self.hook_told(run, one, event, outcome, &format!("hooks of {} {word}", event.as_str())).await
    }

    async fn hook_told(
        &mut self,
        run: &str,
        one: &Rendered,
        event: HookEvent,
        outcome: Result<(), String>,
        words: &str,
    ) -> Result<(), PortError> {
        let kind = if event == HookEvent::Test { EntryKind::Checked } else { EntryKind::Hooked };
        let mut entry = self.entry(kind, run.to_owned());
        let (build, name) = (&one.pin.build, event.as_str());
        entry.component = Some(build.component.clone());
        entry.build = Some(build.clone());
        let result = if outcome.is_ok() { "passed" } else { "failed" };
        entry.summary = format!("{}: {build}: {words}", self.handle.name);
        entry.reason = outcome.as_ref().err().cloned().unwrap_or_default();
        entry.details.insert(detail::RESULT.to_owned(), result.to_owned());
        match event {
            HookEvent::Test => entry.details.insert(detail::CHECK.to_owned(), CHECK.to_owned()),
            _ => entry.details.insert(detail::EVENT.to_owned(), name.to_owned()),
        };
        self.inner.ports.repositories.append(&self.handle.scope.project, &entry).await?;
        self.hooked.insert(run.to_owned(), Ran { outcome, at: entry.at });
        self.project.told();
        Ok(())
    }
}

/// The end of the log of a hook's Pod.
async fn hook_log(id: &ObjectId, act: Act<'_>) -> Option<String> {
    let owned = |pod: &&Value| {
        let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let by = |owner: &Value| owner["kind"] == id.kind.as_str() && owner["name"] == id.name.as_str();
        let itself = id.kind == "Pod" && ObjectId::of(pod) == *id;
        pod["kind"] == "Pod" && (itself || owners.is_some_and(|owners| owners.iter().any(by)))
    };
    let pod = act.observation.values().filter(owned).last()?;
    let (namespace, name) = (pod["metadata"]["namespace"].as_str()?, pod["metadata"]["name"].as_str()?);
    let log = act.placement.plane.logs(namespace, name, LOG_LINES, false).await.ok()?;
    let lines: Vec<String> = log.trim_end().lines().map(|line| format!("  | {line}")).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
