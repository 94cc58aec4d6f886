//! The server in `trimtab/static`: files under /srv on port 8080, and `/_echo`, which returns the request.
//!
//! One file, std only, compiled statically by this crate's build script: the image is this binary and nothing else.
//! Threads are bounded; a connection that is idle or slow for too long is closed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const LINE_BYTES_MAX: u64 = 8 << 10;
const HEADERS_MAX: usize = 100;
const ECHO_BYTES_MAX: u64 = 1 << 20;
const CONNECTIONS_MAX: usize = 256;
/// Longer than the idle time of the gateway's pool, so that it is the gateway that closes.
const IDLE: Duration = Duration::from_secs(120);
/// From SIGTERM on it serves until no request has come for this long: whoever sends them learns of the end meanwhile.
const LINGER: Duration = Duration::from_millis(500);
/// Then, or after this time at the latest, it ends; well below the grace period of Kubernetes.
const DRAIN: Duration = Duration::from_secs(5);

static STOPPING: AtomicBool = AtomicBool::new(false);
static OPEN: AtomicUsize = AtomicUsize::new(0);
static SERVED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn pipe(ends: *mut i32) -> i32;
    fn write(descriptor: i32, bytes: *const u8, count: usize) -> isize;
}

/// Writing end of the pipe that wakes `main`.
static WAKE: AtomicUsize = AtomicUsize::new(0);

/// As pid 1 of a container a process without a handler ignores SIGTERM: this is what makes it stop.
extern "C" fn stop(_: i32) {
    STOPPING.store(true, Ordering::SeqCst);
    // SAFETY: write(2) may be called in a handler; the byte is static.
    unsafe { write(WAKE.load(Ordering::SeqCst) as i32, b"x".as_ptr(), 1) };
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().unwrap_or_else(|| "/srv".into()));
    let address = arguments.next().unwrap_or_else(|| "0.0.0.0:8080".into());
    let mut woken = handle_signals();
    let listener = match TcpListener::bind(&address) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error}");
            std::process::exit(1);
        }
    };
    let bound = listener.local_addr().map_or(address, |a| a.to_string());
    println!("serving {} on {bound}", root.display());
    let root = Arc::new(root);
    std::thread::spawn(move || accept(&listener, &root));
    let _ = woken.read(&mut [0]);
    println!("stopping");
    drain();
}

fn handle_signals() -> File {
    use std::os::fd::FromRawFd;
    let mut ends = [0; 2];
    // SAFETY: pipe(2) fills both ends, which nobody else owns; the handler only stores and writes.
    unsafe {
        if pipe(ends.as_mut_ptr()) != 0 {
            eprintln!("cannot make a pipe: {}", io::Error::last_os_error());
            std::process::exit(1);
        }
        WAKE.store(ends[1] as usize, Ordering::SeqCst);
        for number in [2, 15] {
            signal(number, stop);
        }
        File::from_raw_fd(ends[0])
    }
}

/// Serves on until it is quiet.
fn drain() {
    let deadline = Instant::now() + DRAIN;
    let (mut quiet, mut seen) = (Instant::now(), 0);
    while quiet.elapsed() < LINGER && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        let served = SERVED.load(Ordering::SeqCst);
        if OPEN.load(Ordering::SeqCst) > 0 || served != seen {
            (quiet, seen) = (Instant::now(), served);
        }
    }
}

fn accept(listener: &TcpListener, root: &Arc<PathBuf>) {
    let connections = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        // Out of descriptors or aborted by the client: the next one may work.
        let Ok(stream) = stream else { continue };
        if connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            connections.fetch_sub(1, Ordering::SeqCst);
            let _ = Answer::text(503, "too many connections\n").send(&stream, false, false);
            continue;
        }
        let (root, here) = (root.clone(), connections.clone());
        let serving = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
            let _ = serve(&stream, &root);
            here.fetch_sub(1, Ordering::SeqCst);
        });
        if serving.is_err() {
            connections.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Requests of one connection, until either side ends it.
fn serve(stream: &TcpStream, root: &Path) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        if reader.fill_buf()?.is_empty() {
            return Ok(());
        }
        OPEN.fetch_add(1, Ordering::SeqCst);
        let again = one(stream, &mut reader, root);
        SERVED.fetch_add(1, Ordering::SeqCst);
        OPEN.fetch_sub(1, Ordering::SeqCst);
        if !again? {
            return Ok(());
        }
    }
}

