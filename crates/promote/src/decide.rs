//! One decision: what to do next, and why nothing else happens.

use crate::auto::auto;
use crate::configuration;
use crate::facts::{Facts, State};
use crate::gates::{Judge, all_open, any_closed, reason};
use crate::history::{History, changes};
use crate::movement::{Movement, movement};
use crate::phase::{covering, outcome};
use crate::text::{changes_text, message, pin_path, pin_text};
use model::journal::{Entry, EntryKind};
use model::ports::{Commit, Write};
use model::records::{Class, Gate, PromotionPhase, PromotionSpec, PromotionStatus};
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
}

/// How an environment stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The commit whose state is the desired one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted: Option<CommitId>,
    /// Nothing moves and nothing is applied.
    pub suspended: bool,
    /// What stands on main beyond the admitted state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// What is wrong with its files at head; the last good state stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Per component the admitted commit that brought its pin.
    pub since: BTreeMap<Component, CommitId>,
    /// Builds that were rolled back here.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub quarantined: BTreeSet<BuildId>,
}

/// What to do next.
pub fn decide(facts: &Facts) -> Decision {
    let mut decision = Decision::default();
    let mut commit = None;
    for environment in &facts.environments {
        let history = History::of(facts, environment);
        let judge = Judge::new(facts, environment, &history);
        let mut round = Round { judge: &judge, actions: Vec::new(), commit: None };
        let report = round.run();
        decision.actions.append(&mut round.actions);
        commit = commit.or(round.commit);
        decision.environments.insert(environment.clone(), report);
    }
    decision.actions.extend(commit.map(Action::Commit));
    decision
}

/// The decision about one environment, under way.
struct Round<'a> {
    judge: &'a Judge<'a>,
    actions: Vec<Action>,
    commit: Option<Write>,
}

/// What becomes of what stands on main.
struct Admission<'a> {
    /// May be admitted.
    admit: Option<(&'a Commit, &'a State)>,
    /// May not.
    held: Option<(&'a Commit, &'a State, Vec<Gate>)>,
}

impl<'a> Round<'a> {
    fn run(&mut self) -> Report {
        let Judge { facts, environment, history, suspended } = *self.judge;
        let mut report = Report {
            admitted: history.last().map(|s| s.commit.clone()),
            suspended,
            quarantined: history.quarantined.iter().map(|b| (*b).clone()).collect(),
            ..Report::default()
        };
        for component in history.last().iter().flat_map(|s| s.state.pins.keys()) {
            let since = configuration::since(self.judge, history, component);
            report.since.extend(since.map(|s| (component.clone(), s.commit.clone())));
        }
        let admission = self.admission();
        report.held = admission.held.as_ref().map(|(commit, state, gates)| self.held(commit, state, gates));
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
        report
    }

