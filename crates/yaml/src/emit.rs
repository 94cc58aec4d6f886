//! Values → text, byte for byte as go-yaml v2 writes them.

mod order;
mod style;

use crate::number::float_text;
use crate::resolve::{Dialect, Scalar, resolve};
use crate::scan::characters;
use order::sort;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;
use style::{Analysis, escape, has_break, is_base_60, is_break, needs_escape};

/// Text beyond this column is folded at the next single space.
const WIDTH: usize = 80;
/// A step of indentation.
const STEP: usize = 2;
/// Longer keys are written with `?`.
const MAX_SIMPLE_KEY: usize = 128;
/// Blanks to cut from.
const BLANKS: &str = "                                                                ";

/// What can be written.
pub trait Tree: Sized {
    /// What it is.
    fn shape(&self) -> Shape<'_, Self>;
    /// Adds the pairs of a map.
    fn pairs<'v>(&'v self, pairs: &mut Vec<(&'v str, &'v Self)>);
}

/// Kinds of values.
pub enum Shape<'v, T> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number beyond that.
    Unsigned(u64),
    /// Any number; a whole one is written as an integer.
    Float(f64),
    /// A text.
    Text(&'v str),
    /// A list.
    List(&'v [T]),
    /// A map: without pairs or not, and [`Tree::pairs`] has them.
    Map {
        /// It has none.
        is_empty: bool,
    },
}

impl Tree for Value {
    fn shape(&self) -> Shape<'_, Self> {
        match self {
            Self::Null => Shape::Null,
            Self::Bool(flag) => Shape::Bool(*flag),
            Self::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), _, _) => Shape::Integer(number),
                (_, Some(number), _) => Shape::Unsigned(number),
                (_, _, number) => Shape::Float(number.unwrap_or_default()),
            },
            Self::String(text) => Shape::Text(text),
            Self::Array(items) => Shape::List(items),
            Self::Object(map) => Shape::Map { is_empty: map.is_empty() },
        }
    }

    fn pairs<'v>(&'v self, pairs: &mut Vec<(&'v str, &'v Self)>) {
        if let Self::Object(map) = self {
            pairs.extend(map.iter().map(|(key, value)| (key.as_str(), value)));
        }
    }
}

/// A document with keys in natural order (`a2` before `a10`), as sigs.k8s.io/yaml writes it.
pub fn to_string<T: Tree>(value: &T) -> String {
    written(value, true)
}

/// A document with keys as they stand in the value: for files that people read and we write.
pub fn to_string_in_order<T: Tree>(value: &T) -> String {
    written(value, false)
}

fn written<T: Tree>(value: &T, sorted: bool) -> String {
    let mut writer = Writer { out: String::new(), counted: (0, 0), fresh: false, sorted, open: Vec::new() };
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

struct Writer<'v, T> {
    out: String,
    /// A place in the last line, and the characters before it.
    counted: (usize, usize),
    /// A block of text has ended its last line already.
    fresh: bool,
    sorted: bool,
    /// The pairs of the maps that are being written.
    open: Vec<(&'v str, &'v T)>,
}

impl<'v, T: Tree> Writer<'v, T> {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// In characters, of this line.
    fn column(&mut self) -> usize {
        let (from, column) = self.counted;
        let column = column + characters(&self.out.as_bytes()[from..]);
        self.counted = (self.out.len(), column);
        column
    }

    fn line(&mut self, indent: usize) {
        if !std::mem::take(&mut self.fresh) {
            self.out.push('\n');
        }
        self.pad(indent);
    }

    /// At the beginning of a line.
    fn pad(&mut self, indent: usize) {
        self.counted = (self.out.len(), 0);
        let mut left = indent;
        while left > 0 {
            let blanks = left.min(BLANKS.len());
            self.out.push_str(&BLANKS[..blanks]);
            left -= blanks;
        }
    }

