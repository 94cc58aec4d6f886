//! Random sequences of writes against answers of the original libraries (structured-merge-diff and
//! managedfields of apimachinery 0.34.4, called by a small Go program).

use object::apply::{ApplyError, FieldSet, Request, apply, update};
use object::patch::merge_patch;
use object::{Gvk, Schema, schema};
use serde_json::{Value, json};

/// A sequence a line: `{"case": {"group", "version", "kind", "ops": [{"op": "apply" | "update" | "patch", "manager",
/// "force"?, "object"}]}, "answers": [{"object", "managed"} | {"error"}]}`.
const SEQUENCES: &str = include_str!("golden/apply-random.jsonl");
/// Schema of the one custom kind.
const WIDGET: &str = include_str!("golden/apply-widget.json");

#[test]
fn sequences_end_as_in_the_original() {
    check(SEQUENCES.lines());
}

#[test]
#[ignore = "by hand: needs a file made by the original, named by APPLY_SEQUENCES"]
fn by_hand_many_sequences_end_as_in_the_original() {
    let file = std::env::var("APPLY_SEQUENCES").expect("APPLY_SEQUENCES names a file");
    check(std::fs::read_to_string(file).expect("it can be read").lines());
}

fn check<'t>(lines: impl Iterator<Item = &'t str>) {
    let widget = Schema::from_crd(&serde_json::from_str(WIDGET).expect("JSON")).expect("a good schema");
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in lines {
        let line: Value = serde_json::from_str(line).expect("JSON");
        match replay(&line["case"], &line["answers"], &widget) {
            Ok(steps) => count += steps,
            Err(problem) => wrong.push(problem),
        }
    }
    println!("{count} writes compared");
    assert!(wrong.is_empty(), "{} sequences differ:\n{}", wrong.len(), wrong[..wrong.len().min(6)].join("\n\n"));
    assert!(count > 0);
}

fn replay(case: &Value, answers: &Value, widget: &Schema) -> Result<usize, String> {
    let text = |key: &str| case[key].as_str().expect("a text");
    let gvk = Gvk::new(text("group"), text("version"), text("kind"));
    let schema = schema::schema_for(&gvk).unwrap_or_else(|| widget.clone());
    let mut live = json!({"apiVersion": gvk.api_version(), "kind": gvk.kind});
    let reset = FieldSet::default();
    let mut count = 0;
    for (index, (op, answer)) in
        case["ops"].as_array().into_iter().flatten().zip(answers.as_array().into_iter().flatten()).enumerate()
    {
        if answer.get("panic").is_some() || answer.get("skip").is_some() {
            break;
        }
        let manager = op["manager"].as_str().expect("a manager");
        let force = op["force"].as_bool().unwrap_or_default();
        let request = Request { manager, force, subresource: "", reset: &reset, schema: &schema, now: "now" };
        let stored = (index > 0).then_some(&live);
        let result = match op["op"].as_str() {
            Some("apply") => apply(stored, &op["object"], &request),
            Some("update") => Ok(update(stored, op["object"].clone(), &request)),
            _ => Ok(update(stored, merge_patch(live.clone(), &op["object"]), &request)),
        };
        let fail = |what: &str, ours: &Value, theirs: &Value| {
            Err(format!("step {index} of {case}\n live: {live}\n{what}\n  ours:   {ours}\n  theirs: {theirs}"))
        };
        match (result, answer.get("error")) {
            (Ok(mut object), None) => {
                let managed = managed(&object);
                if managed != answer["managed"] && !(managed == json!([]) && answer["managed"].is_null()) {
                    return fail("managedFields", &managed, &answer["managed"]);
                }
                let managed = object["metadata"]["managedFields"].take();
                object["metadata"]["uid"] = json!("u");
                // A server keeps no nulls.
                let mut theirs = without_nulls(&answer["object"]);
                theirs["metadata"]["managedFields"] = Value::Null;
                let mut stored = theirs.clone();
                schema.drop_nulls(&mut object);
                schema.drop_nulls(&mut stored);
                let (a, b) = (without_nulls(&object), without_nulls(&stored));
                if a != b {
                    return fail("object", &a, &b);
                }
                live = theirs;
                live["metadata"]["managedFields"] = managed;
                if live["metadata"]["managedFields"].is_null() {
                    live["metadata"].as_object_mut().expect("a map").shift_remove("managedFields");
                }
            }
            (Err(ApplyError::Conflicts(conflicts)), Some(error)) => {
                let words = |text: &str| -> Vec<String> {
                    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                    lines.sort();
                    lines
                };
                let theirs = error.as_str().unwrap_or_default();
                if words(&conflicts.to_string()) != words(theirs) {
                    return fail("conflicts", &json!(conflicts.to_string()), error);
                }
            }
            (Err(_), Some(error)) if !error.as_str().unwrap_or_default().starts_with("Apply failed") => {}
            (Ok(_), Some(_)) if op["op"] != "apply" => break,
            (result, error) => return fail("outcome", &json!(format!("{result:?}")), &json!(error)),
        }
        count += 1;
        // What comes before the first apply is told apart by typed objects only.
        if answer["managed"].is_null() && answer.get("error").is_none() {
            break;
        }
        if index == 0 && answer.get("error").is_some() {
            break;
        }
    }
    Ok(count)
}

fn managed(object: &Value) -> Value {
    let mut list: Vec<Value> = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    for entry in &mut list {
        let timed = entry.as_object_mut().expect("a map").shift_remove("time").is_some();
        entry["timed"] = json!(timed);
        entry.sort_all_objects();
    }
    list.sort_by_key(Value::to_string);
    Value::Array(list)
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
