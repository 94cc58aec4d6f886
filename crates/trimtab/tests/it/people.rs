//! People: SSH keys, tokens and roles, as their owners use them.

use crate::harness::{Home, Said};
use std::fs;

/// A key pair in the home, and git's ssh with it and nobody's configuration.
fn key(home: &Home, name: &str) -> String {
    home.sh("", &format!("ssh-keygen -q -t ed25519 -N '' -C {name}@laptop -f key-{name}")).ok();
    home.sh("", "trimtab url --known-hosts > known_hosts").ok();
    let path = home.path().display();
    format!(
        "ssh -F /dev/null -o UserKnownHostsFile={path}/known_hosts -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes \
         -o IdentityAgent=none -i {path}/key-{name}"
    )
}

/// The token is a file in the home: it stands in no argument.
fn token(home: &Home, user: &str, options: &str) -> String {
    home.sh("", &format!("trimtab token create --user {user} {options} 2>/dev/null > token-{user}")).ok();
    fs::read_to_string(home.path().join(format!("token-{user}"))).unwrap().trim().to_owned()
}

fn as_user(home: &Home, user: &str, command: &str) -> Said {
    home.sh("", &format!("TRIMTAB_TOKEN=$(cat token-{user}) {command}"))
}

#[test]
fn a_registered_key_pushes_and_its_owner_stands_in_the_history() {
    let mut home = Home::up();
    home.hello();
    let ssh = key(&home, "alice");
    let up = home.log();
    let fingerprint = home.sh("", "ssh-keygen -l -f known_hosts | cut -d' ' -f2").ok().trim().to_owned();
    assert!(up.contains(&fingerprint) && up.contains("ssh://git@"), "{fingerprint} is missing in: {up}");
    assert!(home.trimtab(&["status"]).ok().contains(&fingerprint));

    let push = |home: &Home| {
        let command = format!("GIT_SSH_COMMAND='{ssh}' git push \"$(trimtab url --ssh hello)\" HEAD:main");
        home.sh("hello", &format!("git commit -qm ssh --allow-empty; {command}"))
    };
    push(&home).refused(&["Permission denied", "trimtab key add"]);
    home.trimtab(&["user", "add", "alice", "--ssh-key", "key-alice"]).refused(&["private key"]);
    home.trimtab(&["user", "add", "alice", "--role", "viewer", "--project", "hello", "--ssh-key", "key-alice.pub"])
        .ok();
    push(&home).refused(&["alice may not push", "trimtab user add alice --role developer --project hello"]);
    home.trimtab(&["user", "add", "alice", "--role", "developer", "--project", "hello"]).ok();
    let said = push(&home).ok();
    assert!(said.contains("remote: ") && said.contains("hello-1"), "{said}");
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    let clone = format!("GIT_SSH_COMMAND='{ssh}' git clone -q \"$(trimtab url --ssh hello --project hello)\" cloned");
    home.sh("", &clone).ok();
    let config = format!("GIT_SSH_COMMAND='{ssh}' git push \"$(trimtab url --config --ssh)\" HEAD:refs/heads/topic");
    home.sh("hello", &config).refused(&["alice may not push", "operator"]);

    // Host key, people and keys outlive a restart.
    home.kill();
    home.start(&[]);
    push(&home).ok();
    home.eventually("hello-2 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-2"));
    home.trimtab(&[
        "key",
        "remove",
        &home.sh("", "ssh-keygen -l -f key-alice.pub | cut -d' ' -f2").ok().trim(),
        "--user",
        "alice",
    ])
    .ok();
    push(&home).refused(&["Permission denied"]);
}

