//! How long to wait before a broken watch is taken up again.

use kube::runtime::utils::Backoff;
use std::time::Duration;

/// 50 ms doubling to 10 s: most often the server is in the same process, and back at once.
#[derive(Default)]
pub(crate) struct WatchBackoff {
    failures: u32,
}

impl Iterator for WatchBackoff {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        let delay = Duration::from_millis(50 << self.failures.min(8)).min(Duration::from_secs(10));
        self.failures += 1;
        Some(delay)
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.failures = 0;
    }
}
