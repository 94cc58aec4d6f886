//! The state machine, driven by hand: what it decides and what the status then says.

use super::machine::{Life, Machine, News, NotStarted, Sandbox, Termination};
use super::status::{qos_class, status};
use super::step::Action;
use super::*;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A Pod, its machine and a clock.
struct Driven {
    pod: Pod,
    machine: Machine,
    now: Timestamp,
}

fn pod(policy: &str, inits: &[&str], mains: &[&str]) -> Pod {
    let probe = json!({"tcpSocket": {"port": 1}});
    let container = |n: &&str| json!({"name": n, "image": "img", "startupProbe": probe, "readinessProbe": probe});
    let containers = |names: &[&str]| names.iter().map(container).collect::<Vec<_>>();
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "generation": 3},
        "spec": {"restartPolicy": policy, "initContainers": containers(inits), "containers": containers(mains)}
    }))
    .unwrap()
}

impl Driven {
    fn new(pod: Pod) -> Self {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Self { machine: Machine::new(&pod, now), pod, now }
    }

    fn step(&mut self) -> Vec<Action> {
        self.machine.step(&self.pod, self.now).actions
    }

    fn news(&mut self, news: News) -> Vec<Action> {
        self.machine.apply(news, self.now);
        self.step()
    }

    fn pass(&mut self, seconds: u64) -> Vec<Action> {
        self.now += Duration::from_secs(seconds);
        self.step()
    }

    fn sandbox(&mut self) -> Vec<Action> {
        assert_eq!(self.step(), [Action::CreateSandbox]);
        self.news(News::Sandbox(Ok("10.0.0.2".parse().unwrap())))
    }

    fn started(&mut self, index: usize) -> Vec<Action> {
        let attempt = self.machine.containers[index].next_attempt();
        let id = format!("c{index}-{attempt}");
        self.news(News::Started { index, id, image_id: "img@sha256:1".into(), at: self.now })
    }

    fn ready(&mut self, index: usize) {
        self.news(News::StartupDone { index });
        self.news(News::Ready { index, ready: true });
    }

    fn exited(&mut self, index: usize, exit_code: i32) -> Vec<Action> {
        let running = self.machine.containers[index].running().unwrap().clone();
        let end = Termination {
            id: Some(running.id),
            exit_code,
            signal: None,
            reason: if exit_code == 0 { "Completed".into() } else { "Error".into() },
            message: String::new(),
            started_at: running.started_at,
            finished_at: self.now,
        };
        self.news(News::Exited { index, end })
    }

    /// Its shim was killed.
    fn lost(&mut self, index: usize) -> Vec<Action> {
        let running = self.machine.containers[index].running().unwrap().clone();
        let end = Termination::lost(&running.id, running.started_at, self.now, "");
        self.news(News::Exited { index, end })
    }

    fn delete(&mut self, grace: i64) -> Vec<Action> {
        self.pod.metadata.deletion_timestamp = Some(status::seconds(self.now));
        self.pod.metadata.deletion_grace_period_seconds = Some(grace);
        self.step()
    }

    fn status(&self) -> Value {
        serde_json::to_value(status(&self.machine, &self.pod, "10.0.0.1", self.now)).unwrap()
    }

    fn condition(&self, name: &str) -> Value {
        let status = self.status();
        status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == name).unwrap().clone()
    }
}

fn start(index: usize, attempt: u32) -> Action {
    Action::Start { index, attempt }
}

#[test]
fn a_pod_comes_up_in_order() {
    let mut pod = Driven::new(pod("Always", &["first", "second"], &["b", "a"]));
    assert_eq!(pod.sandbox(), [start(0, 0)]);
    assert_eq!(pod.status()["phase"], "Pending");
    assert_eq!(pod.condition("Initialized")["message"], "containers with incomplete status: [first second]");
    assert_eq!(pod.started(0), []);
    assert_eq!(pod.exited(0, 0), [start(1, 0)]);
    pod.started(1);
    assert_eq!(pod.exited(1, 0), [start(2, 0), start(3, 0)]);
    assert_eq!(pod.condition("Initialized")["status"], "True");
    pod.started(2);
    assert_eq!(pod.status()["phase"], "Pending", "one container still waits");
    pod.started(3);
    let before = pod.status();
    assert_eq!(before["phase"], "Running");
    assert_eq!(before["podIP"], "10.0.0.2");
    assert_eq!(before["containerStatuses"][0]["name"], "a", "sorted by name");
    assert_eq!(pod.condition("Ready")["message"], "containers with unready status: [b a]");
    pod.ready(2);
    pod.ready(3);
    assert_eq!(pod.condition("Ready")["status"], "True");
    assert_eq!(pod.status()["containerStatuses"][0]["containerID"], "trimtab://c3-0");
    assert_eq!(pod.status()["observedGeneration"], 3);
}

