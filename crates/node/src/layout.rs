//! Where everything lies below the node's data directory. Nothing else joins paths to it.

use crate::error::Error;
use crate::pod::PodExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Paths of one node.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Records of addresses, see the `network` module.
    pub(crate) fn network_record(&self) -> PathBuf {
        self.root.join("network.json")
    }

    /// One file per Pod, on which its network namespace is mounted.
    pub(crate) fn netns_directory(&self) -> PathBuf {
        self.root.join("netns")
    }

    pub(crate) fn netns(&self, uid: &str) -> PathBuf {
        self.netns_directory().join(uid)
    }

    /// Root of the container part.
    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// `pods/<namespace>_<name>_<uid>`.
    pub(crate) fn pod(&self, pod: &Pod) -> PathBuf {
        self.pod_directory(pod.namespace_str(), &pod.name_any(), pod.uid_str())
    }

    pub(crate) fn pod_directory(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.pods().join(format!("{namespace}_{name}_{uid}"))
    }

    pub(crate) fn log(&self, pod: &Pod, container: &str, attempt: u32) -> PathBuf {
        log_in(&self.pod(pod), container, attempt)
    }

    /// What a container may write to say why it ended.
    pub(crate) fn termination_message(&self, pod: &Pod, container: &str, attempt: u32) -> PathBuf {
        self.pod(pod).join(container).join(format!("{attempt}.termination"))
    }

    pub(crate) fn volume(&self, pod: &Pod, volume: &str) -> PathBuf {
        self.pod(pod).join("volumes").join(volume)
    }

    /// A file of the Pod's own /etc.
    pub(crate) fn etc(&self, pod: &Pod, name: &str) -> PathBuf {
        self.pod(pod).join("etc").join(name)
    }

    /// A new log with this content.
    pub(crate) fn write_log(&self, path: &Path, content: &str) -> Result<(), Error> {
        write_private(path, content.as_bytes(), 0o640)
    }

    /// Deletes the log of an old attempt.
    pub(crate) fn remove_attempt(&self, pod: &Pod, container: &str, attempt: u32) {
        let log = self.log(pod, container, attempt);
        let rotated = log.with_extension("log.1");
        for path in [log, rotated, self.termination_message(pod, container, attempt)] {
            // It goes with the Pod at the latest.
            let _ = fs::remove_file(path);
        }
    }

    /// Deletes the directory of a Pod, and what is mounted in it.
    pub(crate) fn remove_pod(&self, pod: &Pod) -> Result<(), Error> {
        remove_tree(&self.pod(pod))
    }

    /// Deletes the directories of all Pods but these.
    pub(crate) fn retain_pods(&self, uids: &HashSet<String>) -> Result<(), Error> {
        for entry in list(&self.pods())? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.rsplit('_').next().is_some_and(|uid| !uids.contains(uid)) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Runs what takes the disk's time without holding up other work.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Log of one attempt, in the directory of its Pod.
pub(crate) fn log_in(pod_directory: &Path, container: &str, attempt: u32) -> PathBuf {
    pod_directory.join(container).join(format!("{attempt}.log"))
}

/// Entries of a directory; none if it does not exist.
pub(crate) fn list(path: &Path) -> Result<Vec<fs::DirEntry>, Error> {
    match fs::read_dir(path) {
        Ok(entries) => entries.collect::<Result<_, _>>().map_err(Error::file("listing", path)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::file("listing", path)(e)),
    }
}

/// Writes a file of this mode, and its directories for our eyes only.
pub(crate) fn write_private(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
        file.write_all(content)
    };
    write().map_err(Error::file("writing", path))
}

/// Makes a directory that others may pass through but not list.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(Error::file("creating", path))
}

/// Deletes a tree. Whatever is mounted in it goes first, so that nothing behind a mount is deleted.
fn remove_tree(path: &Path) -> Result<(), Error> {
    unmount_below(path)?;
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("removing", path)(e)),
        _ => Ok(()),
    }
}

/// Unmounts everything at or below a path, the innermost first.
pub(crate) fn unmount_below(path: &Path) -> Result<(), Error> {
    let table = "/proc/self/mountinfo";
    let mounts = fs::read_to_string(table).map_err(Error::file("reading", table))?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let inside: Vec<PathBuf> = points.map(PathBuf::from).filter(|point| point.starts_with(path)).collect();
    for point in inside.into_iter().rev() {
        rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH)
            .map_err(|e| Error::file("unmounting", &point)(e.into()))?;
    }
    Ok(())
}

/// mountinfo writes space, tab, newline and backslash as octal escapes.
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
