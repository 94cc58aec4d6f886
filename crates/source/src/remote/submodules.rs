//! Submodules of a repository elsewhere, and theirs: the commits that it names, at the addresses that its `.gitmodules` says.

use super::git::{Asked, fetch_into};
use super::{Fetcher, failed, revision};
use crate::error::Error;
use crate::git::Git as Runner;
use crate::object::Oid;
use crate::read::{Objects, components};
use model::flow::Snapshot;
use model::remote::{Address, Git};
use std::collections::BTreeMap;
use std::path::Path;

/// Of one repository, with those of its submodules.
const SUBMODULES_MAX: usize = 64;
/// One in another.
const DEPTH_MAX: usize = 8;
/// What whoever does not want them can do.
const WITHOUT: &str = "?submodules=false in the address leaves submodules out";

/// Where one stands, and what it is.
struct Mounted {
    /// From the top of everything, with a slash behind; empty for the repository itself.
    prefix: String,
    url: String,
    commit: Oid,
    depth: usize,
}

/// What `.gitmodules` says of one.
#[derive(Default)]
struct Said {
    path: String,
    url: String,
    update: String,
}

/// Puts the files of all submodules of a commit into its snapshot. Everything is fetched into `scratch`.
pub async fn add(
    fetcher: &Fetcher,
    git: &Git,
    (runner, scratch, objects): (&Runner, &Path, &Objects),
    commit: Oid,
    snapshot: &mut Snapshot,
) -> Result<(), Error> {
    let mut open = vec![Mounted { prefix: String::new(), url: git.url.clone(), commit, depth: 0 }];
    let mut count = 0;
    while let Some(within) = open.pop() {
        let fail = |reason: String| failed(&within.url, &format!("{reason} ({WITHOUT})"));
        let links = links(runner, scratch, within.commit).await?;
        if links.is_empty() {
            continue;
        }
        let said = said(runner, scratch, within.commit).await?;
        for (path, id) in links {
            let known = said.values().rfind(|said| said.path == path && !said.url.is_empty());
            let known = known.ok_or_else(|| fail(format!("its .gitmodules has no address of submodule {path}")))?;
            if known.update == "none" {
                continue;
            }
            count += 1;
            if count > SUBMODULES_MAX || within.depth >= DEPTH_MAX {
                return Err(fail(format!(
                    "it has more than {SUBMODULES_MAX} submodules, or more than {DEPTH_MAX} in one another"
                )));
            }
            components(&path)?;
            let url = joined(&within.url, &known.url);
            let url = url.ok_or_else(|| fail(format!("{:?} of submodule {path} leads nowhere", known.url)))?;
            let wanted = Git { url, path: String::new(), reference: id.to_string(), ..git.clone() };
            fetcher.allowed(&Address::repository(wanted.clone())).map_err(|error| match error {
                Error::Forbidden { address, reason } => {
                    Error::Forbidden { address, reason: format!("{reason}; it is submodule {path} ({WITHOUT})") }
                }
                error => error,
            })?;
            one(fetcher, &wanted, scratch, objects, id).await?;
            let prefix = format!("{}{path}/", within.prefix);
            let there = objects.snapshot(&revision(id.commit()), ".").await;
            let there = there.map_err(|error| failed(&wanted.url, &error.explain()))?;
            snapshot.files.extend(there.files.into_iter().map(|(path, file)| (format!("{prefix}{path}"), file)));
            bounded(fetcher, git, scratch, snapshot)?;
            open.push(Mounted { prefix, url: wanted.url, commit: id, depth: within.depth + 1 });
        }
    }
    Ok(())
}

/// The bounds of one repository are those of all of it.
fn bounded(fetcher: &Fetcher, git: &Git, scratch: &Path, snapshot: &Snapshot) -> Result<(), Error> {
    let unpacked: u64 = snapshot.files.values().map(|file| file.bytes.len() as u64).sum();
    if unpacked.max(size(scratch)) > fetcher.bytes_max {
        let limit = fetcher.bytes_max >> 20;
        return Err(failed(
            &git.url,
            &format!("with its submodules it is larger than {limit} MiB, which is the limit"),
        ));
    }
    if snapshot.files.len() > fetcher.files_max {
        let limit = fetcher.files_max;
        return Err(failed(&git.url, &format!("with its submodules it has more than {limit} files")));
    }
    Ok(())
}

