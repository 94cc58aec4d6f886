//! The git plane: hosts bare repositories, takes pushes, reads commits and writes the ones that Trimtab makes.
//!
//! ```text
//!  git push ──http, ssh──▶ git receive-pack ──hook──▶ push ──▶ Receiver (check, follow)
//!  git clone ─http, ssh──▶ git upload-pack
//!  reconcile ──▶ Repositories ──▶ read  ──▶ cache ──▶ batch (long-running git cat-file)
//!                             └─▶ write, journal ──▶ sign ──▶ git unpack-objects, git update-ref
//! ```
//!
//! Git stores and moves everything; what is computed here are ids, trees and signatures, so that a read costs no
//! process and a commit costs two. References move by compare and swap, ours and the pushers' alike.

mod audit;
mod batch;
mod cache;
mod charts;
mod error;
mod git;
mod hook;
mod hosting;
mod http;
mod journal;
mod object;
mod ports;
mod proposal;
mod push;
mod read;
mod remote;
mod sign;
mod ssh;
mod transfer;
mod transport;
mod trust;
mod write;

pub use audit::{Audit, audit, signer};
pub use charts::{Charts, Fetched, chart_versions, fetch_chart};
pub use error::Error;
pub use hook::hook_main;
pub use remote::{Fetcher, Found, Newest, Rights};
pub use ssh::{PublicKey, SshLimits, SshServer};
pub use transfer::{Incoming, LayingDown, Pack, Pause, Reference, parse as parse_references};

use crate::object::Oid;
use batch::{Place, Pool};
use cache::Cache;
use git::Git;
use hook::Hook;
use journal::Journal;
use model::flow::Repository;
use model::people::Person;
use model::ports::{Receiver, Wake};
use push::Sessions;
use read::{Objects, SnapshotLimits};
use std::collections::HashMap;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use write::Committer;

/// Where a killed process is tested to recover: before and after each durable write.
pub const FAILPOINTS: &[&str] = &[
    "source.create.before",
    "source.create.after",
    "source.push.before",
    "source.push.after",
    "source.write.before",
    "source.write.after",
    "source.journal.before",
    "source.journal.after",
    "source.keep.before",
    "source.keep.after",
    "source.tag.before",
    "source.tag.after",
    "source.key.before",
    "source.key.after",
];

/// Ends the process as a crash would, if a test asks for it here.
fn failpoint(name: &'static str) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    debug_assert!(FAILPOINTS.contains(&name), "{name} is not listed");
    if WANTED.get_or_init(|| std::env::var("TRIMTAB_FAILPOINT").ok()).as_deref() == Some(name) {
        std::process::abort();
    }
}

/// Where things lie, and what is allowed.
#[derive(Debug, Clone)]
pub struct Options {
    /// `<data>/git`: repositories are `<root>/<project>/<name>.git`.
    pub root: PathBuf,
    /// `<data>/run`: socket and scripts of the hooks.
    pub run: PathBuf,
    /// Our binary; `<exe> hook NAME SOCKET` must call [`hook_main`].
    pub exe: PathBuf,
    /// HOME of git: it sees no other configuration.
    pub home: PathBuf,
    /// Behind the `@` of committers' addresses.
    pub instance: String,
    /// SSH key (ed25519, OpenSSH format, no passphrase) that signs commits; made if it is absent.
    pub signing_key: PathBuf,
    /// Which version of a chart a range means.
    pub newest: Newest,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of one push, one snapshot and the memory of all.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Pack of one push, in bytes.
    pub push_bytes_max: u64,
    /// Files and directories in one snapshot.
    pub snapshot_files_max: usize,
    /// All files of one snapshot, in bytes.
    pub snapshot_bytes_max: u64,
    /// Objects kept in memory, in bytes.
    pub cache_bytes_max: usize,
    /// Pushes at the same time, those that only follow included.
    pub pushes_max: usize,
    /// Fetches at the same time.
    pub fetches_max: usize,
    /// With less room than this on the disk, nothing is pushed, in bytes: what is here can still be worked on.
    pub room_bytes_min: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            push_bytes_max: 512 << 20,
            snapshot_files_max: 20_000,
            snapshot_bytes_max: 256 << 20,
            cache_bytes_max: 16 << 20,
            pushes_max: 32,
            fetches_max: 16,
            room_bytes_min: 4 << 20,
        }
    }
}

/// Who somebody is. What they may do is decided by [`model::people::allowed`].
pub trait GitAuth: Send + Sync {
    /// Whose these credentials are, over HTTP; the password is usually a token.
    fn password(&self, user: &str, password: &str) -> Option<Person>;
    /// Whose key this is, over SSH, by its fingerprint ([`PublicKey::fingerprint`]). Asked at sign-in and again for
    /// each fetch and push: who was removed in between is nobody.
    fn key(&self, fingerprint: &str) -> Option<Person>;
}

