//! A served source in a directory of its own, a receiver that records, and git as a user runs it.

use async_trait::async_trait;
use model::flow::Repository;
use model::people::{Grant, Person};
use model::ports::{Lines, Proposal, Proposed, Push, Pushed, Receiver};
use source::{GitAuth, Limits, Options, PublicKey, Source, SshLimits};
use std::collections::{HashMap, VecDeque};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

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
        newest,
        limits: Limits::default(),
    }
}

/// The last one that is there, whatever the range.
pub fn newest(_: &str, versions: &[String]) -> Result<Option<String>, String> {
    Ok(versions.last().cloned())
}

/// A script that runs one test of this binary as if it were our program, with its arguments in variables.
pub fn reexec(data: &Path, test: &str) -> PathBuf {
    let script = data.join("trimtab");
    let me = std::env::current_exe().unwrap();
    // What `proc-receive` says on standard output is for git: all but the words of the test runner, which come first.
    let me = me.display();
    let text = format!(
        "#!/bin/sh\nexport REEXEC_NAME=$2 REEXEC_SOCKET=$3\nif [ \"$2\" = proc-receive ]; then\n  '{me}' --exact --nocapture {test} \
         | dd bs=1 skip=16 status=none\nelse\n  exec '{me}' --exact --nocapture {test} >/dev/null\nfi\n",
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

/// Everybody with the token, by the name that they give; people with keys, by fingerprint.
#[derive(Default)]
pub struct Auth {
    pub keys: Mutex<HashMap<String, Person>>,
}

/// Somebody with a role in the project shop, perhaps on some branches only.
pub fn person(name: &str, role: &str, branches: &[&str]) -> Person {
    let grant = Grant {
        role: role.parse().unwrap(),
        project: Some("shop".parse().unwrap()),
        branches: branches.iter().map(|branch| branch.parse().unwrap()).collect(),
        environments: Vec::new(),
    };
    Person { name: name.into(), grants: vec![grant], read_only: false }
}

impl GitAuth for Auth {
    fn password(&self, user: &str, password: &str) -> Option<Person> {
        let role = match user {
            "reader" => "viewer",
            _ => "operator",
        };
        let person = person(user, role, &[]);
        let grants = if user == "stranger" { Vec::new() } else { person.grants };
        (password == TOKEN).then_some(Person { grants, ..person })
    }
    fn key(&self, fingerprint: &str) -> Option<Person> {
        self.keys.lock().unwrap().get(fingerprint).cloned()
    }
}

/// Refuses what holds the file `forbidden`, and tells three lines, the second when it is let go.
#[derive(Default)]
pub struct Recorder {
    pub followed: Mutex<Vec<Push>>,
    pub proposed: Mutex<Vec<Proposal>>,
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
    async fn propose(&self, proposal: &Proposal) -> Result<Proposed, Vec<String>> {
        if proposal.options.iter().any(|option| option == "topic=no") {
            return Err(vec!["not this topic".into(), "choose another".into()]);
        }
        self.proposed.lock().unwrap().push(proposal.clone());
        let reference = "refs/changes/1/head".to_owned();
        Ok(Proposed { reference, before: None, lines: vec!["it is Change 1".into()] })
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
    pub auth: Arc<Auth>,
    /// Where SSH is served, after [`Served::ssh`].
    pub ssh: Option<std::net::SocketAddr>,
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
        Self::start_with(options(path)).await
    }

    pub async fn start_with(options: Options) -> Self {
        let source = Source::open(options).await.unwrap();
        let recorder = Arc::new(Recorder::default());
        source.set_receiver(recorder.clone());
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        source.on_change(Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let auth = Arc::new(Auth::default());
        let router = source.router(auth.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let data = tempfile::tempdir().unwrap();
        Self { data, source, recorder, woken, address, auth, ssh: None }
    }

    /// Serves SSH too, and makes its host known in `data/known_hosts`.
    pub async fn ssh(&mut self, limits: SshLimits) {
        let server = self.source.ssh(&self.data.path().join("keys/ssh_host_ed25519"), limits).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = format!("[{}]:{} {}\n", address.ip(), address.port(), server.host_key().line);
        std::fs::write(self.data.path().join("known_hosts"), line).unwrap();
        tokio::spawn(server.serve(listener, self.auth.clone(), CancellationToken::new()));
        self.ssh = Some(address);
    }

    /// A key pair as `ssh-keygen` makes it; the path is the private one.
    pub fn key(&self, name: &str) -> PathBuf {
        let path = self.data.path().join(format!("key-{name}"));
        let mut command = std::process::Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path);
        assert!(command.status().unwrap().success());
        path
    }

    /// Registers a new key.
    pub fn register(&self, person: Person) -> PathBuf {
        let path = self.key(&person.name);
        self.auth.keys.lock().unwrap().insert(fingerprint(&path), person);
        path
    }

    /// `ssh` with nobody's configuration and this key.
    pub fn ssh_command(&self, key: &Path) -> String {
        let known = self.data.path().join("known_hosts");
        format!(
            "ssh -F /dev/null -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes \
             -o IdentityAgent=none -o LogLevel=INFO -i {}",
            known.display(),
            key.display()
        )
    }

    pub fn ssh_url(&self, repository: &Repository) -> String {
        format!("ssh://git@{}/{repository}.git", self.ssh.unwrap())
    }

    /// `ssh` itself, with further arguments.
    pub async fn ssh_run(&self, key: &Path, options: &str, rest: &str) -> Output {
        let address = self.ssh.unwrap();
        let line = format!("{} {options} -p {} git@{} {rest}", self.ssh_command(key), address.port(), address.ip());
        let mut command = Command::new("sh");
        command.args(["-c", &line]).stdin(Stdio::null()).kill_on_drop(true);
        command.output().await.unwrap()
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

/// Of the public half.
pub fn fingerprint(key: &Path) -> String {
    PublicKey::parse(&std::fs::read_to_string(key.with_extension("pub")).unwrap()).unwrap().fingerprint
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
