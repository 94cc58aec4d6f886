//! Long-running `git cat-file --batch-command` processes: reading an object costs a pipe round trip, not a process.

use crate::error::Error;
use crate::git::{Git, Quarantine};
use crate::object::{Kind, Object, Oid};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Readers at work at the same time; more wait. Two cores have no use for more.
const READERS_MAX: usize = 8;
/// Readers that wait for work; each holds about 2 MB.
const IDLE_MAX: usize = 4;
/// No answer in this time: the disk or the process hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The readers of all repositories.
pub struct Pool {
    git: Git,
    idle: Mutex<VecDeque<(PathBuf, Batch)>>,
    permits: Semaphore,
}

/// Where a reader looks.
#[derive(Debug, Clone)]
pub struct Place {
    /// The repository.
    pub directory: PathBuf,
    /// Objects of a push that is not accepted yet.
    pub quarantine: Option<Quarantine>,
}

impl Pool {
    pub fn new(git: Git) -> Self {
        Self { git, idle: Mutex::default(), permits: Semaphore::new(READERS_MAX) }
    }

    /// The objects with these ids, in order, of at most `bytes_max` together.
    pub async fn read(&self, place: &Place, ids: &[Oid], bytes_max: u64) -> Result<Vec<Object>, Error> {
        let (_permit, reused) = self.reuse(place).await;
        if let Some(mut batch) = reused {
            match batch.read(ids, bytes_max).await {
                Err(Error::Pipe { .. }) => {} // It died while it was idle: begin anew.
                other => return self.keep(place, batch, other),
            }
        }
        let mut batch = Batch::spawn(&self.git, place)?;
        let result = batch.read(ids, bytes_max).await;
        self.keep(place, batch, result)
    }

    /// The commit that a reference names, if it exists.
    pub async fn resolve(&self, place: &Place, reference: &str) -> Result<Option<Oid>, Error> {
        let (_permit, reused) = self.reuse(place).await;
        if let Some(mut batch) = reused {
            match batch.resolve(reference).await {
                Err(Error::Pipe { .. }) => {}
                other => return self.keep(place, batch, other),
            }
        }
        let mut batch = Batch::spawn(&self.git, place)?;
        let result = batch.resolve(reference).await;
        self.keep(place, batch, result)
    }

    /// Ends the idle readers of a repository.
    pub fn forget(&self, directory: &Path) {
        self.idle().retain(|(at, _)| at != directory);
    }

    async fn reuse(&self, place: &Place) -> (SemaphorePermit<'_>, Option<Batch>) {
        let permit = self.permits.acquire().await.expect("the semaphore is never closed");
        if place.quarantine.is_some() {
            return (permit, None);
        }
        let mut idle = self.idle();
        let found = idle.iter().position(|(at, _)| *at == place.directory);
        let batch = found.and_then(|at| idle.remove(at)).map(|(_, batch)| batch);
        (permit, batch)
    }

    /// Only a reader whose last answer was read to its end may be used again.
    fn keep<T>(&self, place: &Place, batch: Batch, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_ok() && place.quarantine.is_none() {
            let mut idle = self.idle();
            idle.push_front((place.directory.clone(), batch));
            idle.truncate(IDLE_MAX);
        }
        result
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<(PathBuf, Batch)>> {
        self.idle.lock().expect("no code panics while it holds this lock")
    }
}

/// One process.
struct Batch {
    /// Killed when dropped.
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Batch {
    fn spawn(git: &Git, place: &Place) -> Result<Self, Error> {
        let mut command = git.command(&place.directory);
        command.args(["cat-file", "--batch-command"]).stderr(Stdio::null());
        if let Some(quarantine) = &place.quarantine {
            quarantine.enter(&mut command);
        }
        let mut child = command.spawn().map_err(Error::Spawn)?;
        let input = child.stdin.take().expect("stdin is piped");
        let output = BufReader::with_capacity(32 * 1024, child.stdout.take().expect("stdout is piped"));
        Ok(Self { _child: child, input, output })
    }

    async fn read(&mut self, ids: &[Oid], bytes_max: u64) -> Result<Vec<Object>, Error> {
        use std::fmt::Write as _;
        let mut request = String::with_capacity(ids.len() * 50);
        for id in ids {
            let _ = writeln!(request, "contents {id}");
        }
        let (input, output) = (&mut self.input, &mut self.output);
        // Both at once: with many ids the answers fill their pipe before all questions are asked.
        let ask = async { input.write_all(request.as_bytes()).await.map_err(broken) };
        let hear = async {
            let (mut objects, mut left) = (Vec::with_capacity(ids.len()), bytes_max);
            for id in ids {
                objects.push(answer(output, *id, &mut left, bytes_max).await?);
            }
            Ok(objects)
        };
        let both = async { tokio::try_join!(ask, hear).map(|(_, objects)| objects) };
        tokio::time::timeout(ANSWER_TIMEOUT, both).await.unwrap_or_else(|_| Err(broken(io::ErrorKind::TimedOut.into())))
    }

    async fn resolve(&mut self, reference: &str) -> Result<Option<Oid>, Error> {
        let request = format!("info {reference}^{{commit}}\n");
        let work = async {
            self.input.write_all(request.as_bytes()).await.map_err(broken)?;
            let line = line(&mut self.output).await?;
            Ok(line.split(' ').next().and_then(Oid::parse))
        };
        tokio::time::timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(|_| Err(broken(io::ErrorKind::TimedOut.into())))
    }
}

/// `<id> <kind> <size>\n<content>\n`, or `<id> missing\n`.
async fn answer(output: &mut BufReader<ChildStdout>, id: Oid, left: &mut u64, bytes_max: u64) -> Result<Object, Error> {
    let line = line(output).await?;
    let mut words = line.split(' ').skip(1);
    let (Some(kind), Some(size)) =
        (words.next().and_then(Kind::parse), words.next().and_then(|size| size.parse::<u64>().ok()))
    else {
        return Err(Error::Content(format!("there is no object {id}")));
    };
    *left = left.checked_sub(size).ok_or_else(|| {
        Error::Content(format!("the files are larger than {} MiB together, which is the limit", bytes_max >> 20))
    })?;
    let mut bytes = vec![0; size as usize + 1];
    output.read_exact(&mut bytes).await.map_err(broken)?;
    bytes.pop();
    Ok(Object { id, kind, bytes: Arc::from(bytes) })
}

async fn line(output: &mut BufReader<ChildStdout>) -> Result<String, Error> {
    let mut line = String::new();
    if output.read_line(&mut line).await.map_err(broken)? == 0 {
        return Err(broken(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(line.trim_end().to_owned())
}

fn broken(source: io::Error) -> Error {
    Error::Pipe { command: "cat-file", source }
}