/// The git plane. Clones are the same one; hooks are answered until the last is dropped.
#[derive(Clone)]
pub struct Source {
    inner: Arc<Inner>,
    _hooks: Arc<AbortOnDropHandle<()>>,
}

struct Inner {
    root: PathBuf,
    git: Git,
    pool: Arc<Pool>,
    cache: Arc<Cache>,
    newest: Newest,
    limits: Limits,
    committer: Committer,
    hosts: Mutex<HashMap<Repository, Arc<Host>>>,
    keys: AtomicU64,
    sessions: Arc<Sessions>,
    receiver: OnceLock<Arc<dyn Receiver>>,
    wakes: Mutex<Vec<Wake>>,
    pushes: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
    /// Pushers are not told any more of what comes of their pushes.
    leaving: CancellationToken,
    /// Held shared by whoever writes, alone by whoever needs all repositories as they are at one moment.
    writers: tokio::sync::RwLock<()>,
}

/// One hosted repository.
struct Host {
    objects: Objects,
    /// Our writers take turns; pushes compete with them by compare and swap.
    writing: tokio::sync::Mutex<()>,
    journal: tokio::sync::Mutex<Option<Journal>>,
    /// Whoever fetches from elsewhere for this repository takes turns: it may take long.
    fetching: tokio::sync::Mutex<()>,
    /// Commits that git has found branches at.
    heads: Mutex<HashMap<String, Oid>>,
}

impl Host {
    /// Where a branch stands. A process for each repository on every look would be most of what a look costs: git is
    /// asked again when the branch's own file says something else than it did.
    async fn head(&self, reference: &str) -> Result<Option<Oid>, Error> {
        let file = std::fs::read_to_string(self.objects.place.directory.join(reference));
        let written = file.ok().and_then(|text| Oid::parse(text.trim_end()));
        if written.is_some() && lock(&self.heads).get(reference) == written.as_ref() {
            return Ok(written);
        }
        let found = self.objects.resolve(reference).await?;
        if let (Some(head), true) = (found, found == written) {
            lock(&self.heads).insert(reference.to_owned(), head);
        }
        Ok(found)
    }
}

