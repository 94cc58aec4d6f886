//! What was written reads back as the same value.

use proptest::prelude::*;
use serde_json::{Value, json};
use yaml::{Dialect, documents, to_string, to_string_in_order};

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~\\n]{0,60}",
        "[a-z :#'\"-]{60,200}",
        "\\PC{0,12}",
        prop::sample::select(vec![
            "",
            "yes",
            "null",
            "1e3",
            "017",
            "1:20",
            "2026-11-21",
            "- a",
            "a: b",
            "\u{1}",
            "\u{feff}"
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000..1000i32, 1..9i32).prop_map(|(a, b)| json!(f64::from(a) / f64::from(b))),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Whole floats come back as integers.
fn numbers_as_floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Null, |number| json!(number)),
        Value::Array(items) => items.iter().map(numbers_as_floats).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), numbers_as_floats(value))).collect(),
        other => other.clone(),
    }
}

/// Line breaks that YAML folds but JSON does not know.
fn has_odd_breaks(value: &Value) -> bool {
    let text = value.to_string();
    text.contains(['\u{85}', '\u{2028}', '\u{2029}'])
}

proptest! {
    #[test]
    fn written_values_read_back(value in value()) {
        prop_assume!(!has_odd_breaks(&value));
        for text in [to_string(&value), to_string_in_order(&value)] {
            let read = documents(&text, "written", Dialect::V2);
            let read = read.map(|list| list.into_iter().next().map_or(Value::Null, |(value, _)| value));
            prop_assert_eq!(read.as_ref().map(numbers_as_floats), Ok(numbers_as_floats(&value)), "{}", text);
        }
    }
}
