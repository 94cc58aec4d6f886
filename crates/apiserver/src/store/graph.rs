//! Who owns whom, by uid, and which objects garbage collection must look at.

use super::{Key, Stored};
use std::collections::{BTreeSet, HashMap};

/// Kept in step with the objects by [`Graph::insert`] and [`Graph::remove`].
#[derive(Default)]
pub(super) struct Graph {
    keys: HashMap<Box<str>, Key>,
    dependents: HashMap<Box<str>, BTreeSet<Key>>,
    /// One of their owners was missing, or on its way out, when they were last looked at.
    dangling: BTreeSet<Key>,
    terminating: BTreeSet<Key>,
}

impl Graph {
    pub fn insert(&mut self, object: &Stored) {
        self.keys.insert(object.uid.clone(), object.key.clone());
        for owner in &object.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(object.key.clone());
        }
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
            if let Some(keys) = self.dependents.get_mut(&owner.uid) {
                keys.remove(&object.key);
                if keys.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        self.dangling.remove(&object.key);
        self.terminating.remove(&object.key);
        if gone {
            self.keys.remove(&object.uid);
            self.disturb(&object.uid);
        }
    }

    /// The dependents of this uid must be looked at again.
    fn disturb(&mut self, uid: &str) {
        if let Some(keys) = self.dependents.get(uid) {
            self.dangling.extend(keys.iter().cloned());
        }
    }

    pub fn settle(&mut self, key: &Key) {
        self.dangling.remove(key);
    }

    pub fn key_of(&self, uid: &str) -> Option<&Key> {
        self.keys.get(uid)
    }

    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = &Key> {
        self.dependents.get(uid).into_iter().flatten()
    }

    pub fn dangling(&self) -> impl Iterator<Item = &Key> {
        self.dangling.iter()
    }

    pub fn terminating(&self) -> impl Iterator<Item = &Key> {
        self.terminating.iter()
    }
}
