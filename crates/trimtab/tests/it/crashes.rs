//! A crash before or after any durable write loses nothing that was acknowledged, and does nothing twice.

use crate::harness::Home;
use std::fs;

/// One push, one promotion, one rollback; the control process may die at any time in between and is started again.
fn journey(home: &mut Home, mut step: impl FnMut(&mut Home, &str)) {
    let page = home.path().join("hello/public/index.html");
    step(home, "trimtab init && git config user.name Ada && git config user.email ada@example.com");
    step(home, "git push -q trimtab main");
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    step(home, "trimtab promote hello --to staging");
    home.eventually("hello-1 is healthy in staging", || home.healthy("staging").as_deref() == Some("hello-1"));
    fs::write(page, "two").unwrap();
    step(home, "git commit -qam two || true; git push -q trimtab main");
    home.eventually("hello-2 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-2"));
    step(home, "trimtab promote hello --build hello-2 --to staging");
    home.eventually("hello-2 is healthy in staging", || home.healthy("staging").as_deref() == Some("hello-2"));
}

/// Every movement is one commit, whatever happened on the way.
fn one_commit_per_movement(home: &Home) {
    home.config();
    for (path, expect) in [("environments/dev/hello.yaml", "2"), ("environments/staging/hello.yaml", "2")] {
        let count = home.sh("config", &format!("git log --oneline -- {path} | wc -l")).ok();
        assert_eq!(
            count.trim(),
            expect,
            "{path}: {}\n{}",
            home.sh("config", "git log --stat").text,
            home.trimtab(&["history"]).text
        );
    }
    let admitted = home.history().iter().filter(|e| e["kind"] == "admitted" && e["environment"] == "staging").count();
    // The empty state of the new environment may have an admission of its own.
    assert!((2..=3).contains(&admitted), "{}", home.trimtab(&["history"]).text);
}

#[test]
fn every_failpoint_is_recovered() {
    let failpoints: Vec<&str> = [apiserver::FAILPOINTS, source::FAILPOINTS, oci::FAILPOINTS].concat();
    assert!(failpoints.len() >= 6, "{failpoints:?}");
    let mut never_hit = Vec::new();
    for failpoint in failpoints {
        let mut home = Home::empty();
        let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello");
        home.sh("", &format!("cp -r {} hello", example.display())).ok();
        home.start(&[("TRIMTAB_FAILPOINT", failpoint)]);
        let mut hit = false;
        if home.has_ended() {
            (hit, _) = (true, home.start(&[]));
        }
        journey(&mut home, |home, script| {
            // A command that a crash interrupted is given again, as a person would.
            for _ in 0..3 {
                let said = home.sh("hello", script);
                if home.has_ended() {
                    hit = true;
                    home.start(&[]);
                }
                if said.code == 0 {
                    return;
                }
            }
            panic!("{failpoint}: {script} does not succeed: {}\n{}", home.sh("hello", script).text, home.log());
        });
        one_commit_per_movement(&home);
        if !hit {
            never_hit.push(failpoint);
        }
    }
    assert!(never_hit.is_empty(), "these failpoints are not on the way of the story: {never_hit:?}");
}

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
