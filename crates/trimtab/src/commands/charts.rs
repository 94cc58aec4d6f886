use super::Common;
use anyhow::Result;
use clap::Subcommand;
use model::Component;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Work with components that are charts of a repository
#[derive(Debug, clap::Args)]
pub struct ChartsArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the newest version of a component's chart that its range allows, or another one
    Update {
        /// Which component
        component: Component,
        /// This version, or the newest of this range
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
    },
}

pub async fn run(common: &Common, args: ChartsArgs) -> Result<ExitCode> {
    let Verb::Update { component, version } = args.verb;
    let api = common.api()?;
    let project = common.project(&api).await?;
    let path = format!("/projects/{project}/components/{component}/chart");
    let answer = api.post(&path, &json!({ "version": version })).await?;
    common.output.print(&answer, |answer: &Value| match answer["build"].as_str() {
        Some(build) => format!("{build}: trimtab promote {component} --to ENVIRONMENT where none takes it by itself\n"),
        None => format!("{component} has that version already\n"),
    });
    Ok(ExitCode::SUCCESS)
}
