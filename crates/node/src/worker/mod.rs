//! One task per Pod: it owns the Pod's state, does what the state machine decides, and writes the status.

mod hook;
mod probe;
mod recover;
mod report;
mod start;
mod stop;

use crate::context::{Context, LastWords};
use crate::events::Kind;
use crate::kubelet;
use crate::pod::machine::{LOST, Life, Machine, News, Running, Sandbox, Termination};
use crate::pod::step::Action;
use crate::pod::{PodExt, refusal};
use crate::runtime::Exit;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// News that wait for the worker. Its tasks wait when it is full.
const NEWS: usize = 64;
/// The next attempt after the API or the machine did not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// The latest state of a Pod's object.
#[derive(Clone)]
pub(crate) enum Latest {
    Is(Arc<Pod>),
    /// It has been removed from the API.
    Gone,
}

/// Works for one Pod until nothing of it is left, or until `shutdown`, which leaves its containers alone.
pub(crate) async fn run(context: Arc<Context>, mut latest: watch::Receiver<Latest>, shutdown: CancellationToken) {
    let Latest::Is(pod) = latest.borrow_and_update().clone() else { return };
    let (sender, mut news) = mpsc::channel(NEWS);
    let mut worker = Worker::new(context, pod, sender, shutdown.child_token());
    // What is done now and then has its room while it is done: there is one of this for each Pod.
    while let Err(error) = Box::pin(worker.recover()).await {
        tracing::warn!(pod = worker.pod.name_any(), error = error.line(), "what runs of a Pod is not known");
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = shutdown.cancelled() => return,
        }
    }
    loop {
        let wake = match Box::pin(worker.look()).await {
            Looked::Finished => return,
            Looked::WakeAt(wake) => wake,
        };
        tokio::select! {
            changed = latest.changed() => {
                if changed.is_err() { return }
                let now = latest.borrow_and_update().clone();
                worker.take_object(now);
            }
            Some(first) = news.recv() => {
                worker.take(first);
                while let Ok(more) = news.try_recv() {
                    worker.take(more);
                }
            }
            () = sleep_until(wake) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn sleep_until(wake: Option<Timestamp>) {
    match wake {
        Some(wake) => {
            tokio::time::sleep(Duration::try_from(wake.duration_since(Timestamp::now())).unwrap_or_default()).await
        }
        None => std::future::pending().await,
    }
}

/// What a look at the Pod led to.
enum Looked {
    /// Nothing is left of it.
    Finished,
    WakeAt(Option<Timestamp>),
}

struct Worker {
    context: Arc<Context>,
    pod: Arc<Pod>,
    machine: Machine,
    news: mpsc::Sender<News>,
    /// Aborted when the worker ends; containers do not care.
    tasks: JoinSet<()>,
    /// Cancelled when what is being prepared should be given up.
    halt: CancellationToken,
    /// Per container: probes and hooks of its present attempt.
    attempts: HashMap<usize, Attempt>,
    /// Ended containers whose end is not reported yet; they are deleted after that.
    ended: Vec<String>,
}

/// Tasks about one attempt of a container.
#[derive(Default)]
struct Attempt {
    probe: Option<AbortHandle>,
    stop: Option<AbortHandle>,
}

impl Worker {
    fn new(context: Arc<Context>, pod: Arc<Pod>, news: mpsc::Sender<News>, halt: CancellationToken) -> Self {
        let machine = Machine::new(&pod, Timestamp::now());
        Self { context, pod, machine, news, tasks: JoinSet::new(), halt, attempts: HashMap::new(), ended: Vec::new() }
    }

    fn container(&self, index: usize) -> Container {
        self.pod.all_containers().nth(index).cloned().unwrap_or_default()
    }

    fn take_object(&mut self, latest: Latest) {
        match latest {
            Latest::Is(pod) => {
                if !report::older(&pod, &self.pod) {
                    self.machine.take_spec(&pod);
                    self.pod = pod;
                }
            }
            Latest::Gone => self.machine.gone = true,
        }
    }

    /// Takes in news, and starts or ends what follows from them.
    fn take(&mut self, news: News) {
        let concerns = match &news {
            News::Started { index, .. } | News::Exited { index, .. } => Some(*index),
            _ => None,
        };
        if let News::Exited { end, .. } = &news {
            self.ended.extend(end.id.clone());
        }
        self.machine.apply(news, Timestamp::now());
        let Some(index) = concerns else { return };
        match &self.machine.containers[index].life {
            Life::Running(running) => {
                let running = running.clone();
                self.attend(index, &running);
            }
            _ => self.leave(index),
        }
    }

    /// A container runs: wait for its end, and probe it.
    fn attend(&mut self, index: usize, running: &Running) {
        let (context, id, news) = (self.context.clone(), running.id.clone(), self.news.clone());
        let (container, started_at) = (self.container(index), running.started_at);
        let attempt = self.machine.containers[index].restarts;
        let last_words = LastWords::of(&self.context.layout, &self.pod, &container, attempt);
        self.tasks.spawn(async move {
            let end = wait(&context, &last_words, &id, started_at).await;
            let _ = news.send(News::Exited { index, end }).await;
        });
        if !probe::is_probed(&container) {
            self.attempts.insert(index, Attempt::default());
            return;
        }
        let probe = probe::Probes {
            context: self.context.clone(),
            pod: self.identity(),
            container,
            id: running.id.clone(),
            index,
            address: self.address(),
            news: self.news.clone(),
            started: self.machine.containers[index].started,
            ready: self.machine.containers[index].ready,
        };
        let handle = self.tasks.spawn(probe.run());
        self.attempts.insert(index, Attempt { probe: Some(handle), stop: None });
    }

    /// Enough of the Pod to say something about it, for a task that lives as long as it does.
    fn identity(&self) -> Arc<Pod> {
        let ObjectMeta { name, namespace, uid, resource_version, .. } = self.pod.metadata.clone();
        let metadata = ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() };
        let named = |container: &Container| Container { name: container.name.clone(), ..Container::default() };
        let init = self.pod.spec_ref().init_containers.as_deref().unwrap_or_default();
        let spec = PodSpec { init_containers: Some(init.iter().map(named).collect()), ..PodSpec::default() };
        Arc::new(Pod { metadata, spec: Some(spec).filter(|_| !init.is_empty()), ..Pod::default() })
    }

    /// A container has ended: so do the tasks about it.
    fn leave(&mut self, index: usize) {
        let attempt = self.attempts.remove(&index).unwrap_or_default();
        for handle in [attempt.probe, attempt.stop].into_iter().flatten() {
            handle.abort();
        }
    }

    fn address(&self) -> Option<IpAddr> {
        match self.machine.sandbox {
            Sandbox::Ready(address) => Some(address),
            _ => None,
        }
    }

    /// Decides, begins what is decided, and reports.
    async fn look(&mut self) -> Looked {
        while self.tasks.try_join_next().is_some() {}
        if self.machine.halting(&self.pod) {
            self.halt.cancel();
        }
        let step = self.machine.step(&self.pod, Timestamp::now());
        let (mut drain, mut finish) = (false, false);
        for action in step.actions {
            match action {
                // Both only after the status says that the Pod is not ready, or is over.
                Action::Drain => drain = true,
                Action::Finish => finish = true,
                other => self.begin(other),
            }
        }
        kubelet::publish(&self.context.shown, &self.context.layout, &self.pod, &self.machine);
        let reported = self.report().await;
        if reported {
            self.delete_ended();
        }
        if drain {
            let (context, pod, news) = (self.context.clone(), self.pod.clone(), self.news.clone());
            self.tasks.spawn(async move {
                context.drain(&pod).await;
                let _ = news.send(News::Drained).await;
            });
        }
        if finish && self.finish().await {
            return Looked::Finished;
        }
        let again = (!reported || finish).then(|| Timestamp::now() + AGAIN);
        Looked::WakeAt([step.wake, again].into_iter().flatten().min())
    }

    fn begin(&mut self, action: Action) {
        let (context, pod, news) = (self.context.clone(), self.pod.clone(), self.news.clone());
        match action {
            Action::CreateSandbox => {
                let halt = self.halt.clone();
                self.tasks.spawn(async move {
                    let outcome = start::sandbox(&context, &pod, &halt).await;
                    let _ = news.send(News::Sandbox(outcome)).await;
                });
            }
            Action::Start { index, attempt } => {
                let address = self.address();
                let start = start::Start {
                    context,
                    pod,
                    container: self.container(index),
                    index,
                    attempt,
                    address,
                    news,
                    halt: self.halt.clone(),
                };
                self.tasks.spawn(start.run());
            }
            Action::Stop { index, deadline, message } => self.stop(index, deadline, message),
            Action::RemoveSandbox => {
                self.tasks.spawn(async move {
                    start::remove_sandbox(&context, &pod).await;
                    let _ = news.send(News::SandboxRemoved).await;
                });
            }
            Action::SayBackOff { index, message } => {
                let name = &self.machine.containers[index].name;
                let text = format!("Back-off restarting failed container {name} in pod {}", message_tail(&message));
                context.events.say(&pod, Some(name), Kind::Warning, "BackOff", text);
            }
            Action::Drain | Action::Finish => {}
        }
    }

    fn stop(&mut self, index: usize, deadline: Timestamp, message: String) {
        let Life::Running(running) = &self.machine.containers[index].life else { return };
        let container = self.container(index);
        let text = match message.is_empty() {
            true => format!("Stopping container {}", container.name),
            false => message,
        };
        let id = running.id.clone();
        let attempt = self.attempts.entry(index).or_default();
        let first = attempt.stop.is_none();
        if first {
            self.context.events.say(&self.pod, Some(&container.name), Kind::Normal, "Killing", text);
        }
        for handle in [attempt.probe.take(), attempt.stop.take()].into_iter().flatten() {
            handle.abort();
        }
        let stop =
            stop::Stop { context: self.context.clone(), pod: self.pod.clone(), container, id, deadline, hook: first };
        attempt.stop = Some(self.tasks.spawn(stop.run()));
    }

    fn delete_ended(&mut self) {
        for id in self.ended.drain(..) {
            let context = self.context.clone();
            self.tasks.spawn(async move {
                if let Err(error) = context.runtime.delete(&id).await {
                    tracing::warn!(container = id, error = error.line(), "an ended container could not be deleted");
                }
            });
        }
    }

    /// Refuses a Pod that this node cannot run, and warns of what it runs only in part.
    fn examine(&mut self) {
        let refusals = refusal::refusals(&self.pod);
        if !refusals.is_empty() {
            let message = refusal::message(&refusals);
            self.context.events.say(&self.pod, None, Kind::Warning, "Failed", message.clone());
            self.machine.refuse(&message);
        }
        for concession in refusal::concessions(&self.pod, container::seccomp_supported()) {
            self.context.events.say(&self.pod, None, Kind::Warning, "Unsupported", concession);
        }
    }
}

/// `name_namespace(uid)` at the end of a back-off message.
fn message_tail(message: &str) -> &str {
    message.rsplit("pod=").next().unwrap_or_default()
}

async fn wait(context: &Context, last_words: &LastWords, id: &str, started_at: Timestamp) -> Termination {
    let exit = context.runtime.wait(id).await;
    let message = Box::pin(last_words.read(exit.as_ref().is_ok_and(|e| e.code != 0))).await;
    match exit {
        Ok(Exit { code, signal, oom, lost, finished_at }) => Termination {
            id: Some(id.to_owned()),
            exit_code: code,
            signal,
            reason: match (lost, oom, code) {
                (true, ..) => LOST,
                (_, true, _) => "OOMKilled",
                (_, _, 0) => "Completed",
                _ => "Error",
            }
            .to_owned(),
            message,
            started_at,
            finished_at,
        },
        Err(error) => Termination::lost(id, started_at, Timestamp::now(), error.line()),
    }
}
