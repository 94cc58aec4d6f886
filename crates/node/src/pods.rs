//! Watches the Pods of this node, and gives each a worker when something happens to it.
//!
//! Most Pods rest most of the time. Between two turns a Pod is a row of a table here, without a task of its own, and
//! after a while its object is packed.

use crate::context::Context;
use crate::pod::PodExt;
use crate::pod::machine::News;
use crate::worker::{Inbox, Latest, Post, Resting, Settled, Turn, Worker};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use object::packed::{Dictionary, Packer};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// News of all Pods on their way into the table. Whoever has more to tell waits.
const NEWS: usize = 256;
/// A Pod that has rested from one look to the next is packed.
const SETTLING: Duration = Duration::from_secs(5);
/// Pods that are packed in one go, some milliseconds; others want to be woken.
const PACKED_AT_ONCE: usize = 64;
/// Between two goes.
const PACKED_AGAIN: Duration = Duration::from_millis(20);

/// One Pod.
struct Entry {
    state: State,
    /// What its worker is told when it wakes next.
    inbox: Inbox,
    /// When it wakes though nothing happens.
    alarm: Option<Timestamp>,
}

enum State {
    /// Its worker has its turn, and comes back.
    Awake,
    Asleep(Box<Resting>),
}

struct Pods {
    context: Arc<Context>,
    shutdown: CancellationToken,
    /// By uid: a name may come again while its old Pod still ends.
    all: HashMap<Arc<str>, Entry>,
    turns: JoinSet<(Arc<str>, Turn)>,
    news: mpsc::Sender<(Arc<str>, News)>,
    /// In the order of time.
    alarms: BTreeSet<(Timestamp, Arc<str>)>,
    /// When those that rest are looked at; `None` when all that rest are packed.
    settle_at: Option<Instant>,
    /// What Pods are packed by: the first of them.
    dictionary: Option<Dictionary>,
    /// Uids seen since a list began.
    listed: HashSet<String>,
    orphans_removed: bool,
}

/// Works until shutdown; the workers have ended when it returns, containers run on.
pub(crate) async fn run(context: Arc<Context>, node: String, shutdown: CancellationToken) {
    let api: Api<Pod> = Api::all(context.client.clone());
    let ours = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let changes = watcher(api, ours).default_backoff();
    let mut changes = std::pin::pin!(changes.map_ok(|event| event.modify(|pod| pod.metadata.managed_fields = None)));
    let (news, mut arriving) = mpsc::channel(NEWS);
    let mut pods = Pods {
        context,
        shutdown: shutdown.clone(),
        all: HashMap::new(),
        turns: JoinSet::new(),
        news,
        alarms: BTreeSet::new(),
        settle_at: None,
        dictionary: None,
        listed: HashSet::new(),
        orphans_removed: false,
    };
    loop {
        let (alarm, settle_at) = (pods.alarms.first().map(|(at, _)| *at), pods.settle_at);
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(event)) => pods.take(event),
                Some(Err(error)) => tracing::warn!(%error, "Pods cannot be watched; trying again"),
                None => break,
            },
            Some((uid, news)) = arriving.recv() => pods.hear(&uid, news),
            Some(turned) = pods.turns.join_next() => pods.turned(turned),
            () = sleep_until(alarm) => pods.ring(Timestamp::now()),
            () = settling(settle_at) => pods.settle(),
            () = shutdown.cancelled() => break,
        }
    }
    while pods.turns.join_next().await.is_some() {}
}

async fn sleep_until(alarm: Option<Timestamp>) {
    match alarm {
        Some(at) => {
            tokio::time::sleep(Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()).await
        }
        None => std::future::pending().await,
    }
}

