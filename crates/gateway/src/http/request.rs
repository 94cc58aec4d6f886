//! The head of a request.

use super::fields::{Field, Scan, first_line, is_hop, is_token, length, list, read};
use super::{Framing, Refusal};
use memchr::{memchr, memchr2, memrchr};
use std::ops::Range;

/// What matters of the method; the rest is passed on as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    /// Sending it twice is the same as once (RFC 9110, 9.2.2).
    Idempotent,
    Other,
}

/// A head that has been understood. Ranges are offsets into it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Bytes of the head.
    pub length: usize,
    pub method: Method,
    /// As written.
    pub method_name: Range<usize>,
    /// Path and query, or `*`. Empty: `/`.
    pub target: Range<usize>,
    /// The host with its port, if it has one.
    pub authority: Range<usize>,
    /// HTTP/1.0.
    pub old: bool,
    /// The client keeps the connection open.
    pub persistent: bool,
    pub body: Framing,
    /// The protocol that the client wants to change to.
    pub upgrade: Option<Range<usize>>,
    /// The client waits for 100 before it sends the body.
    pub expects: bool,
}

/// The request at the beginning of `bytes`; `None` if more must come first.
pub fn parse(bytes: &[u8], scan: &mut Scan, fields: &mut Vec<Field>) -> Result<Option<Request>, Refusal> {
    let Some(end) = scan.end(bytes)? else { return Ok(None) };
    let head = &bytes[..end];
    let (line, rest) = first_line(head);
    let mut request = request_line(line)?;
    request.length = end;
    read(head, rest, fields)?;
    headers(head, fields, &mut request)?;
    Ok(Some(request))
}

fn request_line(line: &[u8]) -> Result<Request, Refusal> {
    let (Some(first), Some(last)) = (memchr(b' ', line), memrchr(b' ', line)) else {
        return Err(Refusal::bad("the first line is no request"));
    };
    let (name, version) = (&line[..first], &line[last + 1..]);
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ if version.starts_with(b"HTTP/") => {
            return Err(Refusal { status: 505, why: "only HTTP/1.1 and HTTP/1.0 are spoken here" });
        }
        _ => return Err(Refusal::bad("the first line is no request")),
    };
    if name.is_empty() || !name.iter().all(|b| is_token(*b)) || last <= first + 1 {
        return Err(Refusal::bad("the first line is no request"));
    }
    let method = match name {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"PUT" | b"DELETE" | b"OPTIONS" => Method::Idempotent,
        b"CONNECT" | b"TRACE" => return Err(Refusal { status: 405, why: "CONNECT and TRACE are not served here" }),
        _ => Method::Other,
    };
    let (target, authority) = target(line, first + 1..last, name)?;
    Ok(Request {
        length: 0,
        method,
        method_name: 0..first,
        target,
        authority,
        old,
        persistent: !old,
        body: Framing::Nothing,
        upgrade: None,
        expects: false,
    })
}

/// Path and query, and the authority if the target says one.
fn target(line: &[u8], at: Range<usize>, method: &[u8]) -> Result<(Range<usize>, Range<usize>), Refusal> {
    let target = &line[at.clone()];
    if !target.iter().fold(true, |fine, b| fine & (*b > 0x20 && *b != 0x7f && *b != b'#')) {
        return Err(Refusal::bad("the target has characters that must be encoded"));
    }
    if target[0] == b'/' || (target == b"*" && method == b"OPTIONS") {
        return Ok((at, 0..0));
    }
    const SCHEME: &[u8] = b"http://";
    if target.len() <= SCHEME.len() || !target[..SCHEME.len()].eq_ignore_ascii_case(SCHEME) {
        return Err(Refusal::bad("the target is neither a path nor an http URL"));
    }
    let begin = at.start + SCHEME.len();
    let path = memchr2(b'/', b'?', &line[begin..at.end]).map_or(at.end, |offset| begin + offset);
    if line.get(path) == Some(&b'?') && path < at.end {
        return Err(Refusal::bad("the target has no path"));
    }
    match path == begin {
        true => Err(Refusal::bad("the target has no host")),
        false => Ok((path..at.end, begin..path)),
    }
}

