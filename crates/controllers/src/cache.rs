//! The latest known state of all objects of a kind.

use crate::held::{Held, Kept};
use crate::objects::Key;
use object::packed::{Packer, Pattern, Text};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::watch;

/// By namespace and name.
type Objects<K> = BTreeMap<Box<str>, BTreeMap<Box<str>, Arc<Kept<K>>>>;

pub(crate) struct Cache<K: Held> {
    objects: RwLock<Objects<K>>,
    pattern: Mutex<Pattern>,
    packer: Arc<Mutex<Packer>>,
    synced: watch::Sender<bool>,
}

/// One change of an object; both sides are given where both exist.
pub(crate) struct Change<'a, K: Held> {
    pub(crate) key: &'a Key,
    pub(crate) old: Option<&'a Kept<K>>,
    pub(crate) new: Option<&'a Kept<K>>,
}

impl<'a, K: Held> Change<'a, K> {
    /// Before and after, as far as they exist.
    pub(crate) fn sides(&self) -> impl Iterator<Item = &'a Kept<K>> {
        self.old.into_iter().chain(self.new)
    }
}

impl<K: Held> Cache<K> {
    /// `packer` is shared by all that pack now and then.
    pub(crate) fn new(packer: &Arc<Mutex<Packer>>) -> Self {
        let (objects, pattern, synced) = (RwLock::default(), Mutex::default(), watch::Sender::new(false));
        Self { objects, pattern, packer: packer.clone(), synced }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.kept(key).map(|kept| Arc::new(kept.read()))
    }

    /// Without reading the object.
    pub(crate) fn kept(&self, key: &Key) -> Option<Arc<Kept<K>>> {
        self.objects(|objects| objects.get(&*key.namespace)?.get(&*key.name).cloned())
    }

    /// Those objects of a namespace that are wanted, by name.
    pub(crate) fn select(&self, namespace: &str, wanted: impl Fn(&Kept<K>) -> bool) -> Vec<Arc<K>> {
        let kept: Vec<Arc<Kept<K>>> = self.objects(|objects| {
            let all = objects.get(namespace).into_iter().flat_map(BTreeMap::values);
            all.filter(|kept| wanted(kept)).cloned().collect()
        });
        kept.iter().map(|kept| Arc::new(kept.read())).collect()
    }

    /// Where those objects of a namespace are that are wanted.
    pub(crate) fn keys(&self, namespace: &str, wanted: impl Fn(&Kept<K>) -> bool) -> Vec<Key> {
        self.objects(|objects| {
            let all = objects.get(namespace).into_iter().flatten();
            all.filter(|(_, kept)| wanted(kept)).map(|(name, _)| Key::new(namespace, name)).collect()
        })
    }

    /// Shows all objects; `look` is to be quick, for nothing changes meanwhile.
    pub(crate) fn each(&self, mut look: impl FnMut(&str, &str, &Kept<K>)) {
        self.objects(|objects| {
            for (namespace, named) in objects {
                named.iter().for_each(|(name, kept)| look(namespace, name, kept));
            }
        });
    }

    /// Returns once the first list has been taken in.
    pub(crate) async fn synced(&self) {
        // The sender lives in self, so this cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    fn objects<R>(&self, read: impl FnOnce(&Objects<K>) -> R) -> R {
        read(&self.objects.read().expect("no panic happens while the cache is locked"))
    }

    fn write<R>(&self, write: impl FnOnce(&mut Objects<K>) -> R) -> R {
        write(&mut self.objects.write().expect("no panic happens while the cache is locked"))
    }

    fn pack(&self, json: Vec<u8>) -> Text {
        let mut pattern = self.pattern.lock().expect("no panic happens while something is packed");
        pattern.pack(&mut self.packer.lock().expect("no panic happens while something is packed"), json)
    }

    /// As it is to be kept.
    pub(crate) fn keep(&self, object: K) -> Arc<Kept<K>> {
        Arc::new(Kept::of(object, |json| self.pack(json)))
    }

