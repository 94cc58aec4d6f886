//! Formats of texts.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// True if a text has a format, or nobody here knows the format.
pub(super) fn fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" => is_time(text),
        "date" => has_shape(text, "dddd-dd-dd"),
        "byte" => base64_error(text).is_none(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_network(text),
        "uuid" => text.len() == 36 && has_shape(text, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh"),
        _ => true,
    }
}

fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let limit = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= limit)
}

/// True if the text begins with this shape: `d` a digit, `h` a hexadecimal one, anything else itself.
fn has_shape(text: &str, shape: &str) -> bool {
    text.len() >= shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, want)| match want {
            b'd' => byte.is_ascii_digit(),
            b'h' => byte.is_ascii_hexdigit(),
            other => byte == other,
        })
}

/// RFC 3339.
pub(super) fn is_time(text: &str) -> bool {
    let shape = "dddd-dd-ddTdd:dd:dd";
    if !has_shape(text, shape) {
        return false;
    }
    let rest = &text[shape.len()..];
    let rest = rest.strip_prefix('.').map_or(rest, |digits| digits.trim_start_matches(|c: char| c.is_ascii_digit()));
    rest == "Z" || (rest.len() == 6 && rest.starts_with(['+', '-']) && has_shape(&rest[1..], "dd:dd"))
}

/// Where a text stops being base 64 with padding, as Go counts it.
pub(super) fn base64_error(text: &str) -> Option<usize> {
    let mut quantum = 0;
    let mut padding = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            _ if padding && quantum == 0 => return Some(at),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if !padding => quantum = (quantum + 1) % 4,
            b'=' if quantum >= 2 => {
                padding = true;
                quantum = (quantum + 1) % 4;
            }
            _ => return Some(at),
        }
    }
    match (quantum, padding) {
        (0, _) => None,
        (_, true) => Some(text.len()),
        (open, false) => Some(text.len() - open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let cases = [
            ("date-time", "2026-01-02T03:04:05Z", true),
            ("date-time", "2026-01-02T03:04:05.123+01:00", true),
            ("date-time", "2026-01-02 03:04:05Z", false),
            ("date-time", "ä", false),
            ("date-time", "2026-01-02T03:04:05+ä0", false),
            ("ipv4", "10.0.0.1", true),
            ("ipv4", "10.0.0.256", false),
            ("ipv6", "::1", true),
            ("cidr", "10.0.0.0/24", true),
            ("cidr", "10.0.0.0/33", false),
            ("uuid", "00000000-0000-0000-0000-000000000000", true),
            ("uuid", "x", false),
            ("byte", "dg==", true),
            ("no-such-format", "anything", true),
        ];
        for (format, text, expected) in cases {
            assert_eq!(fits(format, text), expected, "{format} {text}");
        }
        for (text, place) in [
            ("", None),
            ("aGk=", None),
            ("not base64!", Some(3)),
            ("abc", Some(0)),
            ("ab=c", Some(3)),
            ("a===", Some(1)),
            ("ab==c", Some(4)),
        ] {
            assert_eq!(base64_error(text), place, "{text:?}");
        }
    }
}
