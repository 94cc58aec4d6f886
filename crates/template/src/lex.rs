//! Text → tokens.

/// Kinds of tokens. All but text and errors stand in actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Open,
    Close,
    Space,
    Quoted,
    Raw,
    Char,
    Number,
    Word,
    Field,
    Variable,
    Dot,
    ParenOpen,
    ParenClose,
    Pipe,
    Declare,
    Assign,
    Other,
    End,
    /// What is wrong is in the lexer's `problem`.
    Error,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

const TRIMMED: &[char] = &[' ', '\t', '\r', '\n'];

/// The tokens of a text, the last of which is the end or an error; and what is wrong.
pub(crate) fn lex(text: &str) -> (Vec<Token>, Option<String>) {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::with_capacity(text.len() / 8), parens: 0 };
    let problem = lexer.run().err();
    let kind = if problem.is_some() { Kind::Error } else { Kind::End };
    let at = lexer.at;
    lexer.push(kind, at);
    (lexer.tokens, problem)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    tokens: Vec<Token>,
    parens: usize,
}

impl Lexer<'_> {
    #[allow(clippy::cast_possible_truncation)] // Texts beyond 4 GiB are refused before.
    fn push(&mut self, kind: Kind, start: usize) {
        self.tokens.push(Token { kind, start: start as u32, end: self.at as u32 });
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    /// ` -}}` or `}}` here: its length.
    fn closing(&self) -> Option<(usize, bool)> {
        match &self.text.as_bytes()[self.at..] {
            [b'}', b'}', ..] => Some((2, false)),
            [space, b'-', b'}', b'}', ..] if is_space(*space) => Some((4, true)),
            _ => None,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        loop {
            let start = self.at;
            let Some(open) = pair(self.rest(), b'{', b'{') else {
                self.at = self.text.len();
                if self.at > start {
                    self.push(Kind::Text, start);
                }
                return Ok(());
            };
            let open = start + open;
            let trims = self.text.as_bytes().get(open + 2) == Some(&b'-')
                && self.text.as_bytes().get(open + 3).is_some_and(|byte| is_space(*byte));
            let mut text = &self.text[start..open];
            if trims {
                text = text.trim_end_matches(TRIMMED);
            }
            self.at = start + text.len();
            if !text.is_empty() {
                self.push(Kind::Text, start);
            }
            self.at = open + 2;
            let marker = if trims { 2 } else { 0 };
            if self.text[open + 2 + marker..].starts_with("/*") {
                self.at = open + 2 + marker;
                self.comment()?;
                continue;
            }
            self.push(Kind::Open, open);
            self.at += marker;
            self.parens = 0;
            while self.inside()? {}
        }
    }

    fn closed(&mut self, length: usize, trims: bool) {
        self.at += length;
        if trims {
            self.at += self.rest().len() - self.rest().trim_start_matches(TRIMMED).len();
        }
    }

    fn comment(&mut self) -> Result<(), String> {
        let Some(end) = pair(self.rest(), b'*', b'/') else { return Err("unclosed comment".into()) };
        self.at += end + 2;
        match self.closing() {
            Some((length, trims)) => self.closed(length, trims),
            None => return Err("comment ends before closing delimiter".into()),
        }
        Ok(())
    }

    /// One token of an action; false at its end.
    fn inside(&mut self) -> Result<bool, String> {
        if let Some((length, trims)) = self.closing() {
            if self.parens > 0 {
                return Err("unclosed left paren".into());
            }
            let start = self.at + length - 2;
            self.at += length;
            self.push(Kind::Close, start);
            self.at -= length;
            self.closed(length, trims);
            return Ok(false);
        }
        let start = self.at;
        let Some(first) = self.rest().chars().next() else { return Err("unclosed action".into()) };
        self.at += first.len_utf8();
        match first {
            ' ' | '\t' | '\r' | '\n' => {
                while is_space(self.byte(0)) {
                    // The space before a closing marker belongs to it.
                    if self.closing().is_some() {
                        break;
                    }
                    self.at += 1;
                }
                self.push(Kind::Space, start);
            }
            '=' => self.push(Kind::Assign, start),
            ':' => {
                if self.byte(0) != b'=' {
                    return Err("expected :=".into());
                }
                self.at += 1;
                self.push(Kind::Declare, start);
            }
            '|' => self.push(Kind::Pipe, start),
            '"' => self.quoted(start)?,
            '`' => {
                let Some(end) = self.rest().find('`') else { return Err("unterminated raw quoted string".into()) };
                self.at += end + 1;
                self.push(Kind::Raw, start);
            }
            '$' => {
                self.word();
                self.terminated()?;
                self.push(Kind::Variable, start);
            }
            '\'' => self.character(start)?,
            '.' if !self.byte(0).is_ascii_digit() => {
                let has_name = self.rest().chars().next().is_some_and(is_word);
                self.word();
                if has_name {
                    self.terminated()?;
                }
                self.push(if has_name { Kind::Field } else { Kind::Dot }, start);
            }
            '+' | '-' | '.' | '0'..='9' => self.number(start)?,
            '(' => {
                self.parens += 1;
                self.push(Kind::ParenOpen, start);
            }
            ')' => {
                if self.parens == 0 {
                    return Err("unexpected right paren".into());
                }
                self.parens -= 1;
                self.push(Kind::ParenClose, start);
            }
            first if is_word(first) => {
                self.word();
                self.terminated()?;
                self.push(Kind::Word, start);
            }
            ' '..='~' => self.push(Kind::Other, start),
            other => return Err(format!("unrecognized character in action: U+{:04X}", u32::from(other))),
        }
        Ok(true)
    }

    fn word(&mut self) {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        self.at += self.text.as_bytes()[self.at..].iter().take_while(|byte| is_plain(byte)).count();
        if self.byte(0).is_ascii() {
            return;
        }
        let rest = self.rest();
        self.at += rest.find(|character| !is_word(character)).unwrap_or(rest.len());
    }

    fn terminated(&self) -> Result<(), String> {
        match self.rest().chars().next() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(') => Ok(()),
            Some(_) if self.rest().starts_with("}}") => Ok(()),
            Some(other) => Err(format!("bad character U+{:04X} '{other}'", u32::from(other))),
        }
    }

    fn quoted(&mut self, start: usize) -> Result<(), String> {
        loop {
            match self.byte(0) {
                b'\\' if self.byte(1) != b'\n' && self.at + 1 < self.text.len() => {
                    self.at += 1 + self.text[self.at + 1..].chars().next().map_or(1, char::len_utf8);
                }
                b'"' => break,
                b'\n' | b'\\' => return Err("unterminated quoted string".into()),
                _ if self.at >= self.text.len() => return Err("unterminated quoted string".into()),
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.push(Kind::Quoted, start);
        Ok(())
    }

    fn character(&mut self, start: usize) -> Result<(), String> {
        let unterminated = || Err("unterminated character constant".to_owned());
        loop {
            let Some(character) = self.rest().chars().next() else { return unterminated() };
            self.at += character.len_utf8();
            match character {
                '\\' => match self.rest().chars().next() {
                    None | Some('\n') => return unterminated(),
                    Some(next) => self.at += next.len_utf8(),
                },
                '\n' => return unterminated(),
                '\'' => break,
                _ => {}
            }
        }
        self.push(Kind::Char, start);
        Ok(())
    }

    fn number(&mut self, start: usize) -> Result<(), String> {
        self.at = start;
        if matches!(self.byte(0), b'+' | b'-') {
            self.at += 1;
        }
        let mut digits: &[u8] = b"0123456789_";
        if self.byte(0) == b'0' {
            self.at += 1;
            let prefix = self.byte(0).to_ascii_lowercase();
            digits = match prefix {
                b'x' => b"0123456789abcdefABCDEF_",
                b'o' => b"01234567_",
                b'b' => b"01_",
                _ => digits,
            };
            if matches!(prefix, b'x' | b'o' | b'b') {
                self.at += 1;
            }
        }
        self.run_of(digits);
        if self.byte(0) == b'.' {
            self.at += 1;
            self.run_of(digits);
        }
        let exponent = match digits.len() {
            11 => matches!(self.byte(0), b'e' | b'E'),
            23 => matches!(self.byte(0), b'p' | b'P'),
            _ => false,
        };
        if exponent {
            self.at += 1;
            if matches!(self.byte(0), b'+' | b'-') {
                self.at += 1;
            }
            self.run_of(b"0123456789_");
        }
        if self.rest().chars().next().is_some_and(is_word) {
            let length = self.rest().chars().next().map_or(0, char::len_utf8);
            return Err(format!("bad number syntax: {:?}", &self.text[start..self.at + length]));
        }
        self.push(Kind::Number, start);
        Ok(())
    }

    fn run_of(&mut self, bytes: &[u8]) {
        while self.at < self.text.len() && bytes.contains(&self.byte(0)) {
            self.at += 1;
        }
    }
}

/// Where two bytes stand behind each other.
fn pair(text: &str, first: u8, second: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    memchr::memchr_iter(first, bytes).find(|at| bytes.get(at + 1) == Some(&second))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}