    /// The newest state on main that may be admitted, and the newest that may not.
    fn admission(&self) -> Admission<'a> {
        let Judge { facts, environment, history, .. } = *self.judge;
        let mut admission = Admission { admit: None, held: None };
        for (commit, reading) in facts.candidates(environment, history.last().map(|s| s.commit)) {
            let Ok(state) = reading else { continue };
            if history.last().is_some_and(|s| s.state == state) {
                break;
            }
            let gates = self.judge.state(state, Class::Commit);
            if all_open(&gates) {
                admission.admit = Some((commit, state));
                break;
            }
            admission.held.get_or_insert((commit, state, gates));
        }
        admission
    }

    fn held(&self, commit: &Commit, state: &State, gates: &[Gate]) -> Held {
        let changes = changes(self.judge.history.last().map(|s| s.state), state);
        Held {
            commit: commit.id.clone(),
            author: commit.author.clone(),
            change: changes_text(&changes),
            components: changes.iter().map(|(c, _, _)| (*c).clone()).collect(),
            gates: gates.to_vec(),
            reason: reason(gates),
        }
    }

    /// Intent first, then the journal.
    fn admit(&mut self, admission: &Admission<'a>) {
        if let Some((commit, state, gates)) = &admission.held {
            if let Some(promotion) = self.intent(commit, state) {
                let change = changes_text(&changes(self.judge.history.last().map(|s| s.state), state));
                let mut entry = self.entry(EntryKind::Held, commit, promotion, &change);
                entry.reason = reason(gates);
                self.journal(entry);
                let status = PromotionStatus {
                    phase: PromotionPhase::Waiting,
                    gates: gates.clone(),
                    change,
                    commit: Some(commit.id.clone()),
                    message: reason(gates),
                    finished: None,
                };
                self.update(promotion, status);
            }
        }
        let Some((commit, state)) = admission.admit else { return };
        let changes = changes(self.judge.history.last().map(|s| s.state), state);
        let rotated = configuration::rotated(self.judge.history.last().map(|s| s.state), state);
        if !rotated.is_empty() && changes.is_empty() {
            if let Some(promotion) = self.intent(commit, state) {
                let entry = self.admitted(commit, Some(promotion), &configuration::rotation_text(&rotated));
                self.journal(entry);
            }
            return;
        }
        if changes.is_empty() {
            let subject = commit.subject.trim_start_matches(&format!("{}: ", self.judge.environment));
            let entry = self.admitted(commit, None, subject);
            return self.journal(entry);
        }
        if let Some(promotion) = self.intent(commit, state) {
            let entry = self.admitted(commit, Some(promotion), &changes_text(&changes));
            self.journal(entry);
        }
    }

    /// The promotion that a commit on main belongs to. A commit by hand gets one.
    fn intent(&mut self, commit: &Commit, state: &State) -> Option<&'a Promotion> {
        let Judge { facts, environment, history, .. } = *self.judge;
        let belongs = |p: &&Promotion| {
            p.spec.environment == *environment && !p.status.phase.is_final() && facts.effect(p) == Some(&commit.id)
        };
        let found = facts.promotions.iter().find(belongs);
        if found.is_none() {
            let changes = changes(history.last().map(|s| s.state), state);
            let single = (changes.len() == 1).then(|| changes[0]);
            let class = if changes.is_empty() { Class::Secret } else { Class::Commit };
            let spec = PromotionSpec {
                project: facts.project.clone(),
                environment: environment.clone(),
                class,
                config: None,
                component: single.map(|(component, _, _)| component.clone()),
                build: single.and_then(|(_, _, after)| after).map(|pin| pin.build.clone()),
                commit: Some(commit.id.clone()),
                requested_by: commit.author.clone(),
                reason: commit.subject.clone(),
                created: facts.now,
            };
            let name = free_name(facts, &format!("{environment}-commit-{}", commit.id.short()));
            self.actions.push(Action::Create(Promotion { name, spec, status: PromotionStatus::default() }));
        }
        found
    }

    /// Commits by hand whose state main has left, and those that are admitted.
    fn commits_by_hand(&mut self, admission: &Admission<'a>) {
        let current = [admission.admit.map(|(c, _)| &c.id), admission.held.as_ref().map(|(c, _, _)| &c.id)];
        for promotion in self.open().into_iter().filter(|p| p.spec.class.is_commit()) {
            let Some(commit) = promotion.spec.commit.as_ref() else { continue };
            if self.settle(promotion) || current.contains(&Some(commit)) {
                continue;
            }
            let message = "main moved on before it could be admitted".to_owned();
            self.finish(promotion, PromotionPhase::Superseded, message);
        }
    }

    /// What was asked for by command, or by the strategy.
    fn requests(&mut self, head: &State, admission: &Admission<'a>) {
        let Judge { facts, history, .. } = *self.judge;
        let requests: Vec<_> = self.open().into_iter().filter(|p| !p.spec.class.is_commit()).collect();
        let unwritten: Vec<_> = requests.iter().copied().filter(|p| facts.effect(p).is_none()).collect();
        for promotion in requests {
            if self.settle(promotion) {
                continue;
            }
            if let Some(commit) = facts.effect(promotion) {
                self.written(promotion, commit, admission, history.last().is_some_and(|s| s.state == head));
                continue;
            }
            match unwritten.iter().find(|other| newer(promotion, other)) {
                Some(other) => {
                    let message = format!("{} came after it", other.name);
                    self.finish(promotion, PromotionPhase::Superseded, message);
                }
                None => self.request(promotion, head),
            }
        }
        if let Some(promotion) = auto(self.judge, head, &unwritten) {
            self.actions.push(Action::Create(promotion));
        }
    }

    /// Its commit stands on main, but nothing that carries it was admitted yet.
    fn written(&mut self, promotion: &Promotion, commit: &CommitId, admission: &Admission<'a>, undone: bool) {
        if undone {
            let message = "undone on main before it was admitted".to_owned();
            self.finish(promotion, PromotionPhase::Superseded, message);
        } else if let Some((held, _, gates)) = &admission.held
            && held.id != *commit
            && admission.admit.is_none()
        {
            // A later commit is held, and this one with it.
            let status = PromotionStatus {
                phase: PromotionPhase::Waiting,
                gates: gates.clone(),
                commit: Some(commit.clone()),
                message: reason(gates),
                ..promotion.status.clone()
            };
            self.update(promotion, status);
        }
    }

    fn request(&mut self, promotion: &'a Promotion, head: &State) {
        match movement(self.judge, promotion, head) {
            Movement::Already(message) => self.finish(promotion, PromotionPhase::Succeeded, message),
            Movement::Impossible(why) => self.refuse(promotion, why),
            Movement::Wait(gates) | Movement::Pins { gates, .. } if any_closed(&gates) => {
                self.refuse(promotion, reason(&gates));
            }
            Movement::Wait(gates) => self.wait(promotion, gates, String::new()),
            Movement::Pins { pins, gates } => {
                let target = State { pins, ..head.clone() };
                let change = changes_text(&changes(self.judge.history.last().map(|s| s.state), &target));
                // What main holds already is admitted, or held, as it stands.
                match all_open(&gates) && target.pins != head.pins {
                    true => self.write(promotion, head, &target),
                    false => self.wait(promotion, gates, change),
                }
            }
        }
    }

    fn write(&mut self, promotion: &Promotion, head: &State, target: &State) {
        let facts = self.judge.facts;
        let file = |(component, _, after): &(&Component, Option<&model::Pin>, Option<&model::Pin>)| {
            let content = after.map(|pin| pin_text(pin).into_bytes());
            (pin_path(self.judge.environment, component), content)
        };
        let shown = changes(self.judge.history.last().map(|s| s.state), target);
        self.commit.get_or_insert(Write {
            expect: Some(facts.head.clone()),
            files: changes(Some(head), target).iter().map(file).collect(),
            author: promotion.spec.requested_by.clone(),
            message: message(promotion, &shown),
            at: facts.now,
        });
    }

    /// The files of the environment cannot be read: requests wait for them.
    fn blocked(&mut self, problems: &[String]) {
        for promotion in self.open().into_iter().filter(|p| !p.spec.class.is_commit()) {
            if !self.settle(promotion) && self.judge.facts.effect(promotion).is_none() {
                let status = PromotionStatus {
                    phase: PromotionPhase::Waiting,
                    message: problems.join("; "),
                    ..promotion.status.clone()
                };
                self.update(promotion, status);
            }
        }
    }

    /// If it was admitted: what became of it. True if so.
    fn settle(&mut self, promotion: &'a Promotion) -> bool {
        let Some(step) = covering(self.judge, promotion) else { return false };
        if promotion.spec.class == Class::Rollback {
            let history = self.judge.history;
            let change = changes_text(&history.changes(step));
            let commit = history.steps[step].commit;
            let mut entry = self.plain(EntryKind::RolledBack, format!("rolledBack-{}", promotion.name));
            entry.actor.clone_from(&promotion.spec.requested_by);
            entry.commit = Some(commit.clone());
            entry.promotion = Some(promotion.name.clone());
            entry.summary = format!("{}: rolled back {change}", self.judge.environment);
            entry.reason.clone_from(&promotion.spec.reason);
            self.journal(entry);
        }
        self.update(promotion, outcome(self.judge, promotion, step));
        true
    }

    /// Promotions into this environment that are not final, oldest first.
    fn open(&self) -> Vec<&'a Promotion> {
        let of_it = |p: &&Promotion| p.spec.environment == *self.judge.environment && !p.status.phase.is_final();
        let mut open: Vec<_> = self.judge.facts.promotions.iter().filter(of_it).collect();
        open.sort_by_key(|p| order(p));
        open
    }

    fn wait(&mut self, promotion: &Promotion, gates: Vec<Gate>, change: String) {
        let message = reason(&gates);
        let phase = PromotionPhase::Waiting;
        self.update(promotion, PromotionStatus { phase, gates, change, message, commit: None, finished: None });
    }

    fn finish(&mut self, promotion: &Promotion, phase: PromotionPhase, message: String) {
        let finished = Some(self.judge.facts.now);
        self.update(promotion, PromotionStatus { phase, message, finished, ..promotion.status.clone() });
    }

    /// It can never pass: said in the journal, then in its status.
    fn refuse(&mut self, promotion: &Promotion, why: String) {
        let mut entry = self.plain(EntryKind::Refused, format!("refused-{}", promotion.name));
        entry.actor.clone_from(&promotion.spec.requested_by);
        entry.component.clone_from(&promotion.spec.component);
        entry.build.clone_from(&promotion.spec.build);
        entry.promotion = Some(promotion.name.clone());
        entry.summary = format!("{}: {} is refused", self.judge.environment, promotion.name);
        entry.reason.clone_from(&why);
        self.journal(entry);
        self.finish(promotion, PromotionPhase::Failed, why);
    }

    fn admitted(&self, commit: &Commit, promotion: Option<&Promotion>, what: &str) -> Entry {
        let mut entry = self.plain(EntryKind::Admitted, self.id(EntryKind::Admitted, commit));
        entry.actor = promotion.map_or_else(|| commit.author.clone(), |p| p.spec.requested_by.clone());
        entry.commit = Some(commit.id.clone());
        entry.component = promotion.and_then(|p| p.spec.component.clone());
        entry.build = promotion.and_then(|p| p.spec.build.clone());
        entry.promotion = promotion.map(|p| p.name.clone());
        entry.summary = format!("{}: {what}", self.judge.environment);
        entry.reason = promotion.map(|p| p.spec.reason.clone()).unwrap_or_default();
        entry
    }

    fn entry(&self, kind: EntryKind, commit: &Commit, promotion: &Promotion, change: &str) -> Entry {
        let mut entry = self.plain(kind, self.id(kind, commit));
        entry.actor.clone_from(&commit.author);
        entry.component.clone_from(&promotion.spec.component);
        entry.build.clone_from(&promotion.spec.build);
        entry.commit = Some(commit.id.clone());
        entry.promotion = Some(promotion.name.clone());
        entry.summary = format!("{}: {change} is held", self.judge.environment);
        entry
    }

    fn id(&self, kind: EntryKind, commit: &Commit) -> String {
        format!("{kind}-{}-{}", self.judge.environment, &commit.id.as_str()[..12])
    }

    fn plain(&self, kind: EntryKind, id: String) -> Entry {
        Entry {
            id,
            kind,
            at: self.judge.facts.now,
            actor: crate::ACTOR.to_owned(),
            environment: Some(self.judge.environment.clone()),
            component: None,
            build: None,
            commit: None,
            promotion: None,
            summary: String::new(),
            reason: String::new(),
        }
    }

    fn journal(&mut self, entry: Entry) {
        if !self.judge.facts.told(&entry.id) {
            self.actions.push(Action::Journal(entry));
        }
    }

    fn update(&mut self, promotion: &Promotion, status: PromotionStatus) {
        if promotion.status != status {
            self.actions.push(Action::Update { name: promotion.name.clone(), status });
        }
    }
}

/// True if `other` asks for the same component, later.
fn newer(promotion: &Promotion, other: &Promotion) -> bool {
    other.spec.component == promotion.spec.component && order(other) > order(promotion)
}

/// Requests in the order in which they came; of the same instant, by build.
fn order(promotion: &Promotion) -> (jiff::Timestamp, Option<u64>, &str) {
    (promotion.spec.created, promotion.spec.build.as_ref().map(|b| b.number), &promotion.name)
}

/// A name that no promotion has: the one wanted, else with a number behind it.
pub(crate) fn free_name(facts: &Facts, wanted: &str) -> String {
    let taken = |name: &str| facts.promotions.iter().any(|p| p.name == name);
    if !taken(wanted) {
        return wanted.to_owned();
    }
    let numbered = (2..=facts.promotions.len() + 2).map(|n| format!("{wanted}-{n}"));
    numbered.into_iter().find(|name| !taken(name)).expect("one of n+1 names is not among n")
}
