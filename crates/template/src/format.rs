//! Go's fmt: values as texts.

use crate::value::{Of, Value, from_bytes, to_bytes};
use std::fmt::Write;

/// As `%v` prints it.
pub fn print(value: &Value) -> String {
    let mut out = String::new();
    plain(&mut out, value);
    out
}

/// A map may contain itself; what is nested deeper is left out.
const DEPTH_MAX: usize = 1000;

fn plain(out: &mut String, value: &Value) {
    nested(out, value, 0);
}

fn nested(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::List(_) | Value::Map(_) if depth > DEPTH_MAX => out.push('…'),
        Value::Missing | Value::Nil => out.push_str("<nil>"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) | Value::Int64(number) => _ = write!(out, "{number}"),
        Value::Byte(byte) => _ = write!(out, "{byte}"),
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Text(text) => out.push_str(text),
        Value::Bytes(bytes) => sequence(out, bytes.iter(), |out, byte| _ = write!(out, "{byte}")),
        Value::List(list) => sequence(out, list.items.iter(), |out, item| nested(out, item, depth + 1)),
        Value::Map(map) => {
            out.push_str("map");
            sequence(out, map.entries().iter(), |out, (key, value)| {
                out.push_str(key);
                out.push(':');
                nested(out, value, depth + 1);
            });
        }
        Value::Object(object) => out.push_str(&object.print()),
    }
}

fn sequence<T>(out: &mut String, items: impl Iterator<Item = T>, write: impl Fn(&mut String, T)) {
    out.push('[');
    for (index, item) in items.enumerate() {
        out.push_str(if index > 0 { " " } else { "" });
        write(out, item);
    }
    out.push(']');
}

/// `fmt.Sprint`: a space between two that are no texts; or `fmt.Sprintln`: a space between all, and a line's end.
pub fn print_all(args: &[Value], line: bool) -> String {
    let mut out = String::new();
    let mut last_is_text = true;
    for (index, arg) in args.iter().enumerate() {
        let is_text = matches!(arg, Value::Text(_));
        if index > 0 && (line || (!is_text && !last_is_text)) {
            out.push(' ');
        }
        plain(&mut out, arg);
        last_is_text = is_text;
    }
    if line {
        out.push('\n');
    }
    out
}

/// A float as `%v` prints it: the fewest digits that read back as the same number.
pub fn float(number: f64) -> String {
    general(number, None, false)
}

/// `%g`.
fn general(number: f64, precision: Option<usize>, keep_zeros: bool) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let precision = precision.map(|precision| precision.max(1));
    let scientific = match precision {
        Some(precision) => format!("{number:.*e}", precision - 1),
        None => format!("{number:e}"),
    };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    // The shortest form takes an exponent from 1e6 on.
    let mut limit = precision.map_or(6, |precision| i32::try_from(precision).unwrap_or(i32::MAX));
    if precision.is_some()
        && usize::try_from(limit).is_ok_and(|limit| limit > digits)
        && digits >= usize::try_from(exponent + 1).unwrap_or(0)
    {
        limit = i32::try_from(digits).unwrap_or(limit);
    }
    let trimmed = |text: &str| {
        if text.contains('.') && !keep_zeros {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    match precision {
        None => format!("{number}"),
        Some(precision) => {
            let places = (i32::try_from(precision).unwrap_or(i32::MAX) - 1 - exponent).max(0);
            trimmed(&format!("{number:.*}", usize::try_from(places).unwrap_or(0)))
        }
    }
}

/// `%q` of a text.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    escape(&mut out, text, '"', false);
    out.push('"');
    out
}

fn escape(out: &mut String, text: &str, quote: char, ascii: bool) {
    for chunk in to_bytes(text).utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                other if other == quote => {
                    out.push('\\');
                    out.push(other);
                }
                '\x07' => out.push_str("\\a"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x0b' => out.push_str("\\v"),
                ' '..='~' => out.push(character),
                '\0'..='\x1f' | '\x7f' => _ = write!(out, "\\x{:02x}", u32::from(character)),
                other if !ascii && is_printable(other) => out.push(other),
                other if u32::from(other) < 0x1_0000 => _ = write!(out, "\\u{:04x}", u32::from(other)),
                other => _ = write!(out, "\\U{:08x}", u32::from(other)),
            }
        }
        for byte in chunk.invalid() {
            _ = write!(out, "\\x{byte:02x}");
        }
    }
}

