//! Real containers: `cargo test -p container -- --ignored` as root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use container::*;

/// The only file of the test image: one program with many verbs.
const PROBE: &str = r#"
use std::io::{Read, Write};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let rest: Vec<&str> = args[1..].iter().map(String::as_str).collect();
    match rest.as_slice() {
        ["exit", code] => std::process::exit(code.parse().unwrap()),
        ["say", out, err] => { println!("{out}"); eprintln!("{err}"); }
        ["sleep"] => { println!("ready"); std::io::stdout().flush().unwrap(); std::thread::sleep(std::time::Duration::from_secs(600)) }
        ["cat", path] => match std::fs::read_to_string(path) { Ok(text) => print!("{text}"), Err(e) => { eprintln!("{e}"); std::process::exit(1) } },
        ["write", path, text] => if let Err(e) = std::fs::write(path, text) { eprintln!("{e}"); std::process::exit(1) },
        ["ls", path] => { let mut names: Vec<_> = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect(); names.sort(); println!("{}", names.join(" ")) }
        ["env"] => for (name, value) in std::env::vars() { println!("{name}={value}") },
        ["cwd"] => println!("{}", std::env::current_dir().unwrap().display()),
        ["stdin"] => { let mut text = String::new(); std::io::stdin().read_to_string(&mut text).unwrap(); print!("{}", text.to_uppercase()) }
        ["eat"] => { let mut all = Vec::new(); loop { all.push(vec![1u8; 1 << 20]) } }
        ["loopback"] => { let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap(); std::net::TcpStream::connect(l.local_addr().unwrap()).unwrap(); println!("connected") }
        ["lines", count] => for n in 0..count.parse::<u64>().unwrap() { println!("line {n}") },
        other => { eprintln!("unknown {other:?}"); std::process::exit(99) }
    }
}
"#;

/// The image: `/bin/probe`, statically linked, and a few files.
fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("image");
        fs::create_dir_all(directory.join("bin")).unwrap();
        fs::create_dir_all(directory.join("etc")).unwrap();
        let source = directory.with_extension("rs");
        fs::write(&source, PROBE).unwrap();
        fs::write(directory.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:101:102::/srv:/bin/sh\n").unwrap();
        fs::write(directory.join("bin/data"), "no program").unwrap();
        let out = directory.join("bin/probe");
        let status = Command::new("rustc")
            .args(["--edition=2021", "-Ctarget-feature=+crt-static", "-Cpanic=abort", "-Copt-level=1", "-o"])
            .args([&out, &source])
            .status()
            .expect("rustc runs");
        assert!(status.success());
        directory
    })
}

struct World {
    directory: tempfile::TempDir,
    config: Config,
    runtime: Runtime,
    before: Machine,
}

impl World {
    fn new() -> Self {
        image();
        let directory = tempfile::tempdir().unwrap();
        let unique = directory.path().file_name().unwrap().to_str().unwrap().trim_start_matches(".tmp").to_lowercase();
        let config = Config {
            exe: PathBuf::from(env!("CARGO_BIN_EXE_container-shim")),
            root: directory
                .path()
                .join("a-data-directory-with-a-long-name-so-that-sockets-below-it-would-not-fit/containers"),
            cgroup_parent: format!("trimtab-test-{unique}"),
            instance: unique,
        };
        let before = Machine::look(&config.cgroup_parent);
        Self { runtime: Runtime::new(config.clone()).unwrap(), directory, config, before }
    }

    fn spec(&self, id: &str, args: &[&str]) -> Spec {
        Spec {
            id: id.to_owned(),
            rootfs: Rootfs { layers: vec![image().to_owned()], writable: None },
            args: std::iter::once("probe").chain(args.iter().copied()).map(String::from).collect(),
            log: self.directory.path().join(format!("{id}.log")),
            labels: BTreeMap::from([("app".to_owned(), id.to_owned())]),
            ..Spec::default()
        }
    }

