//! One worker per Pod: it owns the Pod's state, does what the state machine decides, and writes the status.
//!
//! It lives in turns: something has happened, it looks and does what follows, and rests (see [`rest`]) until the next.

mod hook;
mod probe;
mod recover;
mod report;
mod rest;
mod start;
mod stop;

pub(crate) use rest::{Resting, Settled};

use crate::context::{Context, LastWords};
use crate::events::Kind;
use crate::kubelet;
use crate::pod::machine::{LOST, Life, Machine, News, Running, Sandbox, Termination};
use crate::pod::step::Action;
use crate::pod::{PodExt, refusal};
use crate::runtime::Exit;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// The next attempt after the API or the machine did not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// The latest state of a Pod's object.
pub(crate) enum Latest {
    Is(Arc<Pod>),
    /// It has been removed from the API.
    Gone,
}

/// What a worker is told at the beginning of its turn.
#[derive(Default)]
pub(crate) struct Inbox {
    pub object: Option<Latest>,
    news: Vec<News>,
}

impl Inbox {
    /// A verdict takes the place of the one before: so there are never more than a few for each container.
    pub(crate) fn push(&mut self, news: News) {
        use News::{Ready, Waits};
        let superseded = |old: &News| match (old, &news) {
            (Ready { index: a, .. }, Ready { index: b, .. }) | (Waits { index: a, .. }, Waits { index: b, .. }) => {
                a == b
            }
            _ => false,
        };
        self.news.retain(|old| !superseded(old));
        self.news.push(news);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.object.is_none() && self.news.is_empty()
    }
}

/// Where the tasks about a Pod send their news.
#[derive(Clone)]
pub(crate) struct Post {
    pub uid: Arc<str>,
    pub news: mpsc::Sender<(Arc<str>, News)>,
}

impl Post {
    /// Boxed: whoever waits for something has no room for what he will say then.
    fn send(&self, news: News) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // Nobody listens any more: the node stops.
            let _ = self.news.send((self.uid.clone(), news)).await;
        })
    }
}

/// What a turn led to.
pub(crate) enum Turn {
    /// Until there is news, and at the latest until this time.
    Rests(Box<Resting>, Option<Timestamp>),
    /// Nothing is left of the Pod.
    Finished,
    /// The node stops.
    Stopped,
}

/// What a look at the Pod led to.
enum Looked {
    /// Nothing is left of it.
    Finished,
    WakeAt(Option<Timestamp>),
}

pub(crate) struct Worker {
    context: Arc<Context>,
    pod: Arc<Pod>,
    machine: Machine,
    post: Post,
    /// Of the node.
    shutdown: CancellationToken,
    /// Aborted when the worker ends; containers do not care.
    tasks: JoinSet<()>,
    /// Cancelled when what is being prepared should be given up. `None` until something is.
    halt: Option<CancellationToken>,
    /// Per container: probes and hooks of its present attempt.
    attempts: Box<[Attempt]>,
    /// Ended containers whose end is not reported yet; they are deleted after that.
    ended: Vec<String>,
}

/// Tasks about one attempt of a container.
#[derive(Default, Clone)]
struct Attempt {
    probe: Option<AbortHandle>,
    stop: Option<AbortHandle>,
}

impl Worker {
    pub(crate) fn new(context: Arc<Context>, pod: Arc<Pod>, post: Post, shutdown: CancellationToken) -> Self {
        let machine = Machine::new(&pod, Timestamp::now());
        let attempts = vec![Attempt::default(); machine.containers.len()].into();
        let (tasks, ended) = (JoinSet::new(), Vec::new());
        Self { context, pod, machine, post, shutdown, tasks, halt: None, attempts, ended }
    }

