//! Objects in memory. An object never changes, so a hit needs no check.

use crate::object::{Object, Oid};
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

/// A share of the cache that is no object's content: map entries, `Arc` header.
const OVERHEAD_BYTES: usize = 160;

/// The most recently used objects of all repositories, up to a number of bytes. The key names the repository too:
/// an object of one must not be readable through another.
pub struct Cache {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: HashMap<(u64, Oid), (u64, Object)>,
    by_use: BTreeMap<u64, (u64, Oid)>,
    clock: u64,
    bytes: usize,
}

impl Cache {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    pub fn get(&self, repository: u64, id: Oid) -> Option<Object> {
        let mut state = self.lock();
        let state = &mut *state;
        let (used, object) = state.objects.get_mut(&(repository, id))?;
        state.by_use.remove(used);
        state.clock += 1;
        *used = state.clock;
        state.by_use.insert(state.clock, (repository, id));
        Some(object.clone())
    }

    pub fn put(&self, repository: u64, object: &Object) {
        let size = object.bytes.len() + OVERHEAD_BYTES;
        if size > self.bytes_max / 4 {
            return; // One big file would push everything else out.
        }
        let mut state = self.lock();
        let state = &mut *state;
        let key = (repository, object.id);
        if state.objects.contains_key(&key) {
            return;
        }
        state.clock += 1;
        state.objects.insert(key, (state.clock, object.clone()));
        state.by_use.insert(state.clock, key);
        state.bytes += size;
        while state.bytes > self.bytes_max {
            let Some((_, oldest)) = state.by_use.pop_first() else { break };
            if let Some((_, object)) = state.objects.remove(&oldest) {
                state.bytes -= object.bytes.len() + OVERHEAD_BYTES;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;

    #[test]
    fn the_least_recently_used_goes_first_and_repositories_are_apart() {
        let blob = |n: u8| Object::new(Kind::Blob, vec![n; 100]);
        let cache = Cache::new(4 * (100 + OVERHEAD_BYTES));
        for n in 0..4 {
            cache.put(1, &blob(n));
        }
        assert!(cache.get(1, blob(0).id).is_some());
        cache.put(1, &blob(4));
        assert!(cache.get(1, blob(0).id).is_some(), "it was used last");
        assert!(cache.get(1, blob(1).id).is_none(), "it was the oldest");
        assert!(cache.get(2, blob(0).id).is_none(), "another repository");
    }
}