    async fn run(&self, spec: &Spec) -> (Exit, Vec<String>) {
        self.runtime.start(spec).await.unwrap();
        let exit = self.runtime.wait(&spec.id).await.unwrap();
        (exit, self.log(&spec.id))
    }

    /// The log without its times.
    fn log(&self, id: &str) -> Vec<String> {
        let text = fs::read_to_string(self.directory.path().join(format!("{id}.log"))).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    /// Waits until the container has printed `line`.
    async fn printed(&self, id: &str, line: &str) {
        until(&format!("{id} prints {line:?}"), || self.log(id), |log| log.iter().any(|entry| entry.ends_with(line)))
            .await;
    }

    /// Everything is deleted, and the machine is as before.
    async fn clean(&self) {
        self.runtime.purge().await.unwrap();
        assert_eq!(fs::read_dir(&self.config.root).unwrap().count(), 0);
        let parent = &self.config.cgroup_parent;
        until("the machine is as before", || Machine::look(parent), |machine| *machine == self.before).await;
    }

    fn cgroup_file(&self, controller: &str, id: &str, file: &str) -> String {
        let v1 = format!("/sys/fs/cgroup/{controller}/{}/{id}/{file}", self.config.cgroup_parent);
        fs::read_to_string(&v1).unwrap_or_else(|error| panic!("{v1}: {error}")).trim().to_owned()
    }
}

/// A failed test leaves the machine clean too.
impl Drop for World {
    fn drop(&mut self) {
        let runtime = self.runtime.clone();
        let purge = move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(runtime.purge())
        };
        if let Err(error) = std::thread::spawn(purge).join().unwrap() {
            eprintln!("cannot clean up: {error:?}");
        }
    }
}

/// What this test could have left on the machine; others may be at work beside it.
#[derive(Debug, PartialEq)]
struct Machine {
    mounts: Vec<String>,
    cgroups: Vec<PathBuf>,
    shims: Vec<String>,
}

impl Machine {
    fn look(parent: &str) -> Self {
        let directory = format!(".tmp{}", parent.trim_start_matches("trimtab-test-"));
        let ours = |line: &String| line.to_lowercase().contains(&directory);
        let controllers = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
        let cgroups = controllers.map(|path| path.join(parent)).filter(|path| path.exists()).collect();
        let processes = || fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let read = |file: &'static str| processes().filter_map(move |path| fs::read_to_string(path.join(file)).ok());
        let shims = read("cmdline").filter(ours).collect();
        let mounts =
            read("mounts").flat_map(|text| text.lines().map(String::from).collect::<Vec<_>>()).filter(ours).collect();
        Self { mounts, cgroups, shims }
    }
}

