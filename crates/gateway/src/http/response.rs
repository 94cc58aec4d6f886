//! The head of a response.

use super::fields::{Field, Scan, first_line, is_hop, length, list, read};
use super::request::{drop_named, range};
use super::{Framing, Method, Refusal};
use std::ops::Range;

/// A head that has been understood. Ranges are offsets into it.
#[derive(Debug, Clone)]
pub struct Response {
    /// Bytes of the head.
    pub length: usize,
    pub status: u16,
    /// From the status code to the end of the line.
    pub line: Range<usize>,
    pub body: Framing,
    /// The endpoint keeps the connection open.
    pub persistent: bool,
    /// The protocol that it changes to.
    pub upgrade: Option<Range<usize>>,
}

impl Response {
    /// Not the last word on its request (RFC 9110, 15.2).
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// The response to a request of this method at the beginning of `bytes`; `None` if more must come first.
pub fn parse(
    bytes: &[u8],
    scan: &mut Scan,
    fields: &mut Vec<Field>,
    method: Method,
) -> Result<Option<Response>, Refusal> {
    let Some(end) = scan.end(bytes)? else { return Ok(None) };
    let head = &bytes[..end];
    let (line, rest) = first_line(head);
    let (version, said) = line.split_at_checked(9).ok_or(Refusal::bad("the first line is no status"))?;
    let code = said.get(..3).filter(|code| code.iter().all(u8::is_ascii_digit) && (b'1'..=b'9').contains(&code[0]));
    let code = code.ok_or(Refusal::bad("the first line is no status"))?;
    let readable = said.iter().all(|b| *b >= 0x20 && *b != 0x7f || *b == b'\t');
    if !readable || !matches!(version, b"HTTP/1.1 " | b"HTTP/1.0 ") || said.get(3).is_some_and(|b| *b != b' ') {
        return Err(Refusal::bad("the first line is no status"));
    }
    let status = code.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let mut response = Response {
        length: end,
        status,
        line: 9..line.len(),
        body: Framing::Close,
        persistent: version == b"HTTP/1.1 ",
        upgrade: None,
    };
    read(head, rest, fields)?;
    headers(head, fields, &mut response, method)?;
    Ok(Some(response))
}

fn headers(head: &[u8], fields: &mut [Field], response: &mut Response, method: Method) -> Result<(), Refusal> {
    let bodiless = method == Method::Head || response.status < 200 || matches!(response.status, 204 | 304);
    let (mut size, mut coding, mut named) = (None, false, false);
    for field in fields.iter_mut() {
        let (name, value) = (field.name(head), field.value(head));
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            14 if is(b"content-length") => {
                // It says what a GET would have brought.
                field.pass = bodiless && response.status >= 200 && response.status != 204 && size.is_none();
                let number = length(value).ok_or(Refusal::bad("the Content-Length is no number"))?;
                if size.replace(number).is_some_and(|before| before != number) {
                    return Err(Refusal::bad("there are different Content-Lengths"));
                }
            }
            17 if is(b"transfer-encoding") => {
                field.pass = false;
                if coding || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::bad("the only Transfer-Encoding is chunked, once"));
                }
                coding = true;
            }
            10 if is(b"connection") => {
                field.pass = false;
                for option in list(value) {
                    match option {
                        _ if option.eq_ignore_ascii_case(b"close") => response.persistent = false,
                        _ if option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"upgrade") => {}
                        _ => named = true,
                    }
                }
            }
            7 if is(b"upgrade") => {
                field.pass = false;
                response.upgrade = Some(range(head, value));
            }
            _ => field.pass = !is_hop(name),
        }
    }
    if named {
        drop_named(head, fields);
    }
    response.body = match (coding, size) {
        _ if bodiless => Framing::Nothing,
        (true, Some(_)) => return Err(Refusal::bad("Content-Length and Transfer-Encoding exclude each other")),
        (true, None) => Framing::Chunked,
        (false, Some(size)) => Framing::Length(size),
        (false, None) => Framing::Close,
    };
    Ok(())
}
