//! Decisions on Deployments, as tables and as a whole rollout in a model of a cluster.

use super::draft::Draft;
use super::rollout::{Change, Decision, Facts, decide};
use super::status::Conditions;
use super::template;
use crate::objects::name;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, from_value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn later(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

/// With the template of image `new`, limits in Pods.
fn deployment(replicas: i32, surge: Value, unavailable: Value) -> Deployment {
    let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
    from_value(json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 1, "annotations": {"deployment.kubernetes.io/revision": "9"}},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}, "template": pods_of("new"),
        },
        "status": {"observedGeneration": 1},
    }))
    .unwrap()
}

fn pods_of(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": image}]}})
}

/// `number` orders by age and revision; `noted` is the size of the Deployment when it was last scaled.
fn set(number: i32, image: &str, size: i32, available: i32, noted: (i32, i32)) -> Arc<ReplicaSet> {
    let annotations = json!({
        "deployment.kubernetes.io/revision": number.to_string(),
        "deployment.kubernetes.io/desired-replicas": noted.0.to_string(), "deployment.kubernetes.io/max-replicas": noted.1.to_string(),
    });
    let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true});
    from_value(json!({
        "metadata": {
            "name": format!("web-{number}"), "namespace": "n", "uid": format!("rs-{number}"), "generation": 1, "annotations": annotations,
            "creationTimestamp": format!("2026-01-{:02}T00:00:00Z", number + 1), "ownerReferences": [owner],
        },
        "spec": {"replicas": size, "selector": {}, "template": pods_of(image)},
        "status": {"replicas": size, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1},
    }))
    .map(Arc::new)
    .unwrap()
}

fn decision(deployment: &Deployment, sets: &[Arc<ReplicaSet>], pods: &[Arc<Pod>], now: Timestamp) -> Decision {
    decide(&Facts { deployment, replica_sets: sets, pods, now }).expect("a decision")
}

/// Sizes after a decision, in the order of the given sets, a created one last; a deleted one is -1.
fn sizes(sets: &[Arc<ReplicaSet>], decision: &Decision) -> Vec<i32> {
    let size = |set: &ReplicaSet| set.spec.as_ref().unwrap().replicas.unwrap();
    let mut sizes: BTreeMap<String, i32> = sets.iter().map(|set| (name(&**set).to_owned(), size(set))).collect();
    let mut created = Vec::new();
    for change in &decision.changes {
        match change {
            Change::Create(set) => created.push(size(set)),
            Change::Update { after, .. } => drop(sizes.insert(name(&**after).to_owned(), size(after))),
            Change::Delete(set) => drop(sizes.insert(name(&**set).to_owned(), -1)),
        }
    }
    sets.iter().map(|set| sizes[name(&**set)]).chain(created).collect()
}

fn condition(decision: &Decision, kind: &str) -> Option<(String, String)> {
    let conditions = Conditions::of(Some(&decision.status));
    let condition = conditions.get(kind)?;
    Some((condition.status.clone(), condition.reason.clone()?))
}

fn told(status: &str, reason: &str) -> Option<(String, String)> {
    Some((status.to_owned(), reason.to_owned()))
}

