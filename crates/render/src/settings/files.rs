//! All ConfigGroups and secrets of a config repository.

use super::group::{ConfigGroup, file_of, text};
use super::secret::SecretFile;
use super::{list, problem};
use model::{Group, Snapshot};
use std::collections::BTreeMap;
use yaml::{Error as Problem, Position};

/// What was read of each name, or what is wrong with it.
pub type Readings<T> = BTreeMap<Group, Result<T, Vec<Problem>>>;

/// The ConfigGroups in `config/`, and problems with files that belong to none.
pub fn read_groups(snapshot: &Snapshot) -> (Readings<ConfigGroup>, Vec<Problem>) {
    let (mut groups, mut stray) = (Readings::new(), Vec::new());
    for (name, path) in named(snapshot, "config/", &mut stray) {
        let parsed = text(snapshot, &path).map_err(|problem| vec![problem]);
        let parsed = parsed.and_then(|content| ConfigGroup::parse(&name, content, &path));
        groups.insert(name, parsed);
    }
    for path in snapshot.files.keys() {
        let Some((name, place, inner)) = file_of(path) else { continue };
        let group = name.parse::<Group>().ok();
        match group.and_then(|group| groups.get_mut(&group)) {
            Some(Ok(group)) => {
                let added = text(snapshot, path).and_then(|content| group.add_file(place, inner, path, content));
                stray.extend(added.err());
            }
            Some(Err(_)) => {}
            None => {
                let message =
                    format!("there is no config/{name}.yaml; there is: {}", list(groups.keys().map(Group::as_str)));
                stray.push(problem(path, Position::default(), String::new(), message));
            }
        }
    }
    (groups, stray)
}

/// The secrets in `secrets/`, and problems with names that are none.
pub fn read_secrets(snapshot: &Snapshot) -> (Readings<SecretFile>, Vec<Problem>) {
    let (mut secrets, mut stray) = (Readings::new(), Vec::new());
    for (name, path) in named(snapshot, "secrets/", &mut stray) {
        let parsed = text(snapshot, &path).and_then(|content| SecretFile::parse(&name, content, &path));
        secrets.insert(name, parsed.map_err(|problem| vec![problem]));
    }
    (secrets, stray)
}

/// `<directory><name>.yaml`.
fn named(snapshot: &Snapshot, directory: &str, stray: &mut Vec<Problem>) -> Vec<(Group, String)> {
    let mut found = Vec::new();
    for path in snapshot.files.keys() {
        let Some(name) =
            path.strip_prefix(directory).and_then(|rest| rest.strip_suffix(".yaml")).filter(|n| !n.contains('/'))
        else {
            continue;
        };
        match name.parse() {
            Ok(name) => found.push((name, path.clone())),
            Err(error) => stray.push(problem(path, Position::default(), String::new(), format!("{error}"))),
        }
    }
    found
}
