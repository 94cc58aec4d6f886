//! `cargo xtask schema`: what is known of Kubernetes' kinds, taken from a real API server and from kustomize.
//!
//! Nobody writes these by hand: `crates/object/data/facts.txt`, what merges how, in one table for the version that Kustomize has built
//! in and the version that is served, because overlays must be built as Kustomize builds them; `crates/object/data/schema.json.gz`,
//! the shapes and defaults of the served version; and which kinds Kustomize knows to be cluster-scoped. Run by hand, never in CI.

mod server;
mod table;

use crate::peers;
use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::path::Path;
use std::process::Command;

/// Writes them, and says what changed and where the versions tell different things.
pub fn run() -> Result<()> {
    let root = crate::root();
    let table = table::of(&kustomize()?);
    keep(
        &root.join("crates/render/src/kustomize/data/cluster_scoped.txt"),
        &cluster_scoped(&peers::KUSTOMIZE_SCHEMA.module("sigs.k8s.io/kustomize/kyaml")?)?,
    )?;
    let Some(documents) = server::documents()? else {
        println!("left out: all in crates/object/data (kube-apiserver and etcd are neither on PATH nor in KUBE_BIN)");
        return Ok(());
    };
    let whole = documents.path().with_extension("whole");
    let status = crate::cargo()
        .args(["run", "-q", "-p", "object", "--example", "extract", "--"])
        .args([documents.path(), &whole])
        .status()?;
    anyhow::ensure!(status.success(), "the schemas cannot be extracted");
    let extracted: Map<String, Value> = serde_json::from_slice(&std::fs::read(whole)?)?;
    let served = table::of(&documents.merged()?);
    keep(&root.join("crates/object/data/facts.txt"), &table::printed(&table, &served, &extracted))?;
    let differences = table::differences(&table, &served);
    println!("{} types merge alike in both; of those in both that do not:", differences.alike);
    for line in &differences.lines {
        println!("  {line}");
    }
    Ok(())
}

/// The OpenAPI document that kustomize has built in.
fn kustomize() -> Result<Value> {
    let output = Command::new(peers::KUSTOMIZE_SCHEMA.build()?).output()?;
    serde_json::from_slice(&output.stdout).context("kustomize's OpenAPI document")
}

/// Kinds without a namespace, from the table in kustomize's source.
fn cluster_scoped(module: &Path) -> Result<String> {
    let source = std::fs::read_to_string(module.join("openapi/openapi.go"))?;
    let quoted = |line: &str, key: &str| -> Option<String> {
        let (_, rest) = line.split_once(&format!("{key}: \""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let mut lines: Vec<String> = source
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().trim_end())
        .filter(|line| line.ends_with("false,") || line.ends_with("false"))
        .filter_map(|line| Some(format!("{} {}", quoted(line, "APIVersion")?, quoted(line, "Kind")?)))
        .collect();
    lines.sort();
    let head = "# APIVERSION KIND of what kustomize 5.8 knows to be cluster-scoped; all else counts as namespaced.\n";
    Ok(format!("{head}{}\n", lines.join("\n")))
}

fn keep(path: &Path, text: &str) -> Result<()> {
    let before = std::fs::read_to_string(path).unwrap_or_default();
    let said = if before == text { "unchanged" } else { "CHANGED" };
    std::fs::write(path, text)?;
    println!("{said}: {} ({} lines)", path.strip_prefix(crate::root()).unwrap_or(path).display(), text.lines().count());
    Ok(())
}