#[test]
fn one_step_of_a_rolling_update() {
    // replicas, surge, unavailable, old (size, available)…, new (size, available) → sizes
    type Case = (i32, i32, i32, &'static [(i32, i32)], Option<(i32, i32)>, &'static [i32]);
    let cases: [Case; 18] = [
        // Room for new Pods comes first.
        (3, 1, 0, &[], None, &[3]),
        (10, 0, 2, &[(10, 10)], None, &[8, 0]),
        (10, 2, 0, &[(10, 10)], None, &[10, 2]),
        (10, 2, 0, &[(5, 5)], None, &[5, 7]),
        (10, 2, 0, &[(10, 10)], Some((2, 0)), &[10, 2]),
        (10, 2, 0, &[(10, 10)], Some((2, 2)), &[8, 2]),
        (10, 2, 0, &[(8, 8)], Some((2, 2)), &[8, 4]),
        (10, 2, 0, &[], Some((15, 15)), &[10]),
        // Then what the new ones replace.
        (10, 0, 2, &[(10, 10)], Some((0, 0)), &[8, 0]),
        (10, 0, 2, &[(8, 8)], Some((2, 0)), &[8, 2]),
        (10, 0, 2, &[(8, 8)], Some((2, 2)), &[6, 2]),
        // What is unavailable anyway goes first, and oldest first, as far as the limit lets it.
        (10, 0, 2, &[(10, 8)], Some((0, 0)), &[8, 0]),
        (10, 0, 2, &[(3, 0), (7, 7)], Some((0, 0)), &[1, 7, 0]),
        (10, 0, 4, &[(1, 1), (9, 9)], Some((0, 0)), &[0, 6, 0]),
        // The rollout of a broken template can be undone though its Pods never become available.
        (4, 1, 1, &[(2, 0)], Some((3, 3)), &[0, 3]),
        // One replica: the new one comes before the old one goes.
        (1, 1, 0, &[(1, 1)], None, &[1, 1]),
        (1, 1, 0, &[(1, 1)], Some((1, 0)), &[1, 1]),
        (1, 1, 0, &[(1, 1)], Some((1, 1)), &[0, 1]),
    ];
    for (number, (replicas, surge, unavailable, old, new, expect)) in cases.into_iter().enumerate() {
        let noted = (replicas, replicas + surge);
        let deployment = deployment(replicas, json!(surge), json!(unavailable));
        let mut sets: Vec<_> =
            old.iter().zip(1..).map(|(old, number)| set(number, "old", old.0, old.1, noted)).collect();
        sets.extend(new.map(|new| set(9, "new", new.0, new.1, noted)));
        let decision = decision(&deployment, &sets, &[], NOW);
        assert_eq!(sizes(&sets, &decision), expect, "case {number}");
    }
}

#[test]
fn a_change_of_size_during_a_rollout_keeps_the_shares() {
    // new size, surge, before: (noted, sets oldest first) → sizes; the last set has the present template
    type Case = (i32, i32, (i32, i32), &'static [i32], &'static [i32]);
    let cases: [Case; 9] = [
        (12, 0, (10, 10), &[10], &[12]),
        (5, 0, (10, 10), &[10], &[5]),
        (10, 0, (5, 5), &[2, 3], &[4, 6]),
        (5, 0, (10, 10), &[4, 6], &[2, 3]),
        (10, 0, (5, 5), &[1, 2, 2], &[2, 4, 4]),
        (0, 0, (10, 10), &[4, 6], &[0, 0]),
        (6, 0, (5, 5), &[2, 3], &[2, 4]),
        (30, 3, (20, 23), &[11, 12], &[16, 17]),
        (5, 0, (10, 10), &[5, 0], &[5, 0]),
    ];
    for (number, (replicas, surge, noted, before, expect)) in cases.into_iter().enumerate() {
        let deployment = deployment(replicas, json!(surge), json!(0));
        let last = before.len() - 1;
        let image = |index: usize| if index == last { "new" } else { "old" };
        let sets: Vec<_> =
            (0..before.len()).map(|i| set(i as i32 + 1, image(i), before[i], before[i], noted)).collect();
        let decision = decision(&deployment, &sets, &[], NOW);
        assert_eq!(sizes(&sets, &decision), expect, "case {number}");
    }
}

#[test]
fn a_paused_deployment_is_resized_and_never_rolled() {
    let mut deployment = deployment(6, json!(1), json!(0));
    deployment.spec.as_mut().unwrap().paused = Some(true);
    let sets = [set(1, "old", 4, 4, (4, 5))];
    let paused = decision(&deployment, &sets, &[], NOW);
    assert_eq!(sizes(&sets, &paused), [6]);
    assert_eq!(condition(&paused, "Progressing"), told("Unknown", "DeploymentPaused"));
    deployment.spec.as_mut().unwrap().paused = None;
    deployment.status = Some(paused.status);
    let sets = [set(1, "old", 6, 6, (6, 7))];
    let resumed = decision(&deployment, &sets, &[], NOW);
    assert_eq!(sizes(&sets, &resumed), [6, 1]);
}

