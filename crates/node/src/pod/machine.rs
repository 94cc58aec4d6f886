//! What is known of one Pod on this machine, and how news changes it.

use super::backoff::Backoff;
use super::{PodExt, RestartPolicy};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::net::IpAddr;
use std::time::Duration;

/// Reason of an end that nobody saw.
pub(crate) const LOST: &str = "ContainerStatusUnknown";
/// A container that was lost after it ran for so long is started again at once: it is not known to have failed. One that
/// is lost sooner each time would be started without end.
const HELD: Duration = Duration::from_secs(1);

/// State of one Pod. The worker owns it, tells it news with [`Machine::apply`] and asks it what to do
/// with `step`.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub sandbox: Sandbox,
    sandbox_tries: Backoff,
    /// Init containers, then containers, in the order of the spec.
    pub containers: Box<[Tracked]>,
    /// How many of them are init containers.
    pub inits: usize,
    /// The Pod as a whole has failed, whatever its containers do.
    pub failure: Option<Failure>,
    /// The spec asks for what this node does not do; nothing is started.
    pub refused: bool,
    pub start_time: Timestamp,
    pub drain: Drain,
    /// The object has left the API: there is nobody to report to.
    pub gone: bool,
}

/// The network namespace and directories that the containers of a Pod share.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sandbox {
    Absent,
    Creating,
    Ready(IpAddr),
    Failed { until: Timestamp },
    Removing,
    Removed,
}

/// Between "not ready" and SIGTERM: others stop sending traffic, and what was sent is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    Needless,
    /// Since then.
    Asked(Timestamp),
    /// It took so long.
    Done(Duration),
}

/// Why a Pod failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub reason: String,
    pub message: String,
}