/// Waits until a look at something is as expected; shows the last look if it never is.
async fn until<T: std::fmt::Debug>(what: &str, look: impl Fn() -> T, expected: impl Fn(&T) -> bool) {
    let start = Instant::now();
    loop {
        let seen = look();
        if expected(&seen) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "waited 30 s: {what}; it is {seen:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn lines(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end().to_owned()
}

#[tokio::test]
#[ignore = "root: namespaces, mounts and cgroups"]
async fn a_command_runs_and_its_end_and_output_are_kept() {
    let world = World::new();
    let (exit, log) = world.run(&world.spec("say", &["say", "hello", "oops"])).await;
    assert_eq!((exit.code, exit.signal, exit.oom, exit.lost), (0, None, false, false));
    assert_eq!(
        log.iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([&"stdout F hello".to_owned(), &"stderr F oops".to_owned()])
    );
    let (exit, _) = world.run(&world.spec("exit", &["exit", "42"])).await;
    assert_eq!(exit.code, 42);
    let (_, log) = world.run(&world.spec("many", &["lines", "20000"])).await;
    assert_eq!((log.len(), log.last().unwrap().as_str()), (20000, "stdout F line 19999"));
    assert_eq!(world.runtime.wait("exit").await.unwrap().code, 42, "the end is remembered");
    world.runtime.delete("exit").await.unwrap();
    world.runtime.delete("exit").await.unwrap();
    assert!(matches!(world.runtime.wait("exit").await, Err(Error::NotFound { .. })));
    world.clean().await;
}

#[tokio::test]
#[ignore = "root: namespaces, mounts and cgroups"]
async fn namespaces_differ_from_outside_and_limits_hold() {
    let world = World::new();
    let mut spec = world.spec("limited", &["sleep"]);
    spec.hostname = Some("inside".to_owned());
    spec.resources = Resources {
        cpu_millis: Some(500),
        cpu_shares: Some(512),
        memory_bytes: Some(64 << 20),
        pids: Some(100),
        oom_score_adj: Some(500),
    };
    let started = world.runtime.start(&spec).await.unwrap();
    assert_eq!(started.warnings, Vec::<String>::new());
    for namespace in ["pid", "net", "mnt", "uts", "ipc", "cgroup"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_ne!(of("self"), of(&started.pid.to_string()), "{namespace}");
    }
    assert_eq!(world.cgroup_file("memory", "limited", "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(world.cgroup_file("cpu", "limited", "cpu.cfs_quota_us"), "50000");
    assert_eq!(world.cgroup_file("cpu", "limited", "cpu.shares"), "512");
    assert_eq!(world.cgroup_file("pids", "limited", "pids.max"), "100");
    assert_eq!(fs::read_to_string(format!("/proc/{}/oom_score_adj", started.pid)).unwrap().trim(), "500");
    let exec = |args: &[&str]| {
        world.runtime.exec("limited", ExecSpec::new(std::iter::once("probe").chain(args.iter().copied())))
    };
    assert_eq!(lines(&exec(&["cat", "/proc/sys/kernel/hostname"]).await.unwrap().stdout), "inside");
    assert_eq!(lines(&exec(&["loopback"]).await.unwrap().stdout), "connected");
    assert_eq!(lines(&exec(&["cat", "/proc/kcore"]).await.unwrap().stdout), "");
    let refused = exec(&["write", "/proc/sys/kernel/hostname", "x"]).await.unwrap();
    assert_eq!((refused.code, lines(&refused.stderr).contains("Read-only")), (1, true));
    let devices = lines(&exec(&["ls", "/dev"]).await.unwrap().stdout);
    assert_eq!(devices, "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero");
    world.clean().await;
}

#[tokio::test]
#[ignore = "root: namespaces, mounts and cgroups"]
async fn a_command_that_cannot_run_is_explained() {
    let world = World::new();
    let cases: &[(&[&str], &str)] = &[
        (&["/srv/app"], "exec: \"/srv/app\": no such file in the image"),
        (&["nothing"], "exec: \"nothing\": not found in PATH of the image"),
        (&["/bin"], "exec: \"/bin\": is a directory"),
        (&["/bin/data"], "exec: \"/bin/data\": is not executable (mode 644)"),
        (&["/bin/script"], "its interpreter is not in the image: #!/bin/missing"),
        (&["/bin/text"], "not a program for this machine"),
    ];
    let layer = world.directory.path().join("layer");
    fs::create_dir_all(layer.join("bin")).unwrap();
    for (name, content) in [("script", "#!/bin/missing\n"), ("text", "no program")] {
        fs::write(layer.join("bin").join(name), content).unwrap();
        Command::new("chmod").arg("755").arg(layer.join("bin").join(name)).status().unwrap();
    }
    for (args, expected) in cases {
        let mut spec = world.spec("bad", &[]);
        spec.rootfs.layers.push(layer.clone());
        spec.args = args.iter().map(ToString::to_string).collect();
        let Err(Error::Start { failure, .. }) = world.runtime.start(&spec).await else { panic!("{args:?} started") };
        assert_eq!(failure.kind, FailureKind::Command, "{failure}");
        assert!(failure.message.contains(expected), "{args:?}: {failure}");
        assert_eq!(world.runtime.list().await.unwrap(), []);
    }
    let mut spec = world.spec("bad", &["env"]);
    spec.user = User { name: "nobody".to_owned(), extra: vec![] };
    let Err(Error::Start { failure, .. }) = world.runtime.start(&spec).await else { panic!("it started") };
    assert_eq!(
        (failure.kind, failure.message.starts_with("user \"nobody\": not in /etc/passwd")),
        (FailureKind::User, true)
    );
    world.clean().await;
}

#[tokio::test]
#[ignore = "root: namespaces, mounts and cgroups"]
async fn user_directory_environment_and_mounts_are_as_asked() {
    let world = World::new();
    let shared = world.directory.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("greeting"), "hi").unwrap();
    let mut spec = world.spec("as-asked", &["sleep"]);
    spec.user = User { name: "web".to_owned(), extra: vec![7] };
    spec.cwd = "/srv/deep".to_owned();
    spec.env = vec!["COLOUR=blue".to_owned()];
    spec.read_only_rootfs = true;
    spec.mounts = vec![
        Mount { source: shared.clone(), target: "/mnt/shared".into(), read_only: true, kind: MountKind::Bind },
        Mount {
            source: PathBuf::new(),
            target: "/scratch".into(),
            read_only: false,
            kind: MountKind::Tmpfs { size_bytes: Some(1 << 20) },
        },
    ];
    world.runtime.start(&spec).await.unwrap();
    let run = async |args: &[&str]| {
        let result = world
            .runtime
            .exec("as-asked", ExecSpec::new(std::iter::once("probe").chain(args.iter().copied())))
            .await
            .unwrap();
        format!("{}{}", lines(&result.stdout), lines(&result.stderr))
    };
    let env = run(&["env"]).await;
    assert!(env.contains("COLOUR=blue") && env.contains("HOME=/srv") && env.contains("PATH=/usr/local/sbin"), "{env}");
    assert_eq!(run(&["cwd"]).await, "/srv/deep");
    assert_eq!(run(&["cat", "/mnt/shared/greeting"]).await, "hi");
    assert!(run(&["write", "/mnt/shared/x", "x"]).await.contains("Read-only"));
    assert!(run(&["write", "/bin/x", "x"]).await.contains("Read-only"));
    assert_eq!(run(&["write", "/scratch/x", "x"]).await, "");
    let status = run(&["cat", "/proc/self/status"]).await;
    assert!(
        status.contains("Uid:\t101\t101") && status.contains("Gid:\t102\t102") && status.contains("Groups:\t7"),
        "{status}"
    );
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    world.clean().await;
}

#[tokio::test]
#[ignore = "root: namespaces, mounts and cgroups"]
async fn exec_has_its_own_end_streams_and_timeout() {
    let world = World::new();
    world.runtime.start(&world.spec("host", &["sleep"])).await.unwrap();
    let exec = |args: &[&str]| ExecSpec::new(args.iter().copied());
    let said = world.runtime.exec("host", exec(&["probe", "say", "out", "err"])).await.unwrap();
    assert_eq!((said.code, lines(&said.stdout), lines(&said.stderr)), (0, "out".to_owned(), "err".to_owned()));
    assert_eq!(world.runtime.exec("host", exec(&["probe", "exit", "7"])).await.unwrap().code, 7);
    let missing = world.runtime.exec("host", exec(&["missing"])).await;
    assert!(
        matches!(&missing, Err(Error::Exec { failure, .. }) if failure.kind == FailureKind::Command),
        "{missing:?}"
    );
    let mut slow = exec(&["probe", "sleep"]);
    slow.timeout = Duration::from_millis(300);
    assert!(matches!(world.runtime.exec("host", slow).await, Err(Error::ExecTimeout { .. })));
    let procs = || world.cgroup_file("pids", "host", "cgroup.procs").lines().count();
    until("the timed-out process is gone", procs, |count| *count == 1).await;
    let mut loud = exec(&["probe", "lines", "100000"]);
    loud.output_bytes_max = 100;
    assert_eq!(world.runtime.exec("host", loud).await.unwrap().stdout.len(), 100);
    let mut stream = world.runtime.exec_stream("host", exec(&["probe", "stdin"])).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(stream.stdin.as_mut().unwrap(), b"shout").await.unwrap();
    drop(stream.stdin.take());
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream.stdout, &mut text).await.unwrap();
    assert_eq!((stream.wait().await.unwrap(), text.as_str()), (0, "SHOUT"));
    let directory = world.config.root.join("host");
    let names = || fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    until(
        "execs leave nothing",
        || names().filter(|name| name.starts_with("exec-")).collect::<Vec<_>>(),
        Vec::is_empty,
    )
    .await;
    world.clean().await;
}

#[tokio::test]
#[ignore = "root: namespaces, mounts and cgroups"]
async fn signals_memory_and_restarts() {
    let world = World::new();
    world.runtime.start(&world.spec("killed", &["sleep"])).await.unwrap();
    // The first process of a PID namespace ignores what it has no handler for.
    world.runtime.kill("killed", 15).await.unwrap();
    world.runtime.kill("killed", 9).await.unwrap();
    let exit = world.runtime.wait("killed").await.unwrap();
    assert_eq!((exit.code, exit.signal, exit.oom), (137, Some(9), false));
    world.runtime.kill("killed", 9).await.unwrap();
    let mut hungry = world.spec("hungry", &["eat"]);
    hungry.resources.memory_bytes = Some(32 << 20);
    let (exit, _) = world.run(&hungry).await;
    assert_eq!((exit.code, exit.oom), (137, true));
    world.clean().await;
}

#[tokio::test]
#[ignore = "root: namespaces, mounts and cgroups"]
async fn another_runtime_takes_over() {
    let world = World::new();
    let started = world.runtime.start(&world.spec("kept", &["sleep"])).await.unwrap();
    world.runtime.start(&world.spec("ended", &["exit", "3"])).await.unwrap();
    world.runtime.wait("ended").await.unwrap();
    let later = Runtime::new(world.config.clone()).unwrap();
    let list = later.list().await.unwrap();
    let seen: Vec<_> = list.iter().map(|info| (info.id.as_str(), info.exit.as_ref().map(|exit| exit.code))).collect();
    assert_eq!(seen, [("ended", Some(3)), ("kept", None)]);
    assert_eq!(
        (list[1].pid, list[1].started_at, &list[1].labels["app"]),
        (started.pid, started.started_at, &"kept".to_owned())
    );
    let waiting = tokio::spawn({
        let later = later.clone();
        async move { later.wait("kept").await }
    });
    assert_eq!(lines(&later.exec("kept", ExecSpec::new(["probe", "say", "hello", ""])).await.unwrap().stdout), "hello");
    later.kill("kept", 9).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().code, 137);
    world.clean().await;
}

