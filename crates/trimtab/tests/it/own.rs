//! Environments with a config repository of their own, where all of an instance counts: crashes, backups, a project that is made
//! again elsewhere.

use crate::harness::Home;
use std::fs;

/// A home whose component is in `live`, which has a repository of its own.
fn delivered(home: &Home) {
    home.sh("hello", "trimtab promote hello --build hello-1 --to live").ok();
    home.eventually("hello-1 is healthy in live", || home.healthy("live").as_deref() == Some("hello-1"));
}

fn with_hello() -> Home {
    let home = Home::up();
    home.hello();
    home.push("one").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    home
}

/// Subjects of main of a hosted repository, newest first.
fn subjects(home: &Home, repository: &str) -> String {
    let directory = format!(".local/share/trimtab/git/hello/{repository}.git");
    home.sh(&directory, "git -c safe.directory='*' log --format=%s main").ok()
}

const CREATE: &str = "trimtab env create live --like dev --after dev --strategy manual --own-repo";
const WINDOW: &str = "trimtab window add always --from 2020-01-01 --to 2999-01-01 --env live";

#[test]
fn a_crash_between_two_repositories_means_nothing_and_the_command_again_finishes_it() {
    let mut home = with_hello();
    let crashing = |home: &mut Home, command: &str| {
        home.kill();
        home.start(&[("TRIMTAB_FAILPOINT", "reconcile.parts.between")]);
        assert_ne!(home.sh("hello", command).code, 0, "it died in the middle");
        home.eventually("it died in the middle", || home.fate().contains("HAS ENDED"));
        home.kill();
        home.start(&[]);
    };
    crashing(&mut home, CREATE);
    // The repository stands, and nobody has heard of the environment.
    assert_eq!(subjects(&home, "config.live"), "live: a new environment like dev\n");
    assert!(!home.sh("hello", "trimtab env list").ok().contains("live"));
    assert!(!subjects(&home, "config").contains("live"));
    home.sh("hello", CREATE).ok();
    assert!(home.sh("hello", "trimtab env list").ok().contains("in hello/config.live"));
    assert_eq!(subjects(&home, "config.live"), "live: a new environment like dev\n", "it stood already");
    delivered(&home);

    // The window stands, and no environment asks for it.
    crashing(&mut home, WINDOW);
    assert!(subjects(&home, "config").starts_with("windows.yaml: window always\n"));
    assert!(!subjects(&home, "config.live").contains("window"));
    let listed = |home: &Home| home.sh("hello", "trimtab window list").ok();
    assert!(listed(&home).contains("always") && !listed(&home).contains("live"), "{}", listed(&home));
    home.sh("hello", WINDOW).ok();
    assert!(listed(&home).contains("live"), "{}", listed(&home));
    assert_eq!(subjects(&home, "config").matches("window always").count(), 1);
    assert_eq!(subjects(&home, "config.live").matches("window always").count(), 1);
    home.sh("hello", WINDOW).refused(&["has a window always already"]);
    home.trimtab(&["audit", "verify", "--project", "hello"]).ok();
}

