use super::Common;
use crate::client::Failure;
use crate::instance::{Instance, Layout, Lock};
use crate::output::say;
use anyhow::{Context, Result};
use serde_json::json;
use std::io::IsTerminal;
use std::process::ExitCode;

/// Stop everything and remove what runs; the data stays
///
/// Containers, the gateway, mounts, networks, namespaces and cgroups of this instance are removed.
/// Repositories, images and records stay where they are unless --purge is given.
#[derive(Debug, clap::Args)]
pub struct DownArgs {
    /// Delete the data directory too, after asking
    #[arg(long)]
    purge: bool,
    /// Do not ask
    #[arg(long, requires = "purge")]
    yes: bool,
}

pub async fn run(common: &Common, args: DownArgs) -> Result<ExitCode> {
    let layout = common.layout()?;
    let instance = Instance::require(&layout)?;
    if args.purge && !args.yes && !confirmed(&layout)? {
        say("nothing was changed\n");
        return Ok(ExitCode::from(1));
    }
    match common.api()?.post("/down", &json!({})).await {
        Ok(_) => {}
        Err(e) if matches!(e.downcast_ref(), Some(Failure::Unreachable(_))) => {
            // The control process is not there: what outlived it is stopped from here.
            let _lock = Lock::take(&layout)?;
            crate::up::teardown(&layout, &instance).await?;
        }
        Err(e) => return Err(e),
    }
    if args.purge {
        std::fs::remove_dir_all(layout.root()).with_context(|| format!("deleting {}", layout.root().display()))?;
    }
    let kept = !args.purge;
    common.output.print(&json!({ "down": true, "dataKept": kept }), |_| match kept {
        true => format!("everything is stopped; the data stays in {}\n", layout.root().display()),
        false => format!("everything is stopped and {} is deleted\n", layout.root().display()),
    });
    Ok(ExitCode::SUCCESS)
}

fn confirmed(layout: &Layout) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("--purge deletes {} for ever: confirm with --yes", layout.root().display());
    }
    say(&format!("Delete {} with all repositories, images and history? [y/N] ", layout.root().display()));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
