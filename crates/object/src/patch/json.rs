//! JSON patch, RFC 6902.

use serde_json::Value;

/// Operations beyond this are refused, as the original does.
const MAX_OPERATIONS: usize = 10_000;

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonPatchError {
    /// The patch is no list of operations.
    #[error("{0}")]
    Malformed(String),
    /// More than 10000 operations.
    #[error("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooMany(usize),
    /// An operation names a place that does not exist.
    #[error("{operation} operation does not apply: doc is missing {what}: {path}: missing value")]
    Missing {
        /// `replace`.
        operation: &'static str,
        /// `path` or `key`.
        what: &'static str,
        /// JSON pointer.
        path: String,
    },
    /// A `test` found something else.
    #[error("testing value {path} failed: test failed")]
    TestFailed {
        /// JSON pointer.
        path: String,
    },
    /// A list has no such place.
    #[error("{operation} operation does not apply: error in {path}: invalid index referenced")]
    Index {
        /// `add`.
        operation: &'static str,
        /// JSON pointer.
        path: String,
    },
}

/// The target with all operations done, in order; on an error nothing is done.
pub fn json_patch(mut target: Value, patch: &Value) -> Result<Value, JsonPatchError> {
    let operations =
        patch.as_array().ok_or_else(|| JsonPatchError::Malformed("a JSON patch is a list of operations".into()))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(JsonPatchError::TooMany(operations.len()));
    }
    for operation in operations {
        step(&mut target, operation)?;
    }
    Ok(target)
}

fn step(target: &mut Value, operation: &Value) -> Result<(), JsonPatchError> {
    let text = |key: &str| operation.get(key).and_then(Value::as_str);
    let malformed = |why: &str| JsonPatchError::Malformed(format!("{why} in {operation}"));
    let path = text("path").ok_or_else(|| malformed("missing path"))?;
    let from = || text("from").ok_or_else(|| malformed("missing from"));
    // A patch that came through Go may have lost `"value": null`.
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match text("op") {
        Some("add") => add(target, "add", path, value()),
        Some("remove") => remove(target, "remove", path).map(|_| ()),
        Some("replace") => {
            let missing = JsonPatchError::Missing { operation: "replace", what: "key", path: path.to_owned() };
            *target.pointer_mut(path).ok_or(missing)? = value();
            Ok(())
        }
        Some("move") => {
            let from = from()?;
            if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                return Err(malformed("a value cannot move into itself"));
            }
            let value = remove(target, "move", from)?;
            add(target, "move", path, value)
        }
        Some("copy") => {
            let from = from()?;
            let missing = JsonPatchError::Missing { operation: "copy", what: "key", path: from.to_owned() };
            let value = target.pointer(from).cloned().ok_or(missing)?;
            add(target, "copy", path, value)
        }
        Some("test") => {
            let found = target.pointer(path).unwrap_or(&Value::Null);
            if same(found, &value()) { Ok(()) } else { Err(JsonPatchError::TestFailed { path: path.to_owned() }) }
        }
        _ => Err(malformed("Unexpected kind")),
    }
}

/// Equal as JSON: `1` and `1.0` are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// The container that a pointer ends in, and the last word of the pointer.
fn parent<'v>(
    target: &'v mut Value,
    operation: &'static str,
    path: &str,
) -> Result<(&'v mut Value, String), JsonPatchError> {
    let missing = || JsonPatchError::Missing { operation, what: "path", path: path.to_owned() };
    let (parent, last) = path.rsplit_once('/').ok_or_else(missing)?;
    Ok((target.pointer_mut(parent).ok_or_else(missing)?, last.replace("~1", "/").replace("~0", "~")))
}

fn add(target: &mut Value, operation: &'static str, path: &str, value: Value) -> Result<(), JsonPatchError> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    match parent(target, operation, path)? {
        (Value::Object(map), key) => {
            map.insert(key, value);
        }
        (Value::Array(items), key) => {
            let wrong = JsonPatchError::Index { operation, path: path.to_owned() };
            let place = if key == "-" { items.len() } else { index(&key, items.len() + 1).ok_or(wrong)? };
            items.insert(place, value);
        }
        _ => return Err(JsonPatchError::Missing { operation, what: "path", path: path.to_owned() }),
    }
    Ok(())
}

fn remove(target: &mut Value, operation: &'static str, path: &str) -> Result<Value, JsonPatchError> {
    let missing = || JsonPatchError::Missing { operation, what: "key", path: path.to_owned() };
    if path.is_empty() {
        return Ok(std::mem::take(target));
    }
    match parent(target, operation, path)? {
        (Value::Object(map), key) => map.shift_remove(&key).ok_or_else(missing),
        (Value::Array(items), key) => match index(&key, items.len()) {
            Some(place) => Ok(items.remove(place)),
            None => Err(JsonPatchError::Index { operation, path: path.to_owned() }),
        },
        _ => Err(missing()),
    }
}

/// A place in a list: digits without a leading zero, below the limit.
fn index(text: &str, limit: usize) -> Option<usize> {
    if text.len() > 1 && text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|place| *place < limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operations() {
        let document = json!({"a": {"b": [1, 2]}, "x/y": 0, "m~n": 1});
        let cases = [
            (
                json!([{"op": "add", "path": "/c", "value": null}]),
                json!({"a": {"b": [1, 2]}, "x/y": 0, "m~n": 1, "c": null}),
            ),
            (json!([{"op": "add", "path": "/a/b/1", "value": 9}]), json!({"a": {"b": [1, 9, 2]}, "x/y": 0, "m~n": 1})),
            (json!([{"op": "add", "path": "/a/b/-", "value": 9}]), json!({"a": {"b": [1, 2, 9]}, "x/y": 0, "m~n": 1})),
            (json!([{"op": "remove", "path": "/x~1y"}]), json!({"a": {"b": [1, 2]}, "m~n": 1})),
            (json!([{"op": "replace", "path": "/m~0n", "value": 2}]), json!({"a": {"b": [1, 2]}, "x/y": 0, "m~n": 2})),
            (json!([{"op": "move", "from": "/a/b", "path": "/b"}]), json!({"a": {}, "x/y": 0, "m~n": 1, "b": [1, 2]})),
            (
                json!([{"op": "copy", "from": "/a/b/0", "path": "/a/b/0"}]),
                json!({"a": {"b": [1, 1, 2]}, "x/y": 0, "m~n": 1}),
            ),
            (json!([{"op": "test", "path": "/a/b/0", "value": 1.0}]), document.clone()),
            (json!([{"op": "add", "path": "", "value": 7}]), json!(7)),
        ];
        for (patch, expected) in cases {
            assert_eq!(json_patch(document.clone(), &patch), Ok(expected), "{patch}");
        }
    }

    #[test]
    fn refusals() {
        let document = json!({"a": [1]});
        for patch in [
            json!({}),
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            json!([{"op": "add", "path": "/a/2", "value": 1}]),
            json!([{"op": "add", "path": "/a/01", "value": 1}]),
            json!([{"op": "add", "path": "a", "value": 1}]),
            json!([{"op": "remove", "path": "/b"}]),
            json!([{"op": "remove", "path": "/a/-"}]),
            json!([{"op": "replace", "path": "/b", "value": 1}]),
            json!([{"op": "test", "path": "/a/0", "value": "1"}]),
            json!([{"op": "move", "from": "/a", "path": "/a/0"}]),
            json!([{"op": "frob", "path": "/a"}]),
            json!([{"op": "add"}]),
        ] {
            assert!(json_patch(document.clone(), &patch).is_err(), "{patch}");
        }
    }
}
