//! A new program takes the place of a running one, and nobody who asks anything of it meanwhile notices.

use crate::harness::Home;
use crate::kills::gateways;
use crate::rollouts::{load::Load, two_builds};
use crate::survival::containers;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// For any answer: those who come while the place changes hands wait in the socket.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Between two requests of one caller.
const INTERVAL: Duration = Duration::from_millis(25);

/// Everybody who talks to the control process, each in a thread, until they are stopped.
struct Callers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answered: Mutex<BTreeMap<&'static str, u64>>,
    failures: Mutex<Vec<String>>,
    pushes: AtomicU64,
}

impl Shared {
    fn call(&self, who: &'static str, mut once: impl FnMut() -> Result<(), String>) {
        while !self.stop.load(Ordering::SeqCst) {
            match once() {
                Ok(()) => *self.answered.lock().unwrap().entry(who).or_default() += 1,
                Err(why) => self.failures.lock().unwrap().push(format!("{who}: {why}")),
            }
            std::thread::sleep(INTERVAL);
        }
    }
}

impl Callers {
    fn start(home: &Home) -> Self {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        let mut caller = |who, once: Box<dyn FnMut() -> Result<(), String> + Send>| {
            let shared = shared.clone();
            threads.push(std::thread::spawn(move || shared.call(who, once)));
        };
        let token = fs::read_to_string(home.data().join("admin.token")).unwrap();
        let (control, kubernetes) = (home.address("control"), home.address("kubernetes"));
        let (address, secret) = (control.clone(), token.clone());
        caller("API, fresh", Box::new(move || request(&mut None, &address, &secret, true).map_err(text)));
        let (address, secret, mut kept) = (control, token.clone(), None);
        caller("API, kept", Box::new(move || request(&mut kept, &address, &secret, false).map_err(text)));

        let shell = |home: &Home, directory: &str, script: String| {
            let mut command = home.command("bash");
            command.current_dir(home.path().join(directory)).args(["-c", &script]);
            move || ended(&mut command)
        };
        caller("git fetch", Box::new(shell(home, "hello", "git ls-remote -q trimtab main".into())));
        home.sh("", "cp -r hello pushed").ok();
        let (mut push, counter) = (
            shell(home, "pushed", "git commit -qm again --allow-empty && git push trimtab main".into()),
            shared.clone(),
        );
        caller(
            "git push",
            Box::new(move || {
                counter.pushes.fetch_add(1, Ordering::SeqCst);
                push()
            }),
        );
        home.sh("", "ssh-keygen -q -t ed25519 -N '' -f key; trimtab user add ada --role developer --ssh-key key.pub")
            .ok();
        home.sh("", "trimtab url --known-hosts > known_hosts").ok();
        let ssh = format!(
            "ssh -F /dev/null -o UserKnownHostsFile={0}/known_hosts -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes \
             -o IdentityAgent=none -i {0}/key",
            home.path().display()
        );
        let script = format!("GIT_SSH_COMMAND='{ssh}' git ls-remote -q \"$(cat ../ssh-url)\" main");
        home.sh("hello", "trimtab url --ssh hello > ../ssh-url").ok();
        caller("git by SSH", Box::new(shell(home, "hello", script)));
        home.sh("", "trimtab kubeconfig > kubeconfig").ok();
        let script = "kubectl --kubeconfig kubeconfig get --raw /api/v1/namespaces/default > /dev/null".to_owned();
        caller("Kubernetes API, fresh", Box::new(shell(home, "", script)));
        let shared_kept = shared.clone();
        threads.push(std::thread::spawn(move || kept_connection(&shared_kept, &kubernetes, &token)));
        Self { shared, threads }
    }

