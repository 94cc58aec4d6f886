//! What the watches have seen, by the scope whose it is.
//!
//! Objects are kept as packed text and read when somebody looks: a tree of values takes fifty times as much, and all of
//! them stand here for ever, while an environment is looked at now and then.

use kube::core::ApiResource;
use model::ports::{Scope, Wake};
use model::{LABEL_ENVIRONMENT, LABEL_PROJECT, ObjectId};
use object::packed::{Packer, Pattern, Text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// Shared by all watches; bounded by the objects that carry our labels, and the namespaces.
#[derive(Default)]
pub(crate) struct View {
    state: Mutex<State>,
    packing: Mutex<Packing>,
    changed: watch::Sender<()>,
}

/// How long a watch may lag behind a write before it is no longer waited for.
const LAG_MAX: Duration = Duration::from_secs(2);

#[derive(Default)]
struct State {
    /// By where they stand, and by name there.
    objects: BTreeMap<Shelf, BTreeMap<Box<str>, Owned>>,
    /// Where objects of a scope stand, and how many.
    shelves: HashMap<Arc<Scope>, BTreeMap<Shelf, usize>>,
    /// All of them: one that should be ours may not carry our labels.
    namespaces: BTreeMap<String, Arc<Text>>,
    wakes: HashMap<Scope, Wake>,
    /// Latest resourceVersion seen of each group and kind.
    versions: HashMap<(String, String), u64>,
}

/// Objects of one kind in one namespace: most often all are of one scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shelf {
    group: String,
    kind: String,
    namespace: String,
}

impl Shelf {
    fn of(id: &ObjectId) -> Self {
        Self { group: id.group.clone(), kind: id.kind.clone(), namespace: id.namespace.clone() }
    }

    fn id(&self, name: &str) -> ObjectId {
        let Self { group, kind, namespace } = self.clone();
        ObjectId { group, kind, namespace, name: name.to_owned() }
    }
}

/// A live object, and whose it is.
struct Owned {
    scope: Arc<Scope>,
    json: Arc<Text>,
}

/// By group and kind.
#[derive(Default)]
struct Packing {
    packer: Packer,
    patterns: HashMap<(String, String), Pattern>,
}

impl Packing {
    fn text(&mut self, id: &ObjectId, object: &Value) -> Text {
        let json = serde_json::to_vec(object).expect("JSON values serialise");
        // What is secret does not outlive its object.
        if id.is_secret() {
            return Text::new(json.into());
        }
        self.patterns.entry((id.group.clone(), id.kind.clone())).or_default().pack(&mut self.packer, json)
    }
}

fn read(json: &Text) -> Value {
    serde_json::from_slice(&json.get()).expect("what was serialised here can be read")
}

impl State {
    /// Takes an object out; returns whose it was.
    fn remove(&mut self, id: &ObjectId) -> Option<Arc<Scope>> {
        let shelf = Shelf::of(id);
        let named = self.objects.get_mut(&shelf)?;
        let scope = named.remove(&*id.name)?.scope;
        if named.is_empty() {
            self.objects.remove(&shelf);
        }
        if let Some(shelves) = self.shelves.get_mut(&scope) {
            match shelves.get_mut(&shelf) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(shelves.remove(&shelf)),
            }
            if shelves.is_empty() {
                self.shelves.remove(&scope);
            }
        }
        Some(scope)
    }

    fn put(&mut self, id: &ObjectId, scope: Option<Scope>, json: Arc<Text>, touched: &mut HashSet<Arc<Scope>>) {
        let is_known = |before: &Owned| scope.as_ref() == Some(&*before.scope) && before.json == json;
        if self.get(id).is_some_and(is_known) {
            return;
        }
        touched.extend(self.remove(id));
        if let Some(scope) = scope {
            let (shelf, scope) = (Shelf::of(id), self.shared(scope));
            touched.insert(scope.clone());
            *self.shelves.entry(scope.clone()).or_default().entry(shelf.clone()).or_default() += 1;
            self.objects.entry(shelf).or_default().insert(id.name.as_str().into(), Owned { scope, json });
        }
    }

    fn get(&self, id: &ObjectId) -> Option<&Owned> {
        self.objects.get(&Shelf::of(id))?.get(&*id.name)
    }

    fn of_scope(&self, scope: &Scope) -> impl Iterator<Item = &Arc<Text>> {
        let shelves = self.shelves.get(scope).into_iter().flat_map(BTreeMap::keys);
        let all = shelves.filter_map(|shelf| self.objects.get(shelf)).flat_map(BTreeMap::values);
        all.filter(move |owned| *owned.scope == *scope).map(|owned| &owned.json)
    }

    /// The scope as its other objects name it.
    fn shared(&self, scope: Scope) -> Arc<Scope> {
        self.shelves.get_key_value(&scope).map_or_else(|| Arc::new(scope), |(known, _)| known.clone())
    }
}

