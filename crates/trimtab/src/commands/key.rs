use super::Common;
use crate::output::table;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// SSH keys: with one of them git clones and pushes over SSH
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Args)]
struct Whose {
    /// Whose [default: your own]
    #[arg(long, value_name = "NAME", default_value = "me", hide_default_value = true)]
    user: String,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Register a public key
    Add {
        /// File with the key, such as ~/.ssh/id_ed25519.pub; - reads standard input
        file: PathBuf,
        #[command(flatten)]
        whose: Whose,
    },
    /// Registered keys
    List(Whose),
    /// Forget a key: the next connection with it is refused
    Remove {
        /// Its fingerprint, as list shows it, or the file with the key
        key: String,
        #[command(flatten)]
        whose: Whose,
    },
}

pub async fn run(common: &Common, args: KeyArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let at = |whose: &Whose| format!("/users/{}/keys", whose.user);
    match args.command {
        KeyCommand::Add { file, whose } => {
            let key = if file == Path::new("-") { stdin()? } else { super::user::read_key(&file)? };
            let added = api.post(&at(&whose), &json!({ "key": key })).await?;
            common.output.print(&added, |added| format!("{} is registered\n", word(added, "fingerprint")));
        }
        KeyCommand::List(whose) => {
            let keys = api.get(&at(&whose), &[]).await?;
            common.output.print(&keys, |keys| {
                let row = |key: &Value| ["fingerprint", "added", "comment"].map(|name| word(key, name)).to_vec();
                let rows: Vec<_> = keys.as_array().into_iter().flatten().map(row).collect();
                table(&["FINGERPRINT", "ADDED", "COMMENT"], &rows)
            });
        }
        KeyCommand::Remove { key, whose } => {
            let key = if Path::new(&key).is_file() { super::user::read_key(Path::new(&key))? } else { key };
            let gone = api.delete(&at(&whose), &[], Some(&json!({ "key": key }))).await?;
            common.output.print(&gone, |gone| format!("{} is forgotten\n", word(gone, "fingerprint")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().take(64 * 1024).read_to_string(&mut text)?;
    if text.trim().is_empty() {
        bail!("standard input holds no key");
    }
    source::PublicKey::parse(&text).map_err(anyhow::Error::msg)?;
    Ok(text)
}

fn word(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
