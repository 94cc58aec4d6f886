//! What only real containers show.

use crate::harness::Home;
use std::fs;

/// `hello` with a shell in it, and this Dockerfile.
fn with_shell(home: &Home, dockerfile: &str) {
    home.hello();
    home.sh("hello", "cp \"$(command -v busybox)\" busybox").ok();
    fs::write(home.path().join("hello/Dockerfile"), dockerfile).unwrap();
}

#[test]
#[ignore = "root: runs a container in a build"]
fn a_failing_run_shows_its_output_and_exit_code_to_the_pusher() {
    let home = Home::up_with_containers();
    with_shell(
        &home,
        "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo compiling; echo no such header >&2; exit 3\"]\n",
    );
    let said = home.push("broken").text;
    for word in ["compiling", "no such header", "Dockerfile:3", "exit code 3", "hello-1 failed"] {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
    assert_eq!(home.healthy("dev"), None);
}

#[test]
#[ignore = "root: runs containers"]
fn a_container_that_exits_at_once_shows_its_last_words_to_the_pusher() {
    let home = Home::up_with_containers();
    with_shell(
        &home,
        "FROM scratch\nCOPY busybox /bin/busybox\nENTRYPOINT [\"/bin/busybox\", \"sh\", \"-c\", \"echo no database at db:5432; exit 3\"]\n",
    );
    let said = home.push("crashes").text;
    for word in ["hello-1 → dev", "no database at db:5432", "exit code 3"] {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
    // The next push mends it.
    fs::write(home.path().join("hello/Dockerfile"), "FROM trimtab/static\nCOPY public /srv\n").unwrap();
    home.push("mended").ok();
    home.eventually("hello-2 is healthy in dev", || home.healthy("dev").as_deref() == Some("hello-2"));
}

#[test]
#[ignore = "root: looks into namespaces"]
fn a_container_has_namespaces_of_its_own() {
    let home = Home::up_with_containers();
    home.hello();
    home.push("one").ok();
    let of = |process: &str, kind: &str| fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap();
    let pid = home.sh("", "pgrep -nf '^/bin/static-server'").ok().trim().to_owned();
    for kind in ["pid", "net", "mnt", "uts", "ipc"] {
        assert_ne!(of(&pid, kind), of("self", kind), "{kind}");
    }
}

#[test]
#[ignore = "root: runs containers, and skopeo"]
fn the_registry_takes_and_gives_images() {
    let home = Home::up_with_containers();
    home.hello();
    home.push("one").ok();
    let instance: serde_json::Value =
        serde_json::from_slice(&fs::read(home.data().join("instance.json")).unwrap()).unwrap();
    let registry = instance["control"].as_str().unwrap();
    let token = fs::read_to_string(home.data().join("admin.token")).unwrap();
    let skopeo = |arguments: &str| home.sh("", &format!("skopeo {arguments} --tls-verify=false --creds admin:{token}"));
    let labels = skopeo(&format!("inspect docker://{registry}/hello/hello:1")).ok();
    assert!(labels.contains("sha256:"), "{labels}");
    home.sh(
        "",
        &format!(
            "skopeo copy --src-tls-verify=false --src-creds admin:{token} docker://{registry}/hello/hello:1 oci:copy:1"
        ),
    )
    .ok();
    home.sh(
        "",
        &format!(
            "skopeo copy --dest-tls-verify=false --dest-creds admin:{token} oci:copy:1 docker://{registry}/hello/copy:1"
        ),
    )
    .ok();
    home.sh("", &format!("skopeo inspect --tls-verify=false docker://{registry}/hello/hello:1")).refused(&["auth"]);
}