fn is_printable(character: char) -> bool {
    !character.is_control()
        && (!character.is_whitespace() || character == ' ')
        && !('\u{200b}'..='\u{200f}').contains(&character)
        && !matches!(u32::from(character), 0xe000..=0xf8ff | 0xfeff | 0xfff9..=0xfffd | 0x2028..=0x202e | 0xad)
        || character == '\u{fffd}'
}

#[derive(Default, Clone)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Wider fields are cut, as Go refuses them.
const WIDTH_MAX: i64 = 1_000_000;

/// `fmt.Sprintf`.
pub fn printf(format: &str, args: &[Value]) -> String {
    let mut printer = Printer { out: String::new(), args, at: 0, reordered: false };
    printer.run(format);
    printer.out
}

struct Printer<'a> {
    out: String,
    args: &'a [Value],
    at: usize,
    reordered: bool,
}

impl Printer<'_> {
    fn run(&mut self, format: &str) {
        let mut rest = format;
        while let Some(percent) = rest.find('%') {
            self.out.push_str(&rest[..percent]);
            rest = self.verb(&rest[percent + 1..]);
        }
        self.out.push_str(rest);
        if !self.reordered && self.at < self.args.len() {
            self.out.push_str("%!(EXTRA ");
            for (index, arg) in self.args[self.at..].iter().enumerate() {
                self.out.push_str(if index > 0 { ", " } else { "" });
                if arg.is_nil() {
                    self.out.push_str("<nil>");
                } else {
                    self.out.push_str(arg.type_name());
                    self.out.push('=');
                    plain(&mut self.out, arg);
                }
            }
            self.out.push(')');
        }
    }

    /// `[3]` before a verb or a star: which argument is next. False if it is no good.
    fn index<'f>(&mut self, rest: &'f str) -> (&'f str, bool) {
        let Some(inner) = rest.strip_prefix('[') else { return (rest, true) };
        self.reordered = true;
        let Some((number, after)) = inner.split_once(']') else { return (inner, false) };
        match number.parse::<usize>() {
            Ok(number) if number >= 1 && number <= self.args.len() => {
                self.at = number - 1;
                (after, true)
            }
            _ => (after, false),
        }
    }

    /// `*` or digits.
    fn number<'f>(&mut self, rest: &'f str) -> (&'f str, Option<i64>, bool) {
        if let Some(after) = rest.strip_prefix('*') {
            let number = match self.args.get(self.at) {
                Some(Value::Int(number) | Value::Int64(number)) if number.abs() <= WIDTH_MAX => Some(*number),
                _ => None,
            };
            self.at += 1;
            return (after, number, number.is_none());
        }
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest[..end].parse().ok().filter(|number| *number <= WIDTH_MAX);
        (&rest[end..], number, false)
    }

    fn verb<'f>(&mut self, mut rest: &'f str) -> &'f str {
        let mut flags = Flags::default();
        loop {
            match rest.as_bytes().first() {
                Some(b'-') => flags.minus = true,
                Some(b'+') => flags.plus = true,
                Some(b'#') => flags.sharp = true,
                Some(b' ') => flags.space = true,
                Some(b'0') => flags.zero = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        let (after, mut good) = self.index(rest);
        let (after, width, bad) = self.number(after);
        rest = after;
        if bad {
            self.out.push_str("%!(BADWIDTH)");
        }
        if let Some(width) = width {
            flags.minus |= width < 0;
            flags.width = usize::try_from(width.abs()).ok();
        }
        if let Some(after) = rest.strip_prefix('.') {
            let (after, fine) = self.index(after);
            good &= fine;
            let (after, precision, bad) = self.number(after);
            rest = after;
            match precision {
                Some(precision) => flags.precision = usize::try_from(precision).ok(),
                None if bad => self.out.push_str("%!(BADPREC)"),
                None => flags.precision = Some(0),
            }
        }
        let (after, fine) = self.index(rest);
        good &= fine;
        rest = after;
        let Some(verb) = rest.chars().next() else {
            self.out.push_str("%!(NOVERB)");
            return rest;
        };
        rest = &rest[verb.len_utf8()..];
        if flags.minus {
            flags.zero = false;
        }
        if verb == '%' {
            self.out.push('%');
        } else if !good {
            _ = write!(self.out, "%!{verb}(BADINDEX)");
        } else if let Some(arg) = self.args.get(self.at) {
            self.at += 1;
            one(&mut self.out, verb, &flags, arg);
        } else {
            _ = write!(self.out, "%!{verb}(MISSING)");
        }
        rest
    }
}