async fn settling(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Pods {
    fn take(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(pod) => {
                self.listed.insert(pod.uid_str().to_owned());
                self.is(pod);
            }
            watcher::Event::Apply(pod) => self.is(pod),
            watcher::Event::Delete(pod) => self.gone(pod.uid_str()),
            watcher::Event::InitDone => self.complete(),
        }
    }

    fn is(&mut self, pod: Pod) {
        let uid: Arc<str> = pod.uid_str().into();
        let Some(entry) = self.all.get_mut(&uid) else { return self.begin(uid, pod) };
        match &entry.state {
            // The echo of what its worker has written.
            State::Asleep(resting) if resting.knows(&pod) => {}
            _ => {
                entry.inbox.object = Some(Latest::Is(Arc::new(pod)));
                self.rouse(&uid);
            }
        }
    }

    fn begin(&mut self, uid: Arc<str>, pod: Pod) {
        self.all.insert(uid.clone(), Entry { state: State::Awake, inbox: Inbox::default(), alarm: None });
        let (context, post, stop) = (self.context.clone(), self.post(&uid), self.shutdown.clone());
        self.turns.spawn(async move { (uid, Worker::new(context, Arc::new(pod), post, stop).first_turn().await) });
    }

    fn gone(&mut self, uid: &str) {
        let Some((uid, _)) = self.all.get_key_value(uid) else { return };
        let uid = uid.clone();
        self.all.entry(uid.clone()).and_modify(|entry| entry.inbox.object = Some(Latest::Gone));
        self.rouse(&uid);
    }

    fn hear(&mut self, uid: &Arc<str>, news: News) {
        // None: late news of a Pod that is done.
        if let Some(entry) = self.all.get_mut(uid) {
            entry.inbox.push(news);
            self.rouse(uid);
        }
    }

    /// Gives a Pod that rests its turn. One that is awake finds what it is to be told when it comes back.
    fn rouse(&mut self, uid: &Arc<str>) {
        let (context, post, stop) = (self.context.clone(), self.post(uid), self.shutdown.clone());
        let Some(entry) = self.all.get_mut(uid) else { return };
        let State::Asleep(resting) = std::mem::replace(&mut entry.state, State::Awake) else { return };
        if let Some(at) = entry.alarm.take() {
            self.alarms.remove(&(at, uid.clone()));
        }
        let (uid, inbox) = (uid.clone(), std::mem::take(&mut entry.inbox));
        self.turns.spawn(async move { (uid, resting.wake(context, post, stop).turn(inbox).await) });
    }

    fn post(&self, uid: &Arc<str>) -> Post {
        Post { uid: uid.clone(), news: self.news.clone() }
    }

    fn turned(&mut self, turned: Result<(Arc<str>, Turn), JoinError>) {
        let (uid, turn) = match turned {
            Ok(turned) => turned,
            Err(error) => {
                return tracing::error!(%error, "a Pod's worker failed; restart to take its Pod up again");
            }
        };
        let (resting, alarm) = match turn {
            Turn::Rests(resting, alarm) => (resting, alarm),
            Turn::Stopped => return,
            Turn::Finished => {
                self.all.remove(&uid);
                return;
            }
        };
        let Some(entry) = self.all.get_mut(&uid) else { return };
        entry.state = State::Asleep(resting);
        if !entry.inbox.is_empty() {
            return self.rouse(&uid);
        }
        entry.alarm = alarm;
        self.alarms.extend(alarm.map(|at| (at, uid)));
        self.settle_at.get_or_insert_with(|| Instant::now() + SETTLING);
    }

    /// Wakes those whose time has come.
    fn ring(&mut self, now: Timestamp) {
        while self.alarms.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, uid)) = self.alarms.pop_first()
        {
            self.rouse(&uid);
        }
    }

    /// Packs the objects of those that have rested since the last look.
    fn settle(&mut self) {
        let mut packer = Packer::default();
        let (mut packed, mut open) = (0, false);
        for entry in self.all.values_mut() {
            let State::Asleep(resting) = &mut entry.state else { continue };
            if packed == PACKED_AT_ONCE {
                self.settle_at = Some(Instant::now() + PACKED_AGAIN);
                return;
            }
            match resting.settle(&mut packer, &mut self.dictionary) {
                Settled::Already => {}
                Settled::Now => packed += 1,
                Settled::Later => open = true,
            }
        }
        self.settle_at = open.then(|| Instant::now() + SETTLING);
    }

    /// The list is complete: what is not in it is gone, and what belongs to none of it is removed.
    fn complete(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let missing: Vec<Arc<str>> = self.all.keys().filter(|uid| !listed.contains(&***uid)).cloned().collect();
        for uid in missing {
            self.gone(&uid);
        }
        if std::mem::replace(&mut self.orphans_removed, true) {
            return;
        }
        let context = self.context.clone();
        tokio::spawn(async move {
            if let Err(error) = context.runtime.retain(&listed).await {
                tracing::warn!(error = error.line(), "remains of Pods that are gone could not be removed");
            }
        });
    }
}
