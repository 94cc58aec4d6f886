//! JSON as CEL sees it, and what is known without being asked.

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::Val;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// A value that borrows its texts.
pub(super) fn borrowed(value: &Value) -> Box<dyn Val + '_> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Box::new(CelInt::from(whole)),
            (None, number) => Box::new(CelDouble::from(number.unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(borrowed).collect::<Vec<_>>())),
        Value::Object(fields) => {
            let entry = |(key, value)| (CelMapKey::String(CelString::from(key)), borrowed(value));
            let fields = fields.iter().map(|(key, value)| (key.as_str(), value));
            Box::new(CelMap::from(fields.map(entry).collect::<HashMap<_, _>>()))
        }
    }
}

/// Images of all containers in an object, in order.
pub fn images(object: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(object, &mut found);
    found
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (field, inner) in fields {
                if matches!(field.as_str(), "containers" | "initContainers" | "ephemeralContainers") {
                    let images = inner.as_array().into_iter().flatten();
                    found.extend(images.filter_map(|one| one["image"].as_str()).map(str::to_owned));
                }
                collect(inner, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}
