//! What is wrong with a text, and where.

use crate::node::Position;
use std::fmt;

/// Something that cannot be read. Displays as `trimtab.yaml:3:7: endpoints.http.port: expected …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Name of the file, as the caller gave it.
    pub file: String,
    /// From 1; 0 if the place is not known.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// `endpoints.http.port`, `args[2]`; empty at the root or if the text is no YAML.
    pub field: String,
    /// What was wrong, and what was expected.
    pub message: String,
}

impl Error {
    /// What was wrong in the words of Go's library: what they mean for a writer stands behind a colon.
    pub fn reason(&self) -> &str {
        self.message.split_once(": ").map_or(&self.message, |(reason, _)| reason)
    }

    pub(crate) fn new(file: &str, position: Position, message: String) -> Self {
        Self { file: file.to_owned(), line: position.line, column: position.column, field: String::new(), message }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        if !self.field.is_empty() {
            write!(f, " {}:", self.field)?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for Error {}
