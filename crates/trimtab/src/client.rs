//! The CLI's way to a running instance: HTTP with the administrator's token, or the one in `TRIMTAB_TOKEN`.

use crate::instance::{Instance, Layout, admin_token};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use model::change::Opened;
use serde::Serialize;
use serde_json::Value;

/// Why a command failed; decides the exit code.
#[derive(Debug)]
pub enum Failure {
    /// No such thing. Exit code 3.
    NotFound(String),
    /// Understood and refused. Exit code 4.
    Refused(String),
    /// No instance answers. Exit code 5.
    Unreachable(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound(text) | Self::Refused(text) | Self::Unreachable(text) => f.write_str(text),
        }
    }
}
impl std::error::Error for Failure {}

/// What was asked for touches what is reviewed: a Change was opened with it, and nothing else has happened. No failure, but
/// the end of the command.
#[derive(Debug)]
pub struct Instead(pub Opened);

impl std::fmt::Display for Instead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
impl std::error::Error for Instead {}

/// A running instance.
pub struct Api {
    base: String,
    token: String,
    http: reqwest::Client,
}

/// The administrator's token, or the one in `TRIMTAB_TOKEN`. Never an argument: those are seen by everybody on the machine.
pub fn token(layout: &Layout) -> anyhow::Result<String> {
    match std::env::var("TRIMTAB_TOKEN") {
        Ok(token) if !token.trim().is_empty() => Ok(token.trim().to_owned()),
        _ => admin_token(layout),
    }
}

impl Api {
    /// Of this data directory; does not connect yet.
    pub fn new(layout: &Layout) -> anyhow::Result<Self> {
        let instance = Instance::require(layout)?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { base: format!("http://{}/api/v1", instance.control), token: token(layout)?, http })
    }

    /// `http://127.0.0.1:7181`.
    pub fn address(&self) -> &str {
        self.base.trim_end_matches("/api/v1")
    }

    /// GET of a JSON value.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let url = query_string(&format!("{}{path}", self.base), query);
        self.json(self.http.get(url)).await
    }

    /// POST of a JSON value.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Value> {
        self.json(self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    /// DELETE, with what names the thing.
    pub async fn delete(&self, path: &str, query: &[(&str, &str)], body: Option<&Value>) -> anyhow::Result<Value> {
        let request = self.http.delete(query_string(&format!("{}{path}", self.base), query));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.json(request).await
    }

    /// POST of a file as it is read.
    pub async fn upload(&self, path: &str, file: tokio::fs::File) -> anyhow::Result<Value> {
        let body = reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::new(file));
        self.json(self.http.post(format!("{}{path}", self.base)).body(body)).await
    }

    /// POST of a JSON value that is answered by bytes as they come.
    pub async fn download(
        &self,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Bytes>> + Unpin + use<>> {
        let answer = self.send(self.http.post(format!("{}{path}", self.base)).json(body)).await?;
        Ok(answer.bytes_stream().map(|chunk| chunk.map_err(anyhow::Error::from)).boxed())
    }

    /// GET of bytes as they come.
    pub async fn stream(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Bytes>> + Unpin + use<>> {
        let url = query_string(&format!("{}{path}", self.base), query);
        let answer = self.send(self.http.get(url)).await?;
        Ok(answer.bytes_stream().map(|chunk| chunk.map_err(anyhow::Error::from)).boxed())
    }

    async fn json(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let answer = self.send(request).await?;
        let accepted = answer.status() == reqwest::StatusCode::ACCEPTED;
        let mut value: Value = answer.json().await?;
        match value.get_mut("opened").map(Value::take) {
            Some(opened) if accepted => Err(Instead(serde_json::from_value(opened)?).into()),
            _ => Ok(value),
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let answer = request.bearer_auth(&self.token).send().await.map_err(|e| {
            let base = self.base.trim_end_matches("/api/v1");
            match e.is_connect() {
                true => anyhow::Error::new(Failure::Unreachable(format!(
                    "Trimtab does not answer at {base}: is `trimtab up` running?"
                ))),
                false => anyhow::Error::new(Failure::Unreachable(format!("{base}: {e}"))),
            }
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.text().await.unwrap_or_default();
        let said = serde_json::from_str::<Value>(&body)
            .ok()
            .and_then(|v| v.get("error").and_then(Value::as_str).map(str::to_owned))
            .unwrap_or_else(|| format!("{status}: {body}"));
        Err(match status.as_u16() {
            404 => Failure::NotFound(said).into(),
            403 | 409 => Failure::Refused(said).into(),
            503 => Failure::Unreachable(said).into(),
            _ => anyhow::anyhow!(said),
        })
    }
}

fn query_string(url: &str, query: &[(&str, &str)]) -> String {
    // Names and values here are DNS labels, numbers and words: nothing needs escaping.
    let pairs: Vec<String> = query.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { url.to_owned() } else { format!("{url}?{}", pairs.join("&")) }
}

/// Whole lines of a stream of bytes.
pub async fn for_each_line(
    mut stream: impl Stream<Item = anyhow::Result<Bytes>> + Unpin,
    mut each: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut rest = Vec::new();
    while let Some(chunk) = stream.next().await {
        rest.extend_from_slice(&chunk?);
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            each(String::from_utf8_lossy(&line[..end]).as_ref())?;
        }
    }
    Ok(())
}
