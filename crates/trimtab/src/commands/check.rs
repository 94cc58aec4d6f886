use super::Common;
use super::approve::summary;
use anyhow::{Result, bail};
use model::{BuildId, Environment, Version};
use serde_json::json;
use std::process::ExitCode;

/// Report what a check of a build or release found in an environment
///
/// For test systems of one's own; `POST /api/v1/projects/PROJECT/checks` does the same.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The check's name, as `requires.checks` has it
    check: String,
    /// What was checked: a build (web-42) or a release (1.4.0)
    #[arg(value_name = "BUILD|RELEASE")]
    what: String,
    /// Where
    #[arg(long)]
    env: Environment,
    /// It passed
    #[arg(long, conflicts_with = "failed")]
    passed: bool,
    /// It failed
    #[arg(long)]
    failed: bool,
    /// What it found, or where that can be read
    #[arg(long, default_value = "")]
    reason: String,
}

pub async fn run(common: &Common, args: CheckArgs) -> Result<ExitCode> {
    if args.passed == args.failed {
        bail!("say --passed or --failed");
    }
    let release = args.what.contains('.').then(|| args.what.parse::<Version>()).transpose()?;
    let build = if release.is_none() { Some(args.what.parse::<BuildId>()?) } else { None };
    let api = common.api()?;
    let project = common.project(&api).await?;
    let wish = json!({
        "check": args.check, "env": args.env, "build": build, "release": release, "passed": args.passed,
        "reason": args.reason,
    });
    let entry = api.post(&format!("/projects/{project}/checks"), &wish).await?;
    common.output.print(&entry, summary);
    Ok(ExitCode::SUCCESS)
}
