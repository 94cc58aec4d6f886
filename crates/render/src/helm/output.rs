//! The text that `helm template` prints.

use super::manifest::{Rendered, split};
use super::{Error, glob};
use std::fmt::Write;

/// What is printed of a render.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// Files of `crds/` too.
    pub crds: bool,
    /// No hooks.
    pub no_hooks: bool,
    /// No hooks that are tests.
    pub no_tests: bool,
    /// Only what these templates wrote: paths below the chart, `*` and `?` allowed.
    pub only: Vec<String>,
}

/// A render as `helm template` prints it.
///
/// # Errors
/// If a template is to be shown that wrote nothing.
pub fn printed(rendered: &Rendered, shown: &Shown) -> Result<String, Error> {
    let texts = rendered.manifests.iter().chain(rendered.hooks.iter().map(|hook| &hook.document));
    let around = "---\n# Source: \n\n".len();
    let size: usize = texts.map(|document| document.text.len() + document.path.len() + around).sum();
    let mut out = String::with_capacity(size + 1);
    if shown.crds {
        for (path, text) in &rendered.crds {
            _ = writeln!(out, "---\n# Source: {path}\n{text}");
        }
    }
    for document in &rendered.manifests {
        _ = writeln!(out, "---\n# Source: {}\n{}", document.path, document.text);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    if !shown.no_hooks {
        for hook in &rendered.hooks {
            if shown.no_tests && hook.events.iter().any(|event| event == "test") {
                continue;
            }
            _ = writeln!(out, "---\n# Source: {}\n{}", hook.document.path, hook.document.text);
        }
    }
    if shown.only.is_empty() {
        return Ok(as_bytes(out));
    }
    let documents = split(&out);
    let mut kept = String::new();
    for pattern in &shown.only {
        let mut found = false;
        for document in &documents {
            if source(document).is_some_and(|path| glob::file(pattern, path)) {
                _ = writeln!(kept, "---\n{document}");
                found = true;
            }
        }
        if !found {
            return Err(Error::Values(format!("could not find template {pattern} in chart")));
        }
    }
    Ok(as_bytes(kept))
}

/// Bytes that are no UTF-8 cannot be printed as what they were.
fn as_bytes(text: String) -> String {
    if template::is_binary(&text) { String::from_utf8_lossy(&template::to_bytes(&text)).into_owned() } else { text }
}

/// The path that a document's comment names, without the chart.
fn source(document: &str) -> Option<&str> {
    let (_, rest) = document.split_once("# Source: ")?;
    let (_, path) = rest.lines().next()?.split_once('/')?;
    Some(path)
}
