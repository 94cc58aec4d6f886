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
                    "description": description(kind),
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
        Kind::Change => vec![
            column("Repository", ".spec.repository.name"),
            column("Author", ".spec.author"),
            column("State", ".status.state"),
            column("Title", ".status.patchSets[-1:].title"),
        ],
    };
    columns.push(json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" }));
    json!(columns)
}

/// What it is, and where it is changed.
fn description(kind: Kind) -> &'static str {
    match kind {
        Kind::Project => {
            "A project: its environments in the order in which people see them. Stands in project.yaml of the config repository and is changed there."
        }
        Kind::Component => {
            "A component, as its repository (trimtab.yaml) or the config repository (components/NAME.yaml) describes it; changed there."
        }
        Kind::Environment => {
            "An environment with its rules, out of environments/NAME.yaml of the config repository, changed there; its status says what is admitted and what is held."
        }
        Kind::ComponentDeployment => {
            "Which build of a component an environment runs, out of environments/ENV/NAME.yaml of the config repository, changed there; its status says how it is doing."
        }
        Kind::Build => "One attempt to make an image of a commit of a component.",
        Kind::Change => {
            "A proposal for a branch of a repository, opened by a push to refs/for/main or by a command; made anew from the journal and refs/changes if it is lost."
        }
        Kind::Promotion => {
            "One movement of a build or a release into an environment, through its gates. Its effect is exactly one commit of the config repository. Created by people and by the strategy Auto; what becomes of it stands in its status."
        }
    }
}

/// Projections are checked where they are written, in git; what kubectl may create is checked here.
fn spec(kind: Kind) -> Value {
    let text = |meaning: &str| json!({ "type": "string", "description": meaning });
    let time = |meaning: &str| json!({ "type": "string", "format": "date-time", "description": meaning });
    match kind {
        Kind::Promotion => json!({
            "type": "object",
            "required": ["project", "environment", "class", "requestedBy", "created"],
            "properties": {
                "project": text("Which project"),
                "environment": text("Where it goes"),
                "class": {
                    "type": "string",
                    "description": "Who asked for it, and how",
                    "enum": ["Auto", "Promote", "Rollback", "Commit", "Secret"],
                },
                "component": text("Which component; absent: a release, or all that a commit moves"),
                "build": text("Which build, web-42; absent: the newest that may"),
                "config": text("Commit of the config repository that configures it; absent: that of the environment before"),
                "release": text("Which release, 1.4.0"),
                "commit": text("The commit by hand that it is about"),
                "changeRef": text("The change that it belongs to"),
                "override": text("Emergency: why gates are passed"),
                "quarantine": text("How long what a rollback leaves is not taken by itself: 2d, 12h"),
                "requestedBy": text("Who asked for it"),
                "reason": text("Why"),
                "created": time("When it was asked for"),
            },
        }),
        Kind::Build => json!({
            "type": "object",
            "required": ["project", "build", "repository", "commit", "created"],
            "properties": {
                "project": text("Which project"),
                "build": text("Component and number, web-42"),
                "repository": {
                    "type": "object",
                    "description": "Application repository",
                    "properties": { "project": text("Whose it is"), "name": text("Its name") },
                },
                "commit": text("Commit of it"),
                "pushedBy": text("Author of the commit"),
                "message": text("Its subject"),
                "created": time("When it was asked for"),
                "chart": {
                    "type": "object",
                    "description": "The chart of a repository that it takes",
                    "x-kubernetes-preserve-unknown-fields": true,
                },
            },
        }),
        Kind::Project | Kind::Component | Kind::Environment | Kind::ComponentDeployment => json!({
            "type": "object",
            "description": "The fields of the file: docs/reference.md",
            "x-kubernetes-preserve-unknown-fields": true,
        }),
        Kind::Change => json!({
            "type": "object",
            "required": ["project", "repository", "author", "created"],
            "properties": {
                "project": text("Which project"),
                "repository": {
                    "type": "object",
                    "description": "Where it was proposed",
                    "properties": { "project": text("Whose it is"), "name": text("Its name") },
                },
                "author": text("Who proposed it"),
                "topic": text("What tells it from others of its author"),
                "created": time("When it was opened"),
            },
        }),
    }
}
