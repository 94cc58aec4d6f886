//! Counting what goes through.

use model::routes::{LATENCY_BUCKETS, Measure, latency_bucket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Of one backend of a route.
#[derive(Debug)]
pub struct Counters {
    pub host: Arc<str>,
    pub backend: Box<str>,
    in_flight: AtomicU64,
    unanswered: AtomicU64,
    statuses: [AtomicU64; 5],
    /// Of a backend that has answered.
    latency: OnceLock<Box<[AtomicU64; LATENCY_BUCKETS]>>,
}

impl Counters {
    pub fn new(host: Arc<str>, backend: &str) -> Self {
        Self {
            host,
            backend: backend.into(),
            in_flight: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            statuses: Default::default(),
            latency: OnceLock::new(),
        }
    }

    pub fn begin(&self) {
        add(&self.in_flight);
    }
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
    pub fn unanswered(&self) {
        add(&self.unanswered);
    }
    pub fn answered(&self, status: u16, latency: Duration) {
        add(&self.statuses[usize::from(status / 100).clamp(1, 5) - 1]);
        let buckets = self.latency.get_or_init(|| Box::new([const { AtomicU64::new(0) }; LATENCY_BUCKETS]));
        add(&buckets[latency_bucket(latency)]);
    }

    pub fn measure(&self) -> Measure {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Measure {
            host: self.host.to_string(),
            backend: self.backend.to_string(),
            in_flight: read(&self.in_flight),
            statuses: self.statuses.each_ref().map(read),
            unanswered: read(&self.unanswered),
            latency: match self.latency.get() {
                Some(buckets) => buckets.iter().map(read).collect(),
                None => vec![0; LATENCY_BUCKETS],
            },
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
