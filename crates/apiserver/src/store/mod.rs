//! All objects: in memory to be read, in one redb file to last.
//!
//! Readers share [`State`] behind a lock that is held only to copy pointers. One thread writes
//! (`writer`): it takes what waits, decides each write against the newest state, makes the batch
//! durable by one commit, and only then shows it. So what a reader or a watcher has seen, a crash
//! cannot take back, and a revision is never given out twice.

mod collection;
mod disk;
mod dump;
mod graph;
mod history;
mod names;
mod settling;
mod stored;
mod uid;
mod writer;

pub use disk::StoreError;
pub use dump::{Dump, Restore};
pub use history::{Event, EventKind};
pub use settling::run as settle_down;
pub use stored::{Key, Stored};
pub use uid::Uid;
pub use writer::{Change, CommitError, Expected, FAILPOINTS, Write};

use collection::{Collection, Objects};
use graph::Graph;
use history::Window;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// The store. Dropping it ends the writing thread after the last batch.
pub struct Store {
    state: Arc<RwLock<State>>,
    writer: writer::Writer,
    /// The newest revision; tells whoever follows everything (garbage collection) to look again.
    changed: watch::Receiver<u64>,
}

/// What is stored, at [`State::revision`].
#[derive(Default)]
pub struct State {
    revision: u64,
    /// The revision that was read from disk: what happened before, no window holds.
    loaded: u64,
    collections: HashMap<Arc<str>, Collection>,
    graph: Graph,
}

/// Objects of a resource at one revision.
pub struct Listing {
    /// In the order of namespace and name.
    pub objects: Vec<Arc<Stored>>,
    /// When the resource looked so.
    pub revision: u64,
}

/// Why a past revision cannot be shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Past {
    /// It is older than what the window holds.
    Expired {
        /// The oldest that it holds.
        oldest: u64,
    },
    /// It has not been reached yet.
    Future {
        /// The newest that exists.
        newest: u64,
    },
}