fn one(out: &mut String, verb: char, flags: &Flags, value: &Value) {
    verb_of(out, verb, flags, value, 0);
}

fn verb_of(out: &mut String, verb: char, flags: &Flags, value: &Value, depth: usize) {
    if depth > DEPTH_MAX {
        return out.push('…');
    }
    // A plus asks `%v` for names of fields, not for signs.
    if verb == 'v' && flags.plus {
        return verb_of(out, verb, &Flags { plus: false, ..flags.clone() }, value, depth);
    }
    match (verb, value) {
        ('T', value) => padded(out, value.type_name(), flags),
        ('v', Value::Missing | Value::Nil) => padded(out, "<nil>", flags),
        (verb, Value::Missing | Value::Nil) => _ = write!(out, "%!{verb}(<nil>)"),
        ('v', value) if flags.sharp => padded(out, &go_syntax(value, 0), flags),
        (verb, Value::Bool(flag)) => match verb {
            't' | 'v' => padded(out, if *flag { "true" } else { "false" }, flags),
            _ => bad(out, verb, value),
        },
        (verb, Value::Int(number) | Value::Int64(number)) => integer(out, verb, flags, *number, value),
        (verb, Value::Byte(byte)) => integer(out, verb, flags, i64::from(*byte), value),
        (verb, Value::Float(number)) => floating(out, verb, flags, *number, value),
        (verb, Value::Text(text)) => string(out, verb, flags, text, value),
        ('s' | 'x' | 'X' | 'q', Value::Bytes(bytes)) => string(out, verb, flags, &from_bytes(bytes), value),
        (_, Value::Bytes(bytes)) => {
            out.push('[');
            for (index, byte) in bytes.iter().enumerate() {
                out.push_str(if index > 0 { " " } else { "" });
                one(out, verb, flags, &Value::Byte(*byte));
            }
            out.push(']');
        }
        (verb, Value::List(list)) => {
            out.push('[');
            for (index, item) in list.items.iter().enumerate() {
                out.push_str(if index > 0 { " " } else { "" });
                verb_of(out, verb, flags, item, depth + 1);
            }
            out.push(']');
        }
        (verb, Value::Map(map)) => {
            out.push_str("map[");
            for (index, (key, item)) in map.entries().iter().enumerate() {
                out.push_str(if index > 0 { " " } else { "" });
                string(out, verb, flags, key, &Value::Text(key.clone()));
                out.push(':');
                verb_of(out, verb, flags, item, depth + 1);
            }
            out.push(']');
        }
        ('v' | 's', Value::Object(object)) => padded(out, &object.print(), flags),
        ('q', Value::Object(object)) => padded(out, &quoted(&object.print()), flags),
        (verb, value) => bad(out, verb, value),
    }
}

fn bad(out: &mut String, verb: char, value: &Value) {
    _ = write!(out, "%!{verb}({}=", value.type_name());
    plain(out, value);
    out.push(')');
}

fn padded(out: &mut String, text: &str, flags: &Flags) {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    let fill = if flags.zero { '0' } else { ' ' };
    if !flags.minus {
        out.extend(std::iter::repeat_n(fill, missing));
    }
    out.push_str(text);
    if flags.minus {
        out.extend(std::iter::repeat_n(' ', missing));
    }
}

fn integer(out: &mut String, verb: char, flags: &Flags, number: i64, value: &Value) {
    let magnitude = number.unsigned_abs();
    let (digits, prefix) = match verb {
        'd' | 'v' => (format!("{magnitude}"), ""),
        'b' => (format!("{magnitude:b}"), if flags.sharp { "0b" } else { "" }),
        'o' => (format!("{magnitude:o}"), if flags.sharp { "0" } else { "" }),
        'O' => (format!("{magnitude:o}"), "0o"),
        'x' => (format!("{magnitude:x}"), if flags.sharp { "0x" } else { "" }),
        'X' => (format!("{magnitude:X}"), if flags.sharp { "0X" } else { "" }),
        'c' | 'q' | 'U' => {
            let character = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            let text = match verb {
                'c' => character.to_string(),
                'U' => format!("U+{number:04X}"),
                _ => {
                    let mut text = String::from("'");
                    escape(&mut text, character.encode_utf8(&mut [0; 4]), '\'', flags.plus);
                    text.push('\'');
                    text
                }
            };
            return padded(out, &text, flags);
        }
        _ => return bad(out, verb, value),
    };
    let sign = if number < 0 {
        "-"
    } else if flags.plus {
        "+"
    } else if flags.space {
        " "
    } else {
        ""
    };
    let mut least = flags.precision.unwrap_or(0);
    if flags.precision.is_none() && flags.zero {
        least = flags.width.unwrap_or(0).saturating_sub(sign.len());
    }
    let digits = if flags.precision == Some(0) && number == 0 { String::new() } else { digits };
    let zeros = "0".repeat(least.saturating_sub(digits.len()));
    padded(out, &format!("{sign}{prefix}{zeros}{digits}"), &Flags { zero: false, ..flags.clone() });
}

