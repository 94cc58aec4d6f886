use super::*;
use apiserver::Authenticator as _;
use jiff::SignedDuration;
use source::GitAuth as _;
use std::sync::atomic::{AtomicI64, Ordering};
use web::People as _;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

fn directory() -> (tempfile::TempDir, Layout) {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::find(Some(directory.path())).unwrap();
    (directory, layout)
}

fn add(people: &People, name: &str, role: &str, project: &str) {
    let project = (!project.is_empty()).then(|| project.parse().unwrap());
    let role = Grant { role: role.parse().unwrap(), project, branches: Vec::new(), environments: Vec::new() };
    people.add_user(AddUser { name: name.parse().unwrap(), role: Some(role), keys: Vec::new() }).unwrap();
}

fn token(people: &People, name: &str, seconds: u64, read_only: bool) -> MadeToken {
    people.create_token(name, &NewToken { expires_in_seconds: seconds, read_only }).unwrap()
}

#[test]
fn a_token_ends_when_it_should_and_when_it_is_revoked() {
    static NOW: AtomicI64 = AtomicI64::new(1_800_000_000);
    let (_directory, layout) = directory();
    let clock = || Timestamp::from_second(NOW.load(Ordering::SeqCst)).unwrap();
    let people = People::load(&layout, clock).unwrap();
    add(&people, "alice", "developer", "shop");
    let (short, long) = (token(&people, "alice", 60, false), token(&people, "alice", 3600, true));
    assert_eq!(short.expires, clock() + SignedDuration::from_secs(60));
    assert_eq!(people.who(&short.token).unwrap().name, "alice");
    assert!(people.who(&long.token).unwrap().read_only && !people.who(&short.token).unwrap().read_only);
    NOW.fetch_add(59, Ordering::SeqCst);
    assert!(people.who(&short.token).is_some());
    NOW.fetch_add(1, Ordering::SeqCst);
    assert!(people.who(&short.token).is_none() && people.who(&long.token).is_some());
    assert_eq!(people.users().iter().find(|user| user.name == "alice").unwrap().tokens.len(), 1);
    people.revoke_token("alice", &long.id).unwrap();
    assert!(people.who(&long.token).is_none());
    assert!(people.revoke_token("alice", &long.id).is_err());
    for seconds in [0, 400 * 86400, u64::MAX] {
        assert!(people.create_token("alice", &NewToken { expires_in_seconds: seconds, read_only: false }).is_err());
    }
}

#[test]
fn no_secret_is_written_and_all_of_it_survives_a_restart() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_directory, layout) = directory();
    let people = People::load(&layout, Timestamp::now).unwrap();
    add(&people, "alice", "developer", "shop");
    people.add_key("alice", &format!("{KEY} alice@laptop")).unwrap();
    let made = token(&people, "alice", 60, false);
    let text = std::fs::read_to_string(layout.people()).unwrap();
    assert!(!text.contains(&made.token) && !text.contains(made.token.strip_prefix(TOKEN_PREFIX).unwrap()), "{text}");
    assert!(made.token.len() == TOKEN_PREFIX.len() + 2 * TOKEN_BYTES);
    assert_eq!(std::fs::metadata(layout.people()).unwrap().permissions().mode() & 0o777, 0o600);

    let again = People::load(&layout, Timestamp::now).unwrap();
    assert_eq!(again.who(&made.token).unwrap().name, "alice");
    let fingerprint = source::PublicKey::parse(KEY).unwrap().fingerprint;
    assert_eq!(again.key(&fingerprint).unwrap().name, "alice");
    again.remove_key("alice", &fingerprint).unwrap();
    assert!(again.key(&fingerprint).is_none());
}

#[test]
fn one_key_is_one_person_s_and_who_is_removed_takes_all_along() {
    let (_directory, layout) = directory();
    let people = People::load(&layout, Timestamp::now).unwrap();
    add(&people, "alice", "developer", "");
    add(&people, "bob", "viewer", "");
    people.add_key("alice", KEY).unwrap();
    people.add_key("alice", KEY).unwrap();
    let error = people.add_key("bob", KEY).unwrap_err().to_string();
    assert!(error.contains("is alice's"), "{error}");
    let made = token(&people, "alice", 60, false);
    people.remove_user("alice").unwrap();
    let fingerprint = source::PublicKey::parse(KEY).unwrap().fingerprint;
    assert!(
        people.who(&made.token).is_none() && people.key(&fingerprint).is_none() && people.person("alice").is_none()
    );
    people.add_key("admin", KEY).unwrap();
    assert!(people.key(&fingerprint).unwrap().is_admin());
    for name in ["admin", "nobody"] {
        assert!(people.remove_user(name).is_err(), "{name}");
    }
    assert!(people.add_key("nobody", KEY).is_err() && people.add_key("../x", KEY).is_err());
}

