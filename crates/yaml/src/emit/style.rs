//! How a text can be written.

/// Which styles a text can take.
#[derive(Debug, PartialEq)]
pub(super) struct Analysis {
    pub plain: bool,
    pub single_quoted: bool,
    pub block: bool,
}

impl Analysis {
    const NONE: Self = Self { plain: false, single_quoted: false, block: false };

    pub fn of(text: &str) -> Self {
        if !text.is_ascii() && text.contains(|c: char| c >= '\u{7f}' && (is_break(c) || !is_printable(c))) {
            return Self::by_character(text);
        }
        let bytes = text.as_bytes();
        let Some(first) = bytes.first() else { return Self { plain: true, single_quoted: true, block: false } };
        let mut result = Self { plain: true, single_quoted: true, block: true };
        let is_blank = |byte: Option<&u8>| byte.is_none_or(|byte| matches!(byte, b' ' | b'\t'));
        let is_indicator = match first {
            b'-' | b'?' => is_blank(bytes.get(1)),
            first => b",[]{}&*!|>'\"%@`".contains(first),
        };
        if is_indicator || text.starts_with("---") || text.starts_with("...") {
            result.plain = false;
        }
        let last = bytes.len() - 1;
        for (at, byte) in bytes.iter().enumerate() {
            // Most are letters.
            if *byte > b':' && *byte != 0x7f {
                continue;
            }
            let before = if at > 0 { bytes[at - 1] } else { b' ' };
            match byte {
                b' ' => {
                    result.plain &= at > 0 && at < last && before != b'\n';
                    result.block &= at < last;
                    result.single_quoted &= before != b'\n';
                }
                b'\n' if at > 0 && before == b' ' => return Self::NONE,
                b'\n' => result.plain = false,
                b'#' => result.plain &= !matches!(before, b' ' | b'\n'),
                b':' => result.plain &= !is_blank(bytes.get(at + 1)),
                0..b' ' | 0x7f => return Self::NONE,
                _ => {}
            }
        }
        result
    }

    /// The same for texts with line breaks of other alphabets and with what must be escaped.
    fn by_character(text: &str) -> Self {
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

pub(super) fn has_break(text: &str) -> bool {
    memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some() || (!text.is_ascii() && text.contains(is_break))
}

pub(super) fn is_break(character: char) -> bool {
    matches!(character, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && character != '\u{feff}'
}

pub(super) fn needs_escape(character: char) -> bool {
    !is_printable(character) || is_break(character) || character == '"' || character == '\\'
}

pub(super) fn escape(character: char) -> String {
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
pub(super) fn is_base_60(text: &str) -> bool {
    if !text.starts_with(|c: char| matches!(c, '-' | '+') || c.is_ascii_digit()) {
        return false;
    }
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

#[cfg(test)]
mod tests {
    use super::Analysis;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_and_characters_agree(text in "[ -~\n\té]{0,6}") {
            prop_assert_eq!(Analysis::of(&text), Analysis::by_character(&text));
        }
    }
}