/// One container of the Pod.
#[derive(Debug, Clone)]
pub(crate) struct Tracked {
    pub name: String,
    pub init: bool,
    pub image: String,
    /// Repository and digest, once known.
    pub image_id: String,
    pub life: Life,
    /// How it ended last time.
    pub last: Option<Termination>,
    /// Attempt that is running or ran last; what Kubernetes shows as the restart count.
    pub restarts: u32,
    /// A first attempt was made.
    pub attempted: bool,
    pub started: bool,
    pub ready: bool,
    /// Without a probe the verdict is given as soon as it runs.
    startup_probe: bool,
    readiness_probe: bool,
    pub restart: Backoff,
    pub pull: Backoff,
    /// Why it must be stopped although its Pod goes on.
    pub kill: Option<Kill>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Life {
    Waiting(Waiting),
    /// A task prepares and starts it; meanwhile it shows as waiting.
    Starting(Waiting),
    Running(Running),
    Terminated(Termination),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Waiting {
    pub reason: String,
    pub message: String,
    /// Not before this time.
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Running {
    pub id: String,
    pub started_at: Timestamp,
    /// Being stopped; SIGKILL at this time.
    pub stopping: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Termination {
    pub id: Option<String>,
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
}

/// The container is stopped and, by policy, restarted: a probe's verdict, or a new image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kill {
    pub message: String,
    /// Overrides the Pod's grace.
    pub grace: Option<Duration>,
}

/// What happened; made by the worker's tasks.
#[derive(Debug, Clone)]
pub(crate) enum News {
    Sandbox(Result<IpAddr, String>),
    /// The start of a container waits for something that has a name.
    Waits {
        index: usize,
        reason: &'static str,
        message: String,
    },
    Started {
        index: usize,
        id: String,
        image_id: String,
        at: Timestamp,
    },
    NotStarted {
        index: usize,
        why: NotStarted,
    },
    Exited {
        index: usize,
        end: Termination,
    },
    /// The startup probe succeeded.
    StartupDone {
        index: usize,
    },
    Ready {
        index: usize,
        ready: bool,
    },
    Unhealthy {
        index: usize,
        kill: Kill,
    },
    Drained,
    SandboxRemoved,
}

/// Why a container did not start.
#[derive(Debug, Clone)]
pub(crate) enum NotStarted {
    /// The Pod is being stopped.
    Cancelled,
    /// Its image is not there. Tried again with back-off.
    Image { reason: &'static str, message: String },
    /// The node could not create it. Counts as a run that failed at once.
    Run { message: String },
}

impl Tracked {
    fn new(container: &Container, init: bool) -> Self {
        Self {
            name: container.name.clone(),
            init,
            image: container.image.clone().unwrap_or_default(),
            image_id: String::new(),
            life: Life::Waiting(Waiting::initial(init)),
            last: None,
            restarts: 0,
            attempted: false,
            started: false,
            ready: false,
            startup_probe: container.startup_probe.is_some(),
            readiness_probe: container.readiness_probe.is_some(),
            restart: Backoff::default(),
            pull: Backoff::default(),
            kill: None,
        }
    }

    pub(crate) fn running(&self) -> Option<&Running> {
        match &self.life {
            Life::Running(running) => Some(running),
            _ => None,
        }
    }

    /// Something of it lives or is about to.
    pub(crate) fn busy(&self) -> bool {
        matches!(self.life, Life::Running(_) | Life::Starting(_))
    }

    pub(crate) fn ended(&self) -> Option<&Termination> {
        match &self.life {
            Life::Terminated(end) => Some(end),
            _ => None,
        }
    }

    /// Number of the attempt that would come next.
    pub(crate) fn next_attempt(&self) -> u32 {
        if self.attempted { self.restarts + 1 } else { 0 }
    }

    /// Whether the policy wants it again after it ended so.
    pub(crate) fn wanted_again(&self, policy: RestartPolicy, end: &Termination) -> bool {
        match policy {
            RestartPolicy::Always => !self.init || end.exit_code != 0,
            RestartPolicy::OnFailure => end.exit_code != 0,
            RestartPolicy::Never => false,
        }
    }

    /// When it may run again after it ended so.
    pub(crate) fn again_at(&self, end: &Termination) -> Timestamp {
        if end.is_loss() { end.finished_at } else { self.restart.until(end.finished_at) }
    }

    /// An attempt runs now.
    pub(crate) fn run(&mut self, attempt: u32, running: Running) {
        self.restarts = attempt;
        self.attempted = true;
        self.started = !self.startup_probe;
        self.ready = self.started && !self.readiness_probe;
        self.life = Life::Running(running);
    }

    fn end(&mut self, end: Termination) {
        self.life = Life::Terminated(end);
        self.started = false;
        self.ready = false;
        self.kill = None;
    }
}

impl Termination {
    /// What ended was not the program but what held it: its shim was killed, or the machine went down.
    pub(crate) fn is_loss(&self) -> bool {
        self.reason == LOST && self.finished_at >= self.started_at + HELD
    }

    /// Of a container whose end nobody saw.
    pub(crate) fn lost(id: &str, started_at: Timestamp, now: Timestamp, message: impl Into<String>) -> Self {
        Self {
            id: Some(id.to_owned()),
            exit_code: 137,
            signal: None,
            reason: LOST.into(),
            message: message.into(),
            started_at,
            finished_at: now,
        }
    }
}

impl Waiting {
    pub(crate) fn initial(init: bool) -> Self {
        let reason = if init { "PodInitializing" } else { "ContainerCreating" };
        Self { reason: reason.to_owned(), message: String::new(), until: None }
    }
}

impl Machine {
    /// Of a Pod that nothing is known of yet.
    pub(crate) fn new(pod: &Pod, now: Timestamp) -> Self {
        let spec = pod.spec_ref();
        let inits = spec.init_containers.as_ref().map_or(0, Vec::len);
        let containers = pod
            .all_containers()
            .enumerate()
            .map(|(index, c)| {
                let mut tracked = Tracked::new(c, index < inits);
                if inits > 0 {
                    tracked.life = Life::Waiting(Waiting::initial(true));
                }
                tracked
            })
            .collect();
        let start_time = pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map_or(now, |t| t.0);
        Self {
            sandbox: Sandbox::Absent,
            sandbox_tries: Backoff::default(),
            containers,
            inits,
            failure: None,
            refused: false,
            start_time,
            drain: Drain::Needless,
            gone: false,
        }
    }

    /// Takes in the spec as it is now: of containers, only the image can change.
    pub(crate) fn take_spec(&mut self, pod: &Pod) {
        for (tracked, container) in self.containers.iter_mut().zip(pod.all_containers()) {
            let image = container.image.as_deref().unwrap_or_default();
            if tracked.image == image {
                continue;
            }
            tracked.image = image.to_owned();
            if tracked.running().is_some() {
                let message = format!("Container {} definition changed, will be restarted", tracked.name);
                tracked.kill = Some(Kill { message, grace: None });
            }
        }
    }

    /// Starts nothing, and lets every container say why.
    ///
    /// The Pod stays Pending: a failed one would be replaced by its owner at once, for ever.
    pub(crate) fn refuse(&mut self, message: &str) {
        self.refused = true;
        for tracked in &mut self.containers {
            let reason = "CreateContainerConfigError".to_owned();
            tracked.life = Life::Waiting(Waiting { reason, message: message.to_owned(), until: None });
        }
    }

    /// The worker should give up what it prepares.
    pub(crate) fn halting(&self, pod: &Pod) -> bool {
        pod.terminating() || self.gone || self.failure.is_some()
    }

    /// Something is being prepared that could be given up.
    pub(crate) fn is_preparing(&self) -> bool {
        self.sandbox == Sandbox::Creating || self.containers.iter().any(|c| matches!(c.life, Life::Starting(_)))
    }

    /// Takes in what happened at `now`.
    pub(crate) fn apply(&mut self, news: News, now: Timestamp) {
        match news {
            News::Sandbox(Ok(address)) => self.sandbox = Sandbox::Ready(address),
            News::Sandbox(Err(_)) => {
                self.sandbox_tries.retried(now, now);
                self.sandbox = Sandbox::Failed { until: self.sandbox_tries.until(now) };
            }
            News::Waits { index, reason, message } => {
                if let Life::Starting(waiting) = &mut self.containers[index].life {
                    *waiting = Waiting { reason: reason.to_owned(), message, until: None };
                }
            }
            News::Started { index, id, image_id, at } => self.started(index, id, image_id, at),
            News::NotStarted { index, why } => self.not_started(index, why, now),
            News::Exited { index, end } => {
                let tracked = &mut self.containers[index];
                // Late news of an earlier attempt says nothing of the present one.
                if tracked.running().is_some_and(|r| Some(&r.id) == end.id.as_ref()) {
                    tracked.end(end);
                }
            }
            News::StartupDone { index } => {
                let tracked = &mut self.containers[index];
                tracked.started = tracked.running().is_some();
                tracked.ready = tracked.started && !tracked.readiness_probe;
            }
            News::Ready { index, ready } => {
                let tracked = &mut self.containers[index];
                tracked.ready = ready && tracked.running().is_some();
            }
            News::Unhealthy { index, kill } => self.containers[index].kill = Some(kill),
            News::Drained => self.drained(now),
            News::SandboxRemoved => self.sandbox = Sandbox::Removed,
        }
    }

    /// The containers may be stopped, if they were waiting for that.
    pub(super) fn drained(&mut self, now: Timestamp) {
        if let Drain::Asked(since) = self.drain {
            self.drain = Drain::Done(Duration::try_from(now.duration_since(since)).unwrap_or_default());
        }
    }

    fn started(&mut self, index: usize, id: String, image_id: String, at: Timestamp) {
        let tracked = &mut self.containers[index];
        tracked.image_id = image_id;
        tracked.pull = Backoff::default();
        tracked.run(tracked.next_attempt(), Running { id, started_at: at, stopping: None });
    }

    fn not_started(&mut self, index: usize, why: NotStarted, now: Timestamp) {
        let tracked = &mut self.containers[index];
        match why {
            NotStarted::Cancelled => tracked.life = Life::Waiting(Waiting::initial(tracked.init)),
            NotStarted::Image { reason, message } => {
                tracked.pull.retried(now, now);
                let message = format!("Back-off pulling image {:?}: {reason}: {message}", tracked.image);
                let until = Some(tracked.pull.until(now));
                tracked.life = Life::Waiting(Waiting { reason: "ImagePullBackOff".into(), message, until });
            }
            NotStarted::Run { message } => {
                tracked.restarts = tracked.next_attempt();
                tracked.attempted = true;
                tracked.end(Termination {
                    id: None,
                    exit_code: 128,
                    signal: None,
                    reason: "StartError".into(),
                    message,
                    started_at: now,
                    finished_at: now,
                });
            }
        }
    }
}