#[tokio::test]
#[ignore = "root: namespaces, mounts and cgroups"]
async fn a_container_without_its_shim_is_ended_and_recorded() {
    let world = World::new();
    for id in ["waited", "listed"] {
        world.runtime.start(&world.spec(id, &["sleep"])).await.unwrap();
        world.printed(id, "ready").await;
    }
    let waiting = tokio::spawn({
        let runtime = world.runtime.clone();
        async move { runtime.wait("waited").await }
    });
    for id in ["waited", "listed"] {
        kill_shim(&world.config.root.join(id));
    }
    let exit = waiting.await.unwrap().unwrap();
    assert_eq!((exit.code, exit.lost), (137, true));
    let list = Runtime::new(world.config.clone()).unwrap().list().await.unwrap();
    assert!(list.iter().all(|info| info.exit.as_ref().is_some_and(|exit| exit.lost)), "{list:?}");
    for info in list {
        assert!(!Path::new(&format!("/proc/{}", info.pid)).exists() || zombie(info.pid), "the container was killed");
    }
    world.clean().await;
}

fn zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

fn kill_shim(directory: &Path) {
    let wanted = directory.to_str().unwrap();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let line = fs::read_to_string(path.join("cmdline")).ok()?;
        line.trim_end_matches('\0').ends_with(wanted).then(|| path.file_name()?.to_str()?.parse::<i32>().ok())?
    });
    let pids: Vec<i32> = pids.collect();
    assert_eq!(pids.len(), 1, "one shim in {wanted}");
    rustix_kill(pids[0]);
}

