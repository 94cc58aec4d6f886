//! JSON as Go writes it.

use super::{Result, fail};
use std::fmt::Write;
use template::{Value, from_bytes};

/// How to write.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// `<`, `>` and `&` as escapes.
    pub html: bool,
    /// Two spaces a level.
    pub pretty: bool,
}

/// A value as JSON.
pub(super) fn write(value: &Value, form: Form) -> Result<String> {
    let mut out = String::new();
    put(&mut out, value, form, 0)?;
    Ok(out)
}

fn line(out: &mut String, form: Form, depth: usize) {
    if form.pretty {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth * 2));
    }
}

fn put(out: &mut String, value: &Value, form: Form, depth: usize) -> Result<()> {
    if depth > 1000 {
        return fail("json: unsupported value: encountered a cycle");
    }
    match value {
        Value::Missing | Value::Nil => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) | Value::Int64(number) => _ = write!(out, "{number}"),
        Value::Byte(byte) => _ = write!(out, "{byte}"),
        Value::Float(number) => out.push_str(&float(*number)?),
        Value::Text(text) => quoted(out, text, form),
        Value::Bytes(bytes) => {
            use base64::Engine;
            _ = write!(out, "\"{}\"", base64::engine::general_purpose::STANDARD.encode(bytes));
        }
        Value::List(list) if list.items.is_empty() => out.push_str("[]"),
        Value::List(list) => {
            for (index, item) in list.items.iter().enumerate() {
                out.push(if index > 0 { ',' } else { '[' });
                line(out, form, depth + 1);
                put(out, item, form, depth + 1)?;
            }
            line(out, form, depth);
            out.push(']');
        }
        Value::Map(map) if map.is_empty() => out.push_str("{}"),
        Value::Map(map) => {
            let entries = map.entries();
            members(out, entries.iter().map(|(key, item)| (&**key, item)), form, depth)?;
        }
        Value::Object(object) => match object.fields() {
            Some(fields) => members(out, fields.iter().map(|(key, item)| (*key, item)), form, depth)?,
            None => put(out, &object.plain(), form, depth)?,
        },
    }
    Ok(())
}

fn members<'a>(
    out: &mut String,
    pairs: impl Iterator<Item = (&'a str, &'a Value)>,
    form: Form,
    depth: usize,
) -> Result<()> {
    out.push('{');
    for (index, (key, item)) in pairs.enumerate() {
        out.push_str(if index > 0 { "," } else { "" });
        line(out, form, depth + 1);
        quoted(out, key, form);
        out.push_str(if form.pretty { ": " } else { ":" });
        put(out, item, form, depth + 1)?;
    }
    line(out, form, depth);
    out.push('}');
    Ok(())
}

/// A float: plain, or with an exponent when very large or small.
pub(super) fn float(number: f64) -> Result<String> {
    if !number.is_finite() {
        return fail(format!("json: unsupported value: {}", template::float(number)));
    }
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return Ok(format!("{number}"));
    }
    let text = format!("{number:e}");
    Ok(match text.split_once("e-") {
        Some((mantissa, exponent)) => format!("{mantissa}e-{exponent}"),
        None => text.replace('e', "e+"),
    })
}

fn quoted(out: &mut String, text: &str, form: Form) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '<' | '>' | '&' if form.html => _ = write!(out, "\\u{:04x}", u32::from(character)),
            '\0'..='\x1f' | '\u{2028}' | '\u{2029}' => _ = write!(out, "\\u{:04x}", u32::from(character)),
            '\u{10FE00}'..='\u{10FEFF}' => out.push_str("\\ufffd"),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// A JSON text as a value.
pub(super) fn read(text: &str) -> std::result::Result<Value, String> {
    let bytes = template::to_bytes(text);
    let value = match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(value) => value,
        Err(_) if text.trim().is_empty() => return Err("unexpected end of JSON input".into()),
        Err(error) if error.is_eof() => return Err("unexpected end of JSON input".into()),
        Err(error) => {
            let at = bytes
                .split(|byte| *byte == b'\n')
                .take(error.line().saturating_sub(1))
                .map(|l| l.len() + 1)
                .sum::<usize>();
            let found = bytes.get(at + error.column().saturating_sub(1)).copied().unwrap_or(b' ');
            let found = from_bytes(&[found]);
            return Err(format!("invalid character '{found}' looking for beginning of value"));
        }
    };
    Ok(super::value_of(&value))
}
