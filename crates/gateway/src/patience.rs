//! Limits of waiting, without a timer for each wait.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// When waiting ends. Whoever sees progress moves it.
#[derive(Debug)]
pub struct Deadline {
    epoch: Instant,
    /// Since the epoch, in microseconds.
    at: AtomicU64,
}

impl Deadline {
    pub fn new() -> Self {
        Self { epoch: Instant::now(), at: AtomicU64::new(0) }
    }

    /// From now on, so long.
    pub fn extend(&self, limit: Duration) {
        self.extend_from(Instant::now(), limit);
    }

    pub fn extend_from(&self, now: Instant, limit: Duration) {
        let micros = (now + limit).saturating_duration_since(self.epoch).as_micros();
        self.at.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn instant(&self) -> Instant {
        self.epoch + Duration::from_micros(self.at.load(Ordering::Relaxed))
    }
}

/// One timer for everything that a connection waits for. It is set anew only when it rings, or rings too late: most
/// waits end long before.
pub struct Patience {
    sleep: Pin<Box<Sleep>>,
}

impl Patience {
    pub fn new(limit: Duration) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(limit)) }
    }

    /// `None` when the deadline, wherever it was moved to meanwhile, passed first.
    pub async fn watch<T>(&mut self, deadline: &Deadline, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            let at = deadline.instant();
            if at < self.sleep.deadline() {
                self.sleep.as_mut().reset(at);
            }
            while self.sleep.as_mut().poll(context).is_ready() {
                if at <= Instant::now() {
                    return Poll::Ready(None);
                }
                self.sleep.as_mut().reset(at);
            }
            Poll::Pending
        })
        .await
    }
}
