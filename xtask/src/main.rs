//! The project's own tasks: `cargo xtask test`, `cargo xtask bench`.

mod bench;
mod cgroup2;
mod chroot;
mod fences;
mod golden;
mod machine;
mod peers;
mod schema;
mod steps;
mod test;

use anyhow::{Result, bail};
use std::process::ExitCode;

const HELP: &str =
    "cargo xtask test    run all tests; as root on Debian installs what they need, otherwise says what is left out
cargo xtask bench   measure, and print one table of medians, p95 and p99; all parts, or those that are named
cargo xtask chroot  only the story in a chroot (a part of `test`)
cargo xtask cgroup2 only the story on a Debian kernel with cgroup v2, emulated by qemu (not part of `test`)
cargo xtask golden  build kustomize and helm, and write down what they make of our cases (needs Go)
cargo xtask schema  write down anew what is known of Kubernetes' kinds (needs Go, kube-apiserver and etcd)
cargo xtask docs    write docs/commands.md and docs/kinds.md out of the program
cargo xtask fences  only the rules about who may know whom";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["test"] => test::run(),
        ["chroot"] => test::run_chroot(),
        ["cgroup2"] => test::run_cgroup2(),
        ["bench", only @ ..] => bench::run(only),
        ["golden"] => {
            golden::run()?;
            Ok(true)
        }
        ["schema"] => {
            schema::run()?;
            Ok(true)
        }
        ["docs"] => {
            docs()?;
            Ok(true)
        }
        ["fences"] => {
            fences::check()?;
            Ok(true)
        }
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(true)
        }
        other => bail!("unknown task {:?}\n{HELP}", other.join(" ")),
    }
}

/// Root of the workspace.
fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// cargo, as whoever calls it directly has it. `cargo run` describes this package in the environment, and build scripts
/// that look there, ring's among them, would run again each time, and all that stands on them be compiled again.
fn cargo() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO"));
    command.current_dir(root());
    let described = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(described)) {
        command.env_remove(name);
    }
    command
}

/// Writes the references that the program knows best.
fn docs() -> Result<()> {
    for name in ["commands", "kinds"] {
        let mut command = cargo();
        command.args(["run", "--quiet", "--package", "trimtab", "--", "reference", name]);
        let output = command.stderr(std::process::Stdio::inherit()).output()?;
        if !output.status.success() {
            bail!("trimtab reference {name} failed");
        }
        let path = root().join(format!("docs/{name}.md"));
        std::fs::write(&path, output.stdout)?;
        println!("{}", path.display());
    }
    Ok(())
}
