//! Shapes that the arguments of several instructions share.

use super::Command;
use super::words::split;

/// `--name=value` before the other arguments.
pub(crate) struct Flags {
    list: Vec<(String, Option<String>)>,
}

impl Flags {
    /// The flags, and what follows them.
    pub fn take(rest: &str) -> (Self, &str) {
        let mut list = Vec::new();
        let mut rest = rest;
        while rest.starts_with("--") {
            let end = end_of_word(rest);
            let (word, tail) = rest.split_at(end);
            rest = tail.trim_start();
            let word = &word[2..];
            if word.is_empty() {
                break;
            }
            let (name, value) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v.to_owned())));
            list.push((name.to_owned(), value));
        }
        (Self { list }, rest)
    }
    /// The value of a flag that may come once.
    pub fn one(&mut self, name: &str) -> Result<Option<String>, String> {
        let mut values = self.many(name)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(format!("--{name} may be given once")),
        }
    }
    /// All values of a flag.
    pub fn many(&mut self, name: &str) -> Result<Vec<String>, String> {
        let (found, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.list).into_iter().partition(|(n, _)| n == name);
        self.list = others;
        let values = found.into_iter().map(|(_, value)| value.filter(|v| !v.is_empty()));
        values.map(|value| value.ok_or_else(|| format!("--{name} needs a value: --{name}=…"))).collect()
    }
    /// True if a flag without meaning here is given, with or without a value.
    pub fn skip(&mut self, name: &str) {
        self.list.retain(|(n, _)| n != name);
    }
    /// An error that names what is left.
    pub fn none_left(&self, known: &str) -> Result<(), String> {
        match self.list.first() {
            Some((name, _)) => Err(format!("the flag --{name} is not supported; there are {known}")),
            None => Ok(()),
        }
    }
}

fn end_of_word(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            None if c.is_whitespace() => return at,
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// A JSON array of strings; `None` if it is none, which makes it words or a shell line.
pub(crate) fn json(rest: &str) -> Option<Vec<String>> {
    rest.starts_with('[').then(|| serde_json::from_str(rest).ok()).flatten()
}

/// JSON array: exec form; anything else: shell form.
pub(crate) fn command(rest: &str) -> Command {
    json(rest).map_or_else(|| Command::Shell(rest.to_owned()), Command::Exec)
}

/// `KEY=value …`, or `KEY the rest of the line`.
pub(crate) fn pairs(rest: &str, escape: char) -> Result<Vec<(String, String)>, String> {
    let words = split(rest, escape)?;
    let first = words.first().ok_or("needs NAME=value")?;
    if !first.contains('=') {
        let value = rest[first.len()..].trim_start();
        if value.is_empty() {
            return Err(format!("{first} needs a value: {first}=…"));
        }
        return Ok(vec![(first.clone(), value.to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some(("", _)) => Err(format!("{word}: a name must stand before '='")),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("{word}: every word must be NAME=value; quote values with blanks")),
    };
    words.iter().map(pair).collect()
}

/// `1h30m`, `5s`, `100ms` → nanoseconds.
pub(crate) fn duration(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a duration (30s, 1m30s, 500ms)");
    let mut rest = text;
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let nanoseconds = match &rest[..unit_end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(bad()),
        };
        total += number * nanoseconds;
        rest = &rest[unit_end..];
    }
    if text.is_empty() { Err(bad()) } else { Ok(total as u64) }
}

/// The known word that was probably meant: at most two letters are wrong.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|k| (distance(word, k), *k)).min()?;
    (best.0 <= 2 && best.0 < word.len()).then_some(best.1)
}

/// Letters to insert, delete, change or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}
