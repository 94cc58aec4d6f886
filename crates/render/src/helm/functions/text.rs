//! Texts.

use super::number::to_int;
use super::types::text;
use super::{Result, fail, table};
use template::{Call, Fault, Function, Value, from_bytes, is_binary, quoted, to_bytes};

pub(super) const FUNCTIONS: &[Function] = table! {
    "hello" "" |_| Ok("Hello!".into());
    "abbrev" "is" |call| Ok(abbreviate(call.str(1), 0, call.int(0)).into());
    "abbrevboth" "iis" |call| Ok(abbreviate_both(call.str(2), call.int(0), call.int(1)).into());
    "trunc" "is" truncate;
    "trim" "s" |call| part(call, 0, str::trim);
    "upper" "s" |call| Ok(call.str(0).to_uppercase().into());
    "lower" "s" |call| Ok(call.str(0).to_lowercase().into());
    "title" "s" |call| Ok(title(call.str(0)).into());
    "untitle" "s" |call| Ok(uncapitalized(call.str(0)).into());
    "substr" "iis" substring;
    "repeat" "is" repeat;
    "trimall" "ss" |call| trim_all(call);
    "trimAll" "ss" |call| trim_all(call);
    "trimSuffix" "ss" |call| { let end = call.text(0); part(call, 1, |text| text.strip_suffix(&*end).unwrap_or(text)) };
    "trimPrefix" "ss" |call| { let end = call.text(0); part(call, 1, |text| text.strip_prefix(&*end).unwrap_or(text)) };
    "nospace" "s" |call| Ok(call.str(0).split_whitespace().collect::<String>().into());
    "initials" "s" |call| Ok(call.str(0).split_whitespace().filter_map(|word| word.chars().next()).collect::<String>().into());
    "swapcase" "s" |call| Ok(swap_case(call.str(0)).into());
    "snakecase" "s" |call| Ok(connected(call.str(0), '_').into());
    "kebabcase" "s" |call| Ok(connected(call.str(0), '-').into());
    "camelcase" "s" |call| Ok(pascal(call.str(0)).into());
    "wrap" "is" |call| Ok(wrapped(call.str(1), call.int(0), "", false).into());
    "wrapWith" "iss" |call| Ok(wrapped(call.str(2), call.int(0), call.str(1), true).into());
    "contains" "ss" |call| Ok(Value::Bool(call.str(1).contains(call.str(0))));
    "hasPrefix" "ss" |call| Ok(Value::Bool(call.str(1).starts_with(call.str(0))));
    "hasSuffix" "ss" |call| Ok(Value::Bool(call.str(1).ends_with(call.str(0))));
    "quote" "a*" |call| Ok(each(&call.args, |value| quoted(&text(value))).into());
    "squote" "a*" |call| Ok(each(&call.args, |value| format!("'{}'", template::print(value))).into());
    "cat" "a*" |call| Ok(each(&call.args, template::print).into());
    "indent" "is" |call| indented(call, "");
    "nindent" "is" |call| indented(call, "\n");
    "replace" "sss" replace;
    "plural" "ssi" |call| { let at = usize::from(call.int(2) != 1); Ok(call.take(at)) };
    "toStrings" "a" |call| Ok(Value::texts(texts(&call.args[0])));
    "join" "sa" |call| Ok(texts(&call.args[1]).join(call.str(0)).into());
    "split" "ss" |call| Ok(numbered(split(call.str(1), call.str(0))));
    "splitn" "sis" |call| {
        let (text, separator) = (call.str(2), call.str(0));
        Ok(numbered(match usize::try_from(call.int(1)) {
            Err(_) => split(text, separator),
            Ok(0) => Vec::new(),
            Ok(most) if separator.is_empty() => {
                let cut = text.char_indices().nth(most - 1).map_or(text.len(), |(at, _)| at);
                let mut parts = split(&text[..cut], separator);
                parts.extend((cut < text.len()).then(|| text[cut..].to_owned()));
                parts
            }
            Ok(most) => text.splitn(most, separator).map(str::to_owned).collect(),
        }))
    };
    "splitList" "ss" |call| Ok(Value::texts(split(call.str(1), call.str(0))));
};

/// The same text shared if nothing of it is cut away.
fn part(call: &mut Call<'_, '_>, at: usize, cut: impl Fn(&str) -> &str) -> Result {
    let whole = call.text(at);
    let rest = cut(&whole);
    Ok(if rest.len() == whole.len() { Value::Text(whole) } else { rest.into() })
}

fn trim_all(call: &mut Call<'_, '_>) -> Result {
    let cutset = call.text(0);
    part(call, 1, |text| text.trim_matches(|character| cutset.contains(character)))
}

/// All that are not nil, with spaces between.
fn each(args: &[Value], write: impl Fn(&Value) -> String) -> String {
    let parts: Vec<String> = args.iter().filter(|value| !value.is_nil()).map(write).collect();
    parts.join(" ")
}