    /// Finds again what is there of the Pod, and looks at it.
    pub(crate) async fn first_turn(mut self) -> Turn {
        while let Err(error) = self.recover().await {
            tracing::warn!(pod = self.pod.name_any(), error = error.line(), "what runs of a Pod is not known");
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.shutdown.cancelled() => return Turn::Stopped,
            }
        }
        self.turn(Inbox::default()).await
    }

    /// Takes in what has happened, and does what follows.
    pub(crate) async fn turn(mut self, inbox: Inbox) -> Turn {
        if let Some(object) = inbox.object {
            self.take_object(object);
        }
        for news in inbox.news {
            self.take(news);
        }
        match self.look().await {
            Looked::WakeAt(wake) => Turn::Rests(self.rest(), wake),
            Looked::Finished => {
                kubelet::withdraw(&self.context.shown, &self.pod);
                Turn::Finished
            }
        }
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
        let (context, id, post) = (self.context.clone(), running.id.clone(), self.post.clone());
        let (container, started_at) = (self.container(index), running.started_at);
        let attempt = self.machine.containers[index].restarts;
        let last_words = LastWords::of(&self.context.layout, &self.pod, &container, attempt);
        self.tasks.spawn(async move {
            let end = wait(&context, &last_words, &id, started_at).await;
            post.send(News::Exited { index, end }).await;
        });
        self.attempts[index] = Attempt::default();
        let Some(container) = probe::probed(container) else { return };
        let probe = probe::Probes {
            context: self.context.clone(),
            pod: self.identity(),
            container,
            id: running.id.clone(),
            index,
            address: self.address(),
            post: self.post.clone(),
            started: self.machine.containers[index].started,
            ready: self.machine.containers[index].ready,
        };
        self.attempts[index].probe = Some(self.tasks.spawn(probe.run()));
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

    /// What ends the present preparations.
    fn halt(&mut self) -> CancellationToken {
        self.halt.get_or_insert_with(|| self.shutdown.child_token()).clone()
    }

    /// A container has ended: so do the tasks about it.
    fn leave(&mut self, index: usize) {
        let attempt = std::mem::take(&mut self.attempts[index]);
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
        if let (true, Some(halt)) = (self.machine.halting(&self.pod), &self.halt) {
            halt.cancel();
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
        kubelet::publish(&self.context.shown, &self.pod, &self.machine);
        let reported = self.report().await;
        if reported {
            self.delete_ended();
        }
        if drain {
            let (context, pod, post) = (self.context.clone(), self.pod.clone(), self.post.clone());
            self.tasks.spawn(async move {
                context.drain(&pod).await;
                post.send(News::Drained).await;
            });
        }
        if finish && self.finish().await {
            return Looked::Finished;
        }
        let again = (!reported || finish).then(|| Timestamp::now() + AGAIN);
        Looked::WakeAt([step.wake, again].into_iter().flatten().min())
    }

    fn begin(&mut self, action: Action) {
        let (context, pod, post) = (self.context.clone(), self.pod.clone(), self.post.clone());
        match action {
            Action::CreateSandbox => {
                let halt = self.halt();
                self.tasks.spawn(async move {
                    let outcome = start::sandbox(&context, &pod, &halt).await;
                    post.send(News::Sandbox(outcome)).await;
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
                    post,
                    halt: self.halt(),
                };
                self.tasks.spawn(start.run());
            }
            Action::Stop { index, deadline, message } => self.stop(index, deadline, message),
            Action::RemoveSandbox => {
                self.tasks.spawn(async move {
                    start::remove_sandbox(&context, &pod).await;
                    post.send(News::SandboxRemoved).await;
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
        let attempt = &mut self.attempts[index];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_takes_the_place_of_the_one_before() {
        let mut inbox = Inbox::default();
        assert!(inbox.is_empty());
        for n in 0..100 {
            for index in [0, 1] {
                inbox.push(News::Ready { index, ready: n % 2 == 0 });
                inbox.push(News::Waits { index, reason: "CreateContainerConfigError", message: n.to_string() });
            }
        }
        inbox.push(News::Drained);
        let told: Vec<String> = inbox.news.iter().map(|news| format!("{news:?}")).collect();
        assert_eq!(told.len(), 5, "{told:#?}");
        assert!(told[..4].iter().all(|news| news.contains("ready: false") || news.contains("\"99\"")), "{told:#?}");
    }
}