fn headers(head: &[u8], fields: &mut [Field], request: &mut Request) -> Result<(), Refusal> {
    let (mut host, mut size, mut coding, mut protocol) = (None, None, false, None);
    let (mut upgrading, mut named) = (false, false);
    for field in fields.iter_mut() {
        let (name, value) = (field.name(head), field.value(head));
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") => {
                field.pass = false;
                if host.replace(range(head, value)).is_some() {
                    return Err(Refusal::bad("there is more than one Host header"));
                }
            }
            14 if is(b"content-length") => {
                field.pass = false;
                let number = length(value).ok_or(Refusal::bad("the Content-Length is no number"))?;
                if size.replace(number).is_some() {
                    return Err(Refusal::bad("there is more than one Content-Length"));
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
                        _ if option.eq_ignore_ascii_case(b"close") => request.persistent = false,
                        _ if option.eq_ignore_ascii_case(b"keep-alive") => request.persistent |= request.old,
                        _ if option.eq_ignore_ascii_case(b"upgrade") => upgrading = true,
                        _ => named = true,
                    }
                }
            }
            7 if is(b"upgrade") => {
                field.pass = false;
                if protocol.replace(range(head, value)).is_some() {
                    return Err(Refusal::bad("there is more than one Upgrade header"));
                }
            }
            6 if is(b"expect") => {
                field.pass = false;
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal {
                        status: 417,
                        why: "the only expectation that is understood is 100-continue",
                    });
                }
                request.expects = !request.old;
            }
            // Said by the gateway, of what it knows itself.
            16 if is(b"x-forwarded-host") => field.pass = false,
            17 if is(b"x-forwarded-proto") => field.pass = false,
            15 if is(b"x-forwarded-for") => field.pass = false,
            _ => field.pass = !is_hop(name),
        }
    }
    if named {
        drop_named(head, fields);
    }
    let said = host.ok_or(Refusal::bad("the Host header is missing"))?;
    let text = &head[said.clone()];
    let written = |b: &u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(b);
    if text.is_empty() || !text.iter().all(written) {
        return Err(Refusal::bad("the Host header is no host"));
    }
    if request.authority.is_empty() {
        request.authority = said;
    } else if !head[request.authority.clone()].eq_ignore_ascii_case(text) {
        return Err(Refusal::bad("the target and the Host header name different hosts"));
    }
    request.body = match (coding, size) {
        (true, Some(_)) => return Err(Refusal::bad("Content-Length and Transfer-Encoding exclude each other")),
        (true, None) if request.old => return Err(Refusal::bad("HTTP/1.0 knows no Transfer-Encoding")),
        (true, None) => Framing::Chunked,
        (false, Some(size)) => Framing::Length(size),
        (false, None) => Framing::Nothing,
    };
    let plain = request.method == Method::Get && !request.old && matches!(request.body, Framing::Nothing);
    request.upgrade = protocol.filter(|protocol| upgrading && plain && is_real(&head[protocol.clone()]));
    Ok(())
}

/// Another protocol on the same connection. Another HTTP on it would carry requests past us, so it is not offered.
fn is_real(protocol: &[u8]) -> bool {
    let token = |b: &u8| is_token(*b) || *b == b'/';
    let starts = |with: &[u8]| protocol.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    !protocol.is_empty() && protocol.iter().all(token) && !starts(b"h2") && !starts(b"http") && !starts(b"tls")
}

/// Drops what Connection names, except what tells where and how long the message is.
pub fn drop_named(head: &[u8], fields: &mut [Field]) {
    for index in 0..fields.len() {
        if !fields[index].name(head).eq_ignore_ascii_case(b"connection") {
            continue;
        }
        for option in list(fields[index].value(head)) {
            for field in fields.iter_mut().filter(|field| field.name(head).eq_ignore_ascii_case(option)) {
                field.pass = false;
            }
        }
    }
}

/// Where `part` lies in `head`, of which it is a part.
pub fn range(head: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - head.as_ptr() as usize;
    start..start + part.len()
}
