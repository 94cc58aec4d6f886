//! Changes over time: what a crash, a lost store and people who go around them leave.

use crate::harness::Home;
use serde_json::Value;
use std::fs;

/// A hello that is healthy in dev, and a commit in `config/` that is proposed.
fn proposed(home: &Home) {
    home.hello();
    home.push("one").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    home.config();
    let said = home.sh(
        "config",
        "printf 'overrides: {hello: {replicas: 2}}\\n' >>environments/dev.yaml && git commit -qam 'dev: two' -m 'because' && \
         git push -o topic=two origin HEAD:refs/for/main",
    );
    assert!(said.ok().contains("Change 1 is open: dev: two"));
}

fn change(home: &Home, number: u64) -> Value {
    let said = home.trimtab(&["change", "show", &number.to_string(), "--output", "json"]);
    serde_json::from_str(&said.ok()).unwrap()
}

#[test]
fn a_change_survives_a_crash_and_the_loss_of_the_store() {
    let mut home = Home::up();
    proposed(&home);
    home.trimtab(&["change", "comment", "1", "why?"]).ok();
    let before = change(&home, 1);
    home.kill();
    home.start(&[]);
    home.eventually("it is there again", || home.trimtab(&["change", "show", "1"]).code == 0);
    assert_eq!(change(&home, 1), before);

    // Without the store, commits and journal tell all but what was said.
    home.kill();
    fs::remove_file(home.data().join("store.redb")).unwrap();
    home.start(&[]);
    home.eventually("it is made anew", || home.trimtab(&["change", "show", "1"]).code == 0);
    let after = change(&home, 1);
    for field in ["title", "description", "commit", "base", "commits", "by"] {
        assert_eq!(after["status"]["patchSets"][0][field], before["status"]["patchSets"][0][field], "{field}");
    }
    assert_eq!((&after["spec"]["author"], &after["plans"]), (&before["spec"]["author"], &before["plans"]));
    assert_eq!(after["status"]["comments"], Value::Null);
    // Its number is not given again.
    let again = "git commit -q --allow-empty -m other && git push origin HEAD:refs/for/main";
    assert!(home.sh("config", again).ok().contains("Change 2 is open: other"));
}

#[test]
fn what_comes_to_main_another_way_is_merged() {
    let home = Home::up();
    proposed(&home);
    // In a clone of its own, as a reviewer has it.
    home.sh("", "git clone -q \"$(trimtab url --config)\" review -c 'credential.helper=!trimtab credential'").ok();
    assert!(home.sh("review", "trimtab change checkout 1").ok().contains("change-1 is at"));
    home.sh("review", "grep -q 'replicas: 2' environments/dev.yaml").ok();
    home.sh("hello", "trimtab change checkout 1").refused(&["nothing in common", "git clone"]);
    home.sh("review", "git push origin change-1:main").ok();
    home.eventually("the loop has noticed", || change(&home, 1)["status"]["state"] == "Merged");
    let history = home.history();
    let told = |kind: &str| history.iter().filter(|entry| entry["kind"] == kind).count();
    assert_eq!((told("opened"), told("merged")), (1, 1), "{history:?}");
    let said = home.sh("config", "git push -o topic=two origin HEAD:refs/for/main");
    said.refused(&["stands on main already"]);
}
