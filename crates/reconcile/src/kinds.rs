//! The kinds of `trimtab.dev` as CustomResourceDefinitions, with the columns that a person wants to see.

use model::records::Kind;
use serde_json::{Value, json};

/// One definition per kind, in the order in which they are installed.
pub fn kinds() -> Vec<Value> {
    Kind::ALL.into_iter().map(definition).collect()
}

fn definition(kind: Kind) -> Value {
    let (name, plural) = (kind.name(), kind.plural());
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{}", model::GROUP) },
        "spec": {
            "group": model::GROUP,
            "scope": "Namespaced",
            "names": { "kind": name, "listKind": format!("{name}List"), "plural": plural, "singular": name.to_lowercase(), "categories": ["trimtab"] },
            "versions": [{
                "name": model::VERSION,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns(kind),
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": { "spec": spec(kind), "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
                }},
            }],
        },
    })
}

fn columns(kind: Kind) -> Value {
    let column = |name: &str, path: &str| json!({ "name": name, "type": "string", "jsonPath": path });
    let mut columns = match kind {
        Kind::Project => vec![
            column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            column("Reason", ".status.conditions[?(@.type=='Ready')].message"),
        ],
        Kind::Component => vec![column("Type", ".spec.type")],
        Kind::Environment => vec![
            column("Promotion", ".spec.promotion.strategy"),
            column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            column("Suspended", ".status.conditions[?(@.type=='Suspended')].status"),
            column("Held", ".status.held.reason"),
        ],
        Kind::ComponentDeployment => vec![
            column("Build", ".spec.build"),
            column("Health", ".status.health"),
            column("Reason", ".status.reason"),
            column("URL", ".status.url"),
        ],
        Kind::Build => vec![
            column("Phase", ".status.phase"),
            column("Chart", ".status.chart.version"),
            column("Commit", ".spec.commit"),
            column("By", ".spec.pushedBy"),
            column("Message", ".spec.message"),
        ],
        Kind::Promotion => vec![
            column("Environment", ".spec.environment"),
            column("Class", ".spec.class"),
            column("Change", ".status.change"),
            column("Phase", ".status.phase"),
            column("Waits for", ".status.message"),
        ],
    };
    columns.push(json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" }));
    json!(columns)
}

/// Projections are checked where they are written, in git; what kubectl may create is checked here.
fn spec(kind: Kind) -> Value {
    let text = json!({ "type": "string" });
    match kind {
        Kind::Promotion => json!({
            "type": "object",
            "required": ["project", "environment", "class", "requestedBy", "created"],
            "properties": {
                "project": text, "environment": text, "component": text, "build": text, "config": text, "commit": text, "requestedBy": text, "reason": text,
                "release": text, "changeRef": text, "override": text, "quarantine": text,
                "class": { "type": "string", "enum": ["Auto", "Promote", "Rollback", "Commit", "Secret"] },
                "created": { "type": "string", "format": "date-time" },
            },
        }),
        Kind::Build => json!({
            "type": "object",
            "required": ["project", "build", "repository", "commit", "created"],
            "properties": {
                "project": text, "build": text, "commit": text, "pushedBy": text, "message": text,
                "created": { "type": "string", "format": "date-time" },
                "repository": { "type": "object", "properties": { "project": text, "name": text } },
                "chart": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            },
        }),
        Kind::Project | Kind::Component | Kind::Environment | Kind::ComponentDeployment => {
            json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
        }
    }
}
