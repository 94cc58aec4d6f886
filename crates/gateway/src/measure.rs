//! Counting what goes through.

use model::routes::{LATENCY_BUCKETS, Measure, latency_bucket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Of one backend of a route.
#[derive(Debug)]
pub struct Counters {
    pub host: String,
    pub backend: String,
    in_flight: AtomicU64,
    unanswered: AtomicU64,
    statuses: [AtomicU64; 5],
    latency: [AtomicU64; LATENCY_BUCKETS],
}

impl Counters {
    pub fn new(host: &str, backend: &str) -> Self {
        Self {
            host: host.to_owned(),
            backend: backend.to_owned(),
            in_flight: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            statuses: Default::default(),
            latency: [const { AtomicU64::new(0) }; LATENCY_BUCKETS],
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
        add(&self.latency[latency_bucket(latency)]);
    }

    pub fn measure(&self) -> Measure {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Measure {
            host: self.host.clone(),
            backend: self.backend.clone(),
            in_flight: read(&self.in_flight),
            statuses: self.statuses.each_ref().map(read),
            unanswered: read(&self.unanswered),
            latency: self.latency.iter().map(read).collect(),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
