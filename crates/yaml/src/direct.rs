//! Tokens → values, without nodes between: for texts that have nothing unusual, and most have not.
//!
//! One document; no anchors, tags, directives and merges, and no keys but scalars. Of all else, and of what is wrong,
//! nothing is said here: who asks reads the text again, by [`parse`](crate::parse()).

use crate::json::{Make, integer, json_float};
use crate::node::Style;
use crate::number::shortest;
use crate::parse::{MAX_BYTES, MAX_DEPTH, plain_lines};
use crate::resolve::{Dialect, Scalar, resolve};
use crate::scan::{Scanner, TokenKind};
use std::borrow::Cow;

/// The value of the only document of a text.
pub(crate) fn read<M: Make>(text: &str, dialect: Dialect, make: &mut M) -> Option<M::Value> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let text = plain_lines(text.strip_prefix('\u{feff}').unwrap_or(text)).ok()?;
    let mut scanner = Scanner::new(&text);
    let mut reader = Reader { scanner: &mut scanner, sink: Meaning { make, dialect }, depth: 0 };
    reader.takes(&TokenKind::DocumentStart)?;
    let value = reader.value(true, false)?;
    reader.comes(|kind| *kind == TokenKind::StreamEnd)?.then_some(value)
}

/// Passes over the value that comes, at this depth; false if it is unusual, or wrong.
pub(crate) fn skip(scanner: &mut Scanner<'_>, depth: usize) -> bool {
    Reader { scanner, sink: Nothing, depth }.value(true, true).is_some()
}

/// What is done with values.
trait Sink {
    type Value;
    type Key<'t>;
    type Map: Default;
    fn scalar(&mut self, text: &str, style: Style) -> Option<Self::Value>;
    fn key<'t>(&mut self, text: Cow<'t, str>, style: Style) -> Option<Self::Key<'t>>;
    fn list(&mut self, items: Vec<Self::Value>) -> Self::Value;
    fn insert(&mut self, map: &mut Self::Map, key: Self::Key<'_>, value: Self::Value);
    fn map(&mut self, map: Self::Map) -> Self::Value;
}

/// Values are made.
struct Meaning<'m, M> {
    make: &'m mut M,
    dialect: Dialect,
}

impl<M: Make> Sink for Meaning<'_, M> {
    type Value = M::Value;
    type Key<'t> = Cow<'t, str>;
    type Map = M::Map;

    fn scalar(&mut self, text: &str, style: Style) -> Option<M::Value> {
        let meaning = if style == Style::Plain { resolve(text, self.dialect) } else { Scalar::Text };
        Some(match meaning {
            Scalar::Null => self.make.null(),
            Scalar::Bool(flag) => self.make.bool(flag),
            Scalar::Integer(number) => self.make.number(integer(number)),
            Scalar::Float(number) => self.make.number(json_float(number)?),
            Scalar::Timestamp | Scalar::Merge | Scalar::Text => self.make.text(text),
        })
    }

    fn key<'t>(&mut self, text: Cow<'t, str>, style: Style) -> Option<Cow<'t, str>> {
        if style != Style::Plain {
            return Some(text);
        }
        match resolve(&text, self.dialect) {
            Scalar::Null | Scalar::Merge => None,
            Scalar::Bool(flag) => Some(flag.to_string().into()),
            Scalar::Integer(number) => Some(number.to_string().into()),
            Scalar::Float(number) => Some(shortest(number).into()),
            Scalar::Timestamp | Scalar::Text => Some(text),
        }
    }

    fn list(&mut self, items: Vec<M::Value>) -> M::Value {
        self.make.list(items)
    }

    fn insert(&mut self, map: &mut M::Map, key: Cow<'_, str>, value: M::Value) {
        self.make.insert(map, &key, value);
    }

    fn map(&mut self, map: M::Map) -> M::Value {
        self.make.map(map)
    }
}

/// Nothing is made.
struct Nothing;

impl Sink for Nothing {
    type Value = ();
    type Key<'t> = ();
    type Map = ();

    fn scalar(&mut self, _: &str, _: Style) -> Option<()> {
        Some(())
    }

    fn key<'t>(&mut self, _: Cow<'t, str>, _: Style) -> Option<()> {
        Some(())
    }

    fn list(&mut self, _: Vec<()>) {}

    fn insert(&mut self, (): &mut (), (): (), (): ()) {}

    fn map(&mut self, (): ()) {}
}

struct Reader<'r, 't, S> {
    scanner: &'r mut Scanner<'t>,
    sink: S,
    depth: usize,
}