fn floating(out: &mut String, verb: char, flags: &Flags, number: f64, value: &Value) {
    let scientific = |upper: bool| {
        let text = match flags.precision {
            _ if !number.is_finite() => general(number, None, false),
            precision => format!("{number:.*e}", precision.unwrap_or(6)),
        };
        let text = match text.split_once('e') {
            Some((mantissa, exponent)) => {
                let exponent: i32 = exponent.parse().unwrap_or(0);
                format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
            }
            None => text,
        };
        if upper { text.to_uppercase() } else { text }
    };
    let text = match verb {
        'v' | 'g' => match flags.precision {
            None if verb == 'v' => float(number),
            precision => general(number, precision, flags.sharp),
        },
        'G' => general(number, flags.precision, flags.sharp).to_uppercase(),
        'f' | 'F' if number.is_finite() => format!("{number:.*}", flags.precision.unwrap_or(6)),
        'f' | 'F' => general(number, None, false),
        'e' => scientific(false),
        'E' => scientific(true),
        _ => return bad(out, verb, value),
    };
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => ("-", body),
        None if flags.plus => ("+", text.trim_start_matches('+')),
        None if flags.space => (" ", text.as_str()),
        None => ("", text.as_str()),
    };
    if flags.zero && number.is_finite() {
        let zeros = flags.width.unwrap_or(0).saturating_sub(sign.len() + body.len());
        _ = write!(out, "{sign}{}{body}", "0".repeat(zeros));
    } else {
        padded(out, &format!("{sign}{body}"), &Flags { zero: false, ..flags.clone() });
    }
}

fn string(out: &mut String, verb: char, flags: &Flags, text: &str, value: &Value) {
    let cut = |text: &str| match flags.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    };
    match verb {
        's' | 'v' if flags.width.is_none() && flags.precision.is_none() => out.push_str(text),
        's' | 'v' => padded(out, &cut(text), flags),
        'q' if flags.sharp && !text.contains(['`', '\n', '\r']) => padded(out, &format!("`{}`", cut(text)), flags),
        'q' => {
            let mut quoted = String::from("\"");
            escape(&mut quoted, &cut(text), '"', flags.plus);
            quoted.push('"');
            padded(out, &quoted, flags);
        }
        'x' | 'X' => {
            let mut hex = String::new();
            let bytes = to_bytes(text);
            for byte in bytes.iter().take(flags.precision.unwrap_or(usize::MAX)) {
                if flags.space && !hex.is_empty() {
                    hex.push(' ');
                }
                _ = if verb == 'x' { write!(hex, "{byte:02x}") } else { write!(hex, "{byte:02X}") };
            }
            let prefix = if flags.sharp && !hex.is_empty() { if verb == 'x' { "0x" } else { "0X" } } else { "" };
            padded(out, &format!("{prefix}{hex}"), flags);
        }
        _ => bad(out, verb, value),
    }
}

/// `%#v`.
fn go_syntax(value: &Value, depth: usize) -> String {
    if depth > DEPTH_MAX {
        return "…".into();
    }
    let listed = |name: &str, items: Vec<String>| format!("{name}{{{}}}", items.join(", "));
    match value {
        Value::Missing | Value::Nil => "interface {}(nil)".into(),
        Value::Text(text) => quoted(text),
        Value::Float(number) => general(*number, None, false),
        Value::List(list) => {
            listed(value.type_name(), list.items.iter().map(|item| go_syntax(item, depth + 1)).collect())
        }
        Value::Map(map) => {
            let pair =
                |(key, item): (&crate::value::Text, &Value)| format!("{}:{}", quoted(key), go_syntax(item, depth + 1));
            let name = if map.of == Of::Values { "chartutil.Values" } else { value.type_name() };
            listed(name, map.entries().iter().map(pair).collect())
        }
        Value::Bytes(bytes) => listed("[]byte", bytes.iter().map(|byte| format!("{byte:#x}")).collect()),
        Value::Byte(byte) => format!("{byte:#x}"),
        other => print(other),
    }
}
