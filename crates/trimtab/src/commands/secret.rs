use super::Common;
use super::config::committed;
use crate::client::Api;
use crate::output::table;
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use model::views::SecretRow;
use model::{Group, Project};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use serde_json::json;
use std::io::{IsTerminal, Read, Stdin, Write};
use std::process::ExitCode;

/// Secrets of components, encrypted in the config repository
///
/// Values are encrypted here, before they leave this process, and are never shown again.
#[derive(Debug, clap::Args)]
pub struct SecretArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Set a value by one commit; it is asked for, or read from standard input
    ///
    /// One line break at the end of what is piped is left out.
    Set {
        /// Which secret; it is made if it does not exist
        name: Group,
        /// Which key of it
        key: String,
        /// For this environment or group of environments [default: wherever nothing else is said]
        #[arg(long, value_name = "NAME")]
        env: Option<String>,
    },
    /// Where secrets are set, when, by whom, and who uses them; never what they are
    List,
    /// A new value for a key, or without one: everything encrypted to a new key of the data plane
    ///
    /// A new value rolls the components that use it. A new key changes no value and rolls nothing.
    Rotate {
        /// Which secret
        #[arg(requires = "key")]
        name: Option<Group>,
        /// Which key of it
        key: Option<String>,
        /// For this environment or group of environments [default: wherever nothing else is said]
        #[arg(long, value_name = "NAME", requires = "name")]
        env: Option<String>,
    },
    /// Remove a secret, a key of it, or its value for one place; refused while a pin names it
    Remove {
        /// Which secret
        name: Group,
        /// Only this key
        key: Option<String>,
        /// Only its value there
        #[arg(long, value_name = "NAME", requires = "key")]
        env: Option<String>,
    },
    /// To whom values are encrypted: an age recipient, for `age -r`
    Key,
}

pub async fn run(common: &Common, args: SecretArgs) -> Result<ExitCode> {
    let api = common.api()?;
    match args.verb {
        Verb::Key => {
            let answer = api.get("/secret-key", &[]).await?;
            common.output.print(&answer, |answer| format!("{}\n", answer["recipient"].as_str().unwrap_or_default()));
        }
        Verb::List => {
            let project = common.project(&api).await?;
            let rows = api.get(&format!("/projects/{project}/secrets"), &[]).await?;
            let rows: Vec<SecretRow> = serde_json::from_value(rows)?;
            common.output.print(&rows, |rows| listed(rows));
        }
        Verb::Set { name, key, env } | Verb::Rotate { name: Some(name), key: Some(key), env } => {
            let project = common.project(&api).await?;
            let answer = set(&api, &project, &name, &key, env.as_deref()).await?;
            common.output.print(&answer, |answer| committed(answer, &format!("secret {name}: {key}")));
        }
        Verb::Rotate { .. } => {
            let project = common.project(&api).await?;
            let answer = api.post(&format!("/projects/{project}/secret-key"), &json!({})).await?;
            let recipient = answer["recipient"].as_str().unwrap_or_default();
            common.output.print(&answer, |answer| format!("{}new key {recipient}\n", committed(answer, "secrets")));
        }
        Verb::Remove { name, key, env } => {
            let project = common.project(&api).await?;
            let pairs = [("key", key.as_deref()), ("place", env.as_deref())];
            let query: Vec<(&str, &str)> = pairs.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
            let answer = api.delete(&format!("/projects/{project}/secrets/{name}"), &query, None).await?;
            common.output.print(&answer, |answer| committed(answer, &format!("secret {name}")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(api: &Api, project: &Project, name: &Group, key: &str, place: Option<&str>) -> Result<serde_json::Value> {
    let answer = api.get("/secret-key", &[]).await?;
    let recipient = answer["recipient"].as_str().context("the instance names no recipient")?;
    let value = match std::io::stdin() {
        stdin if stdin.is_terminal() => asked(stdin, &format!("value of {key} in secret {name}: "))?,
        mut stdin => {
            let mut value = Vec::new();
            stdin.read_to_end(&mut value).context("reading the value from standard input")?;
            without_line_break(value)
        }
    };
    if value.is_empty() {
        bail!("the value is empty: nothing was set");
    }
    let sealed = STANDARD.encode(vault::seal(recipient, &value)?);
    let wish = json!({ "name": name, "key": key, "place": place, "sealed": sealed });
    api.post(&format!("/projects/{project}/secrets"), &wish).await
}

fn without_line_break(mut value: Vec<u8>) -> Vec<u8> {
    if value.ends_with(b"\n") {
        value.pop();
        if value.ends_with(b"\r") {
            value.pop();
        }
    }
    value
}

/// Gives the terminal back as it was, however reading ends.
struct Quiet<'a>(&'a Stdin, Termios);

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.0, OptionalActions::Flush, &self.1);
        eprintln!();
    }
}

/// Asks a person, who sees nothing of what they type. Ctrl-C arrives as a character, so that the terminal is never left
/// without echo.
fn asked(mut stdin: Stdin, question: &str) -> Result<Vec<u8>> {
    eprint!("{question}");
    std::io::stderr().flush()?;
    let before = tcgetattr(&stdin).context("the terminal")?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
    quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&stdin, OptionalActions::Flush, &quiet).context("the terminal")?;
    let reader = std::io::stdin();
    let _restore = Quiet(&reader, before);
    typed(&mut stdin)
}

/// What is typed until the line ends.
fn typed(input: &mut impl Read) -> Result<Vec<u8>> {
    let (mut value, mut byte) = (Vec::new(), [0]);
    while input.read(&mut byte)? == 1 {
        match byte[0] {
            b'\n' | b'\r' | 4 => return Ok(value),
            3 => bail!("stopped: nothing was set"),
            8 | 127 => drop(value.pop()),
            other => value.push(other),
        }
    }
    Ok(value)
}

fn listed(rows: &[SecretRow]) -> String {
    let row = |row: &SecretRow| {
        let at = row.at.map_or("?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string());
        let users: Vec<&str> = row.used_by.iter().map(model::Component::as_str).collect();
        vec![
            row.name.to_string(),
            row.key.clone(),
            row.place.clone(),
            at,
            row.by.clone().unwrap_or_default(),
            users.join(", "),
        ]
    };
    table(&["NAME", "KEY", "ENVIRONMENT", "SET (UTC)", "BY", "USED BY"], &rows.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_it_was_meant() {
        for (typed_in, expected) in [("abc\n", "abc"), ("abx\x7fc\rrest", "abc"), ("ab", "ab"), ("a\x04b", "a")] {
            assert_eq!(typed(&mut typed_in.as_bytes()).unwrap(), expected.as_bytes(), "{typed_in:?}");
        }
        assert!(typed(&mut &b"ab\x03c\n"[..]).is_err());
        for (piped, expected) in
            [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("-----\nx\n", "-----\nx")]
        {
            assert_eq!(without_line_break(piped.into()), expected.as_bytes());
        }
    }
}
