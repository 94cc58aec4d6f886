//! A project out of its config repository: what is there comes back, what is not is held and named.

use crate::backup::delivered;
use crate::harness::Home;
use serde_json::Value;

fn component(home: &Home, environment: &str) -> Value {
    let said = home.trimtab(&["status", "--project", "hello", "--output", "json"]);
    let status: Value = serde_json::from_str(&said.text).unwrap_or_default();
    let environments = status["environments"].as_array().cloned().unwrap_or_default();
    let found = environments.iter().find(|e| e["name"] == environment).cloned().unwrap_or_default();
    found["components"].get(0).cloned().unwrap_or_default()
}

#[test]
fn a_project_comes_back_from_its_config_repository_and_says_what_it_lacks() {
    let old = delivered();
    old.sh("", "git -c 'credential.helper=!trimtab credential' clone -q --mirror \"$(trimtab url --config --project hello)\" mirror").ok();
    let history = old.history();
    let mirror = old.path().join("mirror").display().to_string();

    let mut new = Home::empty();
    new.start_with(&["--from", &mirror]);
    new.eventually("hello-2 waits for its source in dev", || component(&new, "dev")["reason"] == "SourceMissing");
    new.eventually("hello-1 waits for its source in staging", || {
        component(&new, "staging")["reason"] == "SourceMissing"
    });
    let told = component(&new, "dev")["message"].as_str().unwrap().to_owned();
    assert!(told.contains("git push trimtab main"), "{told}");
    assert!(new.log().contains("entries of history"), "{}", new.log());
    let entries = |home: &Home| -> Vec<Value> {
        serde_json::from_str(&home.trimtab(&["history", "--project", "hello", "--output", "json", "-n", "1000"]).ok())
            .unwrap()
    };
    assert_eq!(entries(&new), history, "the history");

    // The sources come: nothing is built, the images are missing now.
    let hello = old.path().join("hello").display().to_string();
    new.sh("", &format!("cp -r {hello} hello")).ok();
    new.sh("hello", "trimtab init && git push -q trimtab main").ok();
    new.eventually("hello-2 waits for its image in dev", || component(&new, "dev")["reason"] == "ImageMissing");
    let told = component(&new, "dev")["message"].as_str().unwrap().to_owned();
    for word in ["sha256:", "skopeo copy", "trimtab image import", "--registry"] {
        assert!(told.contains(word), "{told}");
    }
    assert_eq!(entries(&new), history, "nothing was built or moved");

    // The old registry has them: the same digests run, without a restart of anything else.
    new.kill();
    let instance: Value = serde_json::from_slice(&std::fs::read(old.data().join("instance.json")).unwrap()).unwrap();
    let token = old.data().join("admin.token").display().to_string();
    new.start_with(&["--registry", instance["control"].as_str().unwrap(), "--registry-token-file", &token]);
    new.eventually("hello-2 is healthy in dev", || component(&new, "dev")["health"] == "Healthy");
    new.eventually("hello-1 is healthy in staging", || component(&new, "staging")["health"] == "Healthy");
    assert_eq!(component(&new, "dev")["build"], "hello-2");
    assert_eq!(component(&new, "staging")["build"], "hello-1");
    let builds: Vec<Value> = entries(&new).into_iter().filter(|e| e["kind"] == "admitted").collect();
    assert_eq!(builds.len(), history.iter().filter(|e| e["kind"] == "admitted").count(), "a movement came by itself");
    // And it goes on from there.
    std::fs::write(new.path().join("hello/public/index.html"), "three").unwrap();
    new.push("three").ok();
    new.eventually("hello-3 is healthy in dev", || {
        component(&new, "dev")["build"] == "hello-3" && component(&new, "dev")["health"] == "Healthy"
    });
}

#[test]
fn what_is_no_config_repository_is_refused() {
    let mut home = Home::up();
    home.hello();
    home.trimtab(&["down"]).ok();
    home.kill();
    let hello = home.path().join("hello").display().to_string();
    home.trimtab(&["up", "--simulate", "--from", &hello]).refused(&["no config repository", "project.yaml"]);
    home.trimtab(&["up", "--simulate", "--from", "/nowhere"]).refused(&["/nowhere"]);
}

#[test]
fn a_damaged_repository_holds_its_project_and_others_go_on() {
    let mut home = delivered();
    home.sh("", "cp -r hello other && cd other && rm -rf .git trimtab.yaml && trimtab init --project other --component other && git push -q trimtab main").ok();
    let healthy = |home: &Home| {
        let said = home.trimtab(&["status", "--project", "other", "--output", "json"]).text;
        said.contains("\"Healthy\"")
    };
    home.eventually("other is healthy", || healthy(&home));
    home.kill();
    let main = home.data().join("git/hello/config.git/refs/heads/main");
    let whole = std::fs::read(&main).unwrap();
    std::fs::write(&main, &whole[..20]).unwrap();
    home.start(&[]);
    home.eventually("the project is held", || {
        let said = home.trimtab(&["status", "--project", "hello"]);
        said.code != 0 && said.text.contains("damaged") && said.text.contains("refs/heads/main")
    });
    home.eventually("other is healthy", || healthy(&home));
    // Put right, it goes on by itself.
    std::fs::write(&main, &whole).unwrap();
    home.eventually("hello-2 is healthy in dev", || component(&home, "dev")["health"] == "Healthy");
}
