//! A stock kubectl against the listener.

use crate::support::{Server, server};
use apiserver::{Authenticator, Body, Identity};
use base64::Engine;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct Tokens;

impl Authenticator for Tokens {
    fn authenticate(&self, bearer: &str) -> Option<Identity> {
        match bearer {
            "secret" => Some(Identity::master("admin")),
            "weak" => Some(Identity { user: "alice".into(), groups: vec!["system:authenticated".into()] }),
            _ => None,
        }
    }
}

/// A listener, and the configuration with which kubectl finds it.
struct Served {
    server: Server,
    config: PathBuf,
    weak: PathBuf,
    shutdown: CancellationToken,
    done: tokio::task::JoinHandle<()>,
}

async fn served() -> Served {
    let server = server().await;
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.expect("protocols").with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let shutdown = CancellationToken::new();
    let (api, token) = (server.api.clone(), shutdown.clone());
    let tls = Arc::new(tls.expect("a key"));
    let done = tokio::spawn(async move { api.serve(listener, tls, Arc::new(Tokens), token).await });
    let authority = base64::engine::general_purpose::STANDARD.encode(made.cert.pem());
    let write = |name: &str, token: &str| {
        let path = server.directory.path().join(name);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": format!("https://{address}"), "certificate-authority-data": authority}}],
            "users": [{"name": "x", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        std::fs::write(&path, config.to_string()).expect("writable");
        path
    };
    Served { config: write("config", "secret"), weak: write("weak", "weak"), server, shutdown, done }
}

impl Served {
    fn command(&self, config: &PathBuf, line: &str) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(config).arg("--cache-dir").arg(self.server.directory.path().join("cache"));
        command.args(line.split(' ')).env("HOME", self.server.directory.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command; its output. Panics if it fails.
    async fn run(&self, line: &str) -> String {
        let output = self.output(&self.config, line, "").await;
        assert!(output.0, "kubectl {line}\n{}{}", output.1, output.2);
        output.1
    }

    async fn output(&self, config: &PathBuf, line: &str, input: &str) -> (bool, String, String) {
        let file = self.server.directory.path().join("input");
        std::fs::write(&file, input).expect("writable");
        let mut command = self.command(config, line);
        if !input.is_empty() {
            command.stdin(std::fs::File::open(&file).expect("it is there"));
        }
        let output =
            tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("kubectl runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    async fn feed(&self, line: &str, input: &str) -> String {
        let output = self.output(&self.config, line, input).await;
        assert!(output.0, "kubectl {line}\n{}{}", output.1, output.2);
        output.1
    }
}

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: \"web:1\", ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: things, kind: Thing, shortNames: [th]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, required: [size], properties: {size: {type: integer, minimum: 1, description: How large.}}}
          status: {type: object, properties: {ready: {type: boolean}}}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "root: drives the stock kubectl"]
async fn kubectl_works() {
    let served = served().await;
    assert!(served.run("version").await.contains("Server Version: v1.34"));
    assert_eq!(served.run("get ns -o name").await.lines().count(), 3);
    let applied = served.feed("apply -f -", WEB).await;
    assert_eq!(applied, "deployment.apps/web created\nservice/web created\n");
    assert_eq!(served.feed("apply -f -", WEB).await, "deployment.apps/web unchanged\nservice/web unchanged\n");
    let applied = served.feed("apply -f -", &WEB.replace("web:1", "web:2")).await;
    assert_eq!(applied, "deployment.apps/web configured\nservice/web unchanged\n");
    let (differs, diff, error) = served.output(&served.config, "diff -f -", &WEB.replace("web:1", "web:3")).await;
    assert!(!differs && diff.contains("+      - image: web:3"), "{diff}{error}");
    served.run("patch deployment web --type=strategic -p {\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"web\",\"env\":[{\"name\":\"A\",\"value\":\"b\"}]}]}}}}").await;
    served
        .run("patch deployment web --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":3}]")
        .await;
    assert_eq!(served.run("scale deployment web --replicas=5").await, "deployment.apps/web scaled\n");
    let table = served.run("get deployments,services -o wide").await;
    assert!(
        table.contains("NAME") && table.contains("0/5") && table.contains("None") && table.contains("80/TCP"),
        "{table}"
    );
    assert_eq!(served.run("label deployment web tier=front").await, "deployment.apps/web labeled\n");
    assert_eq!(served.run("get deployments -l tier=front -o name").await, "deployment.apps/web\n");
    assert_eq!(served.run("set image deployment/web web=web:4").await, "deployment.apps/web image updated\n");
    served.feed("apply --server-side -f -", WEB.split("---").last().expect("two")).await;
    let (fine, _, error) = served
        .output(&served.config, "apply --server-side --field-manager=other -f -", &WEB.replace("web:1", "web:5"))
        .await;
    assert!(!fine && error.contains("conflict"), "{error}");
    let (fine, _, error) = served.output(&served.config, "apply -f -", &WEB.replace("replicas", "replicos")).await;
    assert!(!fine && error.contains("unknown field \"spec.replicos\""), "{error}");
    let explained = served.run("explain deployment.spec.strategy").await;
    assert!(explained.contains("rollingUpdate"), "{explained}");
    served.run("describe deployment web").await;
    served.run("wait --for=jsonpath={.spec.replicas}=5 deployment/web --timeout=5s").await;
    let (fine, _, error) = served.output(&served.config, "create configmap c --from-literal=a=b", "").await;
    assert!(!fine && error.contains("application/vnd.kubernetes.protobuf"), "what is not supported is named: {error}");
    let map = served.run("create configmap c --from-literal=a=b --dry-run=client -o yaml").await;
    assert_eq!(served.feed("create -f -", &map).await, "configmap/c created\n");
    assert!(served.run("get all").await.contains("deployment.apps/web"));
    assert!(served.run("api-resources").await.contains("customresourcedefinitions"));
    assert_eq!(served.run("delete deployment web").await, "deployment.apps \"web\" deleted\n");
    served.feed("create -f -", r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gone"}}"#).await;
    assert_eq!(served.run("delete namespace gone --timeout=20s").await, "namespace \"gone\" deleted\n");
    served.shutdown.cancel();
    served.done.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "root: drives the stock kubectl"]
async fn kubectl_knows_definitions_and_rights() {
    let served = served().await;
    served.feed("apply -f -", DEFINITION).await;
    served.run("wait --for=condition=Established crd/things.example.com --timeout=5s").await;
    let thing = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\nspec: {size: 3}\n";
    assert_eq!(served.feed("apply -f -", thing).await, "thing.example.com/t created\n");
    let table = served.run("get th").await;
    assert!(table.contains("SIZE") && table.contains('3'), "{table}");
    assert!(served.run("explain thing.spec.size").await.contains("How large."));
    let (fine, _, error) = served.output(&served.config, "apply -f -", &thing.replace("size: 3", "size: 0")).await;
    assert!(!fine && error.contains("should be greater than or equal to 1"), "{error}");
    let (fine, _, error) = served.output(&served.weak, "get pods", "").await;
    assert!(!fine && error.contains("User \"alice\" cannot list resource \"pods\" in API group \"\""), "{error}");
    for line in
        ["create role reader --verb=get,list --resource=pods", "create rolebinding reader --role=reader --user=alice"]
    {
        let object = served.run(&format!("{line} --dry-run=client -o yaml")).await;
        served.feed("create -f -", &object).await;
    }
    assert!(served.output(&served.weak, "get pods", "").await.0);
    assert!(!served.output(&served.weak, "get pods -A", "").await.0);
    let review = r#"{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": "default"}}}"#;
    let path = "create --raw /apis/authorization.k8s.io/v1/selfsubjectaccessreviews -f -";
    assert!(served.output(&served.weak, path, review).await.1.contains(r#""allowed":false"#));
    assert!(served.feed(path, review).await.contains(r#""allowed":true"#));
    let anonymous = served.output(&served.config, "--token=wrong get pods", "").await;
    assert!(!anonymous.0 && anonymous.2.contains("Unauthorized") || anonymous.2.contains("logged in"), "{anonymous:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "root: drives the stock kubectl"]
async fn kubectl_reads_logs_and_watches() {
    let served = served().await;
    served.server.api.set_kubelet(tower::service_fn(|request: http::Request<Body>| async move {
        let text = format!("{} {}\n", request.uri().path(), request.uri().query().unwrap_or_default());
        Ok::<_, std::convert::Infallible>(http::Response::new(
            http_body_util::Full::new(bytes::Bytes::from(text)).boxed(),
        ))
    }));
    let pod =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: here, containers: [{name: c, image: i}]}\n";
    served.feed("create -f -", pod).await;
    let log = served.run("logs p --tail=5").await;
    assert!(log.starts_with("/containerLogs/default/p/c ") && log.contains("tailLines=5"), "{log}");
    let mut command = served.command(&served.config, "get pods -w -o json");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl runs");
    let stdout = child.stdout.take().expect("piped");
    served.run("patch pod p --subresource=status --type=merge -p {\"status\":{\"phase\":\"Running\"}}").await;
    let seen = tokio::task::spawn_blocking(move || {
        let objects = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>();
        objects.map_while(Result::ok).find(|object| object["status"]["phase"] == "Running").is_some()
    });
    let seen = tokio::time::timeout(std::time::Duration::from_secs(20), seen).await.expect("in time").expect("joined");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(seen);
    assert!(served.run("get pods").await.contains("Running"));
    assert!(served.run("delete pod p --grace-period=0 --force").await.contains("deleted"));
}
