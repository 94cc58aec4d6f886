//! Strategic merge patches end as in the original (strategicpatch of apimachinery 0.34.4).

use object::patch::strategic_merge_patch;
use object::{Gvk, schema::schema_for};
use serde_json::Value;

/// A patch a line: `{"group", "version", "kind", "original", "patch", "result"}`. The original keeps directives where
/// nothing stood before, and leaves it to the decoder to drop them; `result` is without,
/// and without nulls.
#[test]
fn strategic_merge_patches() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in include_str!("golden/strategic.jsonl").lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| case[key].as_str().expect("a text");
        let schema = schema_for(&Gvk::new(text("group"), text("version"), text("kind"))).expect("a built-in kind");
        let result = strategic_merge_patch(case["original"].clone(), &case["patch"], &schema);
        count += 1;
        if result.as_ref().map(without_nulls) != Ok(case["result"].clone()) {
            wrong.push(format!("{line}\n  ours: {result:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, value)| !key.starts_with('$') && !value.is_null());
            kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
