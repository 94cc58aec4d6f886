//! One watch per kind: keeps the cache of that kind, and tells what changed.

use crate::cache::{Cache, Change};
use crate::held::Held;
use crate::objects::Key;
use futures::StreamExt;
use kube::Api;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use std::collections::BTreeMap;
use std::time::Duration;

/// Watches until dropped. A broken watch is taken up again; what was missed meanwhile is told as changes.
pub(crate) async fn inform<K: Held + Send>(
    api: Api<K>,
    config: watcher::Config,
    cache: &Cache<K>,
    on_change: impl Fn(Change<'_, K>),
) {
    let mut events = std::pin::pin!(watcher(api, config).backoff(WatchBackoff::default()));
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(Key::of(&object), cache.keep(object));
            }
            Ok(watcher::Event::InitDone) => cache.replace(std::mem::take(&mut listed), &on_change),
            Ok(watcher::Event::Apply(object)) => cache.put(&Key::of(&object), cache.keep(object), &on_change),
            Ok(watcher::Event::Delete(object)) => cache.remove(&Key::of(&object), Some(object), &on_change),
            Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "watch broke; taking it up again"),
        }
    }
}

/// 50 ms doubling to 10 s: the server is most often in the same process, and back at once.
#[derive(Default)]
struct WatchBackoff {
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
