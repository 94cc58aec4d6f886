//! The cgroups of a container, v1 and v2 alike, by their files. libcontainer creates them; here they are read, emptied, removed.
//!
//! v1 was measured; the v2 paths stand on the kernel's documentation and have not met a v2 machine yet.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

const MOUNT: &str = "/sys/fs/cgroup";

/// How often a cgroup is emptied anew, because a process forked while it was being killed.
const ROUNDS_MAX: usize = 64;
/// How long one killed process may take to die before we give up on it.
const DEATH_TIMEOUT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The directories that `path` (`/trimtab-…/<id>`) has in the mounted hierarchies.
fn directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let mut found = Vec::new();
    let unified = Path::new(MOUNT).join(relative);
    if Path::new(MOUNT).join("cgroup.controllers").exists() {
        if unified.is_dir() {
            found.push(unified);
        }
        return Ok(found);
    }
    for entry in fs::read_dir(MOUNT)? {
        let entry = entry?;
        // `cpu` is often a link to `cpu,cpuacct`.
        if entry.file_type()?.is_symlink() {
            continue;
        }
        let directory = entry.path().join(relative);
        if directory.is_dir() {
            found.push(directory);
        }
    }
    Ok(found)
}

/// Kills everything in the cgroup, waits until it is gone, and removes the cgroup. Nothing there is fine.
pub(crate) fn destroy(path: &Path) -> io::Result<()> {
    let directories = directories(path)?;
    kill_all(&directories)?;
    directories.iter().try_for_each(|directory| remove(directory))
}

/// Kills everything in the cgroup and waits until it is gone.
pub(crate) fn empty(path: &Path) -> io::Result<()> {
    kill_all(&directories(path)?)
}

/// Removes an empty cgroup that holds other cgroups' directories no more; in use is fine.
pub(crate) fn remove_if_empty(path: &Path) -> io::Result<()> {
    for directory in directories(path)? {
        match fs::remove_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// How often the kernel killed a process of this cgroup for want of memory.
pub(crate) fn oom_kills(path: &Path) -> u64 {
    let Ok(directories) = directories(path) else { return 0 };
    let counters = directories.iter().flat_map(|directory| {
        ["memory.oom_control", "memory.events"]
            .into_iter()
            .filter_map(|file| fs::read_to_string(directory.join(file)).ok())
    });
    counters.filter_map(|text| counter(&text, "oom_kill")).max().unwrap_or(0)
}

fn counter(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn kill_all(directories: &[PathBuf]) -> io::Result<()> {
    for _ in 0..ROUNDS_MAX {
        let mut seen = false;
        for directory in directories {
            for pid in processes(directory)? {
                seen = true;
                kill_and_wait(pid)?;
            }
        }
        if !seen {
            return Ok(());
        }
    }
    Err(io::Error::other(format!("processes were still forking after {ROUNDS_MAX} rounds of kill")))
}

fn kill_and_wait(pid: Pid) -> io::Result<()> {
    // The descriptor pins the process: its number cannot pass to another one between the look and the kill.
    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    let _ = kill_process(pid, Signal::KILL);
    match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&DEATH_TIMEOUT))? {
        0 => Err(io::Error::new(io::ErrorKind::TimedOut, format!("process {} does not die", pid.as_raw_nonzero()))),
        _ => Ok(()),
    }
}

fn processes(directory: &Path) -> io::Result<Vec<Pid>> {
    match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Removes a cgroup and those that the container made below it, the deepest first.
fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            kill_all(&[entry.path()])?;
            remove(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oom_counter_is_read_from_both_formats() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        let v2 = "low 0\nhigh 0\nmax 7\noom 1\noom_kill 3\noom_group_kill 0\n";
        assert_eq!(counter(v1, "oom_kill"), Some(2));
        assert_eq!(counter(v2, "oom_kill"), Some(3));
        assert_eq!(counter("", "oom_kill"), None);
    }
}
