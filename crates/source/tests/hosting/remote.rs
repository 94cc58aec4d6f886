//! What lies elsewhere: a repository on this machine, over `file://` and over HTTP from a server of the test's own.

use crate::ports::write;
use crate::support::{options, repository};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, Uri, header};
use model::Digest;
use model::chart::ChartSource;
use model::flow::{FileMode, Repository, Revision};
use model::ports::{PortError, Repositories as _, Written};
use model::remote::{Address, Fetched};
use source::{Fetcher, Rights, Source};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// `<root>/org/repo.git`, and a working copy of it.
struct Elsewhere {
    root: TempDir,
}

impl Elsewhere {
    fn new() -> Self {
        let elsewhere = Self { root: tempfile::tempdir().unwrap() };
        let tree = elsewhere.tree();
        std::fs::create_dir_all(tree.join("base")).unwrap();
        elsewhere.git(&["init", "-q", "-b", "main", "."]);
        std::fs::write(tree.join("base/kustomization.yaml"), "resources: [a.yaml]\n").unwrap();
        std::os::unix::fs::symlink("../a.yaml", tree.join("base/link")).unwrap();
        elsewhere.commit("one");
        elsewhere.git(&["clone", "-q", "--bare", ".", elsewhere.bare().to_str().unwrap()]);
        elsewhere
    }

    fn tree(&self) -> PathBuf {
        self.root.path().join("tree")
    }

    fn bare(&self) -> PathBuf {
        self.root.path().join("org/repo.git")
    }

