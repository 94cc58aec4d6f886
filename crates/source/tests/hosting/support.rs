//! A served source in a directory of its own, a receiver that records, and git as a user runs it.

use async_trait::async_trait;
use model::flow::Repository;
use model::ports::{Lines, Push, Pushed, Receiver};
use source::{GitAuth, Limits, Options, Source};
use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Notify;

pub const TOKEN: &str = "s3cret";

pub fn repository(project: &str, name: &str) -> Repository {
    Repository { project: project.parse().unwrap(), name: name.into() }
}

pub fn options(data: &Path) -> Options {
    Options {
        root: data.join("git"),
        run: data.join("run"),
        exe: reexec(data, "support::as_hook"),
        home: data.join("home"),
        instance: "test.instance".into(),
        signing_key: data.join("signing_key"),
        limits: Limits::default(),
    }
}

/// A script that runs one test of this binary as if it were our program, with its arguments in variables.
pub fn reexec(data: &Path, test: &str) -> PathBuf {
    let script = data.join("trimtab");
    let me = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\nREEXEC_NAME=$2 REEXEC_SOCKET=$3 exec '{}' --exact --nocapture {test} >/dev/null\n",
        me.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[test]
fn as_hook() {
    let Ok(name) = std::env::var("REEXEC_NAME") else { return };
    let socket = PathBuf::from(std::env::var("REEXEC_SOCKET").unwrap());
    let code = source::hook_main(&name, &socket);
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

struct Auth;

impl GitAuth for Auth {
    fn authenticate(&self, user: &str, password: &str) -> Option<String> {
        (password == TOKEN).then(|| user.to_owned())
    }
    fn may_read(&self, actor: &str, _: &Repository) -> bool {
        actor != "stranger"
    }
    fn may_write(&self, actor: &str, _: &Repository) -> bool {
        actor != "reader"
    }
}

/// Refuses what holds the file `forbidden`, and tells three lines, the second when it is let go.
#[derive(Default)]
pub struct Recorder {
    pub followed: Mutex<Vec<Push>>,
    pub begun: AtomicUsize,
    pub ended: AtomicUsize,
    pub heard: Mutex<Vec<bool>>,
    pub hold: Mutex<VecDeque<Arc<Notify>>>,
}

#[async_trait]
impl Receiver for Recorder {
    async fn check(&self, push: &Push, pushed: &dyn Pushed) -> Result<(), Vec<String>> {
        for update in &push.updates {
            let Some(new) = &update.new else { continue };
            let snapshot = pushed.snapshot(new, ".").await.map_err(|error| vec![error.to_string()])?;
            if let Some(text) = snapshot.text("forbidden") {
                return Err(vec!["this file is forbidden".into(), format!("it says {}", text.unwrap().trim())]);
            }
        }
        Ok(())
    }
    async fn follow(&self, push: &Push, lines: &dyn Lines) {
        self.followed.lock().unwrap().push(push.clone());
        lines.line("received");
        self.begun.fetch_add(1, Ordering::SeqCst);
        let hold = self.hold.lock().unwrap().pop_front();
        if let Some(hold) = hold {
            hold.notified().await;
        }
        let heard = lines.line("settled");
        self.heard.lock().unwrap().push(heard);
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

pub struct Served {
    pub data: TempDir,
    pub source: Source,
    pub recorder: Arc<Recorder>,
    pub woken: Arc<AtomicUsize>,
    pub address: std::net::SocketAddr,
}

impl Served {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().to_owned();
        let mut served = Self::start_in(&path).await;
        served.data = data;
        served
    }

    /// In a directory that somebody else removes.
    pub async fn start_in(path: &Path) -> Self {
        let source = Source::open(options(path)).await.unwrap();
        let recorder = Arc::new(Recorder::default());
        source.set_receiver(recorder.clone());
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        source.on_change(Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = source.router(Arc::new(Auth));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let data = tempfile::tempdir().unwrap();
        Self { data, source, recorder, woken, address }
    }

    pub fn url(&self, user: &str, token: &str, repository: &Repository) -> String {
        format!("http://{user}:{token}@{}/{repository}.git", self.address)
    }

    /// A working tree with one commit, and the remote `trimtab`.
    pub async fn tree(&self, name: &str, repository: &Repository) -> Tree {
        let path = self.data.path().join(name);
        std::fs::create_dir(&path).unwrap();
        let tree = Tree { path };
        tree.ok(["init", "-q", "-b", "main"]).await;
        tree.ok(["remote", "add", "trimtab", &self.url("alice", TOKEN, repository)]).await;
        tree.commit("README", "one\n").await;
        tree
    }
}

/// A user's working tree.
pub struct Tree {
    pub path: PathBuf,
}

impl Tree {
    pub fn command<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=Alice", "-c", "user.email=alice@example.com"]).args(args);
        command.current_dir(&self.path).kill_on_drop(true);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub async fn git<const N: usize>(&self, args: [&str; N]) -> Output {
        self.command(args).output().await.unwrap()
    }

    /// Must succeed; returns what it printed.
    pub async fn ok<const N: usize>(&self, args: [&str; N]) -> String {
        let output = self.git(args).await;
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Must fail; returns what it complained.
    pub async fn fails<const N: usize>(&self, args: [&str; N]) -> String {
        let output = self.git(args).await;
        assert!(!output.status.success(), "git {args:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub async fn commit(&self, file: &str, text: &str) -> String {
        let path = self.path.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self.ok(["add", "-A"]).await;
        self.ok(["commit", "-q", "-m", &format!("{file}: {}", text.trim())]).await;
        self.ok(["rev-parse", "HEAD"]).await
    }
}

/// Waits for a condition; `state` is shown when it does not come true.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool, state: impl Fn() -> String) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what} did not happen: {}", state());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
