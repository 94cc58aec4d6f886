//! Configuration and secrets, as a person uses them.

use crate::harness::Home;
use serde_json::Value;
use std::fs;
use std::path::Path;

const CANARY: &str = "canary-5f1c0e9d";

/// A hello that wants a ConfigGroup and a secret.
fn configured(home: &Home) {
    home.hello();
    let file = home.path().join("hello/trimtab.yaml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("workload:"), "{text}");
    fs::write(&file, format!("{text}workload:\n  configGroups: [common]\n  secrets: [db]\n")).unwrap();
}

fn set(home: &Home, key: &str, environment: &str, value: &str) -> crate::harness::Said {
    home.sh("hello", &format!("printf '%s\\n' '{value}' | trimtab secret set db {key} --env {environment}"))
}

/// Everything below a directory, objects of git unpacked, that holds a text.
fn holding(directory: &Path, text: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            holding(&path, text, found);
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
}

#[test]
fn configuration_moves_like_code_and_a_rollback_brings_it_back() {
    let home = Home::up();
    configured(&home);
    let trimtab = |arguments: &[&str]| home.sh("hello", &format!("trimtab {}", arguments.join(" ")));
    // Missing configuration is said before anything is deployed.
    home.push("one");
    home.eventually("the missing group is explained", || {
        trimtab(&["explain", "hello", "--env", "dev"]).text.contains("there is no config/common.yaml")
    });
    trimtab(&["config", "set", "common", "LEVEL=info"]).ok();
    home.eventually("the missing secret is explained with its command", || {
        trimtab(&["explain", "hello", "--env", "dev"]).text.contains("trimtab secret set db KEY --env dev")
    });
    assert_eq!(home.healthy("dev"), None);
    set(&home, "PASSWORD", "dev", CANARY).ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    // A change moves by one commit without a build.
    trimtab(&["config", "set", "common", "LEVEL=debug", "--env", "dev"]).ok();
    let config = |environment: &str| {
        home.config();
        let pin = fs::read_to_string(home.path().join(format!("config/environments/{environment}/hello.yaml")))
            .unwrap_or_default();
        pin.lines().find_map(|line| line.strip_prefix("config: ").map(str::to_owned)).unwrap_or_default()
    };
    let log = || home.sh("config", "git pull -q --ff-only; git log --format='%an %s' -n 3").text;
    home.config();
    home.eventually("the pin has moved", || log().contains("trimtab dev: hello config "));
    assert!(log().contains("admin config common: LEVEL for dev"), "{}", log());
    let first = config("dev");
    assert_eq!(trimtab(&["config", "get", "common", "LEVEL", "--env", "dev"]).ok().trim(), "debug");
    let diff = trimtab(&["config", "diff", "dev", "prod"]).ok();
    for words in ["LEVEL", "debug (dev)", "info (default)", "PASSWORD", "set (dev)", "missing"] {
        assert!(diff.contains(words), "{words:?} is missing in {diff}");
    }
    home.eventually("it is healthy", || home.healthy("dev").as_deref() == Some("hello-1"));
    trimtab(&["rollback", "--env", "dev"]).ok();
    assert_ne!(config("dev"), first, "the configuration of before");
    // Typed values, unknown places: refused, and nothing is changed.
    trimtab(&["config", "set", "common", "LEVEL=x", "--env", "nowhere"]).refused(&["nowhere", "nothing was changed"]);
    trimtab(&["config", "set", "common", "LEVEL"]).refused(&["KEY=VALUE"]);
    trimtab(&["config", "get", "common", "NONE", "--env", "dev"]).refused(&["NONE"]);
    home.config();
    fs::write(home.path().join("config/config/common.yaml"), "data: {LEVEL: {dev: x}}\n").unwrap();
    home.sh("config", "git commit -qam hole && git push").refused(&["config/common.yaml:1", "data.LEVEL", "prod"]);
}

#[test]
fn a_secret_is_in_no_output_log_plan_file_or_page() {
    let mut home = Home::up();
    configured(&home);
    let mut said = String::new();
    let trimtab = |arguments: &str| home.sh("hello", &format!("trimtab {arguments}")).text;
    said.push_str(&trimtab("config set common LEVEL=info"));
    for environment in ["dev", "staging"] {
        said.push_str(&set(&home, "PASSWORD", environment, &format!("{CANARY}-{environment}")).ok());
    }
    said.push_str(&home.push("one").text);
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    said.push_str(&trimtab("promote hello --to staging"));
    home.eventually("hello-1 is healthy in staging", || home.healthy("staging").as_deref() == Some("hello-1"));
    said.push_str(&trimtab("promote hello --to prod"));
    said.push_str(&set(&home, "PASSWORD", "dev", &format!("{CANARY}-rotated")).ok());
    said.push_str(&trimtab("secret rotate"));
    said.push_str(&trimtab("rollback --env staging"));
    let recipient = trimtab("secret key");
    assert!(recipient.starts_with("age1"), "{recipient}");
    let kubectl = |arguments: &str| {
        home.sh(
            "hello",
            &format!("trimtab kubeconfig > ../kubeconfig && kubectl --kubeconfig ../kubeconfig {arguments}"),
        )
        .text
    };
    let project: Value = serde_json::from_str(&trimtab("status --output json")).unwrap();
    let project = project["project"].as_str().unwrap().to_owned();
    let value = || kubectl(&format!("-n {project}-dev get secret hello-db -o jsonpath='{{.data.PASSWORD}}'"));
    home.eventually("the API server has the new value", || {
        use base64::Engine;
        let expected = base64::engine::general_purpose::STANDARD.encode(format!("{CANARY}-rotated"));
        value().trim() == expected
    });
    for command in [
        "status",
        "status --output json",
        "history -n 1000",
        "diff",
        "diff --output json",
        "explain hello --env prod",
        "config list",
        "config diff dev staging --output json",
        "secret list",
        "secret list --output json",
    ] {
        said.push_str(&trimtab(command));
    }
    said.push_str(&kubectl(&format!(
        "-n {project} get environments,components,componentdeployments,promotions,builds -o yaml"
    )));
    said.push_str(&kubectl(&format!("-n {project}-dev get deployments,replicasets,pods,events,configmaps -o yaml")));
    // Every page, as a browser sees it.
    let link = trimtab("ui");
    let link = link.split_whitespace().find(|word| word.starts_with("http")).unwrap().to_owned();
    let base = link.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let code = link.rsplit_once("code=").map_or(link.as_str(), |(_, code)| code).to_owned();
    said.push_str(
        &home
            .sh(
                "hello",
                &format!("curl -sL -c ../jar -H 'Origin: {base}' --data-urlencode 'code={code}' '{base}/sign-in'"),
            )
            .text,
    );
    let mut pages = String::new();
    for page in ["", "/history", "/c/hello", "/b/hello-1", "/e/dev/diff", "/e/prod/diff"] {
        pages.push_str(&home.sh("hello", &format!("curl -sL -b ../jar '{base}/p/{project}{page}'")).text);
    }
    assert!(pages.contains("hello-1") && pages.contains("history"), "signed in: {pages}");
    said.push_str(&pages);
    // The repositories, unpacked.
    home.config();
    said.push_str(&home.sh("config", "git fetch -q origin 'refs/trimtab/*:refs/trimtab/*'; git cat-file --batch-all-objects --batch --buffer | strings -n 4").text);
    assert!(
        said.contains("hello-1") && said.contains("secret db") && said.contains("age1"),
        "there was something to look at"
    );
    home.kill();
    said.push_str(&home.log());
    let mut files = Vec::new();
    holding(home.path(), CANARY, &mut files);
    use base64::Engine;
    for form in [CANARY.to_owned(), base64::engine::general_purpose::STANDARD.encode(CANARY)[..16].to_owned()] {
        assert!(
            !said.contains(&form),
            "{form} was shown: {}",
            said.lines().filter(|line| line.contains(&form)).collect::<Vec<_>>().join("\n")
        );
        holding(home.path(), &form, &mut files);
    }
    let store = home.data().join("store.redb").display().to_string();
    assert!(files.contains(&store), "the search finds what is there: {files:?}");
    files.retain(|file| *file != store);
    assert_eq!(files, Vec::<String>::new(), "only the API's own store may hold it");
    use std::os::unix::fs::PermissionsExt;
    for file in ["store.redb", "keys/secrets"] {
        assert_eq!(fs::metadata(home.data().join(file)).unwrap().permissions().mode() & 0o077, 0, "{file}");
    }
}

#[test]
fn a_secret_that_cannot_be_opened_or_was_never_encrypted_is_refused_on_push() {
    let home = Home::up();
    home.hello();
    home.config();
    fs::create_dir_all(home.path().join("config/secrets")).unwrap();
    let mut sealed = String::new();
    set(&home, "PASSWORD", "dev", CANARY).ok();
    home.config();
    let good = fs::read_to_string(home.path().join("config/secrets/db.yaml")).unwrap();
    for line in good.lines().filter(|line| line.contains("dev:")) {
        sealed.push_str(line.trim().trim_start_matches("dev: "));
    }
    let cut = &sealed[..sealed.len() - 8];
    let other = {
        use base64::Engine;
        let stranger = vault::Vault::new(home.path().join("stranger"));
        base64::engine::general_purpose::STANDARD.encode(vault::seal(&stranger.recipient().unwrap(), b"x").unwrap())
    };
    let cases = [
        (format!("PASSWORD: {{dev: {CANARY}}}\n"), "expected a value encrypted with age"),
        (format!("PASSWORD: {{dev: {cut}}}\n"), "damaged"),
        (format!("PASSWORD: {{dev: {other}}}\n"), "another key"),
        (format!("PASSWORD: {{nowhere: {sealed}}}\n"), "there is no environment or group nowhere"),
    ];
    for (text, words) in cases {
        fs::write(home.path().join("config/secrets/db.yaml"), text).unwrap();
        let said = home.sh("config", "git commit -qam bad && git push").refused(&["secrets/db.yaml:1", words]);
        assert!(!said.contains(CANARY), "{said}");
        home.sh("config", "git reset -q --hard HEAD~1").ok();
    }
    home.sh("hello", "trimtab secret set db PASSWORD --env dev < /dev/null").refused(&["empty"]);
    home.trimtab(&["secret", "remove", "none", "--project", "hello"]).refused(&["none"]);
}
