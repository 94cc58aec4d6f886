//! The daemon's end of a shim's socket.

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream as StdStream;

use rustix::fs::{Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::error::{Error, Result};
use crate::protocol::{Answer, Layout, MESSAGE_BYTES_MAX, Operation, PROTOCOL_VERSION, Request};

/// One request and its answers.
pub(crate) struct Connection {
    id: String,
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Sends `op`, with descriptors if it takes some. `Ok(None)`: nobody listens, the shim has ended.
    pub fn ask(id: &str, layout: &Layout, op: Operation, descriptors: &[BorrowedFd<'_>]) -> Result<Option<Self>> {
        let failed = |source| Error::Shim { id: id.to_owned(), source };
        let stream = match connect(layout) {
            Ok(stream) => stream,
            Err(error) if gone(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match send(&stream, &Request { version: PROTOCOL_VERSION, op }, descriptors) {
            Ok(()) => {}
            Err(error) if gone(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        stream.set_nonblocking(true).map_err(failed)?;
        let stream = UnixStream::from_std(stream).map_err(failed)?;
        Ok(Some(Self { id: id.to_owned(), stream: BufReader::new(stream) }))
    }

    /// The next answer. `Ok(None)`: the shim ended, or dropped us.
    pub async fn answer(&mut self) -> Result<Option<Answer>> {
        let mut line = String::new();
        let failed = |source| Error::Shim { id: self.id.clone(), source };
        let read = (&mut self.stream).take(MESSAGE_BYTES_MAX as u64).read_line(&mut line).await;
        match read {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_str(&line).map(Some).map_err(|error| failed(error.into())),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// The end of an exec that has started.
    pub async fn exec_exit(&mut self) -> Result<i32> {
        match self.answer().await? {
            Some(Answer::ExecExited { code }) => Ok(code),
            Some(Answer::Failed(failure)) => Err(Error::Exec { id: self.id.clone(), failure }),
            _ => Err(Error::NotRunning { id: self.id.clone() }),
        }
    }
}

fn gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset | BrokenPipe)
}

/// A socket's name has at most 107 bytes, and data directories are longer: we go through a descriptor of the directory.
fn connect(layout: &Layout) -> io::Result<StdStream> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(&layout.directory, flags, Mode::empty())?;
    StdStream::connect(format!("/proc/self/fd/{}/shim.sock", directory.as_raw_fd()))
}

fn send(mut stream: &StdStream, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut line = serde_json::to_vec(request)?;
    if line.len() >= MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command and its environment exceed 1 MiB"));
    }
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an exec takes three descriptors"));
    }
    // The descriptors travel with the first bytes; a long line may need more than one write.
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL)?;
    stream.write_all(&line[sent..])
}

/// A process in a container, with its streams. Dropping it kills the process.
pub struct ExecStream {
    /// The process's pid on the host.
    pub pid: u32,
    /// Closed by dropping it.
    pub stdin: Option<pipe::Sender>,
    pub stdout: pipe::Receiver,
    pub stderr: pipe::Receiver,
    pub(crate) connection: Connection,
}

impl ExecStream {
    pub(crate) async fn open(id: &str, layout: &Layout, op: Operation) -> Result<Self> {
        let failed = |source: io::Error| Error::Shim { id: id.to_owned(), source };
        let open = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()));
        let (stdin_read, stdin_write) = open()?;
        let (stdout_read, stdout_write) = open()?;
        let (stderr_read, stderr_write) = open()?;
        let theirs = [stdin_read.as_fd(), stdout_write.as_fd(), stderr_write.as_fd()];
        let connection = Connection::ask(id, layout, op, &theirs)?;
        drop((stdin_read, stdout_write, stderr_write));
        let mut connection = connection.ok_or_else(|| Error::NotRunning { id: id.to_owned() })?;
        let pid = match connection.answer().await? {
            Some(Answer::ExecStarted { pid }) => pid,
            Some(Answer::Failed(failure)) => return Err(Error::Exec { id: id.to_owned(), failure }),
            Some(Answer::Version(theirs)) => return Err(Error::Version { id: id.to_owned(), theirs }),
            _ => return Err(Error::NotRunning { id: id.to_owned() }),
        };
        Ok(Self {
            pid,
            stdin: Some(pipe::Sender::from_owned_fd(stdin_write).map_err(failed)?),
            stdout: pipe::Receiver::from_owned_fd(stdout_read).map_err(failed)?,
            stderr: pipe::Receiver::from_owned_fd(stderr_read).map_err(failed)?,
            connection,
        })
    }

    /// The exit code (128 + signal), once the process has ended. Read the streams at the same time: a full pipe stops it.
    pub async fn wait(&mut self) -> Result<i32> {
        self.connection.exec_exit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader as StdReader};
    use std::os::unix::net::UnixListener;

    #[tokio::test]
    async fn a_shim_of_another_version_is_told_from_a_broken_one() {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("shim.sock")).unwrap();
        let shim = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            StdReader::new(&stream).read_line(&mut asked).unwrap();
            (&stream).write_all(b"{\"version\":7}\n").unwrap();
        });
        let op = Operation::Exec { args: vec!["true".into()], env: Vec::new(), cwd: None, user: None };
        let error = ExecStream::open("web-1", &Layout::new(directory.path()), op).await.err().unwrap();
        let text = error.to_string();
        assert!(matches!(error, Error::Version { theirs: 7, .. }), "{text}");
        assert!(text.contains("web-1") && text.contains("rollout restart"), "{text}");
        shim.join().unwrap();
    }
}
