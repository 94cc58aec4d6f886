//! The server as a process: what goes over the wire.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Server {
    child: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Not a copy of what is embedded: one that is just written may still be open in a process that another test forks.
        let program = concat!(env!("OUT_DIR"), "/static-server");
        let root = directory.path().join("srv");
        fs::create_dir_all(root.join("dir")).unwrap();
        fs::write(root.join("index.html"), "<p>root").unwrap();
        fs::write(root.join("dir/index.html"), "<p>dir").unwrap();
        fs::write(root.join("a b.css"), "a{}").unwrap();
        fs::write(directory.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("leak")).unwrap();
        let mut child = Command::new(program).arg(root).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self { child, address, _directory: directory }
    }

    /// Everything that comes back on one connection.
    fn talk(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_serves_files_and_nothing_else() {
    let server = Server::start();
    let cases = [
        ("GET / HTTP/1.1", "200 OK", "text/html", "<p>root"),
        ("GET /index.html?x=1 HTTP/1.1", "200 OK", "text/html", "<p>root"),
        ("HEAD / HTTP/1.1", "200 OK", "text/html", ""),
        ("GET /a%20b.css HTTP/1.1", "200 OK", "text/css", "a{}"),
        ("GET /dir/ HTTP/1.1", "200 OK", "text/html", "<p>dir"),
        (
            "GET /dir?q HTTP/1.1",
            "301 Moved Permanently\r\ncontent-length: 6\r\ncontent-type: text/plain; charset=utf-8\r\nlocation: /dir/?q",
            "",
            "moved\n",
        ),
        ("GET //dir HTTP/1.1", "301 Moved Permanently", "location: /dir/\r\n", "moved\n"),
        ("GET /nothing HTTP/1.1", "404 Not Found", "", "404 not found\n"),
        ("GET /index.html/ HTTP/1.1", "404 Not Found", "", "404 not found\n"),
        ("GET /../secret HTTP/1.1", "404 Not Found", "", "404 not found\n"),
        ("GET /%2e%2e/secret HTTP/1.1", "404 Not Found", "", "404 not found\n"),
        ("GET /leak HTTP/1.1", "404 Not Found", "", "404 not found\n"),
        ("GET /%zz HTTP/1.1", "400 Bad Request", "", "bad path\n"),
        ("PUT / HTTP/1.1", "405 Method Not Allowed", "allow: GET, HEAD", "only GET and HEAD\n"),
        ("GET / HTTP/2.0", "505", "", "only HTTP/1.1\n"),
        ("nonsense", "400 Bad Request", "", "bad request line\n"),
        (
            "POST /_echo HTTP/1.1\r\nContent-Length: 2000000",
            "413 Content Too Large",
            "",
            "the body may have at most 1 MiB\n",
        ),
        (
            "POST /_echo HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
            "400",
            "",
            "bad transfer-encoding\n",
        ),
    ];
    for (request, status, header, body) in cases {
        let answer = server.talk(&format!("{request}\r\nHost: x\r\nConnection: close\r\n\r\n"));
        let (head, found) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {answer:?}"));
        let head = format!("{head}\r\n");
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && head.contains(header), "{request}: {head}");
        assert_eq!(found, body, "{request}");
    }
}

#[test]
fn it_echoes_and_keeps_the_connection() {
    let server = Server::start();
    let answer = server.talk(concat!(
        "POST /_echo?a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "POST /_echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x\r\nf\r\n0\r\nTrailer: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    ));
    let bodies =
        ["POST /_echo?a HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc", "\nTransfer-Encoding: chunked\n\ndef", "<p>root"];
    for body in bodies {
        assert!(answer.contains(body), "{body:?} is not in {answer}");
    }
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3);
}

#[test]
fn it_stops_on_sigterm() {
    let mut server = Server::start();
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    // It lingers for those who do not know yet, and then ends by itself.
    let answer = server.talk("GET / HTTP/1.1\r\n\r\n");
    assert!(answer.contains("connection: close") && answer.ends_with("<p>root"), "{answer}");
    let begin = Instant::now();
    let status = loop {
        match server.child.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(begin.elapsed() < Duration::from_secs(20), "it does not stop"),
        }
        std::thread::yield_now();
    };
    assert!(status.success());
}
