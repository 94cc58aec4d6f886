//! Regular expressions with Go's syntax.

use super::{Result, fail, host, table};
use regex::Regex;
use std::rc::Rc;
use template::{Call, Function, Value};

pub(super) const FUNCTIONS: &[Function] = table! {
    "regexMatch" "ss" |call| {
        let found = compiled(call).is_ok_and(|pattern| pattern.is_match(call.str(1)));
        Ok(Value::Bool(found))
    };
    "mustRegexMatch" "ss" |call| Ok(Value::Bool(compiled(call)?.is_match(call.str(1))));
    "regexFind" "ss" find;
    "mustRegexFind" "ss" find;
    "regexFindAll" "ssi" find_all;
    "mustRegexFindAll" "ssi" find_all;
    "regexReplaceAll" "sss" |call| replace(call, false);
    "mustRegexReplaceAll" "sss" |call| replace(call, false);
    "regexReplaceAllLiteral" "sss" |call| replace(call, true);
    "mustRegexReplaceAllLiteral" "sss" |call| replace(call, true);
    "regexSplit" "ssi" split;
    "mustRegexSplit" "ssi" split;
    "regexQuoteMeta" "s" |call| Ok(quoted(call.str(0)).into());
};

fn compiled(call: &Call<'_, '_>) -> Result<Rc<Regex>> {
    let pattern = call.str(0);
    let mut known = host(call).patterns.borrow_mut();
    if let Some(regex) = known.get(pattern) {
        return Ok(Rc::clone(regex));
    }
    match regex::RegexBuilder::new(&translated(pattern)).size_limit(4 << 20).build() {
        Ok(regex) => {
            let regex = Rc::new(regex);
            known.insert(call.text(0), Rc::clone(&regex));
            Ok(regex)
        }
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            fail(format!("error parsing regexp: {reason}: `{pattern}`"))
        }
    }
}

/// What stands before a place in a class: it says what a hyphen means there.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    /// Nothing, a whole range, or a class of its own (`\w`): a hyphen is one.
    Whole,
    /// A character: a hyphen behind it makes a range.
    Character,
    /// The hyphen of a range.
    Hyphen,
}

/// Go's syntax in the library's words: classes are of ASCII, brackets, braces and hyphens may stand for themselves.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    let mut before = Before::Whole;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        match character {
            '\\' => {
                if let Some(literal) = after.strip_prefix('Q').filter(|_| !in_class) {
                    let (literal, behind) = literal.split_once("\\E").unwrap_or((literal, ""));
                    out.push_str(&regex::escape(literal));
                    rest = behind;
                    continue;
                }
                let code = after.chars().next();
                match (code, in_class) {
                    (Some('d'), false) => out.push_str("[0-9]"),
                    (Some('d'), true) => out.push_str("0-9"),
                    (Some('w'), false) => out.push_str("[0-9A-Za-z_]"),
                    (Some('w'), true) => out.push_str("0-9A-Za-z_"),
                    (Some('s'), false) => out.push_str("[\\t\\n\\f\\r ]"),
                    (Some('s'), true) => out.push_str("\\t\\n\\f\\r "),
                    (Some('D'), _) => out.push_str("[^0-9]"),
                    (Some('W'), _) => out.push_str("[^0-9A-Za-z_]"),
                    (Some('S'), _) => out.push_str("[^\\t\\n\\f\\r ]"),
                    (Some('b'), false) => out.push_str("(?-u:\\b)"),
                    (Some(other), _) => {
                        out.push('\\');
                        out.push(other);
                    }
                    (None, _) => out.push('\\'),
                }
                rest = code.map_or("", |code| &after[code.len_utf8()..]);
                before = match (code, before) {
                    (Some('d' | 'w' | 's' | 'D' | 'W' | 'S'), _) | (_, Before::Hyphen) => Before::Whole,
                    _ => Before::Character,
                };
                continue;
            }
            '-' if in_class => {
                let is_range = before == Before::Character && !after.starts_with(']');
                out.push_str(if is_range { "-" } else { "\\-" });
                before = if is_range { Before::Hyphen } else { Before::Character };
                rest = after;
                continue;
            }
            '[' if !in_class => {
                (in_class, before) = (true, Before::Whole);
                out.push('[');
                rest = after;
                if let Some(behind) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = behind;
                }
                if let Some(behind) = rest.strip_prefix(']') {
                    out.push_str("\\]");
                    (rest, before) = (behind, Before::Character);
                }
                continue;
            }
            '[' if after.starts_with(':') => {
                let end = after.find(":]").map_or(0, |end| end + 2);
                out.push('[');
                out.push_str(&after[..end]);
                (rest, before) = (&after[end..], Before::Whole);
                continue;
            }
            '[' | '&' | '~' if in_class => {
                out.push('\\');
                out.push(character);
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '{' if !in_class && !is_repetition(after) => out.push_str("\\{"),
            other => out.push(other),
        }
        before = if before == Before::Hyphen { Before::Whole } else { Before::Character };
        rest = after;
    }
    out
}

/// `2}`, `2,}`, `2,3}`.
fn is_repetition(text: &str) -> bool {
    let Some((inner, _)) = text.split_once('}') else { return false };
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    !least.is_empty() && least.bytes().chain(most.bytes()).all(|byte| byte.is_ascii_digit())
}

fn find(call: &mut Call<'_, '_>) -> Result {
    let pattern = compiled(call)?;
    Ok(pattern.find(call.str(1)).map_or("", |found| found.as_str()).into())
}

fn find_all(call: &mut Call<'_, '_>) -> Result {
    let pattern = compiled(call)?;
    let most = usize::try_from(call.int(2)).unwrap_or(usize::MAX);
    Ok(Value::texts(pattern.find_iter(call.str(1)).take(most).map(|found| found.as_str())))
}

fn replace(call: &mut Call<'_, '_>, literal: bool) -> Result {
    let pattern = compiled(call)?;
    let (text, by) = (call.text(1), call.text(2));
    let replaced =
        if literal { pattern.replace_all(&text, regex::NoExpand(&by)) } else { pattern.replace_all(&text, &*by) };
    call.exec.account(replaced.len())?;
    Ok(replaced.into_owned().into())
}

fn split(call: &mut Call<'_, '_>) -> Result {
    let pattern = compiled(call)?;
    let (text, most) = (call.str(1), call.int(2));
    if most == 0 {
        return Ok(Value::texts(Vec::<String>::new()));
    }
    if !call.str(0).is_empty() && text.is_empty() {
        return Ok(Value::texts([""]));
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (mut parts, mut start, mut end) = (Vec::new(), 0, 0);
    for found in pattern.find_iter(text) {
        if parts.len() + 1 >= most {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            parts.push(&text[start..end]);
        }
        start = found.end();
    }
    if end != text.len() {
        parts.push(&text[start..]);
    }
    Ok(Value::texts(parts))
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if "\\.+*?()|[]{}^$".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}
