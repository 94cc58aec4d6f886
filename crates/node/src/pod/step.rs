//! The next things to do for a Pod, decided from its spec and its state.

use super::machine::{Drain, Failure, Life, Machine, Sandbox, Waiting};
use super::{PodExt, RestartPolicy};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::time::Duration;

/// What the worker does. Each is begun at once and its end is told as news.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    CreateSandbox,
    Start {
        index: usize,
        attempt: u32,
    },
    /// Stop politely, by force at `deadline`. A second one only moves the deadline.
    Stop {
        index: usize,
        deadline: Timestamp,
        message: String,
    },
    /// Wait until nobody sends traffic any more.
    Drain,
    RemoveSandbox,
    /// Nothing of the Pod is left: report for the last time and let the object go.
    Finish,
    /// A container waits for its next attempt.
    SayBackOff {
        index: usize,
        message: String,
    },
}

/// Actions, and the time of the next look if nothing happens before.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub actions: Vec<Action>,
    pub wake: Option<Timestamp>,
}

/// Draining is part of the grace: of what it leaves, a container has this at least, unless the whole grace is shorter.
const GRACE_LEFT_MIN: Duration = Duration::from_secs(2);

/// Two thirds of the grace, for what was sent to be answered; the rest is the container's.
fn drain_limit(pod: &Pod) -> Duration {
    pod.grace() * 2 / 3
}

impl Step {
    fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |w| w.min(time)));
    }
}

impl Machine {
    /// Decides, and marks in the state what has been begun.
    pub(crate) fn step(&mut self, pod: &Pod, now: Timestamp) -> Step {
        let mut step = Step::default();
        self.check_deadline(pod, now, &mut step);
        if pod.terminating() || self.gone {
            self.wind_down(pod, now, &mut step);
        } else if self.failure.is_some() {
            self.stop_all(pod, now, &mut step);
        } else {
            self.run_up(pod, now, &mut step);
        }
        step
    }

    fn check_deadline(&mut self, pod: &Pod, now: Timestamp, step: &mut Step) {
        let Some(seconds) = pod.spec_ref().active_deadline_seconds else { return };
        if self.failure.is_some() || self.finished(pod) {
            return;
        }
        let deadline = self.start_time + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        if deadline > now {
            return step.wake_at(deadline);
        }
        self.failure = Some(Failure {
            reason: "DeadlineExceeded".into(),
            message: "Pod was active on the node longer than the specified deadline".into(),
        });
    }

    /// Every container has ended for good.
    pub(crate) fn finished(&self, pod: &Pod) -> bool {
        let policy = pod.restart_policy();
        let over = |index: usize| {
            let tracked = &self.containers[index];
            tracked.ended().is_some_and(|end| !tracked.wanted_again(policy, end))
        };
        let init_failed =
            (0..self.inits).any(|i| over(i) && self.containers[i].ended().is_some_and(|e| e.exit_code != 0));
        init_failed || (self.inits..self.containers.len()).all(over)
    }

    fn run_up(&mut self, pod: &Pod, now: Timestamp, step: &mut Step) {
        if self.refused {
            return;
        }
        match self.sandbox {
            Sandbox::Ready(_) => {}
            Sandbox::Failed { until } if until > now => return step.wake_at(until),
            Sandbox::Absent | Sandbox::Failed { .. } => {
                self.sandbox = Sandbox::Creating;
                return step.actions.push(Action::CreateSandbox);
            }
            Sandbox::Creating | Sandbox::Removing | Sandbox::Removed => return,
        }
        for index in 0..self.inits {
            if self.containers[index].ended().is_none_or(|end| end.exit_code != 0) {
                return self.advance(index, pod, now, step);
            }
        }
        for index in self.inits..self.containers.len() {
            self.advance(index, pod, now, step);
        }
    }

    fn advance(&mut self, index: usize, pod: &Pod, now: Timestamp, step: &mut Step) {
        let policy = pod.restart_policy();
        let tracked = &mut self.containers[index];
        match &tracked.life {
            Life::Starting(_) => {}
            Life::Running(running) => {
                if let (Some(kill), None) = (tracked.kill.clone(), running.stopping) {
                    let deadline = now + kill.grace.unwrap_or_else(|| pod.grace());
                    self.stop(index, deadline, kill.message, step);
                }
            }
            Life::Waiting(waiting) => match waiting.until {
                Some(until) if until > now => step.wake_at(until),
                _ => self.begin(index, now, step),
            },
            Life::Terminated(end) if tracked.wanted_again(policy, end) => {
                let (end, until) = (end.clone(), tracked.again_at(end));
                if until <= now {
                    return self.begin(index, now, step);
                }
                let message = format!(
                    "back-off {} restarting failed container={} pod={}_{}({})",
                    tracked.restart.text(),
                    tracked.name,
                    pod.metadata.name.as_deref().unwrap_or_default(),
                    pod.namespace_str(),
                    pod.uid_str()
                );
                tracked.last = Some(end);
                let waiting =
                    Waiting { reason: "CrashLoopBackOff".into(), message: message.clone(), until: Some(until) };
                tracked.life = Life::Waiting(waiting);
                step.actions.push(Action::SayBackOff { index, message });
                step.wake_at(until);
            }
            Life::Terminated(_) => {}
        }
    }