    pub(crate) fn put(&self, key: &Key, object: Arc<Kept<K>>, on_change: &impl Fn(Change<'_, K>)) {
        let old = self.write(|objects| {
            if let Some(known) = objects.get_mut(&*key.namespace).and_then(|named| named.get_mut(&*key.name)) {
                return Some(std::mem::replace(known, object.clone()));
            }
            let named = objects.entry(key.namespace.as_str().into()).or_default();
            named.insert(key.name.as_str().into(), object.clone())
        });
        on_change(Change { key, old: old.as_deref(), new: Some(&object) });
    }

    /// `last` is what it was at its end, if that is known.
    pub(crate) fn remove(&self, key: &Key, last: Option<K>, on_change: &impl Fn(Change<'_, K>)) {
        let old = self.write(|objects| {
            let named = objects.get_mut(&*key.namespace)?;
            let old = named.remove(&*key.name);
            if named.is_empty() {
                objects.remove(&*key.namespace);
            }
            old
        });
        let last = last.map(|last| Kept::of(last, |json| Text::new(json.into())));
        on_change(Change { key, old: last.as_ref().or(old.as_deref()), new: None });
    }

    /// A complete list replaces what was known; what is not on it is gone.
    pub(crate) fn replace(&self, listed: BTreeMap<Key, Arc<Kept<K>>>, on_change: &impl Fn(Change<'_, K>)) {
        let mut gone = BTreeSet::new();
        self.each(|namespace, name, _| {
            let key = Key::new(namespace, name);
            if !listed.contains_key(&key) {
                gone.insert(key);
            }
        });
        gone.iter().for_each(|key| self.remove(key, None, on_change));
        listed.into_iter().for_each(|(key, object)| self.put(&key, object, on_change));
        self.synced.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::Labels;
    use k8s_openapi::api::core::v1::{Pod, Service};
    use serde_json::{Value, from_value, json};

    fn cache<K: Held>() -> Cache<K> {
        Cache::new(&Arc::default())
    }

    fn service(cache: &Cache<Service>, name: &str) -> (Key, Arc<Kept<Service>>) {
        let object = from_value(json!({"metadata": {"name": name, "namespace": "default"}})).unwrap();
        (Key::of(&object), cache.keep(object))
    }

    #[test]
    fn a_new_list_tells_what_went_missing_while_the_watch_was_broken() {
        let (cache, told) = (cache(), Mutex::new(Vec::new()));
        let note = |change: Change<'_, Service>| {
            told.lock().unwrap().push((change.key.name.clone(), change.old.is_some(), change.new.is_some()));
        };
        cache.replace(["a", "b"].map(|name| service(&cache, name)).into(), &note);
        cache.replace(["b", "c"].map(|name| service(&cache, name)).into(), &note);
        let expect =
            [("a", false, true), ("b", false, true), ("a", true, false), ("b", true, true), ("c", false, true)];
        assert_eq!(*told.lock().unwrap(), expect.map(|(n, o, w)| (n.to_owned(), o, w)));
        assert_eq!(cache.keys("default", |_| true).len(), 2);
        assert!(cache.keys("defaul", |_| true).is_empty());
        cache.replace(BTreeMap::new(), &|_| ());
        assert!(cache.objects(BTreeMap::is_empty), "a namespace without objects is kept");
    }

    fn pod(n: usize) -> Pod {
        let env: Vec<Value> =
            (0..20).map(|e| json!({"name": format!("E{e}"), "value": format!("value {e}")})).collect();
        let labels = json!({"app": format!("web-{n}"), "pod-template-hash": format!("{:08x}", n * 7919)});
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("web-{n}"), "uid": format!("{:036x}", n * 31), "controller": true});
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        from_value(json!({
            "metadata": {"name": format!("web-{n}"), "namespace": "shop", "uid": format!("{:036x}", n * 7919), "labels": labels, "ownerReferences": [owner]},
            "spec": {"containers": [{"name": "web", "image": "web", "env": env, "ports": [{"name": "http", "containerPort": 80}]}]},
            "status": {"phase": "Running", "podIP": format!("10.0.0.{n}"), "conditions": [ready]},
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_at_rest_takes_a_fraction_and_reads_as_it_was() {
        let cache = cache::<Pod>();
        for n in 0..50 {
            cache.put(&Key::of(&pod(n)), cache.keep(pod(n)), &|_| ());
        }
        for n in 1..50 {
            let kept = cache.kept(&Key::of(&pod(n))).unwrap();
            assert!(kept.held() < 160, "{} bytes of {}", kept.held(), json!(pod(n)).to_string().len());
            let mut expect = pod(n);
            expect.trim();
            assert_eq!(kept.read(), expect);
            assert!(kept.facts.labels.include(&Labels::of(expect.metadata.labels.as_ref())));
        }
        let of_one = cache.select("shop", |pod| pod.controller.as_ref().is_some_and(|owner| &*owner.name == "web-7"));
        assert_eq!(of_one.iter().map(|pod| pod.metadata.name.as_deref()).collect::<Vec<_>>(), [Some("web-7")]);
    }
}
