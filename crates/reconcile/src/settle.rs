//! Waiting for something that people look at, without polling.

use crate::project::Handle;
use std::time::Duration;

/// Looks at every change, until there is an answer or the time is over.
pub async fn until<T>(handle: &Handle, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let mut ticks = handle.ticks();
    let wait = async {
        loop {
            ticks.borrow_and_update();
            if let Some(found) = look() {
                return found;
            }
            if ticks.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    tokio::time::timeout(limit, wait).await.ok()
}
