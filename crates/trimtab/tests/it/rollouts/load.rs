//! Load on one host behind the gateway, of every kind that a rollout could hurt. Every request that is not answered
//! rightly is a failure.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Threads that send, half of them on fresh connections.
const SENDERS: u32 = 10;
/// For any answer; the slow ones take five seconds.
const TIMEOUT: Duration = Duration::from_secs(30);
const ECHO_INTERVAL: Duration = Duration::from_millis(100);

/// Load that goes on until it is stopped.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    begin: Instant,
}

struct Shared {
    gateway: SocketAddr,
    host: String,
    stop: AtomicBool,
    requests: AtomicU64,
    slow: AtomicU64,
    echoes: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// What became of it.
#[derive(Debug)]
pub struct Report {
    /// GET and POST, half on fresh connections and half on kept ones.
    pub requests: u64,
    /// Of them in a second.
    pub rate: f64,
    /// Answers of five seconds.
    pub slow: u64,
    /// Messages that came back on the one WebSocket.
    pub echoes: u64,
    /// One line for each that failed.
    pub failures: Vec<String>,
}

impl Load {
    /// `host` must answer `GET /` with `version …`, `POST /` with its body, `/slow` and `/late` in five seconds and
    /// `/ws` with an echo.
    pub fn start(gateway: SocketAddr, host: &str, per_second: u32) -> Self {
        let shared = Arc::new(Shared {
            gateway,
            host: host.to_owned(),
            stop: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            echoes: AtomicU64::new(0),
            failures: Mutex::default(),
        });
        let interval = Duration::from_secs(1) * SENDERS / per_second;
        let mut threads = Vec::new();
        for number in 0..SENDERS {
            let shared = shared.clone();
            threads.push(std::thread::spawn(move || shared.send(number, interval)));
        }
        for path in ["/slow", "/late"] {
            let shared = shared.clone();
            threads.push(std::thread::spawn(move || shared.wait_for(path)));
        }
        let echo = shared.clone();
        threads.push(std::thread::spawn(move || echo.websocket()));
        Self { shared, threads, begin: Instant::now() }
    }

    /// Failures until now.
    pub fn failures(&self) -> usize {
        self.shared.failures.lock().unwrap().len()
    }

    pub fn stop(self) -> Report {
        let took = self.begin.elapsed();
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let requests = read(&self.shared.requests);
        Report {
            requests,
            rate: requests as f64 / took.as_secs_f64(),
            slow: read(&self.shared.slow),
            echoes: read(&self.shared.echoes),
            failures: self.shared.failures.lock().unwrap().clone(),
        }
    }
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn fail(&self, what: &str, why: &dyn std::fmt::Display) {
        self.failures.lock().unwrap().push(format!("{what}: {why}"));
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.gateway, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(BufReader::new(stream))
    }

    fn send(&self, number: u32, interval: Duration) {
        let fresh = number.is_multiple_of(2);
        let (mut kept, mut turn) = (None, 0_u64);
        let mut next = Instant::now() + interval * number / SENDERS;
        while !self.stopped() {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += interval;
            turn += 1;
            let post = turn.is_multiple_of(2).then(|| format!("{number}-{turn}").repeat(1 + turn as usize % 40));
            let outcome = self.request(&mut kept, fresh, post.as_deref());
            self.requests.fetch_add(1, Ordering::SeqCst);
            if let Err(error) = outcome {
                let what = if post.is_some() { "POST" } else { "GET" };
                self.fail(&format!("{what} on a {} connection", if fresh { "fresh" } else { "kept" }), &error);
                kept = None;
            }
        }
    }

    fn request(&self, kept: &mut Option<BufReader<TcpStream>>, fresh: bool, post: Option<&str>) -> io::Result<()> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let close = if fresh { "Connection: close\r\n" } else { "" };
        let text = match post {
            None => format!("GET / HTTP/1.1\r\nHost: {}\r\n{close}\r\n", self.host),
            Some(body) => {
                format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{close}\r\n{body}", self.host, body.len())
            }
        };
        connection.get_mut().write_all(text.as_bytes())?;
        let (status, body) = answer(&mut connection)?;
        let right = match post {
            Some(sent) => body == sent,
            None => body.starts_with("version "),
        };
        if status != 200 || !right {
            return Err(io::Error::other(format!("{status} {body:?}")));
        }
        if !fresh {
            *kept = Some(connection);
        }
        Ok(())
    }

    /// An answer of five seconds, again and again.
    fn wait_for(&self, path: &str) {
        while !self.stopped() {
            let outcome = self.connect().and_then(|mut connection| {
                let text = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
                connection.get_mut().write_all(text.as_bytes())?;
                answer(&mut connection)
            });
            match outcome {
                Ok((200, body)) if body == "beginend" => drop(self.slow.fetch_add(1, Ordering::SeqCst)),
                Ok((status, body)) => self.fail(path, &format!("{status} {body:?}")),
                Err(error) => self.fail(path, &error),
            }
        }
    }

    /// One for all the time: that it ends is a failure.
    fn websocket(&self) {
        if let Err(error) = self.echo() {
            self.fail("WebSocket", &error);
        }
    }

    fn echo(&self) -> io::Result<()> {
        let mut connection = self.connect()?;
        let text = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.host
        );
        connection.get_mut().write_all(text.as_bytes())?;
        let head = head(&mut connection)?.to_ascii_lowercase();
        if !head.starts_with("http/1.1 101") || !head.contains("s3pplmbitxaq9kygzzhzrbk+xoo=") {
            return Err(io::Error::other(head));
        }
        let mut turn = 0_u64;
        while !self.stopped() {
            turn += 1;
            let message = format!("message {turn}");
            let mask = [1, 2, 3, 4];
            let mut frame = vec![0x81, 0x80 | message.len() as u8, 1, 2, 3, 4];
            frame.extend(message.bytes().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
            connection.get_mut().write_all(&frame)?;
            let mut heard = vec![0; 2 + message.len()];
            connection.read_exact(&mut heard)?;
            if heard[2..] != *message.as_bytes() {
                return Err(io::Error::other(format!("{heard:?} is not {message:?}")));
            }
            self.echoes.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(ECHO_INTERVAL);
        }
        Ok(())
    }
}

fn head(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if connection.read_line(&mut head)? == 0 {
            return Err(io::Error::other(format!("the connection ended in the head {head:?}")));
        }
    }
    Ok(head)
}

/// Status and body.
fn answer(connection: &mut BufReader<TcpStream>) -> io::Result<(u16, String)> {
    let head = head(connection)?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = Vec::new();
    match length {
        Some(length) => {
            body.resize(length, 0);
            connection.read_exact(&mut body)?;
        }
        None => loop {
            let mut line = String::new();
            connection.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            connection.read_exact(&mut chunk)?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        },
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
