//! Values → text, byte for byte as go-yaml v2 writes them.

use crate::number::float_text;
use crate::resolve::{Dialect, Scalar, resolve};
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Text beyond this column is folded at the next single space.
const WIDTH: usize = 80;
/// A step of indentation.
const STEP: usize = 2;
/// Longer keys are written with `?`.
const MAX_SIMPLE_KEY: usize = 128;

/// A document with keys in natural order (`a2` before `a10`), as sigs.k8s.io/yaml writes it.
pub fn to_string(value: &Value) -> String {
    written(value, true)
}

/// A document with keys as they stand in the value: for files that people read and we write.
pub fn to_string_in_order(value: &Value) -> String {
    written(value, false)
}

fn written(value: &Value, sorted: bool) -> String {
    let mut writer = Writer { out: String::new(), column: 0, fresh: false, sorted };
    writer.node(value, 0, Place::Root);
    if !writer.fresh {
        writer.out.push('\n');
    }
    writer.out
}

/// Where a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    /// Behind `key:`; the map is indented as given.
    Value,
    /// Behind `- `, on the same line.
    Item,
}

struct Writer {
    out: String,
    /// In characters.
    column: usize,
    /// A block of text has ended its last line already.
    fresh: bool,
    sorted: bool,
}

impl Writer {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
        match text.rsplit_once('\n') {
            Some((_, last)) => self.column = last.chars().count(),
            None => self.column += text.chars().count(),
        }
    }

    fn line(&mut self, indent: usize) {
        if !std::mem::take(&mut self.fresh) {
            self.out.push('\n');
        }
        self.pad(indent);
    }

    fn pad(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    /// Writes a value; `indent` is that of the map or list around it.
    fn node(&mut self, value: &Value, indent: usize, place: Place) {
        match value {
            Value::Object(map) if !map.is_empty() => self.map(map, indent, place),
            Value::Array(items) if !items.is_empty() => self.list(items, indent, place),
            other => {
                if place == Place::Value {
                    self.push(" ");
                }
                let continuation = if place == Place::Root { STEP } else { indent + STEP };
                match other {
                    Value::Null => self.push("null"),
                    Value::Bool(flag) => self.push(if *flag { "true" } else { "false" }),
                    Value::Number(number) => self.push(&number_text(number)),
                    Value::String(text) => self.text(text, continuation, false),
                    Value::Array(_) => self.push("[]"),
                    Value::Object(_) => self.push("{}"),
                }
            }
        }
    }

    fn map(&mut self, map: &Map<String, Value>, indent: usize, place: Place) {
        let indent = if place == Place::Root { 0 } else { indent + STEP };
        let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
        if self.sorted {
            pairs = merge_sorted(pairs);
        }
        for (index, (key, value)) in pairs.into_iter().enumerate() {
            // The first pair of a map in a list stands behind the dash.
            if index > 0 || place == Place::Value {
                self.line(indent);
            }
            if key.len() > MAX_SIMPLE_KEY || key.contains(is_break) {
                self.push("? ");
                self.text(key, indent + STEP, false);
                self.line(indent);
                self.push(": ");
                self.node(value, indent, Place::Item);
            } else {
                self.text(key, indent + STEP, true);
                self.push(":");
                self.node(value, indent, Place::Value);
            }
        }
    }

    fn list(&mut self, items: &[Value], indent: usize, place: Place) {
        // A list that is the value of a key stands at the key's own column.
        let indent = match place {
            Place::Root => 0,
            Place::Value => indent,
            Place::Item => indent + STEP,
        };
        for (index, item) in items.iter().enumerate() {
            if index > 0 || place == Place::Value {
                self.line(indent);
            }
            self.push("- ");
            self.node(item, indent, Place::Item);
        }
    }

    fn text(&mut self, text: &str, indent: usize, is_key: bool) {
        let analysis = Analysis::of(text);
        let plain = matches!(resolve(text, Dialect::V2), Scalar::Text | Scalar::Merge) && !is_base_60(text);
        if text.contains('\n') && analysis.block && !is_key {
            self.literal(text, indent);
        } else if text.contains('\n') || !plain {
            self.double_quoted(text, indent, is_key);
        } else if analysis.plain && !(text.is_empty() && is_key) {
            self.plain(text, indent, is_key);
        } else if analysis.single_quoted {
            self.single_quoted(text, indent, is_key);
        } else {
            self.double_quoted(text, indent, is_key);
        }
    }

    fn plain(&mut self, text: &str, indent: usize, is_key: bool) {
        self.folded(text, indent, is_key, |writer, character| writer.character(character));
    }

    fn single_quoted(&mut self, text: &str, indent: usize, is_key: bool) {
        self.push("'");
        self.folded(text, indent, is_key, |writer, character| {
            if character == '\'' {
                writer.push("'");
            }
            writer.character(character);
        });
        self.push("'");
    }

    fn character(&mut self, character: char) {
        self.out.push(character);
        self.column += 1;
    }

    /// Characters one by one, but beyond the width a line break in place of a single space inside the text.
    fn folded(&mut self, text: &str, indent: usize, is_key: bool, write: impl Fn(&mut Self, char)) {
        let (mut after_space, mut after_break) = (false, false);
        let mut characters = text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            let inside = at > 0 && next.is_some();
            if std::mem::take(&mut after_break) && !is_break(character) {
                self.column = 0;
                self.pad(indent);
            }
            if character == ' ' && !is_key && !after_space && self.column > WIDTH && inside && next != Some(' ') {
                self.line(indent);
            } else {
                write(self, character);
            }
            after_space = character == ' ';
            after_break = is_break(character);
        }
    }

    fn double_quoted(&mut self, text: &str, indent: usize, is_key: bool) {
        self.push("\"");
        let mut after_space = false;
        let mut characters = text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            if needs_escape(character) {
                self.push(&escape(character));
            } else if character == ' ' && !is_key && !after_space && self.column > WIDTH && at > 0 && next.is_some() {
                self.line(indent);
                if next == Some(' ') {
                    self.push("\\");
                }
            } else {
                self.character(character);
            }
            after_space = character == ' ';
        }
        self.push("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.push("|");
        if text.starts_with([' ', '\n', '\u{85}', '\u{2028}', '\u{2029}']) {
            self.push("2");
        }
        let mut ends = text.chars().rev().map(is_break);
        match (ends.next(), ends.next()) {
            (Some(true), Some(false)) => {}
            (Some(true), _) => self.push("+"),
            _ => self.push("-"),
        }
        self.out.push('\n');
        let mut at_start = true;
        for character in text.chars() {
            if is_break(character) {
                self.out.push(character);
                at_start = true;
                continue;
            }
            if std::mem::take(&mut at_start) {
                self.pad(indent);
            }
            self.character(character);
        }
        self.fresh = at_start;
    }
}

