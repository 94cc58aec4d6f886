//! One commit of a repository elsewhere, without its history.

use super::{Fetcher, Found, Rights, failed, revision, submodules};
use crate::batch::{Place, Pool};
use crate::cache::Cache;
use crate::error::Error;
use crate::git::{Git as Runner, MARK};
use crate::object::Oid;
use crate::read::{Objects, SnapshotLimits};
use model::remote::{Fetched, Git};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;

/// What `ulimit -f` counts in.
const BLOCK_BYTES: u64 = 512;
/// The shell bounds the size of what git writes, and becomes git. Whoever writes more is ended by signal 25, and leaves no
/// core.
const BOUNDED: &str = "ulimit -c 0 && ulimit -f \"$1\" && shift && exec git \"$@\"";

pub async fn fetch(fetcher: &Fetcher, git: &Git) -> Result<Found, Error> {
    check(git)?;
    let scratch = tempfile::Builder::new()
        .prefix(".remote-")
        .tempdir_in(&fetcher.scratch)
        .map_err(Error::file("create in", &fetcher.scratch))?;
    let runner = Runner::alone(scratch.path());
    runner.run(scratch.path(), ["init", "--bare", "-q", "--template=", "--object-format=sha1", "."], &[]).await?;
    let reference = if git.reference.is_empty() { "HEAD" } else { &git.reference };
    fetch_into(fetcher, scratch.path(), git, Asked::ByAddress, &["--depth=1"], reference).await?;
    let objects = Objects {
        key: 0,
        place: Place { directory: scratch.path().to_owned(), quarantine: None },
        pool: Arc::new(Pool::new(runner.clone())),
        cache: Arc::new(Cache::new(0)),
        limits: SnapshotLimits { files_max: fetcher.files_max, bytes_max: fetcher.bytes_max },
        // They are fetched by themselves.
        skip_submodules: true,
    };
    let head = std::fs::read_to_string(scratch.path().join("FETCH_HEAD")).unwrap_or_default();
    let id = head.split_whitespace().next().and_then(Oid::parse);
    let id = id.ok_or_else(|| failed(&git.url, &format!("{reference} names no commit")))?;
    let commit = objects.peeled(id).await.map_err(|error| failed(&git.url, &error.explain()))?;
    let mut snapshot =
        objects.snapshot(&revision(commit.commit()), ".").await.map_err(|error| failed(&git.url, &error.explain()))?;
    if git.submodules {
        submodules::add(fetcher, git, (&runner, scratch.path(), &objects), commit, &mut snapshot).await?;
    }
    Ok(Found { fetched: Fetched::Tree(Arc::new(snapshot)), resolved: commit.to_string() })
}

/// Who named an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A manifest.
    ByAddress,
    /// A repository that was fetched.
    BySubmodule,
}

/// Fetches a reference into the repository in a directory.
pub async fn fetch_into(
    fetcher: &Fetcher,
    directory: &Path,
    git: &Git,
    asked: Asked,
    options: &[&str],
    reference: &str,
) -> Result<(), Error> {
    check(git)?;
    let fetch = ["fetch", "-q", "--no-tags", "--no-recurse-submodules"];
    let what = ["--", &git.url, reference];
    let args: Vec<&str> = fetch.iter().chain(options).chain(&what).copied().collect();
    run(fetcher, directory, git, asked, &args).await.map(drop)
}

/// Where a reference stands now, without fetching anything: what it would be fetched as. `None` if only fetching tells.
pub async fn resolved(fetcher: &Fetcher, git: &Git) -> Result<Option<String>, Error> {
    check(git)?;
    if Oid::parse(&git.reference).is_some() {
        return Ok(Some(git.reference.clone()));
    }
    let name = if git.reference.is_empty() { "HEAD" } else { &git.reference };
    // In the order in which git looks for a name.
    let names = [name.to_owned(), format!("refs/{name}"), format!("refs/tags/{name}"), format!("refs/heads/{name}")];
    let peeled = format!("refs/tags/{name}^{{}}");
    let mut args = vec!["ls-remote", "-q", "--", &git.url];
    args.extend(names.iter().map(String::as_str).chain([peeled.as_str()]));
    let output = run(fetcher, &fetcher.scratch, git, Asked::ByAddress, &args).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let at = |name: &str| text.lines().find_map(|line| line.split_once('\t').filter(|(_, n)| *n == name));
    let found = names.iter().find_map(|name| at(&format!("{name}^{{}}")).or_else(|| at(name)));
    Ok(found.map(|(id, _)| id.to_owned()))
}

fn check(git: &Git) -> Result<(), Error> {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    if git.url.chars().any(char::is_control) || git.url.starts_with('-') {
        return Err(failed(&git.url, "the address has characters that no address has"));
    }
    if git.reference.chars().any(bad) || git.reference.starts_with(['-', '+']) {
        return Err(failed(&git.url, &format!("{:?} is no name of a branch, tag or commit", git.reference)));
    }
    Ok(())
}

/// Git, bounded in what it writes and in time; all its children end with it.
async fn run(fetcher: &Fetcher, directory: &Path, git: &Git, asked: Asked, args: &[&str]) -> Result<Output, Error> {
    let mut command = Command::new("sh");
    command.args(["-c", BOUNDED, "sh", &(fetcher.bytes_max / BLOCK_BYTES).to_string()]);
    match &fetcher.rights {
        Rights::Person => {
            command.args(["-c", "gc.auto=0", "-c", "fetch.fsckObjects=true"]);
        }
        Rights::Hosts(_) => {
            let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
            command.env_clear().env("PATH", path).env("HOME", directory);
            command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
            command.env("GIT_ALLOW_PROTOCOL", "http:https");
            // A host that is allowed does not lead to one that is not.
            command.args(["-c", "http.followRedirects=false", "-c", "credential.helper="]);
            command.args(["-c", "gc.auto=0", "-c", "fetch.fsckObjects=true"]);
        }
    }
    if asked == Asked::BySubmodule {
        // As git itself has it: what a repository names reaches neither files of this machine nor programs.
        command.env("GIT_PROTOCOL_FROM_USER", "0");
    }
    command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").env(MARK, &fetcher.scratch);
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    command.args(args).current_dir(directory).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(Error::Spawn)?;
    let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
    let limit = Duration::from_secs(git.timeout_s);
    let Ok(output) = tokio::time::timeout(limit, child.wait_with_output()).await else {
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        return Err(failed(&git.url, &format!("no end after {} s; ?timeout= in the address sets it", git.timeout_s)));
    };
    let output = output.map_err(Error::Spawn)?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = match said.trim() {
        text if text.contains("File too large") || text.contains("signal 25") || text.is_empty() => {
            format!("it is larger than {} MiB, which is the limit, or git was stopped: {text}", fetcher.bytes_max >> 20)
        }
        text => text.to_owned(),
    };
    Err(failed(&git.url, &reason))
}
