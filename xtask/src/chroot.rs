//! The story on a machine that has nothing: a debootstrap chroot with a C compiler, libc's headers, git and Rust.

use crate::root;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Beside Debian's minimal base.
const PACKAGES: &str = "gcc,libc6-dev,git,ca-certificates,curl";

/// A prepared chroot with its mounts.
pub struct Chroot {
    at: PathBuf,
    mounted: Vec<PathBuf>,
}

/// Debian's minimal base with what the README asks for, made on first use.
pub fn base() -> Result<PathBuf> {
    let at = root().join("target/chroot");
    if !at.join("etc/trimtab-chroot").exists() {
        let _ = std::fs::remove_dir_all(&at);
        let include = format!("--include={PACKAGES}");
        let status = Command::new("debootstrap")
            .args(["--variant=minbase", &include, "stable"])
            .arg(&at)
            .status()
            .context("running debootstrap")?;
        if !status.success() {
            bail!("debootstrap failed");
        }
        std::fs::write(at.join("etc/trimtab-chroot"), "")?;
    }
    Ok(at)
}

/// Mounts the toolchain, cargo's registry and the checkout into the base, read-only where possible.
pub fn prepare() -> Result<Chroot> {
    let mut chroot = Chroot { at: base()?, mounted: Vec::new() };
    match chroot.mount_all() {
        Ok(()) => Ok(chroot),
        Err(error) => {
            chroot.close()?;
            Err(error)
        }
    }
}

impl Chroot {
    fn mount_all(&mut self) -> Result<()> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let cargo_home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|h| Path::new(&h).join(".cargo")));
        let cargo_home = cargo_home.context("neither CARGO_HOME nor HOME is set")?;
        let build = root().join("target/chroot-build");
        std::fs::create_dir_all(&build)?;
        // Containers make a root of their own out of the present one, which must be a mount for that.
        let itself = self.at.clone();
        self.bind(&itself, "", false)?;
        self.bind(Path::new(sysroot.trim()), "opt/rust", true)?;
        self.bind(&cargo_home, "opt/cargo", false)?;
        self.bind(&root(), "opt/trimtab", true)?;
        self.bind(&build, "opt/build", false)?;
        self.mount(&["-t", "proc", "proc"], "proc")?;
        self.mount(&["--rbind", "/sys"], "sys")?;
        self.mount(&["--make-rslave"], "sys")?;
        self.mount(&["--rbind", "/dev"], "dev")?;
        self.mount(&["--make-rslave"], "dev")?;
        self.mount(&["-t", "tmpfs", "tmpfs"], "tmp")?;
        self.mount(&["-t", "tmpfs", "tmpfs"], "run")
    }

    fn bind(&mut self, from: &Path, to: &str, read_only: bool) -> Result<()> {
        let from = from.to_str().context("paths are UTF-8")?;
        self.mount(&["--bind", from], to)?;
        if read_only { self.mount(&["-o", "remount,bind,ro"], to) } else { Ok(()) }
    }

    fn mount(&mut self, arguments: &[&str], to: &str) -> Result<()> {
        let target = self.at.join(to);
        std::fs::create_dir_all(&target)?;
        output(Command::new("mount").args(arguments).arg(&target))?;
        if !self.mounted.contains(&target) {
            self.mounted.push(target);
        }
        Ok(())
    }

    /// README's first command and the story, with nothing but what the chroot has. Without optimisation, which takes
    /// minutes and shows nothing of what a machine must have.
    pub fn story(&self) -> Command {
        let script = "set -e
cd /opt/trimtab
cargo install --debug --locked --offline --path crates/trimtab --root /tmp/installed
cp -r /opt/trimtab/examples /tmp/examples
exec bash /tmp/examples/story.sh";
        let mut command = Command::new("chroot");
        command.arg(&self.at).args(["env", "-i", "HOME=/root", "CARGO_HOME=/opt/cargo", "CARGO_TARGET_DIR=/opt/build"]);
        command
            .args(["PATH=/tmp/installed/bin:/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TRIMTAB_STORY_INSTALLED=1"]);
        command.args(["bash", "-c", script]);
        command
    }

    /// Takes all mounts away again.
    pub fn close(mut self) -> Result<()> {
        while let Some(target) = self.mounted.pop() {
            output(Command::new("umount").args(["-R", "-l"]).arg(&target))?;
        }
        Ok(())
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