#[test]
fn a_rollout_without_progress_times_out_at_its_deadline_and_is_looked_at_then() {
    let sets = [set(1, "old", 2, 2, (2, 3)), set(9, "new", 1, 0, (2, 3))];
    let mut deployment = deployment(2, json!(1), json!(0));
    let begun = decision(&deployment, &sets, &[], NOW);
    assert_eq!(condition(&begun, "Progressing"), told("True", "ReplicaSetUpdated"));
    assert_eq!(begun.look_again, Some(SignedDuration::from_secs(601)));
    deployment.status = Some(begun.status);
    let waiting = decision(&deployment, &sets, &[], later(600));
    assert_eq!(condition(&waiting, "Progressing"), told("True", "ReplicaSetUpdated"));
    assert_eq!(waiting.look_again, Some(SignedDuration::from_secs(1)));
    let over = decision(&deployment, &sets, &[], later(601));
    assert_eq!(condition(&over, "Progressing"), told("False", "ProgressDeadlineExceeded"));
    assert_eq!(over.look_again, None);

    deployment.status = Some(over.status);
    let sets = [set(1, "old", 2, 2, (2, 3)), set(9, "new", 1, 1, (2, 3))];
    let again = decision(&deployment, &sets, &[], later(700));
    assert_eq!(condition(&again, "Progressing"), told("True", "ReplicaSetUpdated"), "it does progress after all");

    deployment.spec.as_mut().unwrap().progress_deadline_seconds = Some(i32::MAX);
    let unlimited = decision(&deployment, &sets, &[], later(700));
    assert_eq!((condition(&unlimited, "Progressing"), unlimited.look_again), (None, None));
}

#[test]
fn old_revisions_go_when_a_rollout_is_complete_and_only_without_pods() {
    let mut deployment = deployment(1, json!(1), json!(0));
    deployment.spec.as_mut().unwrap().revision_history_limit = Some(1);
    let sets =
        [set(1, "a", 0, 0, (1, 2)), set(2, "b", 0, 0, (1, 2)), set(3, "c", 0, 0, (1, 2)), set(9, "new", 1, 1, (1, 2))];
    assert_eq!(
        sizes(&sets, &decision(&deployment, &sets, &[], NOW)),
        [0, 0, 0, 1],
        "the status does not tell completion yet"
    );
    deployment.status = Some(decision(&deployment, &sets, &[], NOW).status);
    assert_eq!(sizes(&sets, &decision(&deployment, &sets, &[], NOW)), [-1, -1, 0, 1]);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut deployment = deployment(2, json!(null), json!(null));
    deployment.spec.as_mut().unwrap().strategy = from_value(json!({"type": "Recreate"})).unwrap();
    let running = [set(1, "old", 2, 2, (2, 2))];
    assert_eq!(sizes(&running, &decision(&deployment, &running, &[], NOW)), [0]);
    let mut gone = (*set(1, "old", 0, 0, (2, 2))).clone();
    gone.status = from_value(json!({"replicas": 0})).unwrap();
    let gone = [Arc::new(gone)];
    let pod = |phase: &str| -> Arc<Pod> {
        let owner =
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "rs-1", "controller": true});
        Arc::new(from_value(json!({"metadata": {"ownerReferences": [owner]}, "status": {"phase": phase}})).unwrap())
    };
    assert_eq!(
        sizes(&gone, &decision(&deployment, &gone, &[pod("Running")], NOW)),
        [0],
        "an old Pod is still terminating"
    );
    assert_eq!(sizes(&gone, &decision(&deployment, &gone, &[pod("Succeeded")], NOW)), [0, 2]);
}

#[test]
fn an_earlier_template_becomes_the_latest_revision_again() {
    let deployment = deployment(1, json!(1), json!(0));
    let sets = [set(1, "new", 0, 0, (1, 2)), set(2, "old", 1, 1, (1, 2))];
    let decision = decision(&deployment, &sets, &[], NOW);
    assert_eq!(decision.revision.as_deref(), Some("3"));
    let [Change::Update { after, .. }] = &decision.changes[..] else { panic!("{decision:?}") };
    let annotations = after.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(after.spec.as_ref().unwrap().replicas, Some(1));
}

#[test]
fn a_replica_set_that_cannot_make_pods_fails_the_deployment() {
    let mut broken = (*set(9, "new", 1, 0, (1, 2))).clone();
    let failure = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no more"}]);
    broken.status.as_mut().unwrap().conditions = from_value(failure).unwrap();
    let sets = [Arc::new(broken)];
    let decision = decision(&deployment(1, json!(1), json!(0)), &sets, &[], NOW);
    assert_eq!(condition(&decision, "ReplicaFailure"), told("True", "FailedCreate"));
    assert_eq!(condition(&decision, "Available"), told("False", "MinimumReplicasUnavailable"));
}