    fn begin(&mut self, index: usize, now: Timestamp, step: &mut Step) {
        let tracked = &mut self.containers[index];
        let shown = match &tracked.life {
            // What it waits for stays visible until the next attempt has got further.
            Life::Waiting(waiting) if waiting.reason == "ImagePullBackOff" => waiting.clone(),
            Life::Terminated(end) => {
                tracked.last = Some(end.clone());
                Waiting::initial(false)
            }
            _ => Waiting::initial(false),
        };
        let pulling = shown.reason == "ImagePullBackOff";
        if let (Some(last), false) = (&tracked.last, pulling)
            && !last.is_loss()
        {
            tracked.restart.retried(last.finished_at, now);
        }
        tracked.life = Life::Starting(shown);
        step.actions.push(Action::Start { index, attempt: tracked.next_attempt() });
    }

    fn stop(&mut self, index: usize, deadline: Timestamp, message: String, step: &mut Step) {
        let Life::Running(running) = &mut self.containers[index].life else { return };
        if running.stopping.is_none_or(|known| deadline < known) {
            running.stopping = Some(deadline);
            step.actions.push(Action::Stop { index, deadline, message });
        }
    }

    fn stop_all(&mut self, pod: &Pod, now: Timestamp, step: &mut Step) {
        let deadline = now + self.grace_left(pod);
        for index in 0..self.containers.len() {
            match &mut self.containers[index].life {
                Life::Running(running) => {
                    // Looking again must not shorten the grace by the time that passed: only a shorter grace does.
                    let shorter = running.stopping.is_none_or(|known| deadline < known);
                    if shorter {
                        self.stop(index, deadline, String::new(), step);
                    }
                }
                // What is being prepared is given up by the worker, which then says so.
                Life::Starting(_) | Life::Waiting(_) | Life::Terminated(_) => {}
            }
        }
    }

    /// What draining has left of the grace; as with kubelet after a preStop hook, at least two seconds.
    fn grace_left(&self, pod: &Pod) -> Duration {
        let grace = pod.grace();
        match self.drain {
            Drain::Done(took) => grace.saturating_sub(took).max(grace.min(GRACE_LEFT_MIN)),
            _ => grace,
        }
    }

    fn wind_down(&mut self, pod: &Pod, now: Timestamp, step: &mut Step) {
        match self.drain {
            Drain::Needless if !self.gone && !pod.grace().is_zero() && self.containers.iter().any(|c| c.ready) => {
                self.drain = Drain::Asked(now);
                step.wake_at(now + drain_limit(pod));
                return step.actions.push(Action::Drain);
            }
            Drain::Asked(since) if since + drain_limit(pod) > now => return step.wake_at(since + drain_limit(pod)),
            Drain::Asked(_) => self.drained(now),
            _ => {}
        }
        self.stop_all(pod, now, step);
        if self.containers.iter().any(|c| c.busy()) {
            return;
        }
        match self.sandbox {
            // Its outcome comes as news, then it is removed.
            Sandbox::Creating | Sandbox::Removing => {}
            Sandbox::Removed => step.actions.push(Action::Finish),
            Sandbox::Absent | Sandbox::Ready(_) | Sandbox::Failed { .. } => {
                self.sandbox = Sandbox::Removing;
                step.actions.push(Action::RemoveSandbox);
            }
        }
    }

    /// Phase as kubelet's `getPhase` has it. A Pod that is being deleted gets its last word when nothing of it runs.
    pub(crate) fn phase(&self, pod: &Pod) -> &'static str {
        if self.failure.is_some() {
            return "Failed";
        }
        let last_word = matches!(self.sandbox, Sandbox::Removing | Sandbox::Removed);
        match self.phase_by_containers(pod.restart_policy()) {
            "Pending" if last_word => "Failed",
            "Running" if last_word => {
                if self.all_succeeded() {
                    "Succeeded"
                } else {
                    "Failed"
                }
            }
            phase => phase,
        }
    }

    fn phase_by_containers(&self, policy: RestartPolicy) -> &'static str {
        let (inits, mains) = self.containers.split_at(self.inits);
        if inits.iter().any(|c| c.ended().is_none_or(|end| end.exit_code != 0)) {
            let failed = inits.iter().any(|c| c.ended().is_some_and(|end| end.exit_code != 0));
            return if failed && policy == RestartPolicy::Never { "Failed" } else { "Pending" };
        }
        if mains.iter().any(|c| c.running().is_none() && c.ended().is_none() && c.last.is_none()) {
            return "Pending";
        }
        match policy {
            _ if mains.iter().any(|c| c.running().is_some()) => "Running",
            RestartPolicy::Always => "Running",
            _ if self.all_succeeded() => "Succeeded",
            RestartPolicy::Never => "Failed",
            RestartPolicy::OnFailure => "Running",
        }
    }

    fn all_succeeded(&self) -> bool {
        let mains = &self.containers[self.inits..];
        mains.iter().all(|c| c.ended().or(c.last.as_ref()).is_some_and(|end| end.exit_code == 0))
    }
}