impl View {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens while the view is locked")
    }

    fn packed(&self, id: &ObjectId, object: &Value) -> Text {
        self.packing.lock().expect("no panic happens while something is packed").text(id, object)
    }

    /// From now on `wake` is called when something of this scope changes; it replaces an earlier one.
    pub(crate) fn wake_on_change(&self, scope: &Scope, wake: Wake) {
        self.lock().wakes.insert(scope.clone(), wake);
    }

    /// Everybody looks again: it is not known what changed.
    pub(crate) fn wake_all(&self) {
        let wakes: Vec<Wake> = self.lock().wakes.values().cloned().collect();
        wakes.iter().for_each(|wake| wake());
    }

    /// All objects of a scope, and its namespace even if it is somebody else's.
    pub(crate) fn observe(&self, scope: &Scope) -> BTreeMap<ObjectId, Arc<Value>> {
        let namespace = model::names::workload_namespace(&scope.project, &scope.environment);
        let texts: Vec<Arc<Text>> = {
            let state = self.lock();
            state.of_scope(scope).chain(state.namespaces.get(&namespace)).cloned().collect()
        };
        let object = |json: Arc<Text>| {
            let value = read(&json);
            (ObjectId::of(&value), Arc::new(value))
        };
        texts.into_iter().map(object).collect()
    }

    /// An object was created or changed.
    pub(crate) fn put(&self, object: Value) {
        let mut touched = HashSet::new();
        let id = ObjectId::of(&object);
        let json = Arc::new(self.packed(&id, &object));
        let mut state = self.lock();
        state.note_version(&id, &object);
        if is_namespace(&id) {
            state.touch_namespace(&id.name, &mut touched);
            state.namespaces.insert(id.name.clone(), json.clone());
        }
        state.put(&id, scope_of(&object), json, &mut touched);
        self.tell(state, touched);
    }

    /// An object is gone, or not ours any more. `last` is what the server said of it, if it said anything.
    pub(crate) fn remove(&self, id: &ObjectId, last: Option<&Value>) {
        let mut touched = HashSet::new();
        let mut state = self.lock();
        if let Some(last) = last {
            state.note_version(id, last);
        }
        if is_namespace(id) && state.namespaces.remove(&id.name).is_some() {
            state.touch_namespace(&id.name, &mut touched);
        }
        touched.extend(state.remove(id));
        self.tell(state, touched);
    }

    /// A complete list of one kind: what is not on it is gone.
    pub(crate) fn replace(&self, api: &ApiResource, listed: Vec<Value>) {
        let ids: BTreeSet<ObjectId> = listed.iter().map(ObjectId::of).collect();
        let gone: Vec<ObjectId> = {
            let state = self.lock();
            let is_kind = |group: &str, kind: &str| group == api.group && kind == api.kind;
            let shelves = state.objects.iter().filter(|(shelf, _)| is_kind(&shelf.group, &shelf.kind));
            let known = shelves.flat_map(|(shelf, named)| named.keys().map(|name| shelf.id(name)));
            let namespaces = state.namespaces.keys().map(namespace).filter(|id| is_kind(&id.group, &id.kind));
            known.chain(namespaces).filter(|id| !ids.contains(id)).collect()
        };
        gone.iter().for_each(|id| self.remove(id, None));
        listed.into_iter().for_each(|object| self.put(object));
    }

    /// Wakes outside of the lock, for whoever is woken may look at once.
    fn tell(&self, state: MutexGuard<'_, State>, touched: HashSet<Arc<Scope>>) {
        let wakes: Vec<Wake> = touched.iter().filter_map(|scope| state.wakes.get(&**scope).cloned()).collect();
        drop(state);
        self.changed.send_replace(());
        wakes.iter().for_each(|wake| wake());
    }

    /// Returns when a write of ours can be seen here, so that nobody takes what was before it for a deviation.
    pub(crate) async fn shows(&self, written: &Value) {
        let id = ObjectId::of(written);
        let Some(version) = version(written).filter(|_| is_namespace(&id) || scope_of(written).is_some()) else {
            return;
        };
        let kind = (id.group, id.kind);
        self.wait(|state| state.versions.get(&kind).is_some_and(|seen| *seen >= version)).await;
    }

    /// Returns when a deletion of ours can be seen here.
    pub(crate) async fn shows_deletion(&self, id: &ObjectId, uid: Option<&str>) {
        self.wait(|state| {
            state.get(id).is_none_or(|live| {
                let metadata = &read(&live.json)["metadata"];
                let is_other = uid.is_some() && metadata["uid"].as_str() != uid;
                is_other || metadata.get("deletionTimestamp").is_some()
            })
        })
        .await;
    }

    async fn wait(&self, reached: impl Fn(&State) -> bool) {
        let mut changes = self.changed.subscribe();
        let wait = async { while !reached(&self.lock()) && changes.changed().await.is_ok() {} };
        if tokio::time::timeout(LAG_MAX, wait).await.is_err() {
            tracing::debug!("a watch lags behind what was written");
        }
    }
}