fn rustix_kill(pid: i32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "root: namespaces, mounts and cgroups"]
async fn fifty_starts_four_at_a_time() {
    let world = World::new();
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(4));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50 {
        let (runtime, permits) = (world.runtime.clone(), permits.clone());
        let spec = world.spec(&format!("c{number}"), &["exit", "0"]);
        tasks.spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            let begin = Instant::now();
            runtime.start(&spec).await.unwrap();
            let started = begin.elapsed();
            let exit = runtime.wait(&spec.id).await.unwrap();
            runtime.delete(&spec.id).await.unwrap();
            (started, begin.elapsed(), exit.code)
        });
    }
    let mut results = tasks.join_all().await;
    assert!(results.iter().all(|(_, _, code)| *code == 0));
    results.sort();
    println!("start p50 {:?}, slowest {:?}; whole life p50 {:?}", results[25].0, results[49].0, results[25].1);
    let mut alone = Vec::new();
    for number in 0..20 {
        let spec = world.spec(&format!("alone{number}"), &["exit", "0"]);
        let begin = Instant::now();
        world.runtime.start(&spec).await.unwrap();
        let started = begin.elapsed();
        world.runtime.wait(&spec.id).await.unwrap();
        alone.push((started, begin.elapsed()));
    }
    alone.sort();
    println!(
        "one at a time: start p50 {:?} p90 {:?}; to the recorded end p50 {:?}",
        alone[10].0, alone[18].0, alone[10].1
    );
    world.clean().await;
}

