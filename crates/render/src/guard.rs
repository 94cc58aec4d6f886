//! Nobody but Trimtab writes what git describes of a reviewed environment: the rule that tells a real Kubernetes so.

use model::change::FOR_MAIN;
use model::names::workload_namespace;
use model::{Environment, LABEL_ENVIRONMENT, LABEL_PROJECT, Project};
use serde_json::{Value, json};

/// The group and version that serve the rule, since Kubernetes 1.30.
const API: &str = "admissionregistration.k8s.io/v1";

/// The policy and what puts it into force. `writer` is who Trimtab is on that cluster. Parts of the system go on: what
/// controllers do follows from what people cannot write. What a controller owns, such as a Pod, may be deleted.
pub fn guard(project: &Project, environment: &Environment, writer: &str) -> [Value; 2] {
    let labels = json!({ LABEL_PROJECT: project, LABEL_ENVIRONMENT: environment });
    // Names of cluster-scoped objects are everybody's: ours says whose it is.
    let name = format!("trimtab-{project}-{environment}");
    let metadata = json!({ "name": name, "labels": labels });
    let message = format!(
        "changes to {environment} of {project} are reviewed: describe it in git and push that to {FOR_MAIN} of {project}/config"
    );
    let people =
        format!("!request.userInfo.username.startsWith('system:') && request.userInfo.username != {}", text(writer));
    // What is sent to scale something has no labels: it is ours if it is in the namespace.
    let label = |key: &str, value: &str| {
        format!("{0} in o.metadata.labels && o.metadata.labels[{0}] == {1}", text(key), text(value))
    };
    let ours = format!(
        "(has(request.subResource) && request.subResource == 'scale') || [object, oldObject].exists(o, o != null && has(o.metadata.labels) && {} && {})",
        label(LABEL_PROJECT, project.as_str()),
        label(LABEL_ENVIRONMENT, environment.as_str())
    );
    let namespace = workload_namespace(project, environment);
    let described = "[object, oldObject].exists(o, o != null && !(has(o.metadata.ownerReferences) && \
                     o.metadata.ownerReferences.exists(r, has(r.controller) && r.controller)))";
    let policy = json!({
        "apiVersion": API,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": metadata,
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                "resourceRules": [{
                    "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE", "DELETE"],
                    "resources": ["*", "*/scale"],
                }],
            },
            "matchConditions": [
                { "name": "people", "expression": people },
                { "name": "ours", "expression": ours },
                { "name": "described", "expression": described },
            ],
            "validations": [{ "expression": "false", "message": message, "reason": "Forbidden" }],
        },
    });
    let binding = json!({
        "apiVersion": API,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": metadata,
        "spec": { "policyName": name, "validationActions": ["Deny"] },
    });
    [policy, binding]
}

/// As CEL writes a text.
fn text(plain: &str) -> String {
    let escaped: String =
        plain.chars().flat_map(|c| if matches!(c, '\\' | '\'') { vec!['\\', c] } else { vec![c] }).collect();
    format!("'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_is_for_people_and_for_what_git_describes() {
        let [policy, binding] = guard(&"shop".parse().unwrap(), &"prod".parse().unwrap(), "it's me");
        assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
        assert_eq!(policy["metadata"]["labels"][LABEL_ENVIRONMENT], "prod");
        let conditions = policy["spec"]["matchConditions"].to_string();
        for words in [r"!= 'it\\'s me'", "startsWith('system:')", "r.controller", "== 'shop'", "subResource == 'scale'"]
        {
            assert!(conditions.contains(words), "{words:?} is missing in {conditions}");
        }
        let message = policy["spec"]["validations"][0]["message"].as_str().unwrap();
        assert!(message.contains("refs/for/main of shop/config"), "{message}");
    }
}
