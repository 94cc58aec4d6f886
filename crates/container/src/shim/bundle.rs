//! Our [`Spec`] as an OCI runtime configuration.

use std::path::Path;

use serde_json::{Value, json};

use super::user::Identity;
use crate::spec::{Mount, MountKind, Namespace, Network, Resources, Spec};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CPU_PERIOD_MICROS: u64 = 100_000;

/// What tells about the host or reaches into it; the same paths as other runtimes hide.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// `config.json` for libcontainer; `capabilities` are those that can be granted of what the spec asks for.
pub(super) fn configuration(
    spec: &Spec,
    root: &Path,
    cgroup: &Path,
    identity: &Identity,
    capabilities: &[String],
) -> Value {
    let mut configuration = json!({
        "ociVersion": "1.0.2",
        "root": {"path": root, "readonly": spec.read_only_rootfs},
        "process": process(spec, identity, capabilities),
        "mounts": mounts(spec),
        "linux": {
            "namespaces": namespaces(spec),
            "resources": resources(&spec.resources, spec.privileged),
            "cgroupsPath": cgroup,
        },
    });
    if !spec.privileged {
        configuration["linux"]["maskedPaths"] = json!(MASKED);
        configuration["linux"]["readonlyPaths"] = json!(READ_ONLY);
    }
    if let (Some(hostname), Namespace::New) = (&spec.hostname, &spec.uts) {
        configuration["hostname"] = json!(hostname);
    }
    configuration
}

fn process(spec: &Spec, identity: &Identity, capabilities: &[String]) -> Value {
    let capabilities: Vec<String> = capabilities.iter().map(|name| format!("CAP_{name}")).collect();
    let mut env = spec.env.clone();
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.push(DEFAULT_PATH.to_owned());
    }
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={}", identity.home));
    }
    json!({
        "terminal": false,
        "args": spec.args,
        "env": env,
        "cwd": directory(&spec.cwd),
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups},
        "noNewPrivileges": spec.no_new_privileges,
        // Neither inheritable nor ambient: a process that is not root has none of them after exec.
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
    })
}

/// The working directory, which the image may leave out.
pub(super) fn directory(cwd: &str) -> String {
    if cwd.starts_with('/') { cwd.to_owned() } else { format!("/{cwd}") }
}

fn namespaces(spec: &Spec) -> Vec<Value> {
    let mut namespaces = vec![json!({"type": "mount"}), json!({"type": "cgroup"})];
    for (name, namespace) in [("pid", &spec.pid), ("ipc", &spec.ipc), ("uts", &spec.uts)] {
        match namespace {
            Namespace::New => namespaces.push(json!({"type": name})),
            Namespace::Path(path) => namespaces.push(json!({"type": name, "path": path})),
            Namespace::Host => {}
        }
    }
    // `Network::None` is made by the shim for itself, which the container then shares: libcontainer leaves loopback down.
    if let Network::Namespace(path) = &spec.network {
        namespaces.push(json!({"type": "network", "path": path}));
    }
    namespaces
}

fn resources(limits: &Resources, privileged: bool) -> Value {
    let mut resources = json!({"devices": [{"allow": privileged, "access": "rwm"}]});
    let mut cpu = json!({});
    if let Some(millis) = limits.cpu_millis {
        // The kernel refuses a quota below 1 ms.
        cpu["quota"] = json!((millis * CPU_PERIOD_MICROS / 1000).max(1000));
        cpu["period"] = json!(CPU_PERIOD_MICROS);
    }
    if let Some(shares) = limits.cpu_shares {
        cpu["shares"] = json!(shares.clamp(2, 262_144));
    }
    if cpu.as_object().is_some_and(|cpu| !cpu.is_empty()) {
        resources["cpu"] = cpu;
    }
    if let Some(bytes) = limits.memory_bytes {
        resources["memory"] = json!({"limit": bytes});
    }
    if let Some(pids) = limits.pids {
        resources["pids"] = json!({"limit": pids});
    }
    resources
}

fn mounts(spec: &Spec) -> Vec<Value> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let sys = if spec.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", sys]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", sys]),
    ];
    // A parent before what is mounted inside it.
    let mut own: Vec<&Mount> = spec.mounts.iter().collect();
    own.sort_by_key(|mount| mount.target.components().count());
    mounts.extend(own.into_iter().map(own_mount));
    mounts
}

fn own_mount(mount: &Mount) -> Value {
    let access = if mount.read_only { "ro" } else { "rw" };
    match mount.kind {
        MountKind::Bind => json!({
            "destination": mount.target, "type": "bind", "source": mount.source, "options": ["rbind", "rprivate", access],
        }),
        MountKind::Tmpfs { size_bytes } => {
            let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), "mode=1777".to_owned(), access.to_owned()];
            options.extend(size_bytes.map(|bytes| format!("size={bytes}")));
            json!({"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_the_kernels_units() {
        let limits = Resources {
            cpu_millis: Some(250),
            cpu_shares: Some(1),
            memory_bytes: Some(64 << 20),
            pids: Some(100),
            oom_score_adj: None,
        };
        let expected = json!({
            "devices": [{"allow": false, "access": "rwm"}],
            "cpu": {"quota": 25_000, "period": 100_000, "shares": 2},
            "memory": {"limit": 67_108_864},
            "pids": {"limit": 100},
        });
        assert_eq!(resources(&limits, false), expected);
        assert_eq!(resources(&Resources::default(), true), json!({"devices": [{"allow": true, "access": "rwm"}]}));
    }

    #[test]
    fn only_new_namespaces_are_named_without_a_path() {
        let spec = Spec {
            network: Network::Namespace("/run/netns/pod".into()),
            pid: Namespace::Host,
            ipc: Namespace::Path("/proc/7/ns/ipc".into()),
            ..Spec::default()
        };
        let expected = json!([
            {"type": "mount"}, {"type": "cgroup"}, {"type": "ipc", "path": "/proc/7/ns/ipc"}, {"type": "uts"},
            {"type": "network", "path": "/run/netns/pod"},
        ]);
        assert_eq!(json!(namespaces(&spec)), expected);
    }
}
