//! All objects of one resource.

use super::history::Window;
use super::{Key, Stored};
use object::packed::Dictionary;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use tokio::sync::watch;

/// All objects of one resource, and what has happened to them lately.
pub(super) struct Collection {
    pub objects: Objects,
    pub window: Window,
    pub changed: watch::Sender<u64>,
    /// What its objects are packed by, once there are any to pack.
    pub dictionary: Option<Dictionary>,
}

/// Objects of one resource in the order of namespace and name.
#[derive(Default)]
pub(super) struct Objects(BTreeSet<Placed>);

impl Objects {
    pub fn get(&self, key: &Key) -> Option<&Arc<Stored>> {
        self.0.get(key as &dyn Place).map(|placed| &placed.0)
    }

    pub fn put(&mut self, object: Arc<Stored>) {
        self.0.replace(Placed(object));
    }

    pub fn remove(&mut self, key: &Key) {
        self.0.remove(key as &dyn Place);
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Stored>> {
        self.0.iter().map(|placed| &placed.0)
    }

    /// Those in one namespace, or all, if it is empty.
    pub fn range(&self, namespace: &str) -> impl Iterator<Item = &Arc<Stored>> {
        let start = (namespace, "");
        let from_there = self.0.range::<dyn Place, _>((Bound::Included(&start as &dyn Place), Bound::Unbounded));
        let wanted = move |object: &&Arc<Stored>| namespace.is_empty() || *object.key.namespace == *namespace;
        from_there.map(|placed| &placed.0).take_while(wanted)
    }
}

impl FromIterator<Arc<Stored>> for Objects {
    fn from_iter<I: IntoIterator<Item = Arc<Stored>>>(objects: I) -> Self {
        Self(objects.into_iter().map(Placed).collect())
    }
}

/// An object that is found by where it stands: its key is not held twice.
struct Placed(Arc<Stored>);

/// Namespace and name, of an object or only asked for.
trait Place {
    fn place(&self) -> (&str, &str);
}

impl Place for Placed {
    fn place(&self) -> (&str, &str) {
        self.0.key.place()
    }
}

impl Place for Key {
    fn place(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl Place for (&str, &str) {
    fn place(&self) -> (&str, &str) {
        *self
    }
}

impl<'a> Borrow<dyn Place + 'a> for Placed {
    fn borrow(&self) -> &(dyn Place + 'a) {
        self
    }
}

impl Ord for dyn Place + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for dyn Place + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Place + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for dyn Place + '_ {}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Placed {}
