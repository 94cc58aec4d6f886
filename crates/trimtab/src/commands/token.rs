use super::Common;
use crate::output::{Output, table};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Tokens: passwords of git over HTTP, of the registry, the API and the Kubernetes API, that end by themselves
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, clap::Args)]
struct Whose {
    /// Whose [default: your own]
    #[arg(long, value_name = "NAME", default_value = "me", hide_default_value = true)]
    user: String,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Make a token and print it, this once
    Create {
        /// How long it is good: 12h, 30d, 8w; at most 366d
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = seconds)]
        expires: u64,
        /// Nothing can be changed with it
        #[arg(long)]
        read_only: bool,
        #[command(flatten)]
        whose: Whose,
    },
    /// Tokens that have not ended
    List(Whose),
    /// Make a token worthless
    Revoke {
        /// As list shows it
        id: String,
        #[command(flatten)]
        whose: Whose,
    },
}

pub async fn run(common: &Common, args: TokenArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let at = |whose: &Whose| format!("/users/{}/tokens", whose.user);
    match args.command {
        TokenCommand::Create { expires, read_only, whose } => {
            let made = api.post(&at(&whose), &json!({ "expiresInSeconds": expires, "readOnly": read_only })).await?;
            // Standard output holds the token alone, so that it can be piped to where it is kept.
            if matches!(common.output, Output::Text) {
                eprintln!("token {}, good until {}; it is not shown again", word(&made, "id"), word(&made, "expires"));
            }
            common.output.print(&made, |made| format!("{}\n", word(made, "token")));
        }
        TokenCommand::List(whose) => {
            let tokens = api.get(&at(&whose), &[]).await?;
            common.output.print(&tokens, |tokens| {
                let row = |token: &Value| {
                    let may = if token["readOnly"] == true { "reads" } else { "all of its user's" };
                    vec![word(token, "id"), word(token, "created"), word(token, "expires"), may.to_owned()]
                };
                let rows: Vec<_> = tokens.as_array().into_iter().flatten().map(row).collect();
                table(&["TOKEN", "CREATED", "EXPIRES", "RIGHTS"], &rows)
            });
        }
        TokenCommand::Revoke { id, whose } => {
            let done = api.delete(&format!("{}/{id}", at(&whose)), &[], None).await?;
            common.output.print(&done, |_| format!("{id} is worthless now\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn word(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// `12h`, `30d`.
fn seconds(text: &str) -> Result<u64> {
    let unit = text.chars().last().context("a time such as 12h or 30d")?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => bail!("{text:?} has none of the units s, m, h, d, w"),
    };
    let number: u64 =
        text[..text.len() - unit.len_utf8()].parse().with_context(|| format!("{text:?} has no number"))?;
    number.checked_mul(factor).filter(|seconds| *seconds > 0).with_context(|| format!("{text:?} is no time"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, expected) in [
            ("1s", Some(1)),
            ("90m", Some(5400)),
            ("12h", Some(43_200)),
            ("30d", Some(2_592_000)),
            ("2w", Some(1_209_600)),
        ] {
            assert_eq!(super::seconds(text).ok(), expected, "{text}");
        }
        for bad in ["", "d", "30", "0d", "-1d", "1y", "30ü", "99999999999999999999d", "9999999999999999999w"] {
            assert!(super::seconds(bad).is_err(), "{bad}");
        }
    }
}
