//! Just enough of DER and PEM for keys and certificates.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: &[u8] = &[0x05, 0x00];

/// A value with its tag and length.
pub(super) fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 128 {
        out.push(u8::try_from(length).unwrap_or(0));
    } else {
        let bytes = length.to_be_bytes();
        let bytes = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(0)..];
        out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0));
        out.extend(bytes);
    }
    out.extend(content);
    out
}

/// A value made of values.
pub(super) fn nested(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    tagged(tag, &parts.concat())
}

/// A number without sign.
pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len().saturating_sub(1))..];
    let mut content = Vec::with_capacity(bytes.len() + 1);
    if bytes.first().is_none_or(|first| *first >= 0x80) {
        content.push(0);
    }
    content.extend(bytes);
    tagged(INTEGER, &content)
}

/// Bits, a whole number of bytes.
pub(super) fn bits(content: &[u8]) -> Vec<u8> {
    tagged(BIT_STRING, &[&[0], content].concat())
}

/// The first value of some bytes: its tag, its content, and what follows it.
pub(super) fn read(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = if *length < 128 {
        (usize::from(*length), rest)
    } else {
        let count = usize::from(length & 0x7f);
        let (digits, rest) = rest.split_at_checked(count).filter(|_| (1..=4).contains(&count))?;
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// The values that a content consists of: tag, content, and all of it.
pub(super) fn children(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8], &[u8])>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (tag, content, rest) = read(bytes)?;
        all.push((tag, content, &bytes[..bytes.len() - rest.len()]));
        bytes = rest;
    }
    Some(all)
}

/// Bytes in their envelope.
pub(super) fn pem(label: &str, bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// The label and the bytes of the first envelope in a text.
pub(super) fn unpem(text: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let body: String = body.split_whitespace().collect();
    Some((label, STANDARD.decode(body).ok()?))
}
