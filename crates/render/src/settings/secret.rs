//! A secret: `secrets/<name>.yaml`, key → place → value sealed with age.

use super::group::is_variable;
use super::list;
use super::read::{At, document};
use model::Group;
use model::settings::{Chain, Ciphertext, DEFAULT};
use std::collections::{BTreeMap, BTreeSet};
use yaml::Error as Problem;

/// A secret with all its values, sealed.
#[derive(Debug, Clone)]
pub struct SecretFile {
    /// Which.
    pub name: Group,
    /// Key → place → value.
    pub keys: BTreeMap<String, BTreeMap<String, SecretValue>>,
}

/// A sealed value. Two are equal if their bytes are.
#[derive(Debug, Clone)]
pub struct SecretValue {
    /// What it is.
    pub sealed: Ciphertext,
    /// Where it stands: file, line, column.
    pub at: (String, usize, usize),
}

impl PartialEq for SecretValue {
    fn eq(&self, other: &Self) -> bool {
        self.sealed == other.sealed
    }
}

impl SecretFile {
    /// Parses `secrets/<name>.yaml`. No message repeats a value, for it may be in the open by mistake.
    ///
    /// # Errors
    /// The first problem.
    pub fn parse(name: &Group, text: &str, file: &str) -> Result<Self, Problem> {
        let mut keys = BTreeMap::new();
        if let Some(root) = document(text, file)? {
            for (key, at) in (At { file, node: &root, path: String::new() }).map("keys with sealed values")? {
                if !is_variable(&key) && !is_file_name(&key) {
                    return Err(
                        at.fail("a key is a name of a variable or of a file: letters, digits, '_', '-' and '.'")
                    );
                }
                let mut values = BTreeMap::new();
                if at.is_map() {
                    for (place, inner) in at.map("sealed values per environment")? {
                        values.insert(place, value(&inner)?);
                    }
                } else {
                    values.insert(DEFAULT.to_owned(), value(&at)?);
                }
                keys.insert(key, values);
            }
        }
        Ok(Self { name: name.clone(), keys })
    }

    /// Places that do not exist.
    pub fn check(&self, places: &BTreeSet<String>) -> Vec<Problem> {
        let unknown = self.keys.iter().flat_map(|(key, values)| {
            values.iter().filter(|(place, _)| !places.contains(*place)).map(move |(place, value)| {
                let known = list(places.iter().map(String::as_str));
                value.problem(key, place, format!("there is no environment or group {place}; there is: {known}"))
            })
        });
        unknown.collect()
    }

    /// What holds in one environment.
    ///
    /// # Errors
    /// A key without a value there, with the command that sets it.
    pub fn resolve(&self, chain: &Chain) -> Result<BTreeMap<&str, &SecretValue>, String> {
        let mut found = BTreeMap::new();
        let (name, environment) = (&self.name, &chain.environment);
        for (key, values) in &self.keys {
            match chain.find(values) {
                Ok(Some((_, value))) => drop(found.insert(key.as_str(), value)),
                Ok(None) => {
                    return Err(format!(
                        "secret {name} has no {key} for {environment}: trimtab secret set {name} {key} --env {environment}"
                    ));
                }
                Err(several) => {
                    return Err(format!(
                        "secret {name}: {} say different things about {key} for {environment}: trimtab secret set {name} {key} --env {environment}",
                        several.join(" and ")
                    ));
                }
            }
        }
        Ok(found)
    }
}

impl SecretValue {
    /// A problem with this value, with its place in the file.
    pub fn problem(&self, key: &str, place: &str, message: String) -> Problem {
        let (file, line, column) = self.at.clone();
        Problem { file, line, column, field: format!("{key}.{place}"), message }
    }
}

fn value(at: &At<'_>) -> Result<SecretValue, Problem> {
    let position = at.position();
    let sealed = match at.text() {
        Ok(text) => text.parse::<Ciphertext>().map_err(|error| at.fail(error.to_string()))?,
        Err(problem) => return Err(problem),
    };
    Ok(SecretValue { sealed, at: (at.file.to_owned(), position.line, position.column) })
}

fn is_file_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with('.')
}
