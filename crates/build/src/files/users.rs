//! Names of users and groups → numbers, by the files of an image.

use super::{Tree, resolve};
use std::io::{self, Read};
use std::path::Path;

/// Whom a process or a file belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    /// Further groups that name the user as a member; empty if the group was given.
    pub groups: Vec<u32>,
    pub home: String,
}

/// More of passwd or group is not read.
const BYTES_MAX: u64 = 4 << 20;

/// `name`, `1000`, `name:group`, `1000:1000`. The empty text is root; a number without entry has group 0.
pub(crate) fn user(tree: &dyn Tree, text: &str) -> Result<User, String> {
    let (name, group) = text.split_once(':').map_or((text, None), |(n, g)| (n, Some(g)));
    let name = if name.is_empty() { "0" } else { name };
    let passwd = lines(tree, "etc/passwd").map_err(|e| format!("/etc/passwd of the image: {e}"))?;
    let groups = lines(tree, "etc/group").map_err(|e| format!("/etc/group of the image: {e}"))?;
    let number: Option<u32> = name.parse().ok();
    let known = passwd.iter().find(|f| f[0] == name || number.is_some() && field(f, 2) == number);
    let (uid, own_gid) = match (known, number) {
        (Some(fields), _) => (field(fields, 2), field(fields, 3)),
        (None, Some(number)) => (Some(number), Some(0)),
        (None, None) => return Err(format!("there is no user {name:?} in /etc/passwd of the image")),
    };
    let (Some(uid), Some(own_gid)) = (uid, own_gid) else {
        return Err(format!("the entry of user {name:?} in /etc/passwd of the image is broken"));
    };
    let login = known.map_or("", |f| f[0].as_str());
    let home = known.and_then(|f| f.get(5)).filter(|h| !h.is_empty()).map_or("/", |h| h.as_str()).to_owned();
    let Some(group) = group.filter(|g| !g.is_empty()) else {
        let member =
            |f: &&Vec<String>| f.get(3).is_some_and(|list| list.split(',').any(|m| m == login && !m.is_empty()));
        let further = groups.iter().filter(member).filter_map(|f| field(f, 2)).filter(|g| *g != own_gid).collect();
        return Ok(User { uid, gid: own_gid, groups: further, home });
    };
    let by_name = groups.iter().find(|f| f[0] == group).and_then(|f| field(f, 2));
    match by_name.or_else(|| group.parse().ok()) {
        Some(gid) => Ok(User { uid, gid, groups: Vec::new(), home }),
        None => Err(format!("there is no group {group:?} in /etc/group of the image")),
    }
}

fn field(fields: &[String], at: usize) -> Option<u32> {
    fields.get(at)?.parse().ok()
}

/// Fields of the lines of a file; an absent file has none.
fn lines(tree: &dyn Tree, path: &str) -> io::Result<Vec<Vec<String>>> {
    let path = resolve(tree, Path::new(path), true)?;
    if tree.entry(&path)?.is_none_or(|e| e.is_directory()) {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    tree.open(&path)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect())
}
