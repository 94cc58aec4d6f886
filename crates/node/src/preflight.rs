//! What this machine is, and what it lacks for running containers.

use std::fs;
use std::path::Path;

/// One thing that containers need and this machine does not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What is lacking.
    pub what: &'static str,
    /// What it is needed for.
    pub why: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// Capability numbers of `linux/capability.h`.
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;

/// What keeps this process from running containers; nothing: it can.
pub fn preflight() -> Vec<Lack> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).map(str::trim);
    let capabilities = effective.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    lacks(&Seen {
        root: rustix::process::geteuid().is_root(),
        capabilities,
        overlay: fs::read_to_string("/proc/filesystems").unwrap_or_default().contains("overlay") || overlay_module(),
        cgroups: Path::new("/sys/fs/cgroup/memory").is_dir()
            || Path::new("/sys/fs/cgroup/cgroup.controllers").is_file(),
    })
}

/// What was seen of the machine.
struct Seen {
    root: bool,
    capabilities: u64,
    overlay: bool,
    cgroups: bool,
}

fn lacks(seen: &Seen) -> Vec<Lack> {
    let has = |capability: u32| seen.capabilities & (1 << capability) != 0;
    let mut lacks = Vec::new();
    if !seen.root {
        // Everything else follows from it.
        return vec![Lack {
            what: "root",
            why: "namespaces, mounts and cgroups of containers need it",
            remedy: "run `sudo trimtab up`",
        }];
    }
    if !has(SYS_ADMIN) {
        lacks.push(Lack {
            what: "CAP_SYS_ADMIN",
            why: "containers need mounts and namespaces",
            remedy: "run outside of a container, or in a privileged one",
        });
    }
    if !has(NET_ADMIN) {
        lacks.push(Lack {
            what: "CAP_NET_ADMIN",
            why: "Pods need links and addresses of their own",
            remedy: "run outside of a container, or in a privileged one",
        });
    }
    if !seen.overlay {
        lacks.push(Lack {
            what: "overlayfs",
            why: "images are layers that it joins",
            remedy: "run `modprobe overlay`, or use a kernel that has it",
        });
    }
    if !seen.cgroups {
        lacks.push(Lack {
            what: "cgroups",
            why: "containers are limited and stopped through them",
            remedy: "mount cgroup2 on /sys/fs/cgroup",
        });
    }
    lacks
}

/// A module that is loaded on the first mount is not listed before.
fn overlay_module() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let modules = fs::read_to_string(format!("/lib/modules/{release}/modules.dep")).unwrap_or_default();
    modules.lines().any(|line| line.split(':').next().is_some_and(|m| m.contains("/overlay.ko")))
}

/// What the Node object says of the machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub cpus: usize,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub kernel: String,
    pub os: String,
    pub machine_id: String,
    pub boot_id: String,
}

impl Machine {
    /// This machine, with the disk that holds `data`. What cannot be read is empty or zero.
    pub(crate) fn read(data: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let meminfo = text("/proc/meminfo");
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = total.and_then(|t| t.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0);
        let release = text("/etc/os-release");
        let os = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib * 1024,
            disk_bytes: rustix::fs::statvfs(data).map_or(0, |disk| disk.f_blocks * disk.f_frsize),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            os: os.unwrap_or("linux").trim_matches('"').to_owned(),
            machine_id: text("/etc/machine-id"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lack_is_named_and_root_stands_for_the_rest() {
        let all = Seen { root: true, capabilities: u64::MAX, overlay: true, cgroups: true };
        assert_eq!(lacks(&all), []);
        let names = |seen: Seen| lacks(&seen).iter().map(|l| l.what).collect::<Vec<_>>();
        assert_eq!(names(Seen { root: false, capabilities: 0, ..all }), ["root"]);
        assert_eq!(names(Seen { capabilities: 1 << SYS_ADMIN, overlay: false, ..all }), ["CAP_NET_ADMIN", "overlayfs"]);
        assert_eq!(names(Seen { cgroups: false, ..all }), ["cgroups"]);
    }

    #[test]
    fn this_machine_has_memory_and_a_kernel() {
        let machine = Machine::read(Path::new("/"));
        assert!(machine.memory_bytes > 1 << 20 && machine.disk_bytes > 0 && machine.cpus > 0);
        assert!(machine.kernel.starts_with(|c: char| c.is_ascii_digit()), "{}", machine.kernel);
    }
}
