//! The way out of the machine for Pods: forwarding and masquerade, where `nft` is installed.

use crate::error::Error;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// Says that forwarding was off before the first instance came.
const NOTE: &str = "/run/trimtab-forwarding-was-off";

/// Name of this instance's table; nothing else of the packet filter is touched.
fn table(instance: &str) -> String {
    format!("trimtab_{instance}")
}

/// Installs the rules. False if there is no `nft`: Pods then reach each other and the host, nothing beyond.
pub(super) async fn install(instance: &str, subnet: Ipv4Addr) -> Result<bool, Error> {
    let table = table(instance);
    // `add` then `delete` makes the second run of the same script replace the first, in one transaction.
    let rules = format!(
        "add table ip {table}\n\
         delete table ip {table}\n\
         table ip {table} {{\n\
           chain postrouting {{\n\
             type nat hook postrouting priority 100; policy accept;\n\
             ip saddr {subnet}/24 ip daddr != {subnet}/24 masquerade\n\
           }}\n\
         }}\n"
    );
    nft(&rules).await
}

/// Removes the rules. Without `nft` there are none.
pub(super) async fn remove(instance: &str) -> Result<(), Error> {
    let table = table(instance);
    nft(&format!("add table ip {table}\ndelete table ip {table}\n")).await.map(drop)
}

/// Turns forwarding on, and leaves a note for whoever is the last to need it. The note lives as long as the setting
/// does: until the machine stops.
pub(super) fn enable_forwarding() -> Result<(), Error> {
    let was_off = fs::read_to_string(FORWARD).map_err(Error::file("reading", FORWARD))?.trim() == "0";
    // Writing 1 over 1 would not be without effect: the kernel then resets settings of every link.
    if was_off {
        fs::write(NOTE, b"").map_err(Error::file("writing", NOTE))?;
        fs::write(FORWARD, "1").map_err(Error::file("writing", FORWARD))?;
    }
    Ok(())
}

/// Turns forwarding off if one of us turned it on.
pub(super) fn restore_forwarding() -> Result<(), Error> {
    if !Path::new(NOTE).exists() {
        return Ok(());
    }
    fs::write(FORWARD, "0").map_err(Error::file("writing", FORWARD))?;
    fs::remove_file(NOTE).map_err(Error::file("removing", NOTE))
}

async fn nft(script: &str) -> Result<bool, Error> {
    let spawned = Command::new("nft")
        .args(["-f", "-"])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::Nft(e.to_string())),
    };
    if let Some(mut input) = child.stdin.take() {
        // An early end of nft is told by its exit code.
        let _ = input.write_all(script.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(|e| Error::Nft(e.to_string()))?;
    match output.status.success() {
        true => Ok(true),
        false => Err(Error::Nft(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
