//! Why something cannot be rendered.

use model::Component;
use model::remote::Address;

/// Why something cannot be rendered. Messages say where, what was wrong and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field of a component's description, or of its overrides, cannot become an object.
    #[error("component {component}: {field}: {problem}")]
    Field {
        /// Whose.
        component: Component,
        /// Path in the file: `endpoints.http.port`.
        field: String,
        /// What was wrong and what is allowed.
        problem: String,
    },
    /// A manifest is no YAML.
    #[error("{0}")]
    Yaml(#[source] yaml::Error),
    /// A document is no Kubernetes object, or stands twice.
    #[error("{file}:{line}: {problem}")]
    Manifest {
        /// From the directory that is rendered.
        file: String,
        /// Where the document begins, from 1.
        line: usize,
        /// What was wrong and what is allowed.
        problem: String,
    },
    /// A directory with a kustomization cannot be built.
    #[error("{}{problem}", place(file, *line))]
    Kustomization {
        /// From the top of the repository; empty if no file is to blame.
        file: String,
        /// From 1; 0 if no line is to blame.
        line: usize,
        /// The field, what was wrong with it and what is allowed.
        problem: String,
    },
    /// The manifests name what lies elsewhere and was not given.
    #[error("not at hand: {}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Remote {
        /// To be fetched; with them, rendering may name more.
        addresses: Vec<Address>,
    },
}

fn place(file: &str, line: usize) -> String {
    match (file, line) {
        ("", _) => String::new(),
        (file, 0) => format!("{file}: "),
        (file, line) => format!("{file}:{line}: "),
    }
}
