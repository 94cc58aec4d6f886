//! Which objects want a look: each at most once, never two looks at one object at a time, failures later and later.

use crate::objects::Key;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Delay after the first failure; it doubles with each further one.
const RETRY_MIN: Duration = Duration::from_millis(5);
/// Longest delay after repeated failures.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Bounded by the number of objects: a key that waits is not added a second time.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Key>,
    /// In `ready`, or to be put there when its present look ends.
    dirty: HashSet<Key>,
    processing: HashSet<Key>,
    delayed: BTreeSet<(Instant, Key)>,
    delayed_until: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
}

impl State {
    fn add(&mut self, key: Key) {
        if self.dirty.insert(key.clone()) && !self.processing.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: Key, at: Instant) {
        if let Some(&earlier) = self.delayed_until.get(&key) {
            if earlier <= at {
                return;
            }
            self.delayed.remove(&(earlier, key.clone()));
        }
        self.delayed_until.insert(key.clone(), at);
        self.delayed.insert((at, key));
    }

    fn forget_delay(&mut self, key: &Key) {
        if let Some((key, at)) = self.delayed_until.remove_entry(key) {
            self.delayed.remove(&(at, key));
        }
    }

    fn release_due(&mut self, now: Instant) {
        while self.delayed.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.delayed.pop_first() {
                self.delayed_until.remove(&key);
                self.add(key);
            }
        }
    }

    fn take(&mut self) -> Option<Key> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.processing.insert(key.clone());
        Some(key)
    }
}

/// What a look at an object came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing until something changes, whatever an earlier look wished.
    Wait,
    /// Look again after this long.
    After(Duration),
    /// It failed: look again soon, later after each failure in a row.
    Retry,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens while the queue is locked")
    }

    /// Wants a look at once.
    pub(crate) fn add(&self, key: Key) {
        self.lock().add(key);
        self.changed.notify_one();
    }

    /// Wants a look at each at once.
    pub(crate) fn add_all(&self, keys: impl IntoIterator<Item = Key>) {
        keys.into_iter().for_each(|key| self.add(key));
    }

    /// The next object to look at; pair with [`Queue::done`].
    pub(crate) async fn next(&self) -> Key {
        loop {
            let wake_at = {
                let mut state = self.lock();
                state.release_due(Instant::now());
                if let Some(key) = state.take() {
                    if !state.ready.is_empty() {
                        self.changed.notify_one(); // another worker may help
                    }
                    return key;
                }
                state.delayed.first().map(|(at, _)| *at)
            };
            match wake_at {
                Some(at) => drop(tokio::time::timeout_at(at, self.changed.notified()).await),
                None => self.changed.notified().await,
            }
        }
    }

    /// The look is over.
    pub(crate) fn done(&self, key: Key, next: Next) {
        let mut state = self.lock();
        state.processing.remove(&key);
        if state.dirty.contains(&key) {
            state.ready.push_back(key.clone());
        }
        match next {
            Next::Wait => {
                state.failures.remove(&key);
                state.forget_delay(&key);
            }
            Next::After(delay) => {
                state.failures.remove(&key);
                state.add_at(key, Instant::now() + delay);
            }
            Next::Retry => {
                let failures = state.failures.entry(key.clone()).or_default();
                let delay = RETRY_MIN.saturating_mul(1 << (*failures).min(16)).min(RETRY_MAX);
                *failures += 1;
                state.add_at(key, Instant::now() + delay);
            }
        }
        drop(state);
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn key(name: &str) -> Key {
        Key::new("default", name)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_is_looked_at_by_one_worker() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.next().await, key("a"));
        assert!(queue.next().now_or_never().is_none(), "it waited twice");
        queue.add(key("a"));
        assert!(queue.next().now_or_never().is_none(), "two workers looked at once");
        queue.done(key("a"), Next::Wait);
        assert_eq!(queue.next().await, key("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_retried_later_and_later_and_success_forgets_them() {
        let queue = Queue::default();
        queue.add(key("a"));
        let mut delays = Vec::new();
        for _ in 0..4 {
            let start = Instant::now();
            let taken = queue.next().await;
            delays.push(start.elapsed().as_millis());
            queue.done(taken, Next::Retry);
        }
        assert_eq!(delays, [0, 5, 10, 20]);
        let taken = queue.next().await;
        queue.done(taken, Next::After(Duration::from_secs(1)));
        let start = Instant::now();
        let taken = queue.next().await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        queue.done(taken, Next::Retry);
        let start = Instant::now();
        queue.next().await;
        assert_eq!(start.elapsed(), RETRY_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_delays_the_earlier_counts() {
        let queue = Queue::default();
        for seconds in [60, 1, 30] {
            queue.add(key("a"));
            let taken = queue.next().await;
            queue.done(taken, Next::After(Duration::from_secs(seconds)));
        }
        let start = Instant::now();
        let taken = queue.next().await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        queue.done(taken, Next::After(Duration::from_secs(60)));
        queue.add(key("a"));
        let taken = queue.next().await;
        queue.done(taken, Next::Wait);
        assert!(queue.next().now_or_never().is_none());
        let state = queue.lock();
        assert!(state.delayed.is_empty() && state.delayed_until.is_empty(), "an object at rest is in the queue");
    }
}
