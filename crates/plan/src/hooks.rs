//! Hooks of charts: which object is next, and whether those of an event have done their work.
//!
//! Nothing is remembered: every object of a run carries the run's name, so that what stands says how far it came.

use jiff::{SignedDuration, Timestamp};
use model::flow::{Action, Hook, HookDeletion, HookEvent, Step};
use model::{Component, LABEL_HOOK, ObjectId, Observation};
use object::meta;
use serde_json::{Value, json};

/// Annotation of an object that a hook made: the run that it belongs to.
const ANNOTATION_RUN: &str = "trimtab.dev/hook-run";
/// What has not ended after this has failed, unless it has a deadline of its own. As helm has it.
pub const HOOK_LIMIT: SignedDuration = SignedDuration::from_mins(5);

/// The hooks of one event of one component.
#[derive(Debug, Clone, Copy)]
pub struct HookInput<'a> {
    /// Whose.
    pub component: &'a Component,
    /// All hooks of the component, in their order.
    pub hooks: &'a [Hook],
    /// Which of them.
    pub event: HookEvent,
    /// Name of this run; the next one has another.
    pub run: &'a str,
    /// What stands.
    pub observation: &'a Observation,
    /// Now.
    pub now: Timestamp,
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq)]
pub enum HookProgress {
    /// This is to be done.
    Next(Box<Step>),
    /// This works, and fails at that time at the latest.
    Works(ObjectId, Option<Timestamp>),
    /// All have succeeded.
    Succeeded,
    /// This has failed; for people.
    Failed(ObjectId, String),
}

/// How far the hooks of an event have come: one after the other, each when the one before has succeeded.
pub fn hooks(input: &HookInput<'_>) -> HookProgress {
    for hook in of_event(input) {
        let id = ObjectId::of(&hook.object);
        let Some(live) = input.observation.get(&id) else {
            return HookProgress::Next(Box::new(step(input, Action::Create, hook, None, "hook of the chart")));
        };
        if !is_of(live, input.run) {
            // What an earlier run left makes way, and what is going is waited for.
            return match meta(live).deletion_timestamp() {
                None => {
                    HookProgress::Next(Box::new(step(input, Action::Delete, hook, Some(live), "of an earlier run")))
                }
                Some(_) => HookProgress::Works(id, None),
            };
        }
        match outcome(live, input.now) {
            Outcome::Done => {}
            Outcome::Under(until) => return HookProgress::Works(id, until),
            Outcome::Failed(why) => return HookProgress::Failed(id, why),
        }
    }
    HookProgress::Succeeded
}

/// What goes once a run has ended, with or without success.
pub fn hooks_over(input: &HookInput<'_>, succeeded: bool) -> Vec<Step> {
    let gone = |hook: &&Hook| {
        let live = input.observation.get(&ObjectId::of(&hook.object));
        let live = live.filter(|live| is_of(live, input.run) && meta(live).deletion_timestamp().is_none())?;
        let goes = match succeeded {
            true => hook.deleted.contains(&HookDeletion::Succeeded),
            false => {
                let failed = matches!(outcome(live, input.now), Outcome::Failed(_));
                failed && hook.deleted.contains(&HookDeletion::Failed)
            }
        };
        goes.then(|| step(input, Action::Delete, hook, Some(live), "hook-delete-policy"))
    };
    of_event(input).filter_map(|hook| gone(&hook)).collect()
}

fn of_event<'a>(input: &HookInput<'a>) -> impl Iterator<Item = &'a Hook> + use<'a> {
    let event = input.event;
    input.hooks.iter().filter(move |hook| hook.events.contains(&event))
}

fn is_of(live: &Value, run: &str) -> bool {
    let annotations = live.pointer("/metadata/annotations");
    annotations.and_then(|annotations| annotations.get(ANNOTATION_RUN)).and_then(Value::as_str) == Some(run)
}

