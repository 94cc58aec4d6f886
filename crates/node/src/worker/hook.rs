//! Lifecycle hooks and the requests that probes make too.

use crate::context::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// The longest a hook may take; the Pod's grace cuts a preStop hook shorter.
const HOOK_LIMIT: Duration = Duration::from_secs(300);
/// As much of an answer as is read.
const BODY_BYTES: usize = 10 << 10;

/// Runs a hook; the error says why it failed.
pub(super) async fn run(
    context: &Context,
    handler: &LifecycleHandler,
    container: &Container,
    id: &str,
    address: Option<IpAddr>,
) -> Result<(), String> {
    if context.runtime.is_simulated() {
        return Ok(());
    }
    if let Some(exec) = &handler.exec {
        return self::exec(context, id, exec.command.as_deref().unwrap_or_default(), HOOK_LIMIT).await;
    }
    if let Some(action) = &handler.http_get {
        return http_get(action, container, address, HOOK_LIMIT).await;
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
    }
    Ok(())
}

/// Runs a command in the container; any code but 0 is an error with the output.
pub(super) async fn exec(context: &Context, id: &str, command: &[String], limit: Duration) -> Result<(), String> {
    match context.runtime.exec(id, command, limit).await {
        Ok(outcome) if outcome.code == 0 => Ok(()),
        Ok(outcome) if outcome.output.is_empty() => Err(format!("command exited with code {}", outcome.code)),
        Ok(outcome) => Err(outcome.output),
        Err(error) => Err(error.line()),
    }
}

/// GET; 200 to 399 is a success.
pub(super) async fn http_get(
    action: &HTTPGetAction,
    container: &Container,
    address: Option<IpAddr>,
    limit: Duration,
) -> Result<(), String> {
    let port = port(&action.port, container)?;
    let host = host(action.host.as_deref(), address)?;
    let path = action.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let url = format!("http://{}{path}", authority(&host, port));
    let mut request = Request::get(&path);
    let headers = action.http_headers.iter().flatten();
    let named: Vec<_> = headers.map(|h| (h.name.as_str(), h.value.as_str())).collect();
    let has = |name: &str| named.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    if !has("host") {
        request = request.header("Host", authority(&host, port));
    }
    if !has("user-agent") {
        request = request.header("User-Agent", "kube-probe/1.34");
    }
    if !has("accept") {
        request = request.header("Accept", "*/*");
    }
    for (name, value) in named {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| format!("Get {url:?}: {e}"))?;
    let work = async {
        let stream = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|e| format!("Get {url:?}: dial tcp {}: {e}", authority(&host, port)))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| format!("Get {url:?}: {e}"))?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|e| format!("Get {url:?}: {e}"))?;
            let status = answer.status();
            // Read, so that the server sees a client that listened; its size is not our business.
            let _ = Limited::new(answer.into_body(), BODY_BYTES).collect().await;
            match status.as_u16() {
                200..=399 => Ok(()),
                code => Err(format!("HTTP probe failed with statuscode: {code}")),
            }
        };
        tokio::pin!(answer);
        // The connection makes progress only while it is polled; a closed one leaves the answer to say so.
        tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    };
    within(limit, work, || {
        format!("Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
    })
    .await
}

/// Connects and closes.
pub(super) async fn tcp(
    port_of: &IntOrString,
    host_of: Option<&str>,
    container: &Container,
    address: Option<IpAddr>,
    limit: Duration,
) -> Result<(), String> {
    let port = port(port_of, container)?;
    let host = host(host_of, address)?;
    let at = authority(&host, port);
    let work =
        async { TcpStream::connect((host.as_str(), port)).await.map(drop).map_err(|e| format!("dial tcp {at}: {e}")) };
    within(limit, work, || format!("dial tcp {at}: i/o timeout")).await
}

async fn within(
    limit: Duration,
    work: impl Future<Output = Result<(), String>>,
    late: impl FnOnce() -> String,
) -> Result<(), String> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

fn host(named: Option<&str>, address: Option<IpAddr>) -> Result<String, String> {
    match (named.filter(|h| !h.is_empty()), address) {
        (Some(host), _) => Ok(host.to_owned()),
        (None, Some(address)) => Ok(address.to_string()),
        (None, None) => Err("the Pod has no address".into()),
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A port by number, or by the name that the container gives it.
fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name));
            named.map(|p| p.container_port).or_else(|| name.parse().ok())
        }
    };
    let valid = number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    valid.ok_or_else(|| match port {
        IntOrString::Int(number) => format!("invalid port number: {number}"),
        IntOrString::String(name) => format!("couldn't find a port named {name:?} in container {}", container.name),
    })
}
