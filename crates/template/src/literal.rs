//! Go's literals: quoted texts, characters, numbers.

use crate::ast::Number;
use crate::value::from_bytes;

/// The text that a quoted literal stands for.
pub(crate) fn unquote(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('`') {
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        let (part, after) = one(rest, '"')?;
        match part {
            Part::Byte(byte) => bytes.push(byte),
            Part::Character(character) => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
        rest = after;
    }
    Some(from_bytes(&bytes))
}

enum Part {
    Byte(u8),
    Character(char),
}

/// A character or an escape, and what follows it.
fn one(text: &str, quote: char) -> Option<(Part, &str)> {
    let mut characters = text.chars();
    let first = characters.next()?;
    if first != '\\' {
        return (first != quote).then_some((Part::Character(first), characters.as_str()));
    }
    let code = characters.next()?;
    let rest = characters.as_str();
    let hex = |length: usize| u32::from_str_radix(rest.get(..length)?, 16).ok().map(|code| (code, &rest[length..]));
    let simple = |character: char| Some((Part::Character(character), rest));
    match code {
        'a' => simple('\x07'),
        'b' => simple('\x08'),
        'f' => simple('\x0c'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        'v' => simple('\x0b'),
        '\\' => simple('\\'),
        '\'' | '"' if code == quote => simple(code),
        'x' => hex(2).and_then(|(code, rest)| Some((Part::Byte(u8::try_from(code).ok()?), rest))),
        'u' => hex(4).and_then(|(code, rest)| Some((Part::Character(char::from_u32(code)?), rest))),
        'U' => hex(8).and_then(|(code, rest)| Some((Part::Character(char::from_u32(code)?), rest))),
        '0'..='7' => {
            let octal = text.get(1..4)?;
            let code = u32::from_str_radix(octal, 8).ok()?;
            Some((Part::Byte(u8::try_from(code).ok()?), &text[4..]))
        }
        _ => None,
    }
}

/// The number that a literal stands for.
pub(crate) fn number(literal: &str) -> Option<Number> {
    if let Some(inner) = literal.strip_prefix('\'') {
        let (part, rest) = one(inner, '\'')?;
        let code = match part {
            Part::Byte(byte) => i64::from(byte),
            Part::Character(character) => i64::from(u32::from(character)),
        };
        #[allow(clippy::cast_precision_loss)]
        return (rest == "'").then_some(Number { int: Some(code), float: Some(code as f64), is_float: false });
    }
    let is_hex = literal.trim_start_matches(['+', '-']).to_ascii_lowercase().starts_with("0x");
    let is_float = if is_hex { literal.contains(['p', 'P']) } else { literal.contains(['.', 'e', 'E']) };
    if let Some(int) = integer(literal) {
        #[allow(clippy::cast_precision_loss)]
        return Some(Number { int: Some(int), float: Some(int as f64), is_float });
    }
    let plain = literal.replace('_', "");
    if !is_float {
        return None;
    }
    let float: f64 = if is_hex { hex_float(&plain)? } else { plain.parse().ok()? };
    if !float.is_finite() {
        return None;
    }
    #[allow(clippy::cast_possible_truncation)]
    let int = (float.fract() == 0.0 && float.abs() < 9e18).then_some(float as i64);
    Some(Number { int, float: Some(float), is_float })
}

/// `0x1.8p3`.
#[allow(clippy::cast_precision_loss)]
fn hex_float(literal: &str) -> Option<f64> {
    let (sign, body) = match literal.strip_prefix('-') {
        Some(body) => (-1.0, body),
        None => (1.0, literal.strip_prefix('+').unwrap_or(literal)),
    };
    let (mantissa, exponent) = body.get(2..)?.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()?;
    let exponent = exponent.parse::<i32>().ok()? - 4 * i32::try_from(fraction.len()).ok()?;
    Some(sign * digits as f64 * 2_f64.powi(exponent))
}

/// An integer as `strconv.ParseInt` reads it with base 0.
pub fn integer(literal: &str) -> Option<i64> {
    let (negative, digits) = match literal.as_bytes().first()? {
        b'-' => (true, &literal[1..]),
        b'+' => (false, &literal[1..]),
        _ => (false, literal),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = if let Some(body) = lower.strip_prefix("0x") {
        (16, body)
    } else if let Some(body) = lower.strip_prefix("0b") {
        (2, body)
    } else if let Some(body) = lower.strip_prefix("0o") {
        (8, body)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    let body = if body.contains('_') {
        if body.ends_with('_') || body.contains("__") || (radix == 10 && body.starts_with('_')) {
            return None;
        }
        body.replace('_', "")
    } else {
        body.to_owned()
    };
    if body.is_empty() || !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from_str_radix(&body, radix).ok()?;
    i64::try_from(if negative { -number } else { number }).ok()
}
