//! Bad input gets a clear error, and nothing is lost.

use crate::harness::Home;
use std::fs;

#[test]
fn a_wrong_token_is_refused() {
    let home = Home::up();
    home.hello();
    let control = home.data().join("instance.json");
    let instance: serde_json::Value = serde_json::from_slice(&fs::read(control).unwrap()).unwrap();
    let address = instance["control"].as_str().unwrap();
    let said = home.sh(
        "",
        &format!("curl -s -w ' %{{http_code}}' -H 'Authorization: Bearer wrong' http://{address}/api/v1/projects"),
    );
    assert!(said.text.ends_with(" 401") && said.text.contains("token"), "{}", said.text);
    let said = home.sh("", &format!("curl -s -o /dev/null -w '%{{http_code}}' -u admin:wrong 'http://{address}/hello/hello.git/info/refs?service=git-receive-pack'"));
    assert_eq!(said.text, "401");
}

#[test]
fn output_that_nobody_reads_is_no_error_and_that_cannot_be_written_is_one() {
    let home = Home::empty();
    let asked = |out: std::process::Stdio| {
        let output = home.command("trimtab").args(["reference", "commands"]).stdout(out).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(asked(writer.into()), (Some(0), String::new()));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, said) = asked(full.into());
    assert!(code == Some(1) && said.starts_with("trimtab: standard output: No space left"), "{code:?} {said}");
}

#[test]
fn a_push_that_deletes_main_is_refused() {
    let home = Home::up();
    home.hello();
    home.push("one").ok();
    home.sh("hello", "git push trimtab :main").refused(&["main"]);
    home.sh("hello", "git ls-remote --exit-code trimtab refs/heads/main").ok();
    home.config();
    home.sh("config", "git push origin :main").refused(&["main"]);
    home.sh("config", "git commit -q --amend -m rewritten && git push --force origin main").refused(&["main"]);
    home.sh("config", "git push origin HEAD:refs/trimtab/journal").refused(&["refs/trimtab"]);
}

#[test]
fn a_broken_component_file_names_file_line_and_field() {
    let home = Home::up();
    home.hello();
    let file = home.path().join("hello/trimtab.yaml");
    let good = fs::read_to_string(&file).unwrap();
    for (bad, words) in [
        (good.replace("port: 8080", "port: eighty"), vec!["trimtab.yaml:", "endpoints.http.port"]),
        (format!("{good}colour: red\n"), vec!["trimtab.yaml:", "colour"]),
        (good.replace("type: service", "type: servise"), vec!["trimtab.yaml:", "servise"]),
        ("project: [hello\n".to_owned(), vec!["trimtab.yaml:"]),
        (good.replace("component: hello", "component: Hello_World"), vec!["trimtab.yaml:", "component"]),
    ] {
        fs::write(&file, &bad).unwrap();
        home.push("broken").refused(&words);
        home.sh("hello", "git reset -q --hard HEAD~1").ok();
    }
    home.push("good").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
}

#[test]
fn a_missing_dockerfile_is_said_and_the_last_good_state_stays() {
    let home = Home::up();
    home.hello();
    home.push("one").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    fs::remove_file(home.path().join("hello/Dockerfile")).unwrap();
    let said = home.push("no Dockerfile");
    assert!(said.text.contains("Dockerfile"), "{}", said.text);
    assert_eq!(home.healthy("dev").as_deref(), Some("hello-1"));
}

#[test]
fn an_unknown_instruction_names_file_and_line() {
    let home = Home::up();
    home.hello();
    fs::write(home.path().join("hello/Dockerfile"), "FROM trimtab/static\nCOPPY public /srv\n").unwrap();
    let said = home.push("typo");
    for word in ["Dockerfile:2", "COPPY", "COPY"] {
        assert!(said.text.contains(word), "{word:?} is missing in: {}", said.text);
    }
}

#[test]
fn a_taken_port_says_by_whom() {
    let home = Home::empty();
    // An instance takes four ports in a row: all are ours, so that none of them is another test's.
    let row = || {
        let first = std::net::TcpListener::bind("127.0.0.1:0").ok()?;
        let port = first.local_addr().ok()?.port();
        let rest = (1..4).map(|next| std::net::TcpListener::bind(("127.0.0.1", port.checked_add(next)?)).ok());
        Some((port, std::iter::once(Some(first)).chain(rest).collect::<Option<Vec<_>>>()?))
    };
    let (port, _taken) = (0..100).find_map(|_| row()).expect("four free ports in a row");
    let said = home.trimtab(&["up", "--simulate", "--listen", &format!("127.0.0.1:{port}")]);
    let text = said.refused(&[&std::process::id().to_string(), "--listen"]);
    assert!((port..port + 4).any(|port| text.contains(&format!("127.0.0.1:{port} is taken"))), "{text}");
}

