//! Texts: plain, in quotes, in blocks.

use super::{Result, Scanner, TokenKind};
use crate::node::{Position, Style};
use std::borrow::Cow;

/// Ends a word of plain text, or may.
const WORD: u8 = 1;
/// Does so inside of brackets.
const FLOW: u8 = 2;

const STOPS: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        #[allow(clippy::cast_possible_truncation)]
        let stop = match at as u8 {
            b' ' | b'\t' | b'\n' | 0 | b':' => WORD,
            b',' | b'?' | b'[' | b']' | b'{' | b'}' => FLOW,
            _ => 0,
        };
        table[at] = stop;
        at += 1;
    }
    table
};

/// What becomes of the last line breaks of a block.
#[derive(PartialEq, Clone, Copy)]
enum Chomp {
    Strip,
    Clip,
    Keep,
}

impl<'t> Scanner<'t> {
    fn breaks(&mut self, count: usize) {
        self.scratch.extend(std::iter::repeat_n('\n', count));
    }

    fn finish(&mut self, position: Position, style: Style) {
        let text = self.scratch.as_str().into();
        self.push(position, TokenKind::Scalar(Cow::Owned(text), style));
    }

    /// To the end of a word; true if the text ends with it, whatever follows.
    #[inline]
    fn word(&mut self) -> bool {
        let mask = if self.in_flow() { WORD | FLOW } else { WORD };
        loop {
            let rest = &self.bytes[self.at..];
            let length = rest.iter().position(|byte| STOPS[usize::from(*byte)] & mask != 0);
            self.at += length.unwrap_or(rest.len());
            match self.byte(self.at) {
                b':' if !self.is_blank_or_end(self.at + 1) => self.at += 1,
                b' ' | b'\t' | b'\n' | 0 => return false,
                _ => return true,
            }
        }
    }

    pub(super) fn plain(&mut self) -> Result<()> {
        self.save_key()?;
        self.key_allowed = false;
        let position = self.position();
        let (mut from, mut is_folded) = (self.at, false);
        loop {
            // A line.
            let mut end = self.at;
            let mut has_ended;
            loop {
                let start = self.at;
                has_ended = self.word();
                if self.at > start {
                    end = self.at;
                }
                if has_ended {
                    break;
                }
                while matches!(self.byte(self.at), b' ' | b'\t') {
                    self.at += 1;
                }
                match self.byte(self.at) {
                    b'\n' => break,
                    0 | b'#' => {
                        has_ended = true;
                        break;
                    }
                    _ => {}
                }
            }
            let text = self.text;
            let line = &text[from..end];
            if has_ended {
                self.plain_ends(position, line, is_folded);
                return Ok(());
            }
            // Line breaks, and what stands before the next line.
            self.next_line();
            let mut breaks = 0;
            loop {
                match self.byte(self.at) {
                    b' ' => self.at += 1,
                    #[allow(clippy::cast_possible_wrap)]
                    b'\t' if ((self.at - self.line_start) as isize) < self.indent + 1 => {
                        return self.fail("found a tab character that violates indentation: indent with spaces");
                    }
                    b'\t' => self.at += 1,
                    b'\n' => {
                        breaks += 1;
                        self.next_line();
                    }
                    _ => break,
                }
            }
            let column = self.at - self.line_start;
            #[allow(clippy::cast_possible_wrap)]
            let is_left = !self.in_flow() && (column as isize) < self.indent + 1;
            let start = self.at;
            if is_left || self.byte(start) == b'#' || self.is_document_mark() || !self.begins_word() {
                self.plain_ends(position, line, is_folded);
                self.key_allowed = true;
                return Ok(());
            }
            if !std::mem::replace(&mut is_folded, true) {
                self.scratch.clear();
            }
            self.scratch.push_str(line);
            match breaks {
                0 => self.scratch.push(' '),
                breaks => self.breaks(breaks),
            }
            from = start;
        }
    }

    /// True if here is a part of a plain text.
    fn begins_word(&self) -> bool {
        let byte = self.byte(self.at);
        match byte {
            0 => false,
            b':' => !self.is_blank_or_end(self.at + 1),
            _ => !self.in_flow() || STOPS[usize::from(byte)] & FLOW == 0,
        }
    }

