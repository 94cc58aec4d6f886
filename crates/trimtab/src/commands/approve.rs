use super::Common;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Agree to a promotion as it stands
///
/// The word holds for exactly what would move and for the gates as they are; any change voids it. Who asked for it,
/// wrote it or pushed a build in it cannot approve it, unless the environment says so.
#[derive(Debug, clap::Args)]
pub struct ApproveArgs {
    /// Which: `trimtab explain` and `trimtab promote` name it
    promotion: String,
    /// Why; stands in the history
    #[arg(long, default_value = "")]
    reason: String,
}

/// Take a request back that still waits
#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    /// Which
    promotion: String,
    /// Why; stands in the history
    #[arg(long, default_value = "")]
    reason: String,
}

pub async fn approve(common: &Common, args: ApproveArgs) -> Result<ExitCode> {
    say(common, &args.promotion, "approvals", &args.reason).await
}

pub async fn cancel(common: &Common, args: CancelArgs) -> Result<ExitCode> {
    say(common, &args.promotion, "cancel", &args.reason).await
}

async fn say(common: &Common, promotion: &str, what: &str, reason: &str) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    let path = format!("/projects/{project}/promotions/{promotion}/{what}");
    let entry = api.post(&path, &json!({ "reason": reason })).await?;
    common.output.print(&entry, summary);
    Ok(ExitCode::SUCCESS)
}

/// What the journal says now.
pub fn summary(entry: &Value) -> String {
    format!("{}\n", entry["summary"].as_str().unwrap_or_default())
}
