//! Who has a port.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its name as the kernel knows it.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// Who listens on this port, if it can be found out: others' processes are visible only to root.
pub fn port_holder(address: SocketAddr) -> Option<Holder> {
    let inodes: Vec<String> =
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().flat_map(|table| listeners(table, address.port())).collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find_map(|pid: u32| {
        let process = format!("/proc/{pid}");
        let holds = holds(&Path::new(&process).join("fd"), &inodes);
        let name = || std::fs::read_to_string(format!("{process}/comm")).unwrap_or_default().trim().to_owned();
        holds.then(|| Holder { pid, name: name() })
    })
}

/// Socket inodes that listen on a port.
fn listeners(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let inode = |line: &str| -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        let found = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (found == port && *state == LISTEN).then(|| format!("socket:[{inode}]"))
    };
    text.lines().skip(1).filter_map(inode).collect()
}

fn holds(descriptors: &Path, inodes: &[String]) -> bool {
    let Ok(entries) = std::fs::read_dir(descriptors) else { return false };
    let targets = entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.into_iter().any(|target| target.to_str().is_some_and(|target| inodes.iter().any(|i| i == target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(port_holder(address).unwrap().pid, std::process::id());
        drop(listener);
        assert_eq!(port_holder(address), None);
    }
}
