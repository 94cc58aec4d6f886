//! What time it is: the machine's, or that of a test.

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Names a file with the time that a test wants it to be.
const VARIABLE: &str = "TRIMTAB_CLOCK";

/// A clock, and how soon it is noticed that it was set.
pub struct Clock {
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub noticed: Duration,
}

impl Clock {
    /// The machine's; with simulated Pods that of `TRIMTAB_CLOCK`, if it is set.
    pub fn of_process(simulate: bool) -> Result<Self> {
        match std::env::var_os(VARIABLE) {
            None => Ok(Self { now: Arc::new(Timestamp::now), noticed: Duration::from_secs(60) }),
            Some(_) if !simulate => {
                bail!("{VARIABLE} is for tests and decides about windows and audit: it needs --simulate")
            }
            Some(file) => Self::of_file(Path::new(&file)),
        }
    }

    /// Stands where the file says and goes on by a microsecond at each look, so that no two things happen at once.
    fn of_file(file: &Path) -> Result<Self> {
        let read = |file: &Path| -> Result<Timestamp> {
            let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            text.trim().parse().with_context(|| format!("{}: {:?}", file.display(), text.trim()))
        };
        let state = Mutex::new((read(file)?, 0_i64));
        let file = file.to_owned();
        let now = move || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            // What cannot be read is being written.
            if let Some(set) = read(&file).ok().filter(|set| *set != state.0) {
                *state = (set, 0);
            }
            state.1 += 1;
            state.0.checked_add(SignedDuration::from_micros(state.1)).unwrap_or(state.0)
        };
        Ok(Self { now: Arc::new(now), noticed: Duration::from_millis(20) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_test_stands_until_it_is_set() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("clock");
        std::fs::write(&file, "2026-11-02T09:00:00Z\n").unwrap();
        let clock = Clock::of_file(&file).unwrap();
        let first = (clock.now)();
        assert_eq!(first.strftime("%F %T").to_string(), "2026-11-02 09:00:00");
        assert!((clock.now)() > first);
        for set in ["2026-11-03T18:30:00Z", "2026-11-01T00:00:00Z"] {
            std::fs::write(&file, set).unwrap();
            assert_eq!((clock.now)().strftime("%FT%TZ").to_string(), set);
        }
        assert!(Clock::of_file(&directory.path().join("none")).is_err());
    }
}
