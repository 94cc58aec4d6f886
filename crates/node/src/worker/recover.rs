//! Taking over a Pod from an earlier process: from what the API says and from what lives on this machine.

use super::Worker;
use crate::error::Error;
use crate::pod::PodExt;
use crate::pod::backoff::Backoff;
use crate::pod::machine::{Failure, LOST, Life, Running, Sandbox, Termination, Tracked, Waiting};
use crate::pod::status::ID_SCHEME;
use crate::runtime::Found;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

impl Worker {
    /// Finds again what is there of this Pod, and examines what its spec asks for.
    ///
    /// Without the certain knowledge of what runs nothing may be started: something would run twice.
    pub(super) async fn recover(&mut self) -> Result<(), Error> {
        let found = self.context.runtime.recover(&self.pod).await?;
        let status = self.pod.status.clone().unwrap_or_default();
        self.restore(&status);
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        match found.address {
            Some(address) => self.machine.sandbox = Sandbox::Ready(address),
            None if !over => self.begin_again(),
            None => {}
        }
        let mut containers = found.containers;
        containers.sort_by_key(|c| std::cmp::Reverse(c.attempt));
        for container in containers {
            self.take_over(container);
        }
        for tracked in self.machine.containers.iter_mut().filter(|c| c.running().is_none()) {
            (tracked.started, tracked.ready) = (false, false);
        }
        if !over && !self.pod.terminating() {
            self.examine();
        }
        Ok(())
    }

    /// What the API knows.
    fn restore(&mut self, status: &PodStatus) {
        if status.phase.as_deref() == Some("Failed")
            && let Some(reason) = status.reason.clone()
        {
            self.machine.failure = Some(Failure { reason, message: status.message.clone().unwrap_or_default() });
        }
        let known = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        for known in known {
            if let Some(tracked) = self.machine.containers.iter_mut().find(|c| c.name == known.name) {
                restore(tracked, known);
            }
        }
    }

    /// Its sandbox is lost (the machine was restarted): init containers run again.
    fn begin_again(&mut self) {
        let inits = self.machine.inits;
        for tracked in &mut self.machine.containers[..inits] {
            tracked.last = tracked.ended().cloned().or(tracked.last.take());
            tracked.life = Life::Waiting(Waiting::initial(true));
        }
    }

    /// A container that was found is the present attempt, or the remains of an earlier one.
    fn take_over(&mut self, found: Found) {
        let index = self.machine.containers.iter().position(|c| c.name == found.name);
        let Some(index) = index else { return self.ended.push(found.id) };
        let tracked = &mut self.machine.containers[index];
        let is_found = |end: &Termination| end.id.as_ref() == Some(&found.id);
        let reported = tracked.ended().is_some_and(|end| is_found(end) && end.reason != LOST);
        let remains = tracked.running().is_some()
            || tracked.last.as_ref().is_some_and(is_found)
            || (tracked.attempted && found.attempt < tracked.restarts);
        if reported || remains {
            return self.ended.push(found.id);
        }
        let running = Running { id: found.id.clone(), started_at: found.started_at, stopping: None };
        match tracked.ended().cloned() {
            // The API knows that it runs: the verdicts of its probes hold.
            Some(end) if is_found(&end) => tracked.life = Life::Running(running.clone()),
            end => {
                tracked.last = end.or(tracked.last.take());
                tracked.image_id = found.image_id;
                tracked.run(found.attempt, running.clone());
            }
        }
        self.attend(index, &running);
    }
}

fn restore(tracked: &mut Tracked, known: &ContainerStatus) {
    let last = known.last_state.as_ref().and_then(|s| s.terminated.as_ref()).map(termination);
    tracked.restarts = u32::try_from(known.restart_count).unwrap_or(0);
    tracked.image_id = known.image_id.clone();
    let state = known.state.clone().unwrap_or_default();
    tracked.attempted = known.restart_count > 0 || last.is_some() || state.waiting.is_none();
    if let Some(end) = &last
        && !end.is_loss()
    {
        tracked.restart = Backoff::after(tracked.restarts, end.finished_at);
    }
    tracked.last = last;
    match state {
        ContainerState { terminated: Some(end), .. } => tracked.life = Life::Terminated(termination(&end)),
        ContainerState { running: Some(running), .. } => {
            // Until it is found again it counts as lost; if it is found, its probes' verdicts hold.
            let id = known.container_id.as_deref().and_then(|id| id.strip_prefix(ID_SCHEME)).unwrap_or_default();
            let now = Timestamp::now();
            let text = "The container could not be located when the node was restarted";
            tracked.life = Life::Terminated(Termination::lost(id, running.started_at.map_or(now, |t| t.0), now, text));
            tracked.started = known.started.unwrap_or(false);
            tracked.ready = known.ready;
        }
        _ => {}
    }
}

fn termination(end: &ContainerStateTerminated) -> Termination {
    let time = |t: &Option<Time>| t.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    Termination {
        id: end.container_id.as_deref().and_then(|id| id.strip_prefix(ID_SCHEME)).map(str::to_owned),
        exit_code: end.exit_code,
        signal: end.signal,
        reason: end.reason.clone().unwrap_or_default(),
        message: end.message.clone().unwrap_or_default(),
        started_at: time(&end.started_at),
        finished_at: time(&end.finished_at),
    }
}
