//! Bytes that were read and not used yet.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::ready;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// Enough for most heads; it grows when a read fills it.
const FIRST: usize = 4 * 1024;

/// Grows when needed, never shrinks.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read could have brought more.
    tight: bool,
}

impl Buffer {
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
    pub fn len(&self) -> usize {
        self.end - self.start
    }
    /// What it holds in memory.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    pub fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.end {
            self.clear();
        }
    }

    /// Where the next read goes; not empty while less than `most` bytes wait.
    fn space(&mut self, most: usize) -> &mut [u8] {
        if self.start > 0 && self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if (self.tight || self.end == self.bytes.len()) && self.bytes.len() < most {
            let size = (self.bytes.len() * 2).clamp(FIRST, most);
            self.bytes.resize(size, 0);
            self.tight = false;
        }
        &mut self.bytes[self.end..]
    }

    #[cfg(test)]
    pub fn put(&mut self, bytes: &[u8]) {
        while self.space(1 << 20).len() < bytes.len() {
            self.tight = true;
        }
        self.space(1 << 20)[..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }
}

/// Reads once; 0 is the end. The buffer must hold less than `most` bytes, which is also as far as it grows.
pub async fn fill(reader: &mut ReadHalf<'_>, buffer: &mut Buffer, most: usize) -> io::Result<usize> {
    poll_fn(|context| {
        let space = buffer.space(most);
        let size = space.len();
        let mut window = ReadBuf::new(space);
        ready!(Pin::new(&mut *reader).poll_read(context, &mut window))?;
        let count = window.filled().len();
        buffer.end += count;
        buffer.tight = count == size;
        Ok(count).into()
    })
    .await
}

/// Writes all.
pub async fn write(writer: &mut WriteHalf<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = poll_fn(|context| Pin::new(&mut *writer).poll_write(context, bytes)).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[count..];
    }
    Ok(())
}
