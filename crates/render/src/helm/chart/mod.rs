//! Charts as they stand in files: read once, rendered often.

mod archive;
mod freeze;
mod ignore;
mod metadata;

pub(super) use archive::unpack;
pub(super) use metadata::{Dependency, Metadata};

use super::Error;
use super::functions::{Go, to_yaml};
use super::manifest::Head;
pub(super) use ignore::Rules;
use jsonschema::Validator;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use template::{Frozen, Map, Pairs, Parsed, Value};
use yaml::Dialect;

/// A file of a chart.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// From the top of its chart.
    pub name: String,
    /// Its content, without a mark of byte order.
    pub bytes: Arc<[u8]>,
}

/// A template as it is parsed: the chart and what was parsed of it share the text.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// From the top of its chart.
    pub name: String,
    /// Its content.
    pub text: Arc<str>,
}

/// A chart and those below it.
#[derive(Debug)]
pub(super) struct Tree {
    pub metadata: Metadata,
    /// `values.yaml`.
    pub values: Pairs,
    /// `values.schema.json`.
    pub schema: Option<Arc<[u8]>>,
    pub templates: Vec<Template>,
    /// What is none of the others.
    pub files: Vec<File>,
    pub dependencies: Vec<Arc<Tree>>,
}

/// A chart: what was read, and what was learned of it by rendering. Renders of one chart share the parsed templates.
#[derive(Debug)]
pub struct Chart {
    pub(super) tree: Arc<Tree>,
    pub(super) texts: Arc<Texts>,
}

/// Texts that were parsed, and keys that were made.
#[derive(Debug, Default)]
pub(super) struct Texts {
    known: Mutex<HashMap<Arc<str>, Arc<Parsed>>>,
    files: Mutex<HashMap<(String, usize), Arc<Parsed>>>,
    keys: Mutex<HashMap<[u64; 3], Arc<str>>>,
    /// By the address of their texts, which the chart keeps.
    schemas: Mutex<HashMap<usize, Arc<Validator>>>,
    /// By digests of the documents that they stand in: most are the same in each render.
    heads: Mutex<HashMap<[u8; 32], Arc<Head>>>,
    /// Renders that were begun: of most charts there is one, and nothing need be kept of its documents.
    renders: AtomicUsize,
}

/// What is kept of documents and keys; they follow from values, so there must be a bound.
const TEXTS_MAX: usize = 4_000;
/// Texts out of values that are kept with what was parsed of them: some KiB each.
const PARSED_MAX: usize = 500;
/// Charts inside of charts.
const DEPTH_MAX: usize = 30;
/// The largest file, as Helm has it.
pub(super) const FILE_MAX: usize = 5 << 20;
/// The largest chart, as Helm has it.
pub(super) const CHART_MAX: usize = 100 << 20;

impl Texts {
    /// A render begins.
    pub fn begin(&self) {
        self.renders.fetch_add(1, Ordering::Relaxed);
    }

    /// A text that was given as a value.
    pub fn parsed(
        &self,
        text: &Arc<str>,
        parse: &dyn Fn(&Arc<str>) -> Result<Parsed, String>,
    ) -> Result<Arc<Parsed>, String> {
        let lock = || self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(parsed) = lock().get(text) {
            return Ok(Arc::clone(parsed));
        }
        let parsed = Arc::new(parse(text)?);
        let mut known = lock();
        if known.len() >= PARSED_MAX {
            known.clear();
        }
        known.insert(Arc::clone(text), Arc::clone(&parsed));
        Ok(parsed)
    }

    /// What is looked at of a document.
    pub fn head(&self, text: &str, read: impl Fn(&str) -> Result<Head, String>) -> Result<Arc<Head>, String> {
        if self.renders.load(Ordering::Relaxed) < 2 {
            return read(text).map(Arc::new);
        }
        let digest: [u8; 32] = Sha256::digest(text).into();
        let lock = || self.heads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(head) = lock().get(&digest) {
            return Ok(Arc::clone(head));
        }
        let head = Arc::new(read(text)?);
        let mut heads = lock();
        if heads.len() >= TEXTS_MAX {
            heads.clear();
        }
        heads.insert(digest, Arc::clone(&head));
        Ok(head)
    }

