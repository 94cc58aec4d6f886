//! Events do not stay for ever.
//!
//! The task sleeps until the oldest one's hour is over, or, if there is none, until one comes.

use crate::clock;
use crate::delete::DeleteOptions;
use crate::server::Inner;
use serde_json::Value;
use std::sync::Weak;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVENTS: &str = "events";
/// As kube-apiserver.
const LIFE_SECONDS: i64 = 3600;
/// Events that end within this time go together.
const SWEEP_SECONDS_MIN: i64 = 60;

/// When an event was last seen; empty if it does not say.
pub fn last_seen(event: &Value) -> &str {
    const PLACES: [&str; 4] =
        ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    let mut times = PLACES.into_iter().filter_map(|place| event.pointer(place).and_then(Value::as_str));
    times.find(|time| !time.is_empty()).unwrap_or_default()
}

/// Runs until the server is gone.
pub async fn run(server: Weak<Inner>, stop: CancellationToken) {
    loop {
        let Some(server) = server.upgrade() else { return };
        let mut changes = server.store.follow(EVENTS);
        changes.borrow_and_update();
        let next = server.sweep().await;
        drop(server);
        tokio::select! {
            () = sleep(next) => {}
            changed = changes.changed(), if next.is_none() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

async fn sleep(seconds: Option<i64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds.unsigned_abs())).await,
        None => std::future::pending().await,
    }
}

impl Inner {
    /// Deletes the events whose time is over; in how many seconds the next one's is.
    async fn sweep(&self) -> Option<i64> {
        let mut next_end = None;
        for event in self.store.list(EVENTS, "").objects {
            let left = LIFE_SECONDS - clock::seconds_since(last_seen(&event.value())).unwrap_or(LIFE_SECONDS);
            if left > 0 {
                next_end = Some(next_end.map_or(left, |end: i64| end.min(left)));
                continue;
            }
            if let Err(crate::delete::Failure::Commit(error)) =
                self.delete(&event.key, &DeleteOptions::background(), |_| Ok(())).await
            {
                tracing::debug!(event = %event.key, %error, "an old event stays");
            }
        }
        next_end.map(|seconds| seconds.max(SWEEP_SECONDS_MIN))
    }
}
