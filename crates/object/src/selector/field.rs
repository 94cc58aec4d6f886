//! Selecting by fields.

use super::SelectorError;
use serde_json::Value;

/// `path=value` and `path!=value` terms, all of which must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

/// One term of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// `metadata.name`.
    pub path: String,
    /// What it must be, or must not be.
    pub value: String,
    /// True for `!=`.
    pub negated: bool,
}

impl FieldSelector {
    /// Parses a query: `metadata.name=web,status.phase!=Running`. `\\`, `\,` and `\=` stand for the characters.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split_escaped(text).into_iter().filter(|part| !part.is_empty()) {
            terms.push(field_term(part).ok_or_else(|| SelectorError::Field(text.to_owned(), part.to_owned()))?);
        }
        Ok(Self { terms })
    }

    /// All of its terms: which fields a kind can be selected by is for the caller to say.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// True if it matches everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that a path must have, if the selector names exactly one.
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.path == path && !term.negated).map(|term| term.value.as_str())
    }

    /// True if all terms hold of an object; an absent field is the empty text.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| (field_text(object, &term.path) == term.value) != term.negated)
    }
}

/// The value at a dotted path as text; empty if it is absent.
fn field_text(object: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(object, |value, name| value.get(name));
    match found {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn split_escaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn field_term(part: &str) -> Option<FieldTerm> {
    let sign = part.find(['=', '!'])?;
    let (path, rest) = part.split_at(sign);
    let (rest, negated) = match rest.strip_prefix("!=") {
        Some(rest) => (rest, true),
        None => (rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?, false),
    };
    let mut value = String::new();
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.push(characters.next().filter(|next| "\\,=".contains(*next))?),
            '=' | ',' => return None,
            other => value.push(other),
        }
    }
    Some(FieldTerm { path: path.trim().to_owned(), value, negated })
}
