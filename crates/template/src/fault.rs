//! Why a run ended early.

use std::fmt;

/// Why a run ended early. Displays as Go's engine words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Exec,
    Limit,
}

impl Fault {
    /// From a function: the engine adds where it was called.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::new(text.into(), Kind::Plain)
    }

    pub(crate) fn exec(text: String) -> Self {
        Self::new(text, Kind::Exec)
    }

    /// A bound that was hit.
    pub fn limit(text: &str) -> Self {
        Self::new(text.to_owned(), Kind::Limit)
    }

    fn new(text: String, kind: Kind) -> Self {
        Self(Box::new(Inner { text, kind }))
    }

    /// What went wrong, and where.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// True if the text says in which template it happened.
    pub fn is_located(&self) -> bool {
        self.0.kind == Kind::Exec
    }

    /// True if a bound was hit.
    pub fn is_limit(&self) -> bool {
        self.0.kind == Kind::Limit
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl std::error::Error for Fault {}
