//! Reading a document by hand, so that every value keeps its place.

use super::problem;
use yaml::{Dialect, Error as Problem, Kind, Node, Position, Scalar, Style};

/// A node with the path that leads to it.
#[derive(Clone)]
pub(crate) struct At<'a> {
    pub file: &'a str,
    pub node: &'a Node,
    pub path: String,
}

impl<'a> At<'a> {
    pub fn position(&self) -> Position {
        self.node.position
    }

    pub fn fail(&self, message: impl Into<String>) -> Problem {
        problem(self.file, self.node.position, self.path.clone(), message.into())
    }

    /// Key → value; keys that stand there twice are problems.
    pub fn map(&self, expected: &str) -> Result<Vec<(String, At<'a>)>, Problem> {
        let Kind::Mapping(pairs) = &self.node.kind else {
            return match &self.node.kind {
                Kind::Scalar(text, Style::Plain) if text.is_empty() => Ok(Vec::new()),
                _ => Err(self.fail(format!("expected {expected}"))),
            };
        };
        let mut fields: Vec<(String, At<'a>)> = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let Kind::Scalar(name, _) = &key.kind else {
                return Err(problem(self.file, key.position, self.path.clone(), "a key is a text".into()));
            };
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            if fields.iter().any(|(known, _)| known == name) {
                return Err(problem(self.file, key.position, path, "it stands there twice".into()));
            }
            fields.push((name.clone(), At { file: self.file, node: value, path }));
        }
        Ok(fields)
    }

    pub fn list(&self) -> Result<Vec<At<'a>>, Problem> {
        let Kind::Sequence(items) = &self.node.kind else { return Err(self.fail("expected a list")) };
        let item = |(n, node)| At { file: self.file, node, path: format!("{}[{n}]", self.path) };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub fn is_map(&self) -> bool {
        matches!(self.node.kind, Kind::Mapping(_))
    }

    /// A scalar as it is written: `1.10` keeps its zero.
    pub fn text(&self) -> Result<&'a str, Problem> {
        match &self.node.kind {
            Kind::Scalar(text, Style::Plain) if yaml::resolve(text, Dialect::V3) == Scalar::Null => {
                Err(self.fail("it has no value; write \"\" for the empty text"))
            }
            Kind::Scalar(text, _) => Ok(text),
            _ => Err(self.fail("expected a text, a number or true or false")),
        }
    }

    pub fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self) -> Result<T, Problem> {
        self.text()?.parse().map_err(|error: T::Err| self.fail(error.to_string()))
    }
}

/// The one document of a file; `None` if there is nothing in it.
pub(crate) fn document(text: &str, file: &str) -> Result<Option<Node>, Problem> {
    let mut documents = yaml::parse(text, file)?;
    if let Some(second) = documents.get(1) {
        return Err(problem(file, second.position, String::new(), "only one document is expected here".into()));
    }
    Ok(documents.pop())
}
