use super::Common;
use super::promote::follow;
use anyhow::Result;
use model::rules::Seconds;
use model::{BuildId, Component, Environment, Version};
use serde_json::json;
use std::process::ExitCode;

/// Go back to what was there before: one commit, no build
///
/// What is rolled back is not taken again by an environment with the strategy Auto.
#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// Where
    #[arg(long)]
    env: Environment,
    /// Only this component [default: all that the latest movement moved]
    component: Option<Component>,
    /// To this build (web-41) or release (1.3.0) [default: what was there before the latest movement]
    #[arg(long, value_name = "BUILD|RELEASE")]
    to: Option<String>,
    /// What is left is not taken by itself for so long: 2d, 12h [default: 30d]
    #[arg(long, value_name = "TIME")]
    quarantine: Option<Seconds>,
    /// Why; stands in the commit and the history
    #[arg(long, default_value = "")]
    reason: String,
    /// Ask, and do not wait
    #[arg(long)]
    detach: bool,
}

pub async fn run(common: &Common, args: RollbackArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    let to = args.to.as_deref();
    let release = to.filter(|to| to.contains('.')).map(str::parse::<Version>).transpose()?;
    let build = to.filter(|to| !to.contains('.')).map(str::parse::<BuildId>).transpose()?;
    let wish = json!({
        "environment": args.env, "component": args.component, "to": build, "release": release, "reason": args.reason,
        "quarantine": args.quarantine,
    });
    let answer = api.post(&format!("/projects/{project}/rollbacks"), &wish).await?;
    follow(common, &api, &project, answer["promotion"].as_str().unwrap_or_default(), args.detach).await
}
