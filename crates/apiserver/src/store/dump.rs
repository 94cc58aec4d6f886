//! All objects at one revision, to be carried elsewhere and laid down there.

use super::disk::{Disk, StoreError};
use super::{State, Store, Stored};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

/// Everything that is stored, as it was at one revision. Holding it costs pointers, not copies.
pub struct Dump {
    revision: u64,
    objects: Vec<Arc<Stored>>,
}

impl Dump {
    /// The revision of the newest write in it.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// `resource/namespace/name` and the object's JSON, which holds no line break, in the order of keys.
    pub fn rows(&self) -> impl Iterator<Item = (String, Bytes)> {
        self.objects.iter().map(|object| (object.key.on_disk(), object.json()))
    }
}

impl Store {
    /// Everything, as it is now.
    pub fn dump(&self) -> Dump {
        let state = self.read();
        let mut objects: Vec<_> = state.collections.values().flat_map(|c| c.objects.all().cloned()).collect();
        let revision = state.revision;
        drop(state);
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Dump { revision, objects }
    }
}

/// A new store, filled row by row.
pub struct Restore {
    disk: Disk,
    revision: u64,
    rows: Vec<(String, Vec<u8>)>,
}

/// Rows that share a commit.
const ROWS_MAX: usize = 1024;

impl Restore {
    /// Creates the file; `revision` is the dump's, so that no revision is given out twice.
    ///
    /// # Errors
    /// There is a file already, or it cannot be made.
    pub fn create(path: &Path, revision: u64) -> Result<Self, StoreError> {
        if path.exists() {
            return Err(StoreError::Exists(path.to_owned()));
        }
        let (disk, State { .. }) = Disk::open(path)?;
        Ok(Self { disk, revision, rows: Vec::new() })
    }

    /// Adds a row of a dump.
    ///
    /// # Errors
    /// It is no object, or the disk fails.
    pub fn row(&mut self, key: &str, json: &[u8]) -> Result<(), StoreError> {
        self.disk.check(key, json, self.revision)?;
        self.rows.push((key.to_owned(), json.to_vec()));
        if self.rows.len() >= ROWS_MAX { self.flush() } else { Ok(()) }
    }

    /// Makes the rest durable.
    ///
    /// # Errors
    /// The disk fails.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.flush()
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let rows = self.rows.iter().map(|(key, json)| (key.as_str(), Some(&json[..])));
        self.disk.write(rows, self.revision)?;
        self.rows.clear();
        Ok(())
    }
}
