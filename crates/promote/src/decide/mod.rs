//! One decision: what to do next, and why nothing else happens.

mod admission;
mod entries;
mod releases;
mod requests;
mod verify;

pub use releases::{certify, draft};
pub use requests::cancel;

use crate::case::Case;
use crate::configuration;
use crate::facts::Facts;
use crate::gates::Judge;
use jiff::Timestamp;
use model::journal::Entry;
use model::ports::{Tag, Write};
use model::records::{PromotionPhase, PromotionStatus};
use model::release::Version;
use model::views::Held;
use model::{BuildId, CommitId, Component, Environment, Promotion};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Something to do. Doing it twice is doing it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Create this object, with its status.
    Create(Promotion),
    /// Write this commit on main of the config repository. At most one in a decision, and nothing after it is decided
    /// yet: read again.
    Commit(Write),
    /// Put a tag on a commit of the config repository.
    Tag(Tag),
    /// Append to the journal.
    Journal(Entry),
    /// Set the status of a promotion.
    Update {
        /// Which.
        name: String,
        /// To what.
        status: PromotionStatus,
    },
}

/// What to do next, and how things stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// In the order in which they run; empty when everything is as it should be.
    pub actions: Vec<Action>,
    /// Per environment.
    pub environments: BTreeMap<Environment, Report>,
    /// When something may be different though nothing has happened: a window, a soak, a quarantine's end.
    pub wake_at: Option<Timestamp>,
}

/// How an environment stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The commit whose state is the desired one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted: Option<CommitId>,
    /// `1.4.0 + web-44`, if it has a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The release is certified here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub certified: bool,
    /// Nothing moves and nothing is applied.
    pub suspended: bool,
    /// What stands on main beyond the admitted state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// What is wrong with its files at head; the last good state stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Per component the admitted commit that brought its pin, or the values of its secrets.
    pub since: BTreeMap<Component, CommitId>,
    /// Builds that were rolled back here, and until when that counts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub quarantined: BTreeMap<BuildId, Timestamp>,
}

/// What to do next.
pub fn decide(facts: &Facts) -> Decision {
    let case = Case::of(facts);
    let mut decision = Decision::default();
    let mut commit = None;
    for environment in &facts.environments {
        let Some(judge) = case.judge(environment) else { continue };
        let mut round = Round { judge: &judge, actions: Vec::new(), commit: None };
        let report = round.run();
        decision.actions.append(&mut round.actions);
        commit = commit.or(round.commit);
        decision.environments.insert(environment.clone(), report);
    }
    decision.actions.extend(releases::tags(&case));
    decision.actions.extend(commit.map(Action::Commit));
    decision.wake_at = case.wake_at();
    decision
}

/// The decision about one environment, under way.
struct Round<'a> {
    judge: &'a Judge<'a>,
    actions: Vec<Action>,
    commit: Option<Write>,
}

impl<'a> Round<'a> {
    fn run(&mut self) -> Report {
        let Judge { facts, environment, .. } = *self.judge;
        let mut report = self.report();
        let admission = self.admission();
        report.held = admission.held.as_ref().map(|held| self.held(held));
        self.admit(&admission);
        self.commits_by_hand(&admission);
        match facts.state(&facts.head, environment) {
            Some(Ok(head)) => self.requests(head, &admission),
            Some(Err(problems)) => {
                report.problems.clone_from(problems);
                self.blocked(problems);
            }
            None => {
                report.problems = vec![format!("environments/{environment}.yaml is missing in the config repository")];
                self.blocked(&report.problems);
            }
        }
        self.verify();
        self.certification();
        report
    }

    fn report(&self) -> Report {
        let Judge { environment, history, suspended, .. } = *self.judge;
        let state = history.state();
        let certified = |version: &Version| self.judge.is_certified(version, environment);
        let mut report = Report {
            admitted: history.last().map(|s| s.commit.clone()),
            release: state.and_then(|state| state.label()),
            certified: state.and_then(|state| state.release()).is_some_and(certified),
            suspended,
            quarantined: history.quarantined.iter().map(|(b, q)| ((*b).clone(), q.until)).collect(),
            ..Report::default()
        };
        for component in state.iter().flat_map(|s| s.pins.keys()) {
            let since = configuration::since(self.judge, component);
            report.since.extend(since.map(|s| (component.clone(), s.commit.clone())));
        }
        report
    }

    /// Promotions into this environment that are not final, oldest first.
    fn open(&self) -> Vec<&'a Promotion> {
        let of_it = |p: &&Promotion| p.spec.environment == *self.judge.environment && !p.status.phase.is_final();
        let mut open: Vec<_> = self.judge.facts.promotions.iter().filter(of_it).collect();
        open.sort_by_key(|p| order(p));
        open
    }

    fn finish(&mut self, promotion: &Promotion, phase: PromotionPhase, message: String) {
        let finished = Some(self.judge.facts.now);
        self.update(promotion, PromotionStatus { phase, message, finished, ..promotion.status.clone() });
    }

    fn update(&mut self, promotion: &Promotion, status: PromotionStatus) {
        if promotion.status != status {
            self.actions.push(Action::Update { name: promotion.name.clone(), status });
        }
    }
}

/// Requests in the order in which they came; of the same instant, by build.
fn order(promotion: &Promotion) -> (Timestamp, Option<u64>, &str) {
    (promotion.spec.created, promotion.spec.build.as_ref().map(|b| b.number), &promotion.name)
}

/// A name that no promotion has: the one wanted, else with a number behind it.
pub(crate) fn free_name(facts: &Facts, wanted: &str) -> String {
    let alike: BTreeSet<&str> =
        facts.promotions.iter().map(|p| p.name.as_str()).filter(|name| name.starts_with(wanted)).collect();
    if !alike.contains(wanted) {
        return wanted.to_owned();
    }
    let numbered = (2..=alike.len() + 2).map(|n| format!("{wanted}-{n}"));
    numbered.into_iter().find(|name| !alike.contains(name.as_str())).expect("one of n+1 names is not among n")
}
