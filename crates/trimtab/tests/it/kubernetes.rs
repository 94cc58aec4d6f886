//! Staging on a real API server without nodes: etcd and kube-apiserver, both from PATH.

use crate::harness::Home;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Killed with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(directory: &Path, program: &str, arguments: &[String]) -> Process {
    let log = File::create(directory.join(format!("{program}.log"))).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    Process(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap_or_else(|e| panic!("{program}: {e}")))
}

fn signal(process: &Process, name: &str) {
    assert!(Command::new("kill").args([name, &process.0.id().to_string()]).status().unwrap().success());
}

/// An API server at a free port, its kubeconfig in `edge.kubeconfig` of the home.
fn kubernetes(hub: &Home) -> (Process, Process) {
    let directory = hub.path().join("kubernetes");
    fs::create_dir(&directory).unwrap();
    let held: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = held.iter().map(|l| l.local_addr().unwrap().port()).collect();
    drop(held);
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(directory.join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(directory.join("server.pem"), server.pem()).unwrap();
    fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
    fs::write(directory.join("tokens.csv"), "s3cr3t-t0ken,ada,1,system:masters\n").unwrap();
    let etcd = format!("http://127.0.0.1:{}", ports[0]);
    let peer = format!("http://127.0.0.1:{}", ports[1]);
    let options = [
        "--data-dir=etcd".to_owned(),
        format!("--listen-client-urls={etcd}"),
        format!("--advertise-client-urls={etcd}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ];
    let etcd_process = start(&directory, "etcd", &options);
    let options = [
        format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", ports[2]),
        "--tls-cert-file=server.pem".to_owned(),
        "--tls-private-key-file=server.key".to_owned(),
        "--token-auth-file=tokens.csv".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://127.0.0.1".to_owned(),
        "--service-account-key-file=server.pem".to_owned(),
        "--service-account-signing-key-file=server.key".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--disable-admission-plugins=ServiceAccount".to_owned(),
    ];
    let server = start(&directory, "kube-apiserver", &options);
    let kubeconfig = format!(
        "clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{}', certificate-authority: kubernetes/ca.pem}}}}]\nusers: [{{name: u, user: {{token: s3cr3t-t0ken}}}}]\ncontexts: [{{name: edge, context: {{cluster: c, user: u}}}}]\ncurrent-context: edge\n",
        ports[2]
    );
    fs::write(hub.path().join("edge.kubeconfig"), kubeconfig).unwrap();
    (etcd_process, server)
}

#[test]
#[ignore = "by hand: needs etcd and kube-apiserver on PATH"]
fn by_hand_staging_on_a_real_kubernetes() {
    let hub = Home::up();
    hub.hello();
    hub.push("one").ok();
    hub.eventually("hello-1 is healthy in dev", || hub.healthy("dev").as_deref() == Some("hello-1"));
    let (_etcd, server) = kubernetes(&hub);
    let kubectl = |arguments: &str| hub.sh("", &format!("kubectl --kubeconfig edge.kubeconfig {arguments}"));
    hub.eventually("the API server is ready", || kubectl("get --raw /readyz").code == 0);
    let said =
        hub.sh("", "trimtab dataplane add edge --kubeconfig edge.kubeconfig --registry hub.example.com:5000").ok();
    println!("{said}");
    assert!(said.contains("it answers: Kubernetes v1."), "{said}");
    hub.config();
    hub.sh("config", "echo 'dataPlane: edge' >> environments/staging.yaml && git commit -qam edge && git push -q").ok();
    hub.trimtab(&["promote", "hello", "--to", "staging", "--detach"]).ok();

    // Objects are applied by server-side apply as `trimtab`, in a claimed namespace.
    let field = |path: &str| kubectl(&format!("get deployment hello -n hello-staging -o 'jsonpath={path}'")).text;
    hub.eventually("the Deployment stands there", || {
        field("{.spec.template.spec.containers[0].image}").starts_with("hub.example.com:5000/hello/hello@sha256:")
    });
    assert_eq!(field("{.spec.template.spec.imagePullSecrets[0].name}"), "trimtab-registry");
    let managers = kubectl("get deployment hello -n hello-staging --show-managed-fields -o 'jsonpath={.metadata.managedFields[*].manager}'").ok();
    assert_eq!(managers, "trimtab");
    let labels = kubectl("get namespace hello-staging -o 'jsonpath={.metadata.labels}'").ok();
    assert!(labels.contains("trimtab.dev/project-uid"), "{labels}");
    let status = hub.environment("staging").unwrap();
    assert!(status["error"].is_null(), "{status}");
    hub.eventually("the dry run finds nothing to do", || {
        let said = hub.trimtab(&["diff", "--env", "staging", "-o", "json"]).text;
        let plan: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
        let steps = plan[0]["steps"].as_array().cloned().unwrap_or_default();
        let changes: Vec<_> = steps.iter().filter(|step| step["action"] != "unchanged").collect();
        if !changes.is_empty() {
            println!("{changes:?}");
        }
        !steps.is_empty() && changes.is_empty()
    });
    println!("{}", hub.trimtab(&["status"]).text);

    // Drift is repaired.
    kubectl("scale deployment hello -n hello-staging --replicas 5").ok();
    hub.eventually("replicas are put right", || field("{.spec.replicas}") == "1");
    kubectl("delete service hello -n hello-staging").ok();
    hub.eventually("the Service is made again", || kubectl("get service hello -n hello-staging").code == 0);
    hub.eventually("the journal says so", || {
        hub.history().iter().filter(|e| e["kind"] == "repaired" && e["environment"] == "staging").count() >= 2
    });

    // A server that takes connections and answers nothing.
    signal(&server, "-STOP");
    hub.eventually("it is said", || {
        let error = hub.environment("staging").unwrap()["error"].to_string();
        error.contains("DataPlane edge unreachable: no answer within")
    });
    println!("{}", hub.trimtab(&["status"]).text);
    assert_eq!(hub.healthy("dev").as_deref(), Some("hello-1"));
    signal(&server, "-CONT");
    hub.eventually("it recovers", || hub.environment("staging").unwrap()["error"].is_null());
}
