//! Jobs: the selector that the server makes, and what of a Job stays as it is.

use super::rules::{invalid, required};
use super::validate::{Errors, IMMUTABLE, UNMATCHED, pod_spec, unchanged};
use object::meta;
use object::selector::LabelSelector;
use serde_json::{Map, Value, json};

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Names of the two labels from before they had a prefix.
const OLD_CONTROLLER_UID: &str = "controller-uid";
const OLD_JOB_NAME: &str = "job-name";

/// Fields that ask for more than what the Job controller does.
const NOT_DONE: [(&str, &str); 7] = [
    ("completionMode", "a Job of mode Indexed fails"),
    ("podFailurePolicy", "every failed Pod counts against backoffLimit"),
    ("successPolicy", "the Job succeeds when all its completions have"),
    ("backoffLimitPerIndex", "failures count against backoffLimit"),
    ("maxFailedIndexes", "failures count against backoffLimit"),
    ("managedBy", "the Job is run here all the same"),
    ("podReplacementPolicy", "a Pod that is being deleted is replaced at once"),
];

/// Selects the Job's own Pods, by the uid that it has just got; warnings.
pub fn prepare(job: &mut Value) -> Vec<String> {
    let (name, uid) = (meta(job).name().to_owned(), meta(job).uid().to_owned());
    let warnings = warnings(&job["spec"]);
    let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) else { return warnings };
    if spec.get("manualSelector") != Some(&Value::Bool(true)) {
        let own = [(CONTROLLER_UID, &uid), (JOB_NAME, &name), (OLD_CONTROLLER_UID, &uid), (OLD_JOB_NAME, &name)];
        if let Some(labels) = map_at(spec, &["template", "metadata", "labels"]) {
            labels.extend(own.map(|(key, value)| (key.to_owned(), value.as_str().into())));
        }
        if let Some(labels) = map_at(spec, &["selector", "matchLabels"]) {
            labels.insert(CONTROLLER_UID.into(), uid.into());
        }
    }
    let labels = job["spec"]["template"]["metadata"]["labels"].clone();
    if meta(job).labels().next().is_none() && labels.is_object() {
        job["metadata"]["labels"] = labels;
    }
    warnings
}

/// The map at a path, made if it is not there; `None` if something else stands in the way.
fn map_at<'a>(mut map: &'a mut Map<String, Value>, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    for key in path {
        let value = map.entry(*key).or_insert(Value::Null);
        if value.is_null() {
            *value = json!({});
        }
        map = value.as_object_mut()?;
    }
    Some(map)
}

fn warnings(spec: &Value) -> Vec<String> {
    let asked = |field: &str| match field {
        // The default is what is done.
        "completionMode" => spec[field] == "Indexed",
        "podReplacementPolicy" => spec[field] == "Failed",
        _ => !spec[field].is_null(),
    };
    let not_done = NOT_DONE.iter().filter(|(field, _)| asked(field));
    not_done.map(|(field, instead)| format!("spec.{field} is not acted on: {instead}")).collect()
}

/// The rules of a Job beyond the schema.
pub(super) fn validate(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let spec = &object["spec"];
    for field in ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"] {
        if spec[field].as_i64().is_some_and(|number| number < 0) {
            errors.push(invalid(format!("spec.{field}"), &spec[field], "must be greater than or equal to 0"));
        }
    }
    if spec["completionMode"] == "Indexed" && spec["completions"].is_null() {
        errors.push(required("spec.completions", "when completion mode is Indexed"));
    }
    let own = LabelSelector::from_value(&json!({"matchLabels": {CONTROLLER_UID: meta(object).uid()}}));
    let selector = LabelSelector::from_value(&spec["selector"]);
    if spec["manualSelector"] != true && own != selector {
        errors.push(invalid("spec.selector", &spec["selector"], "`selector` not auto-generated"));
    }
    let labels = &spec["template"]["metadata"]["labels"];
    match selector {
        Err(error) => errors.push(invalid("spec.selector", &spec["selector"], error.to_string())),
        Ok(selector) if !selector.matches_labels(labels) => {
            errors.push(invalid("spec.template.metadata.labels", labels, UNMATCHED));
        }
        Ok(_) => {}
    }
    pod_spec(&spec["template"]["spec"], "spec.template.spec", errors);
    if !matches!(spec["template"]["spec"]["restartPolicy"].as_str(), Some("OnFailure" | "Never")) {
        errors.push(required("spec.template.spec.restartPolicy", "valid values: \"OnFailure\", \"Never\""));
    }
    let Some(old) = old else { return };
    for field in ["completions", "selector", "completionMode"] {
        unchanged(object, Some(old), &format!("/spec/{field}"), &format!("spec.{field}"), IMMUTABLE, errors);
    }
    let waiting = old["spec"]["suspend"] == true && old["status"]["startTime"].is_null();
    let comparable = |job: &Value| placed(&job["spec"]["template"], waiting);
    if comparable(object) != comparable(old) {
        errors.push(invalid("spec.template", &spec["template"], IMMUTABLE));
    }
}

/// A template; of one whose Job has not begun, without what says where its Pods run.
fn placed(template: &Value, waiting: bool) -> Value {
    let mut template = template.clone();
    if waiting {
        template["metadata"] = Value::Null;
        for field in ["nodeSelector", "affinity", "tolerations", "schedulingGates"] {
            template["spec"][field] = Value::Null;
        }
    }
    template
}
