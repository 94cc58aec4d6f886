//! Paths of a kustomization: what it may read, here and elsewhere.

use super::Charts;
use super::files::{Files, Sources, join};
use crate::error::Error;
use model::Snapshot;
use model::chart::ChartSource;
use model::remote::{Address, Fetched, Kind};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// The files that one kustomization sees, and the kustomizations that led to it.
#[derive(Debug, Clone)]
pub(super) struct Loader<'s> {
    sources: Rc<Sources<'s>>,
    files: Files<'s>,
    /// Directories of one snapshot, this one last; empty for its top.
    roots: Vec<String>,
    /// Addresses that led here; the last is where the files lie. None: in the snapshot that is built.
    addresses: Vec<Address>,
    /// Kustomizations that led here.
    depth: usize,
    restricted: bool,
    /// Charts may be rendered, with this.
    pub charts: Option<Rc<Charts>>,
}

/// What is said of paths above the top of the snapshot.
pub(super) const LEADS_OUT: &str = "leads out of the repository";
/// Kustomizations that lead to kustomizations.
const DEPTH_MAX: usize = 64;

impl<'s> Loader<'s> {
    /// For the directory that is built.
    pub fn new(
        snapshot: &'s Snapshot,
        directory: &str,
        restricted: bool,
        sources: Rc<Sources<'s>>,
    ) -> Result<Self, Error> {
        let fail = |problem: String| Error::Kustomization { file: directory.to_owned(), line: 0, problem };
        let files = Files::new(snapshot, true);
        let root = join("", directory).and_then(|path| files.resolve(&sources, &path)).map_err(fail)?;
        if !files.is_directory(&sources, &root) {
            return Err(fail("there is no such directory".into()));
        }
        Ok(Self { sources, files, roots: vec![root], addresses: Vec::new(), depth: 1, restricted, charts: None })
    }

    /// The directory, from the top of the snapshot.
    pub fn root(&self) -> &str {
        self.roots.last().map_or("", String::as_str)
    }

    /// A path as it is told to people.
    pub fn shown(&self, path: &str) -> String {
        if Self::is_web(path) {
            return model::remote::without_passwords(path);
        }
        let path = join(self.root(), path).unwrap_or_else(|_| path.to_owned());
        match self.addresses.last() {
            Some(address) => format!("{} ({path})", address.fetched_as()),
            None => path,
        }
    }

    fn is_web(path: &str) -> bool {
        path.starts_with("http://") || path.starts_with("https://")
    }

    /// From the top of the files that this kustomization sees.
    fn join(&self, path: &str) -> Result<String, String> {
        self.inside(join(self.root(), path))
    }

    fn resolve(&self, path: &str) -> Result<String, String> {
        self.inside(self.files.resolve(&self.sources, &self.join(path)?))
    }

    /// Above a repository elsewhere there is nothing, not even for those who read more than a directory.
    fn inside(&self, path: Result<String, String>) -> Result<String, String> {
        match self.addresses.last() {
            Some(address) => path.map_err(|problem| format!("{problem} {}", address.fetched_as())),
            None => path,
        }
    }

    /// True if a path names something elsewhere that is not at hand.
    pub fn lacks(&self, path: &str) -> bool {
        Address::parse(path)
            .is_some_and(|address| self.circle(&address).is_none() && self.sources.fetched(&address).is_none())
    }

    /// The same repository further down, or at its top: a kustomization there names itself.
    fn circle(&self, address: &Address) -> Option<String> {
        let visited = self.addresses.iter().find(|visited| visited.text().starts_with(address.text()))?;
        Some(format!("{address} leads in a circle: {visited} led here"))
    }