    /// A schema that values are held against; the chart has its text.
    pub fn schema(
        &self,
        text: &Arc<[u8]>,
        read: impl Fn(&[u8]) -> Result<Validator, String>,
    ) -> Result<Arc<Validator>, String> {
        let lock = || self.schemas.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = text.as_ptr().addr();
        if let Some(validator) = lock().get(&key) {
            return Ok(Arc::clone(validator));
        }
        let validator = Arc::new(read(text)?);
        lock().insert(key, Arc::clone(&validator));
        Ok(validator)
    }

    /// A key that was made of a seed.
    pub fn key(&self, label: &[u64; 3]) -> Option<Arc<str>> {
        self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(label).cloned()
    }

    /// Keeps a key.
    pub fn keep(&self, label: [u64; 3], key: Arc<str>) {
        let mut keys = self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if keys.len() >= TEXTS_MAX {
            keys.clear();
        }
        keys.insert(label, key);
    }

    /// A file of the chart, under its path in the whole.
    pub fn file(
        &self,
        path: &str,
        text: &Arc<str>,
        parse: &dyn Fn(&Arc<str>) -> Result<Parsed, String>,
    ) -> Result<Arc<Parsed>, String> {
        // The chart keeps its text, so that its address names it.
        let key = (path.to_owned(), text.as_ptr().addr());
        let lock = || self.files.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(parsed) = lock().get(&key) {
            return Ok(Arc::clone(parsed));
        }
        let parsed = Arc::new(parse(text)?);
        lock().insert(key, Arc::clone(&parsed));
        Ok(parsed)
    }
}

impl Chart {
    /// Reads a directory: paths from its top, with `/`, and their contents.
    ///
    /// # Errors
    /// What is missing or wrong in which file.
    pub fn load(files: &BTreeMap<String, Arc<[u8]>>) -> Result<Self, Error> {
        let rules = match files.get(".helmignore") {
            Some(bytes) => Rules::parse(&String::from_utf8_lossy(bytes)).map_err(Error::Chart)?,
            None => Rules::parse("").map_err(Error::Chart)?,
        };
        let mut kept: Vec<File> = Vec::with_capacity(files.len());
        // A walk over a directory sees its entries by name, not whole paths.
        let mut paths: Vec<(&String, &Arc<[u8]>)> = files.iter().collect();
        paths.sort_by(|(a, _), (b, _)| a.split('/').cmp(b.split('/')));
        for (name, bytes) in paths {
            if rules.ignores(name) {
                continue;
            }
            if bytes.len() > FILE_MAX {
                return Err(Error::Chart(format!(
                    "chart file {name:?} is larger than the maximum file size {FILE_MAX}"
                )));
            }
            kept.push(File { name: name.clone(), bytes: without_mark(bytes) });
        }
        Self::of(kept)
    }

    /// Reads an archive, `.tgz`.
    ///
    /// # Errors
    /// As [`Chart::load`]; and if it is too large, or holds paths that lead out of it.
    pub fn unpack(archive: &[u8]) -> Result<Self, Error> {
        Self::of(unpack(archive).map_err(Error::Chart)?)
    }

    fn of(files: Vec<File>) -> Result<Self, Error> {
        let tree = Arc::new(tree(files, 0).map_err(Error::Chart)?);
        Ok(Self { tree, texts: Arc::default() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.tree.metadata.name
    }

    /// Its own values, as YAML.
    pub(crate) fn own_values(&self) -> String {
        to_yaml(&Value::Map(Map::thawed(&self.tree.values)))
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.tree.metadata.version
    }
}

fn without_mark(bytes: &Arc<[u8]>) -> Arc<[u8]> {
    match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => rest.into(),
        None => Arc::clone(bytes),
    }
}

/// What is wrong with a YAML file of a chart.
fn unloadable(name: &str) -> impl Fn(yaml::Error) -> String {
    move |error| {
        format!("cannot load {name}: error converting YAML to JSON: yaml: line {}: {}", error.line, error.reason())
    }
}

fn utf8<'b>(bytes: &'b [u8], name: &str) -> Result<&'b str, String> {
    std::str::from_utf8(bytes).map_err(|_| format!("cannot load {name}: it is not UTF-8"))
}

