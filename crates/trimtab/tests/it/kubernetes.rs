//! Staging on a real API server without nodes: etcd and kube-apiserver, both from PATH or the directory KUBE_BIN.

use crate::harness::Home;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Killed with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a program lies, if it is here.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::var_os("KUBE_BIN").map(PathBuf::from).into_iter().chain(std::env::split_paths(&path));
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}

fn start(directory: &Path, name: &str, arguments: &[String]) -> Process {
    let log = File::create(directory.join(format!("{name}.log"))).unwrap();
    let program = program(name).unwrap_or_else(|| panic!("{name} is neither on PATH nor in KUBE_BIN"));
    let mut command = Command::new(&program);
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    Process(
        command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", program.display())),
    )
}

fn signal(process: &Process, name: &str) {
    assert!(Command::new("kill").args([name, &process.0.id().to_string()]).status().unwrap().success());
}

/// An API server at a free port, with the kubeconfigs of Trimtab (`edge.kubeconfig`) and of a person (`eve.kubeconfig`) in
/// the home. Both may do everything.
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
    fs::write(directory.join("tokens.csv"), "s3cr3t-t0ken,ada,1,system:masters\neve-t0ken,eve,2,system:masters\n")
        .unwrap();
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
    fs::write(hub.path().join("eve.kubeconfig"), kubeconfig.replace("s3cr3t-t0ken", "eve-t0ken")).unwrap();
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

#[test]
fn on_a_real_kubernetes_people_do_not_write_what_is_reviewed_and_trimtab_does() {
    if program("etcd").is_none() || program("kube-apiserver").is_none() {
        println!("left out: etcd and kube-apiserver are neither on PATH nor in KUBE_BIN");
        return;
    }
    let hub = Home::up();
    hub.hello();
    hub.push("one").ok();
    hub.eventually("hello-1 is healthy in dev", || hub.healthy("dev").as_deref() == Some("hello-1"));
    let (_etcd, _server) = kubernetes(&hub);
    let kubectl =
        |who: &str, arguments: &str| hub.sh("", &format!("kubectl --kubeconfig {who}.kubeconfig {arguments}"));
    hub.eventually("the API server is ready", || kubectl("edge", "get --raw /readyz").code == 0);
    hub.sh("", "trimtab dataplane add edge --kubeconfig edge.kubeconfig --registry hub.example.com:5000").ok();
    hub.config();
    hub.sh("config", "echo 'dataPlane: edge' >> environments/staging.yaml && git commit -qam edge && git push -q").ok();
    hub.trimtab(&["promote", "hello", "--to", "staging", "--detach"]).ok();
    hub.eventually("it stands there", || kubectl("eve", "get deployment,service hello -n hello-staging").code == 0);
    kubectl("eve", "annotate deployment hello -n hello-staging a=b").ok();

    let reviewed = "git pull -q && echo 'changes: reviewed' >> environments/staging.yaml && git commit -qam reviewed && git push -q";
    hub.sh("config", reviewed).ok();
    hub.eventually("what people write is denied", || {
        let said = kubectl("eve", "annotate deployment hello -n hello-staging --overwrite a=c");
        said.code != 0 && said.text.contains("reviewed")
    });
    for write in [
        "scale deployment hello -n hello-staging --replicas 3",
        "delete service hello -n hello-staging",
        "label deployment hello -n hello-staging trimtab.dev/environment-",
        "set image deployment hello -n hello-staging '*=busybox'",
    ] {
        kubectl("eve", write).refused(&["changes to staging of hello are reviewed", "refs/for/main"]);
    }
    // What is nobody's, and what is read, is as ever.
    kubectl("eve", "create configmap mine -n hello-staging").ok();
    kubectl("eve", "get deployments -n hello-staging").ok();
    let status = hub.environment("staging").unwrap();
    assert!(!status.to_string().contains("does not refuse"), "{status}");

    // Ours is let through: an emergency goes directly.
    hub.sh("hello", "echo two >public/index.html").ok();
    hub.push("two").ok();
    hub.eventually("hello-2 is healthy in dev", || hub.healthy("dev").as_deref() == Some("hello-2"));
    let image = || kubectl("eve", "get deployment hello -n hello-staging -o 'jsonpath={..image}'").text;
    let before = image();
    hub.trimtab(&["promote", "hello", "--to", "staging", "--override", "now", "--detach"]).ok();
    hub.eventually("the new image stands there", || image() != before);
    let policies = kubectl("eve", "get validatingadmissionpolicies,validatingadmissionpolicybindings -o name").ok();
    assert_eq!(policies.lines().count(), 2, "{policies}");

    // With the review goes what enforced it.
    let direct = "git pull -q && sed -i '/^changes:/d' environments/staging.yaml && git commit -qam direct && git push -q origin HEAD:refs/for/main";
    hub.sh("config", direct).ok();
    hub.sh("", "trimtab user add abel --role admin && trimtab token create --user abel 2>/dev/null >abel").ok();
    hub.sh("", "TRIMTAB_TOKEN=$(cat abel) trimtab change approve 1 && trimtab change merge 1").ok();
    hub.eventually("the policy is gone", || {
        kubectl("eve", "get validatingadmissionpolicies,validatingadmissionpolicybindings -o name")
            .text
            .trim()
            .is_empty()
    });
    // The API server forgets a policy a moment later than it lists it no more.
    hub.eventually("people write again", || {
        kubectl("eve", "annotate deployment hello -n hello-staging --overwrite a=d").code == 0
    });
}
