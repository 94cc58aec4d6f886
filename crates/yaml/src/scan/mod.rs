//! Text → tokens, as libyaml cuts it, on which Go's libraries rest: YAML 1.1, with its rules for keys, tabs and line breaks.
//!
//! A token is handed out when it is known whether it begins a key, which is seen only at the `:` behind it.

mod scalar;
mod tag;

use crate::error::Error;
use crate::node::{Position, Style};
use std::borrow::Cow;
use std::collections::VecDeque;

/// A key stands in one line, and its `:` within so many bytes.
const KEY_MAX: usize = 1024;

/// A token, and where it begins.
#[derive(Debug)]
pub(crate) struct Token<'t> {
    pub position: Position,
    pub kind: TokenKind<'t>,
}

/// Kinds of tokens.
#[derive(Debug, PartialEq)]
pub(crate) enum TokenKind<'t> {
    StreamEnd,
    /// `%YAML`, with what follows.
    Version(&'t str),
    /// `%TAG`: handle and prefix.
    Handle(&'t str, String),
    /// `---`
    DocumentStart,
    /// `...`
    DocumentEnd,
    BlockSequence,
    BlockMapping,
    BlockEnd,
    FlowSequence,
    FlowSequenceEnd,
    FlowMapping,
    FlowMappingEnd,
    /// `- `
    BlockEntry,
    /// `,`
    FlowEntry,
    /// `? `, or the place where a key begins.
    Key,
    /// `: `
    Value,
    Alias(&'t str),
    Anchor(&'t str),
    /// Handle and suffix.
    Tag(&'t str, String),
    Scalar(Cow<'t, str>, Style),
}

/// What may turn out to be a key: one for each level of brackets.
#[derive(Debug, Clone, Copy, Default)]
struct Key {
    possible: bool,
    /// It stands where a map has its keys.
    required: bool,
    /// Number of its token.
    token: usize,
    at: usize,
    position: Position,
}

/// Cuts a text. Its lines end with `\n` alone, and it has no NUL.
pub(crate) struct Scanner<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    /// From 1.
    line: usize,
    line_start: usize,
    /// A place in this line, and the characters before it.
    counted: (usize, usize),
    tokens: VecDeque<Token<'t>>,
    /// Tokens that were handed out.
    taken: usize,
    /// The next token is surely the first of those at hand.
    ready: bool,
    /// Column of the block, -1 outside of all.
    indent: isize,
    indents: Vec<isize>,
    /// One more than there are open brackets.
    keys: Vec<Key>,
    key_allowed: bool,
    /// Texts that are more than a part of the file are put together here.
    scratch: String,
}

type Result<T> = std::result::Result<T, Error>;

impl<'t> Scanner<'t> {
    pub fn new(text: &'t str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            line: 1,
            line_start: 0,
            counted: (0, 0),
            tokens: VecDeque::new(),
            taken: 0,
            ready: false,
            indent: -1,
            indents: Vec::new(),
            keys: vec![Key::default()],
            key_allowed: true,
            scratch: String::new(),
        }
    }

    /// The next token, which stays where it is. Behind [`TokenKind::StreamEnd`] nobody asks.
    #[inline]
    pub fn peek(&mut self) -> Result<&Token<'t>> {
        if !self.ready {
            while self.tokens.is_empty() || self.is_head_open()? {
                self.fetch()?;
            }
            self.ready = true;
        }
        Ok(&self.tokens[0])
    }

    /// Takes the next token.
    #[inline]
    pub fn take(&mut self) -> Result<Token<'t>> {
        self.peek()?;
        self.ready = false;
        self.taken += 1;
        let end = Token { position: Position::default(), kind: TokenKind::StreamEnd };
        Ok(self.tokens.pop_front().unwrap_or(end))
    }

    /// True if what comes next could still be a key.
    fn is_head_open(&mut self) -> Result<bool> {
        let head = self.taken;
        match self.keys.iter().rposition(|key| key.possible && key.token == head) {
            Some(level) => self.is_valid(level),
            None => Ok(false),
        }
    }

    fn is_valid(&mut self, level: usize) -> Result<bool> {
        let key = self.keys[level];
        if !key.possible {
            return Ok(false);
        }
        if key.position.line < self.line || key.at + KEY_MAX < self.at {
            if key.required {
                return self.fail_key(key);
            }
            self.keys[level].possible = false;
            return Ok(false);
        }
        Ok(true)
    }

    fn fail_key<T>(&mut self, key: Key) -> Result<T> {
        let what = "could not find expected ':'";
        Err(Error::new("", key.position, format!("{what}: the line is neither `key: value` nor part of a text")))
    }

    fn fail<T>(&mut self, message: &str) -> Result<T> {
        Err(Error::new("", self.position(), message.to_owned()))
    }

    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// A blank, a line's end or the end of all.
    #[inline]
    fn is_blank_or_end(&self, at: usize) -> bool {
        matches!(self.byte(at), b' ' | b'\t' | b'\n' | 0)
    }

    /// In characters, from 0.
    #[inline]
    fn column(&mut self) -> usize {
        let (from, column) = self.counted;
        let column = column + characters(&self.bytes[from..self.at]);
        self.counted = (self.at, column);
        column
    }

    fn position(&mut self) -> Position {
        Position { line: self.line, column: self.column() + 1 }
    }

    /// Past the end of a line.
    #[inline]
    fn next_line(&mut self) {
        self.at += 1;
        self.line += 1;
        self.line_start = self.at;
        self.counted = (self.at, 0);
    }

    #[inline]
    fn in_flow(&self) -> bool {
        self.keys.len() > 1
    }

    /// `---` or `...` at the beginning of a line.
    fn is_document_mark(&self) -> bool {
        self.at == self.line_start
            && (self.bytes[self.at..].starts_with(b"---") || self.bytes[self.at..].starts_with(b"..."))
            && self.is_blank_or_end(self.at + 3)
    }

    fn skip_blanks(&mut self) {
        loop {
            if self.at == self.line_start && self.bytes[self.at..].starts_with("\u{feff}".as_bytes()) {
                self.at += '\u{feff}'.len_utf8();
            }
            let tabs = self.in_flow() || !self.key_allowed;
            while self.byte(self.at) == b' ' || (tabs && self.byte(self.at) == b'\t') {
                self.at += 1;
            }
            if self.byte(self.at) == b'#' {
                self.at = self.line_end();
            }
            if self.byte(self.at) != b'\n' {
                return;
            }
            self.next_line();
            if !self.in_flow() {
                self.key_allowed = true;
            }
        }
    }

    /// Where this line ends.
    #[inline]
    fn line_end(&self) -> usize {
        memchr::memchr(b'\n', &self.bytes[self.at..]).map_or(self.bytes.len(), |offset| self.at + offset)
    }

    fn push(&mut self, position: Position, kind: TokenKind<'t>) {
        self.tokens.push_back(Token { position, kind });
    }

    /// One more token, at least.
    fn fetch(&mut self) -> Result<()> {
        self.skip_blanks();
        let column = self.column();
        #[allow(clippy::cast_possible_wrap)]
        self.unroll(column as isize);
        let (byte, after) = (self.byte(self.at), self.at + 1);
        if self.at == self.bytes.len() {
            self.unroll(-1);
            self.remove_key()?;
            // Nothing comes that could make a key of what stands before open brackets.
            self.keys.iter_mut().for_each(|key| key.possible = false);
            self.key_allowed = false;
            let position = self.position();
            self.push(position, TokenKind::StreamEnd);
            return Ok(());
        }
        if self.at == self.line_start && byte == b'%' {
            self.unroll(-1);
            self.remove_key()?;
            self.key_allowed = false;
            return self.directive();
        }
        if self.is_document_mark() {
            return self.document_mark();
        }
        let in_flow = self.in_flow();
        match byte {
            b'[' => self.open(TokenKind::FlowSequence),
            b'{' => self.open(TokenKind::FlowMapping),
            b']' => self.close(TokenKind::FlowSequenceEnd),
            b'}' => self.close(TokenKind::FlowMappingEnd),
            b',' => {
                self.remove_key()?;
                self.key_allowed = true;
                self.indicator(TokenKind::FlowEntry);
                Ok(())
            }
            b'-' if self.is_blank_or_end(after) => self.block_entry(),
            b'?' if in_flow || self.is_blank_or_end(after) => self.explicit_key(),
            b':' if in_flow || self.is_blank_or_end(after) => self.value(),
            b'*' | b'&' => {
                self.save_key()?;
                self.key_allowed = false;
                self.anchor(byte == b'*')
            }
            b'!' => {
                self.save_key()?;
                self.key_allowed = false;
                self.tag()
            }
            b'|' | b'>' if !in_flow => {
                self.remove_key()?;
                self.key_allowed = true;
                self.block_scalar(byte == b'>')
            }
            b'\'' | b'"' => {
                self.save_key()?;
                self.key_allowed = false;
                self.quoted(byte)
            }
            b'-' if !matches!(self.byte(after), b' ' | b'\t') => self.plain(),
            b'?' | b':' if !in_flow && !self.is_blank_or_end(after) => self.plain(),
            b'\t' | b'-' | b'?' | b':' | b'#' | b'|' | b'>' | b'%' | b'@' | b'`' => {
                let message = match byte {
                    b'\t' => "found character that cannot start any token: a tab; indent with spaces".to_owned(),
                    _ => format!(
                        "found character that cannot start any token: quote a text that begins with {}",
                        char::from(byte)
                    ),
                };
                self.fail(&message)
            }
            _ => self.plain(),
        }
    }

    /// A token of one character.
    fn indicator(&mut self, kind: TokenKind<'t>) {
        let position = self.position();
        self.at += 1;
        self.push(position, kind);
    }

    fn document_mark(&mut self) -> Result<()> {
        self.unroll(-1);
        self.remove_key()?;
        self.key_allowed = false;
        let position = self.position();
        let kind = if self.byte(self.at) == b'-' { TokenKind::DocumentStart } else { TokenKind::DocumentEnd };
        self.at += 3;
        self.push(position, kind);
        Ok(())
    }

    fn open(&mut self, kind: TokenKind<'t>) -> Result<()> {
        self.save_key()?;
        // The reader bounds the depth before this could grow.
        self.keys.push(Key::default());
        self.key_allowed = true;
        self.indicator(kind);
        Ok(())
    }

    fn close(&mut self, kind: TokenKind<'t>) -> Result<()> {
        self.remove_key()?;
        if self.in_flow() {
            self.keys.pop();
        }
        self.key_allowed = false;
        self.indicator(kind);
        Ok(())
    }

    fn block_entry(&mut self) -> Result<()> {
        if !self.in_flow() {
            if !self.key_allowed {
                return self
                    .fail("block sequence entries are not allowed in this context: the list needs a line of its own");
            }
            let position = self.position();
            self.roll(position, None, TokenKind::BlockSequence);
        }
        self.remove_key()?;
        self.key_allowed = true;
        self.indicator(TokenKind::BlockEntry);
        Ok(())
    }

    fn explicit_key(&mut self) -> Result<()> {
        if !self.in_flow() {
            if !self.key_allowed {
                return self.fail("mapping keys are not allowed in this context");
            }
            let position = self.position();
            self.roll(position, None, TokenKind::BlockMapping);
        }
        self.remove_key()?;
        self.key_allowed = !self.in_flow();
        self.indicator(TokenKind::Key);
        Ok(())
    }

    fn value(&mut self) -> Result<()> {
        let level = self.keys.len() - 1;
        if self.is_valid(level)? {
            let key = self.keys[level];
            let place = key.token - self.taken;
            self.tokens.insert(place, Token { position: key.position, kind: TokenKind::Key });
            self.roll(key.position, Some(place), TokenKind::BlockMapping);
            self.keys[level].possible = false;
            self.key_allowed = false;
        } else {
            if !self.in_flow() {
                if !self.key_allowed {
                    return self.fail("mapping values are not allowed in this context: a text with `: ` needs quotes");
                }
                let position = self.position();
                self.roll(position, None, TokenKind::BlockMapping);
            }
            self.key_allowed = !self.in_flow();
        }
        self.indicator(TokenKind::Value);
        Ok(())
    }

    /// What comes may be a key.
    fn save_key(&mut self) -> Result<()> {
        if self.key_allowed {
            self.remove_key()?;
            let position = self.position();
            #[allow(clippy::cast_possible_wrap)]
            let required = !self.in_flow() && self.indent == position.column as isize - 1;
            let key = Key { possible: true, required, token: self.taken + self.tokens.len(), at: self.at, position };
            if let Some(top) = self.keys.last_mut() {
                *top = key;
            }
        }
        Ok(())
    }

    fn remove_key(&mut self) -> Result<()> {
        match self.keys.last_mut() {
            Some(key) if key.possible && key.required => {
                let key = *key;
                self.fail_key(key)
            }
            Some(key) => {
                key.possible = false;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A list or map begins, if this column is further right; at the end of the tokens, or before one of them.
    fn roll(&mut self, position: Position, place: Option<usize>, kind: TokenKind<'t>) {
        #[allow(clippy::cast_possible_wrap)]
        let column = position.column as isize - 1;
        if self.in_flow() || self.indent >= column {
            return;
        }
        self.indents.push(self.indent);
        self.indent = column;
        let place = place.unwrap_or(self.tokens.len());
        self.tokens.insert(place, Token { position, kind });
    }

    /// What is further right than this column ends.
    fn unroll(&mut self, column: isize) {
        if self.in_flow() {
            return;
        }
        while self.indent > column {
            let position = self.position();
            self.push(position, TokenKind::BlockEnd);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }
}

/// How many characters bytes of UTF-8 are.
#[inline]
pub(crate) fn characters(bytes: &[u8]) -> usize {
    // All but those that continue a character.
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}