fn step(input: &HookInput<'_>, action: Action, hook: &Hook, live: Option<&Value>, reason: &str) -> Step {
    let mut manifest = hook.object.clone();
    // The objects of charts have metadata, or they would have been refused.
    manifest["metadata"]["labels"][LABEL_HOOK] = json!(input.event.as_str());
    let annotations = &mut manifest["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[ANNOTATION_RUN] = json!(input.run);
    Step {
        action,
        object: ObjectId::of(&hook.object),
        component: Some(input.component.clone()),
        manifest: (action == Action::Create).then_some(manifest),
        uid: live.map(|live| meta(live).uid().to_owned()).filter(|uid| !uid.is_empty()),
        changes: Vec::new(),
        reason: format!("{}: {reason}", input.event.as_str()),
    }
}

enum Outcome {
    Done,
    /// Until when it may work.
    Under(Option<Timestamp>),
    Failed(String),
}

/// Jobs and Pods end; everything else has done its work by being there.
fn outcome(live: &Value, now: Timestamp) -> Outcome {
    let id = ObjectId::of(live);
    let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match (id.group.as_str(), id.kind.as_str()) {
        ("batch", "Job") => {
            let conditions = live.pointer("/status/conditions").and_then(Value::as_array);
            let held = |kind: &str| {
                let holds = |c: &&Value| c["type"] == kind && c["status"] == "True";
                conditions.into_iter().flatten().find(holds)
            };
            if held("Complete").is_some() {
                return Outcome::Done;
            }
            if let Some(failed) = held("Failed") {
                let why = |key: &str| failed[key].as_str().unwrap_or_default().to_owned();
                return Outcome::Failed(format!("{} {}", why("reason"), why("message")).trim().to_owned());
            }
            if live.pointer("/spec/activeDeadlineSeconds").is_some_and(|seconds| !seconds.is_null()) {
                return Outcome::Under(None);
            }
        }
        ("", "Pod") => match text("/status/phase") {
            "Succeeded" => return Outcome::Done,
            "Failed" => {
                let message = text("/status/message");
                return Outcome::Failed(if message.is_empty() { "it has failed".into() } else { message.to_owned() });
            }
            _ => {}
        },
        _ => return Outcome::Done,
    }
    let made: Option<Timestamp> = text("/metadata/creationTimestamp").parse().ok();
    match made.and_then(|made| made.checked_add(HOOK_LIMIT).ok()) {
        Some(until) if until <= now => Outcome::Failed(format!("it has not ended within {} s", HOOK_LIMIT.as_secs())),
        until => Outcome::Under(until),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, status: Value) -> Value {
        json!({"apiVersion": "batch/v1", "kind": "Job", "status": status, "spec": {},
            "metadata": {"name": name, "namespace": "shop-dev", "uid": "u", "labels": {}, "creationTimestamp": "2026-11-21T10:00:00Z"}})
    }

    fn hook(object: Value, events: &[HookEvent], deleted: &[HookDeletion]) -> Hook {
        Hook { object, events: events.to_vec(), weight: 0, deleted: deleted.to_vec() }
    }

    /// Runs what is next, and answers with how it stands.
    struct Stage {
        hooks: Vec<Hook>,
        observation: Observation,
        now: Timestamp,
    }

    impl Stage {
        fn new(hooks: Vec<Hook>) -> Self {
            Self { hooks, observation: Observation::default(), now: "2026-11-21T10:01:00Z".parse().unwrap() }
        }

        fn input<'a>(&'a self, component: &'a Component, run: &'a str) -> HookInput<'a> {
            let (hooks, observation) = (self.hooks.as_slice(), &self.observation);
            HookInput { component, hooks, event: HookEvent::PreInstall, run, observation, now: self.now }
        }

        /// Works on while there is something to do; answers with what was done and how it stands then.
        fn run(&mut self, run: &str) -> (Vec<String>, HookProgress) {
            let component = "web".parse().unwrap();
            let mut done = Vec::new();
            for _ in 0..20 {
                let progress = hooks(&self.input(&component, run));
                let HookProgress::Next(step) = progress else { return (done, progress) };
                done.push(format!("{:?} {}", step.action, step.object.name));
                match step.action {
                    Action::Delete => drop(self.observation.objects.remove(&step.object)),
                    _ => drop(self.observation.objects.insert(step.object.clone(), step.manifest.unwrap().into())),
                }
            }
            panic!("it goes in circles: {done:?}");
        }

        fn ends(&mut self, name: &str, condition: &str) {
            for (_, live) in self.observation.objects.iter_mut().filter(|(id, _)| id.name == name) {
                std::sync::Arc::make_mut(live)["status"] = json!({"conditions": [{"type": condition, "status": "True", "reason": "Because", "message": "of that"}]});
            }
        }
    }

    fn two() -> Stage {
        use HookEvent::*;
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop-dev", "labels": {}}});
        Stage::new(vec![
            hook(map, &[PreInstall], &[]),
            hook(job("a", json!({})), &[PreInstall, PreUpgrade], &[HookDeletion::Succeeded]),
            hook(job("later", json!({})), &[PostInstall], &[]),
            hook(job("b", json!({})), &[PreInstall], &[HookDeletion::Failed]),
        ])
    }

    #[test]
    fn hooks_run_one_after_the_other_and_only_those_of_the_event() {
        let mut stage = two();
        let (done, progress) = stage.run("1");
        assert_eq!(done, ["Create c", "Create a"]);
        assert!(matches!(progress, HookProgress::Works(id, Some(_)) if id.name == "a"));
        stage.ends("a", "Complete");
        assert_eq!(stage.run("1").0, ["Create b"]);
        stage.ends("b", "Complete");
        assert_eq!(stage.run("1"), (Vec::new(), HookProgress::Succeeded));
        let component = "web".parse().unwrap();
        let over: Vec<_> = hooks_over(&stage.input(&component, "1"), true).into_iter().map(|s| s.object.name).collect();
        assert_eq!(over, ["a"], "only what says hook-succeeded goes");
    }

    #[test]
    fn what_an_earlier_run_left_makes_way() {
        let mut stage = two();
        stage.run("1");
        stage.ends("a", "Complete");
        assert_eq!(stage.run("2").0, ["Delete c", "Create c", "Delete a", "Create a"]);
    }

    #[test]
    fn a_hook_that_fails_stops_the_others() {
        let mut stage = two();
        stage.run("1");
        stage.ends("a", "Complete");
        stage.run("1");
        stage.ends("b", "Failed");
        let (_, progress) = stage.run("1");
        assert!(matches!(progress, HookProgress::Failed(id, why) if id.name == "b" && why == "Because of that"));
        let component = "web".parse().unwrap();
        let over: Vec<_> =
            hooks_over(&stage.input(&component, "1"), false).into_iter().map(|s| s.object.name).collect();
        assert_eq!(over, ["b"]);
    }

    #[test]
    fn what_does_not_end_has_failed() {
        let mut stage = two();
        stage.run("1");
        stage.now = "2026-11-21T10:05:00Z".parse().unwrap();
        assert!(matches!(stage.run("1").1, HookProgress::Failed(id, why) if id.name == "a" && why.contains("300 s")));
    }
}
