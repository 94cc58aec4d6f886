//! What real containers survive: a reboot, and `kill -9` of any process at any moment.

use crate::harness::Home;
use crate::kills::{gateway, leftovers};
use crate::rollouts::{load::Load, two_builds};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Moments of the random test, and how long all of them may take.
const MOMENTS: u64 = 25;
const MOMENTS_LIMIT: Duration = Duration::from_secs(90);

/// Processes of containers, by directory.
pub fn containers(home: &Home) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(home.data().join("node/containers")).unwrap().flatten();
    let pid = |path: &Path| -> Option<u64> {
        serde_json::from_slice::<Value>(&fs::read(path.join("state.json")).ok()?).ok()?["pid"].as_u64()
    };
    entries.filter_map(|e| Some((e.file_name().to_string_lossy().into_owned(), pid(&e.path())?))).collect()
}

/// Pods of an instance's workloads that are there.
fn pods(home: &Home) -> BTreeSet<String> {
    let script =
        "kubectl --kubeconfig kubeconfig get pods -A -o 'jsonpath={range .items[*]}{.metadata.uid}{\"\\n\"}{end}'";
    home.sh("", &format!("test -e kubeconfig || trimtab kubeconfig > kubeconfig; {script}"))
        .text
        .lines()
        .map(str::to_owned)
        .collect()
}

/// First eight digits of the instance's id: links and cgroups carry them.
fn short(home: &Home) -> String {
    let record: Value = serde_json::from_slice(&fs::read(home.data().join("instance.json")).unwrap()).unwrap();
    record["id"].as_str().unwrap()[..8].to_owned()
}

/// Processes whose command line begins with these words and names this directory.
fn processes(words: &[&str], directory: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line: Vec<String> =
            line.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let is = line.iter().skip(1).take(words.len()).map(String::as_str).eq(words.iter().copied());
        if is && line.iter().any(|word| Path::new(word).starts_with(directory)) {
            found.push(pid);
        }
    }
    found
}

fn shims(home: &Home) -> Vec<i32> {
    processes(&["shim"], &home.data())
}

/// Directories of cgroups with this instance's name, the deepest first.
fn cgroups(short: &str) -> Vec<PathBuf> {
    fn walk(directory: &Path, inside: bool, name: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if !path.is_dir() || path.is_symlink() {
                continue;
            }
            let ours = inside || entry.file_name().to_string_lossy() == name;
            if ours || directory.components().count() <= 4 {
                walk(&path, ours, name, found);
            }
            if ours {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), false, &format!("trimtab-{short}"), &mut found);
    found
}

fn links(short: &str) -> Vec<String> {
    let all = fs::read_dir("/sys/class/net").unwrap().flatten();
    all.map(|link| link.file_name().to_string_lossy().into_owned()).filter(|name| name.contains(short)).collect()
}

fn kill(pid: i32) {
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(std::process::Stdio::null()).status();
}

/// What a machine that goes down takes with it: processes, mounts, links, rules, cgroups.
fn power_off(home: &mut Home) {
    let short = short(home);
    home.kill();
    for pid in gateway(home).into_iter().chain(shims(home)) {
        kill(pid);
    }
    let groups = cgroups(&short);
    for group in &groups {
        for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
            kill(pid.parse().unwrap());
        }
    }
    home.eventually("all processes are gone", || {
        groups.iter().all(|group| fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().is_empty())
    });
    for group in &groups {
        let _ = fs::remove_dir(group);
    }
    let below = home.data().canonicalize().unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    for point in points.iter().rev().filter(|point| Path::new(point).starts_with(&below)) {
        home.sh("", &format!("umount -l '{point}'")).ok();
    }
    for link in links(&short) {
        // The other end of a pair goes with the first.
        home.sh("", &format!("ip link delete {link} 2>/dev/null || true")).ok();
    }
    let table = format!(
        "nft -j list tables | jq -r '.nftables[].table? // empty | \"\\(.family) \\(.name)\"' | grep {short} || true"
    );
    for table in home.sh("", &table).ok().lines() {
        home.sh("", &format!("nft delete table {table}")).ok();
    }
    assert!(links(&short).is_empty() && cgroups(&short).is_empty() && shims(home).is_empty());
}

/// The version that an environment's address answers with.
fn version(home: &Home, environment: &str) -> String {
    let address = home.address("gateway");
    let host = format!("hello.{environment}.hello.localhost");
    home.sh("", &format!("curl -sS --max-time 10 -H 'Host: {host}' http://{address}/")).text
}

/// Everything that must not move by itself.
fn truth(home: &Home) -> (Vec<Value>, String, String) {
    let pins = home.sh(".local/share/trimtab/git/hello", "git -c safe.directory='*' -C config.git rev-parse main").ok();
    let asked = home.sh("", "kubectl --kubeconfig kubeconfig get builds,promotions -n hello -o name | sort").ok();
    (home.history(), pins, asked)
}

