//! What people agree to: approvals and the change that a movement belongs to.

use super::{Ask, Judge, gate};
use crate::case::Case;
use crate::configuration;
use crate::facts::Facts;
use crate::movement::{Movement, movement};
use crate::state::{Delta, State};
use crate::text::pin_text;
use model::config::{ChangeRef, PromotionRule};
use model::journal::{Entry, EntryKind, detail};
use model::records::{Class, Gate, GateName, GateState, PromotionPhase};
use model::views::PolicyResult;
use model::{Digest, Promotion};
use std::collections::BTreeSet;

/// Who approves.
#[derive(Debug, Clone, Copy)]
pub struct Approver<'a> {
    /// The person.
    pub name: &'a str,
    /// Groups that the person is in.
    pub groups: &'a [String],
}

impl Judge<'_> {
    /// What an approval is for: environment, what moves, and the gates as they are. Any change makes it another.
    fn binding(&self, rule: &PromotionRule, delta: &Delta<'_>, asking: &[&PolicyResult]) -> Digest {
        let mut text = format!("{}\n", self.environment);
        if let Some((before, after)) = delta.release {
            text.push_str(&format!("release {before:?} {after:?}\n"));
        }
        let pin = |pin: Option<&model::Pin>| pin.map_or("none\n".to_owned(), pin_text);
        for (component, before, after) in &delta.pins {
            text.push_str(&format!("{component}\n{}{}", pin(*before), pin(*after)));
        }
        let windows = self.windows(rule, delta).unwrap_or_default();
        text.push_str(rule.version(&windows).as_str());
        for policy in asking {
            text.push_str(&format!("\n{policy}"));
        }
        Digest::of(text.as_bytes())
    }

    /// Who may not approve: who asked, who wrote it, who pushed what is in it.
    fn authors(&self, delta: &Delta<'_>, ask: &Ask<'_>) -> BTreeSet<String> {
        let builds = delta.pins.iter().filter_map(|(_, _, after)| self.case.build(&(*after)?.build));
        let pushers = builds.map(|build| build.spec.pushed_by.as_str());
        let configured = delta.pins.iter().filter_map(|(_, before, after)| Some((*before, (*after)?)));
        let configured = configured.flat_map(|(before, after)| configuration::authors(self, before, after));
        ask.by.iter().copied().chain(pushers).chain(configured).map(str::to_lowercase).collect()
    }

    fn may_approve(
        &self,
        rule: &PromotionRule,
        authors: &BTreeSet<String>,
        name: &str,
        groups: &[&str],
    ) -> Result<(), String> {
        let approvals = &rule.approvals;
        if !approvals.author_may_approve && authors.contains(&name.to_lowercase()) {
            return Err(format!(
                "{name} asked for it, wrote it or pushed a build in it: somebody else has to approve it"
            ));
        }
        let named = |who: &String| who == name || groups.contains(&who.as_str());
        match approvals.from.is_empty() || approvals.from.iter().any(named) {
            true => Ok(()),
            false => Err(format!("{name} may not approve for {}: {} may", self.environment, approvals.from.join(", "))),
        }
    }

    /// Whether enough people agree to exactly this. `extra`: a window asks for an approval, if the rule does not. Policies
    /// may ask for one too.
    pub fn approvals(
        &self,
        rule: &PromotionRule,
        delta: &Delta<'_>,
        target: &State,
        ask: &Ask<'_>,
        extra: bool,
    ) -> Option<Gate> {
        let asking = self.asking(delta, target, ask);
        let needed = (rule.approvals.count as usize).max(usize::from(extra || !asking.is_empty()));
        if needed == 0 {
            return None;
        }
        let binding = self.binding(rule, delta, &asking).to_string();
        let authors = self.authors(delta, ask);
        let counts = |entry: &&&Entry| {
            let groups: Vec<&str> = entry.detail(detail::GROUPS).unwrap_or_default().split(',').collect();
            entry.environment.as_ref() == Some(self.environment)
                && entry.detail(detail::BINDING) == Some(binding.as_str())
                && self.may_approve(rule, &authors, &entry.actor, &groups).is_ok()
        };
        let people: BTreeSet<&str> =
            self.case.entries(EntryKind::Approved).iter().filter(counts).map(|e| e.actor.as_str()).collect();
        let by = people.iter().copied().collect::<Vec<_>>().join(", ");
        Some(if people.len() >= needed {
            gate(GateName::Approvals, GateState::Open, format!("approved by {by}"))
        } else {
            let from = if rule.approvals.from.is_empty() {
                String::new()
            } else {
                format!(" of {}", rule.approvals.from.join(", "))
            };
            let by = if by.is_empty() { by } else { format!(" ({by})") };
            let asked: String = asking.iter().map(|policy| format!(", {policy}")).collect();
            let message = format!("{} of {needed} approvals{from}{by}{asked}", people.len());
            gate(GateName::Approvals, GateState::Waiting, message)
        })
    }

    /// Whether the movement names the change it belongs to.
    pub fn change_ref(&self, rule: &PromotionRule, ask: &Ask<'_>) -> Option<Gate> {
        if rule.change_ref == ChangeRef::Optional {
            return None;
        }
        let environment = self.environment;
        Some(match (ask.change_ref, ask.class) {
            (Some(change), _) => gate(GateName::ChangeRef, GateState::Open, format!("change {change}")),
            (None, None) => gate(
                GateName::ChangeRef,
                GateState::Waiting,
                format!(
                    "{environment} asks which change it belongs to: a trailer `{}: …` in the commit",
                    crate::TRAILER_CHANGE
                ),
            ),
            (None, Some(_)) => gate(
                GateName::ChangeRef,
                GateState::Closed,
                format!("{environment} asks which change it belongs to: ask again with --change-ref"),
            ),
        })
    }
}

