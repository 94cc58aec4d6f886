//! Rendering beside kustomize and helm: their libraries in process, and their commands, in the same run.
//!
//! The charts are made up, of the sizes of well-known ones; `TRIMTAB_BENCH_CHARTS` names a directory with the real ones
//! in directories of these names, which are then taken instead.

mod inputs;

use super::{Scratch, Table, timed};
use crate::peers;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Renders in one process; the first is what is cold.
const TIMES: usize = 15;
/// Processes that are started; each also gives a first render.
const PROCESSES: usize = 9;

/// What a program that times itself says.
struct Said {
    runs: Vec<f64>,
    /// Without reading from disk.
    renders: Vec<f64>,
    peak_mib: f64,
}

fn said(command: &mut Command) -> Result<Said> {
    let shown = format!("{command:?}");
    let output = command.stderr(Stdio::piped()).output().with_context(|| shown.clone())?;
    if !output.status.success() {
        bail!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let value: Value = serde_json::from_slice(&output.stdout)?;
    let numbers =
        |key: &str| -> Vec<f64> { value[key].as_array().into_iter().flatten().filter_map(Value::as_f64).collect() };
    Ok(Said {
        runs: numbers("runs"),
        renders: numbers("renders"),
        peak_mib: value["peak_kib"].as_f64().unwrap_or_default() / 1024.0,
    })
}

/// A program of theirs.
fn theirs(program: &Path, args: &[&str]) -> Command {
    let mut command = peers::alone(program);
    command.args(args);
    command
}

/// The first renders of fresh processes: of one alone, chance decides.
fn firsts(count: usize, make: impl Fn() -> Command) -> Result<Vec<f64>> {
    let first = |_| said(&mut make())?.runs.first().copied().context("a first render");
    (0..count).map(first).collect()
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Our program that times the crate.
fn ours(args: &[&str]) -> Command {
    let mut command = Command::new(crate::root().join("target/release/examples/bench"));
    command.args(args);
    command
}

pub fn measure(table: &mut Table) -> Result<()> {
    let krusty = peers::KRUSTY.build()?;
    let kustomize = peers::kustomize()?;
    type Make = fn(&Path) -> Result<()>;
    let overlays: [(&str, Make, bool, &'static str); 4] = [
        ("3 documents", |root| inputs::overlay(root, 1), true, "≥ 5"),
        ("25 documents", |root| inputs::overlay(root, 12), false, "≥ 10"),
        ("2 MB of definitions", |root| inputs::definitions(root, 2 << 20), false, "≥ 10"),
        ("12 MB of definitions", |root| inputs::definitions(root, 12 << 20), false, "≥ 10"),
    ];
    for (name, make, small, bar) in overlays {
        let scratch = Scratch::new("overlay")?;
        make(&scratch.0)?;
        overlay(table, (&krusty, &kustomize), &scratch.0, name, small, bar)?;
    }
    environments(table, &krusty)?;
    charts(table)
}

fn overlay(
    table: &mut Table,
    (krusty, kustomize): (&Path, &Path),
    root: &Path,
    name: &str,
    small: bool,
    bar: &'static str,
) -> Result<()> {
    let directory = root.join("overlay").display().to_string();
    let times = TIMES.to_string();
    let theirs = said(peers::alone(krusty).args([&directory, &times]))?;
    let our = said(&mut ours(&["overlay", &root.display().to_string(), "overlay", &times]))?;
    row(table, &format!("kustomize, {name}, in process"), (&our.runs[1..], &theirs.runs[1..]), bar);
    let count = if name.contains("MB") { 3 } else { PROCESSES };
    let our_first = firsts(count, || ours(&["overlay", &root.display().to_string(), "overlay", "1"]))?;
    let their_first = firsts(count, || self::theirs(krusty, &[&directory, "1"]))?;
    row(table, &format!("kustomize, {name}, first in process"), (&our_first, &their_first), "");
    if small {
        let reset = said(peers::alone(krusty).args([&directory, &times, "reset"]))?;
        row(table, &format!("kustomize, {name}, schema reset as Flux does"), (&our.runs[1..], &reset.runs[1..]), "");
    }
    let memory = if name.starts_with("12") { "≥ 4" } else { "" };
    row(table, &format!("kustomize, {name}, peak MiB"), (&[our.peak_mib], &[theirs.peak_mib]), memory);
    let our = processes(count, || command("trimtab", &["render", &directory]))?;
    let theirs = processes(count, || self::theirs(kustomize, &["build", &directory]))?;
    row(table, &format!("kustomize, {name}, process"), (&our, &theirs), "");
    Ok(())
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(crate::root().join("target/release").join(program));
    command.args(args);
    command
}

fn processes(count: usize, make: impl Fn() -> Command) -> Result<Vec<f64>> {
    let one = |_| {
        timed(|| {
            let mut command = make();
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            if status.success() { Ok(()) } else { bail!("{command:?} failed") }
        })
    };
    (0..count).map(one).collect()
}

/// Ours, theirs, and how many times faster (or smaller) we are.
fn row(table: &mut Table, name: &str, (ours, theirs): (&[f64], &[f64]), bar: &'static str) {
    table.row(name, ours.to_vec(), "");
    table.row("  the original", theirs.to_vec(), "");
    table.row("  times", vec![median(theirs) / median(ours)], bar);
}

fn environments(table: &mut Table, krusty: &Path) -> Result<()> {
    let scratch = Scratch::new("environments")?;
    inputs::environments(&scratch.0, 200)?;
    let our = said(&mut ours(&["environments", &scratch.0.display().to_string()]))?;
    let directory = scratch.0.join("overlays/env0").display().to_string();
    let theirs = said(peers::alone(krusty).args([&directory, "15"]))?;
    table.row("kustomize, 200 environments, unaffected by a change of one", our.renders, "≤ 1");
    table.row("kustomize, 200 environments, built anew", our.runs, "");
    table.row("  the original, one environment", theirs.runs[1..].to_vec(), "");
    Ok(())
}

fn charts(table: &mut Table) -> Result<()> {
    let (library, helm) = (peers::HELM_LIBRARY.build()?, peers::helm()?);
    let real = std::env::var_os("TRIMTAB_BENCH_CHARTS").map(PathBuf::from);
    for size in inputs::CHARTS {
        let scratch = Scratch::new("chart")?;
        let directory = match real.as_ref().map(|real| real.join(size.name)).filter(|path| path.is_dir()) {
            Some(directory) => directory,
            None => {
                inputs::chart(&scratch.0, size)?;
                scratch.0.clone()
            }
        };
        let (path, times) = (directory.display().to_string(), TIMES.to_string());
        let name = size.name;
        let theirs = said(peers::alone(&library).args([&path, &times]))?;
        let our = said(&mut ours(&["chart", &path, &times]))?;
        let our_first = firsts(PROCESSES, || ours(&["chart", &path, "1"]))?;
        let their_first = firsts(PROCESSES, || self::theirs(&library, &[&path, "1"]))?;
        row(table, &format!("helm, {name}, first, read and rendered"), (&our_first, &their_first), "≥ 5");
        // Its library keeps nothing between renders, ours what was read and parsed.
        row(table, &format!("helm, {name}, once more"), (&our.renders[1..], &theirs.runs[1..]), "≥ 10");
        row(
            table,
            &format!("helm, {name}, once more, both without reading"),
            (&our.renders[1..], &theirs.renders[1..]),
            "",
        );
        row(table, &format!("helm, {name}, peak MiB"), (&[our.peak_mib], &[theirs.peak_mib]), "≥ 3");
        let our = processes(PROCESSES, || command("trimtab", &["render", &path]))?;
        let theirs = processes(PROCESSES, || self::theirs(&helm, &["template", "release-name", &path]))?;
        row(table, &format!("helm, {name}, process"), (&our, &theirs), if name == "podinfo" { "≥ 10" } else { "" });
        if name == "ingress-nginx" {
            let theirs = said(peers::alone(&library).args([&path, "1000", "different"]))?;
            let our = said(&mut ours(&["chart", &path, "1000", "different"]))?;
            row(
                table,
                "helm, 1,000 renders with different values, each",
                (&our.renders[1..], &theirs.renders[1..]),
                "",
            );
            row(table, "helm, 1,000 renders, peak MiB", (&[our.peak_mib], &[theirs.peak_mib]), "≥ 3");
        }
    }
    Ok(())
}