/// Numbers without meaning, the same on every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> i32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit) as i32
    }
}

/// ReplicaSets that make and lose Pods at their own pace.
#[derive(Default)]
struct Model {
    sets: Vec<ReplicaSet>,
}

impl Model {
    fn apply(&mut self, decision: Decision, deployment: &mut Deployment) {
        for change in decision.changes {
            match change {
                Change::Create(mut set) => {
                    set.metadata.uid = Some(format!("rs-{}", self.sets.len()));
                    set.metadata.creation_timestamp = Some(later(self.sets.len() as i64).into());
                    set.status = Some(Default::default());
                    self.sets.push(*set);
                }
                Change::Update { after, .. } => {
                    let at = self.sets.iter().position(|set| name(set) == name(&*after)).unwrap();
                    self.sets[at] = *after;
                }
                Change::Delete(gone) => self.sets.retain(|set| name(set) != name(&*gone)),
            }
        }
        deployment.status = Some(decision.status);
    }

    /// Each ReplicaSet goes a part of its way: Pods that are too many go, the least available first; others come up.
    fn advance(&mut self, chance: &mut Chance) {
        for set in &mut self.sets {
            let wanted = set.spec.as_ref().unwrap().replicas.unwrap();
            let status = set.status.as_mut().unwrap();
            if chance.below(2) == 0 {
                status.replicas = wanted;
            }
            let available = status.available_replicas.unwrap_or(0);
            let available = available.min(status.replicas).max(available.min(wanted)) + chance.below(3);
            status.available_replicas = Some(available.min(status.replicas).min(wanted));
            status.ready_replicas = status.available_replicas;
        }
    }

    fn wanted(&self) -> i32 {
        self.sets.iter().map(|set| set.spec.as_ref().unwrap().replicas.unwrap()).sum()
    }

    fn existing(&self) -> i32 {
        self.sets.iter().map(|set| set.status.as_ref().unwrap().replicas).sum()
    }

    fn available(&self) -> i32 {
        self.sets.iter().filter_map(|set| set.status.as_ref().unwrap().available_replicas).sum()
    }
}

#[test]
fn every_rollout_stays_within_its_limits_and_comes_to_rest() {
    for seed in 0..300 {
        let mut chance = Chance(seed);
        let (replicas, surge) = (chance.below(12) + 1, chance.below(4));
        let unavailable = chance.below(3).min(replicas);
        let mut deployment = deployment(replicas, json!(surge), json!(unavailable));
        let (surge, unavailable) = if surge + unavailable == 0 { (0, 1) } else { (surge, unavailable) };
        let mut model = Model::default();
        for revision in 0..3 {
            let image = format!("v{}", chance.below(3));
            deployment.spec.as_mut().unwrap().template = from_value(pods_of(&image)).unwrap();
            let mut steps = 0;
            loop {
                let sets: Vec<_> = model.sets.iter().cloned().map(Arc::new).collect();
                let decision = decision(&deployment, &sets, &[], NOW);
                let available_before = model.available();
                let is_done = [model.wanted(), model.existing(), available_before] == [replicas; 3];
                let is_quiet = decision.changes.is_empty() && deployment.status.as_ref() == Some(&decision.status);
                if is_quiet && is_done {
                    break;
                }
                model.apply(decision, &mut deployment);
                let context = format!("seed {seed}, revision {revision}, step {steps}");
                assert!(model.wanted() <= replicas + surge, "too many Pods wanted: {context}");
                model.advance(&mut chance);
                let least = (replicas - unavailable).min(available_before);
                assert!(model.available() >= least, "{} available, at least {least}: {context}", model.available());
                steps += 1;
                assert!(steps < 500, "does not come to rest: {context}");
            }
            let newest = model.sets.iter().find(|set| Draft::existing(&Arc::new((*set).clone())).is_active()).unwrap();
            let wanted = &deployment.spec.as_ref().unwrap().template;
            assert!(template::same(newest.spec.as_ref().unwrap().template.as_ref().unwrap(), wanted));
        }
    }
}
