//! Pods in containers of this machine. Each test ends with the machine as it was.

use crate::cluster::{condition, waiting_reason};
use crate::machine::{Machine, get, host_pid, namespace};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::json;
use std::time::Instant;

fn first(pod: &Pod) -> ContainerStatus {
    pod.status.clone().unwrap().container_statuses.unwrap()[0].clone()
}

fn address(pod: &Pod) -> String {
    pod.status.clone().unwrap().pod_ip.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: containers, links, cgroups"]
async fn a_pod_serves_and_is_isolated() {
    let machine = Machine::start().await;
    let cluster = &machine.cluster;
    cluster
        .create_object(
            "configmaps",
            json!({"metadata": {"name": "config"}, "data": {"page": "welcome", "LEVEL": "debug"}}),
        )
        .await;
    cluster.create_object("secrets", json!({"metadata": {"name": "db"}, "stringData": {"password": "s3cret"}})).await;
    let mut pod = machine.pod(
        "web",
        json!({
            "env": [
                {"name": "MARK", "value": "a_pod_serves"},
                {"name": "READY_AFTER_MS", "value": "300"},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "URL", "value": "http://$(IP)/"}
            ],
            "envFrom": [{"configMapRef": {"name": "config"}}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 3600},
            "livenessProbe": {"exec": {"command": ["/server", "exists", "/etc/config/page"]}},
            "ports": [{"name": "http", "containerPort": 8080}],
            "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
            "volumeMounts": [
                {"name": "config", "mountPath": "/etc/config"},
                {"name": "db", "mountPath": "/etc/db"},
                {"name": "scratch", "mountPath": "/scratch"}
            ]
        }),
    );
    pod["spec"]["volumes"] = json!([
        {"name": "config", "configMap": {"name": "config"}},
        {"name": "db", "secret": {"secretName": "db", "defaultMode": 256}},
        {"name": "scratch", "emptyDir": {"medium": "Memory"}}
    ]);
    pod["spec"]["initContainers"] = json!([
        {"name": "prepare", "image": machine.image, "args": ["write", "/scratch/note", "from init"], "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}
    ]);
    let began = Instant::now();
    cluster.create(pod).await;
    let ready = cluster.until_ready("web").await;
    eprintln!("created to ready: {:?} (300 ms of it asked for)", began.elapsed());
    let ip = address(&ready);
    for (path, expected) in [
        ("/", "hello from pid 1"),
        ("/env/FROM_IMAGE", "yes"),
        ("/env/LEVEL", "debug"),
        ("/env/URL", &format!("http://{ip}/")),
        ("/env/HOSTNAME", "web"),
        ("/file/etc/config/page", "welcome"),
        ("/file/etc/db/password", "s3cret"),
        ("/file/scratch/note", "from init"),
    ] {
        assert_eq!(get(&ip, path).unwrap(), (200, expected.to_owned()), "{path}");
    }
    assert!(get(&ip, "/file/etc/hosts").unwrap().1.contains(&format!("{ip}\tweb")));
    let pid = host_pid("MARK=a_pod_serves").to_string();
    for kind in ["pid", "net", "mnt", "uts", "ipc"] {
        assert_ne!(namespace(&pid, kind), namespace("self", kind), "{kind}");
    }
    assert!(cluster.logs("web", false).await.contains("serving"));
    assert_eq!(
        ready.status.clone().unwrap().qos_class.as_deref(),
        Some("Burstable"),
        "the init container has no limits"
    );
    assert!(first(&ready).image_id.starts_with("registry.test.internal/server@sha256:"));
    cluster.delete("web").await;
    cluster.until_gone("web").await;
    assert!(get(&ip, "/").is_err(), "the bridge is there, the Pod is not");
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: containers, links, cgroups"]
async fn containers_outlive_the_node() {
    let mut machine = Machine::start().await;
    machine.cluster.create(machine.pod("stays", json!({"env": [{"name": "MARK", "value": "outlive_stays"}]}))).await;
    machine.cluster.create(machine.pod("crashes", json!({}))).await;
    machine.cluster.create(machine.pod("goes", json!({}))).await;
    let before = machine.cluster.until_ready("stays").await;
    let crashing = machine.cluster.until_ready("crashes").await;
    let going = machine.cluster.until_ready("goes").await;
    let pid = host_pid("MARK=outlive_stays");
    machine.cluster.stop_node();
    assert!(get(&address(&before), "/").is_ok(), "serves without a node");
    let _ = get(&address(&crashing), "/crash");
    machine.cluster.pods().delete("goes", &kube::api::DeleteParams::default().grace_period(0)).await.unwrap();
    machine.cluster.start_node().await;
    let restarted =
        machine.cluster.until("crashes", "restarted", |pod| first(pod).restart_count == 1 && first(pod).ready).await;
    assert_eq!(first(&restarted).last_state.unwrap().terminated.unwrap().exit_code, 3);
    assert_eq!(address(&restarted), address(&crashing));
    let after = machine.cluster.until_ready("stays").await;
    assert_eq!((first(&after), address(&after)), (first(&before), address(&before)));
    assert_eq!(host_pid("MARK=outlive_stays"), pid);
    let began = Instant::now();
    while get(&address(&going), "/").is_ok() {
        assert!(began.elapsed() < crate::cluster::PATIENCE, "what was deleted meanwhile still serves");
    }
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: containers, links, cgroups"]
async fn a_crash_loop_backs_off_and_keeps_the_last_words() {
    let machine = Machine::start().await;
    let cluster = &machine.cluster;
    cluster.create(machine.pod("crash", json!({"args": ["fail", "7"]}))).await;
    let pod =
        cluster.until("crash", "backing off", |pod| waiting_reason(pod).as_deref() == Some("CrashLoopBackOff")).await;
    let status = first(&pod);
    let end = status.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!(
        (end.exit_code, end.reason.as_deref(), end.message.as_deref()),
        (7, Some("Error"), Some("it was meant to"))
    );
    assert_eq!(status.restart_count, 1, "the first restart is immediate");
    let message = status.state.unwrap().waiting.unwrap().message.unwrap();
    assert!(message.starts_with("back-off 10s restarting failed container=main pod=crash_default("), "{message}");
    assert!(cluster.logs("crash", true).await.contains("about to fail\n"));
    assert!(cluster.logs("crash", false).await.contains("failing now\n"));
    cluster.until_event("crash", "BackOff: Back-off restarting failed container main in pod crash_default(").await;
    cluster.delete("crash").await;
    cluster.until_gone("crash").await;
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: containers, links, cgroups"]
async fn pods_end_as_their_policy_says() {
    let machine = Machine::start().await;
    let cluster = &machine.cluster;
    let of_policy = |name: &str, policy: &str, code: &str| {
        let mut pod =
            machine.pod(name, json!({"args": ["fail", code], "terminationMessagePolicy": "FallbackToLogsOnError"}));
        pod["spec"]["restartPolicy"] = json!(policy);
        pod
    };
    cluster.create(of_policy("succeeds", "Never", "0")).await;
    cluster.create(of_policy("fails", "Never", "9")).await;
    for (name, phase, code) in [("succeeds", "Succeeded", 0), ("fails", "Failed", 9)] {
        let pod =
            cluster.until(name, phase, |pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(phase)).await;
        assert_eq!(first(&pod).state.unwrap().terminated.unwrap().exit_code, code);
        assert_eq!(condition(&pod, "Ready"), Some("False".into()));
    }
    // What cannot start says why.
    cluster.create(machine.pod("missing", json!({"command": ["/no/such/program"]}))).await;
    let pod = cluster
        .until("missing", "unable to start", |pod| waiting_reason(pod).as_deref() == Some("CrashLoopBackOff"))
        .await;
    let message = first(&pod).last_state.unwrap().terminated.unwrap().message.unwrap();
    assert!(message.contains("/no/such/program"), "{message}");
    let mut absent = machine.pod("absent", json!({}));
    absent["spec"]["containers"][0]["image"] = json!("registry.test.internal/none:latest");
    cluster.create(absent).await;
    cluster
        .until("absent", "without its image", |pod| waiting_reason(pod).as_deref() == Some("ImagePullBackOff"))
        .await;
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: containers, links, cgroups"]
async fn probes_and_grace_are_kept() {
    let machine = Machine::start().await;
    let cluster = &machine.cluster;
    let probes = json!({
        "livenessProbe": {"exec": {"command": ["/server", "exists", "/alive/yes"]}, "periodSeconds": 1, "failureThreshold": 1},
        "readinessProbe": {"tcpSocket": {"port": 8080}},
        "volumeMounts": [{"name": "alive", "mountPath": "/alive"}]
    });
    let mut pod = machine.pod("lively", probes);
    pod["spec"]["volumes"] = json!([{"name": "alive", "emptyDir": {}}]);
    pod["spec"]["initContainers"] = json!([
        {"name": "prepare", "image": machine.image, "args": ["write", "/alive/yes", ""], "volumeMounts": [{"name": "alive", "mountPath": "/alive"}]}
    ]);
    cluster.create(pod).await;
    let ready = cluster.until_ready("lively").await;
    get(&address(&ready), "/remove/alive/yes").unwrap();
    let restarted = cluster.until("lively", "restarted", |pod| first(pod).restart_count >= 1).await;
    assert!(first(&restarted).last_state.unwrap().terminated.is_some());
    cluster.until_event("lively", "Killing: Container main failed liveness probe, will be restarted").await;
    // Pid 1 without a handler ignores SIGTERM: the grace ends it.
    let mut stubborn = machine.pod("stubborn", json!({"args": ["stubborn"]}));
    stubborn["spec"]["terminationGracePeriodSeconds"] = json!(1);
    cluster.create(stubborn).await;
    cluster.until_ready("stubborn").await;
    let began = Instant::now();
    cluster.delete("stubborn").await;
    cluster.until_gone("stubborn").await;
    assert!(began.elapsed().as_secs_f64() >= 1.0, "{:?}", began.elapsed());
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: containers, links, cgroups"]
async fn down_and_up_again_runs_the_same_pods() {
    let mut machine = Machine::start().await;
    machine.cluster.create(machine.pod("web", json!({}))).await;
    machine.cluster.until_ready("web").await;
    machine.cluster.node.as_ref().unwrap().stop_all().await.unwrap();
    machine.cluster.stop_node();
    machine.cluster.start_node().await;
    let after =
        machine.cluster.until("web", "running again", |pod| first(pod).restart_count == 1 && first(pod).ready).await;
    assert!(get(&address(&after), "/").is_ok());
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: containers, links, cgroups"]
async fn many_pods_come_and_go_at_once() {
    let machine = Machine::start().await;
    let cluster = &machine.cluster;
    let names: Vec<String> = (0..12).map(|n| format!("web-{n}")).collect();
    let began = Instant::now();
    futures::future::join_all(names.iter().map(|name| cluster.create(machine.pod(name, json!({}))))).await;
    let pods = futures::future::join_all(names.iter().map(|name| cluster.until_ready(name))).await;
    eprintln!("{} Pods ready after {:?}", pods.len(), began.elapsed());
    let addresses: std::collections::HashSet<String> = pods.iter().map(address).collect();
    assert_eq!(addresses.len(), names.len());
    for address in &addresses {
        assert_eq!(get(address, "/").unwrap().1, "hello from pid 1");
    }
    let began = Instant::now();
    futures::future::join_all(names.iter().map(|name| cluster.delete(name))).await;
    futures::future::join_all(names.iter().map(|name| cluster.until_gone(name))).await;
    eprintln!("gone after {:?}", began.elapsed());
    machine.end().await;
}
