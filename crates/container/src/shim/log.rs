//! The container's output as a file in the CRI format: `2026-11-21T09:00:00.123456789Z stdout F line`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// A file above this is moved to `<log>.1`, which replaces the one before.
const FILE_BYTES_MAX: u64 = 10 << 20;

/// A longer line is cut into parts, marked `P` but for the last.
const LINE_BYTES_MAX: usize = 16 << 10;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

pub(super) struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    size_max: u64,
    /// The begun lines of stdout and stderr.
    begun: [Vec<u8>; 2],
}

impl Log {
    /// Appends to an existing file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, FILE_BYTES_MAX)
    }

    fn with_limit(path: &Path, size_max: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, size_max, begun: [Vec::new(), Vec::new()] })
    }

    /// Writes the lines that are complete and keeps the rest. All lines of one call share a time.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        let now = Timestamp::now().to_string();
        let mut begun = std::mem::take(&mut self.begun[stream as usize]);
        for &byte in bytes {
            if byte == b'\n' {
                entry(&mut out, &now, stream, b'F', &begun);
                begun.clear();
                continue;
            }
            if begun.len() == LINE_BYTES_MAX {
                entry(&mut out, &now, stream, b'P', &begun);
                begun.clear();
            }
            begun.push(byte);
        }
        self.begun[stream as usize] = begun;
        self.append(&out)
    }

    /// Writes what was begun without an end.
    pub fn finish(&mut self) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.begun[stream as usize].is_empty() {
                self.write(stream, b"\n")?;
            }
        }
        Ok(())
    }

    fn append(&mut self, out: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + out.len() as u64 > self.size_max {
            let mut rotated = self.path.clone().into_os_string();
            rotated.push(".1");
            fs::rename(&self.path, rotated)?;
            self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.size = 0;
        }
        self.size += out.len() as u64;
        self.file.write_all(out)
    }
}

fn entry(out: &mut Vec<u8>, now: &str, stream: Stream, tag: u8, line: &[u8]) {
    let name: &[u8] = if stream == Stream::Stdout { b" stdout " } else { b" stderr " };
    for part in [now.as_bytes(), name, &[tag], b" ", line, b"\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn lines_are_put_together_and_long_ones_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::open(&path).unwrap();
        log.write(Stream::Stdout, b"one\ntw").unwrap();
        log.write(Stream::Stderr, b"oops\n\n").unwrap();
        log.write(Stream::Stdout, b"o\nrest").unwrap();
        log.write(Stream::Stderr, &[b'x'; LINE_BYTES_MAX + 3]).unwrap();
        log.finish().unwrap();
        let long = format!("stderr P {}", "x".repeat(LINE_BYTES_MAX));
        let expected =
            ["stdout F one", "stderr F oops", "stderr F ", "stdout F two", &long, "stdout F rest", "stderr F xxx"];
        assert_eq!(lines(&path), expected);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.split(' ').next().unwrap().parse::<Timestamp>().is_ok());
    }

    #[test]
    fn a_full_file_makes_room_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::with_limit(&path, 100).unwrap();
        for number in 0..9 {
            log.write(Stream::Stdout, format!("line {number}\n").as_bytes()).unwrap();
        }
        let old = lines(&directory.path().join("log.1"));
        assert_eq!(lines(&path), ["stdout F line 8"]);
        assert_eq!(old, ["stdout F line 6", "stdout F line 7"]);
    }
}
