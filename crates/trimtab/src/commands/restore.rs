use super::Common;
use crate::backup;
use anyhow::{Context, Result};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Make a data directory out of a backup
///
/// The file is checked to its end before anything is written; the directory must be empty or absent, and appears whole.
/// `trimtab up` then runs what ran, with the same digests. Never run two instances of one identity on one machine.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// What `trimtab backup` wrote
    file: PathBuf,
    /// The first line of this file opens the keys
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Leave the keys in the backup: new ones are made
    #[arg(long, conflicts_with = "passphrase_file")]
    without_keys: bool,
    /// Only put the keys into a data directory that is there and not in use
    #[arg(long, requires = "passphrase_file")]
    keys: bool,
}

pub fn run(common: &Common, args: RestoreArgs) -> Result<ExitCode> {
    let layout = common.layout()?;
    let data = layout.root().display();
    let passphrase = args.passphrase_file.as_deref().map(backup::passphrase).transpose()?;
    if args.keys {
        let passphrase = passphrase.context("--keys needs --passphrase-file")?;
        let summary = backup::keys_only(&args.file, &layout, passphrase)?;
        common.output.print(&json!({ "summary": summary, "keys": true }), |_| {
            format!("the keys of {} are in {data}; they count from the next `trimtab up` on\n", summary.header.instance)
        });
        return Ok(ExitCode::SUCCESS);
    }
    let tell = |line: &str| eprintln!("{line}");
    let restored = backup::restore(&args.file, &layout, passphrase, args.without_keys, &tell)?;
    let answer = json!({ "summary": restored.summary, "keys": restored.keys });
    common.output.print(&answer, |_| {
        let summary = &restored.summary;
        let keys = match restored.keys {
            true => "",
            false => "keys are not in it: new ones are made, and clients must trust them anew (trimtab kubeconfig)\n",
        };
        format!(
            "{data} is as it was at {}: {} repositories, {} image blobs, revision {}\n{keys}now: trimtab up --data-dir {data}\n",
            summary.header.created, summary.repositories, summary.blobs, summary.header.revision
        )
    });
    Ok(ExitCode::SUCCESS)
}
