use super::Common;
use anyhow::{Context, Result};
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

/// Work with the images that builds start from
#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Take the images of a tar (`docker save`, or an OCI layout) into the store
    Import {
        /// The tar
        file: PathBuf,
    },
}

pub async fn run(common: &Common, args: ImageArgs) -> Result<ExitCode> {
    let ImageCommand::Import { file } = args.command;
    let api = common.api()?;
    let tar = tokio::fs::File::open(&file).await.with_context(|| format!("opening {}", file.display()))?;
    let answer = api.upload("/images", tar).await?;
    common.output.print(&answer, |answer| {
        let names = answer["images"].as_array().cloned().unwrap_or_default();
        names.iter().filter_map(|name| name.as_str()).map(|name| format!("imported {name}\n")).collect()
    });
    Ok(ExitCode::SUCCESS)
}
