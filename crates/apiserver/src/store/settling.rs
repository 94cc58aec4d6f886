//! What nobody has touched for a while takes less.

use super::collection::Collection;
use super::{Store, Stored};
use object::packed::{DICTIONARY_MAX, Dictionary, Packer};
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Events of the past are held so long. Watchers of this process have taken them in by then, and whoever lost his
/// connection is back or begins with a list.
const FRESH: Duration = Duration::from_secs(30);
/// Objects whose texts may be secret are not packed: their dictionary would outlive them.
const SECRETS: &str = "secrets";

/// Runs until the store is gone: as long as nothing is written, it sleeps.
pub async fn run(store: Weak<Store>, stop: CancellationToken) {
    let Some(mut changes) = store.upgrade().map(|store| store.changes()) else { return };
    loop {
        let pause = async {
            // Also what was read from the disk.
            tokio::time::sleep(FRESH).await;
            let Some(store) = store.upgrade() else { return false };
            changes.borrow_and_update();
            let settled = tokio::task::spawn_blocking(move || store.settle_down(FRESH)).await;
            // What is still fresh is looked at again.
            matches!(settled, Ok(true)) || changes.changed().await.is_ok()
        };
        if stop.run_until_cancelled(pause).await != Some(true) {
            return;
        }
    }
}

impl Store {
    /// Lets go events that are older than this, and packs what has not changed since. True if younger ones are left.
    fn settle_down(&self, age: Duration) -> bool {
        let Some(before) = Instant::now().checked_sub(age) else { return true };
        let (mut old, mut left) = (Vec::new(), false);
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for (resource, collection) in &mut state.collections {
                left |= collection.window.forget(before);
                if **resource != *SECRETS {
                    old.extend(collection.settled());
                }
            }
        }
        let mut packer = Packer::default();
        for (dictionary, objects) in old {
            objects.iter().for_each(|object| object.pack(&mut packer, &dictionary));
        }
        left
    }
}

impl Collection {
    /// Objects that nobody has tried to pack and that no event speaks of any more, and by what to pack them.
    fn settled(&mut self) -> Option<(Dictionary, Vec<Arc<Stored>>)> {
        let start = self.window.start();
        let settled = |object: &&Arc<Stored>| object.revision <= start && object.is_fresh();
        let objects: Vec<_> = self.objects.all().filter(settled).cloned().collect();
        if self.dictionary.is_none() {
            let fits = objects.iter().filter(|object| object.length() <= DICTIONARY_MAX);
            self.dictionary =
                fits.max_by_key(|object| object.length()).map(|longest| Dictionary::from(&longest.json()[..]));
        }
        Some((self.dictionary.clone()?, objects)).filter(|(_, objects)| !objects.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use crate::store::{Change, Expected, Key, Past, Store, Write};
    use serde_json::json;
    use std::time::Duration;

    #[tokio::test]
    async fn what_nobody_touches_is_packed_and_reads_as_before() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        for n in 0..20 {
            let fields: Vec<String> = (0..60).map(|field| format!("this is field {field}")).collect();
            let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("web-{n}"),
                "namespace": "shop", "uid": format!("u-{n}"), "labels": {"app": "web"}}, "spec": fields});
            let key = Key::new("pods", "shop", format!("web-{n}"));
            let write = Write { key, expected: Expected::Absent, change: Change::Put(object), guard: None };
            store.commit(write).await.unwrap();
        }
        let before: Vec<_> = store.list("pods", "shop").objects.iter().map(|o| (o.json(), o.tail())).collect();
        assert!(store.settle_down(Duration::from_secs(3600)), "younger events are left");
        assert!(store.list("pods", "").objects.iter().all(|object| object.is_fresh()));
        assert!(!store.settle_down(Duration::ZERO));
        let after = store.list("pods", "shop").objects;
        assert!(after.iter().all(|object| !object.is_fresh()));
        assert_eq!(after.iter().map(|o| (o.json(), o.tail())).collect::<Vec<_>>(), before);
        assert_eq!(after[3].label("app"), Some("web"));
        assert_eq!(after[3].label("web"), None, "a value is no name");
        // Whoever has seen everything goes on; whoever has not begins anew.
        assert!(store.events_after("pods", store.revision(), 10).unwrap().0.is_empty());
        assert_eq!(store.events_after("pods", 1, 10).err(), Some(Past::Expired { oldest: store.revision() }));
    }
}
