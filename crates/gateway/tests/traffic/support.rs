//! A gateway process (this test binary, started again), endpoints, and a client that sends raw bytes.

use gateway::{Client, ClientOptions, Options};
use model::ports::Gateway as _;
use model::routes::{Backend, Route, RouteTable};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Does nothing unless it was started by [`options`]' script, as the gateway process.
#[test]
fn reexecuted_as_gateway() {
    let Ok(args) = std::env::var("REEXEC_ARGS") else { return };
    // The test harness has talked on standard output; the script kept the real one as descriptor 3.
    let real = std::fs::OpenOptions::new().write(true).open("/dev/fd/3").unwrap();
    rustix::stdio::dup2_stdout(real).unwrap();
    let mut args = args.split('\n').map(Into::into);
    assert_eq!(args.next(), Some("gateway".into()));
    let code = gateway::main(args);
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

pub fn options(data: &Path, listen: SocketAddr) -> ClientOptions {
    let exe = data.join("trimtab");
    let me = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nREEXEC_ARGS=$(printf '%s\\n' \"$@\")\nexport REEXEC_ARGS\n\
         exec '{}' --exact --nocapture support::reexecuted_as_gateway 3>&1 >/dev/null\n",
        me.display()
    );
    // Written by another process: a test beside this one that forks while the file is open for writing would keep it busy.
    let aside = data.join("trimtab.txt");
    std::fs::write(&aside, script).unwrap();
    assert!(std::process::Command::new("cp").args([&aside, &exe]).status().unwrap().success());
    std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o755)).unwrap();
    let gateway = Options { listen, state: data.join("gateway/routes.json"), socket: data.join("run/gateway.sock") };
    ClientOptions { exe, log: data.join("log/gateway.log"), gateway }
}

pub fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A gateway that is killed when the test ends, however it ends.
pub struct Running {
    pub data: TempDir,
    pub client: Option<Client>,
    pub address: SocketAddr,
}

impl Running {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let client = Client::ensure(options(data.path(), any_port())).await.unwrap();
        let address = client.listen_address();
        Self { data, client: Some(client), address }
    }

    pub fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    pub async fn publish(&self, routes: &[Route]) {
        self.client().publish(&RouteTable { routes: routes.to_vec() }).await.unwrap();
    }

    /// Status code and body of a GET.
    pub async fn get(&self, host: &str, path: &str) -> (u16, String) {
        self.try_get(host, path).await.unwrap()
    }

    pub async fn try_get(&self, host: &str, path: &str) -> std::io::Result<(u16, String)> {
        let text = self.try_raw(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Ok((head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0), body.to_owned()))
    }

    /// Everything that comes back until the connection ends.
    pub async fn raw(&self, request: &str) -> String {
        self.try_raw(request).await.unwrap()
    }

    async fn try_raw(&self, request: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.client = None; // Its guard would start another one.
        for pid in gateways(&self.data.path().join("run/gateway.sock")) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Processes that were started as the gateway behind this socket.
pub fn gateways(socket: &Path) -> Vec<rustix::process::Pid> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let ours = environment.split(|b| *b == 0).any(|variable| {
            let variable = String::from_utf8_lossy(variable);
            variable.starts_with("REEXEC_ARGS=") && variable.contains(socket.to_str().unwrap())
        });
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(pid.filter(|_| ours).and_then(rustix::process::Pid::from_raw));
    }
    found
}

pub fn route(host: &str, backends: &[(u32, &[SocketAddr])]) -> Route {
    let backend = |(weight, endpoints): &(u32, &[SocketAddr])| Backend {
        name: "stable".into(),
        weight: *weight,
        endpoints: endpoints.to_vec(),
    };
    Route { host: host.into(), label: format!("{host}: Progressing"), backends: backends.iter().map(backend).collect() }
}

/// Answers every request with its name, by HTTP/1.1 with connections kept.
pub struct Endpoint {
    pub address: SocketAddr,
    pub requests: Arc<AtomicUsize>,
    pub connections: Arc<AtomicUsize>,
}

impl Endpoint {
    pub async fn named(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, opened) = (requests.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                let counted = counted.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(head) = read_head(&mut stream).await {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let body = if head.contains("/headers") { head } else { name.to_owned() };
                        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                        if stream.write_all(text.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, requests, connections }
    }
}

/// The head of a request, `None` at the end. Bodies with a length are read and forgotten.
pub async fn read_head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(head)
}

/// An address where nobody listens.
pub async fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Waits for a condition; `state` is shown when it does not come true.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F, state: impl Fn() -> String) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what} did not happen: {}", state());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
