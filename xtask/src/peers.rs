//! What Trimtab is measured and held against: kustomize and helm, built from their Go modules below `target/peers`.
//!
//! Never in CI: it needs Go and its module proxy.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The versions whose output is ours.
const KUSTOMIZE: &str = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.2";
const HELM: &str = "helm.sh/helm/v3/cmd/helm@v3.22.0";
/// A bare install of helm says Kubernetes v1.20; its makefile says what belongs to it.
const HELM_FLAGS: &str = "-s -w -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=37 \
     -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37";

/// Times kustomize's library.
pub const KRUSTY: Program = Program {
    name: "krusty",
    source: include_str!("peers/krusty.go"),
    requires: &["sigs.k8s.io/kustomize/api v0.21.2", "sigs.k8s.io/kustomize/kyaml v0.21.2"],
};
/// Times helm's library.
pub const HELM_LIBRARY: Program =
    Program { name: "helmlib", source: include_str!("peers/helmlib.go"), requires: &["helm.sh/helm/v3 v3.22.0"] };

/// Prints the OpenAPI document that kustomize has built in.
pub const KUSTOMIZE_SCHEMA: Program = Program {
    name: "openapi",
    source: include_str!("peers/openapi.go"),
    requires: &["sigs.k8s.io/kustomize/kyaml v0.21.2"],
};

/// A small Go program over a library.
pub struct Program {
    name: &'static str,
    source: &'static str,
    requires: &'static [&'static str],
}

/// Where the peers lie; says what to do if there is no Go to build them.
pub fn directory() -> Result<PathBuf> {
    match Command::new("go").arg("version").output() {
        Ok(output) if output.status.success() => {}
        _ => bail!(
            "Go is missing: kustomize and helm are built from their modules. Install Go 1.26 or later (https://go.dev/dl) so that \
             `go version` works"
        ),
    }
    let directory = crate::root().join("target/peers");
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// The binary of kustomize.
pub fn kustomize() -> Result<PathBuf> {
    install("kustomize", KUSTOMIZE, "-s -w")
}

/// The binary of helm, with the Kubernetes version of its release.
pub fn helm() -> Result<PathBuf> {
    install("helm", HELM, HELM_FLAGS)
}

fn install(name: &str, module: &str, flags: &str) -> Result<PathBuf> {
    let directory = directory()?;
    let version = module.rsplit('@').next().unwrap_or_default();
    let program = directory.join(format!("{name}-{version}"));
    if program.exists() {
        return Ok(program);
    }
    eprintln!("building {module}");
    let mut command = Command::new("go");
    command.args(["install", "-trimpath", "-ldflags", flags, module]).env("GOBIN", &directory);
    run(command.env("GOFLAGS", "-buildvcs=false"), name)?;
    std::fs::rename(directory.join(name), &program).with_context(|| format!("{name} was built elsewhere"))?;
    Ok(program)
}

impl Program {
    /// The binary.
    pub fn build(&self) -> Result<PathBuf> {
        let directory = directory()?.join(self.name);
        std::fs::create_dir_all(&directory)?;
        let program = directory.join(self.name);
        let source = directory.join("main.go");
        if program.exists() && std::fs::read_to_string(&source).is_ok_and(|text| text == self.source) {
            return Ok(program);
        }
        eprintln!("building {}", self.name);
        let requires: String = self.requires.iter().map(|line| format!("\t{line}\n")).collect();
        std::fs::write(directory.join("go.mod"), format!("module peer\n\ngo 1.26\n\nrequire (\n{requires})\n"))?;
        std::fs::write(&source, self.source)?;
        for args in [&["mod", "tidy"][..], &["build", "-trimpath", "-o", self.name, "."]] {
            run(Command::new("go").args(args).current_dir(&directory).env("GOFLAGS", "-buildvcs=false"), self.name)?;
        }
        Ok(program)
    }
}

impl Program {
    /// Where the source of a module lies that this program uses.
    pub fn module(&self, name: &str) -> Result<PathBuf> {
        self.build()?;
        let directory = directory()?.join(self.name);
        let output = Command::new("go").args(["list", "-m", "-f", "{{.Dir}}", name]).current_dir(directory).output()?;
        Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
    }
}

fn run(command: &mut Command, name: &str) -> Result<()> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{name} cannot be built: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A command with nothing of the machine's own configuration, and no way to the network.
pub fn alone(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", "/nonexistent").env("PATH", "/nonexistent").env("LC_ALL", "C");
    command
}
