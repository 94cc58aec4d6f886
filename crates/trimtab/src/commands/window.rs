use super::Common;
use crate::output::table;
use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};
use model::rules::Seconds;
use model::views::{WindowState, WindowStatus};
use model::window::{Manual, Moment, Selector, Window, WindowKind};
use model::{Component, Environment};
use serde_json::json;
use std::process::ExitCode;

/// When environments may move, and when not
#[derive(Debug, clap::Args)]
pub struct WindowArgs {
    #[command(subcommand)]
    command: WindowCommand,
}

#[derive(Debug, Subcommand)]
enum WindowCommand {
    /// All windows, and when they open and close next
    List,
    /// Add a window by one commit
    Add(AddArgs),
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// Its name
    name: String,
    /// A freeze: nothing moves in it [default: things move only in it]
    #[arg(long)]
    deny: bool,
    /// When it begins: five fields of cron, such as "0 8 * * mon-fri"; needs --for
    #[arg(long, value_name = "CRON")]
    schedule: Option<String>,
    /// How long it stays: 9h, 1h30m
    #[arg(long = "for", value_name = "TIME")]
    duration: Option<Seconds>,
    /// From this day or time on: 2026-12-24, 2026-12-24T18:00
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,
    /// Until this day (included) or time
    #[arg(long, value_name = "TIME")]
    to: Option<Moment>,
    /// Whose clock: Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// Environments: an allowing window is named in their rules, a freeze applies to them [default: a freeze, to all]
    #[arg(long = "env")]
    environments: Vec<Environment>,
    /// A freeze of these components only
    #[arg(long = "component")]
    components: Vec<Component>,
    /// What becomes of a person's request that it would hold
    #[arg(long, value_enum, default_value_t = ManualArg::Denied)]
    manual: ManualArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ManualArg {
    Allowed,
    NeedsApproval,
    Denied,
}

pub async fn run(common: &Common, args: WindowArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    let path = format!("/projects/{project}/windows");
    match args.command {
        WindowCommand::List => {
            let windows: Vec<WindowStatus> = serde_json::from_value(api.get(&path, &[]).await?)?;
            common.output.print(&windows, |windows| text(windows));
        }
        WindowCommand::Add(args) => {
            if args.environments.is_empty() && !args.deny {
                bail!("which environments does it open? Give --env");
            }
            let name = args.name.clone();
            let environments = if args.deny { Vec::new() } else { args.environments.clone() };
            let wish = json!({ "window": window(args), "environments": environments });
            let answer = api.post(&path, &wish).await?;
            common.output.print(&answer, |answer| {
                let commit: String = answer["commit"].as_str().unwrap_or_default().chars().take(8).collect();
                format!("window {name} is added ({commit})\n")
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn window(args: AddArgs) -> Window {
    let some = !args.components.is_empty() || !args.environments.is_empty();
    let selector = Selector { environments: args.environments, components: args.components };
    Window {
        name: args.name,
        kind: if args.deny { WindowKind::Deny } else { WindowKind::Allow },
        schedule: args.schedule,
        duration: args.duration,
        from: args.from,
        to: args.to,
        time_zone: args.time_zone,
        selector: Some(selector).filter(|_| args.deny && some),
        manual: match args.manual {
            ManualArg::Allowed => Manual::Allowed,
            ManualArg::NeedsApproval => Manual::NeedsApproval,
            ManualArg::Denied => Manual::Denied,
        },
    }
}

fn text(windows: &[WindowStatus]) -> String {
    if windows.is_empty() {
        return "there is no window: environments move at any time\n".to_owned();
    }
    let row = |status: &WindowStatus| {
        let window = &status.window;
        let kind = match window.kind {
            WindowKind::Allow => "allows",
            WindowKind::Deny => "denies",
        };
        let when = match (&window.schedule, window.duration, window.from, window.to) {
            (Some(schedule), Some(duration), _, _) => format!("{schedule} for {duration}"),
            (_, _, from, to) => {
                let part =
                    |word: &str, moment: Option<Moment>| moment.map_or(String::new(), |m| format!("{word} {m} "));
                format!("{}{}", part("from", from), part("to", to)).trim_end().to_owned()
            }
        };
        let until = |word: &str| status.until.map_or(String::new(), |at| format!(" {word} {at}"));
        let now = match (status.state, window.kind) {
            (WindowState::Open, WindowKind::Allow) => format!("open{}", until("until")),
            (WindowState::Open, WindowKind::Deny) => format!("not on{}", until("until")),
            (WindowState::Shut, WindowKind::Allow) => format!("shut{}", until("until")),
            (WindowState::Shut, WindowKind::Deny) => format!("on{}", until("until")),
            (WindowState::Never, _) => status.message.clone(),
        };
        let environments: Vec<&str> = status.environments.iter().map(Environment::as_str).collect();
        vec![window.name.clone(), kind.to_owned(), when, window.time_zone.clone(), now, environments.join(", ")]
    };
    let rows: Vec<Vec<String>> = windows.iter().map(row).collect();
    table(&["WINDOW", "", "WHEN", "CLOCK", "NOW", "ENVIRONMENTS"], &rows)
}