    fn plain_ends(&mut self, position: Position, line: &'t str, is_folded: bool) {
        if is_folded {
            self.scratch.push_str(line);
            self.finish(position, Style::Plain);
        } else {
            self.push(position, TokenKind::Scalar(Cow::Borrowed(line), Style::Plain));
        }
    }

    pub(super) fn quoted(&mut self, quote: u8) -> Result<()> {
        let position = self.position();
        self.at += 1;
        let start = self.at;
        let style = if quote == b'"' { Style::DoubleQuoted } else { Style::SingleQuoted };
        let rest = &self.bytes[start..];
        let end =
            if quote == b'"' { memchr::memchr3(b'"', b'\\', b'\n', rest) } else { memchr::memchr2(b'\'', b'\n', rest) };
        if let Some(length) = end
            && rest[length] == quote
            && (quote == b'"' || rest.get(length + 1) != Some(&quote))
            && !self.is_document_mark()
        {
            self.at = start + length + 1;
            self.push(position, TokenKind::Scalar(Cow::Borrowed(&self.text[start..start + length]), style));
            return Ok(());
        }
        self.scratch.clear();
        loop {
            if self.is_document_mark() {
                return self.fail("found unexpected document indicator: quotes are open in front of it");
            }
            // An escaped line break joins two lines without a space.
            let mut is_joined = false;
            loop {
                match self.byte(self.at) {
                    0 if self.at == self.bytes.len() => {
                        let message = format!(
                            "found unexpected end of stream: the quote of line {} is not closed",
                            position.line
                        );
                        return self.fail(&message);
                    }
                    b' ' | b'\t' | b'\n' => break,
                    b'\'' if quote == b'\'' && self.byte(self.at + 1) == b'\'' => {
                        self.scratch.push('\'');
                        self.at += 2;
                    }
                    byte if byte == quote => {
                        self.at += 1;
                        self.finish(position, style);
                        return Ok(());
                    }
                    b'\\' if quote == b'"' && self.byte(self.at + 1) == b'\n' => {
                        self.at += 1;
                        self.next_line();
                        is_joined = true;
                        break;
                    }
                    b'\\' if quote == b'"' => self.escape()?,
                    _ => {
                        let rest = &self.bytes[self.at..];
                        let is_stop = |byte: &u8| {
                            matches!(byte, b' ' | b'\t' | b'\n') || *byte == quote || (*byte == b'\\' && quote == b'"')
                        };
                        let length = rest.iter().position(is_stop).unwrap_or(rest.len());
                        self.scratch.push_str(&self.text[self.at..self.at + length]);
                        self.at += length;
                    }
                }
            }
            self.gap(is_joined);
        }
    }

    /// Blanks and line breaks inside of quotes.
    fn gap(&mut self, is_joined: bool) {
        let start = self.at;
        let (mut is_broken, mut breaks) = (is_joined, 0);
        loop {
            match self.byte(self.at) {
                b' ' | b'\t' => self.at += 1,
                b'\n' => {
                    breaks += usize::from(is_broken);
                    is_broken = true;
                    self.next_line();
                }
                _ => break,
            }
        }
        match (is_broken, breaks) {
            (false, _) => self.scratch.push_str(&self.text[start..self.at]),
            (true, 0) if is_joined => {}
            (true, 0) => self.scratch.push(' '),
            (true, breaks) => self.breaks(breaks),
        }
    }