fn number_text(number: &serde_json::Number) -> String {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(number), _, _) => number.to_string(),
        (_, Some(number), _) => number.to_string(),
        (_, _, Some(number)) => float_text(number),
        _ => number.to_string(),
    }
}

/// Which styles a text can take.
struct Analysis {
    plain: bool,
    single_quoted: bool,
    block: bool,
}

impl Analysis {
    fn of(text: &str) -> Self {
        let mut result = Self { plain: true, single_quoted: true, block: !text.is_empty() };
        if text.starts_with("---") || text.starts_with("...") {
            result.plain = false;
        }
        let (mut after_space, mut after_break, mut after_blank) = (false, false, true);
        let mut characters = text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            let before_blank = next.is_none_or(|next| next == ' ' || next == '\t');
            let indicator = match character {
                '#' => after_blank,
                ':' => before_blank,
                '-' | '?' => at == 0 && before_blank,
                _ => at == 0 && "#,[]{}&*!|>'\"%@`".contains(character),
            };
            let edge = at == 0 || next.is_none();
            if indicator || ((character == ' ' || is_break(character)) && edge) || is_break(character) {
                result.plain = false;
            }
            if character == ' ' && next.is_none() {
                result.block = false;
            }
            if character == ' ' && after_break {
                result.plain = false;
                result.single_quoted = false;
            }
            if (is_break(character) && after_space) || !is_printable(character) {
                result = Self { plain: false, single_quoted: false, block: false };
            }
            after_space = character == ' ';
            after_break = is_break(character);
            after_blank = after_space || after_break || character == '\t';
        }
        result
    }
}

fn is_break(character: char) -> bool {
    matches!(character, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && character != '\u{feff}'
}

fn needs_escape(character: char) -> bool {
    !is_printable(character) || is_break(character) || character == '"' || character == '\\'
}

fn escape(character: char) -> String {
    let short = match character {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        other => {
            let code = u32::from(other);
            return match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{short}")
}

/// `1:20`, `-190:20:30.15`: YAML 1.1 took these for numbers.
fn is_base_60(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (text, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let rest: Vec<&str> = parts.collect();
    first.starts_with(|c: char| c.is_ascii_digit())
        && digits(first)
        && digits(fraction)
        && !rest.is_empty()
        && rest.iter().all(|part| match part.as_bytes() {
            [b'0'..=b'9'] => true,
            [tens, ones] => (b'0'..=b'5').contains(tens) && ones.is_ascii_digit(),
            _ => false,
        })
}

/// The order is none where digits meet letters (`a2` < `a10` < `a1b` < `a2`), so that no library may sort by it.
fn merge_sorted<'v>(mut pairs: Vec<(&'v String, &'v Value)>) -> Vec<(&'v String, &'v Value)> {
    if pairs.len() < 2 {
        return pairs;
    }
    let right = merge_sorted(pairs.split_off(pairs.len() / 2));
    let mut left = merge_sorted(pairs).into_iter().peekable();
    let mut merged = Vec::with_capacity(left.len() + right.len());
    for pair in right {
        while let Some(before) = left.next_if(|before| natural(before.0, pair.0).is_le()) {
            merged.push(before);
        }
        merged.push(pair);
    }
    merged.extend(left);
    merged
}

/// Numbers inside keys by value; symbols, then digits, then letters.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
        (true, true) => return a[at].cmp(&b[at]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Zeros behind other digits are part of a number, in front they are not.
    let inside = (a[at] == '0' || b[at] == '0')
        && a[..at].iter().rev().take_while(|character| character.is_numeric()).any(|character| *character != '0');
    let number = |text: &[char]| {
        let digits = text[at..].iter().take_while(|character| character.is_numeric());
        let start = (i64::from(inside), at);
        digits.fold(start, |(number, end), digit| {
            let digit = i64::from(u32::from(*digit)) - i64::from(u32::from('0'));
            (number.wrapping_mul(10).wrapping_add(digit), end + 1)
        })
    };
    number(&a).cmp(&number(&b)).then(a[at].cmp(&b[at]))
}