/// A YAML file as JSON; nothing if it is empty.
pub(super) fn yaml_file(bytes: &[u8], name: &str) -> Result<serde_json::Value, String> {
    let value = yaml::value_in(utf8(bytes, name)?, name, Dialect::V2).map_err(unloadable(name))?;
    Ok(value.unwrap_or(serde_json::Value::Null))
}

/// `values.yaml`.
fn own_values(bytes: &[u8]) -> Result<Pairs, String> {
    let name = "values.yaml";
    let made = yaml::made_in(utf8(bytes, name)?, name, Dialect::V2, &mut freeze::Freeze::new());
    match made.map_err(unloadable(name))? {
        Some(Frozen::Map(pairs)) => Ok(pairs),
        None | Some(Frozen::Nil) => Ok(Arc::from([])),
        Some(_) => Err(format!("cannot load {name}: error unmarshaling JSON: it is no map")),
    }
}

/// Values from a file, for `--values`.
pub(super) fn values_file(text: &str, name: &str) -> Result<Value, String> {
    let fail = |error: yaml::Error| {
        format!("failed to parse {name}: error converting YAML to JSON: yaml: line {}: {}", error.line, error.reason())
    };
    Ok(yaml::made_in(text, name, Dialect::V2, &mut Go).map_err(fail)?.unwrap_or(Value::Nil))
}

fn tree(files: Vec<File>, depth: usize) -> Result<Tree, String> {
    if depth > DEPTH_MAX {
        return Err(format!("charts are nested deeper than {DEPTH_MAX} levels"));
    }
    let Some(own) = files.iter().rfind(|file| file.name == "Chart.yaml") else {
        return Err("Chart.yaml file is missing".into());
    };
    let mut metadata = Metadata::parse(&own.bytes, "Chart.yaml")?;
    let mut tree = Tree {
        metadata: Metadata::default(),
        values: Arc::from([]),
        schema: None,
        templates: Vec::new(),
        files: Vec::new(),
        dependencies: Vec::new(),
    };
    let mut below: BTreeMap<String, Vec<File>> = BTreeMap::new();
    for file in files {
        let name = file.name.as_str();
        match name {
            "Chart.yaml" => {}
            "Chart.lock" => drop(yaml_file(&file.bytes, name)?),
            "values.yaml" => tree.values = own_values(&file.bytes)?,
            "values.schema.json" => tree.schema = Some(file.bytes),
            "requirements.yaml" => {
                metadata.add_requirements(&file.bytes)?;
                if metadata.api_version == "v1" {
                    tree.files.push(file);
                }
            }
            "requirements.lock" => {
                if metadata.api_version == "v1" {
                    tree.files.push(file);
                }
            }
            _ if name.starts_with("templates/") => {
                let text = template::text_of(&file.bytes);
                tree.templates.push(Template { name: file.name, text });
            }
            _ if name.starts_with("charts/") => {
                if name.ends_with(".prov") {
                    tree.files.push(file);
                    continue;
                }
                let rest = &name["charts/".len()..];
                let first = rest.split('/').next().unwrap_or(rest).to_owned();
                let inner = File { name: rest.to_owned(), bytes: file.bytes };
                below.entry(first).or_default().push(inner);
            }
            _ => tree.files.push(file),
        }
    }
    metadata.validate()?;
    for (name, files) in below {
        if name.starts_with(['_', '.']) {
            continue;
        }
        let wrapped = |error: String| format!("error unpacking subchart {name} in {}: {error}", metadata.name);
        let files = if name.ends_with(".tgz") {
            let file = &files[0];
            if file.name != name {
                return Err(format!(
                    "error unpacking subchart tar in {}: expected {name}, got {}",
                    metadata.name, file.name
                ));
            }
            unpack(&file.bytes).map_err(wrapped)?
        } else {
            let inner = |file: File| {
                let (_, rest) = file.name.split_once('/')?;
                Some(File { name: rest.to_owned(), bytes: file.bytes })
            };
            files.into_iter().filter_map(inner).collect()
        };
        tree.dependencies.push(Arc::new(self::tree(files, depth + 1).map_err(wrapped)?));
    }
    tree.metadata = metadata;
    Ok(tree)
}
