//! What a request comes down to where changes are reviewed: a commit for people to look at, whose gates are judged when it
//! is on main.

use crate::case::Case;
use crate::facts::Facts;
use crate::gates::reason;
use crate::movement::{Movement, movement};
use crate::state::{Delta, State};
use crate::text::message;
use model::ports::Write;
use model::records::{GateName, GateState, PromotionSpec, PromotionStatus};
use model::{Environment, Promotion};
use std::collections::BTreeMap;

/// The commit that somebody asks for, on top of main as it stands.
///
/// # Errors
/// For people: it is there already, it cannot be done, or a gate will never let it through.
pub fn proposal(facts: &Facts, spec: &PromotionSpec) -> Result<Write, String> {
    let environment = &spec.environment;
    let case = Case::of(facts);
    let judge = case.judge(environment).ok_or_else(|| format!("there is no environment {environment}"))?;
    let head = facts.at_head(environment).ok_or_else(|| format!("environments/{environment}.yaml cannot be read"))?;
    // It has no name: there is no Promotion before the commit is on main.
    let promotion = Promotion { name: String::new(), spec: spec.clone(), status: PromotionStatus::default() };
    let (target, gates) = match movement(&judge, &promotion, head) {
        Movement::To { target, gates, .. } => (target, gates),
        Movement::Wait(gates) => return Err(reason(&gates)),
        Movement::Already(why) | Movement::Impossible(why) => return Err(why),
    };
    let never: Vec<&str> = gates
        .iter()
        .filter(|gate| gate.state == GateState::Closed && gate.name != GateName::Review)
        .map(|gate| gate.message.as_str())
        .collect();
    if !never.is_empty() {
        return Err(never.join("; "));
    }
    let shown = Delta::between(judge.history.state(), &target);
    let written = files(facts, environment, head, &target)?;
    if written.is_empty() {
        return Err(format!("{} stands on main already and waits: trimtab explain", shown.text()));
    }
    Ok(Write {
        expect: Some(facts.head.clone()),
        files: written,
        author: spec.requested_by.clone(),
        message: message(&promotion, &shown, None),
        at: facts.now,
    })
}

/// What moves between two states of an environment, for people: `web-1 → web-2`; empty if nothing does.
pub fn change_between(before: Option<&State>, after: &State) -> String {
    let delta = Delta::between(before, after);
    match delta.is_empty() && delta.secrets.is_empty() {
        true => String::new(),
        false => delta.text(),
    }
}

/// Files that must be written to get from what stands on main to a target.
pub(crate) fn files(
    facts: &Facts,
    environment: &Environment,
    head: &State,
    target: &State,
) -> Result<BTreeMap<String, Option<Vec<u8>>>, String> {
    let mut files = head.files(target, environment);
    if head.file.release != target.file.release {
        let path = format!("environments/{environment}.yaml");
        let text = facts.texts.get(environment).map_or("", String::as_str);
        let version = target.file.release.as_ref().map(ToString::to_string);
        let text = model::edit::set_line(&path, text, "release", version.as_deref(), &target.file)?;
        files.insert(path, Some(text.into_bytes()));
    }
    Ok(files)
}
