//! Images and containers of this machine, and what tests must leave behind: nothing.

use crate::cluster::Cluster;
use node::Mode;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The test program, compiled once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/server.rs");
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("node-test-server-{}", std::process::id()));
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "panic=abort", "-O", "-o"]);
        assert!(rustc.arg(&output).arg(source).status().unwrap().success());
        output
    })
}

/// A cluster with real containers and one image: the test program as `/server`.
pub struct Machine {
    pub cluster: Cluster,
    pub image: String,
}

impl Machine {
    pub async fn start() -> Self {
        let cluster = Cluster::start(Mode::Real, env!("CARGO_BIN_EXE_node-shim").into()).await;
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_path_with_name(program(), "server").unwrap();
        let layer = cluster.images().add_layer(std::io::Cursor::new(tar.into_inner().unwrap())).await.unwrap();
        let config = json!({
            "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, "os": "linux",
            "config": {"Entrypoint": ["/server"], "Cmd": ["serve"], "Env": ["FROM_IMAGE=yes"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]}
        });
        let digest = cluster.images().put_image(&serde_json::to_vec(&config).unwrap(), &[layer]).unwrap();
        Self { cluster, image: format!("registry.test.internal/server@{digest}") }
    }

    /// A Pod of one container with the image.
    pub fn pod(&self, name: &str, container: serde_json::Value) -> serde_json::Value {
        let mut pod = crate::cluster::pod(name, container);
        pod["spec"]["containers"][0]["image"] = json!(self.image);
        pod
    }

    /// Ends everything and checks that nothing is left on the machine.
    pub async fn end(self) {
        self.cluster.node.as_ref().unwrap().stop_all().await.unwrap();
        let data = self.cluster.data().to_str().unwrap().to_owned();
        let began = Instant::now();
        let mut left = traces(self.cluster.instance(), &data);
        // A process is gone a moment after its container is.
        while !left.is_empty() && began.elapsed() < crate::cluster::PATIENCE {
            tokio::task::yield_now().await;
            left = traces(self.cluster.instance(), &data);
        }
        assert_eq!(left, [""; 0]);
    }
}

impl Drop for Machine {
    /// A failed test leaves nothing behind either.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.cluster.stop_node();
        let (data, instance) = (self.cluster.data().to_owned(), self.cluster.instance().to_owned());
        let work = move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(node::teardown(&data, &instance, env!("CARGO_BIN_EXE_node-shim").as_ref()))
        };
        if let Err(error) = std::thread::spawn(work).join().unwrap() {
            eprintln!("remains are left: {error:?}");
        }
    }
}

/// What is there of one instance, told by its name and its directory.
fn traces(instance: &str, data: &str) -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let entries = |path: &str| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let tables = Command::new("nft").args(["list", "tables"]).output().map(|o| o.stdout).unwrap_or_default();
    let tables = String::from_utf8_lossy(&tables).into_owned();
    let cgroups = entries("/sys/fs/cgroup").into_iter().flat_map(|h| entries(&format!("/sys/fs/cgroup/{h}")));
    let of_instance = entries("/sys/class/net").into_iter().chain(cgroups).chain(tables.lines().map(str::to_owned));
    let processes = entries("/proc").into_iter().map(|p| read(&format!("/proc/{p}/cmdline")));
    let mounts = read("/proc/self/mountinfo");
    let of_directory = processes.chain(mounts.lines().map(str::to_owned));
    of_instance.filter(|t| t.contains(instance)).chain(of_directory.filter(|t| t.contains(data))).collect()
}

/// GET over a connection of its own; status and body.
pub fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect((address, 8080))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // In one piece: the server reads once.
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Ok((status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
}

/// The process on this machine whose environment holds this.
pub fn host_pid(marker: &str) -> u32 {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|b| *b == 0).any(|v| v == marker.as_bytes())
    };
    pids.into_iter().find(has).expect("a process with that environment")
}

/// The namespace of a process: `pid`, `net`, `mnt` …
pub fn namespace(pid: &str, kind: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}
