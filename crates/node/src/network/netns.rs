//! Network namespaces that no process holds: each is kept by a mount on a file.

use crate::error::Error;
use crate::layout::make_directory;
use rtnetlink::Handle;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;

/// The kernel's magic number of its namespace file system.
const NSFS: u64 = 0x6e73_6673;

/// A namespace that is mounted here.
pub(super) fn exists(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 == NSFS)
}

/// Makes a namespace, mounts it here, and gives a connection into it.
///
/// A netlink socket stays in the namespace that it was opened in, wherever it is used. The thread ends, because its
/// namespace must never serve other work.
pub(super) async fn create(path: PathBuf) -> Result<Handle, Error> {
    let (sender, receiver) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new().name("netns".into()).spawn(move || {
        let _runtime = runtime.enter();
        // Nobody waits any more: then nobody needs the connection.
        let _ = sender.send(create_in_this_thread(&path).and_then(|()| connect()));
    });
    thread.map_err(Error::network("starting a thread"))?;
    let ended_early = |_| Error::Network { what: "a thread ended early".into(), source: io::ErrorKind::Other.into() };
    receiver.await.map_err(ended_early)?
}

fn create_in_this_thread(path: &Path) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    File::create(path).map_err(Error::file("creating", path))?;
    unshare_network().map_err(Error::network("creating a network namespace"))?;
    mount_bind("/proc/thread-self/ns/net", path).map_err(|e| Error::file("mounting", path)(e.into()))
}

/// Removes the mount and the file; the namespace ends with its last process.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    // More than one mount can lie here if a crash came between two steps.
    while exists(path) {
        unmount(path, UnmountFlags::DETACH).map_err(|e| Error::file("unmounting", path)(e.into()))?;
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("removing", path)(e)),
        _ => Ok(()),
    }
}

/// A connection into this thread's namespace.
pub(super) fn connect() -> Result<Handle, Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::network("opening a netlink socket"))?;
    tokio::spawn(connection);
    Ok(handle)
}

#[allow(unsafe_code)]
fn unshare_network() -> io::Result<()> {
    // SAFETY: only CLONE_FILES is dangerous here (descriptors would differ between threads), and it is not asked for.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}
