//! Repositories on their way: out into a backup and back, or in from an address that git can read.

use crate::error::Error;
use crate::git::MARK;
use crate::hosting::{self, Aside};
use crate::{Host, Source};
use model::CommitId;
use model::flow::Repository;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A reference and what it names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// `refs/heads/main`.
    pub name: String,
    /// 40 hexadecimal digits.
    pub id: String,
}

/// While it lives, nothing is written to any repository but by pushes that had begun.
pub struct Pause<'a>(#[allow(dead_code)] tokio::sync::RwLockWriteGuard<'a, ()>);

impl Source {
    /// Waits for our own writers and holds them.
    pub async fn pause(&self) -> Pause<'_> {
        Pause(self.inner.writers.write().await)
    }

    /// All references of a repository, in order: branches, tags, what is kept, the journal.
    ///
    /// # Errors
    /// There is no such repository, or it is damaged.
    pub async fn references(&self, repository: &Repository) -> Result<Vec<Reference>, Error> {
        let host = self.inner.host(repository)?;
        let args = ["for-each-ref", "--format=%(objectname) %(refname)"];
        let text = self.inner.git.run(&host.objects.place.directory, args, &[]).await?;
        let mut found = parse(&String::from_utf8_lossy(&text));
        found.sort();
        Ok(found)
    }

    /// Everything that these references reach, as git packs it.
    ///
    /// # Errors
    /// Git does not start.
    pub fn pack(&self, repository: &Repository, references: &[Reference]) -> Result<Pack, Error> {
        let host: std::sync::Arc<Host> = self.inner.host(repository)?;
        let mut command = self.inner.git.command(&host.objects.place.directory).into_std();
        command.args(["pack-objects", "--revs", "--stdout", "--delta-base-offset", "-q"]);
        // Git's words go to our own log: a pipe that nobody reads would stop it.
        let mut child = command.stderr(Stdio::inherit()).spawn().map_err(Error::Spawn)?;
        let ids: String = references.iter().map(|reference| format!("{}\n", reference.id)).collect();
        let mut input = child.stdin.take().expect("stdin is piped");
        std::thread::spawn(move || input.write_all(ids.as_bytes()));
        let output = child.stdout.take().expect("stdout is piped");
        Ok(Pack { child: Running(child), output, directory: host.objects.place.directory.clone() })
    }

    /// Begins to lay down a repository that [`Source::pack`] read; it appears when it is whole.
    ///
    /// # Errors
    /// There is one of this name, or git does not start.
    pub async fn lay_down(&self, repository: &Repository) -> Result<LayingDown, Error> {
        let aside = hosting::aside(&self.inner.git, &self.inner.root, repository).await?;
        let mut command = self.inner.git.command(aside.path()).into_std();
        command.args(["index-pack", "--stdin", "--strict"]).stdout(Stdio::null()).stderr(Stdio::inherit());
        Ok(LayingDown { aside, command, child: None, source: self.clone() })
    }

    /// Fetches all references of a repository elsewhere: `url` is whatever git reads, with the credentials of whoever runs us.
    ///
    /// # Errors
    /// Git cannot read it.
    pub async fn take_in(&self, url: &str) -> Result<Incoming, Error> {
        let aside = hosting::scratch(&self.inner.git, &self.inner.root).await?;
        let incoming = Incoming { aside, source: self.clone(), url: url.to_owned() };
        let refs = [
            "+refs/heads/*:refs/heads/*",
            "+refs/tags/*:refs/tags/*",
            "+refs/trimtab/*:refs/trimtab/*",
            "+refs/changes/*:refs/changes/*",
        ];
        let mut fetch = incoming.git(&["fetch", "-q", "--no-write-fetch-head", "--no-tags", "--", url]);
        run(fetch.args(refs), "fetch").await?;
        Ok(incoming)
    }
}

/// A repository that was fetched and is nobody's yet. Dropped, nothing is left of it.
pub struct Incoming {
    aside: Aside,
    source: Source,
    url: String,
}