#[test]
fn without_probes_running_is_ready() {
    let mut spec = pod("Always", &[], &["plain"]);
    let container = &mut spec.spec.as_mut().unwrap().containers[0];
    (container.startup_probe, container.readiness_probe) = (None, None);
    let mut pod = Driven::new(spec);
    pod.sandbox();
    pod.started(0);
    assert_eq!(pod.condition("Ready")["status"], "True");
    assert_eq!(pod.status()["containerStatuses"][0]["started"], true);
    pod.exited(0, 1);
    assert_eq!(pod.condition("Ready")["status"], "False");
}

#[test]
fn a_crash_loop_backs_off_and_says_so() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    assert_eq!(pod.sandbox(), [start(0, 0)]);
    pod.started(0);
    assert_eq!(pod.exited(0, 1), [start(0, 1)], "the first restart is immediate");
    pod.started(0);
    let message = "back-off 10s restarting failed container=main pod=web_shop(u1)";
    assert_eq!(pod.exited(0, 1), [Action::SayBackOff { index: 0, message: message.into() }]);
    let shown = pod.status()["containerStatuses"][0].clone();
    assert_eq!(shown["state"]["waiting"], json!({"reason": "CrashLoopBackOff", "message": message}));
    assert_eq!(shown["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(shown["restartCount"], 1);
    assert_eq!(pod.status()["phase"], "Running");
    assert_eq!(pod.pass(9), []);
    assert_eq!(pod.pass(1), [start(0, 2)]);
    pod.started(0);
    assert!(matches!(pod.exited(0, 1)[..], [Action::SayBackOff { .. }]));
    assert_eq!(pod.pass(19), []);
    assert_eq!(pod.pass(1), [start(0, 3)]);
    pod.started(0);
    pod.pass(601);
    assert_eq!(pod.exited(0, 1), [start(0, 4)], "forgotten after ten quiet minutes");
}

#[test]
fn a_container_whose_shim_is_lost_has_not_failed_and_starts_at_once() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    pod.sandbox();
    for attempt in 1..=9 {
        pod.started(0);
        pod.pass(1);
        assert_eq!(pod.lost(0), [start(0, attempt)]);
    }
    pod.started(0);
    assert_eq!(pod.exited(0, 1), [start(0, 10)], "nothing was counted against it");
    pod.started(0);
    assert!(matches!(pod.lost(0)[..], [Action::SayBackOff { .. }]), "what is lost as it starts waits like any other");
    assert_eq!(pod.pass(9), []);
    assert_eq!(pod.pass(1), [start(0, 11)]);
}

#[test]
fn policies_decide_the_end() {
    for (policy, codes, phase, again) in [
        ("Never", [0, 0], "Succeeded", false),
        ("Never", [0, 3], "Failed", false),
        ("OnFailure", [0, 0], "Succeeded", false),
        ("OnFailure", [0, 3], "Running", true),
        ("Always", [0, 0], "Running", true),
    ] {
        let mut pod = Driven::new(pod(policy, &[], &["a", "b"]));
        pod.sandbox();
        pod.started(0);
        pod.started(1);
        let first = pod.exited(0, codes[0]);
        let second = pod.exited(1, codes[1]);
        assert_eq!(!(first.is_empty() && second.is_empty()), again, "{policy} {codes:?}");
        assert_eq!(pod.status()["phase"], phase, "{policy} {codes:?}");
    }
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let mut pod = Driven::new(pod("Never", &["init"], &["main"]));
    pod.sandbox();
    pod.started(0);
    assert_eq!(pod.exited(0, 1), []);
    assert_eq!(pod.status()["phase"], "Failed");
    assert_eq!(pod.condition("Ready")["reason"], "PodFailed");
}

