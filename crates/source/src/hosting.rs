//! Repositories on disk: `<root>/<project>/<name>.git`, what a crash left there, and who still works there.

use crate::error::Error;
use crate::git::{Git, MARK};
use model::flow::Repository;
use model::names::{Component, Project};
use std::io;
use std::path::{Path, PathBuf};

/// Unfinished and half-deleted repositories begin with this, which no name does.
const ASIDE: &str = ".aside-";

/// Where a repository lies, if its name is one: names never hold `/` or spaces, and no `.` but that of `config.<environment>`.
pub fn directory(root: &Path, repository: &Repository) -> Result<PathBuf, Error> {
    let named = repository.name.parse::<Component>().map(drop);
    repository
        .environment()
        .map_or(named, |_| Ok(()))
        .map_err(|error| Error::Name(format!("a repository is named like a component: {error}")))?;
    Ok(root.join(repository.project.as_str()).join(format!("{}.git", repository.name)))
}

/// All of them, in order.
pub fn list(root: &Path) -> Result<Vec<Repository>, Error> {
    let mut found = Vec::new();
    for (project, path) in names(root)? {
        let Ok(project) = project.parse::<Project>() else { continue };
        for (name, _) in names(&path)? {
            let repository =
                name.strip_suffix(".git").map(|name| Repository { project: project.clone(), name: name.to_owned() });
            found.extend(repository.filter(|repository| directory(root, repository).is_ok()));
        }
    }
    found.sort();
    Ok(found)
}

/// Makes an empty repository; false if there is one.
pub async fn create(git: &Git, root: &Path, repository: &Repository) -> Result<bool, Error> {
    if directory(root, repository)?.exists() {
        return Ok(false);
    }
    let parent = root.join(repository.project.as_str());
    std::fs::create_dir_all(&parent).map_err(Error::file("create", &parent))?;
    init(git, &parent).await?.adopt(root, repository).await
}

/// A repository that is being made. It is renamed when it is whole: whoever sees the name sees a whole repository.
/// Dropped, it leaves nothing.
pub struct Aside(tempfile::TempDir);

/// An empty one beside its place; an error if that is taken.
pub async fn aside(git: &Git, root: &Path, repository: &Repository) -> Result<Aside, Error> {
    if directory(root, repository)?.exists() {
        return Err(Error::Content(format!("there is a repository {repository} already")));
    }
    let parent = root.join(repository.project.as_str());
    std::fs::create_dir_all(&parent).map_err(Error::file("create", &parent))?;
    init(git, &parent).await
}

/// An empty one that has no name yet.
pub async fn scratch(git: &Git, root: &Path) -> Result<Aside, Error> {
    init(git, root).await
}

async fn init(git: &Git, parent: &Path) -> Result<Aside, Error> {
    let aside = tempfile::Builder::new().prefix(ASIDE).tempdir_in(parent).map_err(Error::file("create in", parent))?;
    let args = ["init", "--bare", "-q", "--template=", "--object-format=sha1", "--initial-branch=main", "."];
    git.run(aside.path(), args, &[]).await?;
    Ok(Aside(aside))
}

impl Aside {
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives it its name, durably; false if there is one of this name.
    pub async fn adopt(self, root: &Path, repository: &Repository) -> Result<bool, Error> {
        let target = directory(root, repository)?;
        let parent = root.join(repository.project.as_str());
        std::fs::create_dir_all(&parent).map_err(Error::file("create", &parent))?;
        let from = self.0.path().to_owned();
        let work = move || -> Result<bool, Error> {
            if target.exists() {
                return Ok(false);
            }
            sync_tree(&from).map_err(Error::file("write", &from))?;
            crate::failpoint("source.create.before");
            match std::fs::rename(&from, &target) {
                Ok(()) => {}
                Err(_) if target.exists() => return Ok(false),
                Err(error) => return Err(Error::file("create", &target)(error)),
            }
            sync(&parent)
                .and_then(|()| sync(parent.parent().unwrap_or(&parent)))
                .map_err(Error::file("write", &parent))?;
            crate::failpoint("source.create.after");
            Ok(true)
        };
        let created = blocking(work).await?;
        if created {
            let _ = self.0.keep(); // It has its name now; there is nothing to clean up.
        }
        Ok(created)
    }
}

