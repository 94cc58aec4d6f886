//! Who owns whom, by uid, and which objects garbage collection must look at.

use super::{Key, Stored, Uid};
use std::borrow::Borrow;
use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Kept in step with the objects by [`Graph::insert`] and [`Graph::remove`].
#[derive(Default)]
pub(super) struct Graph {
    objects: HashSet<ByUid>,
    /// The owner, and what names it as one.
    dependents: BTreeSet<(Uid, Key)>,
    /// One of their owners was missing, or on its way out, when they were last looked at.
    dangling: BTreeSet<Key>,
    terminating: BTreeSet<Key>,
}

struct ByUid(Arc<Stored>);

impl Borrow<Uid> for ByUid {
    fn borrow(&self) -> &Uid {
        &self.0.uid
    }
}

impl Hash for ByUid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.uid.hash(state);
    }
}

impl PartialEq for ByUid {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid == other.0.uid
    }
}

impl Eq for ByUid {}

impl Graph {
    pub fn insert(&mut self, object: &Arc<Stored>) {
        self.objects.replace(ByUid(object.clone()));
        self.dependents.extend(object.owners.iter().map(|owner| (owner.uid.clone(), object.key.clone())));
        if !object.owners.is_empty() {
            // Whether the owner exists is judged when it is looked at: loading has no order.
            self.dangling.insert(object.key.clone());
        }
        if object.deleting {
            self.terminating.insert(object.key.clone());
            self.disturb(&object.uid);
        }
    }

    /// Takes out what an object meant, because it is `gone` or because another version follows.
    pub fn remove(&mut self, object: &Stored, gone: bool) {
        for owner in &object.owners {
            self.dependents.remove(&(owner.uid.clone(), object.key.clone()));
        }
        self.dangling.remove(&object.key);
        self.terminating.remove(&object.key);
        if gone {
            self.objects.remove(&object.uid);
            self.disturb(&object.uid);
        }
    }

    /// The dependents of this uid must be looked at again.
    fn disturb(&mut self, uid: &Uid) {
        let dependents: Vec<Key> = self.dependents(uid).cloned().collect();
        self.dangling.extend(dependents);
    }

    pub fn settle(&mut self, key: &Key) {
        self.dangling.remove(key);
    }

    pub fn object(&self, uid: &Uid) -> Option<&Arc<Stored>> {
        self.objects.get(uid).map(|object| &object.0)
    }

    pub fn dependents(&self, uid: &Uid) -> impl Iterator<Item = &Key> {
        let first = (uid.clone(), Key::new("", "", ""));
        let of_owner = self.dependents.range(first..).take_while(move |(owner, _)| owner == uid);
        of_owner.map(|(_, dependent)| dependent)
    }

    pub fn dangling(&self) -> impl Iterator<Item = &Key> {
        self.dangling.iter()
    }

    pub fn terminating(&self) -> impl Iterator<Item = &Key> {
        self.terminating.iter()
    }
}
