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
    more(&home);
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
    assert_eq!(files(&other, ""), files(&home, ""));
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
    let people = files(&home, "people.json");
    let (there, key_line) = (files(&third, ""), files(&home, "keys/commits"));
    assert!(people.lines().count() == 1 && there.contains(&people), "{there}");
    assert!(!there.contains("dataplanes") && !there.contains("keys/secrets") && !there.contains(&key_line), "{there}");
    third.start(&[]);
    third.eventually("hello-2 is healthy in dev", || third.healthy("dev").as_deref() == Some("hello-2"));
    assert_ne!(fs::read_to_string(third.data().join("admin.token")).unwrap(), token);
    third.trimtab(&["down"]).ok();
    third.kill();
    home.trimtab(&["restore", "full.backup", "--data-dir", &target(&third), "--passphrase-file", "pass", "--keys"])
        .ok();
    assert_eq!(files(&third, ""), files(&home, ""));
}

/// A person with a key and a token, a secret, the credential of a cluster.
fn more(home: &Home) {
    let script = "ssh-keygen -q -t ed25519 -N '' -f key && trimtab user add ada --role developer --ssh-key key.pub && \
        trimtab token create --user ada >token 2>/dev/null && \
        printf S3CRET | trimtab secret set common PASSWORD --project hello && \
        trimtab dataplane add edge --project hello --kubeconfig edge.kubeconfig";
    let kubeconfig = "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: T0KEN}}]\n\
        contexts: [{name: edge, context: {cluster: c, user: u}}]\ncurrent-context: edge\n";
    fs::write(home.path().join("edge.kubeconfig"), kubeconfig).unwrap();
    home.sh("", script).ok();
    let there = files(home, "");
    for file in ["people.json", "admin.token", "keys/secrets", "keys/commits", "keys/ssh_host_ed25519", "keys/ca.pem"] {
        assert!(there.contains(file), "{file} is missing in {there}");
    }
    assert!(there.contains("dataplanes/hello/edge.json"), "{there}");
}

/// Everything that says who may do what and opens what is encrypted: mode, digest, name.
fn files(home: &Home, only: &str) -> String {
    let script = "for f in $(find people.json admin.token keys dataplanes -type f 2>/dev/null | sort); do \
        echo \"$(stat -c %a $f) $(sha256sum $f)\"; done";
    let said = home.sh(".local/share/trimtab", script).ok();
    said.lines().filter(|line| line.contains(only)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_store_that_is_gone_is_said_and_made_again_from_the_repositories() {
    let mut home = delivered();
    for (build, line) in [("hello-3", "NONSENSE"), ("hello-4", "NONSENSE again")] {
        home.sh("hello", &format!("echo {line} > Dockerfile")).ok();
        assert!(home.push(build).text.contains(&format!("build {build} failed")));
    }
    let (history, key) = (home.history(), fs::read(home.data().join("keys/commits")).unwrap());
    home.kill();
    fs::remove_file(home.data().join("store.redb")).unwrap();
    home.start(&[]);
    let said = home.log();
    assert!(said.contains("store.redb was not there") && said.contains("3 builds"), "{said}");
    home.eventually("hello-2 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-2"));
    home.eventually("hello-1 is healthy in staging", || home.healthy("staging").as_deref() == Some("hello-1"));
    assert_eq!(home.history(), history, "nothing was built or moved");
    assert_eq!(fs::read(home.data().join("keys/commits")).unwrap(), key);
    // Numbers go on where they were.
    home.sh("hello", "git checkout -q HEAD~2 Dockerfile && echo five > public/index.html").ok();
    assert!(home.push("five").text.contains("hello-5"));
    home.eventually("hello-5 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-5"));
    home.kill();
    home.start(&[]);
    assert_eq!(home.log().matches("was not there").count(), 1);
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
