//! A real kube-apiserver on loopback, for as long as its OpenAPI documents are read.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The documents, a file each, as `object`'s example `extract` reads them.
pub struct Documents(PathBuf);

impl Documents {
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// All schemas, as one document of definitions.
    pub fn merged(&self) -> Result<Value> {
        let mut definitions = Map::new();
        for entry in std::fs::read_dir(&self.0)? {
            let document: Value = serde_json::from_slice(&std::fs::read(entry?.path())?)?;
            for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
                definitions.entry(name.clone()).or_insert_with(|| schema.clone());
            }
        }
        Ok(json!({"definitions": definitions}))
    }
}

impl Drop for Documents {
    fn drop(&mut self) {
        if let Some(root) = self.0.parent() {
            let _ = std::fs::remove_dir_all(root);
        }
    }
}

/// Ended with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts etcd and the API server, and reads; `None` if they are not here.
pub fn documents() -> Result<Option<Documents>> {
    let (Some(etcd), Some(apiserver)) = (program("etcd"), program("kube-apiserver")) else { return Ok(None) };
    let root = crate::root().join("target/schema");
    let _ = std::fs::remove_dir_all(&root);
    let out = root.join("documents");
    std::fs::create_dir_all(&out)?;
    let (clients, peers, port) = (free()?, free()?, free()?);
    let (client, peer) = (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
    let _etcd = start(
        Command::new(etcd).arg("--data-dir").arg(root.join("etcd")).args([
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            &format!("--listen-peer-urls={peer}"),
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=default={peer}"),
        ]),
        &root.join("etcd.log"),
    )?;
    let key = root.join("accounts.key");
    let made = Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048").stderr(Stdio::null()).status();
    if !made.context("openssl makes the key of service accounts")?.success() {
        bail!("openssl cannot make a key");
    }
    let token = format!("{:x}{:x}", std::process::id(), Instant::now().elapsed().as_nanos());
    std::fs::write(root.join("tokens"), format!("{token},admin,admin,system:masters\n"))?;
    let _server = start(
        Command::new(apiserver).args([
            &format!("--etcd-servers={client}"),
            &format!("--secure-port={port}"),
            "--bind-address=127.0.0.1",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://localhost",
            "--authorization-mode=RBAC",
            // As Kubernetes publishes its documents.
            "--feature-gates=OpenAPIEnums=false",
            &format!("--service-account-key-file={}", key.display()),
            &format!("--service-account-signing-key-file={}", key.display()),
            &format!("--token-auth-file={}", root.join("tokens").display()),
            &format!("--cert-dir={}", root.join("certificates").display()),
        ]),
        &root.join("apiserver.log"),
    )?;
    let server = format!("https://127.0.0.1:{port}");
    let deadline = Instant::now() + PATIENCE;
    while get(&server, &token, "/readyz").is_none_or(|text| text != "ok") {
        if Instant::now() > deadline {
            bail!("kube-apiserver is not ready: see {}", root.join("apiserver.log").display());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let index: Value = serde_json::from_str(&get(&server, &token, "/openapi/v3").context("no index")?)?;
    for path in index["paths"].as_object().context("no paths")?.keys() {
        let text =
            get(&server, &token, &format!("/openapi/v3/{path}")).with_context(|| format!("no document of {path}"))?;
        std::fs::write(out.join(format!("{}_openapi.json", path.replace('/', "__"))), text)?;
    }
    Ok(Some(Documents(out)))
}

/// On PATH, or in the directory that `KUBE_BIN` names.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::var_os("KUBE_BIN").map(PathBuf::from);
    own.into_iter()
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

fn free() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn start(command: &mut Command, log: &Path) -> Result<Running> {
    let log = std::fs::File::create(log)?;
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    Ok(Running(child.with_context(|| format!("{command:?}"))?))
}

fn get(server: &str, token: &str, path: &str) -> Option<String> {
    let header = format!("Authorization: Bearer {token}");
    let output =
        Command::new("curl").args(["-skf", "--max-time", "30", "-H", &header, &format!("{server}{path}")]).output();
    let output = output.ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}
