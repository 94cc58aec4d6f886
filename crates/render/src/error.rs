//! Why something cannot be rendered.

use model::Component;

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
}
