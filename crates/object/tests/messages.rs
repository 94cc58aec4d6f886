//! What is wrong with an object is told in the words of a real kube-apiserver.

use object::{Schema, schema, schema::schema_for};
use serde_json::{Value, json};

fn steps(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("a script is JSON")
}

fn check(problems: Vec<String>) {
    assert!(problems.is_empty(), "{} differ:\n{}", problems.len(), problems.join("\n\n"));
}

#[test]
fn custom_resources_are_judged_alike() {
    let steps = steps(include_str!("golden/http/crd-widget.json"));
    let definition = &steps[1]["request"]["body"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let schema = Schema::from_crd(definition).expect("a good schema");
    let (mut problems, mut judged) = (Vec::new(), 0);
    for step in steps.iter().filter(|step| step["request"]["body"]["kind"] == "Widget") {
        let (mut object, response) = (step["request"]["body"].clone(), &step["response"]);
        let note = &step["note"];
        schema.drop_nulls(&mut object);
        schema.default(&mut object);
        let errors = schema.validate(&object);
        let ours: Vec<Value> = (errors.iter())
            .map(|error| json!({"reason": error.kind.reason(), "message": error.message(), "field": error.field()}))
            .collect();
        match response["code"].as_u64() {
            Some(422) => {
                judged += 1;
                let mut theirs = response["body"]["details"]["causes"].as_array().cloned().unwrap_or_default();
                // What the server checks besides the schema: versions, and the path of the scale.
                theirs.retain(|cause| {
                    let field = cause["field"].as_str().unwrap_or_default();
                    field != "metadata.resourceVersion" && !field.starts_with('.')
                });
                let shown = |list: &[Value]| list.iter().map(|c| format!("    {c}")).collect::<Vec<_>>().join("\n");
                let sorted = |list: &[Value]| {
                    let mut list: Vec<String> = list.iter().map(sorted_keys).collect();
                    list.sort();
                    list
                };
                if sorted(&ours) != sorted(&theirs) {
                    problems.push(format!("{note}\n  ours:\n{}\n  theirs:\n{}", shown(&ours), shown(&theirs)));
                }
            }
            Some(200 | 201) if !ours.is_empty() => problems.push(format!("{note} is good, but {ours:?}")),
            _ => {}
        }
        if let Some(warnings) = response["warnings"].as_array() {
            judged += 1;
            let ours: Vec<String> =
                schema.unknown_fields(&step["request"]["body"]).iter().map(|text| format!("299 - {text:?}")).collect();
            if json!(ours) != json!(warnings) {
                problems.push(format!("{note}\n  ours:   {ours:?}\n  theirs: {warnings:?}"));
            }
        }
        if let Some(message) = response["body"]["message"].as_str()
            && let Some(theirs) = message.split("strict decoding error: ").nth(1)
        {
            judged += 1;
            let ours = schema.unknown_fields(&step["request"]["body"]).join(", ");
            if ours != theirs {
                problems.push(format!("{note}\n  ours:   {ours}\n  theirs: {theirs}"));
            }
        }
    }
    check(problems);
    assert!(judged >= 10, "only {judged} were judged");
}

fn sorted_keys(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

#[test]
fn custom_resources_are_stored_alike() {
    let steps = steps(include_str!("golden/http/crd-widget.json"));
    let definition = &steps[1]["request"]["body"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let schema = Schema::from_crd(definition).expect("a good schema");
    let mut problems = Vec::new();
    for step in steps.iter().filter(|step| step["request"]["method"] == "POST" && step["response"]["code"] == 201) {
        let mut object = step["request"]["body"].clone();
        if object["kind"] != "Widget" {
            continue;
        }
        schema.prune(&mut object);
        schema.drop_nulls(&mut object);
        schema.default(&mut object);
        if object["spec"] != step["response"]["body"]["spec"] {
            problems.push(format!(
                "{}\n  ours:   {}\n  theirs: {}",
                step["note"], object["spec"], step["response"]["body"]["spec"]
            ));
        }
    }
    check(problems);
}

#[test]
fn built_in_objects_are_decoded_alike() {
    let scripts = [
        include_str!("golden/http/deployment.json"),
        include_str!("golden/http/configmap.json"),
        include_str!("golden/http/secret.json"),
    ];
    let (mut problems, mut judged) = (Vec::new(), 0);
    for step in scripts.into_iter().flat_map(steps) {
        let (request, response) = (&step["request"], &step["response"]);
        let Some(gvk) = object::Gvk::of(&request["body"]) else { continue };
        let Some(schema) = schema_for(&gvk).filter(|_| request["contentType"].is_null()) else { continue };
        let prefix = format!("{} in version \"{}\" cannot be handled as a {}: ", gvk.kind, gvk.version, gvk.kind);
        let theirs = response["body"]["message"].as_str().and_then(|message| message.strip_prefix(&prefix));
        let unknown = schema.unknown_fields(&request["body"]).join(", ");
        let ours = match schema.decode_error(&gvk.kind, &request["body"]) {
            Some(error) => Some(error),
            None if request["path"].as_str().is_some_and(|path| path.contains("Strict")) && !unknown.is_empty() => {
                Some(format!("strict decoding error: {unknown}"))
            }
            None => None,
        };
        judged += usize::from(theirs.is_some());
        if ours.as_deref() != theirs {
            problems.push(format!("{}\n  ours:   {ours:?}\n  theirs: {theirs:?}", step["note"]));
        }
    }
    check(problems);
    assert!(judged >= 9, "only {judged} were judged");
}

#[test]
fn every_served_kind_has_a_schema() {
    let kinds: Vec<String> = schema::builtin().map(|(gvk, _)| format!("{}/{}", gvk.api_version(), gvk.kind)).collect();
    for kind in [
        "v1/Pod",
        "v1/Service",
        "v1/ConfigMap",
        "v1/Secret",
        "v1/Namespace",
        "v1/Node",
        "v1/Event",
        "v1/Endpoints",
        "v1/ServiceAccount",
        "v1/PersistentVolumeClaim",
        "v1/Status",
        "v1/DeleteOptions",
        "apps/v1/Deployment",
        "apps/v1/ReplicaSet",
        "apps/v1/StatefulSet",
        "apps/v1/DaemonSet",
        "batch/v1/Job",
        "batch/v1/CronJob",
        "networking.k8s.io/v1/Ingress",
        "rbac.authorization.k8s.io/v1/Role",
        "discovery.k8s.io/v1/EndpointSlice",
        "coordination.k8s.io/v1/Lease",
        "events.k8s.io/v1/Event",
        "policy/v1/PodDisruptionBudget",
        "autoscaling/v1/Scale",
        "autoscaling/v2/HorizontalPodAutoscaler",
        "storage.k8s.io/v1/StorageClass",
        "scheduling.k8s.io/v1/PriorityClass",
        "apiextensions.k8s.io/v1/CustomResourceDefinition",
        "apiregistration.k8s.io/v1/APIService",
        "admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration",
        "authorization.k8s.io/v1/SelfSubjectAccessReview",
        "authentication.k8s.io/v1/TokenReview",
    ] {
        assert!(kinds.iter().any(|known| known == kind), "{kind} is missing");
    }
}