impl Incoming {
    fn git(&self, args: &[&str]) -> Command {
        // The person's own configuration and agent sign in; what we must have stands before it.
        let mut command = Command::new("git");
        command.args(["-c", "core.fsync=objects,derived-metadata,reference", "-c", "fetch.fsckObjects=true"]);
        command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]).args(args);
        command.env(MARK, &self.source.inner.root).current_dir(self.aside.path()).stdin(Stdio::null());
        command.env_remove("GIT_DIR");
        command
    }

    /// A file on main.
    ///
    /// # Errors
    /// There is none.
    pub async fn file(&self, path: &str) -> Result<Vec<u8>, Error> {
        let text = run(&mut self.git(&["cat-file", "blob", &format!("{}:{path}", model::MAIN)]), "cat-file").await;
        text.map_err(|_| Error::Content(format!("{} is no config repository: its main has no {path}", self.url)))
    }

    /// The message of the commit that a reference names, if there is one.
    pub async fn message(&self, reference: &str) -> Option<String> {
        let text = run(&mut self.git(&["log", "-1", "--format=%B", reference, "--"]), "log").await.ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// True if main is a commit, or builds on it.
    pub async fn builds_on(&self, commit: &CommitId) -> bool {
        run(&mut self.git(&["merge-base", "--is-ancestor", commit.as_str(), model::MAIN]), "merge-base").await.is_ok()
    }

    /// Gives it its name; false, and nothing is changed, if there is one of this name.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn adopt(self, repository: &Repository) -> Result<bool, Error> {
        let created = self.aside.adopt(&self.source.inner.root, repository).await?;
        if created {
            self.source.inner.changed();
        }
        Ok(created)
    }
}

/// See [`Source::pack`]: read it to its end, then ask whether that was all.
pub struct Pack {
    child: Running,
    output: ChildStdout,
    directory: std::path::PathBuf,
}

impl Read for Pack {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.output.read(buffer)
    }
}

impl Pack {
    /// After the end.
    ///
    /// # Errors
    /// Git stopped early: the repository is damaged.
    pub fn finish(mut self) -> Result<(), Error> {
        ended(&mut self.child.0, "pack-objects", &self.directory)
    }
}

/// Ended with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// See [`Source::lay_down`]. Dropped, it leaves nothing.
pub struct LayingDown {
    aside: Aside,
    command: Command,
    child: Option<(Running, ChildStdin)>,
    source: Source,
}

impl LayingDown {
    /// The next piece of the pack.
    ///
    /// # Errors
    /// Git does not start, or does not take it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.child.is_none() {
            let mut child = self.command.spawn().map_err(Error::Spawn)?;
            let input = child.stdin.take().expect("stdin is piped");
            self.child = Some((Running(child), input));
        }
        let (_, input) = self.child.as_mut().expect("it was just started");
        input.write_all(bytes).map_err(|source| Error::Pipe { command: "index-pack", source })
    }

    /// Sets the references, and gives the repository its name.
    ///
    /// # Errors
    /// The pack is not whole, or does not hold what the references name.
    pub async fn finish(mut self, repository: &Repository, references: &[Reference]) -> Result<(), Error> {
        if let Some((mut child, input)) = self.child.take() {
            drop(input);
            ended(&mut child.0, "index-pack", self.aside.path())?;
        }
        let commands: String = references.iter().map(|r| format!("create {} {}\n", r.name, r.id)).collect();
        self.source.inner.git.run(self.aside.path(), ["update-ref", "--stdin"], commands.as_bytes()).await?;
        match self.aside.adopt(&self.source.inner.root, repository).await? {
            true => Ok(()),
            false => Err(Error::Content(format!("there is a repository {repository} already"))),
        }
    }
}

fn ended(child: &mut Child, command: &str, directory: &Path) -> Result<(), Error> {
    let status = child.wait().map_err(Error::Spawn)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Git { command: command.to_owned(), directory: directory.to_owned(), message: status.to_string() })
}

/// `ID NAME` lines.
pub fn parse(text: &str) -> Vec<Reference> {
    let line = |line: &str| {
        let (id, name) = line.split_once(' ')?;
        Some(Reference { name: name.to_owned(), id: id.to_owned() })
    };
    text.lines().filter_map(line).collect()
}

/// Runs to the end, for as long as that takes: a fetch may be long.
async fn run(command: &mut Command, name: &str) -> Result<Vec<u8>, Error> {
    let directory = command.get_current_dir().unwrap_or(Path::new(".")).to_owned();
    let mut command = tokio::process::Command::from(std::mem::replace(command, Command::new("git")));
    let output = command.kill_on_drop(true).output().await.map_err(Error::Spawn)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Git { command: name.to_owned(), directory, message })
}