/// Of all files below.
fn size(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let one = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(one).sum()
}

/// The commit itself; from servers that give no commit by its id, all branches.
async fn one(fetcher: &Fetcher, git: &Git, scratch: &Path, objects: &Objects, id: Oid) -> Result<(), Error> {
    let alone = fetch_into(fetcher, scratch, git, Asked::BySubmodule, &["--depth=1"], &git.reference).await;
    if alone.is_err() {
        let branches = "+refs/heads/*:refs/submodule/*";
        fetch_into(fetcher, scratch, git, Asked::BySubmodule, &[], branches).await?;
        objects.peeled(id).await.map_err(|_| failed(&git.url, &format!("no branch of it holds {id}")))?;
    }
    Ok(())
}

/// Where other repositories stand in a commit, and which commit of each.
async fn links(runner: &Runner, scratch: &Path, commit: Oid) -> Result<Vec<(String, Oid)>, Error> {
    let text = runner.run(scratch, ["ls-tree", "-r", "-z", "--full-tree", &commit.to_string()], &[]).await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let link = |line: &str| {
        let (what, path) = line.split_once('\t')?;
        let id = what.strip_prefix("160000 commit ")?;
        Some((path.to_owned(), Oid::parse(id.trim())?))
    };
    Ok(text.split('\0').filter_map(link).collect())
}

/// What `.gitmodules` of a commit says, by its names; nothing if there is none.
async fn said(runner: &Runner, scratch: &Path, commit: Oid) -> Result<BTreeMap<String, Said>, Error> {
    let blob = format!("{commit}:.gitmodules");
    let text = runner.run(scratch, ["config", "--blob", &blob, "--no-includes", "-z", "--list"], &[]).await;
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    let mut all: BTreeMap<String, Said> = BTreeMap::new();
    for (key, value) in text.split('\0').filter_map(|entry| entry.split_once('\n')) {
        let Some((name, key)) = key.strip_prefix("submodule.").and_then(|key| key.rsplit_once('.')) else { continue };
        let one = all.entry(name.to_owned()).or_default();
        match key {
            "path" => one.path = value.to_owned(),
            "url" => one.url = value.to_owned(),
            "update" => one.update = value.to_owned(),
            _ => {}
        }
    }
    Ok(all)
}

/// An address as `.gitmodules` has it, which may begin where the repository lies that names it.
fn joined(base: &str, url: &str) -> Option<String> {
    if !url.starts_with("./") && !url.starts_with("../") {
        return Some(url.to_owned());
    }
    let (mut base, mut rest, mut between) = (base.trim_end_matches('/'), url, "/");
    loop {
        if let Some(inner) = rest.strip_prefix("./") {
            rest = inner;
        } else if let Some(outer) = rest.strip_prefix("../") {
            let begin = base.find("://").map_or(0, |at| at + "://".len());
            let at = begin + base[begin..].rfind('/').or_else(|| base[begin..].rfind(':'))?;
            between = if base[at..].starts_with(':') { ":" } else { "/" };
            (base, rest) = (&base[..at], outer);
        } else {
            return Some(format!("{base}{between}{}", rest.trim_end_matches('/')));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn addresses_may_begin_where_the_repository_lies() {
        for (base, url, expect) in [
            ("https://h/org/repo", "https://other/x", Some("https://other/x")),
            ("https://h/org/repo.git", "../sub.git", Some("https://h/org/sub.git")),
            ("https://h/org/repo/", "../../other/sub/", Some("https://h/other/sub")),
            ("https://h/org/repo", "./sub", Some("https://h/org/repo/sub")),
            ("https://h/org/repo", "../../../../sub", None),
            ("git@h:org/repo", "../sub", Some("git@h:org/sub")),
            ("git@h:repo", "../sub", Some("git@h:sub")),
            ("file:///srv/repo", "../sub", Some("file:///srv/sub")),
        ] {
            assert_eq!(joined(base, url).as_deref(), expect, "{base} {url}");
        }
    }
}