/// The entry that says that somebody agrees to a promotion as it stands, or why that person's word does not count.
pub fn approve(facts: &Facts, promotion: &str, approver: Approver<'_>, reason: &str) -> Result<Entry, String> {
    let case = Case::of(facts);
    let found = facts.promotions.iter().find(|p| p.name == promotion);
    let promotion = found.ok_or_else(|| format!("there is no promotion {promotion}"))?;
    let environment = &promotion.spec.environment;
    let judge = case.judge(environment).ok_or_else(|| format!("there is no environment {environment}"))?;
    if promotion.status.phase.is_final() || promotion.status.phase == PromotionPhase::Admitted {
        return Err(format!("{} waits for nothing: it is {:?}", promotion.name, promotion.status.phase));
    }
    let (target, components, ask) = wanted(&judge, promotion)?;
    let delta = Delta::between(judge.history.state(), &target);
    let delta = match &components {
        Some(own) => {
            delta.part(|c| own.contains(c), promotion.spec.release.is_some() || promotion.spec.class == Class::Rollback)
        }
        None => delta,
    };
    let rule = judge.history.state().map_or(&target.file.promotion, |s| &s.file.promotion);
    let (_, extra) = judge.window(rule, &delta, &ask);
    let asking = judge.asking(&delta, &target, &ask);
    if (rule.approvals.count == 0 && !extra && asking.is_empty()) || judge.goes_back(&delta, &target) {
        return Err(format!("{environment} asks for no approval of {}", promotion.name));
    }
    let groups: Vec<&str> = approver.groups.iter().map(String::as_str).collect();
    judge.may_approve(rule, &judge.authors(&delta, &ask), approver.name, &groups)?;
    let binding = judge.binding(rule, &delta, &asking);
    let id = format!("approved-{environment}-{}-{}", &binding.hex()[..12], approver.name);
    let mut entry = Entry::new(EntryKind::Approved, id, facts.now, approver.name);
    entry.environment = Some(environment.clone());
    entry.component.clone_from(&promotion.spec.component);
    entry.build.clone_from(&promotion.spec.build);
    entry.promotion = Some(promotion.name.clone());
    entry.summary = format!("{environment}: {} is approved", delta.text());
    entry.reason = reason.to_owned();
    entry.details.insert(detail::BINDING.to_owned(), binding.to_string());
    if !groups.is_empty() {
        entry.details.insert(detail::GROUPS.to_owned(), groups.join(","));
    }
    Ok(entry)
}

/// What a promotion would make of the environment, which components are its own (`None`: all), and who asks.
fn wanted<'a>(
    judge: &Judge<'a>,
    promotion: &'a Promotion,
) -> Result<(State, Option<BTreeSet<model::Component>>, Ask<'a>), String> {
    let by_commit = |commit: &model::CommitId| {
        let found = judge.candidates().into_iter().find(|(c, _, _)| c.id == *commit);
        found.map(|(_, state, ask)| (state.clone(), None, ask))
    };
    if let Some(commit) = judge.case.effect(promotion) {
        return by_commit(commit).ok_or_else(|| format!("{} does not stand on main any more", promotion.name));
    }
    let head = judge.facts.at_head(judge.environment);
    let head = head.ok_or_else(|| format!("environments/{}.yaml cannot be read", judge.environment))?;
    match movement(judge, promotion, head) {
        Movement::To { target, own, .. } => Ok((target, Some(own), Ask::of(promotion))),
        Movement::Wait(gates) => Err(format!("{} cannot be approved yet: {}", promotion.name, super::reason(&gates))),
        Movement::Already(why) | Movement::Impossible(why) => Err(format!("{}: {why}", promotion.name)),
    }
}