/// Reads a request and answers it; true if another may follow.
fn one(stream: &TcpStream, reader: &mut impl BufRead, root: &Path) -> io::Result<bool> {
    let (request, answer) = match Request::read(reader) {
        Ok(Some(mut request)) => match request.body(stream, reader) {
            Ok(()) => {
                let answer = request.answer(root);
                (request, answer)
            }
            Err(answer) => (Request::broken(), answer),
        },
        Ok(None) => return Ok(false),
        Err(answer) => (Request::broken(), answer),
    };
    let again = request.keep && !STOPPING.load(Ordering::SeqCst);
    answer.send(stream, again, request.method == "HEAD")?;
    Ok(again)
}

#[derive(Default)]
struct Request {
    method: String,
    target: String,
    version: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    keep: bool,
}

impl Request {
    /// Stands for a request that cannot be answered any further.
    fn broken() -> Self {
        Self::default()
    }

    /// Request line and headers; `None` when the other side has gone.
    fn read(reader: &mut impl BufRead) -> Result<Option<Self>, Answer> {
        let Some(first) = line(reader)? else { return Ok(None) };
        let mut words = first.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Answer::text(400, "bad request line\n"));
        };
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
            return Err(Answer::text(505, "only HTTP/1.1\n"));
        }
        let mut request =
            Self { method: method.into(), target: target.into(), version: version.into(), ..Self::default() };
        loop {
            let Some(text) = line(reader)? else { return Ok(None) };
            if text.is_empty() {
                break;
            }
            let (name, value) = text.split_once(':').ok_or_else(|| Answer::text(400, "bad header\n"))?;
            if request.headers.len() == HEADERS_MAX {
                return Err(Answer::text(431, "too many headers\n"));
            }
            request.headers.push((name.into(), value.trim().into()));
        }
        let connection = request.header("connection").unwrap_or_default().to_ascii_lowercase();
        request.keep = if version == "HTTP/1.1" { connection != "close" } else { connection == "keep-alive" };
        Ok(Some(request))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    fn body(&mut self, stream: &TcpStream, reader: &mut impl BufRead) -> Result<(), Answer> {
        let encoding = self.header("transfer-encoding").map(str::to_ascii_lowercase);
        let length = self.header("content-length").map(str::to_owned);
        if encoding.is_none() && length.is_none() {
            return Ok(());
        }
        if self.header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
            let mut stream = stream;
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|_| Answer::text(400, ""))?;
        }
        match (encoding.as_deref(), length) {
            (Some("chunked"), None) => self.chunks(reader),
            (None, Some(length)) => {
                let length = length.parse().map_err(|_| Answer::text(400, "bad content-length\n"))?;
                self.take(reader, length)
            }
            // Both, or an encoding that is not chunked: two servers could see two different requests.
            _ => Err(Answer::text(400, "bad transfer-encoding\n")),
        }
    }

    fn chunks(&mut self, reader: &mut impl BufRead) -> Result<(), Answer> {
        loop {
            let size = line(reader)?.unwrap_or_default();
            let digits = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| Answer::text(400, "bad chunk\n"))?;
            self.take(reader, size)?;
            if size == 0 {
                while line(reader)?.is_some_and(|trailer| !trailer.is_empty()) {}
                return Ok(());
            }
            line(reader)?;
        }
    }

    fn take(&mut self, reader: &mut impl BufRead, length: u64) -> Result<(), Answer> {
        if length > ECHO_BYTES_MAX || self.body.len() as u64 + length > ECHO_BYTES_MAX {
            return Err(Answer::text(413, "the body may have at most 1 MiB\n"));
        }
        let got = reader.take(length).read_to_end(&mut self.body);
        match got {
            Ok(count) if count as u64 == length => Ok(()),
            _ => Err(Answer::text(400, "the body ends too early\n")),
        }
    }

    fn answer(&self, root: &Path) -> Answer {
        let path = self.target.split(['?', '#']).next().unwrap_or_default();
        if path == "/_echo" {
            return self.echo();
        }
        if !matches!(self.method.as_str(), "GET" | "HEAD") {
            return Answer::text(405, "only GET and HEAD\n").with("allow", "GET, HEAD");
        }
        let Some(path) = decode(path).filter(|p| p.starts_with('/')) else {
            return Answer::text(400, "bad path\n");
        };
        file(root, &path, &self.target)
    }

    fn echo(&self) -> Answer {
        let mut text = format!("{} {} {}\n", self.method, self.target, self.version).into_bytes();
        for (name, value) in &self.headers {
            text.extend(format!("{name}: {value}\n").bytes());
        }
        text.push(b'\n');
        text.extend(&self.body);
        Answer {
            status: 200,
            headers: vec![("content-type", "text/plain; charset=utf-8".into())],
            body: Body::Bytes(text),
        }
    }
}

