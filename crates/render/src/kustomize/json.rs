//! JSON patches as the original's library applies them.
//!
//! It is more lenient than RFC 6902, and than what an API server uses: `replace` makes a field that was not there, and
//! places in lists may be counted from the end.

use serde_json::Value;

/// Operations beyond this are refused.
const OPERATIONS_MAX: usize = 10_000;

/// Carries out all operations, in order.
pub(super) fn patch(mut target: Value, operations: &Value) -> Result<Value, String> {
    let operations = operations.as_array().ok_or("a JSON patch is a list of operations")?;
    if operations.len() > OPERATIONS_MAX {
        return Err(format!("a JSON patch has at most {OPERATIONS_MAX} operations"));
    }
    for operation in operations {
        step(&mut target, operation)?;
    }
    Ok(target)
}

fn step(target: &mut Value, operation: &Value) -> Result<(), String> {
    let text = |key: &str| operation.get(key).and_then(Value::as_str);
    let path = text("path").ok_or_else(|| format!("path is missing in {operation}"))?;
    let from = || text("from").ok_or_else(|| format!("from is missing in {operation}"));
    let value = || operation.get("value").cloned().unwrap_or_default();
    let op = text("op").unwrap_or_default();
    let fail = |problem: String| format!("{op} {path}: {problem}");
    match op {
        "add" => add(target, path, value()).map_err(fail),
        "remove" => remove(target, path).map(|_| ()).map_err(fail),
        "replace" if path.is_empty() => {
            *target = value();
            Ok(())
        }
        "replace" => replace(target, path, value()).map_err(fail),
        "move" => {
            let value = remove(target, from()?).map_err(fail)?;
            add(target, path, value).map_err(fail)
        }
        "copy" => {
            let value = get(target, from()?).map_err(fail)?.cloned().unwrap_or_default();
            add(target, path, value).map_err(fail)
        }
        "test" => {
            let found = if path.is_empty() { Some(&*target) } else { get(target, path).map_err(fail)? };
            if same(found.unwrap_or(&Value::Null), &value()) {
                return Ok(());
            }
            let shown = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
            Err(fail(format!("{} is expected, and {shown} stands there", value())))
        }
        other => Err(format!("{other:?} is no operation, in {operation}")),
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

/// The list or map that a pointer ends in, and the last word of the pointer.
fn parent<'v>(target: &'v mut Value, path: &str) -> Result<(&'v mut Value, String), String> {
    let words: Vec<String> = path.split('/').map(|word| word.replace("~1", "/").replace("~0", "~")).collect();
    // What stands before the first slash counts for nothing.
    let [_, way @ .., last] = words.as_slice() else { return Err("the path should begin with a slash".into()) };
    let mut found = target;
    for word in way {
        let next = match found {
            Value::Object(map) => map.get_mut(word),
            Value::Array(items) => index(word, items.len()).and_then(|at| items.get_mut(at)),
            _ => None,
        };
        found = next.ok_or_else(|| format!("there is no {word:?} on the way"))?;
    }
    match found {
        Value::Object(_) | Value::Array(_) => Ok((found, last.clone())),
        _ => Err(format!("there is no list or map that could hold {last:?}")),
    }
}

fn get<'v>(target: &'v mut Value, path: &str) -> Result<Option<&'v Value>, String> {
    match parent(target, path)? {
        (Value::Array(items), word) => {
            let at = index(&word, items.len()).ok_or_else(|| no_place(&word))?;
            items.get(at).map(Some).ok_or_else(|| no_place(&word))
        }
        (other, word) => Ok(other.get(&word)),
    }
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), String> {
    match parent(target, path)? {
        (Value::Object(map), key) => _ = map.insert(key, value),
        (Value::Array(items), word) if word == "-" => items.push(value),
        (Value::Array(items), word) => {
            let at = index(&word, items.len() + 1).ok_or_else(|| no_place(&word))?;
            items.insert(at, value);
        }
        _ => return Err("there is no list or map".into()),
    }
    Ok(())
}

fn replace(target: &mut Value, path: &str, value: Value) -> Result<(), String> {
    match parent(target, path)? {
        (Value::Object(map), key) => _ = map.insert(key, value),
        (Value::Array(items), word) => {
            let at = index(&word, items.len()).ok_or_else(|| no_place(&word))?;
            items[at] = value;
        }
        _ => return Err("there is no list or map".into()),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str) -> Result<Value, String> {
    match parent(target, path)? {
        (Value::Object(map), key) => map.shift_remove(&key).ok_or_else(|| format!("there is no {key:?}")),
        (Value::Array(items), word) => {
            let at = index(&word, items.len()).ok_or_else(|| no_place(&word))?;
            Ok(items.remove(at))
        }
        _ => Err("there is no list or map".into()),
    }
}

/// A place in a list of this length; -1 is the last one.
fn index(word: &str, length: usize) -> Option<usize> {
    let number: i64 = word.parse().ok()?;
    let at = if number < 0 { i64::try_from(length).ok()?.checked_add(number)? } else { number };
    usize::try_from(at).ok().filter(|at| *at < length)
}

fn no_place(word: &str) -> String {
    format!("the list has no place {word:?}")
}

#[cfg(test)]
mod tests {
    use super::patch;
    use serde_json::json;

    #[test]
    fn operations() {
        let target = json!({"a": {"b": 1}, "l": [1, 2, 3], "n": null});
        let cases = [
            (json!({"op": "replace", "path": "/a/x", "value": 2}), Some(("/a/x", json!(2)))),
            (json!({"op": "add", "path": "/l/-", "value": 4}), Some(("/l", json!([1, 2, 3, 4])))),
            (json!({"op": "add", "path": "/l/-1", "value": 4}), Some(("/l", json!([1, 2, 3, 4])))),
            (json!({"op": "remove", "path": "/l/-1"}), Some(("/l", json!([1, 2])))),
            (json!({"op": "replace", "path": "/l/0", "value": 9}), Some(("/l", json!([9, 2, 3])))),
            (json!({"op": "move", "from": "/a/b", "path": "/c"}), Some(("/c", json!(1)))),
            (json!({"op": "copy", "from": "/a", "path": "/c"}), Some(("/c", json!({"b": 1})))),
            (json!({"op": "test", "path": "/a/b", "value": 1.0}), Some(("/a/b", json!(1)))),
            (json!({"op": "test", "path": "/a/none"}), Some(("/a/b", json!(1)))),
            (json!({"op": "test", "path": "/a/b", "value": 2}), None),
            (json!({"op": "remove", "path": "/a/none"}), None),
            (json!({"op": "add", "path": "/none/x", "value": 1}), None),
            (json!({"op": "add", "path": "/n/x", "value": 1}), None),
            (json!({"op": "replace", "path": "/l/3", "value": 1}), None),
            (json!({"op": "add", "path": "/l/5", "value": 1}), None),
            (json!({"op": "frob", "path": "/l"}), None),
            (json!({"op": "add"}), None),
        ];
        for (operation, expected) in cases {
            let result = patch(target.clone(), &json!([operation]));
            match expected {
                Some((path, value)) => {
                    assert_eq!(result.expect("a good patch").pointer(path), Some(&value), "{operation}");
                }
                None => assert!(result.is_err(), "{operation}"),
            }
        }
    }
}
