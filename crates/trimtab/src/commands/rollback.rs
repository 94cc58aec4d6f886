use super::Common;
use super::promote::follow;
use anyhow::Result;
use model::{BuildId, Component, Environment};
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
    /// To this build [default: the one before the latest movement]
    #[arg(long)]
    to: Option<BuildId>,
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
    let wish = json!({ "environment": args.env, "component": args.component, "to": args.to, "reason": args.reason });
    let answer = api.post(&format!("/projects/{project}/rollbacks"), &wish).await?;
    follow(common, &api, &project, answer["promotion"].as_str().unwrap_or_default(), args.detach).await
}
