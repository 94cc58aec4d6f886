//! What is wrong with a field, as a Kubernetes API server words it.

use serde_json::Value;
use std::fmt;

/// One broken rule. Displays as `spec.replicas: Invalid value: -1: must be …`.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// `spec.template.spec.containers[0].name`, `metadata.labels[app.kubernetes.io/name]`.
    pub path: String,
    /// Which sort of rule.
    pub kind: ErrorKind,
    /// The value that stands there, where it helps.
    pub value: Option<Value>,
    /// What the rule is.
    pub detail: String,
}

/// Sorts of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Something needed is absent.
    Required,
    /// The value does not match a rule.
    Invalid,
    /// The value is of another type than the field.
    TypeInvalid,
    /// The value is none of the choices.
    NotSupported,
    /// Two items are the same, or have the same key.
    Duplicate,
    /// The text is too long.
    TooLong,
    /// The list or map holds too many.
    TooMany,
    /// The value may not stand here.
    Forbidden,
}

impl ErrorKind {
    /// The reason in `causes` of a Status.
    pub fn reason(self) -> &'static str {
        match self {
            ErrorKind::Required => "FieldValueRequired",
            ErrorKind::Invalid => "FieldValueInvalid",
            ErrorKind::TypeInvalid => "FieldValueTypeInvalid",
            ErrorKind::NotSupported => "FieldValueNotSupported",
            ErrorKind::Duplicate => "FieldValueDuplicate",
            ErrorKind::TooLong => "FieldValueTooLong",
            ErrorKind::TooMany => "FieldValueTooMany",
            ErrorKind::Forbidden => "FieldValueForbidden",
        }
    }

    fn words(self) -> &'static str {
        match self {
            ErrorKind::Required => "Required value",
            ErrorKind::Invalid | ErrorKind::TypeInvalid => "Invalid value",
            ErrorKind::NotSupported => "Unsupported value",
            ErrorKind::Duplicate => "Duplicate value",
            ErrorKind::TooLong => "Too long",
            ErrorKind::TooMany => "Too many",
            ErrorKind::Forbidden => "Forbidden",
        }
    }
}

impl FieldError {
    pub(crate) fn new(path: &str, kind: ErrorKind, value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { path: path.to_owned(), kind, value, detail: detail.into() }
    }

    /// The path as `causes` of a Status tell it.
    pub fn field(&self) -> &str {
        if self.path.is_empty() { "<nil>" } else { &self.path }
    }

    /// The error without its path: the message in `causes` of a Status.
    pub fn message(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(&shown(value));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field(), self.message())
    }
}

/// Null is told in quotes, as the original does.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "\"null\"".to_owned(),
        other => other.to_string(),
    }
}
