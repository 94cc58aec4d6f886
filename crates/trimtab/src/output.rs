//! What commands print: text for people, JSON for machines.

use clap::ValueEnum;
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For machines: one JSON document, or one per line where a command streams.
    Json,
}

impl Output {
    /// A value as JSON, or as the text that `text` makes of it.
    pub fn of<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> String {
        match self {
            Self::Json => format!("{}\n", serde_json::to_string_pretty(value).expect("values serialise")),
            Self::Text => text(value),
        }
    }

    /// Prints it, as [`say`] does.
    pub fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) {
        say(&self.of(value, text));
    }
}

/// Prints what a command was asked for. Whoever reads may have gone away (`| head`), and wants no more; what cannot be written
/// for another reason ends the command.
pub fn say(text: &str) {
    if let Err(error) = write(text)
        && error.kind() != ErrorKind::BrokenPipe
    {
        eprintln!("trimtab: standard output: {error}");
        std::process::exit(1);
    }
}

/// Prints what a process that lives on has to tell, if somebody reads it.
pub fn mention(text: &str) {
    let _unread = write(text);
}

fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Columns as wide as their widest cell, two spaces between, no trailing space.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter().map(|r| r[column].chars().count()).chain([header[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(header.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["hello".to_owned(), "→".to_owned()], vec!["a".to_owned(), "b".to_owned()]];
        assert_eq!(super::table(&["NAME", "X"], &rows), "NAME   X\nhello  →\na      b\n");
    }
}