#[tokio::test]
#[ignore = "root: namespaces, mounts and cgroups"]
async fn a_start_that_was_given_up_can_be_deleted() {
    let world = World::new();
    let spec = world.spec("given-up", &["sleep"]);
    tokio::select! {
        biased;
        started = world.runtime.start(&spec) => panic!("it started at the first poll: {started:?}"),
        () = std::future::ready(()) => {}
    }
    assert!(matches!(world.runtime.start(&spec).await, Err(Error::Exists { .. })));
    world.runtime.delete("given-up").await.unwrap();
    assert_eq!(world.runtime.list().await.unwrap(), []);
    fs::create_dir(world.config.root.join("remains")).unwrap();
    world.runtime.delete("remains").await.unwrap();
    world.clean().await;
}

#[tokio::test]
#[ignore = "root: namespaces, mounts and cgroups"]
async fn containers_of_a_pod_share_what_they_are_told_to() {
    let world = World::new();
    let first = world.runtime.start(&world.spec("first", &["sleep"])).await.unwrap();
    let of_first = |name: &str| PathBuf::from(format!("/proc/{}/ns/{name}", first.pid));
    let mut second = world.spec("second", &["sleep"]);
    second.network = Network::Namespace(of_first("net"));
    (second.pid, second.ipc, second.uts) =
        (Namespace::Path(of_first("pid")), Namespace::Path(of_first("ipc")), Namespace::Path(of_first("uts")));
    let mut host = world.spec("host", &["sleep"]);
    (host.network, host.pid, host.ipc, host.uts) = (Network::Host, Namespace::Host, Namespace::Host, Namespace::Host);
    host.privileged = true;
    let (second, host) = (world.runtime.start(&second).await.unwrap(), world.runtime.start(&host).await.unwrap());
    let link = |pid: &str, name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
    for name in ["net", "pid", "ipc", "uts"] {
        assert_eq!(link(&second.pid.to_string(), name), link(&first.pid.to_string(), name), "{name}");
        assert_eq!(link(&host.pid.to_string(), name), link("self", name), "{name}");
        assert_ne!(link(&first.pid.to_string(), name), link("self", name), "{name}");
    }
    // In a shared PID namespace signals without a handler end a process.
    world.runtime.kill("second", 15).await.unwrap();
    assert_eq!(world.runtime.wait("second").await.unwrap().signal, Some(15));
    assert_eq!(world.runtime.state("first").await.unwrap().unwrap().exit, None);
    world.clean().await;
}

