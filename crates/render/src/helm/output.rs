//! The text that `helm template` prints.

use super::manifest::{Rendered, split};
use super::{Error, glob};
use std::borrow::Cow;
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
    Ok(pieces(rendered, shown)?.concat())
}

/// The parts of which [`printed`] consists: who writes them one by one needs no second copy of the documents.
///
/// # Errors
/// As there.
pub fn pieces<'r>(rendered: &'r Rendered, shown: &Shown) -> Result<Vec<Cow<'r, str>>, Error> {
    let mut out = Vec::new();
    if shown.crds {
        rendered.crds.iter().for_each(|(path, text)| put(&mut out, path, text));
    }
    rendered.manifests.iter().for_each(|document| put(&mut out, &document.path, &document.text));
    while let Some(last) = out.pop() {
        let text = last.trim_end();
        if !text.is_empty() {
            out.push(text);
            break;
        }
    }
    out.push("\n");
    if !shown.no_hooks {
        for hook in &rendered.hooks {
            if shown.no_tests && hook.events.iter().any(|event| event == "test") {
                continue;
            }
            put(&mut out, &hook.document.path, &hook.document.text);
        }
    }
    if shown.only.is_empty() {
        return Ok(out.into_iter().map(as_bytes).collect());
    }
    let out = out.concat();
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
    Ok(vec![as_bytes(&kept).into_owned().into()])
}

fn put<'r>(out: &mut Vec<&'r str>, path: &'r str, text: &'r str) {
    out.extend(["---\n# Source: ", path, "\n", text, "\n"]);
}

/// Bytes that are no UTF-8 cannot be printed as what they were.
fn as_bytes(text: &str) -> Cow<'_, str> {
    match template::is_binary(text) {
        true => String::from_utf8_lossy(&template::to_bytes(text)).into_owned().into(),
        false => text.into(),
    }
}

/// The path that a document's comment names, without the chart.
fn source(document: &str) -> Option<&str> {
    let (_, rest) = document.split_once("# Source: ")?;
    let (_, path) = rest.lines().next()?.split_once('/')?;
    Some(path)
}
