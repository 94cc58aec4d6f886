//! Whole lives of containers, beside runc: the same rootfs and program, in turns.

use super::{Scratch, Table, timed};
use crate::root;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

const ROUNDS: usize = 5;
const LIVES: usize = 10;

/// `true` from creation to deletion, in milliseconds.
pub fn measure(table: &mut Table) -> Result<()> {
    let scratch = Scratch::new("containers")?;
    let rootfs = scratch.0.join("rootfs");
    std::fs::create_dir_all(rootfs.join("bin"))?;
    let busybox = which("busybox")?;
    std::fs::copy(&busybox, rootfs.join("bin/busybox")).context("copying busybox")?;
    bundle(&scratch.0, &rootfs)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.extend(lives(&scratch.0, &rootfs)?);
        for life in 0..LIVES {
            theirs.push(timed(|| {
                let id = format!("trimtab-bench-{}-{round}-{life}", std::process::id());
                let mut command = Command::new("runc");
                command.arg("--root").arg(scratch.0.join("runc")).args(["run", "--bundle"]).arg(&scratch.0).arg(id);
                let status = command.stdin(Stdio::null()).status().context("running runc")?;
                if !status.success() {
                    bail!("runc ended with {status}");
                }
                Ok(())
            })?);
        }
    }
    table.row("life of a container, runc run, ms", theirs, "");
    table.row("life of a container, Trimtab, ms", ours, "≤ runc");
    Ok(())
}

fn lives(directory: &Path, rootfs: &Path) -> Result<Vec<f64>> {
    let release = root().join("target/release");
    let output = Command::new(release.join("examples/lives"))
        .arg(release.join("trimtab"))
        .arg(directory.join("ours"))
        .arg(rootfs)
        .args([&LIVES.to_string(), "/bin/busybox", "true"])
        .output()?;
    if !output.status.success() {
        bail!("lives: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.lines().map(str::parse).collect::<Result<_, _>>()?)
}

/// runc's own default configuration, with our program, without a terminal.
fn bundle(directory: &Path, rootfs: &Path) -> Result<()> {
    let status = Command::new("runc").arg("spec").arg("--bundle").arg(directory).status().context("running runc")?;
    if !status.success() {
        bail!("runc spec ended with {status}");
    }
    let path = directory.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["args"] = serde_json::json!(["/bin/busybox", "true"]);
    config["process"]["terminal"] = false.into();
    config["root"] = serde_json::json!({"path": rootfs, "readonly": true});
    Ok(std::fs::write(path, config.to_string())?)
}

fn which(program: &str) -> Result<String> {
    let output = Command::new("sh").args(["-c", &format!("command -v {program}")]).output()?;
    let path = String::from_utf8(output.stdout)?.trim().to_owned();
    if path.is_empty() { bail!("{program} is not installed") } else { Ok(path) }
}