/// A shim that dies at a failpoint.
fn failing_shim(world: &World, name: &str) -> Runtime {
    let script = world.directory.path().join(name);
    let shim = env!("CARGO_BIN_EXE_container-shim");
    fs::write(&script, format!("#!/bin/sh\nTRIMTAB_FAILPOINT={name} exec {shim} \"$@\"\n")).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    Runtime::new(Config { exe: script, ..world.config.clone() }).unwrap()
}

/// Where the test that re-runs itself as a daemon finds its world.
const DAEMON_ROOT: &str = "CONTAINER_TEST_ROOT";

#[tokio::test]
#[ignore = "root: namespaces, mounts and cgroups"]
async fn each_crash_leaves_a_state_that_the_next_daemon_settles() {
    if let Ok(root) = std::env::var(DAEMON_ROOT) {
        // The daemon of the last two cases: it dies in `start`.
        let config = Config {
            exe: env!("CARGO_BIN_EXE_container-shim").into(),
            root: root.into(),
            instance: String::new(),
            cgroup_parent: "trimtab-test-dead".to_owned(),
        };
        let spec =
            Spec { id: "half".to_owned(), args: vec!["x".to_owned()], log: "/dev/null".into(), ..Spec::default() };
        let _ = Runtime::new(config).unwrap().start(&spec).await;
        unreachable!("the failpoint did not abort");
    }
    let world = World::new();
    for name in FAILPOINTS {
        let runtime = failing_shim(&world, name);
        let spec = world.spec("crash", &["exit", "3"]);
        let what = match *name {
            "container.state.before" | "container.state.after" => {
                let error = runtime.start(&spec).await.unwrap_err();
                assert!(
                    matches!(&error, Error::Start { failure, .. } if failure.message.contains("the shim died")),
                    "{name}: {error}"
                );
                Vec::new()
            }
            "container.exit.before" | "container.exit.after" => {
                runtime.start(&spec).await.unwrap();
                let lost = *name == "container.exit.before";
                let exit = runtime.wait("crash").await.unwrap();
                assert_eq!((exit.lost, exit.code), (lost, if lost { 137 } else { 3 }), "{name}");
                vec![Some(lost)]
            }
            _ => {
                let status = Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "each_crash_leaves_a_state_that_the_next_daemon_settles", "--ignored"])
                    .env(DAEMON_ROOT, &world.config.root)
                    .env("TRIMTAB_FAILPOINT", name)
                    .output()
                    .unwrap();
                assert!(!status.status.success());
                assert!(world.config.root.join("half").exists(), "{name}");
                Vec::new()
            }
        };
        let next = Runtime::new(world.config.clone()).unwrap();
        let seen: Vec<_> = next.list().await.unwrap().into_iter().map(|info| info.exit.map(|exit| exit.lost)).collect();
        assert_eq!(seen, what, "{name}");
        next.delete("crash").await.unwrap();
        assert_eq!(fs::read_dir(&world.config.root).unwrap().count(), 0, "{name}");
    }
    world.clean().await;
}
