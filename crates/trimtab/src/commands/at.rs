use super::Common;
use anyhow::Result;
use model::Environment;
use model::views::Deployment;
use std::process::ExitCode;

/// What ran in an environment at a time
#[derive(Debug, clap::Args)]
pub struct AtArgs {
    /// Where
    env: Environment,
    /// When, in UTC: 2026-11-01T14:00, 2026-11-01
    time: String,
}

pub async fn run(common: &Common, args: AtArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    // A `+` of an offset would be read as a space.
    let time = args.time.replace('+', "%2B");
    let query = [("env", args.env.as_str()), ("time", time.as_str())];
    let answer = api.get(&format!("/projects/{project}/at"), &query).await?;
    let found: Option<Deployment> = serde_json::from_value(answer)?;
    common.output.print(&found, |found| match found {
        None => format!("nothing was admitted in {} by {}\n", args.env, args.time),
        Some(deployment) => text(deployment),
    });
    Ok(ExitCode::SUCCESS)
}

fn text(deployment: &Deployment) -> String {
    let mut text =
        format!("{} since {} (admitted {})\n", deployment.environment, deployment.at, deployment.commit.short());
    if let Some(release) = &deployment.release {
        text.push_str(&format!("release {release}\n"));
    }
    deployment.builds.values().for_each(|build| text.push_str(&format!("  {build}\n")));
    text.push_str(&format!("asked for by {}: {}\n", deployment.actor, deployment.change));
    text
}
