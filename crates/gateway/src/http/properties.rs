//! What holds for every sequence of bytes: no panic, one reading however it arrives, and what goes on to an endpoint
//! is read by others as we read it.

use super::*;
use crate::buffer::Buffer;
use proptest::prelude::*;

/// Parts of which heads are made, honest and not: what is at the seams is what smuggling lives on.
const PARTS: &[&str] = &[
    "GET ",
    "POST ",
    "HEAD ",
    "OPTIONS ",
    "M-SEARCH ",
    "CONNECT ",
    "/",
    "/a%20b?c=d",
    "*",
    "http://h",
    "http://h/x",
    "h:80",
    " HTTP/1.1",
    " HTTP/1.0",
    " HTTP/2.0",
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    " ",
    "\t",
    "\0",
    "\u{e9}",
    "Host: h",
    "host: other:81",
    "Content-Length: 3",
    "content-length: 03",
    "Content-Length: +3",
    "Content-Length: 3, 3",
    "Content-Length: 18446744073709551616",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding : chunked",
    "transfer-encoding: gzip, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding:\r\n chunked",
    "Connection: close",
    "Connection: keep-alive, x-a",
    "Connection: upgrade",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "X-A: b",
    "X-Forwarded-For: 1.2.3.4",
    ": v",
    "X A: b",
    "abc",
    "3\r\nabc\r\n0\r\n\r\n",
    "0\r\n\r\n",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => proptest::sample::select(PARTS).prop_map(|part| part.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(part, 0..14).prop_map(|parts| parts.concat())
}

/// Heads that are honest but for a line or two, so that many of them are accepted.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let lines = proptest::collection::vec(proptest::sample::select(PARTS), 0..4);
    let method = proptest::sample::select(&["GET", "POST", "HEAD", "PUT", "OPTIONS", "QUERY"][..]);
    let target = proptest::sample::select(&["/", "/a?b", "http://h:1/x", "http://h"][..]);
    (method, target, lines).prop_map(|(method, target, lines)| {
        let fields: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
    })
}

fn whole(bytes: &[u8]) -> Result<Option<(Request, Vec<Field>)>, Refusal> {
    let mut fields = Vec::new();
    Ok(parse_request(bytes, &mut Scan::default(), &mut fields)?.map(|request| (request, fields)))
}

/// As it comes over a slow line.
fn slowly(bytes: &[u8]) -> Result<Option<Request>, Refusal> {
    let (mut scan, mut fields) = (Scan::default(), Vec::new());
    for end in 0..=bytes.len() {
        fields.clear();
        if let Some(request) = parse_request(&bytes[..end], &mut scan, &mut fields)? {
            return Ok(Some(request));
        }
    }
    Ok(None)
}

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let found = whole(bytes);
    let same = |a: &Request, b: &Request| format!("{a:?}") == format!("{b:?}");
    match (&found, slowly(bytes)) {
        (Ok(Some((a, _))), Ok(Some(b))) => prop_assert!(same(a, &b), "{a:?} and {b:?}"),
        (Ok(None), Ok(None)) => {}
        (Err(a), Err(b)) => prop_assert_eq!(*a, b),
        (a, b) => prop_assert!(false, "at once {a:?}, slowly {b:?}"),
    }
    let Ok(Some((request, fields))) = found else { return Ok(()) };
    let head = &bytes[..request.length];
    let mut out = Vec::new();
    forward(head, &request, &fields, "127.0.0.1", &mut out);

    // Ourselves: the same request again, but for what is ours to say.
    let (again, kept) = whole(&out).expect("what we write we read").expect("all of it");
    prop_assert_eq!(again.length, out.len());
    prop_assert_eq!(&out[again.method_name.clone()], &head[request.method_name.clone()]);
    prop_assert_eq!(again.body, request.body);
    prop_assert_eq!(&out[again.authority.clone()], &head[request.authority.clone()]);

    // A parser of others: the same lines, one framing, one host.
    let mut headers = [httparse::EMPTY_HEADER; 200];
    let mut theirs = httparse::Request::new(&mut headers);
    prop_assert_eq!(theirs.parse(&out), Ok(httparse::Status::Complete(out.len())));
    let values = |name: &str| -> Vec<&[u8]> {
        theirs
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
            .collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    prop_assert_eq!(values("host").len(), 1);
    match request.body {
        Framing::Nothing => prop_assert!(lengths.is_empty() && codings.is_empty()),
        Framing::Length(length) => {
            prop_assert!(codings.is_empty() && lengths == [length.to_string().as_bytes()], "{lengths:?} {codings:?}");
        }
        Framing::Chunked => prop_assert!(lengths.is_empty() && codings == [b"chunked"], "{lengths:?} {codings:?}"),
        Framing::Close => prop_assert!(false, "a request never ends with its connection"),
    }
    prop_assert_eq!(theirs.headers.len(), kept.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_in_one_way(bytes in bytes()) {
        check(&bytes)?;
    }

    #[test]
    fn what_goes_on_is_read_by_others_as_by_us(bytes in requests()) {
        check(&bytes)?;
    }

    #[test]
    fn any_response_is_read_in_one_way(bytes in bytes(), head_only in any::<bool>()) {
        let bytes = [b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat();
        let method = if head_only { Method::Head } else { Method::Get };
        let (mut fields, mut scan) = (Vec::new(), Scan::default());
        let at_once = parse_response(&bytes, &mut Scan::default(), &mut fields, method);
        let mut slowly = Ok(None);
        for end in 0..=bytes.len() {
            fields.clear();
            slowly = parse_response(&bytes[..end], &mut scan, &mut fields, method);
            if !matches!(slowly, Ok(None)) {
                break;
            }
        }
        prop_assert_eq!(format!("{at_once:?}"), format!("{slowly:?}"));
    }

    #[test]
    fn any_chunks_are_read_in_one_way_and_written_anew(bytes in bytes(), pieces in 1_usize..8) {
        let through = |size: usize| {
            let (mut body, mut input, mut output) = (Body::new(Framing::Chunked, true), Buffer::default(), Vec::new());
            for piece in bytes.chunks(size) {
                input.put(piece);
                body.pump(&mut input, &mut output)?;
            }
            Ok::<_, Refusal>((output, body.is_done()))
        };
        // Chunks are cut where pieces are; what they hold is the same.
        let plain = |(output, done): (Vec<u8>, bool)| {
            let (mut body, mut input, mut text) = (Body::new(Framing::Chunked, false), Buffer::default(), Vec::new());
            input.put(&output);
            body.pump(&mut input, &mut text).expect("what we write we read");
            assert_eq!(body.is_done(), done);
            text
        };
        match (through(usize::MAX), through(pieces)) {
            (Ok(a), Ok(b)) => prop_assert_eq!(plain(a), plain(b)),
            (Err(a), Err(b)) => prop_assert_eq!(a, b),
            (a, b) => prop_assert!(false, "at once {a:?}, in pieces {b:?}"),
        }
    }
}