    fn git(&self, args: &[&str]) -> String {
        std::fs::create_dir_all(self.tree()).unwrap();
        let mut command = Command::new("git");
        command.args(["-c", "user.name=ada", "-c", "user.email=ada@example.com"]).args(args).current_dir(self.tree());
        let output = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A commit in which `base/a.yaml` says this; its id.
    fn commit(&self, text: &str) -> String {
        std::fs::write(self.tree().join("base/a.yaml"), text).unwrap();
        self.git(&["add", "base"]);
        self.git(&["commit", "-q", "-m", "says something"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn push(&self, what: &str) {
        self.git(&["push", "-q", self.bare().to_str().unwrap(), what]);
    }

    fn fetcher(&self, rights: Rights) -> Fetcher {
        Fetcher::new(self.root.path().to_owned(), rights, crate::support::newest)
    }
}

/// Git over HTTP and some files; nobody signs in.
async fn served(root: &Path) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let root = root.to_owned();
    let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let root = root.clone();
        async move {
            let plain = |kind: &str, text: &str| {
                Response::builder().header(header::CONTENT_TYPE, kind).body(Body::from(text.to_owned())).unwrap()
            };
            match uri.path() {
                "/files/map.yaml" => plain("text/plain", "kind: ConfigMap\n"),
                "/org/page" => plain("text/html; charset=utf-8", "<html>"),
                "/files/large.yaml" => plain("text/plain", &"x".repeat(3 << 20)),
                "/files/away.yaml" => Response::builder()
                    .status(302)
                    .header(header::LOCATION, "http://elsewhere.invalid/map.yaml")
                    .body(Body::empty())
                    .unwrap(),
                path if path.starts_with("/v2/") || path.starts_with("/charts/") => kept_file(&root, path),
                _ => backend(&root, &method, &uri, &headers, &body).await,
            }
        }
    };
    let router = Router::new().fallback(answer);
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{address}"), AbortOnDropHandle::new(task))
}

/// A registry and a repository of charts, as far as they are files.
fn kept_file(root: &Path, path: &str) -> Response<Body> {
    let kind = if path.contains("/manifests/") { "application/vnd.oci.image.manifest.v1+json" } else { "text/plain" };
    match std::fs::read(root.join(&path[1..])) {
        Ok(bytes) => Response::builder().header(header::CONTENT_TYPE, kind).body(Body::from(bytes)).unwrap(),
        Err(_) => Response::builder().status(404).body(Body::empty()).unwrap(),
    }
}

/// Git's own program for web servers.
async fn backend(root: &Path, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", text("content-type"))
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("GIT_PROTOCOL", text("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let body = body.to_vec();
    tokio::spawn(async move { input.write_all(&body).await });
    let output = child.wait_with_output().await.unwrap().stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(output.len());
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut response = Response::builder();
    for line in head.lines() {
        match line.split_once(": ") {
            Some(("Status", status)) => response = response.status(status[..3].parse::<u16>().unwrap()),
            Some((name, value)) => response = response.header(name, value),
            None => {}
        }
    }
    response.body(Body::from(output[(end + 4).min(output.len())..].to_vec())).unwrap()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap_or_else(|| panic!("{text} is no address"))
}

fn says(fetched: &Fetched) -> String {
    match fetched {
        Fetched::Tree(tree) => String::from_utf8(tree.files["base/a.yaml"].bytes.to_vec()).unwrap(),
        Fetched::File(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

#[tokio::test]
async fn repositories_are_fetched_by_branch_tag_and_commit() {
    let elsewhere = Elsewhere::new();
    let first = elsewhere.git(&["rev-parse", "HEAD"]);
    elsewhere.git(&["tag", "-a", "-m", "v1", "v1"]);
    let second = elsewhere.commit("two");
    elsewhere.git(&["branch", "feature/one", &first]);
    for what in ["main", "v1", "feature/one"] {
        elsewhere.push(what);
    }
    let (http, _server) = served(elsewhere.root.path()).await;
    let fetcher = elsewhere.fetcher(Rights::Person);
    let file = format!("file://{}", elsewhere.bare().display());
    for url in [&file, &format!("{http}/org/repo.git")] {
        for (reference, text, commit) in [
            ("", "two", &second),
            ("?ref=main", "two", &second),
            ("?ref=v1", "one", &first),
            ("?version=refs/tags/v1", "one", &first),
            ("?ref=feature%2Fone&timeout=30s&submodules=false", "one", &first),
            (&format!("?ref={first}"), "one", &first),
        ] {
            let found = fetcher.fetch(&address(&format!("{url}//base{reference}"))).await.unwrap();
            assert_eq!((says(&found.fetched).as_str(), &found.resolved), (text, commit), "{url}{reference}");
            let Fetched::Tree(tree) = found.fetched else { panic!("{url} is a repository") };
            let names: Vec<&str> = tree.files.keys().map(String::as_str).collect();
            assert_eq!(names, ["base/a.yaml", "base/kustomization.yaml", "base/link"], "no submodule");
            assert_eq!(tree.files["base/link"].mode, FileMode::Symlink);
        }
    }
    let left: Vec<_> = std::fs::read_dir(elsewhere.root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "scratch directories are gone: {left:?}");
}

#[tokio::test]
async fn what_cannot_be_fetched_says_why_within_its_bounds() {
    let elsewhere = Elsewhere::new();
    let (http, _server) = served(elsewhere.root.path()).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://u:s3cret@{}/org/repo.git?timeout=1", silent.local_addr().unwrap());
    let file = format!("file://{}", elsewhere.bare().display());
    let person = elsewhere.fetcher(Rights::Person);
    let small = Fetcher { bytes_max: 1 << 20, ..person.clone() };
    let few = Fetcher { files_max: 2, ..person.clone() };
    let hosts = elsewhere.fetcher(Rights::Hosts(vec!["127.0.0.1".into(), "git.example".into()]));
    let large: String = (0..400_000).map(|n| format!("{:x}", (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    elsewhere.commit(&large);
    elsewhere.push("main:large");
    for (fetcher, text, reason) in [
        (&person, format!("{file}?ref=none"), "none"),
        (&person, "file:///nowhere/repo.git".into(), "/nowhere/repo.git"),
        (&person, format!("{file}?ref=a:b"), "is no name of a branch"),
        (&person, format!("{file}?ref=--upload-pack%3Dtrue"), "is no name of a branch"),
        (&person, silent, "no end after 1 s"),
        (&person, format!("{http}/org/none.git"), "cannot be fetched"),
        (&person, format!("{http}/none.yaml"), "404"),
        (&person, format!("{http}/org/page/of/none"), "cannot be fetched"),
        (&small, format!("{file}?ref=large"), "1 MiB, which is the limit"),
        (&small, format!("{http}/files/large.yaml"), "larger than 1 MiB"),
        (&few, file.clone(), "more than 2 files"),
        (&hosts, format!("{http}/files/away.yaml"), "leads to elsewhere.invalid, which project.yaml does not allow"),
        (&hosts, "https://other.example/a.yaml".into(), "would have to say `remotes: [other.example]`"),
        (&hosts, "git@git.example:org/repo".into(), "only https:// and http:// are fetched"),
        (&hosts, file.clone(), "only https:// and http:// are fetched"),
        (&hosts, "https://me:s3cret@git.example/org/repo.git".into(), "a password stands in the address"),
    ] {
        let started = Instant::now();
        let error = match fetcher.fetch(&address(&text)).await {
            Ok(_) => panic!("{text} was fetched, though: {reason}"),
            Err(error) => PortError::from(error).to_string(),
        };
        assert!(error.contains(reason), "{text}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
        assert!(started.elapsed().as_secs() < 20, "{text}: {:?}", started.elapsed());
    }
    let found = person.fetch(&address(&format!("{http}/files/map.yaml"))).await.unwrap();
    assert_eq!(says(&found.fetched), "kind: ConfigMap\n");
    assert!(found.resolved.starts_with("sha256:"), "{}", found.resolved);
}

async fn hosted(data: &TempDir) -> (Source, Repository, Vec<Revision>) {
    let source = Source::open(options(data.path())).await.unwrap();
    let web = repository("shop", "web");
    source.create(&web).await.unwrap();
    let mut revisions: Vec<Revision> = Vec::new();
    for text in ["1", "2", "3"] {
        let before = revisions.last().map(|revision| &revision.commit);
        let Written::Commit(commit) = source.write(&web, &write(before, &[("a", Some(text))], text)).await.unwrap()
        else {
            panic!("nobody else writes")
        };
        revisions.push(Revision { repository: web.clone(), commit });
    }
    (source, web, revisions)
}

#[tokio::test]
async fn the_first_answer_to_a_revision_holds_for_good() {
    let elsewhere = Elsewhere::new();
    let (http, server) = served(elsewhere.root.path()).await;
    let data = tempfile::tempdir().unwrap();
    let (source, web, revisions) = hosted(&data).await;
    let base = address(&format!("{http}/org/repo.git//base?ref=main"));
    let file = address(&format!("{http}/files/map.yaml"));
    let hosts = ["127.0.0.1".to_owned()];
    assert_eq!(says(&source.elsewhere(&revisions[0], &base, &hosts).await.unwrap()), "one");
    assert_eq!(says(&source.elsewhere(&revisions[0], &file, &hosts).await.unwrap()), "kind: ConfigMap\n");
    // Nothing moved there: the second revision has the very same commit.
    assert_eq!(says(&source.elsewhere(&revisions[1], &base, &hosts).await.unwrap()), "one");
    elsewhere.commit("two");
    elsewhere.push("main");
    let kept = |at: usize| format!("refs/trimtab/remote/{}/", revisions[at].commit);
    let references = source.references(&web).await.unwrap();
    let ids = |at: usize| -> Vec<&str> {
        let of = references.iter().filter(|reference| reference.name.starts_with(&kept(at)));
        of.map(|reference| reference.id.as_str()).collect()
    };
    assert_eq!((ids(0).len(), ids(1).len()), (2, 1));
    assert!(ids(0).contains(&ids(1)[0]), "it was not fetched again");
    assert_eq!(says(&source.elsewhere(&revisions[2], &base, &hosts).await.unwrap()), "two");
    // Whatever became of it, and whatever is allowed now.
    drop(server);
    drop(source);
    let source = Source::open(options(data.path())).await.unwrap();
    for (at, text) in [(0, "one"), (1, "one"), (2, "two")] {
        assert_eq!(says(&source.elsewhere(&revisions[at], &base, &[]).await.unwrap()), text);
    }
    let again = source.elsewhere(&revisions[1], &file, &hosts).await;
    assert!(matches!(again, Err(PortError::Transient(_))), "{again:?}");
    let forbidden = source.elsewhere(&revisions[1], &file, &[]).await;
    assert!(
        matches!(&forbidden, Err(PortError::Terminal(why)) if why.contains("remotes: [127.0.0.1]")),
        "{forbidden:?}"
    );
}

/// Puts an artifact with one file into the registry.
fn push_artifact(root: &Path, tag: &str, text: &str) {
    let put = |path: String, bytes: &[u8]| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "base/a.yaml", text.as_bytes()).unwrap();
    let part = |bytes: &[u8], kind: &str| {
        let digest = Digest::of(bytes);
        put(format!("v2/shop/manifests/blobs/{digest}"), bytes);
        format!("{{\"mediaType\":\"{kind}\",\"digest\":\"{digest}\",\"size\":{}}}", bytes.len())
    };
    let layer = part(&tar.into_inner().unwrap(), "application/vnd.cncf.flux.content.v1.tar");
    let config = part(b"{}", "application/vnd.cncf.flux.config.v1+json");
    let manifest = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{config},\"layers\":[{layer}]}}"
    );
    put(format!("v2/shop/manifests/manifests/{tag}"), manifest.as_bytes());
}

#[tokio::test]
async fn artifacts_of_registries_are_kept_with_the_commit_that_names_them() {
    let root = tempfile::tempdir().unwrap();
    push_artifact(root.path(), "1.0", "one");
    let (http, server) = served(root.path()).await;
    let data = tempfile::tempdir().unwrap();
    let (source, web, revisions) = hosted(&data).await;
    let base = address(&format!("oci://{}/shop/manifests:1.0//base", http.trim_start_matches("http://")));
    let hosts = ["127.0.0.1".to_owned()];
    for revision in &revisions[..2] {
        assert_eq!(says(&source.elsewhere(revision, &base, &hosts).await.unwrap()), "one");
    }
    push_artifact(root.path(), "1.0", "two");
    assert_eq!(says(&source.elsewhere(&revisions[2], &base, &hosts).await.unwrap()), "two");
    let references = source.references(&web).await.unwrap();
    let mut kept: Vec<&str> = references
        .iter()
        .filter(|reference| reference.name.starts_with("refs/trimtab/remote/"))
        .map(|reference| reference.id.as_str())
        .collect();
    kept.sort_unstable();
    kept.dedup();
    assert_eq!(kept.len(), 2, "the same artifact is kept once");
    drop(server);
    for (at, text) in [(0, "one"), (1, "one"), (2, "two")] {
        assert_eq!(says(&source.elsewhere(&revisions[at], &base, &[]).await.unwrap()), text);
    }
}

#[tokio::test]
async fn charts_are_kept_with_the_commit_that_names_them() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("charts")).unwrap();
    let index = |versions: &[&str]| {
        let offers = versions.iter().map(|version| format!("  - {{version: {version}, urls: ['db-{version}.tgz']}}\n"));
        let text = format!("apiVersion: v1\nentries:\n  db:\n{}", offers.collect::<String>());
        std::fs::write(root.path().join("charts/index.yaml"), text).unwrap();
        for version in versions {
            std::fs::write(root.path().join(format!("charts/db-{version}.tgz")), version).unwrap();
        }
    };
    index(&["1.0.0"]);
    let (http, server) = served(root.path()).await;
    let data = tempfile::tempdir().unwrap();
    let (source, _, revisions) = hosted(&data).await;
    let chart =
        |repository: String| Address::chart(ChartSource { repository, name: "db".into(), version: "^1".into() });
    let db = chart(format!("{http}/charts"));
    let hosts = ["127.0.0.1".to_owned()];
    let bytes = |fetched: Fetched| match fetched {
        Fetched::File(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(bytes(source.elsewhere(&revisions[0], &db, &hosts).await.unwrap()), "1.0.0");
    index(&["1.0.0", "1.1.0"]);
    assert_eq!(bytes(source.elsewhere(&revisions[0], &db, &hosts).await.unwrap()), "1.0.0");
    assert_eq!(bytes(source.elsewhere(&revisions[1], &db, &hosts).await.unwrap()), "1.1.0");
    // An index that leads to another host.
    let away = "apiVersion: v1\nentries:\n  db:\n  - {version: 1.0.0, urls: ['http://elsewhere.invalid/db.tgz']}\n";
    std::fs::write(root.path().join("charts/index.yaml"), away).unwrap();
    let refused = source.elsewhere(&revisions[2], &db, &hosts).await.unwrap_err().to_string();
    assert!(refused.contains("leads to elsewhere.invalid"), "{refused}");
    let refused = source.elsewhere(&revisions[2], &chart("https://charts.example".into()), &hosts).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("remotes: [charts.example]"), "{refused}");
    drop(server);
    assert_eq!(bytes(source.elsewhere(&revisions[0], &db, &[]).await.unwrap()), "1.0.0");
}

/// A repository beside it with one file, `<root>/org/<name>.git`; its commit.
fn beside(elsewhere: &Elsewhere, name: &str, files: &[(&str, &str)], link: Option<(&str, &str)>) -> String {
    let tree = elsewhere.root.path().join(name);
    std::fs::create_dir_all(&tree).unwrap();
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=ada", "-c", "user.email=ada@example.com"]).args(args).current_dir(&tree);
        let output = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q", "-b", "main", "."]);
    for (path, text) in files {
        std::fs::write(tree.join(path), text).unwrap();
    }
    git(&["add", "."]);
    if let Some((path, commit)) = link {
        git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]);
    }
    git(&["commit", "-q", "-m", "says something"]);
    let commit = git(&["rev-parse", "HEAD"]);
    // A later one: the commit is asked for by its id, or found on its branch.
    git(&["commit", "-q", "--allow-empty", "-m", "and more"]);
    let bare = elsewhere.root.path().join(format!("org/{name}.git"));
    git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    commit
}

#[tokio::test]
async fn submodules_and_theirs_are_fetched_from_allowed_hosts_unless_the_address_says_otherwise() {
    let elsewhere = Elsewhere::new();
    let (http, _server) = served(elsewhere.root.path()).await;
    let innermost = beside(&elsewhere, "innermost", &[("b.yaml", "innermost")], None);
    let modules = format!("[submodule \"in\"]\n\tpath = in\n\turl = {http}/org/innermost.git\n");
    let inner =
        beside(&elsewhere, "inner", &[("a.yaml", "inner"), (".gitmodules", &modules)], Some(("in", &innermost)));
    std::fs::write(elsewhere.tree().join(".gitmodules"), "[submodule \"s\"]\n\tpath = lib/sub\n\turl = ../inner.git\n")
        .unwrap();
    elsewhere.git(&["add", ".gitmodules"]);
    elsewhere.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{inner},lib/sub")]);
    elsewhere.commit("with a submodule");
    elsewhere.push("main");
    let here = Rights::Hosts(vec!["127.0.0.1".into()]);
    let tree = async |text: String, rights: Rights| match elsewhere.fetcher(rights).fetch(&address(&text)).await {
        Ok(found) => match found.fetched {
            Fetched::Tree(tree) => Ok(tree),
            Fetched::File(_) => panic!("{text} is a repository"),
        },
        Err(error) => Err(error.to_string()),
    };
    let says =
        |tree: &model::Snapshot, path: &str| tree.files.get(path).map(|f| String::from_utf8(f.bytes.to_vec()).unwrap());
    let repository = format!("{http}/org/repo.git");
    for rights in [Rights::Person, here.clone()] {
        let whole = tree(repository.clone(), rights).await.unwrap();
        assert_eq!(says(&whole, "lib/sub/a.yaml").as_deref(), Some("inner"), "the address begins where it lies");
        assert_eq!(says(&whole, "lib/sub/in/b.yaml").as_deref(), Some("innermost"));
        assert_eq!(says(&whole, "base/a.yaml").as_deref(), Some("with a submodule"));
    }
    let without = tree(format!("{repository}?submodules=false"), here.clone()).await.unwrap();
    assert!(says(&without, "lib/sub/a.yaml").is_none() && says(&without, ".gitmodules").is_some());

    // What one names is no more allowed than what a manifest names.
    let modules = |url: &str| format!("[submodule \"s\"]\n\tpath = lib/sub\n\turl = {url}\n");
    let refused = async |text: &str, rights: Rights| {
        std::fs::write(elsewhere.tree().join(".gitmodules"), text).unwrap();
        elsewhere.git(&["add", "-A", ".gitmodules"]);
        elsewhere.commit(text);
        elsewhere.push("main");
        tree(repository.clone(), rights).await.unwrap_err()
    };
    let told = refused(&modules("https://other.example/org/x.git"), here.clone()).await;
    for words in ["remotes: [other.example]", "submodule lib/sub", "?submodules=false"] {
        assert!(told.contains(words), "{words:?} is missing in: {told}");
    }
    let told = refused(&modules(&format!("file://{}", elsewhere.bare().display())), here.clone()).await;
    assert!(told.contains("only https:// and http://"), "{told}");
    let told = tree(repository.clone(), Rights::Person).await.unwrap_err();
    assert!(told.contains("'file' not allowed"), "as git has it: {told}");
    let told = refused("", here).await;
    assert!(told.contains("no address of submodule lib/sub") && told.contains("?submodules=false"), "{told}");
}