    /// How often each was answered.
    fn answered(&self) -> BTreeMap<&'static str, u64> {
        self.shared.answered.lock().unwrap().clone()
    }

    /// Until each of them was answered again.
    fn go_on(&self, home: &Home) {
        let before = self.answered();
        home.eventually("everybody is answered again", || {
            let now = self.answered();
            now.len() == 7 && now.iter().all(|(who, count)| *count > before.get(who).copied().unwrap_or(0))
                || !self.shared.failures.lock().unwrap().is_empty()
        });
        self.fine(home);
    }

    fn fine(&self, home: &Home) {
        let failures = self.shared.failures.lock().unwrap().clone();
        assert!(failures.is_empty(), "{failures:#?}\n{:?}\n{}", self.answered(), home.log());
    }

    fn stop(self, home: &Home) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let (shared, threads) = (self.shared.clone(), self.threads);
        for thread in threads {
            thread.join().unwrap();
        }
        let failures = shared.failures.lock().unwrap();
        assert!(failures.is_empty(), "{failures:#?}\n{}", home.log());
        eprintln!("answered: {:?}, failed: 0", shared.answered.lock().unwrap());
    }
}

fn text(error: io::Error) -> String {
    error.to_string()
}

fn ended(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(text)?;
    match output.status.success() {
        true => Ok(()),
        false => {
            Err(format!("{} {}", output.status, String::from_utf8_lossy(&[output.stdout, output.stderr].concat())))
        }
    }
}

/// One question to the API, on a connection that stays if the answer does not say that it is the last one.
fn request(kept: &mut Option<BufReader<TcpStream>>, control: &str, token: &str, fresh: bool) -> io::Result<()> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => {
            let stream = TcpStream::connect(control)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            BufReader::new(stream)
        }
    };
    let close = if fresh { "Connection: close\r\n" } else { "" };
    let text =
        format!("GET /api/v1/projects HTTP/1.1\r\nHost: {control}\r\nAuthorization: Bearer {token}\r\n{close}\r\n");
    connection.get_mut().write_all(text.as_bytes())?;
    let (mut length, mut last, mut status) = (0, fresh, String::new());
    connection.read_line(&mut status)?;
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(io::Error::other(format!("the connection ended after {status:?}")));
        }
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            Some(("connection", "close")) => last = true,
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    if !status.starts_with("HTTP/1.1 200") || body != b"[\"hello\"]" {
        return Err(io::Error::other(format!("{status} {}", String::from_utf8_lossy(&body))));
    }
    if !last {
        *kept = Some(connection);
    }
    Ok(())
}

