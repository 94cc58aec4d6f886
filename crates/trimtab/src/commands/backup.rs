use super::Common;
use crate::backup::{self, Protection, failpoint};
use anyhow::{Context, Result, bail};
use futures::StreamExt;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write everything that cannot be made again into one file, while all runs on
///
/// Records, repositories with their history, pinned images, build logs, people. Keys, tokens and Secrets are in it only with
/// a passphrase, and encrypted. Volumes of your components are not in it.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// The file to make; it must not exist
    file: PathBuf,
    /// Take keys, tokens and Secrets along, encrypted with the first line of this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

pub async fn run(common: &Common, args: BackupArgs) -> Result<ExitCode> {
    let shown = args.file.display();
    if args.file.exists() {
        bail!("{shown} exists: choose another name, an old backup is not overwritten");
    }
    let api = common.api()?;
    let passphrase = args.passphrase_file.as_deref().map(backup::passphrase).transpose()?;
    let protection = passphrase.map(Protection::new).transpose()?;
    let mut stream = api.download("/backup", &json!({ "protection": protection })).await?;

    let mut name = args.file.clone().into_os_string();
    name.push(".part");
    let aside = PathBuf::from(name);
    let receive = async {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)
            .with_context(|| format!("creating {}", aside.display()))?;
        let progress = std::io::stderr().is_terminal();
        let (mut bytes, mut told) = (0u64, 0u64);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.context("the instance stopped in the middle: see its log")?;
            file.write_all(&chunk).with_context(|| format!("writing {}", aside.display()))?;
            bytes += chunk.len() as u64;
            if progress && bytes - told > 1 << 20 {
                told = bytes;
                eprint!("\r{:.0} MB", bytes as f64 / 1e6);
            }
        }
        if progress && told > 0 {
            eprintln!();
        }
        let summary = backup::verify(&aside)?;
        failpoint("backup.file.before");
        file.sync_all()?;
        std::fs::rename(&aside, &args.file).with_context(|| format!("giving {shown} its name"))?;
        let parent = std::path::absolute(&args.file)?.parent().map(std::fs::File::open);
        parent.transpose()?.map(|parent| parent.sync_all()).transpose()?;
        failpoint("backup.file.after");
        anyhow::Ok((summary, bytes))
    };
    let received = receive.await;
    if received.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    let (summary, bytes) = received?;
    let answer = json!({ "file": args.file, "bytes": bytes, "summary": summary });
    common.output.print(&answer, |_| {
        let keys = match summary.header.keys {
            true => "keys, tokens and Secrets are in it, encrypted with the passphrase",
            false => "keys, tokens and Secrets are left out: --passphrase-file takes them along",
        };
        format!(
            "{shown}: {} repositories, {} image blobs, revision {}, {:.1} MB, checked\n{keys}\nvolumes of components are not in it\nback: trimtab restore {shown} --data-dir DIR\n",
            summary.repositories,
            summary.blobs,
            summary.header.revision,
            bytes as f64 / 1e6
        )
    });
    Ok(ExitCode::SUCCESS)
}
