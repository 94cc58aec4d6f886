use super::Common;
use anyhow::Result;
use model::views::{Deployment, Recreated};
use model::{Environment, Recreate};
use std::process::ExitCode;

/// What ran in an environment at a time
#[derive(Debug, clap::Args)]
pub struct AtArgs {
    /// Where
    env: Environment,
    /// When, in UTC: 2026-11-01T14:00, 2026-11-01
    time: String,
    /// Let that run in this environment too, by one commit; one that is not there is made, with the configuration and
    /// secrets of where it ran
    #[arg(long, value_name = "ENVIRONMENT")]
    into: Option<Environment>,
}

pub async fn run(common: &Common, args: AtArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    if let Some(into) = args.into {
        let wanted = Recreate { environment: args.env, time: args.time, into };
        let answer = api.post(&format!("/projects/{project}/at"), &wanted).await?;
        let made: Recreated = serde_json::from_value(answer)?;
        common.output.print(&made, |made| recreated(&wanted, made));
        return Ok(ExitCode::SUCCESS);
    }
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

fn recreated(wanted: &Recreate, made: &Recreated) -> String {
    let Recreate { environment, into, .. } = wanted;
    let what = match (&made.commit, made.created) {
        (None, _) => format!("{into} has what ran in {environment} already:"),
        (Some(commit), true) => format!("{into} is made with what ran in {environment} ({}):", commit.short()),
        (Some(commit), false) => {
            format!("{into} gets what ran in {environment} ({}), through its gates:", commit.short())
        }
    };
    format!("{what}\n{}", text(&made.deployment))
}

fn text(deployment: &Deployment) -> String {
    let mut text =
        format!("{} since {} (admitted {})\n", deployment.environment, deployment.at, deployment.commit.short());
    if let Some(release) = &deployment.release {
        text.push_str(&format!("release {release}\n"));
    }
    deployment.builds.values().for_each(|build| text.push_str(&format!("  {build}\n")));
    text.push_str(&format!("asked for by {}: {}\n", deployment.actor, deployment.change));
    if !deployment.reason.is_empty() {
        text.push_str(&format!("  {}\n", deployment.reason));
    }
    text
}