/// A line without its end; `None` at the end of the stream.
fn line(reader: &mut impl BufRead) -> Result<Option<String>, Answer> {
    let mut bytes = Vec::new();
    let got = reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
    if !matches!(got, Ok(1..)) {
        return Ok(None);
    }
    if bytes.pop() != Some(b'\n') {
        return Err(Answer::text(431, "a line is too long\n"));
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map(Some).map_err(|_| Answer::text(400, "headers must be UTF-8\n"))
}

/// Undoes percent encoding; `None` if it is broken.
fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| (b? as char).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// A file, or the index.html of a directory. Neither `..` nor a symbolic link leads out of `root`.
fn file(root: &Path, path: &str, target: &str) -> Answer {
    let missing = || Answer::text(404, "404 not found\n");
    let mut inside = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return missing(),
        }
    }
    let (Ok(root), Ok(mut found)) = (root.canonicalize(), root.join(inside).canonicalize()) else { return missing() };
    if found.is_dir() {
        if !path.ends_with('/') {
            let (path, query) = target.split_once('?').map_or((target, String::new()), |(p, q)| (p, format!("?{q}")));
            // A leading `//` would be another host.
            let location = format!("/{}/{query}", path.trim_start_matches('/'));
            return Answer::text(301, "moved\n").with("location", &location);
        }
        let Ok(index) = found.join("index.html").canonicalize() else { return missing() };
        found = index;
    } else if path.ends_with('/') {
        return missing();
    }
    if !found.starts_with(&root) {
        return missing();
    }
    let (Ok(file), kind) = (File::open(&found), content_type(&found)) else { return missing() };
    match file.metadata() {
        Ok(about) if about.is_file() => {
            Answer { status: 200, headers: vec![("content-type", kind.into())], body: Body::File(file, about.len()) }
        }
        _ => missing(),
    }
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "txt" | "md" => "text/plain; charset=utf-8",
        "json" | "map" => "application/json",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

enum Body {
    Bytes(Vec<u8>),
    File(File, u64),
}

impl Answer {
    fn text(status: u16, text: &str) -> Self {
        let headers = vec![("content-type", "text/plain; charset=utf-8".into())];
        Self { status, headers, body: Body::Bytes(text.into()) }
    }
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn send(self, mut stream: &TcpStream, again: bool, head: bool) -> io::Result<()> {
        let length = match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(_, length) => *length,
        };
        let mut text = format!("HTTP/1.1 {} {}\r\ncontent-length: {length}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(if again { "\r\n" } else { "connection: close\r\n\r\n" });
        let mut bytes = text.into_bytes();
        match self.body {
            _ if head => stream.write_all(&bytes),
            Body::Bytes(body) => {
                bytes.extend(body);
                stream.write_all(&bytes)
            }
            Body::File(file, length) => {
                stream.write_all(&bytes)?;
                let sent = io::copy(&mut file.take(length), &mut stream)?;
                // The file shrank: only closing tells the client.
                if sent == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
            }
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "HTTP Version Not Supported",
    }
}