impl<'t, S: Sink> Reader<'_, 't, S> {
    fn comes(&mut self, is_it: impl Fn(&TokenKind<'_>) -> bool) -> Option<bool> {
        Some(is_it(&self.scanner.peek().ok()?.kind))
    }

    /// Takes what comes if it is this.
    fn takes(&mut self, kind: &TokenKind<'_>) -> Option<bool> {
        let is_it = self.scanner.peek().ok()?.kind == *kind;
        if is_it {
            self.scanner.take().ok()?;
        }
        Some(is_it)
    }

    fn value(&mut self, block: bool, indentless: bool) -> Option<S::Value> {
        let read = match &self.scanner.peek().ok()?.kind {
            TokenKind::Scalar(..) => {
                let TokenKind::Scalar(text, style) = self.scanner.take().ok()?.kind else { return None };
                return self.sink.scalar(&text, style);
            }
            TokenKind::BlockMapping if block => Self::block_map,
            TokenKind::BlockSequence if block => |reader: &mut Self| reader.block_list(false),
            TokenKind::BlockEntry if indentless => |reader: &mut Self| reader.block_list(true),
            TokenKind::FlowSequence => Self::flow_list,
            TokenKind::FlowMapping => Self::flow_map,
            _ => return None,
        };
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn null(&mut self) -> Option<S::Value> {
        self.sink.scalar("", Style::Plain)
    }

    fn key(&mut self) -> Option<S::Key<'t>> {
        if !self.comes(|kind| matches!(kind, TokenKind::Scalar(..)))? {
            return None;
        }
        let TokenKind::Scalar(text, style) = self.scanner.take().ok()?.kind else { return None };
        self.sink.key(text, style)
    }

    fn block_list(&mut self, indentless: bool) -> Option<S::Value> {
        if !indentless {
            self.scanner.take().ok()?;
        }
        let mut items = Vec::new();
        while self.takes(&TokenKind::BlockEntry)? {
            let is_empty = self.comes(|kind| match kind {
                TokenKind::BlockEntry | TokenKind::BlockEnd => true,
                TokenKind::Key | TokenKind::Value => indentless,
                _ => false,
            })?;
            items.push(if is_empty { self.null()? } else { self.value(true, false)? });
        }
        if !indentless && !self.takes(&TokenKind::BlockEnd)? {
            return None;
        }
        Some(self.sink.list(items))
    }

    fn block_map(&mut self) -> Option<S::Value> {
        self.scanner.take().ok()?;
        let mut map = S::Map::default();
        let ends = |kind: &TokenKind<'_>| matches!(kind, TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd);
        while self.takes(&TokenKind::Key)? {
            let key = self.key()?;
            let is_empty = !self.takes(&TokenKind::Value)? || self.comes(ends)?;
            let value = if is_empty { self.null()? } else { self.value(true, true)? };
            self.sink.insert(&mut map, key, value);
        }
        self.takes(&TokenKind::BlockEnd)?.then(|| self.sink.map(map))
    }

    /// What separates the parts of brackets; true if they end.
    fn flow_ends(&mut self, end: &TokenKind<'_>, is_first: bool) -> Option<bool> {
        if self.takes(end)? {
            return Some(true);
        }
        if !is_first && !self.takes(&TokenKind::FlowEntry)? {
            return None;
        }
        Some(!is_first && self.takes(end)?)
    }

    fn flow_list(&mut self) -> Option<S::Value> {
        self.scanner.take().ok()?;
        let mut items = Vec::new();
        while !self.flow_ends(&TokenKind::FlowSequenceEnd, items.is_empty())? {
            items.push(self.value(false, false)?);
        }
        Some(self.sink.list(items))
    }

    fn flow_map(&mut self) -> Option<S::Value> {
        self.scanner.take().ok()?;
        let (mut map, mut is_first) = (S::Map::default(), true);
        while !self.flow_ends(&TokenKind::FlowMappingEnd, is_first)? {
            is_first = false;
            let has_mark = self.takes(&TokenKind::Key)?;
            let key = self.key()?;
            let ends = |kind: &TokenKind<'_>| matches!(kind, TokenKind::FlowEntry | TokenKind::FlowMappingEnd);
            let is_empty = !has_mark || !self.takes(&TokenKind::Value)? || self.comes(ends)?;
            let value = if is_empty { self.null()? } else { self.value(false, false)? };
            self.sink.insert(&mut map, key, value);
        }
        Some(self.sink.map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Json, to_json};

    #[test]
    fn values_are_those_of_the_nodes() {
        let usual = [
            "a: 1\nb: [x, 'y', \"z\", {c: 2.5, d, e: }]\nf:\n- g\n-\n- h: i\n  j:\nk: |\n  text\n  more\n",
            "---\n- 017\n- 0x10\n- yes\n- ~\n- 1e3\n- 2026-11-21\n- '1'\n- 18446744073709551615\n",
            "on: off\n1: 2\n1.50: x\n'': y\n",
            "a: 1\na: 2\nb:\n  c: >-\n    folded\n    text\n  d: {}\n  e: []\n",
            "\u{feff}# comment\nkey: v # comment\nlist:\n- a\n-  b\n\n\nlast: ''\n",
            "{a: {b: [1, 2,], \"c\":d}}\n",
            "plain text\n",
            "a:\n    - - x\n      - y\n    - z\n",
            "unicode: \u{e9}\u{1f600}\r\nwindows: lines\r\n",
        ];
        for text in usual {
            for dialect in [Dialect::V2, Dialect::V3] {
                let nodes = crate::parse(text, "f").expect("it is YAML");
                let value = read(text, dialect, &mut Json).unwrap_or_else(|| panic!("{text:?} is usual"));
                assert_eq!(value, to_json(&nodes[0], dialect).expect("it is JSON"), "{text:?}");
            }
        }
        let unusual = [
            "",
            "# nothing\n",
            "a: &x 1\nb: *x\n",
            "a: !!str 1\n",
            "<<: {a: 1}\nb: 2\n",
            "a: 1\n---\nb: 2\n",
            "a: 1\n...\n",
            "%YAML 1.1\n---\na: 1\n",
            "? [a]\n: b\n",
            "~: a\n",
            "a: .inf\n",
            "a: [1\n",
            "a: b: c\n",
            "[a: b]\n",
            "a: \"\n",
            "a:\n\tb: 1\n",
            "a: {b\n",
            "- a\nb: c\n",
            "a: 1\n b: 2\n",
            "x: \u{7}\n",
        ];
        for text in unusual {
            assert_eq!(read(text, Dialect::V2, &mut Json), None, "{text:?}");
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(read(&deep, Dialect::V2, &mut Json), None);
    }
}