#[test]
fn roles_add_up_and_are_taken_away_one_by_one() {
    let (_directory, layout) = directory();
    let people = People::load(&layout, Timestamp::now).unwrap();
    for (role, project) in [("viewer", ""), ("developer", "shop"), ("developer", "shop")] {
        add(&people, "alice", role, project);
    }
    let alice = people.person("alice").unwrap();
    assert_eq!(alice.groups(), ["trimtab:developer:shop", "trimtab:viewer"]);
    let grant = alice.grants.iter().find(|grant| grant.project.is_some()).unwrap();
    people.remove_role("alice", grant).unwrap();
    assert_eq!(people.person("alice").unwrap().groups(), ["trimtab:viewer"]);
    assert!(people.remove_role("alice", grant).is_err());
}

#[test]
fn kubernetes_sees_user_and_groups() {
    let (_directory, layout) = directory();
    let people = People::load(&layout, Timestamp::now).unwrap();
    add(&people, "alice", "developer", "shop");
    add(&people, "root-of-all", "admin", "");
    let groups = |token: &str| people.authenticate(token).unwrap().groups;
    let alice = token(&people, "alice", 60, false);
    assert_eq!(people.authenticate(&alice.token).unwrap().user, "alice");
    assert_eq!(groups(&alice.token), ["system:authenticated", "trimtab:developer:shop"]);
    let reads = token(&people, "alice", 60, true);
    assert_eq!(groups(&reads.token), ["system:authenticated", "trimtab:viewer:shop"]);
    assert!(groups(&token(&people, "root-of-all", 60, false).token).contains(&"system:masters".to_owned()));
    assert!(!groups(&token(&people, "root-of-all", 60, true).token).contains(&"system:masters".to_owned()));
    let admin = std::fs::read_to_string(layout.token()).unwrap();
    assert!(groups(&admin).contains(&"system:masters".to_owned()));
    assert!(people.authenticate("").is_none() && people.authenticate(&admin[..admin.len() - 1]).is_none());
}

#[tokio::test]
async fn the_registry_follows_the_same_rights() {
    let (_directory, layout) = directory();
    let people = People::load(&layout, Timestamp::now).unwrap();
    add(&people, "vera", "viewer", "shop");
    add(&people, "dora", "developer", "shop");
    let basic = |name: &str| {
        let MadeToken { token, .. } = token(&people, name, 60, false);
        Basic { user: name.into(), password: token }
    };
    let (vera, dora) = (basic("vera"), basic("dora"));
    for (who, repository, access, expected) in [
        (Some(&vera), None, Access::Pull, Decision::Allow),
        (Some(&vera), Some("shop/web"), Access::Pull, Decision::Allow),
        (Some(&vera), Some("shop/web"), Access::Push, Decision::Denied),
        (Some(&dora), Some("shop/web"), Access::Push, Decision::Allow),
        (Some(&dora), Some("other/web"), Access::Pull, Decision::Denied),
        (Some(&dora), Some("busybox"), Access::Push, Decision::Denied),
        (None, Some("shop/web"), Access::Pull, Decision::Unauthorized),
    ] {
        assert_eq!(people.decide(who, repository, access).await, expected, "{repository:?} {access:?}");
    }
}

#[test]
fn a_damaged_list_is_said_and_not_overwritten() {
    let (_directory, layout) = directory();
    for bad in ["{", "[]", r#"{"version":2,"users":{}}"#, r#"{"version":1,"users":{},"more":1}"#] {
        std::fs::write(layout.people(), bad).unwrap();
        let error = People::load(&layout, Timestamp::now).err().expect("refused").to_string();
        assert!(error.contains("people.json is damaged"), "{error}");
        assert_eq!(std::fs::read_to_string(layout.people()).unwrap(), bad);
    }
}