    /// The archive of a chart elsewhere; `None` if it is not at hand.
    pub fn chart(&self, source: ChartSource) -> Option<&'s [u8]> {
        match self.sources.fetched(&Address::chart(source))? {
            Fetched::File(bytes) => Some(bytes),
            Fetched::Tree(_) => None,
        }
    }

    /// For a directory that this kustomization names.
    pub fn enter(&self, path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Err("the path is empty".into());
        }
        if self.depth >= DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} kustomizations lead to {path}"));
        }
        if let Some(address) = Address::parse(path) {
            return self.enter_remote(address);
        }
        if path.starts_with('/') {
            return Err(format!("{path} is absolute; paths are relative to the kustomization"));
        }
        let ambiguous = |part: &str| part.contains("..") && part != "..";
        if path.split('/').any(ambiguous) {
            return Err(format!("{path} has \"..\" inside of a name"));
        }
        let root = self.resolve(path)?;
        if !self.files.is_directory(&self.sources, &root) {
            return Err(format!("{path} is neither a file nor a directory here"));
        }
        if let Some(visited) = self.roots.iter().find(|visited| is_below(visited, &root)) {
            return Err(format!("{path} leads in a circle: {} contains {}", shown(&root), shown(visited)));
        }
        let mut entered = self.clone();
        entered.roots.push(root);
        entered.depth += 1;
        Ok(entered)
    }

    fn enter_remote(&self, address: Address) -> Result<Self, String> {
        if let Some(problem) = self.circle(&address) {
            return Err(problem);
        }
        let snapshot = match self.sources.fetched(&address) {
            Some(Fetched::Tree(snapshot)) => snapshot,
            Some(Fetched::File(_)) => return Err(format!("{address} is a file and no directory")),
            None => return Err(format!("{address} lies elsewhere and was not fetched")),
        };
        let files = Files::new(snapshot, false);
        let root = files.resolve(&self.sources, address.path()).map_err(|problem| format!("{address}: {problem}"))?;
        if !files.is_directory(&self.sources, &root) {
            return Err(format!("{address}: there is no directory {} in it", shown(&root)));
        }
        let mut addresses = self.addresses.clone();
        addresses.push(address);
        Ok(Self {
            sources: self.sources.clone(),
            files,
            roots: vec![root],
            addresses,
            depth: self.depth + 1,
            // What comes from elsewhere is never trusted with more than its own directory.
            restricted: true,
            charts: self.charts.clone(),
        })
    }

    /// True if there is such a file.
    pub fn has(&self, path: &str) -> bool {
        self.join(path).is_ok_and(|path| self.files.get(&self.sources, &path).is_some())
    }

    /// The files of a directory that this kustomization names, from its top; links lead nowhere.
    pub fn below(&self, path: &str) -> Result<BTreeMap<String, Arc<[u8]>>, String> {
        let directory = self.join(path)?;
        if self.restricted && !is_below(&directory, self.root()) {
            return Err(format!("{path} is not below {}, the directory of the kustomization", shown(self.root())));
        }
        Ok(self.files.below(&self.sources, &directory))
    }

    /// The content of a file that this kustomization names.
    pub fn read(&self, path: &str) -> Result<&'s [u8], String> {
        if Self::is_web(path) {
            return self.read_remote(path);
        }
        if path.starts_with('/') {
            return Err(format!("{path} is absolute; paths are relative to the kustomization"));
        }
        let found = self.resolve(path)?;
        let Some(file) = self.files.get(&self.sources, &found) else {
            let is_directory = self.files.is_directory(&self.sources, &found);
            return Err(format!("{path} {}", if is_directory { "is a directory" } else { "does not exist" }));
        };
        if self.restricted && !is_below(&found, self.root()) {
            return Err(format!(
                "{path} is not in or below {}, the directory of the kustomization",
                shown(self.root())
            ));
        }
        Ok(&file.bytes)
    }

    fn read_remote(&self, path: &str) -> Result<&'s [u8], String> {
        let Some(address) = Address::parse(path).filter(|address| matches!(address.kind, Kind::Web(_))) else {
            return Err(format!("{} is a directory", model::remote::without_passwords(path)));
        };
        if let Some(problem) = self.circle(&address) {
            return Err(problem);
        }
        match self.sources.fetched(&address) {
            Some(Fetched::File(bytes)) => Ok(bytes),
            Some(Fetched::Tree(_)) => Err(format!("{address} is a directory")),
            None => Err(format!("{address} lies elsewhere and was not fetched")),
        }
    }
}

fn shown(directory: &str) -> &str {
    if directory.is_empty() { "." } else { directory }
}

/// True for the directory itself too.
fn is_below(path: &str, directory: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
