use super::Common;
use crate::instance::Instance;
use anyhow::{Context, Result};
use model::{Component, Environment};
use std::process::ExitCode;

/// Print the public address of a component, or of the config repository
#[derive(Debug, clap::Args)]
pub struct UrlArgs {
    /// Which component
    #[arg(required_unless_present = "config")]
    component: Option<Component>,
    /// In which environment
    #[arg(long, required_unless_present = "config")]
    env: Option<Environment>,
    /// The address of the project's config repository instead
    #[arg(long, conflicts_with_all = ["component", "env"])]
    config: bool,
}

pub async fn run(common: &Common, args: UrlArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    if args.config {
        println!("http://{}/{project}/config.git", Instance::require(&common.layout()?)?.control);
        return Ok(ExitCode::SUCCESS);
    }
    let (component, env) =
        (args.component.context("which component?")?, args.env.context("which environment? Give --env")?);
    let query = [("component", component.as_str()), ("env", env.as_str())];
    let answer = api.get(&format!("/projects/{project}/url"), &query).await?;
    println!("{}", answer["url"].as_str().unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}
