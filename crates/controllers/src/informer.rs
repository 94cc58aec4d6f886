//! One watch per kind: keeps the cache of that kind, and tells what changed.

use crate::objects::Key;
use futures::{StreamExt, TryStreamExt};
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// Latest known state of all objects of a kind.
pub(crate) struct Cache<K> {
    objects: RwLock<BTreeMap<Key, Arc<K>>>,
    synced: watch::Sender<bool>,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self { objects: RwLock::default(), synced: watch::Sender::new(false) }
    }
}

/// One change of an object; both sides are given where both exist.
pub(crate) struct Change<'a, K> {
    pub(crate) old: Option<&'a K>,
    pub(crate) new: Option<&'a K>,
}

impl<'a, K> Change<'a, K> {
    /// Before and after, as far as they exist.
    pub(crate) fn sides(&self) -> impl Iterator<Item = &'a K> {
        self.old.into_iter().chain(self.new)
    }
}

impl<K> Cache<K> {
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read(|objects| objects.get(key).cloned())
    }

    /// All objects of a namespace, by name.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = Key::new(namespace, "");
        self.read(|objects| {
            let range = objects.range(from..);
            range.take_while(|(key, _)| key.namespace == namespace).map(|(_, object)| object.clone()).collect()
        })
    }

    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.read(|objects| objects.values().cloned().collect())
    }

    /// Returns once the first list has been taken in.
    pub(crate) async fn synced(&self) {
        // The sender lives in self, so this cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    fn read<R>(&self, read: impl FnOnce(&BTreeMap<Key, Arc<K>>) -> R) -> R {
        read(&self.objects.read().expect("no panic happens while the cache is locked"))
    }

    fn write<R>(&self, write: impl FnOnce(&mut BTreeMap<Key, Arc<K>>) -> R) -> R {
        write(&mut self.objects.write().expect("no panic happens while the cache is locked"))
    }
}

impl<K: Resource> Cache<K> {
    fn put(&self, object: Arc<K>, on_change: &impl Fn(Change<'_, K>)) {
        let old = self.write(|objects| objects.insert(Key::of(&*object), object.clone()));
        on_change(Change { old: old.as_deref(), new: Some(&object) });
    }

    fn remove(&self, key: &Key, last: Option<&K>, on_change: &impl Fn(Change<'_, K>)) {
        let old = self.write(|objects| objects.remove(key));
        on_change(Change { old: last.or(old.as_deref()), new: None });
    }

    /// A complete list replaces what was known; what is not on it is gone.
    fn replace(&self, listed: BTreeMap<Key, Arc<K>>, on_change: &impl Fn(Change<'_, K>)) {
        let gone: Vec<Key> =
            self.read(|objects| objects.keys().filter(|key| !listed.contains_key(key)).cloned().collect());
        for key in gone {
            self.remove(&key, None, on_change);
        }
        for object in listed.into_values() {
            self.put(object, on_change);
        }
    }
}

/// What of an object nobody here reads.
pub(crate) trait Trim {
    /// Takes it away before the object is kept.
    fn trim(&mut self) {}
}

/// As it is held for as long as it stands: a copy takes no more than it needs, what was read has room to grow.
fn kept<K: Clone>(object: &K) -> Arc<K> {
    Arc::new(object.clone())
}

/// Watches until dropped. A broken watch is taken up again; what was missed meanwhile is told as changes.
pub(crate) async fn inform<K>(api: Api<K>, config: watcher::Config, cache: &Cache<K>, on_change: impl Fn(Change<'_, K>))
where
    K: Resource + Trim + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    let events = watcher(api, config).backoff(WatchBackoff::default());
    let lean = |object: &mut K| {
        object.meta_mut().managed_fields = None;
        K::trim(object);
    };
    let mut events = std::pin::pin!(events.map_ok(|event| event.modify(lean)));
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(Key::of(&object), kept(&object));
            }
            Ok(watcher::Event::InitDone) => {
                cache.replace(std::mem::take(&mut listed), &on_change);
                cache.synced.send_replace(true);
            }
            Ok(watcher::Event::Apply(object)) => cache.put(kept(&object), &on_change),
            Ok(watcher::Event::Delete(object)) => cache.remove(&Key::of(&object), Some(&object), &on_change),
            Err(error) => tracing::warn!(kind, %error, "watch broke; taking it up again"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use std::sync::Mutex;

    fn map(name: &str) -> Arc<ConfigMap> {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some("default".into());
        object.metadata.name = Some(name.into());
        Arc::new(object)
    }

    #[test]
    fn a_new_list_tells_what_went_missing_while_the_watch_was_broken() {
        let (cache, told) = (Cache::default(), Mutex::new(Vec::new()));
        let note = |change: Change<'_, ConfigMap>| {
            let name = change.sides().next().and_then(|o| o.metadata.name.clone()).unwrap();
            told.lock().unwrap().push((name, change.old.is_some(), change.new.is_some()));
        };
        cache.replace([map("a"), map("b")].map(|o| (Key::of(&*o), o)).into(), &note);
        cache.replace([map("b"), map("c")].map(|o| (Key::of(&*o), o)).into(), &note);
        let expect =
            [("a", false, true), ("b", false, true), ("a", true, false), ("b", true, true), ("c", false, true)];
        assert_eq!(*told.lock().unwrap(), expect.map(|(n, o, w)| (n.to_owned(), o, w)));
        assert_eq!(cache.in_namespace("default").len(), 2);
        assert!(cache.in_namespace("defaul").is_empty());
    }
}
