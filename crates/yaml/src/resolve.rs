//! What a plain scalar means.

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// go-yaml v2, which reads Helm values and, below sigs.k8s.io/yaml, Kubernetes manifests:
    /// `yes`, `on`, `y` are booleans.
    V2,
    /// go-yaml v3: only `true` and `false` are.
    V3,
}

/// The meaning of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// Empty, `~`, `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number that 64 bits hold, with or without sign.
    Integer(i128),
    /// Any other number, `.inf` and `.nan` included.
    Float(f64),
    /// A date; it is read as text, but a text that looks like one needs quotes.
    Timestamp,
    /// `<<`.
    Merge,
    /// The text itself.
    Text,
}

/// The meaning of a plain scalar.
pub fn resolve(text: &str, dialect: Dialect) -> Scalar {
    // Most texts begin as nothing else does, or are longer than any word.
    match text.as_bytes() {
        [b'+' | b'-' | b'0'..=b'9', ..] => {}
        [first, rest @ ..] if rest.len() > 4 || !b"~nNtTfF.<yYoO".contains(first) => {
            return if *first == b'.' { float(text).map_or(Scalar::Text, Scalar::Float) } else { Scalar::Text };
        }
        _ => {}
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        "<<" => return Scalar::Merge,
        _ => {}
    }
    if dialect == Dialect::V2 {
        match text {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Scalar::Bool(true),
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Scalar::Bool(false),
            _ => {}
        }
    }
    match text.as_bytes().first() {
        Some(b'.') => float(text).map_or(Scalar::Text, Scalar::Float),
        Some(b'+' | b'-' | b'0'..=b'9') => number(text),
        _ => Scalar::Text,
    }
}

fn number(text: &str) -> Scalar {
    if is_timestamp(text) {
        return Scalar::Timestamp;
    }
    let plain = text.replace('_', "");
    match integer(&plain) {
        Some(number) => Scalar::Integer(number),
        None => float(&plain).map_or(Scalar::Text, Scalar::Float),
    }
}

/// Decimal, `0x`, `0o`, `0b`, or octal by a leading zero; within i64 or u64.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let prefixed = |radix: u32, lower: &str, upper: &str| {
        digits.strip_prefix(lower).or_else(|| digits.strip_prefix(upper)).map(|rest| (radix, rest))
    };
    let (radix, digits) = prefixed(16, "0x", "0X")
        .or_else(|| prefixed(8, "0o", "0O"))
        .or_else(|| prefixed(2, "0b", "0B"))
        .or_else(|| digits.strip_prefix('0').filter(|rest| !rest.is_empty()).map(|rest| (8, rest)))
        .unwrap_or((10, digits));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    let number = if negative { -number } else { number };
    let signed = text.starts_with(['-', '+']);
    let limit = if signed { i128::from(i64::MAX) } else { i128::from(u64::MAX) };
    (i128::from(i64::MIN)..=limit).contains(&number).then_some(number)
}

/// Digits with an optional point and exponent; what 64 bits cannot hold is no number.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) || !exponent_fits {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// `2006-1-2`, alone or with a time behind `T`, `t` (with zone) or a space (without).
fn is_timestamp(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((text.as_bytes()[at], &text[at + 1..]))),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let (Some(year), Some(month), Some(day)) = (digits(year, 4, 4), digits(month, 1, 2), digits(day, 1, 2)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return false,
    };
    (1..=days).contains(&day) && time.is_none_or(|(separator, time)| is_time(time, separator != b' '))
}

fn is_time(text: &str, zoned: bool) -> bool {
    let clock = if zoned {
        let zone = text.rfind(['+', '-']).filter(|at| {
            let zone = &text.as_bytes()[at + 1..];
            zone.len() == 5
                && zone[2] == b':'
                && digits(&text[at + 1..at + 3], 2, 2).is_some_and(|hours| hours <= 24)
                && digits(&text[at + 4..], 2, 2).is_some_and(|minutes| minutes < 60)
        });
        match (text.strip_suffix('Z'), zone) {
            (Some(clock), _) => clock,
            (None, Some(at)) => &text[..at],
            (None, None) => return false,
        }
    } else {
        text
    };
    let mut parts = clock.split(':');
    let (Some(hours), Some(minutes), Some(seconds), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (seconds, fraction) = seconds.split_once(['.', ',']).unwrap_or((seconds, "0"));
    digits(hours, 1, 2).is_some_and(|hours| hours < 24)
        && digits(minutes, 1, 2).is_some_and(|minutes| minutes < 60)
        && digits(seconds, 1, 2).is_some_and(|seconds| seconds < 60)
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

fn digits(text: &str, least: usize, most: usize) -> Option<u32> {
    let fits = (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_as_go_reads_them() {
        use Scalar::{Bool, Float, Integer, Merge, Null, Text, Timestamp};
        let cases = [
            ("", Null),
            ("~", Null),
            ("yes", Bool(true)),
            ("OFF", Bool(false)),
            ("oN", Text),
            ("0", Integer(0)),
            ("017", Integer(15)),
            ("0o17", Integer(15)),
            ("0x1F", Integer(31)),
            ("-0b11", Integer(-3)),
            ("1_000", Integer(1000)),
            ("08", Float(8.0)),
            ("18446744073709551615", Integer(18_446_744_073_709_551_615)),
            ("18446744073709551616", Float(1.844_674_407_370_955_2e19)),
            ("1e3", Float(1000.0)),
            ("1.", Float(1.0)),
            (".5", Float(0.5)),
            ("+.5", Float(0.5)),
            ("1e999", Text),
            (".", Text),
            ("-", Text),
            ("1.2.3", Text),
            ("1:20", Text),
            ("0x", Text),
            ("<<", Merge),
            ("2026-11-21", Timestamp),
            ("2026-2-30", Text),
            ("2026-1-2T3:4:5Z", Timestamp),
            ("2026-01-02t03:04:05.25+01:00", Timestamp),
            ("2026-01-02 03:04:05", Timestamp),
            ("2026-01-02 03:04:05Z", Text),
            ("12e03", Float(12000.0)),
            ("1e", Text),
            ("+", Text),
        ];
        for (text, meaning) in cases {
            assert_eq!(resolve(text, Dialect::V2), meaning, "{text:?}");
        }
        for text in ["y", "no", "On"] {
            assert_eq!(resolve(text, Dialect::V3), Text, "{text:?}");
        }
    }
}
