//! What commands print: text for people, JSON for machines.

use clap::ValueEnum;
use serde::Serialize;

/// `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For machines: one JSON document, or one per line where a command streams.
    Json,
}

impl Output {
    /// Prints a value as JSON, or as the text that `text` makes of it.
    pub fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) {
        match self {
            Self::Json => println!("{}", serde_json::to_string_pretty(value).expect("values serialise")),
            Self::Text => print!("{}", text(value)),
        }
    }
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
