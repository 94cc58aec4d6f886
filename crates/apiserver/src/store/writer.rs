//! The one thread that writes.

use super::disk::Disk;
use super::names::Names;
use super::{Event, EventKind, Key, State, StoreError, Stored};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};

/// Writes that may wait. Whoever comes later waits to wait.
const WAITING_MAX: usize = 1024;
/// Writes that share one fsync. At 64 writers redb needs about 5 ms a batch; more adds only delay.
const BATCH_MAX: usize = 256;

/// Points at which a test can end the process.
pub const FAILPOINTS: &[&str] = &["apiserver.commit.before", "apiserver.commit.after"];

/// Ends the process if the environment says so.
fn failpoint(name: &'static str) {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    if CHOSEN.get_or_init(|| std::env::var("TRIMTAB_FAILPOINT").ok()).as_deref() == Some(name) {
        std::process::abort();
    }
}

/// A change of one object.
#[derive(Debug)]
pub struct Write {
    /// Which object.
    pub key: Key,
    /// What must stand there.
    pub expected: Expected,
    /// What is to be done.
    pub change: Change,
    /// An object that must exist and not be on its way out: the namespace of a new object.
    pub guard: Option<Key>,
}

/// What a write replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// The object at this revision.
    Revision(u64),
}

/// What is to be done.
#[derive(Debug)]
pub enum Change {
    /// This stands there afterwards, but for its resourceVersion.
    Put(Value),
    /// Nothing does; watchers are told this last state.
    Delete(Value),
}

/// Why a write was not done.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Something stands there.
    #[error("the object exists")]
    Exists,
    /// Nothing stands there any more.
    #[error("the object does not exist")]
    Missing,
    /// Another write came first.
    #[error("the object has changed")]
    Changed,
    /// The guard does not exist.
    #[error("{0} does not exist")]
    GuardMissing(Key),
    /// The guard is on its way out.
    #[error("{0} is being deleted")]
    GuardDeleting(Key),
    /// The disk failed, or is full. The file is opened again before anything more is written: what an
    /// fsync that failed has left behind is known only after reading it back.
    #[error("the store cannot write: {0}")]
    Disk(Arc<str>),
}

struct Waiting {
    write: Write,
    reply: oneshot::Sender<Result<Arc<Stored>, CommitError>>,
}

pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub fn start(
        path: PathBuf,
        disk: Disk,
        state: Arc<RwLock<State>>,
        changed: watch::Sender<u64>,
    ) -> Result<Self, StoreError> {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let (doubtful, names) = (Vec::new(), Names::default());
        let run = move || Thread { disk: Some(disk), doubtful, path, state, changed, names }.run(waiting);
        let thread = std::thread::Builder::new().name("store".into()).spawn(run).map_err(StoreError::Thread)?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    pub async fn commit(&self, write: Write) -> Result<Arc<Stored>, CommitError> {
        let ended = || CommitError::Disk("its writer has ended".into());
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(ended)?;
        queue.send(Waiting { write, reply }).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Writer {
    /// Ends the thread after what waits; the file is closed on return.
    pub fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer has panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

struct Thread {
    /// `None` after a write failed, until the file could be opened again.
    disk: Option<Disk>,
    /// What a failed write was about.
    doubtful: Vec<Event>,
    path: PathBuf,
    state: Arc<RwLock<State>>,
    changed: watch::Sender<u64>,
    names: Names,
}

type Answer = (oneshot::Sender<Result<Arc<Stored>, CommitError>>, Arc<Stored>);

impl Thread {
    fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut batch = Vec::new();
        while let Some(first) = waiting.blocking_recv() {
            batch.push(first);
            while batch.len() < BATCH_MAX
                && let Ok(next) = waiting.try_recv()
            {
                batch.push(next);
            }
            self.commit(batch.drain(..));
        }
    }

    /// Decides every write, makes those that hold durable, shows them, and answers.
    fn commit(&mut self, batch: impl Iterator<Item = Waiting>) {
        let mut events: Vec<Event> = Vec::new();
        let mut answers: Vec<Answer> = Vec::new();
        let mut pending: HashMap<Key, Option<Arc<Stored>>> = HashMap::new();
        let broken = self.broken();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut revision = state.revision;
        for Waiting { write, reply } in batch {
            let decided = match &broken {
                Some(why) => Err(CommitError::Disk(why.clone())),
                None => decide(write, revision + 1, &mut self.names, |key| match pending.get(key) {
                    Some(newer) => newer.clone(),
                    None => state.get(key).cloned(),
                }),
            };
            match decided {
                // A caller that has gone away does not mind the answer.
                Err(error) => drop(reply.send(Err(error))),
                Ok(event) => {
                    revision += 1;
                    let left = (event.kind != EventKind::Deleted).then(|| event.object.clone());
                    pending.insert(event.object.key.clone(), left);
                    answers.push((reply, event.object.clone()));
                    events.push(event);
                }
            }
        }
        drop(state);
        if events.is_empty() {
            return;
        }
        failpoint("apiserver.commit.before");
        // Within a batch, the last change of an object is what stands on disk.
        let texts = pending.iter().map(|(key, object)| (key.on_disk(), object.as_ref().map(|object| object.json())));
        let texts: Vec<_> = texts.collect();
        let rows = texts.iter().map(|(key, text)| (key, text.as_deref()));
        let written = self.disk.as_ref().map(|disk| disk.commit(rows, revision));
        if let Some(Err(error)) = written {
            return self.fail(&error, events, answers);
        }
        failpoint("apiserver.commit.after");
        self.show(events);
        for (reply, object) in answers {
            drop(reply.send(Ok(object)));
        }
    }

    fn show(&self, events: Vec<Event>) {
        let resources: BTreeSet<Arc<str>> = events.iter().map(|event| event.object.key.resource.clone()).collect();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            state.show(event);
        }
        state.wake(resources.into_iter());
        self.changed.send_replace(state.revision);
    }

    /// Why nothing can be written now. A file that failed is opened again here, so that writing goes on by itself
    /// when the disk has room again.
    fn broken(&mut self) -> Option<Arc<str>> {
        if self.disk.is_some() {
            return None;
        }
        let path = self.path.clone();
        let reopen = || Disk::reopen(&path).map(|disk| (disk.revision(), disk));
        let (found, disk) = match std::panic::catch_unwind(reopen) {
            Ok(Ok((Ok(found), disk))) => (found, disk),
            Ok(Ok((Err(error), _))) => return Some(self.explain(&error)),
            Ok(Err(error)) => return Some(error.explain().into()),
            Err(_) => return Some(format!("{} cannot be read back", path.display()).into()),
        };
        // The batch whose writers were told that it failed may be on disk after all: then it counts, whole.
        let doubtful = std::mem::take(&mut self.doubtful);
        let shown = self.state.read().unwrap_or_else(PoisonError::into_inner).revision;
        if found != shown {
            if doubtful.last().is_none_or(|event| event.revision() != found) {
                return Some(format!("{} is at revision {found}, not {shown}: start again", path.display()).into());
            }
            self.show(doubtful);
        }
        tracing::info!("the store writes again");
        self.disk = Some(disk);
        None
    }

    fn fail(&mut self, error: &redb::Error, events: Vec<Event>, answers: Vec<Answer>) {
        let why = self.explain(error);
        tracing::error!(error = %why, "the store cannot write");
        self.disk = None;
        self.doubtful = events;
        for (reply, _) in answers {
            drop(reply.send(Err(CommitError::Disk(why.clone()))));
        }
    }

    /// Where, and what: a full disk by its name.
    fn explain(&self, error: &redb::Error) -> Arc<str> {
        match error {
            redb::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => {
                format!("the disk of {} is full: free some space, and it goes on by itself", self.path.display()).into()
            }
            other => format!("{}: {other}", self.path.display()).into(),
        }
    }
}

/// The event that a write is, if it holds against what stands now.
fn decide(
    write: Write,
    revision: u64,
    names: &mut Names,
    now: impl Fn(&Key) -> Option<Arc<Stored>>,
) -> Result<Event, CommitError> {
    let mut key = write.key;
    let previous = now(&key);
    match (write.expected, &previous) {
        (Expected::Absent, Some(_)) => return Err(CommitError::Exists),
        (Expected::Revision(_), None) => return Err(CommitError::Missing),
        (Expected::Revision(wanted), Some(found)) if wanted != found.revision => return Err(CommitError::Changed),
        _ => {}
    }
    if let Some(guard) = write.guard {
        match now(&guard) {
            None => return Err(CommitError::GuardMissing(guard)),
            Some(found) if found.deleting => return Err(CommitError::GuardDeleting(guard)),
            // All objects of a namespace share its name.
            Some(found) if found.key.name == key.namespace => key.namespace = found.key.name.clone(),
            Some(_) => {}
        }
    }
    if let Some(previous) = &previous {
        key = previous.key.clone();
    }
    let (kind, value) = match write.change {
        Change::Put(value) if previous.is_some() => (EventKind::Modified, value),
        Change::Put(value) => (EventKind::Added, value),
        Change::Delete(value) => (EventKind::Deleted, value),
    };
    Ok(Event { kind, object: Arc::new(Stored::new(key, value, revision, names)), previous })
}
