use super::Common;
use crate::client::{Api, Failure};
use crate::output::table;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use model::views::SettingRow;
use model::{Environment, Group, Project};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Configuration of components: ConfigGroups in the config repository
///
/// Values are looked for in the environment, then in what it is like, its groups, and `default`.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Set values by one commit: `config set common LOG_LEVEL=warn --env prod`
    Set {
        /// Which ConfigGroup; it is made if it does not exist
        group: Group,
        /// What to set
        #[arg(required = true, value_name = "KEY=VALUE")]
        values: Vec<String>,
        /// For this environment or group of environments [default: wherever nothing else is said]
        #[arg(long, value_name = "NAME")]
        env: Option<String>,
    },
    /// One value, as it holds in an environment
    Get {
        /// Which ConfigGroup
        group: Group,
        /// Which key
        key: String,
        /// Where
        #[arg(long)]
        env: Environment,
    },
    /// All values, as they hold in each environment; of secrets only whether they are set
    List {
        /// Only this ConfigGroup or secret
        group: Option<Group>,
        /// Only this environment
        #[arg(long)]
        env: Option<Environment>,
    },
    /// What differs between two environments, and where it comes from
    Diff {
        /// One
        from: Environment,
        /// The other
        to: Environment,
    },
}

pub async fn run(common: &Common, args: ConfigArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    match args.verb {
        Verb::Set { group, values, env } => set(common, &api, &project, &group, &values, env).await,
        Verb::Get { group, key, env } => {
            let rows = rows(&api, &project).await?;
            let row = rows.iter().find(|row| !row.secret && row.group == group && row.key == key);
            let cell = row.and_then(|row| row.environments.get(&env));
            let Some(cell) = cell else {
                let missing = format!("{key} of {group} has no value for {env}: trimtab config list {group}");
                return Err(Failure::NotFound(missing).into());
            };
            common.output.print(cell, |cell| format!("{}\n", cell.value));
            Ok(ExitCode::SUCCESS)
        }
        Verb::List { group, env } => {
            let mut rows = rows(&api, &project).await?;
            rows.retain(|row| group.as_ref().is_none_or(|group| row.group == *group));
            if let Some(env) = &env {
                rows.iter_mut().for_each(|row| row.environments.retain(|name, _| name == env));
            }
            common.output.print(&rows, |rows| listed(rows));
            Ok(ExitCode::SUCCESS)
        }
        Verb::Diff { from, to } => {
            let rows = rows(&api, &project).await?;
            for name in [&from, &to] {
                known(&api, &project, name).await?;
            }
            let differences: Vec<Difference> = rows.iter().filter_map(|row| Difference::of(row, &from, &to)).collect();
            common.output.print(&differences, |differences| told(differences, &from, &to));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn rows(api: &Api, project: &Project) -> Result<Vec<SettingRow>> {
    Ok(serde_json::from_value(api.get(&format!("/projects/{project}/config"), &[]).await?)?)
}

async fn known(api: &Api, project: &Project, name: &Environment) -> Result<()> {
    let status = api.get(&format!("/projects/{project}/status"), &[]).await?;
    let names = status["environments"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = names.iter().filter_map(|e| e["name"].as_str()).collect();
    if names.contains(&name.as_str()) {
        return Ok(());
    }
    Err(Failure::NotFound(format!("there is no environment {name}; there is: {}", names.join(", "))).into())
}

async fn set(
    common: &Common,
    api: &Api,
    project: &Project,
    group: &Group,
    values: &[String],
    place: Option<String>,
) -> Result<ExitCode> {
    let mut wanted = BTreeMap::new();
    for pair in values {
        let (key, value) = pair.split_once('=').with_context(|| format!("{pair:?} is no KEY=VALUE"))?;
        if wanted.insert(key, value).is_some() {
            bail!("{key} stands there twice");
        }
    }
    let wish = json!({ "group": group, "place": place, "values": wanted });
    let answer = api.post(&format!("/projects/{project}/config"), &wish).await?;
    common.output.print(&answer, |answer| committed(answer, &format!("config {group}")));
    Ok(ExitCode::SUCCESS)
}

/// What a command that writes one commit says.
pub fn committed(answer: &Value, what: &str) -> String {
    match answer["commit"].as_str() {
        Some(commit) => format!("✔ {what}: commit {}\n", &commit[..commit.len().min(8)]),
        None => format!("{what}: nothing to change\n"),
    }
}

fn listed(rows: &[SettingRow]) -> String {
    let mut lines = Vec::new();
    for row in rows {
        for (environment, cell) in &row.environments {
            let value = if row.secret { "set".to_owned() } else { short(&cell.value) };
            let kind = if row.secret { "secret" } else { "config" };
            lines.push(vec![
                kind.to_owned(),
                row.group.to_string(),
                row.key.clone(),
                environment.to_string(),
                value,
                cell.place.clone(),
            ]);
        }
    }
    table(&["KIND", "NAME", "KEY", "ENVIRONMENT", "VALUE", "SET IN"], &lines)
}

/// A key that is not the same in two environments.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    group: Group,
    key: String,
    secret: bool,
    /// `None`: it has no value there.
    from: Option<Side>,
    to: Option<Side>,
}

#[derive(Debug, PartialEq, Eq, serde::Serialize)]
struct Side {
    /// Of a secret: that it is set.
    value: String,
    place: String,
}

impl Difference {
    fn of(row: &SettingRow, from: &Environment, to: &Environment) -> Option<Self> {
        let (a, b) = (row.environments.get(from), row.environments.get(to));
        if a.map(|cell| &cell.value) == b.map(|cell| &cell.value) {
            return None;
        }
        let side = |cell: &model::views::SettingCell| Side {
            value: if row.secret { "set".to_owned() } else { cell.value.clone() },
            place: cell.place.clone(),
        };
        let (from, to) = (a.map(side), b.map(side));
        Some(Self { group: row.group.clone(), key: row.key.clone(), secret: row.secret, from, to })
    }
}

fn told(differences: &[Difference], from: &Environment, to: &Environment) -> String {
    if differences.is_empty() {
        return format!("{from} and {to} are configured alike\n");
    }
    let side = |side: &Option<Side>| {
        side.as_ref().map_or("missing".to_owned(), |s| format!("{} ({})", short(&s.value), s.place))
    };
    let row = |d: &Difference| {
        let note = if d.secret && d.from.is_some() && d.to.is_some() { "differs" } else { "" };
        let kind = if d.secret { "secret" } else { "config" };
        vec![kind.to_owned(), d.group.to_string(), d.key.clone(), side(&d.from), side(&d.to), note.to_owned()]
    };
    let rows: Vec<Vec<String>> = differences.iter().map(row).collect();
    table(&["KIND", "NAME", "KEY", from.as_str(), to.as_str(), ""], &rows)
}

/// The first line of a value, cut where a table would become too wide.
fn short(value: &str) -> String {
    const WIDTH: usize = 60;
    let line = value.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(WIDTH).collect();
    if cut.len() == value.trim_end_matches('\n').len() { cut } else { format!("{cut}…") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::views::SettingCell;

    fn row(key: &str, secret: bool, cells: &[(&str, &str, &str)]) -> SettingRow {
        let cell = |value: &str, place: &str| SettingCell { value: value.into(), place: place.into() };
        let environments = cells.iter().map(|(e, v, p)| (e.parse().unwrap(), cell(v, p))).collect();
        SettingRow { group: "common".parse().unwrap(), key: key.into(), secret, environments }
    }

    #[test]
    fn config_diff_shows_what_differs_and_of_secrets_only_that() {
        let rows = [
            row("LEVEL", false, &[("dev", "info", "default"), ("prod", "warn", "prod")]),
            row("SAME", false, &[("dev", "x", "default"), ("prod", "x", "prod")]),
            row("ONLY", false, &[("prod", "first\nsecond\n", "eu")]),
            row("PASSWORD", true, &[("dev", "sealed:1", "dev"), ("prod", "sealed:2", "prod")]),
            row("TOKEN", true, &[("dev", "sealed:1", "dev")]),
        ];
        let (dev, prod): (Environment, Environment) = ("dev".parse().unwrap(), "prod".parse().unwrap());
        let differences: Vec<_> = rows.iter().filter_map(|row| Difference::of(row, &dev, &prod)).collect();
        let expected = "\
KIND    NAME    KEY       dev             prod
config  common  LEVEL     info (default)  warn (prod)
config  common  ONLY      missing         first… (eu)
secret  common  PASSWORD  set (dev)       set (prod)   differs
secret  common  TOKEN     set (dev)       missing
";
        assert_eq!(told(&differences, &dev, &prod), expected);
        assert!(!serde_json::to_string(&differences).unwrap().contains("sealed"));
        assert_eq!(told(&[], &dev, &prod), "dev and prod are configured alike\n");
    }
}
