//! What was asked for by command, or by the strategy.

use super::admission::Admission;
use super::{Action, Round, order};
use crate::auto::auto;
use crate::case::Case;
use crate::facts::Facts;
use crate::gates::{all_open, any_closed, reason, was_overridden};
use crate::movement::{Movement, movement};
use crate::proposal::files;
use crate::state::{Delta, State};
use crate::text::message;
use model::journal::{Entry, EntryKind};
use model::ports::Write;
use model::records::{Class, Gate, PromotionPhase, PromotionSpec, PromotionStatus};
use model::{CommitId, Promotion};
use std::cmp::Reverse;

impl<'a> Round<'a> {
    pub(super) fn requests(&mut self, head: &'a State, admission: &Admission<'a>) {
        let (case, history) = (self.judge.case, self.judge.history);
        let requests: Vec<_> = self.open().into_iter().filter(|p| !p.spec.class.is_commit()).collect();
        let unwritten: Vec<_> = requests.iter().copied().filter(|p| case.effect(p).is_none()).collect();
        for promotion in requests {
            if self.settle(promotion) {
                continue;
            }
            if let Some(commit) = case.effect(promotion) {
                self.written(promotion, commit, admission, history.state() == Some(head));
                continue;
            }
            if self.cancelled(promotion) {
                continue;
            }
            match unwritten.iter().find(|other| newer(case, promotion, other)) {
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

    /// A person took it back before anything was written.
    fn cancelled(&mut self, promotion: &Promotion) -> bool {
        let entries = self.judge.case.entries(EntryKind::Cancelled);
        let Some(entry) = entries.iter().find(|e| e.promotion.as_ref() == Some(&promotion.name)) else { return false };
        let why = if entry.reason.is_empty() { String::new() } else { format!(": {}", entry.reason) };
        self.finish(promotion, PromotionPhase::Cancelled, format!("cancelled by {}{why}", entry.actor));
        true
    }

    /// Its commit stands on main, but nothing that carries it was admitted yet.
    fn written(&mut self, promotion: &Promotion, commit: &CommitId, admission: &Admission<'a>, undone: bool) {
        if undone {
            let message = "undone on main before it was admitted".to_owned();
            self.finish(promotion, PromotionPhase::Superseded, message);
        } else if let Some(held) = &admission.held
            && held.commit.id != *commit
            && admission.admit.is_none()
        {
            // A later commit is held, and this one with it.
            let status = PromotionStatus {
                phase: PromotionPhase::Waiting,
                gates: held.gates.clone(),
                commit: Some(commit.clone()),
                message: reason(&held.gates),
                ..promotion.status.clone()
            };
            self.update(promotion, status);
        }
    }

    fn request(&mut self, promotion: &'a Promotion, head: &State) {
        match movement(self.judge, promotion, head) {
            Movement::Already(message) => self.finish(promotion, PromotionPhase::Succeeded, message),
            Movement::Impossible(why) => self.refuse(promotion, why),
            Movement::Wait(gates) | Movement::To { gates, .. } if any_closed(&gates) => {
                self.refuse(promotion, reason(&gates));
            }
            Movement::Wait(gates) => self.wait(promotion, gates, String::new()),
            Movement::To { target, gates, .. } => {
                let change = Delta::between(self.judge.history.state(), &target).text();
                // What main holds already is admitted, or held, as it stands.
                match all_open(&gates) && !target.runs(head) {
                    true => self.write(promotion, head, &target, &gates),
                    false => self.wait(promotion, gates, change),
                }
            }
        }
    }

    fn write(&mut self, promotion: &'a Promotion, head: &State, target: &State, gates: &[Gate]) {
        let (facts, environment) = (self.judge.facts, self.judge.environment);
        let files = match files(facts, environment, head, target) {
            Ok(files) => files,
            Err(why) => return self.refuse(promotion, why),
        };
        if let Some(reason) = promotion.spec.overriding.as_deref().filter(|_| was_overridden(gates)) {
            let shut: Vec<&str> =
                gates.iter().filter(|g| was_overridden(std::slice::from_ref(g))).map(|g| g.message.as_str()).collect();
            let why = format!("{reason}\n{}", shut.join("\n"));
            let entry = self.of_request(EntryKind::Overridden, promotion, "gates were overridden", &why);
            self.journal(entry);
        }
        let shown = Delta::between(self.judge.history.state(), target);
        let until = self.quarantine(promotion);
        self.commit.get_or_insert(Write {
            expect: Some(facts.head.clone()),
            files,
            author: promotion.spec.requested_by.clone(),
            message: message(promotion, &shown, until),
            at: facts.now,
        });
    }

    /// The files of the environment cannot be read: requests wait for them.
    pub(super) fn blocked(&mut self, problems: &[String]) {
        for promotion in self.open().into_iter().filter(|p| !p.spec.class.is_commit()) {
            if !self.settle(promotion) && self.judge.case.effect(promotion).is_none() && !self.cancelled(promotion) {
                let status = PromotionStatus {
                    phase: PromotionPhase::Waiting,
                    message: problems.join("; "),
                    ..promotion.status.clone()
                };
                self.update(promotion, status);
            }
        }
    }

    fn wait(&mut self, promotion: &Promotion, gates: Vec<Gate>, change: String) {
        let message = reason(&gates);
        let phase = PromotionPhase::Waiting;
        self.update(promotion, PromotionStatus { phase, gates, change, message, commit: None, finished: None });
    }

    /// It can never pass: said in the journal, then in its status.
    fn refuse(&mut self, promotion: &Promotion, why: String) {
        let what = format!("{} is refused", promotion.name);
        let entry = self.of_request(EntryKind::Refused, promotion, &what, &why);
        self.journal(entry);
        self.finish(promotion, PromotionPhase::Failed, why);
    }
}

/// True if `other` asks for the same component, or for everything, later. The strategy's requests go by what they ask
/// for, since a clock may be set, and give way to a person's.
fn newer(case: &Case<'_>, promotion: &Promotion, other: &Promotion) -> bool {
    let (spec, theirs) = (&promotion.spec, &other.spec);
    let same = theirs.component == spec.component || theirs.release.is_some();
    let later = match (spec.class, theirs.class) {
        (Class::Auto, Class::Auto) => asked(case, theirs) > asked(case, spec),
        (Class::Auto, _) => true,
        (_, Class::Auto) => false,
        _ => order(other) > order(promotion),
    };
    same && later
}

/// In the order in which the strategy asks: of one build, the newer configuration.
fn asked<'p>(case: &Case<'_>, spec: &'p PromotionSpec) -> impl Ord + use<'p> {
    (&spec.release, &spec.build, spec.config.as_ref().map(|config| Reverse(case.age(config))))
}

/// The entry that withdraws a request, or why it is too late.
pub fn cancel(facts: &Facts, promotion: &str, actor: &str, reason: &str) -> Result<Entry, String> {
    let found = facts.promotions.iter().find(|p| p.name == promotion);
    let promotion = found.ok_or_else(|| format!("there is no promotion {promotion}"))?;
    let (name, status) = (&promotion.name, &promotion.status);
    if status.phase.is_final() || status.phase == PromotionPhase::Admitted {
        return Err(format!("{name} cannot be cancelled: it is {:?}", status.phase));
    }
    if let Some(commit) = promotion.spec.commit.as_ref().or(status.commit.as_ref()) {
        return Err(format!("{name} stands on main: git revert {} in the config repository", commit.short()));
    }
    let mut entry = Entry::new(EntryKind::Cancelled, format!("cancelled-{name}"), facts.now, actor);
    entry.environment = Some(promotion.spec.environment.clone());
    entry.component.clone_from(&promotion.spec.component);
    entry.build.clone_from(&promotion.spec.build);
    entry.promotion = Some(name.clone());
    entry.summary = format!("{}: {name} is cancelled", promotion.spec.environment);
    entry.reason = reason.to_owned();
    Ok(entry)
}