impl Source {
    /// Opens the repositories below `root`, clears what a killed predecessor left, and listens for hooks.
    /// The caller holds the lock of the data directory and is inside a tokio runtime.
    pub async fn open(options: Options) -> Result<Self, Error> {
        std::fs::create_dir_all(&options.root).map_err(Error::file("create", &options.root))?;
        let root = options.root.canonicalize().map_err(Error::file("open", &options.root))?;
        let socket = options.run.join("hook.sock");
        let hooks = install_hooks(&options.run, &options.exe, &socket)?;
        hosting::clear(&root)?;
        let git = Git::prepare(&root, &options.home, &hooks, options.limits.push_bytes_max).await?;
        let listener = listen(&socket)?;
        let signer = sign::Signer::open(&options.signing_key)?;
        let inner = Arc::new(Inner {
            pool: Arc::new(Pool::new(git.clone())),
            cache: Arc::new(Cache::new(options.limits.cache_bytes_max)),
            pushes: Arc::new(Semaphore::new(options.limits.pushes_max)),
            fetches: Arc::new(Semaphore::new(options.limits.fetches_max)),
            leaving: CancellationToken::new(),
            committer: Committer { signer, instance: options.instance },
            limits: options.limits,
            newest: options.newest,
            root,
            git,
            hosts: Mutex::default(),
            keys: AtomicU64::new(0),
            sessions: Arc::default(),
            receiver: OnceLock::new(),
            wakes: Mutex::default(),
            writers: tokio::sync::RwLock::default(),
        });
        let task = tokio::spawn(push::serve_hooks(inner.clone(), listener));
        Ok(Self { inner, _hooks: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// Who decides on pushes. Until it is set, pushes are refused; only the first one counts.
    pub fn set_receiver(&self, receiver: Arc<dyn Receiver>) {
        let _ = self.inner.receiver.set(receiver);
    }

    /// Calls `wake` whenever a branch or tag of any repository may have moved, by a push or by a write.
    pub fn on_change(&self, wake: Wake) {
        lock(&self.inner.wakes).push(wake);
    }

    /// Pushes that are followed end well: they are stored, and another process goes on with what they began.
    pub fn leave(&self) {
        self.inner.leaving.cancel();
    }

    /// Makes an empty repository with the branch main to come; false if there is one already.
    pub async fn create(&self, repository: &Repository) -> Result<bool, Error> {
        let created = hosting::create(&self.inner.git, &self.inner.root, repository).await?;
        if created {
            self.inner.changed();
        }
        Ok(created)
    }

    /// Removes a repository and everything in it; false if there is none.
    pub async fn delete(&self, repository: &Repository) -> Result<bool, Error> {
        let host = lock(&self.inner.hosts).remove(repository);
        if let Some(host) = host {
            self.inner.pool.forget(&host.objects.place.directory);
        }
        let deleted = hosting::delete(&self.inner.root, repository).await?;
        if deleted {
            self.inner.changed();
        }
        Ok(deleted)
    }

    /// `ssh-ed25519 AAAA…`: what the commits of this instance are verified with.
    pub fn public_key(&self) -> String {
        self.inner.committer.signer.public_key()
    }

    /// Smart HTTP at `/<project>/<repository>.git/…`. Its bodies stream for as long as a push is followed: no
    /// timeout may be layered above it.
    pub fn router(&self, auth: Arc<dyn GitAuth>) -> axum::Router {
        http::router(self.inner.clone(), auth)
    }

    /// The same over SSH, at `/<project>/<repository>.git`. The host key (ed25519, OpenSSH format) is made if it is
    /// absent.
    pub fn ssh(&self, host_key: &Path, limits: SshLimits) -> Result<SshServer, Error> {
        SshServer::open(self.inner.clone(), host_key, limits)
    }
}

impl Inner {
    /// The repository, if it is hosted here.
    fn host(&self, repository: &Repository) -> Result<Arc<Host>, Error> {
        if let Some(host) = lock(&self.hosts).get(repository) {
            return Ok(host.clone());
        }
        let directory = hosting::directory(&self.root, repository)?;
        if !directory.is_dir() {
            return Err(Error::NoRepository(repository.clone()));
        }
        let limits =
            SnapshotLimits { files_max: self.limits.snapshot_files_max, bytes_max: self.limits.snapshot_bytes_max };
        let host = Host {
            objects: Objects {
                key: self.next_key(),
                place: Place { directory, quarantine: None },
                pool: self.pool.clone(),
                cache: self.cache.clone(),
                limits,
                skip_submodules: false,
            },
            writing: tokio::sync::Mutex::default(),
            journal: tokio::sync::Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            heads: Mutex::default(),
        };
        Ok(lock(&self.hosts).entry(repository.clone()).or_insert(Arc::new(host)).clone())
    }

    fn next_key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }

    fn receiver(&self) -> Option<Arc<dyn Receiver>> {
        self.receiver.get().cloned()
    }

    /// Wakes everybody who asked, outside of the lock.
    fn changed(&self) {
        let wakes = lock(&self.wakes).clone();
        for wake in wakes {
            wake();
        }
    }

    /// Why nothing can be pushed, if the disk is full.
    fn no_room(&self) -> Option<String> {
        let disk = rustix::fs::statvfs(&self.root).ok()?;
        let left = disk.f_bavail.saturating_mul(disk.f_frsize);
        (left < self.limits.room_bytes_min).then(|| {
            format!("the disk of this server is full ({left} bytes left): nothing was changed; push again when there is room")
        })
    }

    fn admit_push(&self) -> Option<OwnedSemaphorePermit> {
        self.pushes.clone().try_acquire_owned().ok()
    }

    fn admit_fetch(&self) -> Option<OwnedSemaphorePermit> {
        self.fetches.clone().try_acquire_owned().ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds this lock")
}

/// Scripts that start our binary; git finds them through `core.hooksPath`.
fn install_hooks(run: &Path, exe: &Path, socket: &Path) -> Result<PathBuf, Error> {
    let mut private = std::fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(run).map_err(Error::file("create", run))?;
    let run = run.canonicalize().map_err(Error::file("open", run))?;
    let hooks = run.join("hooks");
    private.create(&hooks).map_err(Error::file("create", &hooks))?;
    let quote = |path: &Path| format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"));
    for hook in Hook::ALL {
        let path = hooks.join(hook.name());
        let socket = run.join(socket.file_name().unwrap_or_default());
        let script = format!("#!/bin/sh\nexec {} hook {} {}\n", quote(exe), hook.name(), quote(&socket));
        std::fs::write(&path, script).map_err(Error::file("write", &path))?;
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&path, mode).map_err(Error::file("write", &path))?;
    }
    Ok(hooks)
}

/// The directory is private and the data directory's lock is held: a socket that is there is a dead one.
fn listen(socket: &Path) -> Result<UnixListener, Error> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::file("delete", socket)(error)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(Error::file("listen on", socket))?;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(socket, mode).map_err(Error::file("restrict", socket))?;
    Ok(listener)
}
