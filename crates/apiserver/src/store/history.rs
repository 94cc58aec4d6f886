//! The recent past of one resource, from which watches are fed and old lists are rebuilt.

use super::{Past, Stored};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Watchers that fall further behind than this start over. A rollout of a hundred Pods makes
/// about a thousand events of one resource.
const EVENTS_MAX: usize = 4096;
/// Superseded objects beyond this are let go, though fewer than [`EVENTS_MAX`].
const BYTES_MAX: usize = 8 << 20;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It is new.
    Added,
    /// It is another.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// As it is now; if deleted, as it was last, with the revision of the deletion.
    pub object: Arc<Stored>,
    /// As it was before.
    pub previous: Option<Arc<Stored>>,
}

impl Event {
    /// When.
    pub fn revision(&self) -> u64 {
        self.object.revision
    }
}

/// Events of a resource, oldest first, none missing after [`Window::start`].
pub(super) struct Window {
    /// With the time at which they happened.
    events: VecDeque<(Instant, Arc<Event>)>,
    start: u64,
    bytes: usize,
}

impl Window {
    pub fn starting_at(revision: u64) -> Self {
        Self { events: VecDeque::new(), start: revision, bytes: 0 }
    }

    pub fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.object.size();
        self.events.push_back((Instant::now(), event));
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            self.pop();
        }
    }

    /// Lets go what happened before. True if anything is left.
    pub fn forget(&mut self, before: Instant) -> bool {
        while self.events.front().is_some_and(|(at, _)| *at < before) {
            self.pop();
        }
        self.events.shrink_to(2 * self.events.len());
        !self.events.is_empty()
    }

    fn pop(&mut self) {
        if let Some((_, oldest)) = self.events.pop_front() {
            self.bytes -= oldest.object.size();
            self.start = oldest.revision();
        }
    }

    /// Everything up to here is in it no more.
    pub fn start(&self) -> u64 {
        self.start
    }

    fn check(&self, revision: u64) -> Result<(), Past> {
        if revision < self.start { Err(Past::Expired { oldest: self.start }) } else { Ok(()) }
    }

    fn first_after(&self, revision: u64) -> usize {
        self.events.partition_point(|(_, event)| event.revision() <= revision)
    }

    pub fn after(&self, revision: u64, limit: usize) -> Result<Vec<Arc<Event>>, Past> {
        self.check(revision)?;
        Ok(self.events.range(self.first_after(revision)..).take(limit).map(|(_, event)| event.clone()).collect())
    }

    pub fn newest_first_after(&self, revision: u64) -> Result<impl Iterator<Item = &Arc<Event>>, Past> {
        self.check(revision)?;
        Ok(self.events.range(self.first_after(revision)..).rev().map(|(_, event)| event))
    }
}
