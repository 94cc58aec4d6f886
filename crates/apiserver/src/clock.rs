//! The time of day, as objects carry it.

use jiff::{SignedDuration, Timestamp};

const FORMAT: &str = "%Y-%m-%dT%H:%M:%SZ";

/// Now: RFC 3339, UTC, whole seconds.
pub fn now() -> String {
    Timestamp::now().strftime(FORMAT).to_string()
}

/// In so many seconds.
pub fn after(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let then = Timestamp::now().checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    then.strftime(FORMAT).to_string()
}

/// How long ago a time was, in seconds; `None` if the text is no time.
pub fn seconds_since(text: &str) -> Option<i64> {
    let then: Timestamp = text.parse().ok()?;
    Some(Timestamp::now().duration_since(then).as_secs())
}
