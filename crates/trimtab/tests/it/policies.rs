//! Policies, signatures and rights, as people meet them: with git, ssh-keygen and the Kubernetes API.

use crate::harness::{Home, Said};
use std::fs;

/// Writes files of the config repository, commits with these settings of git and pushes.
fn configure(home: &Home, files: &[(&str, &str)], settings: &str) -> Said {
    let directory = home.config();
    for (path, text) in files {
        fs::create_dir_all(directory.join(path).parent().unwrap()).unwrap();
        fs::write(directory.join(path), text).unwrap();
    }
    home.sh("config", &format!("git add -A && git {settings} commit -qm change && git push -q origin HEAD:main"))
}

fn token(home: &Home, user: &str) {
    home.sh("", &format!("trimtab token create --user {user} 2>/dev/null > token-{user}")).ok();
}

fn as_user(home: &Home, user: &str, command: &str) -> Said {
    home.sh("", &format!("TRIMTAB_TOKEN=$(cat token-{user}) {command}"))
}

const FEW: &str = "action: deny\nmatch: {environments: [staging], kinds: [Deployment]}\nrules:\n- expression: has(object.spec.replicas) && object.spec.replicas > 1\n  message: one Pod is too few\n";

#[test]
fn a_policy_is_refused_at_the_push_with_its_place_and_enforced_once_it_is_there() {
    let home = Home::up();
    home.hello();
    home.push("one").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    configure(&home, &[("policies/few.yaml", &FEW.replace("object.spec.replicas > 1", "objekt.x"))], "")
        .refused(&["policies/few.yaml:4:44: rules[0].expression: there is no objekt", "nothing was changed"]);
    home.sh("config", "git reset -q --hard origin/main").ok();
    // Tried before it is there, with and without an instance.
    fs::write(home.path().join("few.yaml"), FEW.replace("staging", "dev")).unwrap();
    let denied = home.trimtab(&["policy", "test", "few.yaml", "--env", "dev"]);
    assert_eq!(denied.code, 4, "{}", denied.text);
    let line = "deny: policy few: Deployment.apps hello-dev/hello: one Pod is too few\n";
    assert_eq!(denied.text, line);
    let manifest = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: 1}\n";
    fs::write(home.path().join("manifest.yaml"), manifest).unwrap();
    let offline = "trimtab policy test few.yaml --env dev --manifests - --data-dir nowhere < manifest.yaml";
    home.sh("", offline).refused(&["deny: policy few: Deployment.apps x: one Pod is too few"]);

    configure(&home, &[("policies/few.yaml", FEW)], "").ok();
    home.eventually("the policy is there", || home.trimtab(&["policy", "list"]).text.contains("few"));
    let listed = home.trimtab(&["policy", "list"]).ok();
    assert!(listed.contains("few     deny    staging       holds"), "{listed}");
    let said = home.trimtab(&["promote", "hello", "--to", "staging"]);
    assert_eq!(said.code, 4, "{}", said.text);
    assert!(
        said.text.contains("denied by policy few: Deployment.apps hello-staging/hello: one Pod is too few"),
        "{}",
        said.text
    );
    configure(&home, &[("policies/few.yaml", &FEW.replace("deny", "warn"))], "").ok();
    home.trimtab(&["promote", "hello", "--to", "staging"]).ok();
    home.eventually("hello-1 is healthy in staging", || home.healthy("staging").as_deref() == Some("hello-1"));
    let status = home.trimtab(&["status"]).ok();
    assert!(
        status.contains("staging: warn: policy few: Deployment.apps hello-staging/hello: one Pod is too few"),
        "{status}"
    );
    let said = home.trimtab(&["policy", "add", "starter"]).ok();
    assert!(said.contains("written by commit"), "{said}");
    assert!(home.trimtab(&["policy", "add"]).ok().contains("they stand there already"));
    home.eventually("the starter set holds", || home.trimtab(&["policy", "list"]).text.contains("no-privileged"));
}

#[test]
fn what_is_not_signed_is_held_until_the_author_signs_with_a_registered_key() {
    let home = Home::up();
    home.hello();
    home.sh("", "ssh-keygen -q -t ed25519 -N '' -C ada -f key-ada").ok();
    let sign = format!("-c gpg.format=ssh -c user.signingkey={}/key-ada -c commit.gpgsign=true", home.path().display());
    let file = home.config().join("environments/staging.yaml");
    let staging = fs::read_to_string(file).unwrap() + "verify: {commits: {}, tags: {}}\n";
    configure(&home, &[("environments/staging.yaml", &staging)], &sign).ok();
    home.push("one").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    home.eventually("it is held", || {
        home.trimtab(&["explain", "hello", "--env", "staging"]).text.contains("is not signed: it has none")
    });
    let explained = home.trimtab(&["explain", "hello", "--env", "staging"]).text;
    for words in ["of hello/hello by Ada", "git commit --amend -S", "trimtab key add"] {
        assert!(explained.contains(words), "{words:?} is missing in: {explained}");
    }
    let push = format!("git {sign} commit -qm two --allow-empty && git push -q trimtab main");
    home.sh("hello", &push).ok();
    home.eventually("hello-2 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-2"));
    home.eventually("its key is not known", || {
        home.trimtab(&["explain", "hello", "--env", "staging"]).text.contains("a key that is not known here, SHA256:")
    });
    home.trimtab(&["user", "add", "ada", "--role", "developer", "--ssh-key", "key-ada.pub"]).ok();
    home.trimtab(&["promote", "hello", "--to", "staging"]).ok();
    home.eventually("hello-2 is healthy in staging", || home.healthy("staging").as_deref() == Some("hello-2"));
    // A hand edit of somebody unknown is held too.
    configure(&home, &[("environments/staging.yaml", &(staging + "sync: {prune: false}\n"))], "").ok();
    home.eventually("the edit is held", || {
        home.trimtab(&["status"]).text.contains("of hello/config by Ada is not signed")
    });
}