/// As many shims, namespaces, links and cgroups as there are Pods, and nothing of anything that was.
fn no_orphans(home: &Home) {
    let short = short(home);
    let (mut seen, mut expected) = (String::new(), String::new());
    home.eventually("no more runs than Pods are there", || {
        let pods = pods(home);
        let names = |directory: &str| -> BTreeSet<String> {
            let entries = fs::read_dir(home.data().join(directory)).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let directories: BTreeSet<String> =
            names("node/pods").iter().filter_map(|name| Some(name.rsplit_once('_')?.1.to_owned())).collect();
        let pairs = links(&short).iter().filter(|link| link.starts_with("tp")).count();
        let running = containers(home).len();
        seen = format!(
            "{directories:?} {:?} {pairs} links, {running} containers, {} shims",
            names("node/netns"),
            shims(home).len()
        );
        expected = format!("{pods:?}");
        pods.len() == pairs
            && running == pairs
            && shims(home).len() == pairs
            && directories == pods
            && names("node/netns") == pods
    });
    eprintln!("{seen}");
    assert!(!expected.is_empty());
    let mut left = Vec::new();
    leftovers(&home.data().join("git"), &mut left);
    leftovers(&home.data().join("oci/temporary"), &mut left);
    assert!(left.is_empty(), "left over: {left:?}");
}

#[test]
#[ignore = "root: runs containers, and takes away what a reboot takes"]
fn a_reboot_brings_everything_back_as_it_was() {
    let mut home = Home::up_with_containers();
    two_builds(&home);
    home.sh("hello", "trimtab promote hello --build hello-1 --to staging").ok();
    home.eventually("hello-1 is healthy in staging", || home.healthy("staging").as_deref() == Some("hello-1"));
    assert_eq!(pods(&home).len(), 4);
    let before = truth(&home);
    power_off(&mut home);
    home.start_containers();
    home.eventually("hello-2 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-2"));
    home.eventually("hello-1 is healthy in staging", || home.healthy("staging").as_deref() == Some("hello-1"));
    home.eventually("both serve", || version(&home, "dev") == "version 2" && version(&home, "staging") == "version 1");
    assert_eq!(truth(&home), before, "nothing was built, moved or repaired");
    no_orphans(&home);
    // And it goes on.
    home.sh("hello", "trimtab promote hello --build hello-2 --to staging").ok();
    home.eventually("staging serves it", || version(&home, "staging") == "version 2");
}

#[test]
#[ignore = "root: runs containers"]
fn kill_9_of_control_gateway_or_shim_at_25_random_moments_under_load() {
    let mut home = Home::up_with_containers();
    two_builds(&home);
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    eprintln!("SEED={seed}");
    let mut state = seed;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    home.sh("hello", "trimtab promote hello --build hello-2 --to staging").ok();
    home.eventually("staging serves", || version(&home, "staging") == "version 2");
    let load = Load::start(home.address("gateway").parse().unwrap(), "hello.staging.hello.localhost", 100);
    let begin = Instant::now();
    let mut killed: BTreeMap<&str, u64> = BTreeMap::new();
    for moment in 0..MOMENTS {
        if begin.elapsed() > MOMENTS_LIMIT {
            eprintln!("stopped after {moment} moments");
            break;
        }
        let build = 1 + moment % 2;
        let mut moving = home
            .command("trimtab")
            .args(["promote", "hello", "--project", "hello", "--build", &format!("hello-{build}"), "--to", "staging"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random(1500)));
        let shims = shims(&home);
        let (what, pid) = match (random(3), gateway(&home)) {
            (0, Some(pid)) => ("gateway", Some(pid)),
            (1, _) if !shims.is_empty() => ("shim", Some(shims[random(shims.len() as u64) as usize])),
            _ => ("control", None),
        };
        *killed.entry(what).or_default() += 1;
        match pid {
            Some(pid) => kill(pid),
            None => {
                home.kill();
                home.start_containers();
            }
        }
        let _ = moving.kill();
        let _ = moving.wait();
    }
    let report = load.stop();
    let failed = report.failures.iter().filter(|line| line.starts_with("GET") || line.starts_with("POST")).count();
    eprintln!("killed {killed:?} in {:?}; {failed} of {} requests failed", begin.elapsed(), report.requests);
    assert!((failed as u64) < report.requests, "nobody was ever answered: {:?}", report.failures.last());

    // Every Pod is well again; what serves is what was admitted.
    let mut admitted = String::new();
    home.eventually("staging is healthy", || {
        let settled = home.environment("staging").is_some_and(|e| e["error"].is_null() && e["held"].is_null());
        admitted = home.healthy("staging").unwrap_or_default();
        settled && !admitted.is_empty()
    });
    let last = home.history().into_iter().find(|e| {
        e["kind"] == "admitted" && e["environment"] == "staging" && e["summary"].to_string().contains("hello-")
    });
    let summary = last.map(|entry| entry["summary"].to_string()).unwrap_or_default();
    assert!(summary.trim_end_matches('"').ends_with(&admitted), "{admitted} runs; {summary}");
    home.eventually("staging serves it", || {
        Some(version(&home, "staging").as_str())
            == admitted.strip_prefix("hello-").map(|n| format!("version {n}")).as_deref()
    });
    home.eventually("dev serves what it did", || version(&home, "dev") == "version 2");

    home.config();
    let log = home.sh("config", "git log --format=%H -- environments/staging/hello.yaml").ok();
    let moved = |e: &Value| {
        e["summary"].as_str().is_some_and(|s| s.contains("staging: hello-") || s.contains("staging: hello "))
    };
    let history = home.history();
    let entries =
        history.iter().filter(|e| e["kind"] == "admitted" && e["environment"] == "staging" && moved(e)).count();
    assert_eq!(entries, log.lines().count(), "one commit per movement\n{log}\n{}", home.trimtab(&["history"]).text);
    let ids: BTreeSet<String> = history.iter().map(|e| e["id"].to_string()).collect();
    assert_eq!(ids.len(), history.len(), "an entry of the journal stands twice");
    home.trimtab(&["audit", "verify", "--project", "hello"]).ok();
    no_orphans(&home);
}
