//! `kill -9` at seeded-random moments, while pushes and promotions are on their way.

use crate::harness::Home;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const MOMENTS: u64 = 25;

/// The gateway's process.
pub fn gateway(home: &Home) -> Option<i32> {
    gateways(home).pop()
}

/// Gateway processes, by the data directory in their arguments: while one hands over to another there are two.
pub fn gateways(home: &Home) -> Vec<i32> {
    let socket = home.data().join("run/gateway.sock").display().to_string();
    let found = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let arguments = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<_> = arguments.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        (words.iter().any(|w| w == "gateway") && words.iter().any(|w| *w == socket)).then_some(pid)
    });
    found.collect()
}

/// Files that only a process at work has.
pub fn leftovers(directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let marks = [".lock", ".tmp", ".new", ".part"];
        let begins = ["tmp_objdir-", "incoming-", ".aside-", "tmp_pack", "tmp_obj"];
        if marks.iter().any(|mark| name.ends_with(mark)) || begins.iter().any(|mark| name.starts_with(mark)) {
            found.push(path.display().to_string());
        }
        if path.is_dir() && !path.is_symlink() {
            leftovers(&path, found);
        }
    }
}

#[test]
fn kill_9_at_25_random_moments_leaves_one_commit_per_movement() {
    let mut home = Home::up();
    home.hello();
    home.push("first").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    let mut seed = 0x7152_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % below
    };
    let mut moments = Vec::new();
    for moment in 0..MOMENTS {
        std::fs::write(home.path().join("hello/public/index.html"), format!("moment {moment}")).unwrap();
        home.sh("hello", &format!("git commit -qam 'moment {moment}'")).ok();
        let mut push = home
            .command("bash")
            .current_dir(home.path().join("hello"))
            .args(["-c", "git push -q trimtab main; trimtab promote hello --to staging --project hello"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random(900)));
        match (random(4), gateway(&home)) {
            (0, Some(pid)) => {
                let _ = home.command("kill").args(["-9", &pid.to_string()]).status();
            }
            _ => {
                moments.push(format!("{} killed", jiff::Timestamp::now()));
                home.kill();
                home.start(&[]);
                moments.push(format!("{} ready", jiff::Timestamp::now()));
            }
        }
        let _ = push.kill();
        let _ = push.wait();
    }
    // What a person does whose push broke off.
    home.eventually("the last push is taken", || home.sh("hello", "git push -q trimtab main").code == 0);
    let status =
        || -> Value { serde_json::from_str(&home.trimtab(&["status", "--output", "json"]).text).unwrap_or_default() };
    home.eventually("dev is healthy", || {
        let status = status();
        let dev = status["environments"][0].clone();
        dev["error"].is_null() && dev["held"].is_null() && dev["components"][0]["health"] == "Healthy"
    });
    home.eventually("the gateway runs", || gateway(&home).is_some());

    home.config();
    for environment in ["dev", "staging"] {
        let log = home.sh("config", &format!("git log --format=%s -- environments/{environment}/hello.yaml")).ok();
        let movements: Vec<&str> = log.lines().collect();
        assert_eq!(
            movements.iter().collect::<BTreeSet<_>>().len(),
            movements.len(),
            "{environment} moved twice: {log}"
        );
        let moved = |e: &Value| e["summary"].as_str().is_some_and(|s| s.contains(&format!("{environment}: hello-")));
        let admitted = |e: &&Value| e["kind"] == "admitted" && e["environment"] == environment && moved(e);
        assert_eq!(
            home.history().iter().filter(admitted).count(),
            movements.len(),
            "{log}\n{}",
            home.trimtab(&["history"]).text
        );
    }
    let ids: Vec<String> = home.history().iter().map(|e| e["id"].to_string()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an entry of the journal stands twice");
    let repaired: Vec<Value> = home.history().into_iter().filter(|e| e["kind"] == "repaired").collect();
    let line = |e: &Value| format!("{} {} {} {}", e["at"], e["id"], e["commit"], e["summary"]);
    let lines: Vec<String> = home.history().iter().map(line).collect();
    assert!(repaired.is_empty(), "a crash is no drift: {repaired:#?}\n{}\n{moments:#?}", lines.join("\n"));
    let git = home.data().join("git");
    let check =
        "for r in */*.git; do git -c safe.directory='*' -C $r fsck --strict --full --no-dangling || exit 1; done";
    home.sh(".local/share/trimtab/git", check).ok();
    home.kill();
    home.start(&[]);
    let mut found = Vec::new();
    leftovers(&git, &mut found);
    leftovers(&home.data().join("oci/temporary"), &mut found);
    assert!(found.is_empty(), "left over: {found:?}");
}