#[test]
fn backup_restore_up_from_and_at_into_work_with_a_repository_of_its_own() {
    let old = with_hello();
    old.sh("hello", CREATE).ok();
    delivered(&old);
    // What ran in it comes back elsewhere, and what ran elsewhere in it.
    old.sh("hello", "trimtab at live 2999-01-01 --into replay").ok();
    old.eventually("hello-1 is healthy in replay", || old.healthy("replay").as_deref() == Some("hello-1"));
    fs::write(old.path().join("hello/public/index.html"), "two").unwrap();
    old.push("two").ok();
    old.eventually("hello-2 is healthy in dev", || old.healthy("dev").as_deref() == Some("hello-2"));
    old.sh("hello", "trimtab at dev 2999-01-01 --into live").ok();
    old.eventually("hello-2 is healthy in live", || old.healthy("live").as_deref() == Some("hello-2"));
    assert!(subjects(&old, "config.live").starts_with("live: what ran in dev at 2999-01-01\nlive: hello-1\n"));
    assert!(!subjects(&old, "config").contains("what ran in dev"));
    let whole = subjects(&old, "config.live");

    // A backup has it.
    old.trimtab(&["backup", "b", "--project", "hello"]).ok();
    let clone = |from: &str, to: &str| {
        let url = format!("\"$(trimtab url --config --project hello {from})\"");
        old.sh("", &format!("git -c 'credential.helper=!trimtab credential' clone -q --mirror {url} {to}")).ok();
    };
    fs::create_dir_all(old.path().join("both")).unwrap();
    fs::create_dir_all(old.path().join("old")).unwrap();
    fs::create_dir_all(old.path().join("one")).unwrap();
    clone("", "both/config.git");
    clone("", "one/config.git");
    clone("", "old/config.git");
    clone("--env live", "both/config.live.git");
    clone("--env live", "old/config.live.git");
    old.sh("old/config.live.git", "git update-ref refs/heads/main main~1").ok();
    let history = old.history();
    let (backup, from) =
        (old.path().join("b"), |name: &str| old.path().join(name).join("config.git").display().to_string());
    let images = old.data().join("oci");
    old.trimtab(&["down"]).ok();

    let mut restored = Home::empty();
    let data = restored.data().display().to_string();
    restored.trimtab(&["restore", backup.to_str().unwrap(), "--data-dir", &data]).ok();
    restored.start(&[]);
    restored.eventually("hello-2 is healthy in live", || restored.healthy("live").as_deref() == Some("hello-2"));
    assert_eq!(restored.history(), history);
    assert_eq!(subjects(&restored, "config.live"), whole);
    restored.trimtab(&["rollback", "--project", "hello", "--env", "live"]).ok();
    restored.eventually("hello-1 is back in live", || restored.healthy("live").as_deref() == Some("hello-1"));
    restored.trimtab(&["down"]).ok();
    restored.kill();

    // Both repositories; the project's alone; an own one that is older than what the project's says of it.
    for (place, says, stands) in [
        ("both", "hello/config.live from ", whole.as_str()),
        (
            "one",
            "cannot be read; what stood there is made again from refs/trimtab/keep/line",
            "live: what stood in hello/config\n",
        ),
        ("old", "is older than what", "live: what stood in hello/config\n"),
    ] {
        let mut new = Home::empty();
        fs::create_dir_all(new.data()).unwrap();
        new.sh("", &format!("cp -r {} {}/oci", images.display(), new.data().display())).ok();
        new.start_with(&["--from", &from(place)]);
        new.eventually("it is said what became of it", || new.log().contains(says));
        new.eventually("its repository stands", || {
            new.data().join("git/hello/config.live.git/refs/heads/main").exists()
                && subjects(&new, "config.live") == stands
        });
        // Sources are missing, and nothing moves.
        let waits = || new.sh("", "trimtab status --project hello").text;
        new.eventually("hello-2 waits in live", || {
            new.environment("live").is_some_and(|live| live["components"][0]["build"] == "hello-2")
        });
        new.eventually("its source is missing", || waits().contains("SourceMissing"));
        let told: Vec<_> = serde_json::from_str::<Vec<serde_json::Value>>(
            &new.trimtab(&["history", "--project", "hello", "--output", "json", "-n", "1000"]).ok(),
        )
        .unwrap();
        assert_eq!(told, history, "{place}");
        new.trimtab(&["audit", "verify", "--project", "hello"]).ok();
    }
}

#[test]
fn an_environment_whose_repository_is_nowhere_is_held_until_it_is_pushed() {
    let old = with_hello();
    old.sh("hello", CREATE).ok();
    delivered(&old);
    // Branches alone: neither history nor what stood elsewhere.
    for (option, to) in [("", "config.git"), ("--env live", "live.git")] {
        let url = format!("\"$(trimtab url --config --project hello {option})\"");
        old.sh("", &format!("git -c 'credential.helper=!trimtab credential' clone -q --bare {url} {to}")).ok();
    }
    let mut new = Home::empty();
    new.start_with(&["--from", &old.path().join("config.git").display().to_string()]);
    new.eventually("it is said", || {
        new.log().contains("hello/config.live: ") && new.log().contains("is held until its main is pushed")
    });
    let missing = "environments/live.yaml is missing in the repository config.live, project.yaml names it: push it to what `trimtab url --config --env live` prints";
    new.eventually("it is held", || new.trimtab(&["status", "--project", "hello"]).text.contains(missing));
    let push = "git -c 'credential.helper=!trimtab credential' push -q \"$(trimtab url --config --env live --project hello)\" main";
    new.sh("", &format!("git clone -q {} live && cd live && {push}", old.path().join("live.git").display())).ok();
    new.eventually("hello-1 stands in live", || {
        new.environment("live")
            .is_some_and(|live| live["components"][0]["build"] == "hello-1" || live["held"].is_object())
    });
}
