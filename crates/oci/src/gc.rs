//! Removes what nothing names any more.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::parse;
use crate::store::{Store, blocking};
use crate::types::{ImageConfig, Manifest};

/// What garbage collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub blobs: u64,
    pub blob_bytes: u64,
    pub layers: u64,
}

impl Store {
    /// Keeps what tags, `roots` (digests of manifests) and leases name, and blobs written or asked for within `grace` (a push
    /// uploads blobs before the manifest that names them). `in_use` are unpacked layers that containers stand on.
    pub async fn gc(&self, roots: Vec<Digest>, in_use: Vec<Digest>, grace: Duration) -> Result<Swept> {
        let store = self.clone();
        blocking(move || store.sweep(roots, &in_use, grace)).await
    }

    fn sweep(&self, roots: Vec<Digest>, in_use: &[Digest], grace: Duration) -> Result<Swept> {
        let _no_new_tags = self.lock_refs();
        let mut kept = BTreeSet::new();
        let mut layers: BTreeSet<Digest> = in_use.iter().cloned().collect();
        for root in roots.into_iter().chain(self.tagged()?).chain(self.leased()) {
            self.mark(&root, &mut kept, &mut layers)?;
        }
        let young = |path: &Path| -> io::Result<bool> {
            let age = SystemTime::now().duration_since(fs::metadata(path)?.modified()?);
            // Written in the future: by a clock that was set back.
            Ok(age.map_or(true, |age| age < grace))
        };
        // What is kept for its youth keeps what it names.
        for digest in self.names("blobs/sha256")? {
            if young(&self.blob_path(&digest)).unwrap_or(true) {
                self.mark(&digest, &mut kept, &mut layers)?;
            }
        }
        self.forget_manifests(&kept)?;
        let mut swept = Swept::default();
        for digest in self.names("blobs/sha256")?.difference(&kept) {
            let path = self.blob_path(digest);
            swept.blob_bytes += self.blob_size(digest).unwrap_or(0);
            swept.blobs += 1;
            fs::remove_file(&path).map_err(|source| Error::Write { path, source })?;
        }
        for digest in self.names("layers")?.difference(&layers) {
            let path = self.path("layers").join(digest.hex());
            if !young(&path).unwrap_or(true) {
                self.discard(&path).map_err(|source| Error::Write { path, source })?;
                swept.layers += 1;
            }
        }
        Ok(swept)
    }

    fn tagged(&self) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for name in self.repositories()? {
            found.extend(self.repository(&name)?.tags.into_values());
        }
        Ok(found)
    }

    /// Keeps a blob; if it is a manifest or index, what it names too. What is missing is not this function's concern.
    pub(crate) fn mark(
        &self,
        digest: &Digest,
        kept: &mut BTreeSet<Digest>,
        layers: &mut BTreeSet<Digest>,
    ) -> Result<()> {
        let mut open = vec![digest.clone()];
        while let Some(digest) = open.pop() {
            let Some(size) = self.blob_size(&digest) else { continue };
            if !kept.insert(digest.clone()) || size > self.shared.limits.manifest_bytes_max {
                continue;
            }
            if let Ok(references) = self.references(&digest) {
                open.extend(references);
                layers.extend(self.diff_ids(&digest));
            }
        }
        Ok(())
    }

    fn diff_ids(&self, manifest: &Digest) -> Vec<Digest> {
        let read = |what, digest: &Digest| self.read_blob(what, digest, self.shared.limits.config_bytes_max);
        let config = read("manifest", manifest)
            .and_then(|bytes| parse::<Manifest>("manifest", manifest, &bytes))
            .and_then(|manifest| {
                parse::<ImageConfig>(
                    "configuration",
                    &manifest.config.digest,
                    &read("configuration", &manifest.config.digest)?,
                )
            });
        config.map(|config| config.rootfs.diff_ids).unwrap_or_default()
    }

    /// Repositories forget manifests that go.
    fn forget_manifests(&self, kept: &BTreeSet<Digest>) -> Result<()> {
        for name in self.repositories()? {
            if self.repository(&name)?.manifests.keys().any(|digest| !kept.contains(digest)) {
                self.change_locked(&name, |repository| repository.manifests.retain(|digest, _| kept.contains(digest)))?;
            }
        }
        Ok(())
    }

    /// The digests that name the entries of a directory.
    fn names(&self, directory: &str) -> Result<BTreeSet<Digest>> {
        let path = self.path(directory);
        let failed = |source| Error::Read { path: path.clone(), source };
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.extend(name.to_str().and_then(|hex| format!("sha256:{hex}").parse().ok()));
        }
        Ok(names)
    }

    /// Removes a tree by way of the temporary directory, so that a crash leaves no half of it under its name.
    fn discard(&self, path: &Path) -> io::Result<()> {
        let temporary = self.temporary();
        fs::rename(path, &temporary)?;
        fs::remove_dir_all(temporary)
    }
}