#[test]
fn deletion_drains_stops_removes_and_finishes() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    pod.sandbox();
    pod.started(0);
    pod.ready(0);
    assert_eq!(pod.delete(30), [Action::Drain]);
    assert_eq!(pod.condition("Ready")["status"], "False", "said before anything is stopped");
    assert_eq!(pod.pass(1), []);
    let deadline = pod.now + Duration::from_secs(29);
    assert_eq!(pod.news(News::Drained), [Action::Stop { index: 0, deadline, message: String::new() }]);
    assert_eq!(pod.pass(5), [], "the grace is not begun again");
    let sooner = pod.now + Duration::from_secs(1);
    assert_eq!(pod.delete(1), [Action::Stop { index: 0, deadline: sooner, message: String::new() }]);
    assert_eq!(pod.exited(0, 143), [Action::RemoveSandbox], "no restart");
    assert_eq!(pod.step(), []);
    assert_eq!(pod.news(News::SandboxRemoved), [Action::Finish]);
    assert_eq!(pod.status()["phase"], "Failed");
    assert_eq!(pod.status()["podIP"], Value::Null, "unless the record knows it");
}

#[test]
fn draining_takes_two_thirds_of_the_grace_at_most() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    pod.sandbox();
    pod.started(0);
    pod.ready(0);
    assert_eq!(pod.delete(30), [Action::Drain]);
    let end = pod.now + Duration::from_secs(30);
    assert_eq!(pod.pass(19), []);
    assert_eq!(pod.pass(1), [Action::Stop { index: 0, deadline: end, message: String::new() }]);
    assert_eq!(pod.news(News::Drained), [], "too late to matter");
}

#[test]
fn a_shorter_grace_shortens_draining() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    pod.sandbox();
    pod.started(0);
    pod.ready(0);
    assert_eq!(pod.delete(600), [Action::Drain]);
    assert_eq!(pod.pass(10), []);
    let deadline = pod.now + Duration::from_secs(2);
    assert_eq!(pod.delete(6), [Action::Stop { index: 0, deadline, message: String::new() }]);
}

#[test]
fn a_forced_deletion_does_not_wait() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    pod.sandbox();
    pod.started(0);
    pod.ready(0);
    let deadline = pod.now;
    assert_eq!(pod.delete(0), [Action::Stop { index: 0, deadline, message: String::new() }]);
}

#[test]
fn a_pod_that_vanishes_is_stopped_all_the_same() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    pod.sandbox();
    pod.started(0);
    pod.machine.gone = true;
    assert!(matches!(pod.step()[..], [Action::Stop { .. }]));
    pod.exited(0, 0);
    assert_eq!(pod.machine.sandbox, Sandbox::Removing);
    assert_eq!(pod.news(News::SandboxRemoved), [Action::Finish]);
}

#[test]
fn what_is_being_prepared_is_waited_for_and_not_begun_again() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    assert_eq!(pod.sandbox(), [start(0, 0)]);
    assert_eq!(pod.delete(30), [], "its start is being cancelled");
    let cancelled = News::NotStarted { index: 0, why: NotStarted::Cancelled };
    assert_eq!(pod.news(cancelled), [Action::RemoveSandbox]);
}

#[test]
fn an_image_that_is_missing_is_tried_again() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    pod.sandbox();
    let missing =
        || News::NotStarted { index: 0, why: NotStarted::Image { reason: "ErrImagePull", message: "no".into() } };
    assert_eq!(pod.news(missing()), []);
    let shown = pod.status()["containerStatuses"][0]["state"]["waiting"].clone();
    assert_eq!(shown["reason"], "ImagePullBackOff");
    assert_eq!(shown["message"], "Back-off pulling image \"img\": ErrImagePull: no");
    assert_eq!(pod.pass(9), []);
    assert_eq!(pod.pass(1), [start(0, 0)]);
    pod.news(missing());
    assert_eq!(pod.pass(19), []);
    assert_eq!(pod.pass(1), [start(0, 0)]);
    pod.started(0);
    assert_eq!(pod.status()["containerStatuses"][0]["restartCount"], 0);
}

#[test]
fn a_container_that_cannot_start_counts_as_a_run() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    pod.sandbox();
    let run = || News::NotStarted { index: 0, why: NotStarted::Run { message: "no such file".into() } };
    assert_eq!(pod.news(run()), [start(0, 1)]);
    assert!(matches!(pod.news(run())[..], [Action::SayBackOff { .. }]));
    let shown = pod.status()["containerStatuses"][0].clone();
    assert_eq!(shown["lastState"]["terminated"]["reason"], "StartError");
    assert_eq!(shown["lastState"]["terminated"]["exitCode"], 128);
    assert_eq!(shown["lastState"]["terminated"]["message"], "no such file");
}