impl Store {
    /// Opens the file, or creates it, and loads everything.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (disk, state) = disk::Disk::open(path)?;
        let (sender, changed) = watch::channel(state.revision);
        let state = Arc::new(RwLock::new(state));
        let writer = writer::Writer::start(path.to_owned(), disk, state.clone(), sender)?;
        Ok(Self { state, writer, changed })
    }

    /// The state to read from; hold it briefly, and not over an await.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        // The writer leaves the state whole between any two statements that can panic.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.read().revision
    }

    /// Wakes at every commit.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        self.read().get(key).cloned()
    }

    /// The objects of a resource, in one namespace (or all, if empty), as they are now.
    pub fn list(&self, resource: &str, namespace: &str) -> Listing {
        let state = self.read();
        let collection = state.collections.get(resource);
        let objects = collection.into_iter().flat_map(|c| c.objects.range(namespace).cloned()).collect();
        Listing { objects, revision: state.revision }
    }

    /// As [`Store::list`], as they were at a revision.
    pub fn list_at(&self, resource: &str, namespace: &str, revision: u64) -> Result<Listing, Past> {
        let state = self.read();
        if revision > state.revision {
            return Err(Past::Future { newest: state.revision });
        }
        let Some(collection) = state.collections.get(resource) else {
            return Ok(Listing { objects: Vec::new(), revision });
        };
        let mut objects: Objects = collection.objects.range(namespace).cloned().collect();
        for event in collection.window.newest_first_after(revision)? {
            let key = &event.object.key;
            if !namespace.is_empty() && *key.namespace != *namespace {
                continue;
            }
            match &event.previous {
                Some(previous) => objects.put(previous.clone()),
                None => objects.remove(key),
            }
        }
        Ok(Listing { objects: objects.all().cloned().collect(), revision })
    }

    /// What happened to a resource after a revision, and the newest revision. At most `limit` events.
    pub fn events_after(&self, resource: &str, revision: u64, limit: usize) -> Result<(Vec<Arc<Event>>, u64), Past> {
        let state = self.read();
        let Some(collection) = state.collections.get(resource) else { return Ok((Vec::new(), state.revision)) };
        let events = collection.window.after(revision, limit)?;
        let seen =
            if events.len() == limit { events.last().map_or(revision, |e| e.revision()) } else { state.revision };
        Ok((events, seen.max(revision)))
    }

    /// Wakes at every change of one resource.
    pub fn follow(&self, resource: &str) -> watch::Receiver<u64> {
        if let Some(collection) = self.read().collections.get(resource) {
            return collection.changed.subscribe();
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.collection(&Arc::from(resource)).changed.subscribe()
    }

    /// The revision of the last change of a resource.
    pub fn last_change(&self, resource: &str) -> u64 {
        self.read().collections.get(resource).map_or(0, |c| *c.changed.borrow())
    }

    /// Makes a change durable, then visible. The object as it is now stored; for a deletion, as it
    /// was last, with the revision of the deletion.
    pub async fn commit(&self, write: Write) -> Result<Arc<Stored>, CommitError> {
        self.writer.commit(write).await
    }

    /// Closes the file after what waits. Reading goes on; writes are refused.
    pub fn close(&self) {
        self.writer.close();
    }

    /// Objects that name this uid as an owner.
    pub fn dependents(&self, uid: &Uid) -> Vec<Arc<Stored>> {
        let state = self.read();
        state.graph.dependents(uid).filter_map(|key| state.get(key).cloned()).collect()
    }

    /// The object with this uid.
    pub fn by_uid(&self, uid: &Uid) -> Option<Arc<Stored>> {
        self.read().graph.object(uid).cloned()
    }

    /// Objects with an owner that is gone or going: work for garbage collection.
    pub fn dangling(&self) -> Vec<Arc<Stored>> {
        let state = self.read();
        state.graph.dangling().filter_map(|key| state.get(key).cloned()).collect()
    }

    /// Takes an object off the work list of garbage collection: its owners were as they should be at
    /// `revision`. Nothing happens if another write came since; it wakes the collector again.
    pub fn settle(&self, key: &Key, revision: u64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.revision == revision {
            state.graph.settle(key);
        }
    }

    /// Objects that are being deleted and still stand.
    pub fn terminating(&self) -> Vec<Arc<Stored>> {
        let state = self.read();
        state.graph.terminating().filter_map(|key| state.get(key).cloned()).collect()
    }

    /// Names of the resources that have objects in a namespace.
    pub fn resources_in(&self, namespace: &str) -> Vec<Arc<str>> {
        let state = self.read();
        let holds = |c: &Collection| c.objects.range(namespace).next().is_some();
        let mut names: Vec<_> =
            state.collections.iter().filter(|(_, c)| holds(c)).map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }
}

impl State {
    fn get(&self, key: &Key) -> Option<&Arc<Stored>> {
        self.collections.get(&key.resource)?.objects.get(key)
    }

    fn collection(&mut self, resource: &Arc<str>) -> &mut Collection {
        let loaded = self.loaded;
        self.collections.entry(resource.clone()).or_insert_with(|| Collection {
            objects: Objects::default(),
            window: Window::starting_at(loaded),
            changed: watch::Sender::new(loaded),
            dictionary: None,
        })
    }

    /// Takes in an object that was read from disk.
    fn load(&mut self, object: Stored) {
        let object = Arc::new(object);
        self.graph.insert(&object);
        self.collection(&object.key.resource.clone()).objects.put(object);
    }

    /// Shows a durable change.
    fn show(&mut self, event: Event) {
        let event = Arc::new(event);
        self.revision = event.revision();
        let key = &event.object.key;
        if let Some(previous) = &event.previous {
            self.graph.remove(previous, event.kind == EventKind::Deleted);
        }
        if event.kind != EventKind::Deleted {
            self.graph.insert(&event.object);
        }
        let collection = self.collection(&key.resource.clone());
        match event.kind {
            EventKind::Deleted => collection.objects.remove(key),
            EventKind::Added | EventKind::Modified => collection.objects.put(event.object.clone()),
        }
        collection.window.push(event);
    }

    /// Wakes the watchers of what has changed since `before`.
    fn wake(&self, resources: impl Iterator<Item = Arc<str>>) {
        for resource in resources {
            if let Some(collection) = self.collections.get(&resource) {
                collection.changed.send_replace(self.revision);
            }
        }
    }
}
