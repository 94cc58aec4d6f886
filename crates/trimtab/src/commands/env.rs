use super::Common;
use crate::client::Api;
use crate::output::table;
use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use model::views::ProjectStatus;
use model::{Domain, Environment, Project};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Make, list, stop and take away environments
#[derive(Debug, clap::Args)]
pub struct EnvArgs {
    #[command(subcommand)]
    command: EnvCommand,
}

#[derive(Debug, Subcommand)]
enum EnvCommand {
    /// Make an environment: one commit, running seconds later
    Create(CreateArgs),
    /// All environments in their order
    List,
    /// Show what goes with an environment; with --yes, it goes
    Delete {
        /// Which
        name: Environment,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Stop all movement and repair in an environment; nothing overrides that
    Suspend {
        /// Which
        name: Environment,
    },
    /// Let it move again
    Resume {
        /// Which
        name: Environment,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Its name
    name: Environment,
    /// Rules, overlays and configuration are those of this environment, until it has its own
    #[arg(long, value_name = "ENVIRONMENT")]
    like: Option<Environment>,
    /// Builds come from here, and it stands behind it
    #[arg(long, value_name = "ENVIRONMENT")]
    after: Vec<Environment>,
    /// Who moves builds here [default: as in the one that it is like, else manual]
    #[arg(long, value_enum)]
    strategy: Option<StrategyArg>,
    /// It serves real users: shown with care
    #[arg(long)]
    production: bool,
    /// Public components have the host COMPONENT.DOMAIN [default: ENVIRONMENT.PROJECT.localhost]
    #[arg(long)]
    domain: Option<Domain>,
    /// Its file and its pins stand in a config repository of their own, config.NAME, with rights of its own
    #[arg(long)]
    own_repo: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StrategyArg {
    Auto,
    Manual,
    Never,
}

impl StrategyArg {
    fn word(self) -> &'static str {
        match self {
            Self::Auto => "Auto",
            Self::Manual => "Manual",
            Self::Never => "Never",
        }
    }
}

pub async fn run(common: &Common, args: EnvArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    match args.command {
        EnvCommand::Create(args) => {
            let wish = json!({
                "name": args.name, "like": args.like, "after": args.after, "production": args.production,
                "strategy": args.strategy.map(StrategyArg::word), "domain": args.domain,
                "ownRepo": args.own_repo,
            });
            let answer = api.post(&format!("/projects/{project}/environments"), &wish).await?;
            common.output.print(&answer, |answer| {
                let own = format!("its repository: trimtab url --config --env {}\n", args.name);
                let own = if args.own_repo { own } else { String::new() };
                format!("{} is made ({})\n{own}", args.name, short(&answer["commit"]))
            });
        }
        EnvCommand::List => {
            let status = api.get(&format!("/projects/{project}/status"), &[]).await?;
            let status: ProjectStatus = serde_json::from_value(status)?;
            common.output.print(&status.environments, |_| list(&status));
        }
        EnvCommand::Delete { name, yes } => {
            let path = format!("/projects/{project}/environments/{name}/removal");
            let answer = api.post(&path, &json!({ "confirmed": yes })).await?;
            common.output.print(&answer, |answer| removal(&name, answer));
        }
        EnvCommand::Suspend { name } => suspend(common, &api, &project, &name, true).await?,
        EnvCommand::Resume { name } => suspend(common, &api, &project, &name, false).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn suspend(common: &Common, api: &Api, project: &Project, name: &Environment, suspend: bool) -> Result<()> {
    let path = format!("/projects/{project}/environments/{name}/suspend");
    let answer = api.post(&path, &json!({ "suspend": suspend })).await?;
    let word = if suspend { "suspended" } else { "not suspended" };
    common.output.print(&answer, |answer| match answer["commit"].is_string() {
        true => format!("{name} is {word} ({})\n", short(&answer["commit"])),
        false => format!("{name} is {word} already\n"),
    });
    Ok(())
}

fn short(commit: &Value) -> String {
    commit.as_str().unwrap_or_default().chars().take(8).collect()
}

fn list(status: &ProjectStatus) -> String {
    let row = |environment: &model::views::EnvironmentStatus| {
        let mut notes = Vec::new();
        notes.extend(environment.production.then(|| "production".to_owned()));
        notes.extend(environment.suspended.then(|| "suspended".to_owned()));
        notes.extend(environment.repository.as_ref().map(|own| format!("in {own}")));
        notes.extend(environment.held.as_ref().map(|held| format!("held: {}", held.reason)));
        notes.extend(environment.error.clone());
        let runs = environment.release.clone().unwrap_or_else(|| {
            let builds: Vec<String> = environment.components.iter().map(|c| c.build.to_string()).collect();
            if builds.is_empty() { "-".to_owned() } else { builds.join(", ") }
        });
        vec![environment.name.to_string(), format!("{:?}", environment.strategy), runs, notes.join("; ")]
    };
    let rows: Vec<Vec<String>> = status.environments.iter().map(row).collect();
    table(&["ENVIRONMENT", "PROMOTION", "RUNS", "NOTES"], &rows)
}

fn removal(name: &Environment, answer: &Value) -> String {
    let mut text = match answer["commit"].is_string() {
        true => format!("{name} goes ({}):\n", short(&answer["commit"])),
        false => format!("with {name} would go:\n"),
    };
    for (what, key) in [("file", "files"), ("object", "objects"), ("address", "addresses")] {
        for one in answer[key].as_array().into_iter().flatten() {
            text.push_str(&format!("  {what} {}\n", one.as_str().unwrap_or_default()));
        }
    }
    if !answer["commit"].is_string() {
        text.push_str(&format!("nothing was done: trimtab env delete {name} --yes\n"));
    }
    text
}
