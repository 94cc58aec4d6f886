use super::Common;
use super::approve::summary;
use crate::client::{Api, Failure};
use crate::output::table;
use anyhow::Result;
use clap::Subcommand;
use model::views::{Difference, ReleaseStatus};
use model::{Environment, Project, Version};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Sets of builds under one version
#[derive(Debug, clap::Args)]
pub struct ReleaseArgs {
    #[command(subcommand)]
    command: ReleaseCommand,
}

#[derive(Debug, Subcommand)]
enum ReleaseCommand {
    /// Make a release of what runs, settled and healthy, in an environment: a commit and a signed tag
    Create {
        /// SemVer: 1.4.0
        version: Version,
        /// Whose builds it holds
        #[arg(long)]
        from: Environment,
    },
    /// All releases, newest first, where they run and are certified
    List,
    /// What a release holds and what is new in it
    Show {
        /// Which
        version: Version,
    },
    /// What differs between two releases, environments or times, in commits, configuration and manifests
    Diff {
        /// 1.3.0, staging, or staging@2026-11-01T14:00
        from: String,
        /// The same
        to: String,
    },
}

/// Say that a release is good where it runs
#[derive(Debug, clap::Args)]
pub struct CertifyArgs {
    /// Which
    version: Version,
    /// Where it runs
    #[arg(long)]
    env: Environment,
    /// Why; stands in the history
    #[arg(long, default_value = "")]
    reason: String,
}

pub async fn certify(common: &Common, args: CertifyArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    let path = format!("/projects/{project}/releases/{}/certificates", args.version);
    let entry = api.post(&path, &json!({ "env": args.env, "reason": args.reason })).await?;
    common.output.print(&entry, summary);
    Ok(ExitCode::SUCCESS)
}

pub async fn run(common: &Common, args: ReleaseArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    let path = format!("/projects/{project}/releases");
    match args.command {
        ReleaseCommand::Create { version, from } => {
            let made = api.post(&path, &json!({ "version": version, "from": from })).await?;
            let made: ReleaseStatus = serde_json::from_value(made)?;
            common
                .output
                .print(&made, |made| format!("release {version} is made: tag {}\n{}", version.tag(), show(made)));
        }
        ReleaseCommand::List => {
            let all: Vec<ReleaseStatus> = serde_json::from_value(api.get(&path, &[]).await?)?;
            common.output.print(&all, |all| list(all));
        }
        ReleaseCommand::Show { version } => {
            let all: Vec<ReleaseStatus> = serde_json::from_value(api.get(&path, &[]).await?)?;
            let found = all.into_iter().find(|release| release.version == version);
            let found = found.ok_or_else(|| Failure::NotFound(format!("there is no release {version}")))?;
            common.output.print(&found, show);
        }
        ReleaseCommand::Diff { from, to } => {
            return difference(common, &api, &project, &from, &to).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what differs between two of them.
pub async fn difference(common: &Common, api: &Api, project: &Project, from: &str, to: &str) -> Result<ExitCode> {
    // A `+` of an offset would be read as a space.
    let (from, to) = (from.replace('+', "%2B"), to.replace('+', "%2B"));
    let query = [("from", from.as_str()), ("to", to.as_str())];
    let answer = api.get(&format!("/projects/{project}/difference"), &query).await?;
    let difference: Difference = serde_json::from_value(answer)?;
    common.output.print(&difference, diff);
    Ok(ExitCode::SUCCESS)
}

fn names(environments: &[Environment]) -> String {
    environments.iter().map(Environment::as_str).collect::<Vec<_>>().join(", ")
}

fn list(all: &[ReleaseStatus]) -> String {
    let row = |release: &ReleaseStatus| {
        vec![
            release.version.to_string(),
            release.at.strftime("%Y-%m-%d %H:%M").to_string(),
            release.author.clone(),
            release.file.pins.values().map(|pin| pin.build.to_string()).collect::<Vec<_>>().join(", "),
            names(&release.certified),
            names(&release.environments),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    table(&["RELEASE", "MADE (UTC)", "BY", "BUILDS", "CERTIFIED IN", "RUNS IN"], &rows)
}

fn show(release: &ReleaseStatus) -> String {
    let runs = |pin: &model::Pin| {
        let (image, chart) = (pin.image.as_ref(), pin.chart.as_ref());
        let said = [chart.map(ToString::to_string), image.map(ToString::to_string)];
        said.into_iter().flatten().collect::<Vec<_>>().join(", ")
    };
    let pin = |pin: &model::Pin| vec![pin.build.to_string(), pin.source.short().to_owned(), runs(pin)];
    let rows: Vec<Vec<String>> = release.file.pins.values().map(pin).collect();
    let mut text = table(&["BUILD", "COMMIT", "IMAGE"], &rows);
    let notes = &release.file.notes;
    if let Some(since) = &notes.since {
        text.push_str(&format!("\nnew since {since}:\n"));
        notes.commits.iter().for_each(|commit| text.push_str(&format!("  {commit}\n")));
    }
    if !notes.issues.is_empty() {
        text.push_str(&format!("issues: {}\n", notes.issues.join(", ")));
    }
    for (word, environments) in [("certified in", &release.certified), ("runs in", &release.environments)] {
        if !environments.is_empty() {
            text.push_str(&format!("{word} {}\n", names(environments)));
        }
    }
    text
}

fn diff(difference: &Difference) -> String {
    let mut text = format!("{} → {}\n", difference.from, difference.to);
    if difference.components.is_empty() {
        text.push_str("nothing differs\n");
    }
    for component in &difference.components {
        let build = |pin: &Option<model::Pin>| pin.as_ref().map_or("none".to_owned(), |pin| pin.build.to_string());
        text.push_str(&format!(
            "\n{}: {} → {}\n",
            component.component,
            build(&component.before),
            build(&component.after)
        ));
        for (title, lines) in [("commits", &component.commits), ("configuration", &component.configuration)] {
            if !lines.is_empty() {
                text.push_str(&format!("  {title}:\n"));
                lines.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
            }
        }
        if !component.manifests.is_empty() {
            text.push_str("  manifests:\n");
        }
        for field in &component.manifests {
            let shown = |value: &Option<Value>| value.as_ref().map_or("none".to_owned(), Value::to_string);
            let (before, after) = (shown(&field.change.before), shown(&field.change.after));
            text.push_str(&match (field.change.path.as_str(), &field.change.before) {
                ("", None) => format!("    + {}\n", field.object),
                ("", Some(_)) => format!("    - {}\n", field.object),
                (path, _) => format!("    {} {path}: {before} → {after}\n", field.object),
            });
        }
    }
    text
}
