//! Reading container logs: the CRI format, rotated files, following.
//!
//! A line of the format is `<RFC 3339 time> <stdout|stderr> <F|P> <content>`; `P` marks a part of a line.

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use rustix::fs::inotify;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;

/// Chunks on their way to the reader; a slow reader makes us wait.
const QUEUE: usize = 16;
/// Lines are gathered up to this size before they are sent.
const CHUNK_BYTES: usize = 32 << 10;

/// What to show of a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub follow: bool,
    pub timestamps: bool,
    pub tail_lines: Option<u64>,
    pub since: Option<Timestamp>,
    pub limit_bytes: Option<u64>,
}

/// Sends a log in pieces. With `follow` until `ended` completes and everything written before is sent.
pub(crate) fn stream(
    log: PathBuf,
    wanted: Wanted,
    ended: impl Future<Output = ()> + Send + 'static,
) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut output = Output { sender: sender.clone(), buffer: BytesMut::new(), left: wanted.limit_bytes };
        if let Err(error) = send(&log, &wanted, &mut output, ended).await
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

/// The last lines of a log as text, without times.
pub(crate) async fn tail_text(log: &Path, lines: usize, bytes: usize) -> String {
    let wanted = Wanted { tail_lines: u64::try_from(lines).ok(), ..Wanted::default() };
    let mut pieces = stream(log.to_owned(), wanted, std::future::pending());
    let mut text = Vec::new();
    while let Some(Ok(piece)) = pieces.recv().await {
        text.extend_from_slice(&piece);
    }
    let start = text.len().saturating_sub(bytes);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

/// Where shims put the older half of a log.
fn rotated(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

async fn send(log: &Path, wanted: &Wanted, output: &mut Output, ended: impl Future<Output = ()>) -> io::Result<()> {
    // Watched from before the first read, so that nothing falls between the two.
    let mut changes = match (wanted.follow, log.parent()) {
        (true, Some(directory)) => Some(Changes::of(directory)?),
        _ => None,
    };
    let mut skip = match wanted.tail_lines {
        Some(tail) => count(&rotated(log)).await?.saturating_add(count(log).await?).saturating_sub(tail),
        None => 0,
    };
    if let Some(mut older) = Reader::open(&rotated(log)).await? {
        older.pass(wanted, &mut skip, output).await?;
    }
    let mut current = Reader::open(log).await?;
    tokio::pin!(ended);
    let mut over = false;
    loop {
        if let Some(reader) = &mut current {
            reader.pass(wanted, &mut skip, output).await?;
        }
        output.flush().await?;
        if current.as_ref().is_none_or(|c| c.replaced(log)) {
            // Rotated under us: the rest of the old file has been read, the new one comes next.
            let next = Reader::open(log).await?;
            if next.is_some() {
                current = next;
                continue;
            }
        }
        let Some(changes) = &mut changes else { return Ok(()) };
        if over || output.full() {
            return Ok(());
        }
        tokio::select! {
            changed = changes.next() => changed?,
            () = &mut ended => over = true,
            () = output.sender.closed() => return Ok(()),
        }
    }
}

/// Lines in a file; none if there is no file.
async fn count(path: &Path) -> io::Result<u64> {
    let Some(mut reader) = Reader::open(path).await? else { return Ok(0) };
    let mut lines = 0;
    while reader.line().await?.is_some() {
        lines += 1;
    }
    Ok(lines)
}

struct Reader {
    file: BufReader<File>,
    inode: u64,
    /// A line whose end is not written yet.
    partial: Vec<u8>,
}

impl Reader {
    async fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path).await {
            Ok(file) => {
                let inode = file.metadata().await?.ino();
                Ok(Some(Self { file: BufReader::new(file), inode, partial: Vec::new() }))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The next whole line.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.file.read_until(b'\n', &mut self.partial).await?;
        Ok(self.partial.ends_with(b"\n").then(|| std::mem::take(&mut self.partial)))
    }

    /// Another file has taken the path.
    fn replaced(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|now| now.ino() != self.inode)
    }

    /// Sends everything up to the present end.
    async fn pass(&mut self, wanted: &Wanted, skip: &mut u64, output: &mut Output) -> io::Result<()> {
        while let Some(line) = self.line().await? {
            if *skip > 0 {
                *skip -= 1;
                continue;
            }
            if let Some(shown) = show(&line, wanted) {
                output.push(&shown).await?;
            }
            if output.full() {
                break;
            }
        }
        Ok(())
    }
}

/// What a reader sees of a line of the file; `None` if it is too old or not of the format.
fn show(line: &[u8], wanted: &Wanted) -> Option<Vec<u8>> {
    let mut fields = line.strip_suffix(b"\n").unwrap_or(line).splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(fields.next()?).ok()?;
    let _stream = fields.next()?;
    let whole = fields.next()? != b"P";
    let content = fields.next()?;
    if let Some(since) = wanted.since
        && time.parse::<Timestamp>().ok()? < since
    {
        return None;
    }
    let mut shown = Vec::with_capacity(line.len());
    if wanted.timestamps {
        shown.extend_from_slice(time.as_bytes());
        shown.push(b' ');
    }
    shown.extend_from_slice(content);
    if whole {
        shown.push(b'\n');
    }
    Some(shown)
}

struct Output {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
    /// Bytes that may still be sent.
    left: Option<u64>,
}

impl Output {
    fn full(&self) -> bool {
        self.left == Some(0)
    }

    async fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let allowed =
            self.left.map_or(bytes.len(), |left| bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        self.buffer.extend_from_slice(&bytes[..allowed]);
        self.left = self.left.map(|left| left - allowed as u64);
        if self.buffer.len() >= CHUNK_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        self.sender.send(Ok(piece)).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Changes in a directory.
struct Changes {
    events: AsyncFd<OwnedFd>,
}

impl Changes {
    fn of(directory: &Path) -> io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&events, directory, what)?;
        register(events).map(|events| Self { events })
    }

    /// Until something has changed since the last call.
    async fn next(&mut self) -> io::Result<()> {
        let mut buffer = [0u8; 4096];
        loop {
            let mut ready = self.events.readable().await?;
            match ready.try_io(|events| rustix::io::read(events, &mut buffer).map_err(io::Error::from)) {
                Ok(read) => return read.map(drop),
                Err(_would_block) => continue,
            }
        }
    }
}

#[allow(unsafe_code)]
fn register(events: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is registered and is neither closed nor replaced before it is dropped.
    unsafe { AsyncFd::register(events) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn write(path: &Path, lines: &[&str]) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        for line in lines {
            writeln!(file, "{line}").unwrap();
        }
    }

    async fn all(log: &Path, wanted: Wanted) -> String {
        let mut pieces = stream(log.to_owned(), wanted, std::future::pending());
        let mut text = Vec::new();
        while let Some(piece) = pieces.recv().await {
            text.extend_from_slice(&piece.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn reads_rotated_partial_and_tail() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("0.log");
        write(&rotated(&log), &["2026-01-01T00:00:00Z stdout F one", "2026-01-01T00:00:01Z stderr F two"]);
        write(
            &log,
            &[
                "2026-01-01T00:00:02Z stdout P thr",
                "2026-01-01T00:00:02Z stdout F ee",
                "damaged",
                "2026-01-01T00:00:03Z stdout F ",
            ],
        );
        let since = Some("2026-01-01T00:00:02Z".parse().unwrap());
        for (wanted, expected) in [
            (Wanted::default(), "one\ntwo\nthree\n\n"),
            (Wanted { tail_lines: Some(5), ..Wanted::default() }, "two\nthree\n\n"),
            (Wanted { tail_lines: Some(0), ..Wanted::default() }, ""),
            (Wanted { tail_lines: Some(u64::MAX), ..Wanted::default() }, "one\ntwo\nthree\n\n"),
            (Wanted { since, ..Wanted::default() }, "three\n\n"),
            (Wanted { limit_bytes: Some(5), ..Wanted::default() }, "one\nt"),
            (Wanted { tail_lines: Some(1), timestamps: true, ..Wanted::default() }, "2026-01-01T00:00:03Z \n"),
        ] {
            assert_eq!(all(&log, wanted.clone()).await, expected, "{wanted:?}");
        }
        assert_eq!(all(&directory.path().join("none.log"), Wanted::default()).await, "");
        assert_eq!(tail_text(&log, 3, 4).await, "ee\n\n");
    }

    #[tokio::test]
    async fn follows_through_a_rotation_until_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("0.log");
        write(&log, &["2026-01-01T00:00:00Z stdout F one"]);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let wanted = Wanted { follow: true, ..Wanted::default() };
        let mut pieces = stream(log.clone(), wanted, async move { ended.await.unwrap_or_default() });
        assert_eq!(pieces.recv().await.unwrap().unwrap(), "one\n");
        write(&log, &["2026-01-01T00:00:00Z stdout F two"]);
        assert_eq!(pieces.recv().await.unwrap().unwrap(), "two\n");
        std::fs::rename(&log, rotated(&log)).unwrap();
        write(&log, &["2026-01-01T00:00:00Z stdout F three"]);
        assert_eq!(pieces.recv().await.unwrap().unwrap(), "three\n");
        end.send(()).unwrap();
        assert!(pieces.recv().await.is_none());
    }
}
