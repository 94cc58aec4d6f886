//! Bodies on their way through: read by one framing, written by another.

use super::fields::read as read_fields;
use super::{Framing, Refusal};
use crate::buffer::Buffer;
use memchr::memchr;
use std::io::Write as _;

/// A chunk's size with its extensions, which are dropped.
const SIZE_LINE_MAX: usize = 256;
/// Trailers, which are dropped too (RFC 9110, 6.5.1).
const TRAILERS_MAX: usize = 8 * 1024;

/// What is left of a body.
#[derive(Debug)]
pub struct Body {
    rest: Rest,
    /// Write it in chunks.
    chunked: bool,
}

#[derive(Debug)]
enum Rest {
    Nothing,
    Length(u64),
    Close,
    Size,
    Chunk(u64),
    ChunkEnd,
    /// So many bytes of trailers were read.
    Trailers(usize),
}

impl Body {
    /// Read as `framing` says, written in chunks or as it is.
    pub fn new(framing: Framing, chunked: bool) -> Self {
        let rest = match framing {
            Framing::Nothing | Framing::Length(0) => Rest::Nothing,
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Size,
            Framing::Close => Rest::Close,
        };
        Self { rest, chunked }
    }

    /// All of it was moved.
    pub fn is_done(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// The connection ended: true if that is the end of the body.
    pub fn end(&mut self, output: &mut Vec<u8>) -> bool {
        if matches!(self.rest, Rest::Close) {
            self.finish(output);
        }
        self.is_done()
    }

    /// Moves what has come.
    pub fn pump(&mut self, input: &mut Buffer, output: &mut Vec<u8>) -> Result<(), Refusal> {
        while !input.is_empty() {
            match self.rest {
                Rest::Nothing => return Ok(()),
                Rest::Length(left) => {
                    let moved = self.pass(input, output, left);
                    match left - moved {
                        0 => self.finish(output),
                        left => self.rest = Rest::Length(left),
                    }
                }
                Rest::Close => {
                    self.pass(input, output, u64::MAX);
                }
                Rest::Chunk(left) => {
                    let moved = self.pass(input, output, left);
                    self.rest = if moved == left { Rest::ChunkEnd } else { Rest::Chunk(left - moved) };
                }
                Rest::Size => match line(input.data(), SIZE_LINE_MAX)? {
                    None => return Ok(()),
                    Some(line) => {
                        let (size, used) = (size(line)?, line.len() + 2);
                        input.consume(used);
                        self.rest = if size == 0 { Rest::Trailers(0) } else { Rest::Chunk(size) };
                    }
                },
                Rest::ChunkEnd => match line(input.data(), 0)? {
                    None => return Ok(()),
                    Some(_) => {
                        input.consume(2);
                        self.rest = Rest::Size;
                    }
                },
                Rest::Trailers(before) => match line(input.data(), TRAILERS_MAX - before)? {
                    None => return Ok(()),
                    Some([]) => {
                        input.consume(2);
                        self.finish(output);
                    }
                    Some(line) => {
                        let used = line.len() + 2;
                        read_fields(&input.data()[..used], 0, &mut Vec::new())?;
                        input.consume(used);
                        self.rest = Rest::Trailers((before + used).min(TRAILERS_MAX));
                    }
                },
            }
        }
        Ok(())
    }

    fn pass(&self, input: &mut Buffer, output: &mut Vec<u8>, most: u64) -> u64 {
        let data = input.data();
        let count = data.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        if self.chunked {
            let _ = write!(output, "{count:x}\r\n"); // Into memory: it does not fail.
        }
        output.extend_from_slice(&data[..count]);
        if self.chunked {
            output.extend_from_slice(b"\r\n");
        }
        input.consume(count);
        count as u64
    }

    fn finish(&mut self, output: &mut Vec<u8>) {
        self.rest = Rest::Nothing;
        if self.chunked {
            output.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// The next line without its CR LF, which is at most `most` bytes long; `None` if its end has not come.
fn line(data: &[u8], most: usize) -> Result<Option<&[u8]>, Refusal> {
    const WHY: Refusal = Refusal::bad("the body's chunks are malformed");
    let window = &data[..data.len().min(most + 2)];
    match memchr(b'\n', window) {
        Some(end) if end > 0 && window[end - 1] == b'\r' => Ok(Some(&window[..end - 1])),
        Some(_) => Err(WHY),
        None if window.len() == most + 2 => Err(WHY),
        // The only thing that may come before a line feed that has not come yet.
        None if most == 0 && window.first().is_some_and(|b| *b != b'\r') => Err(WHY),
        None => Ok(None),
    }
}

/// Hexadecimal, and perhaps an extension.
fn size(line: &[u8]) -> Result<u64, Refusal> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let rest = line[digits..].trim_ascii_start();
    let readable = rest.iter().all(|b| *b >= 0x20 && *b != 0x7f || *b == b'\t');
    if digits == 0 || digits > 15 || !readable || rest.first().is_some_and(|b| *b != b';') {
        return Err(Refusal::bad("the size of a chunk is no number"));
    }
    let digit = |b: &u8| u64::from(char::from(*b).to_digit(16).unwrap_or(0));
    Ok(line[..digits].iter().fold(0, |sum, b| sum * 16 + digit(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output, whether it is done, and how much is left.
    type Through = (Vec<u8>, bool, usize);

    /// Fed in one piece and byte by byte.
    fn through(framing: Framing, chunked: bool, text: &str) -> Vec<Result<Through, Refusal>> {
        [text.len(), 1]
            .map(|piece| {
                let (mut body, mut input, mut output) = (Body::new(framing, chunked), Buffer::default(), Vec::new());
                for part in text.as_bytes().chunks(piece) {
                    input.put(part);
                    body.pump(&mut input, &mut output)?;
                }
                Ok((output, body.is_done(), input.data().len()))
            })
            .into()
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        for (framing, text, expect, done, left) in [
            (Framing::Length(3), "abcdef", "abc", true, 3),
            (Framing::Length(9), "abc", "abc", false, 0),
            (Framing::Nothing, "abc", "", true, 3),
            (Framing::Chunked, "3\r\nabc\r\n0\r\n\r\nnext", "abc", true, 4),
            (Framing::Chunked, "03;x=\"y\"\r\nabc\r\n2 ;z\r\nde\r\n000\r\nX: 1\r\n\r\n", "abcde", true, 0),
            (Framing::Chunked, "A\r\n0123456789\r\n", "0123456789", false, 0),
            (Framing::Close, "abc", "abc", false, 0),
        ] {
            for found in through(framing, false, text) {
                let (output, finished, rest) = found.unwrap();
                let found = (String::from_utf8(output).unwrap(), finished, rest);
                assert_eq!(found, (expect.to_owned(), done, left), "{text:?}");
            }
        }
    }

    #[test]
    fn chunks_are_written_anew() {
        for found in through(Framing::Chunked, true, "5;ext=1\r\nhello\r\n0\r\nTrailer: x\r\n\r\n") {
            let (output, ..) = found.unwrap();
            let text = String::from_utf8(output).unwrap();
            assert!(!text.contains("ext") && !text.contains("Trailer") && text.ends_with("0\r\n\r\n"), "{text:?}");
            let mut again = Body::new(Framing::Chunked, false);
            let (mut input, mut plain) = (Buffer::default(), Vec::new());
            input.put(text.as_bytes());
            again.pump(&mut input, &mut plain).unwrap();
            assert_eq!((plain.as_slice(), again.is_done()), (&b"hello"[..], true));
        }
        let (mut body, mut output) = (Body::new(Framing::Close, true), Vec::new());
        assert!(body.end(&mut output) && output == b"0\r\n\r\n");
        assert!(!Body::new(Framing::Length(1), false).end(&mut output), "an early end is none");
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for text in [
            "\r\nabc",
            "x\r\nabc",
            "0x3\r\nabc\r\n",
            "-3\r\nabc\r\n",
            "+3\r\nabc\r\n",
            " 3\r\nabc\r\n",
            "3\nabc\r\n",
            "3;a\nb\r\nabc\r\n",
            "3;a\rb\r\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3 x\r\nabc\r\n",
            "1234567890abcdef0\r\nabc\r\n",
            "0\r\nX : 1\r\n\r\n",
            "0\r\nX: 1\n\r\n",
            &format!("3;{}\r\nabc\r\n", "x".repeat(300)),
            &format!("0\r\n{}\r\n", "X: 1\r\n".repeat(2000)),
        ] {
            for found in through(Framing::Chunked, true, text) {
                assert!(found.is_err(), "{text:?}: {found:?}");
            }
        }
    }
}
