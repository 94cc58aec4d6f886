//! A crash before or after any durable write loses nothing that was acknowledged, and does nothing twice.

use crate::harness::Home;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A home whose control process dies once, at a failpoint, and is started again by whoever notices.
struct Fragile {
    home: Home,
    died: bool,
}

impl Fragile {
    fn open(failpoint: &str) -> Self {
        let mut fragile = Self { home: Home::empty(), died: false };
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello");
        fragile.home.sh("", &format!("cp -r {} hello", example.display())).ok();
        fragile.home.start(&[("TRIMTAB_FAILPOINT", failpoint)]);
        fragile.revive();
        fragile
    }

    fn revive(&mut self) {
        if self.home.has_ended() {
            self.died = true;
            self.home.start(&[]);
        }
    }

    /// A command that a crash interrupts is given again, as a person would.
    fn step(&mut self, script: &str) {
        for _ in 0..5 {
            let said = self.home.sh("hello", script);
            self.revive();
            if said.code == 0 {
                return;
            }
        }
        panic!("{script} does not succeed: {}\n{}", self.home.sh("hello", script).text, self.home.log());
    }

    fn healthy(&mut self, environment: &str, build: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.home.healthy(environment).as_deref() != Some(build) {
            self.revive();
            assert!(
                Instant::now() < deadline,
                "{build} in {environment}: {}\n{}",
                self.home.trimtab(&["status"]).text,
                self.home.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Two pushes, two promotions and a release.
fn journey(failpoint: &str) -> Fragile {
    let mut one = Fragile::open(failpoint);
    one.step("trimtab init && git config user.name Ada && git config user.email ada@example.com");
    one.step("git push -q trimtab main");
    one.healthy("dev", "hello-1");
    one.step("trimtab promote hello --build hello-1 --to staging");
    one.healthy("staging", "hello-1");
    one.step("echo two > public/index.html; git commit -qam two || true; git push -q trimtab main");
    one.healthy("dev", "hello-2");
    one.step("trimtab promote hello --build hello-2 --to staging");
    one.healthy("staging", "hello-2");
    one.step("trimtab release create 1.0.0 --from staging || trimtab release show 1.0.0");
    one
}

/// Every movement is one commit, whatever happened on the way.
fn one_commit_per_movement(home: &Home, failpoint: &str) {
    home.config();
    for environment in ["dev", "staging"] {
        let log = home.sh("config", &format!("git log --format=%s -- environments/{environment}/hello.yaml")).ok();
        assert_eq!(log.lines().count(), 2, "{failpoint}: {environment}: {log}\n{}", home.trimtab(&["history"]).text);
        let admitted = |e: &&serde_json::Value| {
            e["kind"] == "admitted" && e["environment"] == environment && !e["build"].is_null()
        };
        let history = home.history();
        assert_eq!(
            history.iter().filter(admitted).count(),
            2,
            "{failpoint}: {environment}: {}",
            home.trimtab(&["history"]).text
        );
    }
    assert_eq!(
        home.history().iter().filter(|e| e["kind"] == "repaired").count(),
        0,
        "{failpoint}: a crash is no drift: {}",
        home.trimtab(&["history"]).text
    );
}

/// Unpacking is for containers, which a simulated node does not run: the crate's own tests hit these.
fn needs_containers(failpoint: &str) -> bool {
    failpoint.starts_with("oci.layer.") || failpoint.starts_with("oci.unpack.")
}

#[test]
fn every_failpoint_is_recovered() {
    let all = [apiserver::FAILPOINTS, source::FAILPOINTS, oci::FAILPOINTS, reconcile::FAILPOINTS].concat();
    let elsewhere = |f: &str| needs_containers(f) || f.starts_with("source.key.") || f.starts_with("reconcile.parts.");
    let all: Vec<&str> = all.into_iter().filter(|f| !elsewhere(f)).collect();
    assert!(all.len() >= 10, "{all:?}");
    let mut never_hit = Vec::new();
    for failpoint in all {
        let one = journey(failpoint);
        one_commit_per_movement(&one.home, failpoint);
        if !one.died {
            never_hit.push(failpoint);
        }
    }
    assert!(never_hit.is_empty(), "not on the way of a push, a promotion and a release: {never_hit:?}");
}

/// Files of the data directory that are replaced whole: what was said stands, whatever died on the way.
#[test]
fn every_failpoint_of_keys_people_and_routes_is_recovered() {
    let files = ["record", "token", "key", "people", "dataplane"].map(|file| format!("instance.{file}"));
    let files = files.iter().map(String::as_str).chain(["source.key", "vault.keys", "gateway.routes"]);
    for failpoint in files.flat_map(|file| ["before", "after"].map(|when| format!("{file}.{when}"))) {
        let mut one = Fragile::open(&failpoint);
        fs::write(one.home.path().join("hello/edge.kubeconfig"), EDGE).unwrap();
        one.step("trimtab init && git config user.name Ada && git config user.email ada@example.com");
        one.step("test -e key || ssh-keygen -q -t ed25519 -N '' -f key; trimtab user add ada --role developer --ssh-key key.pub");
        one.step("printf S3CRET | trimtab secret set common PASSWORD");
        one.step("trimtab dataplane add edge --kubeconfig edge.kubeconfig");
        one.step("git push -q trimtab main");
        one.healthy("dev", "hello-1");
        let home = &mut one.home;
        // The gateway dies in the place of the control process, and is started again by it.
        let died = one.died || (failpoint.starts_with("gateway.") && home.log().contains("the gateway ended"));
        assert!(died, "{failpoint} is not on the way");
        home.kill();
        home.start(&[]);
        assert!(home.trimtab(&["key", "list", "--user", "ada"]).ok().contains("SHA256:"), "{failpoint}");
        home.eventually("everything is there that was said", || {
            home.trimtab(&["dataplane", "list"]).text.contains("edge")
                && home.sh("hello", "trimtab secret list").text.contains("PASSWORD")
        });
        home.trimtab(&["audit", "verify", "--project", "hello"]).ok();
        home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
        let left =
            home.sh(".local/share/trimtab", "ls *.tmp keys/*.tmp keys/*.new dataplanes/*/*.tmp 2>/dev/null").text;
        assert_eq!(left, "", "{failpoint}");
    }
}

/// Of a cluster that nobody runs.
const EDGE: &str = "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: T0KEN}}]\n\
    contexts: [{name: edge, context: {cluster: c, user: u}}]\ncurrent-context: edge\n";

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let mut home = Home::up();
    home.hello();
    home.push("one").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    let history = home.history();
    home.kill();
    home.start(&[]);
    assert_eq!(home.history(), history);
    home.eventually("hello-1 is healthy in dev again", || home.healthy("dev").as_deref() == Some("hello-1"));
    assert_eq!(home.history(), history, "a restart is no event");
}