/// A client that keeps its connection to the Kubernetes API, over HTTP/2.
fn kept_connection(shared: &Shared, address: &str, token: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = runtime.block_on(async {
        let mut config = kube::Config::new(format!("https://{address}").parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(token.trim().to_owned().into());
        kube::Client::try_from(config).unwrap()
    });
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(client);
    shared.call("Kubernetes API, kept", || {
        runtime.block_on(namespaces.get("default")).map(drop).map_err(|error| format!("{error:?}"))
    });
}

/// The same program in another file.
fn another(home: &Home, name: &str) -> PathBuf {
    let path = home.path().join(name);
    // By another process: a test beside this one that forks meanwhile would keep the file busy.
    home.sh("", &format!("cp {} {name}", env!("CARGO_BIN_EXE_trimtab"))).ok();
    path
}

/// What must be the same afterwards.
fn truth(home: &Home) -> (Vec<Value>, Option<String>) {
    let settled = |entry: &Value| entry["kind"] == "repaired";
    (home.history().into_iter().filter(settled).collect(), home.healthy("staging"))
}

#[test]
fn a_new_program_takes_over_and_no_request_to_api_and_git_fails() {
    let mut home = Home::up();
    home.hello();
    home.push("one").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    home.sh("hello", "trimtab promote hello --to staging").ok();
    let before = truth(&home);

    // Without the word for it, it is told.
    let data = home.data().display().to_string();
    home.trimtab(&["up", "--simulate"])
        .refused(&["in use by process", &format!("trimtab up --replace --data-dir {data}")]);
    home.trimtab(&["up", "--replace", "--listen", "127.0.0.1:9"]).refused(&["--listen", "--replace keeps"]);
    let mut stranger = UnixStream::connect(home.data().join("run/control.sock")).unwrap();
    stranger.write_all(b"{\"protocol\":99,\"version\":\"9.0.0\"}\n").unwrap();
    let mut said = String::new();
    BufReader::new(&stranger).read_line(&mut said).unwrap();
    assert!(said.contains("refused") && said.contains("protocol 99"), "{said}");

    // Those that do not come to serve leave the place to the one before: one that dies as it has begun, and takes with it
    // who was let in, and one that dies before that, which nobody notices.
    let (new, old) = (another(&home, "new"), home.pid());
    assert!(!home.replace(&new, &[("TRIMTAB_FAILPOINT", "handover.serving")]));
    home.eventually("the old one serves", || home.trimtab(&["status", "--project", "hello"]).code == 0);
    let callers = Callers::start(&home);
    callers.go_on(&home);
    assert!(!home.replace(&new, &[("TRIMTAB_FAILPOINT", "handover.released")]));
    assert_eq!(home.pid(), old);
    callers.go_on(&home);
    let traffic = gateways(&home);
    assert!(home.replace(&new, &[]), "{}", home.log());
    assert_ne!(home.pid(), old);
    callers.go_on(&home);
    home.eventually("the gateway is another one", || gateways(&home).iter().all(|pid| !traffic.contains(pid)));
    let (one, counter) = (home.pid(), callers.shared.clone());
    assert!(home.replace(Path::new(env!("CARGO_BIN_EXE_trimtab")), &[]), "{}", home.log());
    assert_ne!(home.pid(), one);
    callers.go_on(&home);
    callers.stop(&home);

    // What was pushed while hands changed is built and runs, once each.
    let pushed = counter.pushes.load(Ordering::SeqCst) + 1;
    home.eventually("the last push runs", || home.healthy("dev") == Some(format!("hello-{pushed}")));
    assert_eq!(truth(&home), before);
    let builds = home.sh("", "kubectl --kubeconfig kubeconfig get builds -n hello -o name | wc -l").ok();
    assert_eq!(builds.trim(), pushed.to_string());
}

#[test]
#[ignore = "root: runs containers"]
fn an_upgrade_under_load_fails_no_request_and_keeps_the_containers() {
    let mut home = Home::up_with_containers();
    two_builds(&home);
    home.sh("hello", "trimtab promote hello --build hello-1 --to staging").ok();
    home.eventually("hello-1 is healthy in staging", || home.healthy("staging").as_deref() == Some("hello-1"));
    home.sh("hello", "trimtab env suspend dev").ok();
    let (before, running) = (truth(&home), containers(&home));
    assert_eq!(running.len(), 4, "{running:?}");

    let load = Load::start(home.address("gateway").parse().unwrap(), "hello.staging.hello.localhost", 200);
    let callers = Callers::start(&home);
    callers.go_on(&home);
    let new = another(&home, "new");
    for program in [new.as_path(), Path::new(env!("CARGO_BIN_EXE_trimtab"))] {
        let (control, traffic) = (home.pid(), gateways(&home));
        assert!(home.replace(program, &[]), "{}", home.log());
        callers.go_on(&home);
        assert_ne!(home.pid(), control);
        // Those before it are there for the WebSocket and the long answers.
        assert_eq!(gateways(&home).iter().filter(|pid| !traffic.contains(pid)).count(), 1);
        assert_eq!(load.failures(), 0, "{:?}\n{}", load.stop(), home.log());
    }
    callers.stop(&home);
    let report = load.stop();
    assert_eq!(report.failures, Vec::<String>::new(), "{report:?}");
    assert!(report.requests > 0 && report.slow > 0 && report.echoes > 0, "{report:?}");
    assert_eq!(containers(&home), running);
    assert_eq!(truth(&home), before);
    home.eventually("gateways that handed over have ended", || gateways(&home).len() == 1);
    eprintln!("{report:?}");
}
