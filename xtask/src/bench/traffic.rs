//! The gateway beside nginx: each alone on the first processor, in turns, with wrk and the endpoint on the second.
//!
//! The rate alone would say as much about the other processor's load as about the proxy, so the processor time of a
//! request stands beside it. At that rate the proxies are not asked for the same: the faster one fills the other processor,
//! and what an answer then takes is that one's queue. So what an answer takes is measured at rates that are equal, too.

use super::{Scratch, Table, paced, until};
use crate::root;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 5;
const SECONDS: u32 = 4;
/// Requests in a second that both are given alike.
const RATES: &[u32] = &[2_000, 10_000];
/// Ticks of `/proc/<pid>/stat` in a second.
const TICKS: f64 = 100.0;

/// What one of the two did in each round.
#[derive(Default)]
struct Samples {
    rate: Vec<f64>,
    p99: Vec<f64>,
    micros: Vec<f64>,
}

/// Small answers over 32 kept connections.
pub fn measure(table: &mut Table) -> Result<()> {
    let scratch = Scratch::new("traffic")?;
    let [endpoint, nginx, gateway] = [free_port()?, free_port()?, free_port()?];
    let server = format!(
        "server {{ listen 127.0.0.1:{endpoint}; location / {{ return 200 \"a small answer of an endpoint\\n\"; }} }}"
    );
    let proxy = format!(
        "upstream endpoint {{ server 127.0.0.1:{endpoint}; keepalive 64; keepalive_requests 1000000000; }}
         server {{ listen 127.0.0.1:{nginx}; location / {{
             proxy_pass http://endpoint; proxy_http_version 1.1; proxy_set_header Connection \"\";
             proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
             proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Proto http; }} }}"
    );
    let _endpoint = spawn_nginx(&scratch.0, "endpoint", 1, &server)?;
    let theirs = spawn_nginx(&scratch.0, "proxy", 0, &proxy)?;
    let routes = serde_json::json!({"routes": [{"host": "bench.localhost", "label": "bench", "backends": [
        {"name": "stable", "weight": 1, "endpoints": [format!("127.0.0.1:{endpoint}")]}]}]});
    let state = scratch.0.join("routes.json");
    std::fs::write(&state, routes.to_string())?;
    let mut ours = Command::new("taskset");
    ours.args(["-c", "0"]).arg(root().join("target/release/trimtab"));
    ours.args(["gateway", "--listen", &format!("127.0.0.1:{gateway}"), "--state"]).arg(&state);
    let ours = Process(ours.arg("--socket").arg(scratch.0.join("gateway.sock")).stdout(Stdio::null()).spawn()?);
    for port in [endpoint, nginx, gateway] {
        until("it listens", || Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()))?;
    }
    // With `master_process off` and `taskset`, the processes that we started are the ones that work.
    let (theirs, ours) = (theirs.0.id(), ours.0.id());
    let (mut nginx_did, mut gateway_did) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        load(nginx, theirs, &mut nginx_did)?;
        load(gateway, ours, &mut gateway_did)?;
    }
    for (name, did, bar) in [("nginx", nginx_did, ["", "", ""]), ("gateway", gateway_did, ["≥ nginx", "≤ nginx", ""])]
    {
        table.row(&format!("{name}, one processor: requests/s"), did.rate, bar[0]);
        table.row(&format!("{name}, one processor: p99, ms"), did.p99, bar[1]);
        table.row(&format!("{name}: processor time of a request, µs"), did.micros, bar[2]);
    }
    for rate in RATES {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            theirs.extend(paced::answers(nginx, *rate, Duration::from_secs(SECONDS.into()))?);
            ours.extend(paced::answers(gateway, *rate, Duration::from_secs(SECONDS.into()))?);
        }
        table.row(&format!("nginx, {rate} requests/s: an answer, ms"), theirs, "");
        table.row(&format!("gateway, {rate} requests/s: an answer, ms"), ours, "≤ nginx (p99)");
    }
    Ok(())
}

fn load(port: u16, pid: u32, samples: &mut Samples) -> Result<()> {
    let before = ticks(pid)?;
    let output = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "-c32", &format!("-d{SECONDS}s"), "--latency", "-H", "Host: bench.localhost"])
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .context("running wrk")?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    let after = |line: &str, mark: &str| Some(line.trim().strip_prefix(mark)?.trim().to_owned());
    let found =
        |mark: &str| text.lines().find_map(|line| after(line, mark)).with_context(|| format!("no {mark}: {text}"));
    let total = text.lines().find(|line| line.contains(" requests in ")).and_then(|l| l.split_whitespace().next());
    let requests: f64 = total.context("no total")?.parse()?;
    samples.rate.push(found("Requests/sec:")?.parse()?);
    samples.p99.push(millis(&found("99%")?)?);
    samples.micros.push((ticks(pid)? - before) / TICKS * 1e6 / requests);
    Ok(())
}

/// wrk's `1.50ms`, `812.00us`, `1.20s`.
fn millis(text: &str) -> Result<f64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).context("no unit")?;
    let factor = match &text[split..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        unit => bail!("unit {unit:?}"),
    };
    Ok(text[..split].parse::<f64>()? * factor)
}

fn ticks(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
    Ok(fields[11].parse::<f64>()? + fields[12].parse::<f64>()?)
}

/// Ends with its value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn_nginx(directory: &Path, name: &str, processor: u32, servers: &str) -> Result<Process> {
    let path = directory.join(format!("{name}.conf"));
    let pid = directory.join(format!("{name}.pid"));
    let text = format!(
        "daemon off; master_process off; pid {}; error_log stderr crit; events {{ worker_connections 4096; }}
         http {{ access_log off; keepalive_requests 1000000000; {servers} }}",
        pid.display()
    );
    std::fs::write(&path, text)?;
    let mut command = Command::new("taskset");
    command.args(["-c", &processor.to_string(), "nginx", "-c"]).arg(&path);
    Ok(Process(command.spawn().context("running nginx")?))
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
