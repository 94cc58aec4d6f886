//! Verifying a journal without a running instance: signatures, the chain, and that it explains main.

use crate::error::Error;
use crate::object::{Kind, Object, Oid, trailers};
use crate::sign::{public_key_of, verified};
use model::journal::{Entry, EntryKind};
use model::{JOURNAL, MAIN};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// Trailer of commits on main whose story the journal must tell.
const TRAILER_ID: &str = "Trimtab-Id";

/// What stands in all config repositories of a project, one commit after the other, if there are several.
const LINE: &str = "refs/trimtab/keep/line";

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Entries, whole and signed.
    pub entries: usize,
    /// The newest commit of the journal: who keeps it elsewhere notices whatever is cut off later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tip: Option<String>,
    /// What is wrong, in sentences; none if all is well.
    pub problems: Vec<String>,
}

/// The public key, `ssh-ed25519 AAAA…`, that belongs to a signing key in a file.
///
/// # Errors
/// It cannot be read, or is no such key.
pub fn signer(signing_key: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(signing_key).map_err(Error::file("read", signing_key))?;
    public_key_of(&text).ok_or_else(|| Error::Key {
        path: signing_key.to_owned(),
        reason: "it is not an unencrypted ed25519 key of OpenSSH".into(),
    })
}

/// Checks the journal of a config repository (a clone serves as well) against these public keys. `contains`: a commit
/// of the journal that was seen before.
///
/// # Errors
/// Git cannot be run, or there is no repository. What is wrong with the journal is no error but a finding.
pub fn audit(repository: &Path, keys: &[String], contains: Option<&str>) -> Result<Audit, Error> {
    let mut found = Audit::default();
    let chain = list(repository, JOURNAL)?;
    if chain.is_empty() {
        found.problems.push(format!("there is no journal ({JOURNAL}) in {}", repository.display()));
        return Ok(found);
    }
    found.tip = chain.last().map(|(id, _)| id.clone());
    let empty = Object::new(Kind::Tree, Vec::new()).id;
    let mut ids = BTreeSet::new();
    let mut explained = BTreeSet::new();
    let mut previous: Option<&str> = None;
    let commits: Vec<&str> = chain.iter().map(|(id, _)| id.as_str()).collect();
    let objects = read(repository, &commits)?;
    for ((id, parents), bytes) in chain.iter().zip(&objects) {
        let mut problem = |what: String| found.problems.push(format!("{JOURNAL}, commit {}: {what}", &id[..12]));
        if parents.iter().map(String::as_str).ne(previous) {
            problem("it does not stand right behind the one before: the chain was joined or cut".to_owned());
        }
        previous = Some(id);
        if Oid::of(Kind::Commit, bytes).to_string() != *id {
            problem("its content is not what its id says".to_owned());
        }
        match verified(bytes, keys) {
            Ok(()) => {}
            Err(why) => problem(format!("its signature does not hold: {why}")),
        }
        let object = Object::new(Kind::Commit, bytes.clone());
        let entry = object.commit().map_err(|error| error.to_string()).and_then(|commit| {
            if commit.tree != empty {
                return Err("an entry has an empty tree, this one has files".to_owned());
            }
            Entry::parse(&commit.message).map_err(|error| error.to_string())
        });
        match entry {
            Err(why) => problem(why),
            Ok(entry) => {
                if !ids.insert(entry.id.clone()) {
                    problem(format!("entry {} stands there twice", entry.id));
                }
                if matches!(entry.kind, EntryKind::Admitted | EntryKind::Held) {
                    explained.extend(entry.promotion);
                }
                found.entries += 1;
            }
        }
    }
    if let Some(seen) = contains.filter(|seen| !commits.iter().any(|id| id.starts_with(seen))) {
        found.problems.push(format!("{seen} was in the journal once and is not any more: something was cut off"));
    }
    found.problems.extend(unexplained(repository, &explained)?);
    Ok(found)
}

/// Commits on main that Trimtab made, but for the newest one, whose entry may be on its way.
fn unexplained(repository: &Path, explained: &BTreeSet<String>) -> Result<Vec<String>, Error> {
    // Where environments have repositories of their own, what stands in all of them is there.
    let line = list(repository, LINE)?;
    let main = if line.is_empty() { list(repository, MAIN)? } else { line };
    let commits: Vec<&str> = main.iter().rev().skip(1).map(|(id, _)| id.as_str()).collect();
    let objects = read(repository, &commits)?;
    let mut problems = Vec::new();
    for (id, bytes) in commits.iter().zip(objects) {
        let Ok(commit) = Object::new(Kind::Commit, bytes).commit() else { continue };
        let made = trailers(&commit.message).into_iter().find(|(key, _)| key == TRAILER_ID);
        if let Some((_, promotion)) = made.filter(|(_, promotion)| !explained.contains(promotion)) {
            let id = &id[..12];
            problems.push(format!(
                "{MAIN}, commit {id}: the journal does not tell what became of {promotion}: entries are missing"
            ));
        }
    }
    Ok(problems)
}

/// Commits of a reference along first parents, oldest first, with all parents of each; none if it does not exist.
fn list(repository: &Path, reference: &str) -> Result<Vec<(String, Vec<String>)>, Error> {
    let exists =
        git(repository).args(["rev-parse", "--quiet", "--verify", reference]).output().map_err(Error::Spawn)?;
    if !exists.status.success() {
        return Ok(Vec::new());
    }
    let output = git(repository)
        .args(["rev-list", "--reverse", "--first-parent", "--parents", reference])
        .output()
        .map_err(Error::Spawn)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Git { command: "rev-list".into(), directory: repository.to_owned(), message });
    }
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        Some((words.next()?, words.collect()))
    };
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(line).collect())
}

/// The content of commits, in this order.
fn read(repository: &Path, commits: &[&str]) -> Result<Vec<Vec<u8>>, Error> {
    let broken = |source| Error::Pipe { command: "cat-file", source };
    let mut child = git(repository)
        .args(["cat-file", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::Spawn)?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return Ok(Vec::new()) };
    let wanted = commits.join("\n") + "\n";
    // Written beside the reading: either pipe may fill.
    let writer = std::thread::spawn(move || input.write_all(wanted.as_bytes()));
    let mut output = BufReader::new(output);
    let mut found = Vec::with_capacity(commits.len());
    for id in commits {
        let mut line = String::new();
        output.read_line(&mut line).map_err(broken)?;
        let size = line.trim_end().rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
        let size = size.ok_or_else(|| Error::Content(format!("there is no commit {id}")))?;
        let mut bytes = vec![0; size + 1];
        output.read_exact(&mut bytes).map_err(broken)?;
        bytes.pop();
        found.push(bytes);
    }
    drop(output);
    let _ = writer.join();
    child.wait().map_err(broken)?;
    Ok(found)
}

fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
    // A repository of the instance belongs to whoever runs it.
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    command
}