    /// `\n`, `\x41` …
    fn escape(&mut self) -> Result<()> {
        let digits = match self.byte(self.at + 1) {
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            byte => {
                let character = match byte {
                    b'0' => '\0',
                    b'a' => '\u{7}',
                    b'b' => '\u{8}',
                    b't' | b'\t' => '\t',
                    b'n' => '\n',
                    b'v' => '\u{b}',
                    b'f' => '\u{c}',
                    b'r' => '\r',
                    b'e' => '\u{1b}',
                    b' ' | b'"' | b'\'' | b'\\' | b'/' => char::from(byte),
                    b'N' => '\u{85}',
                    b'_' => '\u{a0}',
                    b'L' => '\u{2028}',
                    b'P' => '\u{2029}',
                    _ => {
                        return self
                            .fail("found unknown escape character: write \\\\ for a backslash, or use single quotes");
                    }
                };
                self.scratch.push(character);
                self.at += 2;
                return Ok(());
            }
        };
        let start = self.at + 2;
        let code =
            self.text.get(start..start + digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(code) = code.and_then(|text| u32::from_str_radix(text, 16).ok()) else {
            return self.fail("did not find expected hexdecimal number");
        };
        let Some(character) = char::from_u32(code) else {
            return self.fail("found invalid Unicode character escape code");
        };
        self.scratch.push(character);
        self.at = start + digits;
        Ok(())
    }

    pub(super) fn block_scalar(&mut self, is_folded: bool) -> Result<()> {
        let position = self.position();
        self.at += 1;
        let (mut chomp, mut increment) = (Chomp::Clip, None);
        for _ in 0..2 {
            match self.byte(self.at) {
                sign @ (b'+' | b'-') if chomp == Chomp::Clip => {
                    chomp = if sign == b'+' { Chomp::Keep } else { Chomp::Strip };
                    self.at += 1;
                }
                b'0' if increment.is_none() => return self.fail("found an indentation indicator equal to 0"),
                digit @ b'1'..=b'9' if increment.is_none() => {
                    increment = Some(isize::from(digit - b'0'));
                    self.at += 1;
                }
                _ => {}
            }
        }
        while matches!(self.byte(self.at), b' ' | b'\t') {
            self.at += 1;
        }
        if self.byte(self.at) == b'#' {
            self.at = self.line_end();
        }
        match self.byte(self.at) {
            b'\n' => self.next_line(),
            0 => {}
            _ => return self.fail("did not find expected comment or line break: the text begins in the next line"),
        }
        let mut indent = increment.map(|increment| self.indent.max(0) + increment);
        let mut breaks = self.block_breaks(&mut indent)?;
        let indent = usize::try_from(indent.unwrap_or(1)).unwrap_or(1);
        self.scratch.clear();
        let (mut has_break, mut after_blank) = (false, false);
        while self.at - self.line_start == indent && self.at < self.bytes.len() {
            let is_blank = matches!(self.byte(self.at), b' ' | b'\t');
            if has_break {
                if is_folded && !after_blank && !is_blank {
                    if breaks == 0 {
                        self.scratch.push(' ');
                    }
                } else {
                    self.scratch.push('\n');
                }
            }
            self.breaks(breaks);
            after_blank = is_blank;
            let end = self.line_end();
            self.scratch.push_str(&self.text[self.at..end]);
            self.at = end;
            has_break = end < self.bytes.len();
            if has_break {
                self.next_line();
            }
            breaks = self.block_breaks(&mut Some(indent.cast_signed()))?;
        }
        if has_break && chomp != Chomp::Strip {
            self.scratch.push('\n');
        }
        if chomp == Chomp::Keep {
            self.breaks(breaks);
        }
        self.finish(position, if is_folded { Style::Folded } else { Style::Literal });
        Ok(())
    }

    /// Empty lines, and the indentation of the next one; it decides what that of the block is, if nothing else does.
    fn block_breaks(&mut self, indent: &mut Option<isize>) -> Result<usize> {
        let (mut breaks, mut widest) = (0, 0);
        let limit = indent.map_or(usize::MAX, |indent| usize::try_from(indent).unwrap_or(0));
        loop {
            while self.at - self.line_start < limit && self.byte(self.at) == b' ' {
                self.at += 1;
            }
            widest = widest.max(self.at - self.line_start);
            match self.byte(self.at) {
                b'\t' if self.at - self.line_start < limit => {
                    return self.fail("found a tab character where an indentation space is expected");
                }
                b'\n' => {
                    breaks += 1;
                    self.next_line();
                }
                _ => break,
            }
        }
        indent.get_or_insert(widest.cast_signed().max(self.indent + 1).max(1));
        Ok(breaks)
    }
}
