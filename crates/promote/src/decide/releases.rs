//! Tags and certificates of releases.

use super::{Action, Round};
use crate::case::Case;
use crate::configuration;
use crate::facts::Facts;
use crate::gates::Judge;
use crate::state::State;
use jiff::Timestamp;
use model::Environment;
use model::journal::{Entry, EntryKind, detail};
use model::ports::Tag;
use model::release::Version;
use model::rules::Seconds;
use std::collections::BTreeSet;

/// Files that Trimtab wrote get their tag, and what has a tag is told.
pub(super) fn tags(case: &Case<'_>) -> Vec<Action> {
    let facts = case.facts;
    let tag = |version: &Version| {
        let named = version.to_string();
        let commit = facts.log.iter().rev().find(|c| c.trailer(crate::TRAILER_RELEASE) == Some(&named))?;
        Some(Action::Tag(Tag {
            name: version.tag(),
            commit: commit.id.clone(),
            author: commit.author.clone(),
            message: format!("Release {version} of {}\n", facts.project),
            at: commit.at,
        }))
    };
    let mut actions: Vec<Action> = facts.untagged.iter().filter_map(tag).collect();
    for (version, release) in facts.releases.iter() {
        let id = format!("released-{version}");
        if case.told(&id) {
            continue;
        }
        let mut entry = Entry::new(EntryKind::Released, id, facts.now, &release.author);
        let builds: Vec<String> = release.file.pins.values().map(|pin| pin.build.to_string()).collect();
        entry.commit = Some(release.commit.clone());
        entry.summary = format!("release {version}: {}", builds.join(", "));
        entry.details.insert(detail::RELEASE.to_owned(), version.to_string());
        actions.push(Action::Journal(entry));
    }
    actions
}

/// What the environments behind one ask of a release before they call it certified there.
struct Demand {
    soak: Seconds,
    checks: BTreeSet<String>,
}

fn demand(judge: &Judge<'_>) -> Option<Demand> {
    let rules = judge.facts.environments.iter().filter_map(|name| {
        let rule = judge.case.judge(name)?.rule()?;
        (rule.requires.certified && rule.from.contains(judge.environment)).then_some(rule)
    });
    rules.fold(None, |demand, rule| {
        let mut demand = demand.unwrap_or(Demand { soak: Seconds(0), checks: BTreeSet::new() });
        demand.soak = demand.soak.max(rule.requires.soak.unwrap_or_default());
        demand.checks.extend(rule.requires.checks.iter().cloned());
        Some(demand)
    })
}

impl Round<'_> {
    /// A release that runs here, healthy for long enough and with all checks passed, is certified here, if an
    /// environment behind this one asks for that.
    pub(super) fn certification(&mut self) {
        let judge = self.judge;
        let Some(version) = judge.history.state().and_then(State::release) else { return };
        if judge.is_certified(version, judge.environment) {
            return;
        }
        let Some(demand) = demand(judge) else { return };
        let Ok(healthy) = healthy_since(judge) else { return };
        let enough = healthy.checked_add(demand.soak.duration()).unwrap_or(Timestamp::MAX);
        let unchecked =
            demand.checks.iter().any(|c| judge.check_of_release(c, version, Some(judge.environment)).is_some());
        if unchecked {
            return;
        }
        if judge.facts.now < enough {
            return judge.case.look_again(enough);
        }
        let mut shown = vec![format!("healthy since {healthy}")];
        shown.extend(demand.checks.iter().map(|check| format!("check {check} passed")));
        let entry = certificate(judge, version, crate::ACTOR, &shown.join("; "));
        self.journal(entry);
    }
}

fn certificate(judge: &Judge<'_>, version: &Version, actor: &str, reason: &str) -> Entry {
    let environment = judge.environment;
    let id = format!("certified-{environment}-{version}");
    let mut entry = Entry::new(EntryKind::Certified, id, judge.facts.now, actor);
    entry.environment = Some(environment.clone());
    entry.commit = judge.facts.releases.get(version).map(|release| release.commit.clone());
    entry.summary = format!("{environment}: {version} is certified");
    entry.reason = reason.to_owned();
    entry.details.insert(detail::RELEASE.to_owned(), version.to_string());
    entry
}

/// Since when everything that is admitted is healthy, or what is not.
fn healthy_since(judge: &Judge<'_>) -> Result<Timestamp, String> {
    let environment = judge.environment;
    let state = judge.history.state().ok_or_else(|| format!("nothing was ever admitted in {environment}"))?;
    let mut since = Timestamp::MIN;
    for (component, pin) in &state.pins {
        let step = configuration::since(judge, component).ok_or_else(|| format!("{component} is not admitted"))?;
        let last = |kind| {
            let entries = judge.case.health(kind, environment, &pin.build);
            entries.iter().rev().find(|(place, _)| *place > step.place).copied()
        };
        let (healthy, failed) = (last(EntryKind::Healthy), last(EntryKind::Failed));
        let (place, entry) = healthy.ok_or_else(|| format!("{} is not healthy in {environment} yet", pin.build))?;
        if failed.is_some_and(|(later, _)| later > place) {
            return Err(format!("{} failed in {environment}", pin.build));
        }
        since = since.max(entry.at);
    }
    Ok(since)
}

/// A person's word that a release that runs in an environment is good, or why it does not count.
pub fn certify(
    facts: &Facts,
    version: &Version,
    environment: &Environment,
    actor: &str,
    reason: &str,
) -> Result<Entry, String> {
    let case = Case::of(facts);
    let known = facts.environments.iter().find(|e| *e == environment);
    let judge = known.and_then(|e| case.judge(e)).ok_or_else(|| format!("there is no environment {environment}"))?;
    let state = judge.history.state();
    if state.and_then(State::release) != Some(version) {
        let runs = state.and_then(|state| state.label()).unwrap_or_else(|| "no release".to_owned());
        return Err(format!(
            "{environment} runs {runs}, not {version} as a whole: what runs there can be certified there"
        ));
    }
    healthy_since(&judge)?;
    match judge.is_certified(version, environment) {
        true => Err(format!("{version} is certified in {environment} already")),
        false => Ok(certificate(&judge, version, actor, reason)),
    }
}

/// The pins that a release of what runs in an environment would hold, or why there can be none.
pub fn draft(
    facts: &Facts,
    version: &Version,
    from: &Environment,
) -> Result<std::collections::BTreeMap<model::Component, model::Pin>, String> {
    if facts.releases.contains_key(version) || facts.untagged.contains(version) {
        let highest = facts
            .releases
            .keys()
            .chain(&facts.untagged)
            .max()
            .map_or(String::new(), |v| format!(" (the highest is {v})"));
        return Err(format!("{version} exists already, and a release never changes: choose another version{highest}"));
    }
    let case = Case::of(facts);
    let known = facts.environments.iter().find(|e| *e == from);
    let judge = known.and_then(|e| case.judge(e)).ok_or_else(|| format!("there is no environment {from}"))?;
    let state = judge.history.state().filter(|state| !state.pins.is_empty());
    let state = state.ok_or_else(|| format!("nothing runs in {from}"))?;
    if let Some(moving) = judge.candidates().first() {
        return Err(format!("{from} is not settled: commit {} on main is not admitted yet", moving.0.id.short()));
    }
    healthy_since(&judge).map_err(|why| format!("{from} is not settled: {why}"))?;
    Ok(state.pins.clone())
}
