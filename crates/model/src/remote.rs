//! What manifests name that lies elsewhere: git repositories, files, artifacts of registries, charts.

use crate::chart::ChartSource;
use crate::flow::Snapshot;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What was fetched, by [`Address::key`].
pub type Remotes = BTreeMap<String, Fetched>;

/// What lies at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// A file.
    File(Arc<[u8]>),
    /// The files of a repository or an artifact, from its top.
    Tree(Arc<Snapshot>),
}

/// Something elsewhere, as a kustomization names it. Reading an address reaches nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// As it was written.
    text: String,
    /// What it names.
    pub kind: Kind,
}

/// What an address names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A directory of a git repository.
    Git(Git),
    /// A file; if there is none, and it can be read as one, a directory of a git repository.
    Web(Option<Git>),
    /// A directory of an artifact: `oci://host/name:tag//path`.
    Oci(Artifact),
    /// The archive of a chart, of a version or the newest of a range.
    Chart(ChartSource),
}

/// A directory of a git repository at a reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Git {
    /// What git fetches from.
    pub url: String,
    /// From the top of the repository; empty for the top.
    pub path: String,
    /// Branch, tag or commit; empty for the branch that stands first there.
    pub reference: String,
    /// How long fetching may take.
    pub timeout_s: u64,
    /// Its submodules are fetched too, and theirs.
    pub submodules: bool,
}

/// A directory of an artifact in a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Artifact {
    /// `registry.example/app/manifests:1.2`, with a tag, a digest or both.
    pub name: String,
    /// From the top of the artifact; empty for the top.
    pub path: String,
}

/// How long fetching may take if the address does not say it.
const TIMEOUT_S: u64 = 27;
/// No address may ask for more.
const TIMEOUT_MAX_S: u64 = 600;
/// Of repositories whose address does not say where their path ends: owner and name.
const NAMES_OF_REPOSITORY: usize = 2;

impl Address {
    /// From a text that may name a directory here as well: then there is none.
    pub fn parse(text: &str) -> Option<Self> {
        let kind = match text.strip_prefix("oci://") {
            Some(rest) => {
                // The path follows two slashes, as in addresses of repositories.
                let (name, path) = rest.split_once("//").unwrap_or((rest, ""));
                Kind::Oci(Artifact { name: name.to_owned(), path: inner(path)? })
            }
            None => {
                let is_web = text.starts_with("https://") || text.starts_with("http://");
                match (is_web, Git::parse(text)) {
                    (true, Some(git)) if git_alone(text) => Kind::Git(git),
                    (true, git) => Kind::Web(git),
                    (false, git) => Kind::Git(git?),
                }
            }
        };
        Some(Self { text: text.to_owned(), kind })
    }

    /// Of a chart.
    pub fn chart(source: ChartSource) -> Self {
        Self { text: source.to_string(), kind: Kind::Chart(source) }
    }

    /// Of a repository.
    pub fn repository(git: Git) -> Self {
        Self { text: git.url.clone(), kind: Kind::Git(git) }
    }

    /// What is fetched: equal for all directories of one repository at one reference.
    pub fn key(&self) -> String {
        match &self.kind {
            Kind::Git(git) => {
                let without = if git.submodules { "" } else { "&submodules=false" };
                format!("git {}?ref={}{without}", git.url, git.reference)
            }
            Kind::Web(_) => format!("web {}", self.text),
            Kind::Oci(artifact) => format!("oci {}", artifact.name),
            Kind::Chart(chart) => format!("chart {} {} {}", chart.repository, chart.name, chart.version),
        }
    }

