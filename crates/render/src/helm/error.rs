//! Why a chart cannot be rendered.

use super::functions::{WARNING_END, WARNING_START};
use template::Fault;

/// Why a chart cannot be rendered. Displays as helm words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The chart's files are no chart.
    #[error("{0}")]
    Chart(String),
    /// What the chart needs is not in `charts/`.
    #[error(
        "an error occurred while checking for chart dependencies. You may need to run `helm dependency build` to fetch missing dependencies: found in Chart.yaml, but missing in charts/ directory: {0}"
    )]
    Dependencies(String),
    /// Values cannot be read, or do not fit together.
    #[error("{0}")]
    Values(String),
    /// Values are not what the chart's schema asks for.
    #[error("values don't meet the specifications of the schema(s) in the following chart(s):\n{0}")]
    Schema(String),
    /// A template cannot be parsed or run.
    #[error("{0}")]
    Render(String),
    /// What the templates wrote is no YAML.
    #[error("{0}")]
    Manifest(String),
}

/// What a parser said, as helm shortens it: the place and the last words.
pub(super) fn parse(path: &str, error: &str) -> Error {
    let parts: Vec<&str> = error.split(": ").collect();
    Error::Render(match parts.as_slice() {
        [_, place, .., last] => format!("parse error at ({place}): {last}"),
        _ => format!("parse error in ({path}): {error}"),
    })
}

/// What a run said; the words of `fail` and `required` alone, with the place.
pub(super) fn exec(path: &str, fault: &Fault) -> Error {
    let text = fault.text();
    if !fault.is_located() {
        return Error::Render(format!("{path}: {text}"));
    }
    let mut parts = text.splitn(3, ": ");
    let (Some(_), Some(place), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return Error::Render(format!("execution error in ({path}): {text}"));
    };
    let inner = rest.find(WARNING_START).zip(rest.rfind(WARNING_END));
    Error::Render(match inner {
        Some((start, end)) if start < end => {
            format!("execution error at ({place}): {}", &rest[start + WARNING_START.len()..end])
        }
        _ => text.to_owned(),
    })
}
