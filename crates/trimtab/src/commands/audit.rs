use super::Common;
use crate::output::say;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use model::journal::Entry;
use serde_json::{Value, json};
use source::Audit;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The journal as evidence
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check, without a running instance, that no entry was changed, left out or slipped in
    ///
    /// Exit code 4: something is wrong. Keep the printed tip elsewhere and give it as --contains later: then nothing
    /// can be cut off unnoticed.
    Verify {
        /// A clone of the config repository with refs/trimtab/journal [default: the hosted one]
        #[arg(long, value_name = "DIR")]
        repository: Option<PathBuf>,
        /// A public key that may have signed: "ssh-ed25519 AAAA…" [default: this instance's]
        #[arg(long, value_name = "KEY")]
        key: Vec<String>,
        /// A commit of the journal that was seen before
        #[arg(long, value_name = "COMMIT")]
        contains: Option<String>,
    },
    /// Print all entries as CloudEvents, one JSON document a line, oldest first
    Export,
}

pub async fn run(common: &Common, args: AuditArgs) -> Result<ExitCode> {
    match args.command {
        AuditCommand::Export => export(common).await,
        AuditCommand::Verify { repository, key, contains } => {
            let layout = common.layout()?;
            let repository = match repository {
                Some(repository) => repository,
                None => hosted(&layout.git(), common)?,
            };
            let keys = if key.is_empty() { vec![source::signer(&layout.signing_key())?] } else { key };
            let found = source::audit(&repository, &keys, contains.as_deref())?;
            common.output.print(&found, report);
            Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(4) })
        }
    }
}

/// The config repository of `--project`, or of the only project.
fn hosted(git: &Path, common: &Common) -> Result<PathBuf> {
    if let Some(project) = &common.project {
        return Ok(git.join(project.as_str()).join("config.git"));
    }
    let projects = std::fs::read_dir(git).with_context(|| format!("reading {}", git.display()))?;
    let found: Vec<PathBuf> =
        projects.flatten().map(|entry| entry.path().join("config.git")).filter(|path| path.is_dir()).collect();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => bail!("there is no project in {}", git.display()),
        _ => bail!("which project? Give --project"),
    }
}

fn report(found: &Audit) -> String {
    let mut text = format!("{} entries", found.entries);
    if let Some(tip) = &found.tip {
        text.push_str(&format!(", tip {tip}"));
    }
    text.push('\n');
    match found.problems.is_empty() {
        true => text.push_str("✔ signed, whole and in order\n"),
        false => found.problems.iter().for_each(|problem| text.push_str(&format!("✘ {problem}\n"))),
    }
    text
}

/// Entries that one answer of the server holds.
const ENTRIES_MAX: &str = "10000";

async fn export(common: &Common) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    let entries = api.get(&format!("/projects/{project}/history"), &[("limit", ENTRIES_MAX)]).await?;
    let entries: Vec<Entry> = serde_json::from_value(entries)?;
    for entry in entries.iter().rev() {
        say(&format!("{}\n", event(project.as_str(), entry)));
    }
    Ok(ExitCode::SUCCESS)
}

/// An entry as a CloudEvent 1.0 in its JSON form.
fn event(project: &str, entry: &Entry) -> Value {
    let environment = entry.environment.as_ref().map_or(String::new(), |e| format!("/environments/{e}"));
    let mut event = json!({
        "specversion": "1.0",
        "id": entry.id,
        "source": format!("/projects/{project}{environment}"),
        "type": format!("dev.trimtab.{}", entry.kind),
        "time": entry.at,
        "datacontenttype": "application/json",
        "data": entry,
    });
    if let Some(component) = &entry.component {
        event["subject"] = json!(component);
    }
    event
}

#[cfg(test)]
mod tests {
    use model::journal::{Entry, EntryKind};

    #[test]
    fn an_entry_is_a_cloud_event() {
        let mut entry = Entry::new(EntryKind::Admitted, "a-1".into(), "2026-11-21T09:00:00Z".parse().unwrap(), "ada");
        entry.environment = Some("prod".parse().unwrap());
        entry.component = Some("web".parse().unwrap());
        let event = super::event("shop", &entry);
        // What the specification requires of every event.
        for key in ["specversion", "id", "source", "type"] {
            assert!(event[key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
        }
        assert_eq!(event["source"], "/projects/shop/environments/prod");
        assert_eq!((&event["type"], &event["subject"]), (&"dev.trimtab.admitted".into(), &"web".into()));
        assert_eq!(event["data"]["actor"], "ada");
    }
}
