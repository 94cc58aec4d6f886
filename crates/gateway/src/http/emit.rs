//! Heads as we write them: one way to say each thing.

use super::fields::Field;
use super::{Framing, Request, Response};
use std::io::Write as _;

/// How the client learns the end of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The body's, as the client gets it.
    pub body: Framing,
    /// The connection ends with it.
    pub close: bool,
    /// The client speaks HTTP/1.0, and must be told when the connection is kept.
    pub old: bool,
}

/// The head of a request, for an endpoint. `peer`: the client's address.
pub fn forward(head: &[u8], request: &Request, fields: &[Field], peer: &str, out: &mut Vec<u8>) {
    let authority = &head[request.authority.clone()];
    put(out, &[&head[request.method_name.clone()], b" "]);
    match request.target.is_empty() {
        true => out.push(b'/'),
        false => out.extend_from_slice(&head[request.target.clone()]),
    }
    put(out, &[b" HTTP/1.1\r\nhost: ", authority, b"\r\n"]);
    pass(head, fields, out);
    out.extend_from_slice(b"x-forwarded-for: ");
    for field in fields.iter().filter(|field| field.name(head).eq_ignore_ascii_case(b"x-forwarded-for")) {
        put(out, &[field.value(head), b", "]);
    }
    put(out, &[peer.as_bytes(), b"\r\nx-forwarded-host: ", authority, b"\r\nx-forwarded-proto: http\r\n"]);
    framing(request.body, out);
    if request.expects {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    if let Some(protocol) = &request.upgrade {
        put(out, &[b"connection: upgrade\r\nupgrade: ", &head[protocol.clone()], b"\r\n"]);
    }
    out.extend_from_slice(b"\r\n");
}

/// The head of a final response, for a client.
pub fn respond(head: &[u8], response: &Response, fields: &[Field], ending: Ending, out: &mut Vec<u8>) {
    put(out, &[b"HTTP/1.1 ", &head[response.line.clone()], b"\r\n"]);
    pass(head, fields, out);
    framing(ending.body, out);
    connection(ending, out);
    out.extend_from_slice(b"\r\n");
}

/// One that is not the last.
pub fn interim(head: &[u8], response: &Response, fields: &[Field], out: &mut Vec<u8>) {
    put(out, &[b"HTTP/1.1 ", &head[response.line.clone()], b"\r\n"]);
    pass(head, fields, out);
    out.extend_from_slice(b"\r\n");
}

/// The change to another protocol.
pub fn switch(head: &[u8], response: &Response, fields: &[Field], out: &mut Vec<u8>) {
    put(out, &[b"HTTP/1.1 ", &head[response.line.clone()], b"\r\n"]);
    pass(head, fields, out);
    let protocol = response.upgrade.clone().unwrap_or(0..0);
    put(out, &[b"connection: upgrade\r\nupgrade: ", &head[protocol], b"\r\n\r\n"]);
}

/// The gateway's own words: plain text, which no browser takes for a page of the service.
#[derive(Debug, Clone, Copy)]
pub struct Say<'t> {
    pub status: u16,
    pub text: &'t str,
    /// Answer to HEAD.
    pub bodiless: bool,
}

pub fn say(words: Say<'_>, close: bool, old: bool, out: &mut Vec<u8>) {
    let reason = match words.status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    };
    // Into memory: writing does not fail.
    let _ = write!(
        out,
        "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\n\
         cache-control: no-store\r\n",
        words.status
    );
    if words.status == 503 {
        out.extend_from_slice(b"retry-after: 1\r\n");
    }
    framing(Framing::Length(words.text.len() as u64 + 1), out);
    connection(Ending { body: Framing::Nothing, close, old }, out);
    out.extend_from_slice(b"\r\n");
    if !words.bodiless {
        put(out, &[words.text.as_bytes(), b"\n"]);
    }
}

fn pass(head: &[u8], fields: &[Field], out: &mut Vec<u8>) {
    for field in fields.iter().filter(|field| field.pass) {
        put(out, &[field.name(head), b": ", field.value(head), b"\r\n"]);
    }
}

fn framing(framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::Nothing | Framing::Close => {}
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(length) => {
            let mut digits = [0; 20];
            let (mut at, mut left) = (digits.len(), length);
            loop {
                at -= 1;
                digits[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
                left /= 10;
                if left == 0 {
                    break;
                }
            }
            put(out, &[b"content-length: ", &digits[at..], b"\r\n"]);
        }
    }
}

fn connection(ending: Ending, out: &mut Vec<u8>) {
    match ending {
        Ending { close: true, .. } => out.extend_from_slice(b"connection: close\r\n"),
        Ending { old: true, .. } => out.extend_from_slice(b"connection: keep-alive\r\n"),
        _ => {}
    }
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}