    /// Writes a value; `indent` is that of the map or list around it.
    fn node(&mut self, value: &'v T, indent: usize, place: Place) {
        let shape = value.shape();
        match shape {
            Shape::Map { is_empty: false } => return self.map(value, indent, place),
            Shape::List(items) if !items.is_empty() => return self.list(items, indent, place),
            _ => {}
        }
        if place == Place::Value {
            self.push(" ");
        }
        let continuation = if place == Place::Root { STEP } else { indent + STEP };
        match shape {
            Shape::Null => self.push("null"),
            Shape::Bool(flag) => self.push(if flag { "true" } else { "false" }),
            // Writing into a text cannot fail.
            Shape::Integer(number) => _ = write!(self.out, "{number}"),
            Shape::Unsigned(number) => _ = write!(self.out, "{number}"),
            Shape::Float(number) => self.push(&float_text(number)),
            Shape::Text(text) => self.text(text, continuation, false),
            Shape::List(_) => self.push("[]"),
            Shape::Map { .. } => self.push("{}"),
        }
    }

    fn map(&mut self, map: &'v T, indent: usize, place: Place) {
        let indent = if place == Place::Root { 0 } else { indent + STEP };
        let start = self.open.len();
        map.pairs(&mut self.open);
        if self.sorted {
            sort(&mut self.open[start..]);
        }
        for index in start..self.open.len() {
            let (key, value) = self.open[index];
            // The first pair of a map in a list stands behind the dash.
            if index > start || place == Place::Value {
                self.line(indent);
            }
            if key.len() > MAX_SIMPLE_KEY || has_break(key) {
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
        self.open.truncate(start);
    }

    fn list(&mut self, items: &'v [T], indent: usize, place: Place) {
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
        let has_lines = memchr::memchr(b'\n', text.as_bytes()).is_some();
        if has_lines && analysis.block && !is_key {
            return self.literal(text, indent);
        }
        let is_text = matches!(resolve(text, Dialect::V2), Scalar::Text | Scalar::Merge) && !is_base_60(text);
        if has_lines || !is_text {
            self.double_quoted(text, indent, is_key);
        } else if analysis.plain && !(text.is_empty() && is_key) {
            self.folded(text, indent, is_key);
        } else if analysis.single_quoted {
            self.push("'");
            let text = if text.contains('\'') { Cow::from(text.replace('\'', "''")) } else { text.into() };
            self.folded(&text, indent, is_key);
            self.push("'");
        } else {
            self.double_quoted(text, indent, is_key);
        }
    }

    /// A text, but beyond the width a line break in place of a single space inside of it.
    fn folded(&mut self, text: &str, indent: usize, is_key: bool) {
        if has_break(text) {
            return self.folded_by_character(text, indent, is_key);
        }
        let bytes = text.as_bytes();
        if !is_key && memchr::memchr(b' ', bytes).is_some() && self.column() + text.len() > WIDTH {
            let mut from = 0;
            for at in memchr::memchr_iter(b' ', bytes) {
                let is_single = at > 0 && bytes[at - 1] != b' ' && bytes.get(at + 1).is_some_and(|next| *next != b' ');
                if !is_single {
                    continue;
                }
                self.push(&text[from..at]);
                from = at;
                if self.column() > WIDTH {
                    self.line(indent);
                    from += 1;
                }
            }
            return self.push(&text[from..]);
        }
        self.push(text);
    }

    /// With line breaks of its own, which only quotes hold.
    fn folded_by_character(&mut self, text: &str, indent: usize, is_key: bool) {
        let (mut after_space, mut after_break) = (false, false);
        let mut characters = text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            let inside = at > 0 && next.is_some_and(|next| next != ' ');
            if std::mem::take(&mut after_break) && !is_break(character) {
                self.pad(indent);
            }
            if character == ' ' && !is_key && !after_space && inside && self.column() > WIDTH {
                self.line(indent);
            } else {
                self.out.push(character);
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
            } else if character == ' ' && !is_key && !after_space && at > 0 && next.is_some() && self.column() > WIDTH {
                self.line(indent);
                if next == Some(' ') {
                    self.push("\\");
                }
            } else {
                self.out.push(character);
            }
            after_space = character == ' ';
        }
        self.push("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.push("|");
        // A text in a block has no other breaks among ASCII.
        let is_ascii = text.is_ascii();
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
        let mut rest = text;
        while !rest.is_empty() {
            let end = match memchr::memchr(b'\n', rest.as_bytes()) {
                _ if !is_ascii => {
                    rest.find(is_break).map(|at| at + rest[at..].chars().next().map_or(0, char::len_utf8))
                }
                end => end.map(|at| at + 1),
            };
            let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
            if !line.starts_with(is_break) {
                self.pad(indent);
            }
            self.push(line);
            rest = after;
        }
        self.fresh = text.ends_with(is_break);
    }
}
