use super::Common;
use crate::instance::Instance;
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

/// Print a link that signs a browser in to the UI
///
/// It is good once, within 15 minutes.
#[derive(Debug, clap::Args)]
pub struct UiArgs {
    /// Who signs in with it [default: you]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

pub async fn run(common: &Common, args: UiArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let answer = api.post("/sign-in-links", &args.user.map_or(json!({}), |user| json!({ "user": user }))).await?;
    let control = Instance::require(&common.layout()?)?.control;
    let link = format!("http://{control}{}", answer["path"].as_str().unwrap_or_default());
    common.output.print(&json!({ "link": link }), |_| format!("{link}\n"));
    Ok(ExitCode::SUCCESS)
}
