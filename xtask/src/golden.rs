//! `cargo xtask golden`: what kustomize and helm make of the cases in `crates/render/tests`, written down anew.

use crate::peers;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes, and says what differs from what stood there.
pub fn run() -> Result<()> {
    let tests = crate::root().join("crates/render/tests");
    let (kustomize, helm) = (peers::kustomize()?, peers::helm()?);
    let mut changed = Vec::new();
    let overlays = cases(&tests.join("kustomize"))?;
    for case in &overlays {
        let built = |order| built((&kustomize, &helm), case, order);
        let (legacy, none) = (built("legacy")?, built("none")?);
        keep(case, &[("legacy.yaml", legacy), ("none.yaml", none)], &mut changed)?;
    }
    let charts = cases(&tests.join("helm"))?;
    for case in &charts {
        let made = rendered(&helm, case)?;
        keep(case, &[("expected.yaml", made)], &mut changed)?;
    }
    println!("{} overlays and {} charts; {} files changed", overlays.len(), charts.len(), changed.len());
    for path in &changed {
        println!("  {}", path.display());
    }
    Ok(())
}

/// The directories below, in order.
fn cases(root: &Path) -> Result<Vec<PathBuf>> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(root).with_context(|| format!("reading {}", root.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            cases.push(path);
        }
    }
    cases.sort();
    Ok(cases)
}

/// What it prints; `None` if it refuses.
fn output(command: &mut Command) -> Result<Option<Vec<u8>>> {
    let output = command.output()?;
    Ok(output.status.success().then_some(output.stdout))
}

/// `flags` of a case holds one a line.
fn built((kustomize, helm): (&Path, &Path), case: &Path, order: &str) -> Result<Option<Vec<u8>>> {
    let mut command = peers::alone(kustomize);
    command.args(["build", "--reorder", order]).arg("--helm-command").arg(helm);
    command.args(std::fs::read_to_string(case.join("flags")).unwrap_or_default().lines());
    output(command.arg("overlay").current_dir(case))
}

/// `args` of a case holds one argument a line; `--name` and the name are not helm's.
fn rendered(helm: &Path, case: &Path) -> Result<Option<Vec<u8>>> {
    let text = std::fs::read_to_string(case.join("args")).unwrap_or_default();
    let mut name = "release-name";
    let mut args = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        match line {
            "--name" => name = lines.next().unwrap_or(name),
            line => args.push(line),
        }
    }
    output(peers::alone(helm).args(["template", name, "chart"]).args(args).current_dir(case))
}

/// Puts the output into its files; a case that is refused has a file `refused`, with words that the tests write.
fn keep(case: &Path, files: &[(&str, Option<Vec<u8>>)], changed: &mut Vec<PathBuf>) -> Result<()> {
    for (name, made) in files {
        let path = case.join(name);
        if std::fs::read(&path).ok() != *made {
            match made {
                Some(made) => std::fs::write(&path, made)?,
                None => std::fs::remove_file(&path)?,
            }
            changed.push(path);
        }
    }
    let refused = case.join("refused");
    match (files.iter().all(|(_, made)| made.is_none()), refused.exists()) {
        (true, false) => std::fs::write(&refused, "")?,
        (false, true) => std::fs::remove_file(&refused)?,
        _ => return Ok(()),
    }
    changed.push(refused);
    Ok(())
}