#[test]
fn an_unhealthy_container_is_stopped_and_restarted() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    pod.sandbox();
    pod.started(0);
    let kill = machine::Kill { message: "failed liveness".into(), grace: Some(Duration::from_secs(2)) };
    let deadline = pod.now + Duration::from_secs(2);
    assert_eq!(
        pod.news(News::Unhealthy { index: 0, kill }),
        [Action::Stop { index: 0, deadline, message: "failed liveness".into() }]
    );
    assert_eq!(pod.exited(0, 137), [start(0, 1)]);
}

#[test]
fn a_new_image_restarts_its_container_only() {
    let mut pod = Driven::new(pod("Always", &[], &["a", "b"]));
    pod.sandbox();
    pod.started(0);
    pod.started(1);
    pod.pod.spec.as_mut().unwrap().containers[1].image = Some("new".into());
    pod.machine.take_spec(&pod.pod);
    assert!(matches!(pod.step()[..], [Action::Stop { index: 1, .. }]));
    assert_eq!(pod.exited(1, 0), [start(1, 1)]);
    pod.machine.take_spec(&pod.pod);
    assert_eq!(pod.step(), []);
}

#[test]
fn a_deadline_fails_the_pod() {
    let mut spec = pod("Always", &[], &["main"]);
    spec.spec.as_mut().unwrap().active_deadline_seconds = Some(10);
    let mut pod = Driven::new(spec);
    pod.sandbox();
    pod.started(0);
    assert_eq!(pod.pass(9), []);
    assert!(matches!(pod.pass(1)[..], [Action::Stop { .. }]));
    pod.exited(0, 143);
    assert_eq!(pod.status()["phase"], "Failed");
    assert_eq!(pod.status()["reason"], "DeadlineExceeded");
}

#[test]
fn a_refused_pod_stays_pending_and_starts_nothing() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    pod.machine.refuse("this node does not support: spec.hostPID");
    assert_eq!(pod.step(), []);
    let shown = pod.status();
    assert_eq!(shown["phase"], "Pending");
    assert_eq!(shown["containerStatuses"][0]["state"]["waiting"]["reason"], "CreateContainerConfigError");
    assert_eq!(pod.delete(30), [Action::RemoveSandbox]);
}

#[test]
fn late_news_of_an_earlier_attempt_changes_nothing() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    pod.sandbox();
    pod.started(0);
    let late = Termination::lost("c0-old", pod.now, pod.now, "");
    pod.news(News::Exited { index: 0, end: late });
    assert!(matches!(pod.machine.containers[0].life, Life::Running(_)));
}

#[test]
fn a_transition_keeps_its_time_and_others_conditions_stay() {
    let mut pod = Driven::new(pod("Always", &[], &["main"]));
    pod.sandbox();
    let mut first = status(&pod.machine, &pod.pod, "10.0.0.1", pod.now);
    let foreign = serde_json::from_value(json!({"type": "example.com/gate", "status": "True"})).unwrap();
    first.conditions.as_mut().unwrap().push(foreign);
    pod.pod.status = Some(first);
    pod.now += Duration::from_secs(60);
    pod.started(0);
    pod.ready(0);
    assert_eq!(pod.condition("PodScheduled")["lastTransitionTime"], "2026-01-01T00:00:00Z");
    assert_eq!(pod.condition("Ready")["lastTransitionTime"], "2026-01-01T00:01:00Z");
    assert_eq!(pod.condition("example.com/gate")["status"], "True");
}

#[test]
fn quality_of_service() {
    for (resources, expected) in [
        (json!({}), "BestEffort"),
        (json!({"requests": {"cpu": "0"}}), "BestEffort"),
        (
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}),
            "Guaranteed",
        ),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}), "Burstable"),
        (json!({"limits": {"cpu": "1"}}), "Burstable"),
    ] {
        let mut pod = pod("Always", &[], &["main"]);
        pod.spec.as_mut().unwrap().containers[0].resources = serde_json::from_value(resources.clone()).unwrap();
        assert_eq!(qos_class(&pod), expected, "{resources}");
    }
}
