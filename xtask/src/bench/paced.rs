//! Requests at a rate that is given, over kept connections: what an answer takes while nothing is full.
//!
//! A closed loop asks the faster of two for more, and what is then measured is whichever processor filled up first. At one
//! rate for both, an answer's time is the proxy's own. It counts from the moment at which the request was due, so that
//! what waits behind a slow answer counts too.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: u32 = 32;

/// Milliseconds of each answer, from connections of the second processor.
pub fn answers(port: u16, rate: u32, length: Duration) -> Result<Vec<f64>> {
    let all = affinity()?;
    let pinned = Pinned(all);
    bind("1")?;
    let interval = Duration::from_secs(1) * CONNECTIONS / rate;
    let start = Instant::now() + Duration::from_millis(50);
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|number| thread::spawn(move || one(port, start + interval * number / CONNECTIONS, interval, length)))
        .collect();
    let mut samples = Vec::new();
    for connection in connections {
        samples.extend(connection.join().map_err(|_| anyhow::anyhow!("a connection panicked"))??);
    }
    drop(pinned);
    Ok(samples)
}

fn one(port: u16, start: Instant, interval: Duration, length: Duration) -> Result<Vec<f64>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut samples, mut due, mut buffer) = (Vec::new(), start, [0; 4096]);
    while due < start + length {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(b"GET / HTTP/1.1\r\nHost: bench.localhost\r\n\r\n")?;
        answer(&mut stream, &mut buffer)?;
        samples.push(due.elapsed().as_secs_f64() * 1000.0);
        due += interval;
    }
    Ok(samples)
}

/// Reads one answer whole; both proxies give its length.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    let mut have = 0;
    loop {
        let read = stream.read(&mut buffer[have..])?;
        if read == 0 {
            bail!("the connection ended within an answer");
        }
        have += read;
        let text = String::from_utf8_lossy(&buffer[..have]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if !head.starts_with("HTTP/1.1 200") {
            bail!("answered {head}");
        }
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
        let length: usize = length.context("an answer without a length")?.trim().parse()?;
        if body.len() >= length {
            return Ok(());
        }
    }
}

/// Gives the processors back.
struct Pinned(String);

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = bind(&self.0);
    }
}

/// The processors that this process may use, as `taskset` prints and takes them.
fn affinity() -> Result<String> {
    let output = Command::new("taskset").args(["-cp", &std::process::id().to_string()]).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.trim().rsplit(' ').next().context("taskset said nothing")?.to_owned())
}

fn bind(processors: &str) -> Result<()> {
    let arguments = ["-acp", processors, &std::process::id().to_string()];
    let status = Command::new("taskset").args(arguments).stdout(Stdio::null()).status()?;
    status.success().then_some(()).context("taskset failed")
}
