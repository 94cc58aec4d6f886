//! Waiting longer after each failure.

use jiff::Timestamp;
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// A container that lived so long starts again from nothing.
const FORGET: Duration = Duration::from_secs(600);

/// Back-off of one container: the first restart is immediate, the next after 10 s, then twice as long
/// each time up to 5 minutes; forgotten after 10 quiet minutes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    delay: Duration,
    since: Option<Timestamp>,
}

impl Backoff {
    /// As it stood after `restarts` restarts, the last at `since`: for a node that was restarted itself.
    pub(crate) fn after(restarts: u32, since: Timestamp) -> Self {
        match restarts.checked_sub(1) {
            None => Self::default(),
            Some(n) => Self { delay: (FIRST * 2u32.pow(n.min(5))).min(LONGEST), since: Some(since) },
        }
    }

    /// When what failed at `failed` may be tried again.
    pub(crate) fn until(&self, failed: Timestamp) -> Timestamp {
        if self.forgotten(failed) { failed } else { failed + self.delay }
    }

    /// Records a retry of what failed at `failed`, made at `now`.
    pub(crate) fn retried(&mut self, failed: Timestamp, now: Timestamp) {
        self.delay = match self.forgotten(failed) || self.delay.is_zero() {
            true => FIRST,
            false => (self.delay * 2).min(LONGEST),
        };
        self.since = Some(now);
    }

    /// The present delay, as Go prints durations: `10s`, `1m20s`, `5m0s`.
    pub(crate) fn text(&self) -> String {
        match self.delay.as_secs() {
            s if s < 60 => format!("{s}s"),
            s => format!("{}m{}s", s / 60, s % 60),
        }
    }

    fn forgotten(&self, failed: Timestamp) -> bool {
        self.since.is_none_or(|since| failed.duration_since(since).unsigned_abs() > FORGET && failed > since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_five_minutes_and_is_forgotten_after_ten() {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut backoff = Backoff::default();
        let mut texts = Vec::new();
        assert_eq!(backoff.until(now), now, "the first restart is immediate");
        for _ in 0..7 {
            let failed = now;
            now = backoff.until(failed);
            backoff.retried(failed, now);
            texts.push(backoff.text());
        }
        assert_eq!(texts, ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]);
        let failed = now + Duration::from_secs(601);
        assert_eq!(backoff.until(failed), failed);
        backoff.retried(failed, failed);
        assert_eq!(backoff.text(), "10s");
    }

    #[test]
    fn is_rebuilt_from_the_number_of_restarts() {
        for (restarts, text) in [(0, "0s"), (1, "10s"), (3, "40s"), (40, "5m0s")] {
            assert_eq!(Backoff::after(restarts, Timestamp::UNIX_EPOCH).text(), text);
        }
    }
}
