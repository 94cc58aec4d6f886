//! Reads a container's log while it grows.

use rustix::fs::inotify;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// What one line shows; more is cut.
const LINE_BYTES_MAX: usize = 2000;

/// Follows a file in the CRI log format, also when it is rotated.
pub(crate) struct Tail {
    /// An inotify descriptor: for tokio it is like a pipe.
    watch: Receiver,
    path: PathBuf,
    file: Option<File>,
    /// Bytes behind the last newline.
    rest: Vec<u8>,
    /// Text of entries that are not complete yet, of stdout and stderr.
    partial: [String; 2],
}

impl Tail {
    /// Watches the directory of `path`, which must exist; the file need not.
    pub fn new(path: &Path) -> io::Result<Self> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, path.parent().unwrap_or(Path::new(".")), events)?;
        Ok(Self {
            watch: Receiver::from_owned_fd_unchecked(watch)?,
            path: path.to_owned(),
            file: None,
            rest: Vec::new(),
            partial: Default::default(),
        })
    }

    /// Returns when there may be more to read.
    pub async fn changed(&mut self) -> io::Result<()> {
        // What happened does not matter: the file is read anyway.
        self.watch.read(&mut [0; 4096]).await.map(|_| ())
    }

    /// Gives every line that is complete by now.
    pub fn read(&mut self, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        loop {
            if self.file.is_none() {
                self.file = match File::open(&self.path) {
                    Ok(file) => Some(file),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    Err(error) => return Err(error),
                };
            }
            let Some(file) = &mut self.file else { return Ok(()) };
            file.read_to_end(&mut self.rest)?;
            let same =
                fs::metadata(&self.path).is_ok_and(|there| file.metadata().is_ok_and(|here| here.ino() == there.ino()));
            self.lines(each);
            if same || !self.path.exists() {
                return Ok(());
            }
            // Rotated: nothing more comes into the old file.
            self.file = None;
        }
    }

    fn lines(&mut self, each: &mut dyn FnMut(&str)) {
        let complete = self.rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let bytes: Vec<u8> = self.rest.drain(..complete).collect();
        for entry in String::from_utf8_lossy(&bytes).lines() {
            // `<time> <stream> <P|F> <text>`: P is continued by the next entry of its stream.
            let mut fields = entry.splitn(4, ' ').skip(1);
            let (Some(stream), Some(tag)) = (fields.next(), fields.next()) else { continue };
            let partial = &mut self.partial[usize::from(stream == "stderr")];
            if partial.len() < LINE_BYTES_MAX {
                partial.push_str(fields.next().unwrap_or_default());
            }
            if tag != "P" {
                each(&shown(&std::mem::take(partial)));
            }
        }
    }
}

/// What a terminal may be sent: of a progress bar its last state, and no control characters.
fn shown(line: &str) -> String {
    let last = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let mut text: String = last.chars().filter(|c| *c == '\t' || !c.is_control()).collect();
    if text.len() > LINE_BYTES_MAX {
        let end = (0..=LINE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_as_they_are_written_and_across_a_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut tail = Tail::new(&path).unwrap();
        let mut seen = Vec::new();
        tail.read(&mut |line| seen.push(line.to_owned())).unwrap();
        fs::write(&path, "t stdout F one\nt stderr P two \nt stdout F three\nt stderr F more\nt stdout F unfini")
            .unwrap();
        tail.changed().await.unwrap();
        tail.read(&mut |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen, ["one", "three", "two more"]);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        io::Write::write_all(&mut file, b"shed\n").unwrap();
        fs::rename(&path, directory.path().join("log.1")).unwrap();
        fs::write(&path, "t stdout F 10%\r99%\r\nt stdout F \u{1b}[1mbold\n").unwrap();
        tail.changed().await.unwrap();
        tail.read(&mut |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen[3..], ["unfinished", "99%", "[1mbold"]);
    }
}
