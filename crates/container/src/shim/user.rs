//! Who `nginx` or `1000:staff` is, by the image's own `/etc/passwd` and `/etc/group`.

use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

use crate::error::{Failure, FailureKind};
use crate::spec::User;

/// Far above any real one; an image is not trusted.
const FILE_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

/// Looks the user up in the root file system at `root`, following links as if it were `/`.
pub(super) fn resolve(root: &Path, user: &User) -> Result<Identity, Failure> {
    resolve_in(user, &read(root, "etc/passwd"), &read(root, "etc/group"))
}

/// An image without the file is common, and then numbers still work.
fn read(root: &Path, name: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .and_then(|root| openat2(root, name, flags, Mode::empty(), ResolveFlags::IN_ROOT));
    let mut bytes = Vec::new();
    if let Ok(file) = file {
        let _ = std::fs::File::from(file).take(FILE_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn resolve_in(user: &User, passwd: &str, group: &str) -> Result<Identity, Failure> {
    let (name, group_name) = match user.name.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user.name.as_str(), None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = name.parse::<u32>().ok();
    // name:password:uid:gid:comment:home:shell
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 6 && (fields[0] == name || number.is_some_and(|number| fields[2].parse() == Ok(number)))
    });
    let ids = entry.as_ref().and_then(|fields| Some((fields[2].parse().ok()?, fields[3].parse().ok()?)));
    let (uid, mut gid) = match (ids, number) {
        (Some(ids), _) => ids,
        (None, Some(number)) => (number, 0),
        (None, None) => return Err(unknown("user", name, "/etc/passwd")),
    };
    let mut groups = user.extra.clone();
    match group_name {
        Some(name) => gid = group_id(name, group).ok_or_else(|| unknown("group", name, "/etc/group"))?,
        // The memberships count only when no group was asked for, as with Docker.
        None => groups.extend(entry.as_ref().into_iter().flat_map(|fields| memberships(fields[0], group))),
    }
    groups.sort_unstable();
    groups.dedup();
    let home = entry.map(|fields| fields[5].to_owned()).filter(|home| !home.is_empty());
    Ok(Identity { uid, gid, groups, home: home.unwrap_or_else(|| "/".to_owned()) })
}

fn unknown(what: &str, name: &str, file: &str) -> Failure {
    Failure::new(
        FailureKind::User,
        format!("{what} {name:?}: not in {file} of the image; name one that is, or use a number"),
    )
}

fn group_id(name: &str, group: &str) -> Option<u32> {
    let found = group.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name);
    found.and_then(|fields| fields.get(2)?.parse().ok()).or_else(|| name.parse().ok())
}

/// The groups whose member list names the user.
fn memberships(user: &str, group: &str) -> Vec<u32> {
    let lines = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines
        .filter(|fields| fields.len() >= 4 && fields[3].split(',').any(|member| member == user))
        .filter_map(|fields| fields[2].parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:Web:/srv:/sbin/nologin\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\nstaff:x:50:web,alice\nbroken\n";

    fn check(name: &str, expected: Result<(u32, u32, &[u32], &str), &str>) {
        let got = resolve_in(&User { name: name.to_owned(), extra: vec![7] }, PASSWD, GROUP);
        match (got, expected) {
            (Ok(got), Ok((uid, gid, groups, home))) => {
                assert_eq!(
                    (got.uid, got.gid, got.groups.as_slice(), got.home.as_str()),
                    (uid, gid, groups, home),
                    "{name}"
                );
            }
            (Err(got), Err(expected)) => assert!(got.message.contains(expected), "{name}: {got}"),
            (got, expected) => panic!("{name}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        check("", Ok((0, 0, &[7], "/root")));
        check("0", Ok((0, 0, &[7], "/root")));
        check("web", Ok((101, 102, &[7, 50], "/srv")));
        check("101", Ok((101, 102, &[7, 50], "/srv")));
        check("web:staff", Ok((101, 50, &[7], "/srv")));
        check("web:0", Ok((101, 0, &[7], "/srv")));
        check("1000", Ok((1000, 0, &[7], "/")));
        check("1000:1001", Ok((1000, 1001, &[7], "/")));
        check("nobody", Err("user \"nobody\": not in /etc/passwd"));
        check("web:wheel", Err("group \"wheel\": not in /etc/group"));
    }
}
