//! Lines of a head: where they end, and what stands in them.

use super::Refusal;
use memchr::{memchr, memchr_iter};

/// Of a request or response; more is refused.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Lines after the first.
const FIELDS_MAX: usize = 128;

/// One header: offsets into the head.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    start: u32,
    name_end: u32,
    value_start: u32,
    value_end: u32,
    /// It is passed on as it is.
    pub pass: bool,
}

impl Field {
    pub fn name<'h>(&self, head: &'h [u8]) -> &'h [u8] {
        &head[self.start as usize..self.name_end as usize]
    }
    pub fn value<'h>(&self, head: &'h [u8]) -> &'h [u8] {
        &head[self.value_start as usize..self.value_end as usize]
    }
}

/// Looks for the empty line, and goes on where it stopped when more has come.
#[derive(Debug, Default)]
pub struct Scan {
    seen: usize,
    line: usize,
}

impl Scan {
    /// Length of the head with its empty line. Every line ends in CR LF: a line feed alone is a line to some and none
    /// to others.
    pub fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        for found in memchr_iter(b'\n', &bytes[self.seen..]) {
            let at = self.seen + found;
            if at == 0 || bytes[at - 1] != b'\r' {
                return Err(Refusal::bad("a line does not end in CR LF"));
            }
            if at == self.line + 1 {
                return match self.line {
                    0 => Err(Refusal::bad("the first line is empty")),
                    _ => Ok(Some(at + 1)),
                };
            }
            self.line = at + 1;
        }
        self.seen = bytes.len();
        match bytes.len() < HEAD_BYTES_MAX {
            true => Ok(None),
            false => Err(Refusal { status: 431, why: "the head is too long" }),
        }
    }
}

/// The first line without its end, and the offset of the second.
pub fn first_line(head: &[u8]) -> (&[u8], usize) {
    let end = memchr(b'\n', head).unwrap_or(0);
    (&head[..end.saturating_sub(1)], end + 1)
}

/// Reads the lines from `at` to the empty one.
pub fn read(head: &[u8], mut at: usize, fields: &mut Vec<Field>) -> Result<(), Refusal> {
    fields.clear();
    while let Some(end) = memchr(b'\n', &head[at..]) {
        let line = &head[at..at + end - 1];
        if line.is_empty() {
            return Ok(());
        }
        if fields.len() == FIELDS_MAX {
            return Err(Refusal { status: 431, why: "there are too many headers" });
        }
        let colon = memchr(b':', line).ok_or(Refusal::bad("a header has no colon"))?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
            // Also a line that continues the one before (obs-fold), and a space before the colon.
            return Err(Refusal::bad("a header's name is none"));
        }
        if !value.iter().fold(true, |fine, b| fine & ((*b >= 0x20 && *b != 0x7f) || *b == b'\t')) {
            return Err(Refusal::bad("a header's value has control characters"));
        }
        let left = value.iter().take_while(|b| is_space(**b)).count();
        let right = value[left..].iter().rev().take_while(|b| is_space(**b)).count();
        let offset = |index: usize| u32::try_from(index).unwrap_or(u32::MAX); // A head is at most 64 KiB.
        fields.push(Field {
            start: offset(at),
            name_end: offset(at + colon),
            value_start: offset(at + colon + 1 + left),
            value_end: offset(at + colon + 1 + value.len() - right),
            pass: true,
        });
        at += end + 1;
    }
    Ok(())
}

/// The elements of a list, without spaces around them and empty ones.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// A Content-Length: digits and nothing else.
pub fn length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Belongs to one connection (RFC 9110, 7.6.1), not to the message.
pub fn is_hop(name: &[u8]) -> bool {
    let names: &[&[u8]] = match name.len() {
        2 => &[b"te"],
        7 => &[b"trailer", b"upgrade"],
        10 => &[b"connection", b"keep-alive"],
        14 => &[b"http2-settings"],
        16 => &[b"proxy-connection"],
        17 => &[b"transfer-encoding"],
        18 => &[b"proxy-authenticate"],
        19 => &[b"proxy-authorization"],
        _ => return false,
    };
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A character of a method or a header's name (RFC 9110, 5.6.2).
pub fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let (mut at, others) = (0, b"!#$%&'*+-.^_`|~");
        while at < 256 {
            table[at] = (at as u8).is_ascii_alphanumeric();
            at += 1;
        }
        at = 0;
        while at < others.len() {
            table[others[at] as usize] = true;
            at += 1;
        }
        table
    };
    TOKEN[byte as usize]
}