#[test]
fn a_token_may_what_its_user_may_until_it_is_revoked() {
    let home = Home::up();
    home.hello();
    home.push("one").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    home.trimtab(&["user", "add", "dora", "--role", "developer", "--project", "hello"]).ok();
    home.trimtab(&["user", "add", "olga", "--role", "operator"]).ok();
    let secret = token(&home, "dora", "--expires 12h");
    token(&home, "olga", "");

    // The command line, git over HTTP, and the Kubernetes API.
    as_user(&home, "dora", "trimtab status --project hello").ok();
    as_user(&home, "dora", "trimtab promote hello --to staging").ok();
    home.eventually("hello-1 is healthy in staging", || home.healthy("staging").as_deref() == Some("hello-1"));
    assert!(home.history().iter().any(|entry| entry["environment"] == "staging" && entry["actor"] == "dora"));
    let said = as_user(&home, "dora", "trimtab promote hello --to prod");
    assert_eq!(said.code, 4, "{}", said.text);
    said.refused(&[
        "dora may not promote into prod of hello, a production environment",
        "`promote`",
        "--role operator",
    ]);
    as_user(&home, "dora", "trimtab user list").refused(&["dora may not administer this instance"]);
    as_user(&home, "olga", "trimtab promote hello --to prod").ok();
    let clone = "git -c credential.helper= -c 'credential.helper=!f() { echo username=dora; echo password=$(cat ../token-dora); }; f'";
    let push = format!("git commit -qm two --allow-empty && {clone} push trimtab main");
    home.sh("hello", &push).ok();
    home.sh("hello", &format!("{clone} push \"$(trimtab url --config)\" HEAD:refs/heads/x"))
        .refused(&["dora may not push"]);
    home.sh("", "(printf 'Authorization: Bearer '; cat token-dora) > header").ok();
    let instance = fs::read_to_string(home.data().join("instance.json")).unwrap();
    let kubernetes = serde_json::from_str::<serde_json::Value>(&instance).unwrap()["kubernetes"].clone();
    let review = format!("https://{}/apis/authentication.k8s.io/v1/selfsubjectreviews", kubernetes.as_str().unwrap());
    let body = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
    let ask = format!("curl -sk --http2 -H @header -H 'Content-Type: application/json' -d '{body}' {review} > who");
    home.sh("", &ask).ok();
    let who = fs::read_to_string(home.path().join("who")).unwrap();
    assert!(who.contains("\"dora\"") && who.contains("trimtab:developer:hello") && !who.contains("masters"), "{who}");

    // Shown once; nowhere else.
    for file in ["up.log", ".local/share/trimtab/people.json"] {
        assert!(!fs::read_to_string(home.path().join(file)).unwrap().contains(&secret), "{file}");
    }
    let list = home.trimtab(&["token", "list", "--user", "dora"]).ok();
    assert!(!list.contains(&secret), "{list}");
    let id = list.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    home.trimtab(&["token", "revoke", &id, "--user", "dora"]).ok();
    as_user(&home, "dora", "trimtab status --project hello").refused(&["token"]);

    let reads = token(&home, "olga", "--read-only");
    assert!(reads.len() > 64);
    as_user(&home, "olga", "trimtab status --project hello").ok();
    as_user(&home, "olga", "trimtab rollback --env dev").refused(&["only reads"]);
    as_user(&home, "olga", "trimtab ui").refused(&["only reads"]);
    as_user(&home, "olga", "trimtab token create").refused(&["only reads"]);
    home.trimtab(&["user", "remove", "olga"]).ok();
    as_user(&home, "olga", "trimtab status --project hello").refused(&["token"]);
}

#[test]
fn a_link_signs_somebody_else_in() {
    let home = Home::up();
    home.trimtab(&["user", "add", "vera", "--role", "viewer"]).ok();
    let link = home.trimtab(&["ui", "--user", "vera"]).ok();
    let (page, code) = link.trim().split_once('?').unwrap();
    let origin = page.strip_suffix("/sign-in").unwrap();
    let sign_in = format!("curl -s -c cookies -o /dev/null -H 'Origin: {origin}' -d '{code}' {page}");
    home.sh("", &sign_in).ok();
    let page = home.sh("", &format!("curl -s -b cookies {origin}/")).ok();
    assert!(page.contains("vera"), "{page}");
    home.trimtab(&["ui", "--user", "nobody"]).refused(&["there is no user nobody"]);
    home.trimtab(&["user", "add", "Vera"]).refused(&["a-z"]);
    home.trimtab(&["user", "add", "admin"]).refused(&["keeps for itself"]);
}