/// The elements of a list as texts, nil left out; anything else as the only element.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Missing | Value::Nil => Vec::new(),
        Value::List(list) => list.items.iter().filter(|item| !item.is_nil()).map(text).collect(),
        Value::Bytes(bytes) => bytes.iter().map(u8::to_string).collect(),
        other => vec![text(other)],
    }
}

fn split(text: &str, separator: &str) -> Vec<String> {
    if separator.is_empty() {
        return text.chars().map(String::from).collect();
    }
    text.split(separator).map(str::to_owned).collect()
}

fn numbered(parts: Vec<String>) -> Value {
    let entries = parts.into_iter().enumerate().map(|(index, part)| (format!("_{index}").into(), part.into()));
    let map = template::Map::new(entries.collect());
    Value::Map(map.typed(template::Of::Text))
}

/// Bytes from and to, as Go cuts: a character may fall apart.
fn bytes_of(text: &str, from: usize, to: usize) -> Value {
    match text.get(from..to) {
        Some(part) if !is_binary(text) => part.into(),
        _ => from_bytes(&to_bytes(text)[from..to]).into(),
    }
}

fn truncate(call: &mut Call<'_, '_>) -> Result {
    let whole = call.text(1);
    let length = to_bytes(&whole).len();
    let count = call.int(0);
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    Ok(if size >= length && !(count == 0 && length > 0) {
        Value::Text(whole)
    } else if count < 0 {
        bytes_of(&whole, length - size, length)
    } else {
        bytes_of(&whole, 0, size)
    })
}

fn substring(call: &mut Call<'_, '_>) -> Result {
    let whole = call.text(2);
    let length = to_bytes(&whole).len();
    let size = i64::try_from(length).unwrap_or(i64::MAX);
    let (start, end) = (call.int(0), call.int(1));
    let (from, to) = if start < 0 {
        (0, end)
    } else if end < 0 || end > size {
        (start, size)
    } else {
        (start, end)
    };
    if to < from || to > size || from < 0 {
        return fail(format!("runtime error: slice bounds out of range [{from}:{to}]"));
    }
    let at = |index: i64| usize::try_from(index).unwrap_or(0);
    Ok(bytes_of(&whole, at(from), at(to)))
}

fn repeat(call: &mut Call<'_, '_>) -> Result {
    let Ok(count) = usize::try_from(call.int(0)) else { return fail("strings: negative Repeat count") };
    let text = call.text(1);
    call.exec.account(text.len().saturating_mul(count))?;
    Ok(text.repeat(count).into())
}

fn indented(call: &mut Call<'_, '_>, before: &str) -> Result {
    let Ok(spaces) = usize::try_from(call.int(0)) else { return fail("strings: negative Repeat count") };
    let text = call.text(1);
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let size = text.len().saturating_add(lines.saturating_mul(spaces)) + 1;
    call.exec.account(size)?;
    let mut out = String::with_capacity(size);
    out.push_str(before);
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        out.extend(std::iter::repeat_n(' ', spaces));
        out.push_str(line);
    }
    Ok(out.into())
}

fn replace(call: &mut Call<'_, '_>) -> Result {
    let whole = call.text(2);
    let (old, new) = (call.text(0), call.text(1));
    let count = if old.is_empty() { whole.chars().count() + 1 } else { whole.matches(&*old).count() };
    if count == 0 {
        return Ok(Value::Text(whole));
    }
    call.exec.account(whole.len().saturating_add(count.saturating_mul(new.len())))?;
    Ok(whole.replace(&*old, &new).into())
}

/// `strings.Title`: the first letter of each word in upper case.
fn title(text: &str) -> String {
    let mut last = ' ';
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let is_inside = last.is_alphanumeric() || last == '_' || (!last.is_ascii() && !last.is_whitespace());
        if is_inside {
            out.push(character);
        } else {
            out.extend(character.to_uppercase());
        }
        last = character;
    }
    out
}

fn uncapitalized(text: &str) -> String {
    let mut first = true;
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let is_space = character.is_whitespace();
        if first && !is_space {
            out.extend(character.to_lowercase());
        } else {
            out.push(character);
        }
        first = is_space;
    }
    out
}

fn swap_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_uppercase() {
            out.extend(character.to_lowercase());
        } else {
            out.extend(character.to_uppercase());
        }
    }
    out
}

fn abbreviate(text: &str, offset: usize, width: i64) -> String {
    let Ok(width) = usize::try_from(width) else { return text.to_owned() };
    let length = text.len();
    if width < 4 || length <= width {
        return text.to_owned();
    }
    let cut = |from: usize, to: usize| from_bytes(&text.as_bytes()[from.min(length)..to.min(length)]);
    let mut offset = offset.min(length);
    if length - offset < width - 3 {
        offset = length - (width - 3);
    }
    if offset <= 4 {
        return format!("{}...", cut(0, width - 3));
    }
    if width < 7 {
        return String::new();
    }
    if offset + (width - 3) < length {
        return format!("...{}", abbreviate(&cut(offset, length), 0, i64::try_from(width - 3).unwrap_or(0)));
    }
    format!("...{}", cut(length - (width - 3), length))
}

