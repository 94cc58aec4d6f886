//! Paths, as texts: nothing is read.

use super::table;
use template::{Function, Value};

pub(super) const FUNCTIONS: &[Function] = table! {
    "base" "s" |call| Ok(base(call.str(0)).into());
    "dir" "s" |call| Ok(dir(call.str(0)).into());
    "clean" "s" |call| Ok(clean(call.str(0)).into());
    "ext" "s" |call| Ok(ext(call.str(0)).into());
    "isAbs" "s" |call| Ok(Value::Bool(call.str(0).starts_with('/')));
    "osBase" "s" |call| Ok(base(call.str(0)).into());
    "osDir" "s" |call| Ok(dir(call.str(0)).into());
    "osClean" "s" |call| Ok(clean(call.str(0)).into());
    "osExt" "s" |call| Ok(ext(call.str(0)).into());
    "osIsAbs" "s" |call| Ok(Value::Bool(call.str(0).starts_with('/')));
};

fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed {
        "" if path.is_empty() => ".",
        "" => "/",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}

fn dir(path: &str) -> String {
    clean(&path[..path.rfind('/').map_or(0, |at| at + 1)])
}

fn ext(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rfind('.').map_or("", |at| &name[at..])
}

fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".into(),
        (false, false) => parts.join("/"),
    }
}