    /// What is fetched, for people.
    pub fn fetched_as(&self) -> String {
        let (what, reference) = match &self.kind {
            Kind::Git(git) | Kind::Web(Some(git)) => (&git.url, git.reference.as_str()),
            Kind::Web(None) => (&self.text, ""),
            Kind::Oci(artifact) => return format!("oci://{}", artifact.name),
            Kind::Chart(_) => (&self.text, ""),
        };
        let at = if reference.is_empty() { String::new() } else { format!("@{reference}") };
        format!("{}{at}", without_passwords(what))
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The host that would be asked, without its port; `None` for files of this machine.
    pub fn host(&self) -> Option<String> {
        let url = match &self.kind {
            Kind::Git(git) => &git.url,
            Kind::Web(_) => &self.text,
            Kind::Oci(artifact) => return Some(host_of(&artifact.name).to_owned()),
            Kind::Chart(chart) => &chart.repository,
        };
        match url.split_once("://") {
            Some(("file", _)) => None,
            Some((_, rest)) => Some(host_of(rest).to_owned()),
            None => Some(host_of(url).to_owned()),
        }
    }

    /// The directory inside of what is fetched, if that is a repository or an artifact.
    pub fn path(&self) -> &str {
        match &self.kind {
            Kind::Git(git) | Kind::Web(Some(git)) => &git.path,
            Kind::Web(None) | Kind::Chart(_) => "",
            Kind::Oci(artifact) => &artifact.path,
        }
    }

    /// The repository, if it can be one.
    pub fn git(&self) -> Option<&Git> {
        match &self.kind {
            Kind::Git(git) | Kind::Web(Some(git)) => Some(git),
            _ => None,
        }
    }

    /// True if it goes over HTTP or to a registry: neither this machine's files nor its keys have a part in it.
    pub fn is_open(&self) -> bool {
        match &self.kind {
            Kind::Git(git) => git.url.starts_with("https://") || git.url.starts_with("http://"),
            Kind::Web(_) | Kind::Oci(_) => true,
            Kind::Chart(chart) => ["https://", "http://", "oci://"].iter().any(|s| chart.repository.starts_with(s)),
        }
    }

    /// True if a password stands in it, for all to read.
    pub fn has_password(&self) -> bool {
        let rest = self.text.split_once("://").map_or(self.text.as_str(), |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_passwords(&self.text))
    }
}

/// A text in which what stands between `://` and `@` is left out.
pub fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(|c: char| c == '/' || c.is_whitespace() || c == '\'' || c == '"').unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(sign) => &after[sign + 1..],
            None => after,
        };
    }
    shown.push_str(rest);
    shown
}

fn host_of(authority: &str) -> &str {
    let authority = authority.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// A path that stays inside.
fn inner(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// True if a web address says by its form that it is a repository: nobody has to look for a file there first.
fn git_alone(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_file = [".yaml", ".yml", ".json"].iter().any(|end| path.ends_with(end));
    let asks = query
        .split('&')
        .any(|pair| matches!(pair.split('=').next(), Some("ref" | "version" | "submodules" | "timeout")));
    path.contains("//")
        || path.contains("_git/")
        || path.contains(".git/")
        || path.ends_with(".git")
        || asks && !is_file
}

impl Git {
    /// Splits an address into what git fetches and the directory in it: at `_git/NAME`, at two slashes, after `.git`, or
    /// else after owner and name; all of it, for a repository on this machine.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return None;
        }
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        let (host, rest) = host_and_path(text)?;
        let (repository, path) = split(rest, host == "file://")?;
        if repository.is_empty() {
            return None;
        }
        let query = Query::read(query);
        let path = inner(path)?;
        let Query { reference, timeout_s, submodules } = query;
        Some(Self { url: format!("{host}{repository}"), path, reference, timeout_s, submodules })
    }
}

/// Where the path begins.
fn host_and_path(text: &str) -> Option<(String, &str)> {
    let text = strip_word(text, "git::").unwrap_or(text);
    let scheme =
        ["ssh://", "https://", "http://", "file://"].into_iter().find(|scheme| strip_word(text, scheme).is_some());
    let rest = &text[scheme.map_or(0, str::len)..];
    if scheme == Some("file://") {
        return Some(("file://".to_owned(), rest));
    }
    let user = rest.split_once('@').map(|(user, _)| user).filter(|user| {
        user.starts_with(|c: char| c.is_ascii_alphabetic())
            && user.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    });
    let after_user = &rest[user.map_or(0, |user| user.len() + 1)..];
    let is_github = ["github.com/", "github.com:"].iter().any(|host| strip_word(after_user, host).is_some());
    // `user@host:path`, which has no scheme.
    let colon = scheme.is_none() && (user.is_some() || is_github);
    if scheme.is_none() && !colon {
        return None;
    }
    let slash = after_user.find('/');
    let end = match after_user.find(':').filter(|at| colon && *at > 0) {
        Some(at) if slash.is_none_or(|slash| at < slash) => at,
        _ => slash?,
    };
    let (host, path) = after_user.split_at(end + 1);
    if is_github {
        let host = match (scheme, user) {
            (Some("ssh://"), user) | (_, user @ Some(_)) => {
                format!("{}github.com:", user.map(|user| format!("{user}@")).unwrap_or_default())
            }
            _ => "https://github.com/".to_owned(),
        };
        return Some((host, path));
    }
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    Some((format!("{}{user}{host}", scheme.unwrap_or_default()), path))
}

fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let start = text.get(..word.len())?;
    start.eq_ignore_ascii_case(word).then(|| &text[word.len()..])
}

fn split(path: &str, whole: bool) -> Option<(&str, &str)> {
    if let Some(at) = path.find("_git/") {
        let name = at + "_git/".len();
        let end = path[name..].find('/').map_or(path.len(), |slash| name + slash);
        return Some((&path[..end], path[end..].trim_start_matches('/')));
    }
    if let Some((repository, path)) = path.split_once("//") {
        return Some((repository, path));
    }
    if let Some(at) = path.find(".git") {
        let end = at + ".git".len();
        return Some((&path[..end], &path[end..]));
    }
    if whole {
        return Some((path, ""));
    }
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    match slashes.nth(NAMES_OF_REPOSITORY - 1) {
        Some(end) => Some((&path[..end], &path[end + 1..])),
        None => (path.split('/').count() == NAMES_OF_REPOSITORY).then_some((path, "")),
    }
}

struct Query {
    reference: String,
    timeout_s: u64,
    submodules: bool,
}

impl Query {
    fn read(query: &str) -> Self {
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).find(|value| !value.is_empty())
        };
        let reference = value("ref").or_else(|| value("version")).unwrap_or_default();
        let timeout = value("timeout").and_then(|text| seconds(&text)).unwrap_or(TIMEOUT_S);
        // What is no word for yes or no counts as not said.
        let no = ["0", "f", "F", "false", "FALSE", "False"];
        let submodules = value("submodules").is_none_or(|word| !no.contains(&word.as_str()));
        Self { reference, timeout_s: timeout.clamp(1, TIMEOUT_MAX_S), submodules }
    }
}

