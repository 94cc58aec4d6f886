//! `cargo xtask test`: everything, in one command.

use crate::machine::Machine;
use crate::steps::Steps;
use crate::{cargo, cgroup2, chroot, root};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Debian packages that tests need, with the program that shows that one is there.
const PACKAGES: &[(&str, &str)] = &[
    ("git", "git"),
    ("curl", "curl"),
    ("jq", "jq"),
    ("iproute2", "ip"),
    ("nftables", "nft"),
    ("buildah", "buildah"),
    ("skopeo", "skopeo"),
    ("busybox-static", "busybox"),
    ("openssh-client", "ssh-keygen"),
    ("debootstrap", "debootstrap"),
    ("chromium", "chromium"),
];

/// What may be left out without failing, by the name of the step.
const MAY_BE_LEFT_OUT: &[&str] =
    &["tests that need root", "story", "two clusters", "story in a chroot", "kubectl in the story"];

/// Runs all. False if anything failed.
pub fn run() -> Result<bool> {
    let mut steps = Steps::default();
    let is_root = is_root()?;
    if is_root {
        install(PACKAGES)?;
    }

    steps.run("format", cargo().args(["fmt", "--all", "--check"]));
    if !steps.run("build", cargo().args(["build", "--workspace", "--all-targets"])) {
        return Ok(steps.finish());
    }
    steps.run("tests", cargo().args(["test", "--workspace", "--no-fail-fast"]));

    if !is_root {
        // It simulates its Pods.
        steps.run("release train", &mut story("release-train.sh", &root().join("target/debug")));
        for name in ["tests that need root", "story", "two clusters", "story in a chroot"] {
            leave_out(&mut steps, name, "not root")?;
        }
        return Ok(steps.finish());
    }

    let before = Machine::look()?;
    steps.run(
        "tests that need root",
        cargo().args([
            "test",
            "--workspace",
            "--no-fail-fast",
            "--",
            "--ignored",
            "--skip",
            "by_hand",
            "--test-threads=2",
        ]),
    );
    steps.check("tests that need root leave the machine as it was", unchanged(&before));

    if kubectl().is_none() {
        leave_out(&mut steps, "kubectl in the story", "no kubectl 1.30 or later on PATH")?;
    }
    let before = Machine::look()?;
    let binaries = root().join("target/debug");
    steps.run("story", &mut story("story.sh", &binaries));
    steps.check("the story leaves the machine as it was", unchanged(&before));
    let before = Machine::look()?;
    steps.run("two clusters", &mut story("two-clusters.sh", &binaries));
    steps.run("overlays", &mut story("overlays.sh", &binaries));
    steps.run("umbrella", &mut story("umbrella.sh", &binaries));
    steps.run("release train", &mut story("release-train.sh", &binaries));
    steps.check(
        "two clusters, overlays, umbrella and the release train leave the machine as it was",
        unchanged(&before),
    );

    story_in_a_chroot(&mut steps)?;
    Ok(steps.finish())
}

/// Only the story in a chroot.
pub fn run_chroot() -> Result<bool> {
    let mut steps = Steps::default();
    install(PACKAGES)?;
    story_in_a_chroot(&mut steps)?;
    Ok(steps.finish())
}

/// Only the story under cgroup v2, in an emulated machine.
pub fn run_cgroup2() -> Result<bool> {
    let mut steps = Steps::default();
    install(&[PACKAGES, cgroup2::PACKAGES].concat())?;
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--package", "trimtab"]);
    if steps.run("release build", &mut build) {
        steps.check("story under cgroup v2", cgroup2::run(&root().join("target/release/trimtab")));
    }
    Ok(steps.finish())
}

fn story_in_a_chroot(steps: &mut Steps) -> Result<()> {
    let before = Machine::look()?;
    match chroot::prepare() {
        Ok(chroot) => {
            steps.run("story in a chroot", &mut chroot.story());
            steps.check("the chroot leaves the machine as it was", chroot.close().and_then(|()| unchanged(&before)));
        }
        Err(error) => {
            steps.check("story in a chroot", Err(error));
        }
    }
    Ok(())
}

/// A story in an empty HOME, with the binary of this directory first on PATH.
fn story(script: &str, binaries: &std::path::Path) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    command
        .current_dir(root())
        .arg(format!("examples/{script}"))
        .env("PATH", format!("{}:{path}", binaries.display()))
        .env("TRIMTAB_STORY_INSTALLED", "1");
    command
}

fn unchanged(before: &Machine) -> Result<()> {
    let added = Machine::look()?.added_since(before);
    if !added.is_empty() {
        bail!("left behind:\n  {}", added.join("\n  "));
    }
    Ok(())
}

fn leave_out(steps: &mut Steps, name: &str, why: &str) -> Result<()> {
    if !MAY_BE_LEFT_OUT.contains(&name) {
        bail!("{name} must not be left out ({why})");
    }
    steps.leave_out(name, why);
    Ok(())
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("running id")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

/// A program on PATH.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

/// Minor version of a kubectl that the story can use.
fn kubectl() -> Option<u32> {
    let output = Command::new("kubectl").args(["version", "--client", "-o", "json"]).output().ok()?;
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let minor: u32 = version["clientVersion"]["minor"].as_str()?.trim_end_matches('+').parse().ok()?;
    (minor >= 30).then_some(minor)
}

/// Installs Debian packages, each told by its program, if they are missing.
pub fn install(packages: &[(&'static str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        packages.iter().filter(|(_, program)| !has(program)).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !has("apt-get") {
        bail!("these are needed and can be installed by hand: {}", missing.join(", "));
    }
    println!("installing {}", missing.join(", "));
    let apt = |arguments: &[&str]| -> Result<()> {
        let status = Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").status()?;
        if !status.success() {
            bail!("apt-get {} failed", arguments.join(" "));
        }
        Ok(())
    };
    apt(&["update", "-q"])?;
    apt(&[&["install", "-y", "-q", "--no-install-recommends"], missing.as_slice()].concat())
}
