//! Who may know whom (ARCHITECTURE.md, "Invariants"): read from `cargo metadata` and from the sources.

use anyhow::{Result, bail};
use cargo_metadata::{DependencyKind, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Crate → crates of ours that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    // values
    ("yaml", &[]),
    ("object", &["yaml"]),
    ("model", &["object", "yaml"]),
    ("template", &[]),
    // steps
    ("render", &["model", "object", "template", "yaml"]),
    ("plan", &["model", "object"]),
    ("health", &["model", "object"]),
    ("promote", &["model"]),
    // parts
    ("oci", &[]),
    ("container", &[]),
    ("vault", &[]),
    // places
    ("source", &["model", "oci", "yaml"]),
    ("build", &["model", "oci", "container"]),
    ("cluster", &["model", "object"]),
    ("apiserver", &["object", "yaml"]),
    ("controllers", &["object"]),
    ("node", &["object", "oci", "container"]),
    ("gateway", &["model"]),
    // frames
    ("reconcile", &["model", "object", "yaml", "render", "plan", "health", "promote"]),
    ("web", &["model"]),
];

/// Values and steps: synchronous functions over values.
const PURE: &[&str] = &["yaml", "object", "model", "template", "render", "plan", "health", "promote"];
/// Libraries that a pure crate must not reach directly.
const IMPURE_LIBRARIES: &[&str] = &["tokio", "rand", "kube", "axum", "hyper", "reqwest", "rustix", "redb"];
/// What a pure crate must not name.
const IMPURE_NAMES: &[&str] = &[
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "std::process",
    "std::env",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
];
/// The crates that may hold `unsafe`, for system calls.
const UNSAFE: &[&str] = &["container", "node"];

/// Fails with all broken rules, or prints that there are none.
pub fn check() -> Result<()> {
    let mut broken = dependencies()?;
    for name in ALLOWED.iter().map(|(name, _)| *name).chain(["trimtab"]) {
        broken.extend(sources(name)?);
    }
    if !broken.is_empty() {
        bail!("architecture rules are broken:\n  {}", broken.join("\n  "));
    }
    println!("fences: {} crates keep the rules of ARCHITECTURE.md", ALLOWED.len() + 1);
    Ok(())
}

fn dependencies() -> Result<Vec<String>> {
    let metadata = MetadataCommand::new().no_deps().current_dir(crate::root()).exec()?;
    let members: BTreeSet<String> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut broken = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        if matches!(name, "trimtab" | "xtask") {
            continue;
        }
        let Some(may) = allowed.get(name) else {
            broken.push(format!("{name} stands in no row of the fences"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            if members.contains(&dependency.name) && !may.contains(&dependency.name.as_str()) {
                broken.push(format!("{name} must not depend on {}", dependency.name));
            }
            if PURE.contains(&name) && IMPURE_LIBRARIES.contains(&dependency.name.as_str()) {
                broken.push(format!("{name} is pure and must not depend on {}", dependency.name));
            }
        }
    }
    Ok(broken)
}

fn sources(name: &str) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let mut directories = vec![crate::root().join("crates").join(name).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                broken.extend(source(name, &path)?);
            }
        }
    }
    Ok(broken)
}

fn source(name: &str, path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)?;
    let mut broken = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let here = || format!("{}:{}", path.strip_prefix(crate::root()).unwrap_or(path).display(), number + 1);
        if code.trim() == "mod tests {" {
            break; // tests may read files
        }
        if PURE.contains(&name) {
            for word in IMPURE_NAMES.iter().filter(|word| code.contains(**word)) {
                broken.push(format!("{}: {name} is pure and must not name {word}", here()));
            }
        }
        if code.contains("allow(unsafe_code)") && !UNSAFE.contains(&name) {
            broken.push(format!("{}: unsafe belongs to the node's system calls only", here()));
        }
    }
    Ok(broken)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_architecture_rules_hold() {
        super::check().unwrap();
    }
}
