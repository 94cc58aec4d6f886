//! Words of a Dockerfile: splitting, quoting and variables, as Docker does it.

/// Splits at blanks outside quotes. Quotes and escapes stay in the words: they are needed when the word is expanded.
pub(crate) fn split(text: &str, escape: char) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
        word.push(c);
        if c == escape && quote != Some('\'') {
            word.extend(chars.next());
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a quote {quote} is never closed"));
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// Values of variables; unset is not the same as empty.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Removes quotes and escapes, and puts in the values of variables.
pub(crate) fn expand(word: &str, escape: char, lookup: Lookup<'_>) -> Result<String, String> {
    Expander { chars: word.chars().collect(), at: 0, escape, lookup, verbatim: false }.until(None)
}

/// Puts in the values of variables and leaves everything else as it stands; `\$` is a dollar sign.
pub(crate) fn expand_text(text: &str, escape: char, lookup: Lookup<'_>) -> Result<String, String> {
    Expander { chars: text.chars().collect(), at: 0, escape, lookup, verbatim: true }.until(None)
}

struct Expander<'a> {
    chars: Vec<char>,
    at: usize,
    escape: char,
    lookup: Lookup<'a>,
    verbatim: bool,
}

impl Expander<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.at).copied();
        self.at += usize::from(c.is_some());
        c
    }
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// Up to `stop` (which is consumed and must come) or to the end.
    fn until(&mut self, stop: Option<char>) -> Result<String, String> {
        let mut out = String::new();
        while let Some(c) = self.next() {
            match c {
                _ if Some(c) == stop => return Ok(out),
                '$' => out.push_str(&self.variable()?),
                '\'' if !self.verbatim => self.single_quoted(&mut out)?,
                '"' if !self.verbatim => self.double_quoted(&mut out)?,
                _ if c == self.escape => self.escaped(&mut out, self.verbatim),
                _ => out.push(c),
            }
        }
        match stop {
            Some(stop) => Err(format!("a {stop:?} is missing")),
            None => Ok(out),
        }
    }

    /// Behind an escape character: `only_special` keeps it unless it escapes something that needs it.
    fn escaped(&mut self, out: &mut String, only_special: bool) {
        match self.next() {
            Some(next) if only_special && next != '$' && next != self.escape && (self.verbatim || next != '"') => {
                out.push(self.escape);
                out.push(next);
            }
            Some(next) => out.push(next),
            None => out.push(self.escape),
        }
    }

    fn single_quoted(&mut self, out: &mut String) -> Result<(), String> {
        while let Some(c) = self.next() {
            if c == '\'' {
                return Ok(());
            }
            out.push(c);
        }
        Err("a quote ' is never closed".into())
    }

    fn double_quoted(&mut self, out: &mut String) -> Result<(), String> {
        while let Some(c) = self.next() {
            match c {
                '"' => return Ok(()),
                '$' => out.push_str(&self.variable()?),
                _ if c == self.escape => self.escaped(out, true),
                _ => out.push(c),
            }
        }
        Err("a quote \" is never closed".into())
    }

    /// Behind a dollar sign.
    fn variable(&mut self) -> Result<String, String> {
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".into() } else { (self.lookup)(&name).unwrap_or_default() });
        }
        self.at += 1;
        let name = self.name();
        if name.is_empty() {
            return Err("after ${ the name of a variable must follow".into());
        }
        let mut operator = self.next();
        let empty_is_unset = operator == Some(':');
        if empty_is_unset {
            operator = self.next();
        }
        let value = (self.lookup)(&name).filter(|v| !(empty_is_unset && v.is_empty()));
        match operator {
            Some('}') if !empty_is_unset => Ok(value.unwrap_or_default()),
            Some('-') => self.until(Some('}')).map(|word| value.unwrap_or(word)),
            Some('+') => self.until(Some('}')).map(|word| value.map_or(String::new(), |_| word)),
            Some('?') => {
                let word = self.until(Some('}'))?;
                value.ok_or_else(|| {
                    format!("variable {name} is not set{}{word}", if word.is_empty() { "" } else { ": " })
                })
            }
            None => Err(format!("${{{name} is never closed by a }}")),
            Some(other) => Err(format!("${{{name}{other}…}} is not known; there are :- :+ :? - + and ?")),
        }
    }

    fn name(&mut self) -> String {
        let start = self.at;
        let digits = self.peek().is_some_and(|c| c.is_ascii_digit());
        while self.peek().is_some_and(|c| c.is_ascii_digit() || (!digits && (c.is_ascii_alphabetic() || c == '_'))) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".into()),
            "PATH" => Some("/bin".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_quotes_and_escapes() {
        let cases = [
            ("plain", Ok("plain")),
            ("$A", Ok("one")),
            ("${A}x", Ok("onex")),
            ("$A-$B.", Ok("one-.")),
            ("a$", Ok("a$")),
            ("$%", Ok("$%")),
            ("$1x", Ok("x")),
            (r"\$A", Ok("$A")),
            (r"a\ b", Ok("a b")),
            ("'$A'", Ok("$A")),
            ("\"$A b\"", Ok("one b")),
            (r#""\"\$\x""#, Ok(r#""$\x"#)),
            ("${B:-d}", Ok("d")),
            ("${EMPTY:-d}", Ok("d")),
            ("${EMPTY-d}", Ok("")),
            ("${A:+y}", Ok("y")),
            ("${EMPTY:+y}", Ok("")),
            ("${EMPTY+y}", Ok("y")),
            ("${B:-${A}-$A}", Ok("one-one")),
            ("${B:-}", Ok("")),
            ("$PATH:/x", Ok("/bin:/x")),
            ("${A:?no}", Ok("one")),
            ("${B:?no}", Err("variable B is not set: no")),
            ("${A", Err("${A is never closed by a }")),
            ("${A:-x", Err("a '}' is missing")),
            ("${A#x}", Err("${A#…} is not known; there are :- :+ :? - + and ?")),
            ("${}", Err("after ${ the name of a variable must follow")),
            ("'x", Err("a quote ' is never closed")),
        ];
        for (word, expect) in cases {
            assert_eq!(expand(word, '\\', &lookup).as_deref().map_err(String::as_str), expect, "{word}");
        }
        assert_eq!(expand_text("'$A' \"${A}\" \\n \\$A\n", '\\', &lookup).unwrap(), "'one' \"one\" \\n $A\n");
    }

    #[test]
    fn words_are_split_outside_quotes() {
        let split = |text: &str| split(text, '\\');
        assert_eq!(split("a  b\tc").unwrap(), ["a", "b", "c"]);
        assert_eq!(split(r#"a="x y" 'b c'd e\ f"#).unwrap(), [r#"a="x y""#, "'b c'd", r"e\ f"]);
        assert_eq!(split("a=\"x").unwrap_err(), "a quote \" is never closed");
    }
}
