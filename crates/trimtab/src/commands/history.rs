use super::Common;
use crate::output::table;
use anyhow::Result;
use model::journal::Entry;
use model::views::Deployment;
use model::{Component, Environment};
use std::process::ExitCode;

/// What happened, by whom and why: the journal, newest first
///
/// With --deployments only what was admitted, and what ran from then on.
#[derive(Debug, clap::Args)]
pub struct HistoryArgs {
    /// Only this environment
    #[arg(long)]
    env: Option<Environment>,
    /// Only deployments that moved this component
    #[arg(long)]
    component: Option<Component>,
    /// Only what was admitted
    #[arg(long)]
    deployments: bool,
    /// At most so many entries
    #[arg(long, short = 'n', default_value_t = 50, value_name = "ENTRIES")]
    limit: usize,
}

pub async fn run(common: &Common, args: HistoryArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    let limit = args.limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    if let Some(env) = &args.env {
        query.push(("env", env.as_str()));
    }
    if let Some(component) = &args.component {
        query.push(("component", component.as_str()));
    }
    if args.deployments || args.component.is_some() {
        let found = api.get(&format!("/projects/{project}/deployments"), &query).await?;
        let found: Vec<Deployment> = serde_json::from_value(found)?;
        common.output.print(&found, |found| deployments(found));
        return Ok(ExitCode::SUCCESS);
    }
    let entries: Vec<Entry> = serde_json::from_value(api.get(&format!("/projects/{project}/history"), &query).await?)?;
    common.output.print(&entries, |entries| {
        let row = |entry: &Entry| {
            let environment = entry.environment.as_ref().map_or(String::new(), ToString::to_string);
            let reason = entry.reason.lines().next().unwrap_or_default();
            let what = if reason.is_empty() { entry.summary.clone() } else { format!("{}: {reason}", entry.summary) };
            vec![
                entry.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                entry.actor.clone(),
                environment,
                entry.kind.to_string(),
                what,
            ]
        };
        table(&["WHEN (UTC)", "WHO", "ENVIRONMENT", "EVENT", "WHAT"], &entries.iter().map(row).collect::<Vec<_>>())
    });
    Ok(ExitCode::SUCCESS)
}

fn deployments(found: &[Deployment]) -> String {
    let row = |deployment: &Deployment| {
        let builds = deployment.builds.values().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        vec![
            deployment.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            deployment.environment.to_string(),
            deployment.actor.clone(),
            deployment.change.clone(),
            deployment.release.clone().unwrap_or(builds),
        ]
    };
    table(&["WHEN (UTC)", "ENVIRONMENT", "WHO", "CHANGE", "RUNS THEN"], &found.iter().map(row).collect::<Vec<_>>())
}
