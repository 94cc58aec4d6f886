//! YAML with spans: reading as Go's libraries read it, writing as they write it, and typed
//! reading whose errors name file, line, column and field.
//!
//! Everything is a function over text and values. Reading is bounded in size, depth and in what
//! aliases expand to.

mod de;
mod direct;
mod emit;
mod error;
mod json;
mod node;
mod number;
mod parse;
mod resolve;
mod scan;

pub use emit::{Shape, Tree, to_string, to_string_in_order};
pub use error::Error;
pub use json::{Make, documents, made, made_in, to_json, value_in};
pub use node::{Kind, Node, Position, Style};
pub use parse::{parse, parse_fields};
pub use resolve::{Dialect, Scalar, resolve};

use serde::de::DeserializeOwned;

/// Reads one document into a type. What the type does not know is an error, and so are keys that
/// stand there twice; an empty document is an empty map. A text takes any plain scalar as it stands,
/// so that `version: 1.10` keeps its zero.
pub fn from_str<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, Error> {
    let documents = parse(text, file)?;
    match documents.as_slice() {
        [] => de::read(&Node::null(), file),
        [document] => de::read(document, file),
        [_, second, ..] => Err(Error::new(file, second.position, "only one document is expected here".into())),
    }
}
