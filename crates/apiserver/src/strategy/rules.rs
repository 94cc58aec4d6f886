//! Words and shapes of names, as Kubernetes checks them.

use object::FieldError;
use object::schema::ErrorKind;
use serde_json::Value;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const SERVICE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// Shapes of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// RFC 1123 label, at most 63.
    Label,
    /// RFC 1123 subdomain, at most 253.
    Subdomain,
    /// RFC 1035 label, at most 63.
    ServiceLabel,
    /// Anything that can be a part of a path.
    PathSegment,
}

/// What is wrong with a name; `None` if it is good.
pub fn name_error(shape: Shape, name: &str) -> Option<String> {
    let longer = |max: usize| (name.len() > max).then(|| format!("must be no more than {max} characters"));
    let wrong = |good: bool, words: &str| (!good).then(|| words.to_owned());
    match shape {
        Shape::Label if name.contains('.') => Some("must not contain dots".into()),
        Shape::Label => longer(63).or_else(|| wrong(is_label(name), LABEL)),
        Shape::Subdomain => longer(253).or_else(|| wrong(name.split('.').all(is_label), SUBDOMAIN)),
        Shape::ServiceLabel => {
            let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
            longer(63).or_else(|| wrong(is_label(name) && starts, SERVICE))
        }
        Shape::PathSegment => match name {
            "." => Some("may not be '.'".into()),
            ".." => Some("may not be '..'".into()),
            _ if name.contains('/') => Some("may not contain '/'".into()),
            _ if name.contains('%') => Some("may not contain '%'".into()),
            _ => None,
        },
    }
}

fn is_label(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().copied().is_some_and(good)
        && bytes.last().copied().is_some_and(good)
        && bytes.iter().all(|byte| good(*byte) || *byte == b'-')
}

/// `path: Required value: detail`.
pub fn required(path: impl Into<String>, detail: &str) -> FieldError {
    FieldError { path: path.into(), kind: ErrorKind::Required, value: None, detail: detail.into() }
}

/// `path: Invalid value: value: detail`.
pub fn invalid(path: impl Into<String>, value: &Value, detail: impl Into<String>) -> FieldError {
    FieldError { path: path.into(), kind: ErrorKind::Invalid, value: Some(value.clone()), detail: detail.into() }
}

/// `path: Forbidden: detail`.
pub fn forbidden(path: impl Into<String>, detail: &str) -> FieldError {
    FieldError { path: path.into(), kind: ErrorKind::Forbidden, value: None, detail: detail.into() }
}

/// `path: Duplicate value: value`.
pub fn duplicate(path: impl Into<String>, value: &Value) -> FieldError {
    FieldError { path: path.into(), kind: ErrorKind::Duplicate, value: Some(value.clone()), detail: String::new() }
}

/// `path: Not found: value`, worded as an invalid value.
pub fn not_found(path: impl Into<String>, value: &Value) -> FieldError {
    invalid(path, value, "Not found")
}

/// `path: Unsupported value: value: supported values: "a", "b"`.
pub fn unsupported(path: impl Into<String>, value: &Value, choices: &[&str]) -> FieldError {
    let quoted: Vec<String> = choices.iter().map(|choice| format!("{choice:?}")).collect();
    FieldError {
        path: path.into(),
        kind: ErrorKind::NotSupported,
        value: Some(value.clone()),
        detail: format!("supported values: {}", quoted.join(", ")),
    }
}

/// `path: Too long: may not be more than max bytes`.
pub fn too_long(path: impl Into<String>, max: usize) -> FieldError {
    let detail = format!("may not be more than {max} bytes");
    FieldError { path: path.into(), kind: ErrorKind::TooLong, value: None, detail }
}