/// `%2F` and `+`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = more.get(..2).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = more;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `61`, `61s`, `1m30s`, `1.5h`.
fn seconds(text: &str) -> Option<u64> {
    if let Ok(number) = text.parse::<u64>() {
        return Some(number);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (total > 0.0).then(|| total.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_named_in_all_the_ways_of_kustomize() {
        for (text, url, path, reference) in [
            ("https://github.com/org/repo", "https://github.com/org/repo", "", ""),
            ("https://github.com/org/repo/a/b?ref=v1", "https://github.com/org/repo", "a/b", "v1"),
            ("https://github.com/org/repo//a/b?version=v1", "https://github.com/org/repo", "a/b", "v1"),
            ("https://github.com/org/repo.git/a?ref=x&version=y", "https://github.com/org/repo.git", "a", "x"),
            ("github.com/org/repo/a", "https://github.com/org/repo", "a", ""),
            ("GitHub.com/org/repo?ref=feature%2Fone", "https://github.com/org/repo", "", "feature/one"),
            ("github.com:org/repo.git//a", "https://github.com/org/repo.git", "a", ""),
            ("git@github.com:org/repo.git//a", "git@github.com:org/repo.git", "a", ""),
            ("git@github.com/org/repo", "git@github.com:org/repo", "", ""),
            ("ssh://git@github.com/org/repo", "git@github.com:org/repo", "", ""),
            ("ssh://github.com/org/repo", "github.com:org/repo", "", ""),
            ("git::https://git.example/org/repo", "https://git.example/org/repo", "", ""),
            ("git::git@git.example:org/repo.git/a", "git@git.example:org/repo.git", "a", ""),
            ("ssh://git@git.example:7999/org/repo.git//a/b/", "ssh://git@git.example:7999/org/repo.git", "a/b", ""),
            ("https://me@dev.example/org/p/_git/repo/a/b?ref=x", "https://me@dev.example/org/p/_git/repo", "a/b", "x"),
            ("https://git.example/a/b/c/repo.git//d", "https://git.example/a/b/c/repo.git", "d", ""),
            ("https://git.example/a/b/c//d", "https://git.example/a/b/c", "d", ""),
            ("file:///srv/repo", "file:///srv/repo", "", ""),
            ("file:///srv/repo//a?ref=x", "file:///srv/repo", "a", "x"),
            ("file:///srv/repo.git/a", "file:///srv/repo.git", "a", ""),
            ("https://git.example:8443/org/repo?ref=a&timeout=5", "https://git.example:8443/org/repo", "", "a"),
        ] {
            let git =
                Address::parse(text).and_then(|address| address.git().cloned()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((git.url.as_str(), git.path.as_str(), git.reference.as_str()), (url, path, reference), "{text}");
        }
    }

    #[test]
    fn submodules_are_fetched_unless_the_address_says_otherwise() {
        for (text, submodules) in [
            ("https://h.example/a/b?ref=x", true),
            ("https://h.example/a/b?submodules=false", false),
            ("https://h.example/a/b.git?ref=x&submodules=0", false),
            ("https://h.example/a/b?submodules=true", true),
            ("https://h.example/a/b?submodules=maybe", true),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.git().map(|git| git.submodules), Some(submodules), "{text}");
            assert_eq!(address.key().ends_with("&submodules=false"), !submodules, "{text}: {}", address.key());
        }
    }

    #[test]
    fn what_is_no_address_names_a_directory_here() {
        for text in [
            "",
            "a",
            "../base",
            "/abs/path",
            "github.com",
            "github.comx/a/b",
            "git.example/org/repo",
            "a@b",
            "git@host",
            "ssh://git.example/repo",
            "git@host.example:a/b//../c",
            "file://",
            "ftp://host/a/b",
            "oci://r/a//../b",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_web_address_is_a_file_unless_it_says_that_it_is_a_repository() {
        for (text, git) in [
            ("https://host.example/a/b/install.yaml", false),
            ("https://host.example/a/b/raw?ref=x.yaml", true),
            ("https://host.example/a/raw/file.yaml?ref=main", false),
            ("https://github.com/org/repo/releases/download/v1/all.yaml", false),
            ("https://github.com/org/repo", false),
            ("https://github.com/org/repo?ref=v1", true),
            ("https://host.example/all", false),
            ("https://host.example/org/repo.git", true),
        ] {
            let kind = Address::parse(text).map(|address| address.kind);
            assert_eq!(matches!(kind, Some(Kind::Git(_))), git, "{text}: {kind:?}");
            assert!(matches!(kind, Some(Kind::Git(_) | Kind::Web(_))), "{text}: {kind:?}");
        }
    }

    #[test]
    fn artifacts_have_a_path_after_two_slashes() {
        let kind = |text| Address::parse(text).map(|address| (address.path().to_owned(), address.key()));
        assert_eq!(kind("oci://r.example/a/b:1//c/d"), Some(("c/d".into(), "oci r.example/a/b:1".into())));
        assert_eq!(kind("oci://r.example/a"), Some((String::new(), "oci r.example/a".into())));
    }

    #[test]
    fn hosts_are_read_without_users_and_ports() {
        for (text, host) in [
            ("https://me:word@git.example:8443/org/repo", Some("git.example")),
            ("git@git.example:org/repo", Some("git.example")),
            ("ssh://git@git.example:22/org/repo", Some("git.example")),
            ("http://[::1]:80/org/repo", Some("::1")),
            ("oci://r.example:5000/a:1", Some("r.example")),
            ("file:///srv/repo", None),
        ] {
            assert_eq!(Address::parse(text).unwrap_or_else(|| panic!("{text}")).host().as_deref(), host, "{text}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        let address = Address::parse("https://me:s3cret@git.example/org/repo.git//a?ref=x").unwrap();
        assert!(address.has_password());
        assert_eq!(address.to_string(), "https://git.example/org/repo.git//a?ref=x");
        assert!(!Address::parse("https://me@git.example/org/repo.git").unwrap().has_password());
        let said = "fatal: unable to access 'https://a:b@c/d/': gone; see ssh://x@y/z and https://plain/@";
        assert_eq!(
            without_passwords(said),
            "fatal: unable to access 'https://c/d/': gone; see ssh://y/z and https://plain/@"
        );
    }

    #[test]
    fn times_are_written_as_numbers_or_durations() {
        for (text, expect) in [
            ("61", Some(61)),
            ("61s", Some(61)),
            ("1m30s", Some(90)),
            ("1.5h", Some(5400)),
            ("500ms", Some(1)),
            ("", None),
            ("s", None),
            ("1", Some(1)),
            ("1x", None),
            ("-1s", None),
        ] {
            assert_eq!(seconds(text), expect, "{text}");
        }
        let timeout = |text| Address::parse(text).and_then(|address| address.git().map(|git| git.timeout_s));
        assert_eq!(timeout("https://h.example/a/b?timeout=99999"), Some(TIMEOUT_MAX_S));
        assert_eq!(timeout("https://h.example/a/b"), Some(TIMEOUT_S));
        assert_eq!(timeout("https://h.example/a/b?timeout=0"), Some(1));
    }
}
