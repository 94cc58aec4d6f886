//! Charts in a registry, as a person uses them: on the command line, in the list of an environment, and followed.

use crate::harness::Home;
use std::fs;

/// What `helm push` does: VERSION ADDRESS PASSWORD-FILE. The chart stands for a ConfigMap that names the version.
const PUSH: &str = r#"set -e
version=$1 at=$2 password=$(cat "$3")
mkdir -p web/templates
printf 'apiVersion: v2\nname: web\nversion: %s\n' "$version" >web/Chart.yaml
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {version: "{{ .Chart.Version }}"}\n' >web/templates/map.yaml
tar -czf web.tgz web
printf '{"name":"web","version":"%s"}' "$version" >config.json
ask() { curl -sSf --noproxy '*' -u "admin:$password" "$@"; }
digest() { printf 'sha256:%s' "$(sha256sum <"$1" | cut -d' ' -f1)"; }
put() {
    place=$(ask -X POST -D - -o /dev/null "http://$at/v2/hello/charts/web/blobs/uploads/" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
    case $place in /*) place=http://$at$place ;; esac
    case $place in *\?*) place="$place&" ;; *) place="$place?" ;; esac
    ask -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$1" "${place}digest=$(digest "$1")"
}
part() { printf '{"mediaType":"application/vnd.cncf.helm.%s","digest":"%s","size":%s}' "$2" "$(digest "$1")" "$(stat -c %s "$1")"; }
put web.tgz && put config.json
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
    "$(part config.json config.v1+json)" "$(part web.tgz chart.content.v1.tar+gzip)" >manifest.json
ask -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' --data-binary @manifest.json \
    "http://$at/v2/hello/charts/web/manifests/$version"
"#;

/// The build of a component, if it is healthy in dev.
fn runs(home: &Home, component: &str) -> Option<String> {
    let dev = home.environment("dev")?;
    let found = dev["components"].as_array()?.iter().find(|one| one["component"] == component)?.clone();
    (found["health"] == "Healthy").then(|| found["build"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_chart_in_a_registry_is_rendered_listed_and_followed_when_the_registry_calls() {
    let home = Home::up();
    home.hello();
    fs::write(home.path().join("push.sh"), PUSH).unwrap();
    let (at, password) = (home.address("control"), home.data().join("admin.token"));
    let password = password.display();
    let push = |version: &str| home.sh("", &format!("bash push.sh {version} {at} '{password}'")).ok();
    push("1.0.0");
    push("2.0.0");

    // On the command line: the newest of a range, or the newest; not without a password.
    let render = |more: &str| {
        home.sh("", &format!("trimtab render oci://{at}/hello/charts/web --username admin {more} <'{password}'"))
    };
    let text = render("--version '^1' --release-name x").ok();
    assert!(text.contains("# Source: web/templates/map.yaml") && text.contains("version: \"1.0.0\""), "{text}");
    assert!(render("").ok().contains("version: \"2.0.0\""));
    render("--version 3.0.0").refused(&["web"]);
    home.trimtab(&["render", &format!("oci://{at}/hello/charts/web")]).refused(&["chart.credentials"]);

    // In the list of the config repository.
    let set = |name: &str, from: &str| home.sh("hello", &format!("trimtab secret set {name} {from}")).ok();
    set("registry", "username <<<admin");
    set("registry", &format!("password <'{password}'"));
    set("webhooks", "charts <<<hunter2-calls");
    let config = home.config();
    fs::create_dir_all(config.join("charts")).unwrap();
    let list = "dependencies:\n- {name: web, repository: '@own', version: ^1.0.0}\n";
    fs::write(config.join("charts/requirements.yaml"), list).unwrap();
    let known = format!("repositories:\n- {{name: own, url: 'oci://{at}/hello/charts', credentials: registry}}\n");
    fs::write(config.join("charts/repositories.yaml"), known).unwrap();
    home.sh("config", "git add . && git commit -qm 'The list' && git push -q origin HEAD:main").ok();
    home.eventually("web-1 is healthy in dev", || runs(&home, "web").as_deref() == Some("web-1"));

    // Something new, and a call that says so.
    push("1.1.0");
    let call = |key: &str| {
        let script = format!(
            "curl -sS --noproxy '*' -o /dev/null -w '%{{http_code}}' -X POST -H 'Authorization: Bearer {key}' http://{at}/hooks/hello/charts"
        );
        home.sh("", &script).ok()
    };
    assert_eq!(call("hunter3"), "401");
    assert_eq!(call("hunter2-calls"), "202");
    home.eventually("web-2 is healthy in dev", || runs(&home, "web").as_deref() == Some("web-2"));
    let said = home.sh("hello", "trimtab status").ok();
    assert!(said.contains("web-2 (web 1.1.0)"), "{said}");
    assert!(home.sh("hello", "trimtab chart update web").ok().contains("has that version already"));
}