impl State {
    fn note_version(&mut self, id: &ObjectId, object: &Value) {
        if let Some(version) = version(object) {
            let seen = self.versions.entry((id.group.clone(), id.kind.clone())).or_default();
            *seen = version.max(*seen);
        }
    }

    fn touch_namespace(&self, name: &str, touched: &mut HashSet<Arc<Scope>>) {
        let is_its = |scope: &&Scope| model::names::workload_namespace(&scope.project, &scope.environment) == name;
        touched.extend(self.wakes.keys().filter(is_its).cloned().map(Arc::new));
    }
}

fn version(object: &Value) -> Option<u64> {
    object.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
}

fn namespace(name: &String) -> ObjectId {
    ObjectId { group: String::new(), kind: "Namespace".into(), namespace: String::new(), name: name.clone() }
}

fn is_namespace(id: &ObjectId) -> bool {
    id.group.is_empty() && id.kind == "Namespace"
}

fn scope_of(object: &Value) -> Option<Scope> {
    let labels = object.pointer("/metadata/labels")?;
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    Some(Scope { project: label(LABEL_PROJECT)?.parse().ok()?, environment: label(LABEL_ENVIRONMENT)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn map(name: &str, environment: &str, value: &str) -> Value {
        let labels = json!({LABEL_PROJECT: "shop", LABEL_ENVIRONMENT: environment});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n", "labels": labels}, "data": {"k": value}})
    }

    fn scope(environment: &str) -> Scope {
        Scope { project: "shop".parse().unwrap(), environment: environment.parse().unwrap() }
    }

    fn count(view: &View, scope: &Scope) -> Arc<AtomicUsize> {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = wakes.clone();
        view.wake_on_change(
            scope,
            Arc::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            }),
        );
        wakes
    }

    #[test]
    fn a_change_wakes_its_scope_and_an_equal_object_nobody() {
        let view = View::default();
        let (dev, prod) = (count(&view, &scope("dev")), count(&view, &scope("prod")));
        let woken = || (dev.load(Ordering::Relaxed), prod.load(Ordering::Relaxed));
        view.put(map("a", "dev", "1"));
        assert_eq!(woken(), (1, 0));
        view.put(map("a", "dev", "1"));
        assert_eq!(woken(), (1, 0));
        view.put(map("a", "prod", "1"));
        assert_eq!(woken(), (2, 1), "moving between scopes concerns both");
        assert!(view.observe(&scope("dev")).is_empty());
        assert_eq!(view.observe(&scope("prod")).len(), 1);
        view.remove(&ObjectId::of(&map("a", "prod", "1")), None);
        assert_eq!(woken(), (2, 2));
        let state = view.lock();
        assert!(state.objects.is_empty() && state.shelves.is_empty(), "something is left of what is gone");
    }

    #[test]
    fn alike_objects_take_little_and_are_seen_as_they_are() {
        let view = View::default();
        let objects: Vec<Value> = (0..50).map(|n| map(&format!("m{n}"), "dev", &"some text ".repeat(100))).collect();
        objects.iter().for_each(|object| view.put(object.clone()));
        let state = view.lock();
        let held: usize = state.of_scope(&scope("dev")).map(|json| json.held()).sum();
        drop(state);
        let text: usize = objects.iter().map(|object| object.to_string().len()).sum();
        assert!(held * 10 < text, "{held} of {text} bytes");
        let seen = view.observe(&scope("dev"));
        assert!(objects.iter().all(|object| seen[&ObjectId::of(object)].as_ref() == object));
    }

    #[test]
    fn a_list_replaces_one_kind_only() {
        let view = View::default();
        let api = ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&());
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "labels": {LABEL_PROJECT: "shop", LABEL_ENVIRONMENT: "dev"}}});
        view.put(secret);
        view.replace(&api, vec![map("a", "dev", "1"), map("b", "dev", "1")]);
        view.replace(&api, vec![map("b", "dev", "2")]);
        let names: Vec<String> = view.observe(&scope("dev")).into_keys().map(|id| id.name).collect();
        assert_eq!(names, ["b", "s"]);
    }

    #[test]
    fn the_namespace_of_a_scope_is_seen_even_without_labels() {
        let view = View::default();
        let woken = count(&view, &scope("dev"));
        view.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop-dev"}}));
        view.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}));
        assert_eq!(view.observe(&scope("dev")).len(), 1);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        view.replace(&ApiResource::erase::<k8s_openapi::api::core::v1::Namespace>(&()), Vec::new());
        assert!(view.observe(&scope("dev")).is_empty());
    }
}
