//! A backup is taken while everything runs, and what is restored from it runs the same digests.

use crate::harness::Home;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A home with two builds, the first of them in staging.
pub fn delivered() -> Home {
    let home = Home::up();
    home.hello();
    home.push("one").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    home.trimtab(&["promote", "hello", "--project", "hello", "--build", "hello-1", "--to", "staging"]).ok();
    home.eventually("hello-1 is healthy in staging", || home.healthy("staging").as_deref() == Some("hello-1"));
    fs::write(home.path().join("hello/public/index.html"), "two").unwrap();
    home.push("two").ok();
    home.eventually("hello-2 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-2"));
    home
}

/// What must be the same: history, references of all repositories, image blobs.
fn truth(home: &Home) -> (Vec<Value>, String, String) {
    let references = home.sh(
        ".local/share/trimtab/git",
        "for r in */*.git; do echo $r; git -c safe.directory='*' -C $r for-each-ref --format='%(refname) %(objectname)'; done",
    );
    let blobs = home.sh(".local/share/trimtab/oci/blobs/sha256", "sha256sum * | sort");
    (home.history(), references.ok(), blobs.ok())
}

#[test]
fn a_backup_taken_while_all_runs_restores_the_same() {
    let mut home = delivered();
    fs::write(home.path().join("pass"), "correct horse\n").unwrap();
    let said = home.trimtab(&["backup", "plain.backup"]).ok();
    assert!(said.contains("2 repositories") && said.contains("left out"), "{said}");
    home.trimtab(&["backup", "plain.backup"]).refused(&["exists"]);
    let said = home.trimtab(&["backup", "full.backup", "--passphrase-file", "pass"]).ok();
    assert!(said.contains("encrypted with the passphrase"), "{said}");
    assert_eq!(fs::metadata(home.path().join("full.backup")).unwrap().permissions().mode() & 0o777, 0o600);
    let key = fs::read_to_string(home.data().join("keys/commits")).unwrap();
    let token = fs::read_to_string(home.data().join("admin.token")).unwrap();
    for file in ["plain.backup", "full.backup"] {
        let content = zstd_content(&home, file);
        for secret in [key.lines().nth(2).unwrap(), &token] {
            assert!(!content.windows(secret.len()).any(|w| w == secret.as_bytes()), "a key stands in {file}");
        }
    }
    let before = truth(&home);
    home.trimtab(&["down"]).ok();
    home.kill();

    let target = |other: &Home| other.data().display().to_string();
    let mut other = Home::empty();
    home.trimtab(&["restore", "full.backup", "--data-dir", &target(&other)]).refused(&["passphrase"]);
    fs::write(home.path().join("wrong"), "no\n").unwrap();
    home.trimtab(&["restore", "full.backup", "--data-dir", &target(&other), "--passphrase-file", "wrong"])
        .refused(&["passphrase", "Nothing was changed"]);
    let bytes = fs::read(home.path().join("full.backup")).unwrap();
    fs::write(home.path().join("half.backup"), &bytes[..bytes.len() / 2]).unwrap();
    home.trimtab(&["restore", "half.backup", "--data-dir", &target(&other), "--passphrase-file", "pass"])
        .refused(&["cut off"]);
    assert!(!other.data().exists(), "a refused backup has written something");
    home.trimtab(&["restore", "full.backup", "--data-dir", &target(&other), "--passphrase-file", "pass"]).ok();
    home.trimtab(&["restore", "full.backup", "--data-dir", &target(&other), "--passphrase-file", "pass"])
        .refused(&["not empty"]);
    assert_eq!(fs::read_to_string(other.data().join("keys/commits")).unwrap(), key);
    assert_eq!(fs::read_to_string(other.data().join("admin.token")).unwrap(), token);
    other.start(&[]);
    other.eventually("hello-2 is healthy in dev", || other.healthy("dev").as_deref() == Some("hello-2"));
    other.eventually("hello-1 is healthy in staging", || other.healthy("staging").as_deref() == Some("hello-1"));
    let after = truth(&other);
    assert_eq!(after.0, before.0, "the history");
    assert_eq!(after.1, before.1, "references");
    assert_eq!(after.2, before.2, "image blobs");
    // And it goes on: a rollback needs no build.
    other.trimtab(&["rollback", "--project", "hello", "--env", "dev"]).ok();
    other.eventually("hello-1 is back in dev", || other.healthy("dev").as_deref() == Some("hello-1"));
    other.trimtab(&["down"]).ok();
    other.kill();

    // Without keys, new ones are made.
    let mut third = Home::empty();
    home.trimtab(&["restore", "plain.backup", "--data-dir", &target(&third)]).ok();
    third.start(&[]);
    third.eventually("hello-2 is healthy in dev", || third.healthy("dev").as_deref() == Some("hello-2"));
    assert_ne!(fs::read_to_string(third.data().join("admin.token")).unwrap(), token);
    third.trimtab(&["down"]).ok();
    third.kill();
    home.trimtab(&["restore", "full.backup", "--data-dir", &target(&third), "--passphrase-file", "pass", "--keys"])
        .ok();
    assert_eq!(fs::read_to_string(third.data().join("keys/commits")).unwrap(), key);
}

fn zstd_content(home: &Home, file: &str) -> Vec<u8> {
    zstd::decode_all(fs::File::open(home.path().join(file)).unwrap()).unwrap()
}

/// Killed before or after what it makes durable, a backup is absent or whole, and so is what is restored.
#[test]
fn a_crash_leaves_no_half_of_a_backup() {
    let mut home = Home::up();
    home.hello();
    let at = |failpoint: &str, arguments: &[&str]| {
        home.command("trimtab").env("TRIMTAB_FAILPOINT", failpoint).args(arguments).status().unwrap().code()
    };
    assert_eq!(at("backup.file.before", &["backup", "b"]), None);
    assert!(!home.path().join("b").exists());
    assert_eq!(at("backup.file.after", &["backup", "b"]), None);
    home.trimtab(&["down"]).ok();
    home.kill();
    let data = home.path().join("data").display().to_string();
    let at = |failpoint: &str, arguments: &[&str]| {
        home.command("trimtab").env("TRIMTAB_FAILPOINT", failpoint).args(arguments).status().unwrap().code()
    };
    assert_eq!(at("restore.before", &["restore", "b", "--data-dir", &data]), None);
    assert!(!home.path().join("data").exists());
    assert_eq!(at("restore.after", &["restore", "b", "--data-dir", &data]), None);
    assert!(home.path().join("data/store.redb").exists() && !home.path().join(".data.restoring").exists());
}

#[test]
fn a_torn_store_stops_up_with_advice() {
    let mut home = Home::up();
    home.trimtab(&["down"]).ok();
    home.kill();
    let store = home.data().join("store.redb");
    let bytes = fs::read(&store).unwrap();
    fs::write(&store, &bytes[..bytes.len() / 2]).unwrap();
    home.trimtab(&["up", "--simulate"]).refused(&["store.redb", "damaged", "restore"]);
    assert_eq!(fs::read(&store).unwrap().len(), bytes.len() / 2);
}
