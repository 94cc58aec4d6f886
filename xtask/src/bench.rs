//! `cargo xtask bench`: one table of medians and p99, with the machine's own speed beside it.

mod containers;
mod paced;
mod render;
mod rollouts;
mod scale;
mod traffic;

use crate::root;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Debian packages that only measuring needs: what we are measured against, with the program that shows that one is there.
const PACKAGES: &[(&str, &str)] =
    &[("nginx-light", "nginx"), ("wrk", "wrk"), ("runc", "runc"), ("busybox-static", "busybox")];

/// A part of the benchmark, by name.
type Part = (&'static str, fn(&mut Table) -> Result<()>);

const PARTS: &[Part] = &[
    ("starts", starts),
    ("delivery", delivery),
    ("scale", scale::measure),
    ("rollouts", rollouts::measure),
    ("traffic", traffic::measure),
    ("containers", containers::measure),
    ("render", render::measure),
];

/// Measures and prints; `only` names the parts, none are all. Needs root, for real containers; `render` alone does not.
/// Without Go to build what rendering is held against, that part is left out unless it is named.
pub fn run(only: &[&str]) -> Result<bool> {
    if let Some(unknown) = only.iter().find(|name| PARTS.iter().all(|(part, _)| part != *name)) {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        bail!("there is no part {unknown:?}; there are: {}", names.join(", "));
    }
    if only != ["render"] {
        crate::test::install(PACKAGES)?;
    }
    let build = [
        "build",
        "--release",
        "-p",
        "trimtab",
        "-p",
        "container",
        "-p",
        "render",
        "--bin",
        "trimtab",
        "--example",
        "lives",
        "--example",
        "bench",
    ];
    let status = crate::cargo().args(build).status()?;
    if !status.success() {
        bail!("the release build failed");
    }
    let mut table = Table::default();
    calibrate(&mut table)?;
    let mut complete = true;
    for (name, measure) in PARTS.iter().filter(|(name, _)| only.is_empty() || only.contains(name)) {
        if let (&"render", true, Err(problem)) = (name, only.is_empty(), crate::peers::directory()) {
            eprintln!("left out: {name}: {problem}");
            continue;
        }
        if let Err(problem) = measure(&mut table) {
            eprintln!("{name} did not come to its end: {problem:#}");
            complete = false;
        }
    }
    table.print();
    Ok(complete)
}

/// Rows of measurements, in milliseconds unless the name says otherwise.
#[derive(Default)]
struct Table(Vec<(String, Vec<f64>, &'static str)>);

impl Table {
    fn row(&mut self, name: &str, samples: Vec<f64>, bar: &'static str) {
        eprintln!("measured: {name} (n = {})", samples.len());
        self.0.push((name.to_owned(), samples, bar));
    }

    fn print(&self) {
        println!("{:<48} {:>5} {:>10} {:>10} {:>10}  bar", "", "n", "median", "p95", "p99");
        for (name, samples, bar) in &self.0 {
            let mut sorted = samples.clone();
            sorted.sort_by(f64::total_cmp);
            let at = |share: f64| sorted[(((sorted.len() - 1) as f64) * share).ceil() as usize];
            println!("{name:<48} {:>5} {:>10.2} {:>10.2} {:>10.2}  {bar}", sorted.len(), at(0.5), at(0.95), at(0.99));
        }
    }
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

/// What this machine can do at this moment, to read the rest by.
fn calibrate(table: &mut Table) -> Result<()> {
    let directory = Scratch::new("calibrate")?;
    let mut file = File::create(directory.0.join("fsync"))?;
    let fsync = (0..200).map(|_| {
        timed(|| {
            file.write_all(&[0; 4096])?;
            Ok(file.sync_data()?)
        })
    });
    table.row("calibration: fsync of 4 KiB, ms", fsync.collect::<Result<_>>()?, "");
    let fork = (0..200).map(|_| timed(|| Ok(Command::new("true").status().map(|_| ())?)));
    table.row("calibration: fork and exec of true, ms", fork.collect::<Result<_>>()?, "");
    let load: f64 = std::fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or("0").parse()?;
    table.row("calibration: load average", vec![load], "");
    Ok(())
}

fn starts(table: &mut Table) -> Result<()> {
    let (mut api, mut all) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let instance = Instance::start()?;
        api.push(instance.api_ready);
        all.push(instance.all_ready);
    }
    table.row("empty directory → Kubernetes API ready, ms", api, "≤ 300");
    table.row("empty directory → all ready, ms", all, "≤ 1000");
    Ok(())
}

fn delivery(table: &mut Table) -> Result<()> {
    let instance = Instance::start()?;
    std::thread::sleep(Duration::from_secs(60)); // idle means that nothing happens: this is the measurement, not a wait for something
    table.row("idle PSS of all processes after 60 s, MiB", vec![instance.pss_mib()?], "≤ 100");

    let hello = instance.directory.0.join("hello");
    sh(&format!("cp -r {} {}", root().join("examples/hello").display(), hello.display()), &instance)?;
    let page = hello.join("public/index.html");
    sh(
        &format!(
            "cd {} && trimtab init && git config user.name Ada && git config user.email ada@example.com",
            hello.display()
        ),
        &instance,
    )?;
    let mut pushes = Vec::new();
    for version in 0..12 {
        let text = format!("version {version}");
        std::fs::write(&page, &text)?;
        sh(&format!("cd {} && git commit -qam '{text}' --allow-empty", hello.display()), &instance)?;
        pushes.push(timed(|| {
            let mut push = instance
                .command("git")
                .current_dir(&hello)
                .args(["push", "-q", "trimtab", "main"])
                .stderr(Stdio::null())
                .spawn()?;
            instance.until_page("hello", "dev", &text)?;
            push.wait()?;
            Ok(())
        })?);
    }
    pushes.drain(..2); // the first two fill caches: the row says warm
    table.row("warm push → serving, examples/hello, ms", pushes, "≤ 3000");

    let (mut back, mut serving) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let uid = instance.kubernetes("GET", DEPLOYMENT)?["metadata"]["uid"].clone();
        let start = Instant::now();
        instance.kubernetes("DELETE", DEPLOYMENT)?;
        until("the Deployment is back", || {
            let now = instance.kubernetes("GET", DEPLOYMENT)?;
            Ok(now["metadata"]["uid"].is_string()
                && now["metadata"]["uid"] != uid
                && now["metadata"]["deletionTimestamp"].is_null())
        })?;
        back.push(start.elapsed().as_secs_f64() * 1000.0);
        until("a new Pod serves", || Ok(instance.kubernetes("GET", DEPLOYMENT)?["status"]["availableReplicas"] == 1))?;
        instance.until_page("hello", "dev", "version 11")?;
        serving.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    table.row("Deployment deleted → object back, ms", back, "≤ 150");
    table.row("Deployment deleted → serving again, ms", serving, "≤ 1000");

    let (mut promotions, mut rollbacks) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        for (build, text) in [(11, "version 10"), (12, "version 11")] {
            promotions.push(timed(|| {
                let promote = format!("trimtab promote hello --build hello-{build} --to staging");
                sh(&format!("cd {} && {promote}", hello.display()), &instance)?;
                instance.until_page("hello", "staging", text)
            })?);
        }
        rollbacks.push(timed(|| {
            sh(&format!("cd {} && trimtab rollback --env staging", hello.display()), &instance)?;
            instance.until_page("hello", "staging", "version 10")
        })?);
    }
    table.row("promote → serving, a ready image, ms", promotions, "≤ 2000 (p99)");
    table.row("rollback → serving, ms", rollbacks, "≤ 2000");
    table.row("SSH push → first progress line, ms", ssh_pushes(&instance, &hello)?, "≤ 300");
    Ok(())
}

/// From the start of `git push` over SSH to the first line that the server says.
fn ssh_pushes(instance: &Instance, hello: &Path) -> Result<Vec<f64>> {
    let home = instance.directory.0.display();
    sh(&format!("ssh-keygen -q -t ed25519 -N '' -f {home}/key && trimtab key add {home}/key.pub"), instance)?;
    sh(&format!("trimtab url --known-hosts > {home}/known_hosts"), instance)?;
    let ssh = format!(
        "ssh -F /dev/null -o UserKnownHostsFile={home}/known_hosts -o IdentitiesOnly=yes -o IdentityAgent=none -i {home}/key"
    );
    let mut samples = Vec::new();
    sh(&format!("cd {} && git remote add ssh $(trimtab url --ssh hello)", hello.display()), instance)?;
    for number in 0..12 {
        sh(&format!("cd {} && git commit -qm 'ssh {number}' --allow-empty", hello.display()), instance)?;
        let start = Instant::now();
        let mut push = instance
            .command("git")
            .current_dir(hello)
            .env("GIT_SSH_COMMAND", &ssh)
            .args(["push", "ssh", "HEAD:main"])
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = Vec::new();
        for line in BufReader::new(push.stderr.take().context("piped")?).lines() {
            let line = line?;
            if line.starts_with("remote: ") && samples.len() <= number {
                samples.push(start.elapsed().as_secs_f64() * 1000.0);
            }
            said.push(line);
        }
        if !push.wait()?.success() || samples.len() <= number {
            bail!("git push over SSH: {}", said.join("\n"));
        }
    }
    samples.drain(..2); // as above
    Ok(samples)
}

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/hello-dev/deployments/hello";

fn until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        if Instant::now() > deadline {
            bail!("did not happen in {PATIENCE:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn sh(script: &str, instance: &Instance) -> Result<()> {
    let output = instance.command("bash").args(["-c", script]).output()?;
    if !output.status.success() {
        bail!("{script}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// A directory that goes with its value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(
            format!("trimtab-bench-{name}-{}-{:?}", std::process::id(), Instant::now())
                .replace([' ', '{', '}', ':'], ""),
        );
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running `trimtab up` in an empty home.
struct Instance {
    directory: Scratch,
    process: Child,
    addresses: serde_json::Value,
    api_ready: f64,
    all_ready: f64,
}

impl Instance {
    fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    fn start_with(options: &[&str]) -> Result<Self> {
        let directory = Scratch::new("instance")?;
        let log = File::create(directory.0.join("up.log"))?;
        let mut command = environment(Command::new("trimtab"), &directory.0);
        let start = Instant::now();
        let process = command
            .args(["up", "--listen", "127.0.0.1:0"])
            .args(options)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting trimtab")?;
        let mut instance =
            Self { directory, process, addresses: serde_json::Value::Null, api_ready: 0.0, all_ready: 0.0 };
        let data = instance.data();
        until("the instance is recorded", || {
            Ok(std::fs::read(data.join("instance.json"))
                .is_ok_and(|b| serde_json::from_slice::<serde_json::Value>(&b).is_ok()))
        })?;
        instance.addresses = serde_json::from_slice(&std::fs::read(data.join("instance.json"))?)?;
        until("the API is ready", || Ok(instance.kubernetes_text("GET", "/readyz").is_ok_and(|text| text == "ok")))?;
        instance.api_ready = start.elapsed().as_secs_f64() * 1000.0;
        let log = instance.directory.0.join("up.log");
        until("all is ready", || Ok(std::fs::read_to_string(&log)?.contains("ready")))?;
        instance.all_ready = start.elapsed().as_secs_f64() * 1000.0;
        Ok(instance)
    }

    fn data(&self) -> PathBuf {
        self.directory.0.join(".local/share/trimtab")
    }

    fn command(&self, program: &str) -> Command {
        environment(Command::new(program), &self.directory.0)
    }

    fn kubernetes(&self, method: &str, path: &str) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.kubernetes_text(method, path)?)?)
    }

    fn kubernetes_text(&self, method: &str, path: &str) -> Result<String> {
        let token = std::fs::read_to_string(self.data().join("admin.token"))?;
        let address = self.addresses["kubernetes"].as_str().context("no address")?;
        let mut curl = Command::new("curl")
            .args(["-sk", "--max-time", "10", "-K", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let config = format!(
            "url = \"https://{address}{path}\"\nrequest = {method}\nheader = \"Authorization: Bearer {}\"\n",
            token.trim()
        );
        curl.stdin.take().context("piped")?.write_all(config.as_bytes())?;
        Ok(String::from_utf8(curl.wait_with_output()?.stdout)?)
    }

    /// Options of curl with which it is signed in as the administrator.
    fn signed_in(&self) -> Result<String> {
        let link = self.command("trimtab").arg("ui").output()?;
        let link = String::from_utf8(link.stdout)?;
        let (page, code) = link.trim().split_once('?').context("a link with a code")?;
        let origin = page.strip_suffix("/sign-in").context("a link to sign in")?;
        sh(&format!("cd && curl -sf -c cookies -o /dev/null -H 'Origin: {origin}' -d '{code}' {page}"), self)?;
        Ok(format!("cookie = \"{}\"\n", self.directory.0.join("cookies").display()))
    }

    /// Milliseconds of one request to the control listener, as curl sees them; `options` for its configuration.
    fn timed(&self, path: &str, options: &str) -> Result<f64> {
        let address = self.addresses["control"].as_str().context("no address")?;
        let mut curl = self.command("curl");
        curl.args(["-s", "--fail", "-o", "/dev/null", "-w", "%{time_total}", "--max-time", "60", "-K", "-"]);
        let mut process = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let configuration = format!("url = \"http://{address}{path}\"\n{options}");
        process.stdin.take().context("piped")?.write_all(configuration.as_bytes())?;
        let output = process.wait_with_output()?;
        if !output.status.success() {
            bail!("{path} did not answer well: curl ended with {}", output.status);
        }
        Ok(String::from_utf8(output.stdout)?.parse::<f64>()? * 1000.0)
    }

    fn until_page(&self, component: &str, environment: &str, text: &str) -> Result<()> {
        let port = self.addresses["gateway"].as_str().and_then(|a| a.rsplit_once(':')).context("no address")?.1;
        let url = format!("http://127.0.0.1:{port}/");
        let host = format!("Host: {component}.{environment}.hello.localhost");
        until(&format!("{environment} shows {text}"), || {
            let output = Command::new("curl").args(["-s", "--max-time", "10", "-H", &host, &url]).output()?;
            Ok(output.stdout == text.as_bytes())
        })
    }

    /// Proportional set size of every process of this instance.
    fn pss_mib(&self) -> Result<f64> {
        let mark = self.directory.0.to_string_lossy().into_owned();
        let mut kib = 0u64;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let path = entry.path();
            let ours = entry.file_name().to_str().is_some_and(|n| n == self.process.id().to_string())
                || std::fs::read(path.join("cmdline")).is_ok_and(|c| String::from_utf8_lossy(&c).contains(&mark));
            if ours {
                kib += pss_kib(&path).unwrap_or(0);
            }
        }
        Ok(kib as f64 / 1024.0)
    }
}

fn pss_kib(process: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(process.join("smaps_rollup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?.parse().ok()
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.command("trimtab").args(["down", "--purge", "--yes"]).stdout(Stdio::null()).status();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An empty home, and the release build first on PATH.
fn environment(mut command: Command, home: &Path) -> Command {
    let path = format!("{}:{}", root().join("target/release").display(), std::env::var("PATH").unwrap_or_default());
    command.env("HOME", home).env("PATH", path).env_remove("XDG_DATA_HOME").env_remove("TRIMTAB_DATA");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    command
}
