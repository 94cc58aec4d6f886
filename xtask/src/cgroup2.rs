//! The story under cgroup v2: a Debian kernel in qemu, without any device but a serial console. Opt-in, because it
//! downloads a kernel and emulates a machine in software (about two minutes).

use crate::{chroot, root};
use anyhow::{Context, Result, bail};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// What this task needs beside the packages of the tests.
pub const PACKAGES: &[(&str, &str)] =
    &[("qemu-system-x86", "qemu-system-x86_64"), ("kmod", "depmod"), ("cpio", "cpio"), ("busybox-static", "busybox")];

/// Modules of the kernel that containers and their network need.
const MODULES: &str = "overlay veth bridge nf_tables nft_masq nft_chain_nat nft_ct nft_reject_inet";

/// The kernel's first program: the real root must be a mount, or no container could pivot away from it.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /newroot
/bin/busybox mount -t tmpfs -o size=2g root /newroot
cd /newroot && /bin/busybox tar xf /root.tar && /bin/busybox rm /root.tar
exec /bin/busybox switch_root /newroot /init
";

/// Boots the kernel, runs the story, prints the console. Fails unless the story passed.
pub fn run(trimtab: &Path) -> Result<()> {
    let at = root().join("target/cgroup2");
    let _ = std::fs::remove_dir_all(at.join("initrd"));
    std::fs::create_dir_all(at.join("initrd/bin"))?;
    let kernel = kernel(&at)?;
    let modules = at.join("kernel/lib/modules");
    let version = std::fs::read_dir(&modules)?.next().context("the kernel package holds no modules")??.file_name();
    check(Command::new("depmod").arg("-b").arg(at.join("kernel")).arg(&version))?;

    // Debian's minimal base from the chroot test, the kernel's modules, the binary and the story: one archive.
    let over = at.join("over");
    let _ = std::fs::remove_dir_all(&over);
    for directory in ["usr/local/bin", "opt", "usr/sbin"] {
        std::fs::create_dir_all(over.join(directory))?;
    }
    std::fs::copy(trimtab, over.join("usr/local/bin/trimtab")).context("the release binary")?;
    check(Command::new("cp").arg("-r").arg(root().join("examples")).arg(over.join("opt/examples")))?;
    check(Command::new("cp").arg("/bin/busybox").arg(over.join("usr/local/bin/busybox")))?;
    write_executable(&over.join("init"), &init())?;
    let archive = at.join("initrd/root.tar");
    let base = chroot::base()?;
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(&archive).args(["--exclude=./usr/share/doc", "--exclude=./usr/share/locale"]);
    tar.args(["--exclude=./var/cache", "--exclude=./opt/*", "--exclude=./usr/lib/gcc", "--exclude=./usr/libexec/gcc"]);
    check(tar.arg("-C").arg(base).arg("."))?;
    let append = |directory: &Path, what: &str| {
        check(Command::new("tar").arg("-rf").arg(&archive).arg("-C").arg(directory).arg(what))
    };
    append(&over, ".")?;
    // Debian's /lib is a link into /usr.
    check(
        Command::new("tar")
            .arg("-rf")
            .arg(&archive)
            .args(["--transform", "s,^lib/,usr/lib/,", "-C"])
            .arg(at.join("kernel"))
            .arg("lib/modules"),
    )?;
    std::fs::copy("/bin/busybox", at.join("initrd/bin/busybox"))?;
    write_executable(&at.join("initrd/init"), INIT)?;
    let initrd = at.join("initrd.cpio");
    check(
        Command::new("sh")
            .current_dir(at.join("initrd"))
            .args(["-c", "find . | cpio --quiet -o -H newc > \"$0\""])
            .arg(&initrd),
    )?;

    boot(&kernel, &initrd)
}

/// The image of Debian's kernel for virtual machines, downloaded and unpacked once.
fn kernel(at: &Path) -> Result<std::path::PathBuf> {
    let unpacked = at.join("kernel");
    if !unpacked.join("boot").exists() {
        let depends = output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
        let package = depends
            .lines()
            .find_map(|l| l.trim().strip_prefix("Depends: "))
            .context("linux-image-cloud-amd64 depends on no kernel: run apt-get update")?
            .to_owned();
        check(Command::new("apt-get").current_dir(at).args(["download", "-q", &package]))?;
        let file = std::fs::read_dir(at)?
            .filter_map(|e| Some(e.ok()?.path()))
            .find(|p| p.extension().is_some_and(|e| e == "deb"))
            .context("apt-get downloaded no package")?;
        check(Command::new("dpkg-deb").arg("-x").arg(file).arg(&unpacked))?;
    }
    let boot = std::fs::read_dir(unpacked.join("boot"))?.filter_map(|e| Some(e.ok()?.path()));
    let mut images = boot.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz")));
    images.next().context("the kernel package holds no kernel")
}

/// What runs as process 1 in the real root.
fn init() -> String {
    // An emulated processor is about ten times slower: the story's bounds in milliseconds are stretched.
    format!(
        "#!/bin/bash
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
busybox ip link set lo up
for module in {MODULES}; do busybox modprobe $module || echo \"no module $module\"; done
echo \"kernel $(uname -r), $(stat -f -c %T /sys/fs/cgroup), controllers $(cat /sys/fs/cgroup/cgroup.controllers)\"
TRIMTAB_STORY_INSTALLED=1 TRIMTAB_STORY_PATIENCE=10 timeout 600 bash /opt/examples/story.sh
echo \"the story ended with $?.\"
echo o > /proc/sysrq-trigger
sleep 10
"
    )
}

fn boot(kernel: &Path, initrd: &Path) -> Result<()> {
    let mut command = Command::new("timeout");
    command.args(["900", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "4096"]);
    command.args(["-nographic", "-no-reboot", "-nic", "none", "-append", "console=ttyS0 panic=-1 quiet"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("starting qemu-system-x86_64")?;
    let mut passed = false;
    for line in BufReader::new(child.stdout.take().expect("piped")).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        passed |= line.contains("the story ended with 0.");
        println!("{line}");
    }
    child.wait()?;
    if passed { Ok(()) } else { bail!("the story did not pass under cgroup v2; the console stands above") }
}

fn write_executable(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

fn check(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