fn abbreviate_both(text: &str, left: i64, right: i64) -> String {
    if right < 4 || (left > 0 && right < 7) {
        return text.to_owned();
    }
    abbreviate(text, usize::try_from(left).unwrap_or(0), right)
}

#[derive(PartialEq, Clone, Copy)]
enum Letter {
    Upper,
    Lower,
    Digit,
    Connector,
    Other,
}

fn letter(character: char) -> Letter {
    match character {
        '_' | '-' | ' ' => Letter::Connector,
        other if other.is_numeric() => Letter::Digit,
        other if other.is_uppercase() => Letter::Upper,
        other if other.is_lowercase() => Letter::Lower,
        other if other.is_whitespace() || other.is_ascii_punctuation() => Letter::Connector,
        _ => Letter::Other,
    }
}

/// `FirstName` → `first_name`, `HTTPServer` → `http_server`, `Sample2Text` → `sample_2_text`.
fn connected(text: &str, connector: char) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len() + 8);
    for (index, character) in characters.iter().enumerate() {
        let kind = letter(*character);
        let before = index.checked_sub(1).map(|before| letter(characters[before]));
        let after = characters.get(index + 1).map(|after| letter(*after));
        let starts = match (before, kind) {
            (None | Some(Letter::Connector), _) | (_, Letter::Connector) => false,
            (Some(Letter::Upper), Letter::Upper) => after == Some(Letter::Lower),
            (Some(before), Letter::Upper) => before != Letter::Upper,
            (Some(Letter::Digit), Letter::Lower) => {
                let run = characters[..index].iter().rev().take_while(|c| letter(**c) == Letter::Digit).count();
                let ahead = characters[..index - run].last().map(|c| letter(*c));
                ahead == Some(Letter::Lower) || (ahead == Some(Letter::Upper) && run > 0)
            }
            (Some(Letter::Lower), Letter::Digit) => true,
            (Some(Letter::Upper), Letter::Digit) => true,
            _ => false,
        };
        if starts {
            out.push(connector);
        }
        if kind == Letter::Connector {
            out.push(if matches!(character, '_' | '-' | ' ') { connector } else { *character });
        } else {
            out.extend(character.to_lowercase());
        }
    }
    out
}

/// `some_words` → `SomeWords`; what is no connector at either end stays.
fn pascal(text: &str) -> String {
    let is_connector = |character: char| matches!(character, '_' | '-' | ' ');
    let start = text.find(|character| !is_connector(character)).unwrap_or(text.len());
    let mut out = text[..start].to_owned();
    let (mut upper, mut held, mut last_upper) = (true, String::new(), false);
    let body: Vec<char> = text[start..].chars().collect();
    for (index, character) in body.iter().enumerate() {
        if is_connector(*character) {
            held.push(*character);
            upper = true;
            continue;
        }
        held.clear();
        if upper {
            out.extend(character.to_uppercase());
        } else if character.is_uppercase() {
            let next_lower = body.get(index + 1).is_some_and(|next| next.is_lowercase());
            if last_upper && !next_lower {
                out.extend(character.to_lowercase());
            } else {
                out.push(*character);
            }
        } else {
            out.push(*character);
        }
        last_upper = character.is_uppercase();
        upper = false;
    }
    out.push_str(&held);
    out
}

/// Lines of at most so many bytes, broken at spaces.
fn wrapped(text: &str, width: i64, line_end: &str, long_words: bool) -> String {
    let line_end = if line_end.is_empty() { "\n" } else { line_end };
    let width = usize::try_from(width.max(1)).unwrap_or(1);
    let bytes = text.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut offset = 0;
    while bytes.len() - offset > width {
        if bytes[offset] == b' ' {
            offset += 1;
            continue;
        }
        let end = width + offset + 1;
        if let Some(space) = bytes[offset..end].iter().rposition(|byte| *byte == b' ') {
            out.extend(&bytes[offset..offset + space]);
            offset += space + 1;
        } else if long_words {
            out.extend(&bytes[offset..offset + width]);
            offset += width;
        } else if let Some(space) = bytes[offset + width..].iter().position(|byte| *byte == b' ') {
            out.extend(&bytes[offset..offset + width + space]);
            offset += width + space + 1;
        } else {
            out.extend(&bytes[offset..]);
            offset = bytes.len();
            continue;
        }
        out.extend(line_end.as_bytes());
    }
    out.extend(&bytes[offset..]);
    from_bytes(&out)
}

/// A length or position that a caller gave as any number.
pub(super) fn position(value: &Value) -> std::result::Result<usize, Fault> {
    usize::try_from(to_int(value)).map_err(|_| Fault::plain("an index is negative"))
}
