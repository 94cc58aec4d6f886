//! A git process that serves one fetch or push: its input and output are streams of bytes, whatever carries them.

use crate::Inner;
use crate::git::Git;
use crate::hook::TOKEN_VARIABLE;
use crate::push::Opened;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use model::flow::Repository;
use model::people::{Person, Right, Target, allowed};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Of git's output on its way to the client.
const CHUNK_BYTES: usize = 32 * 1024;
/// Chunks that wait, in each direction.
pub const CHUNKS_MAX: usize = 4;
/// What a git process may say about a failure, for the log.
const COMPLAINT_BYTES_MAX: u64 = 8 * 1024;
/// A fetch whose output has ended ends within this.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// What a busy server says.
pub const BUSY: &str = "too many fetches and pushes at once; try again";

/// The two services of git.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Upload,
    Receive,
}

impl Service {
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Upload, Self::Receive].into_iter().find(|service| service.name() == name)
    }
    pub fn name(self) -> &'static str {
        match self {
            Self::Upload => "git-upload-pack",
            Self::Receive => "git-receive-pack",
        }
    }
    pub fn command(self) -> &'static str {
        self.name().strip_prefix("git-").expect("both names begin so")
    }

    /// Protocol version that git is told, of what the client asks for; pushes know no newer one.
    pub fn protocol(self, asked: &str) -> Option<&'static str> {
        let known = self == Self::Upload && asked.split(':').any(|part| part == "version=2");
        known.then_some("version=2")
    }
}

/// Why a repository is not opened for somebody. The text is for them.
#[derive(Debug, PartialEq, Eq)]
pub enum Denial {
    /// It does not exist, as far as they may know.
    Absent(String),
    /// A right is missing.
    Denied(String),
    /// There is no room for it.
    Full(String),
}

/// The repository and where it lies, if it may be served to this person.
pub fn open(
    inner: &Inner,
    person: &Person,
    service: Service,
    project: &str,
    name: &str,
) -> Result<(Repository, PathBuf), Denial> {
    let absent = || {
        let who = &person.name;
        Denial::Absent(format!("there is no repository {project}/{name} for {who}; `trimtab init` creates one"))
    };
    let name = name.strip_suffix(".git").unwrap_or(name);
    let repository = Repository { project: project.parse().map_err(|_| absent())?, name: name.to_owned() };
    // Who may not read it does not learn that it exists.
    let host = inner.host(&repository).map_err(|_| absent())?;
    let target = Target::Repository(&repository);
    allowed(person, Right::Read, &target).map_err(|_| absent())?;
    if service == Service::Receive {
        // Who may not push may perhaps propose; which references move is asked when that is known.
        allowed(person, Right::Propose, &target)
            .or_else(|_| allowed(person, Right::Write, &target))
            .map_err(|denied| Denial::Denied(denied.to_string()))?;
        inner.no_room().map_or(Ok(()), |full| Err(Denial::Full(full)))?;
    }
    let directory = host.objects.place.directory.clone();
    Ok((repository, directory))
}

/// How the process is started. `stateless`: each request of HTTP is a process of its own.
pub fn command(git: &Git, directory: &Path, service: Service, stateless: bool) -> Command {
    let mut command = git.command(directory);
    command.arg(service.command());
    if stateless {
        command.arg("--stateless-rpc");
    }
    command.arg(".");
    command
}

/// Output of git, in chunks.
pub type Output = mpsc::Receiver<std::io::Result<Bytes>>;

/// A process that is under way. Whoever drops the output has left.
pub struct Running {
    pub output: Output,
    /// Its exit code, after its output; `None`: it was ended by a signal.
    pub exit: oneshot::Receiver<Option<i32>>,
}

/// The process ends when the client does.
pub fn fetch(
    mut command: Command,
    input: impl Stream<Item = Bytes> + Send + Unpin + 'static,
    permit: OwnedSemaphorePermit,
) -> std::io::Result<Running> {
    let (mut child, stdin, complaint) = start(&mut command)?;
    let (sender, output) = mpsc::channel(CHUNKS_MAX);
    let (ended, exit) = oneshot::channel();
    tokio::spawn(async move {
        let _permit = permit;
        let feed = tokio::spawn(feed(input, stdin));
        if let Some(mut output) = child.stdout.take() {
            copy(&mut output, &sender, false).await;
        }
        feed.abort();
        let _ = feed.await; // With it, git's input is closed.
        let code = match tokio::time::timeout(END_TIMEOUT, child.wait()).await {
            Ok(Ok(status)) => status.code(),
            _ => None,
        };
        let _ = ended.send(code);
        drop(sender);
        drop(child);
        complaint.await;
    });
    Ok(Running { output, exit })
}

/// The process lives on when the client goes: killed between two references it would leave locks behind, and a push
/// that was accepted is to be finished.
pub fn push(
    inner: &Arc<Inner>,
    mut command: Command,
    input: impl Stream<Item = Bytes> + Send + Unpin + 'static,
    opened: Opened,
    permit: OwnedSemaphorePermit,
) -> std::io::Result<Running> {
    command.env(TOKEN_VARIABLE, &opened.token);
    let (mut child, stdin, complaint) = start(&mut command)?;
    let (sender, output) = mpsc::channel(CHUNKS_MAX);
    let (ended, exit) = oneshot::channel();
    let inner = inner.clone();
    tokio::spawn(async move {
        let _permit = permit;
        let feed = tokio::spawn(feed(input, stdin));
        let gone = opened.session.gone.clone();
        let left = {
            let (gone, sender) = (gone.clone(), sender.clone());
            tokio::spawn(async move {
                sender.closed().await;
                gone.cancel();
            })
        };
        if let Some(mut output) = child.stdout.take() {
            copy(&mut output, &sender, true).await;
        }
        left.abort();
        feed.abort();
        let code = child.wait().await.ok().and_then(|status| status.code());
        let _ = ended.send(code);
        drop(sender);
        drop(opened);
        complaint.await;
        // Also when the hook could not tell us.
        inner.changed();
    });
    Ok(Running { output, exit })
}

fn start(command: &mut Command) -> std::io::Result<(Child, ChildStdin, impl Future<Output = ()> + Send + use<>)> {
    let mut child = command.spawn()?;
    let input = child.stdin.take().expect("stdin is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    // Read all the time, lest git waits for it; logged at the end.
    let reading = tokio::spawn(async move {
        let mut complaint = Vec::new();
        let mut limited = stderr.take(COMPLAINT_BYTES_MAX);
        let _ = limited.read_to_end(&mut complaint).await;
        let _ = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await;
        complaint
    });
    let complaint = async move {
        let complaint = reading.await.unwrap_or_default();
        let complaint = String::from_utf8_lossy(&complaint);
        if !complaint.trim().is_empty() {
            tracing::debug!(complaint = complaint.trim(), "git");
        }
    };
    Ok((child, input, complaint))
}

/// What the client sends into git; its end closes git's input, and git ends by itself.
async fn feed(mut chunks: impl Stream<Item = Bytes> + Unpin, mut input: ChildStdin) {
    while let Some(chunk) = chunks.next().await {
        if input.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

/// Git's output to the client. When that is gone, `drain` says whether to read on.
async fn copy(output: &mut (impl AsyncRead + Unpin), sender: &mpsc::Sender<std::io::Result<Bytes>>, drain: bool) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        if sender.send(Ok(Bytes::copy_from_slice(&buffer[..length]))).await.is_err() && !drain {
            return;
        }
    }
}
