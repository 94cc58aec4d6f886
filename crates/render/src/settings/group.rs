//! A ConfigGroup: `config/<name>.yaml`, with the files of `config/<name>/files/<place>/…`.

use super::read::{At, document};
use super::schema::Rule;
use super::{Resolved, list, problem};
use model::settings::{Chain, DEFAULT};
use model::{Group, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use yaml::{Error as Problem, Position};

/// A ConfigGroup, with the places of its values.
#[derive(Debug, Clone)]
pub struct ConfigGroup {
    /// Which.
    pub name: Group,
    file: String,
    data: BTreeMap<String, Entry>,
    files: BTreeMap<String, Entry>,
    schema: BTreeMap<String, (Position, Rule)>,
}

/// One key with its values per place.
#[derive(Debug, Clone, Default)]
struct Entry {
    position: Position,
    values: BTreeMap<String, Value>,
}

/// One value. Two are equal if their texts are.
#[derive(Debug, Clone)]
pub struct Value {
    /// What it is.
    pub text: String,
    /// Where it stands: file, line, column.
    pub at: (String, usize, usize),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl ConfigGroup {
    /// Parses `config/<name>.yaml`.
    ///
    /// # Errors
    /// The first problem with its shape, and every value that its schema does not take.
    pub fn parse(name: &Group, text: &str, file: &str) -> Result<Self, Vec<Problem>> {
        let group = Self::shape(name, text, file).map_err(|problem| vec![problem])?;
        let problems = group.untyped();
        if problems.is_empty() { Ok(group) } else { Err(problems) }
    }

    fn shape(name: &Group, text: &str, file: &str) -> Result<Self, Problem> {
        let mut group = Self {
            name: name.clone(),
            file: file.to_owned(),
            data: BTreeMap::new(),
            files: BTreeMap::new(),
            schema: BTreeMap::new(),
        };
        let Some(root) = document(text, file)? else { return Ok(group) };
        for (field, at) in (At { file, node: &root, path: String::new() }).map("{data, files, schema}")? {
            match field.as_str() {
                "data" => {
                    for (key, entry) in at.map("keys with values")? {
                        if !is_variable(&key) {
                            return Err(
                                entry.fail("a key is a name of a variable: letters, digits and '_', no digit first")
                            );
                        }
                        group.data.insert(key, Entry::read(&entry)?);
                    }
                }
                "files" => {
                    for (path, entry) in at.map("paths with contents")? {
                        if !is_path(&path) {
                            return Err(entry.fail(PATH));
                        }
                        group.files.insert(path, Entry::read(&entry)?);
                    }
                }
                "schema" => {
                    for (key, rule) in at.map("keys with rules")? {
                        group.schema.insert(key, (rule.position(), Rule::read(&rule)?));
                    }
                }
                _ => return Err(at.fail("unknown field; a ConfigGroup has: data, files, schema")),
            }
        }
        for (key, (position, _)) in &group.schema {
            group.data.entry(key.clone()).or_insert_with(|| Entry { position: *position, values: BTreeMap::new() });
        }
        Ok(group)
    }

    fn untyped(&self) -> Vec<Problem> {
        let typed = self.data.iter().filter_map(|(key, entry)| Some((key, entry, &self.schema.get(key)?.1)));
        let wrong = typed.flat_map(|(key, entry, rule)| {
            entry.values.iter().filter_map(move |(place, value)| {
                let message = rule.check(&value.text).err()?;
                Some(value.problem(format!("data.{key}.{place}"), message))
            })
        });
        wrong.collect()
    }

    /// Takes a file of `config/<name>/files/<place>/<path>`.
    pub(super) fn add_file(&mut self, place: &str, path: &str, source: &str, text: &str) -> Result<(), Problem> {
        let value = Value { text: text.to_owned(), at: (source.to_owned(), 0, 0) };
        if !is_path(path) {
            return Err(value.problem(String::new(), PATH.to_owned()));
        }
        let entry = self.files.entry(path.to_owned()).or_default();
        match entry.values.insert(place.to_owned(), value) {
            Some(first) => {
                Err(problem(source, Position::default(), String::new(), format!("it stands in {} already", first.at.0)))
            }
            None => Ok(()),
        }
    }

    /// What is wrong for any of these environments, however they are used: a place that does not exist, a value that is
    /// missing in one of them.
    pub fn check(&self, places: &BTreeSet<String>, chains: &[Chain]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (field, entries) in [("data", &self.data), ("files", &self.files)] {
            for (key, entry) in entries {
                for (place, value) in entry.values.iter().filter(|(place, _)| !places.contains(*place)) {
                    let known = list(places.iter().map(String::as_str));
                    let message = format!("there is no environment or group {place}; there is: {known}");
                    problems.push(value.problem(format!("{field}.{key}.{place}"), message));
                }
            }
        }
        for chain in chains {
            problems.extend(self.resolve(chain, None).err().into_iter().flatten());
        }
        problems.sort_by(|a, b| (&a.file, a.line, &a.message).cmp(&(&b.file, b.line, &b.message)));
        problems.dedup();
        problems
    }

    /// What holds in one environment.
    ///
    /// # Errors
    /// Every key without a value there, and every one of which its groups say different things.
    pub fn resolve(&self, chain: &Chain, mount_path: Option<String>) -> Result<Resolved, Vec<Problem>> {
        let mut problems = Vec::new();
        let data = self.resolved("data", &self.data, chain, &mut problems);
        let files = self.resolved("files", &self.files, chain, &mut problems);
        match problems.is_empty() {
            true => Ok(Resolved { name: self.name.clone(), data, files, mount_path }),
            false => Err(problems),
        }
    }

    fn resolved(
        &self,
        field: &str,
        entries: &BTreeMap<String, Entry>,
        chain: &Chain,
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for (key, entry) in entries {
            let path = format!("{field}.{key}");
            match chain.find(&entry.values) {
                Ok(Some((_, value))) => drop(found.insert(key.clone(), value.text.clone())),
                Ok(None) if field == "data" && self.schema.get(key).is_some_and(|(_, rule)| !rule.required()) => {}
                Ok(None) => {
                    let places = chain.steps.iter().flatten().map(String::as_str);
                    let message = format!("it has no value for {}: set one of {}", chain.environment, list(places));
                    problems.push(problem(&self.file, entry.position, path, message));
                }
                Err(several) => {
                    let message = format!(
                        "{} say different things for {}: set {}",
                        several.join(" and "),
                        chain.environment,
                        chain.environment
                    );
                    problems.push(problem(&self.file, entry.position, path, message));
                }
            }
        }
        found
    }

    /// Every key of `data` and path of `files` with its values by place.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, Value>)> {
        self.data.iter().chain(&self.files).map(|(key, entry)| (key.as_str(), &entry.values))
    }

    /// True if the component has to say where its files go.
    pub fn has_files(&self) -> bool {
        !self.files.is_empty()
    }
}

impl Value {
    fn problem(&self, field: String, message: String) -> Problem {
        let (file, line, column) = self.at.clone();
        Problem { file, line, column, field, message }
    }
}

impl Entry {
    /// A map of places, or a plain value, which is the default.
    fn read(at: &At<'_>) -> Result<Self, Problem> {
        let value = |at: &At<'_>| -> Result<Value, Problem> {
            let (text, position) = (at.text()?.to_owned(), at.position());
            Ok(Value { text, at: (at.file.to_owned(), position.line, position.column) })
        };
        let mut values = BTreeMap::new();
        if at.is_map() {
            for (place, inner) in at.map("values per environment")? {
                values.insert(place, value(&inner)?);
            }
        } else {
            values.insert(DEFAULT.to_owned(), value(at)?);
        }
        Ok(Self { position: at.position(), values })
    }
}

/// What every shell takes.
pub(super) fn is_variable(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(inner) && !name.as_bytes()[0].is_ascii_digit()
}

const PATH: &str = "a path is relative, of letters, digits, '-', '_' and '.', without '..' and empty parts";

fn is_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    path.bytes().all(allowed) && path.split('/').all(|part| !matches!(part, "" | ".") && !part.contains(".."))
}

/// Splits `config/<name>/files/<place>/<path>`.
pub(super) fn file_of(path: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = path.strip_prefix("config/")?.split_once('/')?;
    let (place, path) = rest.strip_prefix("files/")?.split_once('/')?;
    Some((name, place, path))
}

/// The text of a file, or why it has none.
pub(super) fn text<'a>(snapshot: &'a Snapshot, path: &str) -> Result<&'a str, Problem> {
    match snapshot.text(path) {
        Some(Ok(text)) => Ok(text),
        _ => Err(problem(path, Position::default(), String::new(), "it is not UTF-8".into())),
    }
}
