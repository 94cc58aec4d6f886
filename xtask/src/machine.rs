//! What a test that needs root must leave as it found it.

use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Mounts, links, namespaces, nftables, cgroups and processes of ours.
#[derive(Debug, PartialEq, Eq)]
pub struct Machine(BTreeSet<String>);

impl Machine {
    /// As it is now.
    pub fn look() -> Result<Self> {
        let mut seen = BTreeSet::new();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        seen.extend(mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|at| format!("mount {at}")));
        for entry in std::fs::read_dir("/sys/class/net")? {
            seen.insert(format!("link {}", entry?.file_name().to_string_lossy()));
        }
        if let Ok(output) = Command::new("nft").args(["list", "tables"]).output() {
            seen.extend(String::from_utf8_lossy(&output.stdout).lines().map(|line| format!("nftables {line}")));
        }
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().filter(|n| n.bytes().all(|b| b.is_ascii_digit())) else { continue };
            let command =
                std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ");
            let words: Vec<&str> = command.split_whitespace().take(2).collect();
            if let [program, "shim" | "gateway" | "up"] = words.as_slice()
                && (program.ends_with("/trimtab") || program.contains("shim"))
            {
                seen.insert(format!("process {pid} {command}"));
            }
        }
        cgroups(Path::new("/sys/fs/cgroup"), 3, &mut seen);
        Ok(Self(seen))
    }

    /// What is there now that was not there before.
    pub fn added_since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// Only those that carry our name: others come and go without us.
fn cgroups(directory: &Path, depth: usize, seen: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.is_dir() || path.is_symlink() {
            continue;
        }
        if entry.file_name().to_string_lossy().contains("trimtab") {
            seen.insert(format!("cgroup {}", path.display()));
        } else if depth > 0 {
            cgroups(&path, depth - 1, seen);
        }
    }
}