#[test]
fn a_second_up_on_the_same_data_is_refused() {
    let home = Home::up();
    home.trimtab(&["up", "--simulate"]).refused(&["in use by process"]);
    home.trimtab(&["status", "--project", "none"]).refused(&["none"]);
}

#[test]
fn a_manifest_that_is_no_yaml_is_said_with_its_place() {
    let home = Home::empty();
    fs::create_dir(home.path().join("manifests")).unwrap();
    fs::write(home.path().join("manifests/a.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a\n").unwrap();
    home.trimtab(&["render", "manifests"]).refused(&["a.yaml:"]);
    fs::write(home.path().join("manifests/a.yaml"), "just a text\n").unwrap();
    home.trimtab(&["render", "manifests"]).refused(&["a.yaml"]);
}

#[test]
fn a_config_repository_edited_into_nonsense_changes_nothing() {
    let home = Home::up();
    home.hello();
    home.push("one").ok();
    home.eventually("hello-1 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-1"));
    let config = home.config();
    let good = fs::read_to_string(config.join("environments/dev.yaml")).unwrap();
    fs::write(config.join("environments/dev.yaml"), "promotion: {strategy: Sometimes}\n").unwrap();
    home.sh("config", "git commit -qam nonsense && git push").refused(&["environments/dev.yaml:1", "Sometimes"]);
    assert_eq!(home.healthy("dev").as_deref(), Some("hello-1"));
    fs::write(config.join("environments/dev.yaml"), good).unwrap();
}

#[test]
fn without_an_instance_commands_say_so() {
    let home = Home::empty();
    home.trimtab(&["status"]).refused(&["trimtab up"]);
    let mut home = Home::up();
    home.kill();
    let said = home.trimtab(&["status"]);
    assert_eq!(said.code, 5, "{}", said.text);
    assert!(said.text.contains("trimtab up"), "{}", said.text);
}

/// Memory that the control process holds, in MiB.
fn resident(home: &Home) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", home.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// Each on a connection of its own, with TLS.
#[test]
fn a_thousand_idle_watches_keep_nobody_out_and_cost_little() {
    const CLIENTS: usize = 4;
    const EACH: usize = 250;
    /// A TLS connection with a watch measures some 60 KiB.
    const MEMORY_MAX: u64 = 192;
    let home = Home::up();
    let (address, data) = (home.address("kubernetes"), home.data());
    let maps = format!("https://{address}/api/v1/namespaces/default/configmaps");
    let token = fs::read_to_string(data.join("admin.token")).unwrap();
    let options =
        format!("insecure\nsilent\nno-buffer\nhttp1.1\nheader = \"Authorization: Bearer {}\"\n", token.trim());
    fs::write(home.path().join("options"), &options).unwrap();
    let before = resident(&home);
    let watches: String = (0..EACH).map(|_| format!("url = \"{maps}?watch=true&resourceVersion=0\"\n")).collect();
    fs::write(
        home.path().join("watches"),
        format!("{options}parallel\nparallel-immediate\nparallel-max = {EACH}\n{watches}"),
    )
    .unwrap();
    let seen = |client: usize| home.path().join(format!("seen{client}"));
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let seen = fs::File::create(seen(client)).unwrap();
            home.command("curl").args(["-K", "watches"]).stdout(seen).spawn().unwrap()
        })
        .collect();
    let written = |name: &str| {
        let body = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
        let ask = format!("curl -K options -f -X POST -H 'Content-Type: application/json' -d '{body}' {maps}");
        home.sh("", &ask).ok();
        let lines = || -> usize {
            (0..CLIENTS)
                .map(|client| fs::read_to_string(seen(client)).unwrap().matches(&format!("\"{name}\"")).count())
                .sum()
        };
        home.eventually(&format!("all watches say {name}"), || lines() >= CLIENTS * EACH);
    };
    // Those that come later see it too: they begin with what there is.
    written("first");
    written("second");
    let during = resident(&home);
    assert!(during < before + MEMORY_MAX, "{before} MiB before, {during} MiB with {} watches", CLIENTS * EACH);
    home.hello();
    home.push("beside them").ok();
    for client in &mut clients {
        client.kill().unwrap();
        client.wait().unwrap();
    }
}