#[test]
fn members_of_a_project_may_what_their_roles_say_in_git_and_with_kubectl() {
    let home = Home::up();
    home.hello();
    home.push("one").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    home.trimtab(&["promote", "hello", "--to", "staging"]).ok();
    home.trimtab(&["promote", "hello", "--to", "prod"]).ok();
    home.eventually("hello-1 is healthy in prod", || home.healthy("prod").as_deref() == Some("hello-1"));
    for user in ["dora", "olga"] {
        home.trimtab(&["user", "add", user, "--role", "viewer", "--project", "other"]).ok();
        token(&home, user);
    }
    as_user(&home, "dora", "trimtab status --project hello").refused(&["dora may not read project hello"]);
    let project = fs::read_to_string(home.config().join("project.yaml")).unwrap();
    let members = "members:\n  dora: [developer]\n  olga: [{role: operator, environments: [dev, staging]}]\n";
    configure(&home, &[("project.yaml", &(project.clone() + members))], "").ok();
    home.eventually("dora is a member", || as_user(&home, "dora", "trimtab status --project hello").code == 0);
    as_user(&home, "dora", "trimtab promote hello --to prod").refused(&["dora may not promote into prod", "`promote`"]);
    as_user(&home, "olga", "trimtab env suspend prod")
        .refused(&["olga may not suspend or resume prod", "for prod too"]);

    // In git: what others are held to is an administrator's; the rest is what the role reaches.
    let clone = "git -c credential.helper= -c 'credential.helper=!f() { echo username=olga; echo password=$(cat ../token-olga); }; f'";
    let push = |path: &str, text: &str| {
        home.config();
        home.sh("config", "git fetch -q && git reset -q --hard origin/main").ok();
        fs::create_dir_all(home.path().join("config/policies")).unwrap();
        fs::write(home.path().join("config").join(path), text).unwrap();
        home.sh(
            "config",
            &format!("git add -A && git commit -qm olga && {clone} push -q \"$(trimtab url --config)\" HEAD:main"),
        )
    };
    push("policies/x.yaml", "rules: [{expression: 'true'}]\n")
        .refused(&["policies/x.yaml: olga may not administer project hello", "`administer`"]);
    push("project.yaml", &project).refused(&["project.yaml: olga may not administer"]);
    let prod = fs::read_to_string(home.path().join("config/environments/prod.yaml")).unwrap();
    push("environments/prod.yaml", &(prod + "suspend: true\n"))
        .refused(&["environments/prod.yaml: olga may not suspend or resume prod"]);
    let dev = fs::read_to_string(home.path().join("config/environments/dev.yaml")).unwrap();
    push("environments/dev.yaml", &(dev + "suspend: true\n")).ok();
    home.sh("config", "git fetch -q && git reset -q --hard origin/main").ok();

    // With the Kubernetes API.
    let instance = fs::read_to_string(home.data().join("instance.json")).unwrap();
    let kubernetes = serde_json::from_str::<serde_json::Value>(&instance).unwrap()["kubernetes"].clone();
    let ask = |user: &str, method: &str, path: &str| -> u16 {
        home.sh("", &format!("(printf 'Authorization: Bearer '; cat token-{user}) > header")).ok();
        let url = format!("https://{}{path}", kubernetes.as_str().unwrap());
        home.sh("", &format!("curl -sk --http2 -o answer -w '%{{http_code}}' -X {method} -H @header {url}"))
            .ok()
            .parse()
            .unwrap()
    };
    home.eventually("roles are bound", || ask("dora", "GET", "/api/v1/namespaces/hello-prod/pods") == 200);
    for (user, method, path, code) in [
        ("dora", "GET", "/apis/apps/v1/namespaces/hello-dev/deployments", 200),
        ("dora", "GET", "/apis/trimtab.dev/v1alpha1/namespaces/hello/environments", 200),
        ("dora", "GET", "/api/v1/namespaces/hello-dev/secrets", 403),
        ("dora", "GET", "/api/v1/namespaces/kube-system/pods", 403),
        ("dora", "DELETE", "/api/v1/namespaces/hello-dev/pods/none", 404),
        ("dora", "DELETE", "/api/v1/namespaces/hello-prod/pods/none", 403),
        ("dora", "DELETE", "/apis/apps/v1/namespaces/hello-dev/deployments/none", 403),
        ("olga", "DELETE", "/apis/apps/v1/namespaces/hello-dev/deployments/none", 404),
        ("olga", "GET", "/api/v1/namespaces/hello-prod/pods", 403),
    ] {
        assert_eq!(ask(user, method, path), code, "{user} {method} {path}");
    }
    let said = fs::read_to_string(home.path().join("answer")).unwrap();
    assert!(said.contains("cannot list resource"), "{said}");
}
