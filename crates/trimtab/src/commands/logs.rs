use super::Common;
use anyhow::Result;
use futures::StreamExt;
use model::{Component, Environment};
use std::io::Write;
use std::process::ExitCode;

/// Print the log of a component's containers
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// Which component
    component: Component,
    /// In which environment
    #[arg(long)]
    env: Environment,
    /// Keep on printing
    #[arg(long, short)]
    follow: bool,
    /// Only so many of the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// Of the container before its last restart
    #[arg(long)]
    previous: bool,
}

pub async fn run(common: &Common, args: LogsArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    let tail = args.tail.map(|lines| lines.to_string());
    let mut query = vec![("component", args.component.as_str()), ("env", args.env.as_str())];
    query.push(("follow", if args.follow { "true" } else { "false" }));
    query.push(("previous", if args.previous { "true" } else { "false" }));
    if let Some(tail) = &tail {
        query.push(("tail", tail));
    }
    let mut text = api.stream(&format!("/projects/{project}/logs"), &query).await?;
    let mut out = std::io::stdout();
    while let Some(chunk) = text.next().await {
        if out.write_all(&chunk?).and_then(|()| out.flush()).is_err() {
            break; // the reader of a pipe has left
        }
    }
    Ok(ExitCode::SUCCESS)
}
