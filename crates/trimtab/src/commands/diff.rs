use super::{Common, release};
use anyhow::Result;
use model::flow::{Action, Plan};
use model::{Environment, Project};
use serde_json::Value;
use std::process::ExitCode;

/// What applying would change in the cluster now, or what differs between any two releases, environments or times
///
/// `diff` and `diff --env prod` show the plan of each environment, `diff 1.3.0 prod` commits, configuration and
/// manifests between the two.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// 1.3.0, staging, or staging@2026-11-01T14:00
    #[arg(requires = "to")]
    from: Option<String>,
    /// The same
    to: Option<String>,
    /// Only what would change in this environment
    #[arg(long, conflicts_with = "from")]
    env: Option<Environment>,
}

pub async fn run(common: &Common, args: DiffArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    if let (Some(from), Some(to)) = (&args.from, &args.to) {
        return release::difference(common, &api, &project, from, to).await;
    }
    let environments = match args.env {
        Some(env) => vec![env],
        None => environments(&api, &project).await?,
    };
    let mut plans = Vec::new();
    for env in &environments {
        let plan = api.get(&format!("/projects/{project}/diff"), &[("env", env.as_str())]).await?;
        plans.push(serde_json::from_value::<Plan>(plan)?);
    }
    common.output.print(&plans, |plans| plans.iter().map(text).collect());
    Ok(ExitCode::SUCCESS)
}

async fn environments(api: &crate::client::Api, project: &Project) -> Result<Vec<Environment>> {
    let status = api.get(&format!("/projects/{project}/status"), &[]).await?;
    let names = status["environments"].as_array().cloned().unwrap_or_default();
    names.iter().map(|e| Ok(serde_json::from_value(e["name"].clone())?)).collect()
}

fn text(plan: &Plan) -> String {
    if plan.is_empty() {
        return format!("{}: nothing to change\n", plan.environment);
    }
    let mut text = format!("{} at {}:\n", plan.environment, plan.commit.short());
    for step in plan.changing() {
        let sign = match step.action {
            Action::Create => '+',
            Action::Delete => '-',
            Action::Configure | Action::Unchanged => '~',
        };
        text.push_str(&format!("  {sign} {}  ({})\n", step.object, step.reason));
        for change in &step.changes {
            let show = |value: &Option<Value>| value.as_ref().map_or("none".to_owned(), Value::to_string);
            text.push_str(&format!("      {}: {} → {}\n", change.path, show(&change.before), show(&change.after)));
        }
    }
    text
}
