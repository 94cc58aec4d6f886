//! What was built before: results of instructions by the content of their inputs, and the directories of cache mounts.
//!
//! Everything here may be deleted at any time.

use crate::error::{Error, work};
use crate::images::{LayerRecord, Root};
use model::{Component, Project};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Raised when an equal key would mean another result.
const VERSION: u32 = 1;

/// Identity of an instruction with everything that its result depends on.
pub(crate) struct Key(Sha256);

impl Key {
    /// Of an instruction of this kind over these layers.
    pub fn new(kind: &str, root: &Root) -> Self {
        let diff_ids: Vec<_> = root.layers.iter().map(|layer| layer.diff_id()).collect();
        Self(Sha256::new()).with(&(VERSION, kind, diff_ids))
    }
    pub fn with(mut self, part: &impl Serialize) -> Self {
        self.0.update(serde_json::to_vec(part).expect("parts of keys are text, numbers and lists"));
        self
    }
    fn hex(&self) -> String {
        hex(&self.0.clone().finalize())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A directory: `steps/` (results), `mounts/` (cache mounts), `work/` (working files of builds that run).
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Creates the directories.
    pub fn new(root: PathBuf) -> Result<Self, Error> {
        for name in ["steps", "mounts", "work"] {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(work(&path))?;
        }
        Ok(Self { root })
    }

    /// Removes working files of builds that a crash has ended.
    pub fn sweep(&self) -> Result<(), Error> {
        let path = self.root.join("work");
        for item in fs::read_dir(&path).map_err(work(&path))? {
            let item = item.map_err(work(&path))?.path();
            let removed = if item.is_dir() { fs::remove_dir_all(&item) } else { fs::remove_file(&item) };
            removed.map_err(work(&item))?;
        }
        Ok(())
    }

    /// A path for working files.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.root.join("work").join(name)
    }

    /// The result of an instruction: unknown, no layer, or a layer (which the store may have lost).
    pub fn get(&self, key: &Key) -> Result<Option<LayerRecord>, Error> {
        let path = self.root.join("steps").join(key.hex());
        match fs::read(&path) {
            // A record that a crash has cut short is as good as none.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(work(&path)(error)),
        }
    }

    pub fn put(&self, key: &Key, record: &LayerRecord) -> Result<(), Error> {
        let path = self.root.join("steps").join(key.hex());
        let bytes = serde_json::to_vec(record).expect("layers are text and numbers");
        let part = path.with_extension("part");
        fs::write(&part, bytes).and_then(|()| fs::rename(&part, &path)).map_err(work(&path))
    }

    /// The directory of a cache mount; nobody but this component sees it.
    pub fn mount(&self, project: &Project, component: &Component, id: &str, mode: u32) -> Result<PathBuf, Error> {
        let name = hex(&Sha256::digest(format!("{project}/{component}/{id}")));
        let path = self.root.join("mounts").join(&name[..32]);
        if !path.is_dir() {
            let made =
                fs::create_dir(&path).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
            made.map_err(work(&path))?;
        }
        Ok(path)
    }
}