/// Removes a repository with everything in it; false if there is none.
pub async fn delete(root: &Path, repository: &Repository) -> Result<bool, Error> {
    let target = directory(root, repository)?;
    let parent = root.join(repository.project.as_str());
    let aside = parent.join(format!("{ASIDE}{}", repository.name));
    blocking(move || {
        match std::fs::rename(&target, &aside) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::file("delete", &target)(error)),
        }
        std::fs::remove_dir_all(&aside).map_err(Error::file("delete", &aside))?;
        let _ = std::fs::remove_dir(&parent); // Only succeeds when it was the last one.
        Ok(true)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Removes what a killed process left: locks, quarantines, half-made and half-deleted repositories.
/// Only while nobody else can be at work: the caller holds the data directory's lock.
pub fn clear(root: &Path) -> Result<(), Error> {
    end_orphans(root);
    for (name, project) in names(root)? {
        if name.starts_with(ASIDE) {
            std::fs::remove_dir_all(&project).map_err(Error::file("delete", &project))?;
            continue;
        }
        for (name, path) in names(&project)? {
            if name.starts_with(ASIDE) {
                std::fs::remove_dir_all(&path).map_err(Error::file("delete", &path))?;
            } else if name.ends_with(".git") {
                clear_repository(&path)?;
            }
        }
    }
    Ok(())
}

fn clear_repository(repository: &Path) -> Result<(), Error> {
    remove_locks(repository)?;
    let mut directories = vec![repository.join("refs")];
    while let Some(directory) = directories.pop() {
        remove_locks(&directory)?;
        directories.extend(names(&directory)?.into_iter().map(|(_, path)| path).filter(|path| path.is_dir()));
    }
    // Objects of pushes that were never accepted.
    for (name, path) in names(&repository.join("objects"))? {
        if name.starts_with("tmp_objdir-") || name.starts_with("incoming-") {
            std::fs::remove_dir_all(&path).map_err(Error::file("delete", &path))?;
        }
    }
    Ok(())
}

fn remove_locks(directory: &Path) -> Result<(), Error> {
    for (name, path) in names(directory)? {
        if name.ends_with(".lock") && path.is_file() {
            tracing::info!(path = %path.display(), "removing a lock that a killed git left");
            std::fs::remove_file(&path).map_err(Error::file("delete", &path))?;
        }
    }
    Ok(())
}

/// Ends git processes that a killed predecessor started here: one could move a reference after we have read it.
fn end_orphans(root: &Path) {
    use std::os::unix::ffi::OsStrExt as _;
    let mark = [MARK.as_bytes(), b"=", root.as_os_str().as_bytes()].concat();
    for (name, path) in names(Path::new("/proc")).unwrap_or_default() {
        let Some(pid) = name.parse().ok().and_then(rustix::process::Pid::from_raw) else { continue };
        if pid == rustix::process::getpid() {
            continue;
        }
        // Not readable: not ours, or gone.
        let Ok(environment) = std::fs::read(path.join("environ")) else { continue };
        if environment.split(|&byte| byte == 0).any(|variable| variable == mark) {
            tracing::info!(pid = name, "ending a git process that a killed predecessor left");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Names and paths in a directory; none if it does not exist.
fn names(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", directory)(error)),
    };
    let named = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry.map_err(Error::file("read", directory))?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    entries.map(named).collect()
}

/// `git init` leaves syncing to the kernel.
fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { sync_tree(&path)? } else { sync(&path)? }
    }
    sync(directory)
}

fn sync(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}
