//! What the gateway is told.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// All routes. Each publication replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteTable {
    /// By host.
    pub routes: Vec<Route>,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// `hello.dev.hello.localhost`, lower case, without port.
    pub host: String,
    /// What people see when no endpoint is ready: "hello in dev: Progressing".
    pub label: String,
    /// Where requests go, by weight.
    pub backends: Vec<Backend>,
}

/// One set of equal endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// For measures: `stable`, `canary`.
    pub name: String,
    /// Share of the requests, relative to the other backends of the route.
    pub weight: u32,
    /// Ready addresses only.
    pub endpoints: Vec<SocketAddr>,
}

/// What went through one backend of a route since the gateway process began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Measure {
    /// Of the route.
    pub host: String,
    /// Name of the backend.
    pub backend: String,
    /// Requests that an endpoint is working on, and tunnels.
    pub in_flight: u64,
    /// Answers by class: 1xx (changes of protocol) to 5xx.
    pub statuses: [u64; 5],
    /// Requests that an endpoint had and did not answer.
    pub unanswered: u64,
    /// From the head of the request to the head of the answer; counts by [`latency_bucket`].
    pub latency: Vec<u64>,
}

/// Buckets of [`Measure::latency`].
pub const LATENCY_BUCKETS: usize = 96;

/// Four buckets an octave, beginning at 16 µs: a quantile is right to a quarter.
pub fn latency_bucket(latency: Duration) -> usize {
    let units = u64::try_from(latency.as_micros() / 4).unwrap_or(u64::MAX).max(4);
    let octave = units.ilog2() - 2;
    let quarter = (units >> octave) & 3;
    (octave as usize * 4 + quarter as usize).min(LATENCY_BUCKETS - 1)
}

/// The shortest time that is no longer in a bucket.
pub fn latency_bound(bucket: usize) -> Duration {
    let (octave, quarter) = (bucket / 4, bucket as u64 % 4);
    Duration::from_micros(((5 + quarter) << octave) * 4)
}

impl Measure {
    /// Answers of all classes.
    pub fn answered(&self) -> u64 {
        self.statuses.iter().sum()
    }

    /// At least this share (0 to 1) of the answers came faster; `None` without answers.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total: u64 = self.latency.iter().sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut sum = 0;
        let reached = self.latency.iter().position(|count| {
            sum += count;
            sum >= wanted && *count > 0
        });
        reached.map(latency_bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_bound_what_they_hold() {
        for micros in [0, 1, 15, 16, 19, 20, 31, 32, 100, 1_000, 9_999, 123_456, 5_000_000, 100_000_000] {
            let latency = Duration::from_micros(micros);
            let bucket = latency_bucket(latency);
            assert!(latency < latency_bound(bucket), "{latency:?} in {bucket}");
            assert!(bucket == 0 || latency >= latency_bound(bucket - 1), "{latency:?} in {bucket}");
        }
        assert_eq!(latency_bucket(Duration::MAX), LATENCY_BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_read_from_the_buckets() {
        let mut latency = vec![0; LATENCY_BUCKETS];
        latency[latency_bucket(Duration::from_millis(1))] = 99;
        latency[latency_bucket(Duration::from_millis(80))] = 1;
        let measure = Measure {
            host: "web".into(),
            backend: "stable".into(),
            in_flight: 0,
            statuses: [0, 100, 0, 0, 0],
            unanswered: 0,
            latency,
        };
        let at = |share| measure.quantile(share).unwrap().as_millis();
        assert_eq!((at(0.5), at(0.99)), (1, 1));
        assert!((80..=100).contains(&at(1.0)), "{}", at(1.0));
        assert_eq!(Measure { latency: vec![0; LATENCY_BUCKETS], ..measure }.quantile(0.5), None);
    }
}
