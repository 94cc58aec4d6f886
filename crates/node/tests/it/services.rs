//! Services of this machine, by address and by name. Each test ends with the machine as it was.

use crate::cluster::PATIENCE;
use crate::machine::{Machine, get};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

fn address(pod: &Pod) -> String {
    pod.status.clone().unwrap().pod_ip.unwrap()
}

/// Pods that serve, by name.
async fn pods<const N: usize>(machine: &Machine, names: [&str; N]) -> [String; N] {
    for name in names {
        machine.cluster.create(machine.pod(name, json!({}))).await;
    }
    let ready = futures::future::join_all(names.iter().map(|name| machine.cluster.until_ready(name))).await;
    ready.iter().map(address).collect::<Vec<_>>().try_into().unwrap()
}

/// The Service's own address.
async fn service(machine: &Machine, name: &str, spec: Value) -> String {
    let made = machine.cluster.create_object("services", json!({"metadata": {"name": name}, "spec": spec})).await;
    made["spec"]["clusterIP"].as_str().unwrap().to_owned()
}

/// Writes the endpoints of a Service: a controller's work.
async fn endpoints(machine: &Machine, of: &str, ready: &[&str]) {
    let endpoints: Vec<Value> =
        ready.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": of, "labels": {"kubernetes.io/service-name": of}}, "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}, {"name": "udp", "port": 5353, "protocol": "UDP"}],
        "endpoints": endpoints,
    });
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{of}?fieldManager=test&force=true");
    let request = http::Request::patch(path).header("content-type", "application/apply-patch+yaml");
    let request = request.body(serde_json::to_vec(&slice).unwrap()).unwrap();
    machine.cluster.client.request::<Value>(request).await.unwrap();
}

const PORTS: &str = r#"[{"name": "http", "port": 80, "targetPort": 8080}, {"name": "udp", "port": 53, "protocol": "UDP", "targetPort": 5353}]"#;

fn ports() -> Value {
    serde_json::from_str(PORTS).unwrap()
}

/// What this machine itself gets from a Service.
fn from_host(ip: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&format!("{ip}:80").parse().unwrap(), Duration::from_secs(5))?;
    // An endpoint answers one connection at a time: behind one that is held open it does not answer at all.
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /name HTTP/1.1\r\nHost: test\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

/// What a Pod gets.
fn from_pod(pod: &str, path: &str) -> String {
    get(pod, path).unwrap().1
}

/// Returns when `probe` says so; panics with what it said last and the rules as they are.
async fn eventually<T>(what: &str, probe: impl Fn() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match probe() {
            Ok(found) => return found,
            Err(_) if began.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(2)).await,
            Err(state) => panic!("{what}: {state}\n{}", nft(&["list", "ruleset"])),
        }
    }
}

fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn equal<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}")) }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: containers, links, nftables"]
async fn a_service_is_reached_from_pods_and_the_host_and_balances() {
    let machine = Machine::start().await;
    let [a, b, client] = pods(&machine, ["a", "b", "client"]).await;
    let web = service(&machine, "web", json!({"selector": {"app": "web"}, "ports": ports()})).await;
    endpoints(&machine, "web", &[&a, &b]).await;
    let both = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    eventually("the host reaches both", || equal((0..40).filter_map(|_| from_host(&web).ok()).collect(), both.clone()))
        .await;
    let of_200 = (0..200).filter(|_| from_host(&web).unwrap() == "a").count();
    assert!((60..=140).contains(&of_200), "{of_200} of 200 went to one of two endpoints");
    // From a Pod, and from one that is an endpoint itself; by address, over UDP, by name.
    for from in [&client, &a] {
        let many = |path: &str| -> BTreeSet<String> { (0..40).map(|_| from_pod(from, path)).collect() };
        if from == &client {
            assert_eq!(many(&format!("/fetch/{web}:80")), both);
        } else {
            // It answers one connection at a time, so that it would wait for itself: over UDP it does not.
            assert_eq!(many(&format!("/ask/{web}:53")), both, "a Pod reaches itself through its Service");
        }
        assert_eq!(many(&format!("/ask/{web}:53")), both);
    }
    for name in ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local."] {
        assert_eq!(from_pod(&client, &format!("/resolve/{name}")), format!("Ok([{web}])"), "{name}");
    }
    assert!(["a", "b"].contains(&from_pod(&client, "/fetch/web:80").as_str()));
    assert!(from_pod(&client, "/resolve/none.default.svc.cluster.local.").contains("code 3"));
    let resolv = from_pod(&client, "/file/etc/resolv.conf");
    assert!(resolv.starts_with("search default.svc.cluster.local svc.cluster.local cluster.local"), "{resolv}");
    assert!(resolv.contains("options ndots:5"), "{resolv}");
    // A headless Service stands for its endpoints.
    let none = service(&machine, "peers", json!({"clusterIP": "None", "ports": ports()})).await;
    endpoints(&machine, "peers", &[&a]).await;
    assert_eq!(none, "None");
    eventually("its name", || equal(from_pod(&client, "/resolve/peers"), format!("Ok([{a}])"))).await;
    // An endpoint leaves: a connection that stands goes on, new ones go to the other.
    let mut open = TcpStream::connect(format!("{web}:80")).unwrap();
    endpoints(&machine, "web", &[]).await;
    eventually("nobody is left", || match from_host(&web) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    open.write_all(b"GET /name HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    endpoints(&machine, "web", &[&b]).await;
    let began = Instant::now();
    eventually("the one that is left", || from_host(&web).map(drop).map_err(|e| e.to_string())).await;
    eprintln!("an endpoint is served {:?} after it was written", began.elapsed());
    let left: BTreeSet<String> = (0..20).map(|_| from_pod(&client, &format!("/fetch/{web}:80"))).collect();
    assert_eq!(left, BTreeSet::from(["b".to_owned()]));
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: containers, links, nftables"]
async fn what_nobody_serves_is_refused_at_once_and_never_leaves_the_machine() {
    let machine = Machine::start().await;
    let [client] = pods(&machine, ["client"]).await;
    let idle = service(&machine, "idle", json!({"ports": ports()})).await;
    let bridge = format!("tt{}", machine.cluster.instance());
    // Another's table, which counts what would leave by another link than the bridge.
    // Only this node's addresses: the tests beside this one have Services of their own.
    let octets: Vec<u8> = idle.split('.').map(|octet| octet.parse().unwrap()).collect();
    let network = format!("{}.{}.{}.0/20", octets[0], octets[1], octets[2] & 0xf0);
    let other = format!("other_{}", machine.cluster.instance());
    nft(&["add", "table", "ip", &other]);
    nft(&["add", "chain", "ip", &other, "leaving", "{ type filter hook postrouting priority 300; }"]);
    let rule = format!("ip daddr {network} oifname != {{ \"{bridge}\", \"lo\" }} counter drop");
    nft(&["add", "rule", "ip", &other, "leaving", &rule]);
    // An address without a Service: the first of the network.
    let stray = format!("{}.1", idle.rsplit_once('.').unwrap().0);
    assert_ne!(stray, idle);
    for address in [&idle, &stray] {
        let began = Instant::now();
        let refused = from_host(address).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{address}: {refused}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        let (told, after) = {
            let answer = from_pod(&client, &format!("/fetch/{address}:80"));
            let (told, after) = answer.split_once(' ').unwrap();
            (told.to_owned(), after.parse::<u64>().unwrap())
        };
        assert_eq!(told, "ConnectionRefused", "{address}");
        assert!(after < 1000, "after {after} ms");
        assert_eq!(from_pod(&client, &format!("/ask/{address}:53")), "ConnectionRefused");
    }
    // Even without any rule of ours.
    nft(&["delete", "table", "ip", &format!("trimtab_{}", machine.cluster.instance())]);
    assert!(from_host(&idle).is_err());
    let answer = from_pod(&client, &format!("/fetch/{idle}:80"));
    assert!(!answer.starts_with("ConnectionRefused"), "there is nobody to refuse it: {answer}");
    let counted = nft(&["list", "table", "ip", &other]);
    assert!(counted.contains("counter packets 0 bytes 0"), "{counted}");
    machine.cluster.node.as_ref().unwrap().stop_all().await.unwrap();
    assert_eq!(nft(&["list", "table", "ip", &other]), counted, "other software's rules");
    nft(&["delete", "table", "ip", &other]);
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: containers, links, nftables"]
async fn services_outlive_the_node_and_names_come_back_with_it() {
    let mut machine = Machine::start().await;
    let [a, client] = pods(&machine, ["a", "client"]).await;
    let web = service(&machine, "web", json!({"ports": ports()})).await;
    endpoints(&machine, "web", &[&a]).await;
    eventually("it is served", || equal(from_pod(&client, "/fetch/web:80"), "a".into())).await;
    machine.cluster.stop_node();
    for _ in 0..20 {
        assert_eq!(from_host(&web).unwrap(), "a", "without a node");
        assert_eq!(from_pod(&client, &format!("/fetch/{web}:80")), "a", "without a node");
    }
    // Nothing is interrupted while the next process learns what there is.
    machine.cluster.start_node().await;
    for _ in 0..100 {
        assert_eq!(from_host(&web).unwrap(), "a", "while the node starts");
    }
    eventually("names are found again", || equal(from_pod(&client, "/fetch/web:80"), "a".into())).await;
    machine.end().await;
}
