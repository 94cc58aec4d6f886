//! What a document consists of, before anybody decides what its scalars mean.

/// A place in a text, from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// A value with the place where it stands. Aliases are replaced by what they stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub position: Position,
    /// `tag:yaml.org,2002:str`, `!local`; `None` if it has none.
    pub tag: Option<String>,
    /// What it is.
    pub kind: Kind,
}

/// Kinds of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A text that a [`Dialect`](crate::Dialect) may take for something else.
    Scalar(String, Style),
    /// A list.
    Sequence(Vec<Node>),
    /// Pairs in the order of the text, duplicates included.
    Mapping(Vec<(Node, Node)>),
}

/// How a scalar is written. Only plain ones can be numbers, booleans or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// `'…'`.
    SingleQuoted,
    /// `"…"`.
    DoubleQuoted,
    /// `|`.
    Literal,
    /// `>`.
    Folded,
}

impl Node {
    pub(crate) fn null() -> Self {
        Self { position: Position { line: 1, column: 1 }, tag: None, kind: Kind::Scalar(String::new(), Style::Plain) }
    }
}
