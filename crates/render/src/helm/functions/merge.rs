//! Merges maps in place, as the library behind `merge` does.

use super::types::is_empty;
use super::{Result, fail};
use template::{Map, Value};

/// Brings entries of one map into another: those that are missing or empty there, or all of them. Maps inside of
/// maps are merged; what is brought over is shared.
pub(super) fn merge(target: &Map, source: &Map, overwrite: bool, depth: usize) -> Result<()> {
    if depth > 1000 {
        return fail("maps are nested deeper than 1000 levels; does one contain itself?");
    }
    if target.is(source) {
        return Ok(());
    }
    let entries: Vec<_> = source.entries().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    for (key, value) in entries {
        let before = target.get(&key);
        if value.is_nil() {
            if overwrite {
                target.set(key, Value::Nil);
            }
            continue;
        }
        if let (Some(Value::Map(inner)), Value::Map(value)) = (&before, &value) {
            merge(inner, value, overwrite, depth + 1)?;
            if !inner.is_empty() {
                continue;
            }
        }
        if overwrite || before.as_ref().is_none_or(is_empty) {
            target.set(key, value);
        }
    }
    Ok(())
}
