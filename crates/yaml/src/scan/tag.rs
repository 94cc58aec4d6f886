//! Anchors, aliases, tags, directives.

use super::{Result, Scanner, TokenKind};

impl Scanner<'_> {
    /// Past letters, digits, `-` and `_`.
    fn name_end(&self, from: usize) -> usize {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        self.bytes[from..].iter().position(|byte| !is_part(byte)).map_or(self.bytes.len(), |length| from + length)
    }

    pub(super) fn anchor(&mut self, is_alias: bool) -> Result<()> {
        let position = self.position();
        let (start, end) = (self.at + 1, self.name_end(self.at + 1));
        let is_closed = self.is_blank_or_end(end)
            || matches!(self.byte(end), b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`');
        if end == start || !is_closed {
            let what = if is_alias { "alias" } else { "anchor" };
            let message = format!(
                "did not find expected alphabetic or numeric character: the {what} has no name, or one with other characters; quote a text"
            );
            return self.fail(&message);
        }
        let text = self.text;
        let name = &text[start..end];
        self.at = end;
        self.push(position, if is_alias { TokenKind::Alias(name) } else { TokenKind::Anchor(name) });
        Ok(())
    }

    pub(super) fn tag(&mut self) -> Result<()> {
        let position = self.position();
        let text = self.text;
        let start = self.at;
        let (handle, suffix) = if self.byte(start + 1) == b'<' {
            self.at += 2;
            let suffix = self.address()?;
            if self.byte(self.at) != b'>' {
                return self.fail("did not find the expected '>'");
            }
            self.at += 1;
            ("", suffix)
        } else {
            let end = self.name_end(start + 1);
            if self.byte(end) == b'!' {
                self.at = end + 1;
                let suffix = self.address()?;
                if suffix.is_empty() {
                    return self.fail("did not find expected tag URI");
                }
                (&text[start..=end], suffix)
            } else {
                self.at = start + 1;
                match self.address()? {
                    // `!` alone is a tag too.
                    suffix if suffix.is_empty() => ("", "!".to_owned()),
                    suffix => (&text[start..=start], suffix),
                }
            }
        };
        if !self.is_blank_or_end(self.at) {
            return self.fail(
                "did not find expected whitespace or line break: behind a tag; quote a text that begins with `!`",
            );
        }
        self.push(position, TokenKind::Tag(handle, suffix));
        Ok(())
    }

    /// The characters of an address, `%41` among them as what they stand for.
    fn address(&mut self) -> Result<String> {
        let start = self.at;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_;/?:@&=+$.!~*'()%,[]".contains(byte);
        let length = self.bytes[start..].iter().position(|byte| !is_part(byte)).unwrap_or(self.bytes.len() - start);
        self.at = start + length;
        let raw = &self.bytes[start..self.at];
        let mut bytes = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((first, more)) = rest.split_first() {
            rest = more;
            if *first != b'%' {
                bytes.push(*first);
                continue;
            }
            let code = more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
            let Some(code) = code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
                return self.fail("did not find URI escaped octet");
            };
            bytes.push(code);
            rest = &more[2..];
        }
        String::from_utf8(bytes).or_else(|_| self.fail("found an incorrect leading UTF-8 octet"))
    }

    /// `%YAML`, `%TAG`.
    pub(super) fn directive(&mut self) -> Result<()> {
        let position = self.position();
        let (start, end) = (self.at, self.line_end());
        let text = self.text;
        let line = &text[start + 1..end];
        let line = line.find(" #").map_or(line, |comment| &line[..comment]);
        let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        let kind = match words.as_slice() {
            ["YAML", version] => TokenKind::Version(version),
            ["TAG", handle, prefix] => TokenKind::Handle(handle, (*prefix).to_owned()),
            ["YAML" | "TAG", ..] => return self.fail("did not find expected whitespace of a directive"),
            _ => return self.fail("found unknown directive name: quote a text that begins with `%`"),
        };
        self.at = end;
        self.push(position, kind);
        Ok(())
    }
}
