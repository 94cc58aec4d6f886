use super::Common;
use crate::output::table;
use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use model::policy::{PolicyAction, PolicyFile};
use model::views::{PolicyResult, PolicyStatus};
use model::{Component, Environment, Project};
use plan::policy::{Item, Part, Place, Policy, judge};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Rules in CEL over what would run: warn, ask for an approval, deny
///
/// They stand in policies/ of the config repository: `trimtab policy add` writes some to begin with.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// All policies, where they have a say, and what breaks them now
    List,
    /// What breaks policies, of what runs in an environment or of a file with manifests; changes nothing
    ///
    /// Exit code 4 if one denies.
    Test(TestArgs),
    /// Write policies of the starter set by one commit
    Add {
        /// Which: limits-set, no-latest-tag, no-privileged, signed-commits, trusted-registries [default: all]
        names: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct TestArgs {
    /// Files of policies, instead of those on main of the config repository
    files: Vec<PathBuf>,
    /// Against what runs in this environment
    #[arg(long)]
    env: Environment,
    /// Against these manifests, without asking anybody; `-` reads them from standard input
    #[arg(long, short, value_name = "FILE", requires = "files")]
    manifests: Option<PathBuf>,
    /// With --manifests: the environment is production
    #[arg(long, requires = "manifests")]
    production: bool,
}

pub async fn run(common: &Common, args: PolicyArgs) -> Result<ExitCode> {
    let test = match args.command {
        PolicyCommand::Test(test) => test,
        PolicyCommand::List => {
            let api = common.api()?;
            let project = common.project(&api).await?;
            let list = api.get(&format!("/projects/{project}/policies"), &[]).await?;
            let list: Vec<PolicyStatus> = serde_json::from_value(list)?;
            common.output.print(&list, |list| listed(list));
            return Ok(ExitCode::SUCCESS);
        }
        PolicyCommand::Add { names } => {
            let api = common.api()?;
            let project = common.project(&api).await?;
            let names: Vec<String> = names.into_iter().filter(|name| name != "starter").collect();
            let done = api.post(&format!("/projects/{project}/policies/starter"), &json!({ "names": names })).await?;
            common.output.print(&done, |done| match done["commit"].as_str() {
                Some(commit) => {
                    format!("written by commit {}: `trimtab policy list` shows what breaks them\n", &commit[..8])
                }
                None => "they stand there already\n".to_owned(),
            });
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut files = BTreeMap::new();
    for path in &test.files {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        files.insert(name, (path.clone(), text));
    }
    let results: Vec<PolicyResult> = match &test.manifests {
        Some(manifests) => offline(common, &test, manifests, &files)?,
        None => {
            let api = common.api()?;
            let project = common.project(&api).await?;
            let texts: BTreeMap<&String, &String> = files.iter().map(|(name, (_, text))| (name, text)).collect();
            let body = json!({ "env": test.env, "files": texts });
            serde_json::from_value(api.post(&format!("/projects/{project}/policies/test"), &body).await?)?
        }
    };
    common.output.print(&results, |results| told(results));
    Ok(match results.iter().any(|one| one.action == PolicyAction::Deny) {
        true => ExitCode::from(4),
        false => ExitCode::SUCCESS,
    })
}

/// Judges manifests of a file by policies of files.
fn offline(
    common: &Common,
    test: &TestArgs,
    manifests: &Path,
    files: &BTreeMap<String, (PathBuf, String)>,
) -> Result<Vec<PolicyResult>> {
    let mut policies = Vec::new();
    for (name, (path, text)) in files {
        let path = path.display().to_string();
        let file: PolicyFile = yaml::from_str(text, &path)?;
        let compiled = Policy::compile(name, &file).map_err(|mistakes| {
            let line = |m: &plan::policy::Mistake| match m.line {
                0 => format!("{path}: {}: {}", m.field, m.message),
                line => format!("{path}: {} (line {line}, column {}): {}", m.field, m.column, m.message),
            };
            anyhow!(mistakes.iter().map(line).collect::<Vec<_>>().join("\n"))
        });
        policies.push(compiled?);
    }
    let mut text = String::new();
    match manifests.as_os_str() == "-" {
        true => std::io::stdin().read_to_string(&mut text).map(drop).context("reading standard input")?,
        false => {
            text = std::fs::read_to_string(manifests).with_context(|| format!("reading {}", manifests.display()))?;
        }
    }
    let documents = yaml::documents(&text, &manifests.display().to_string(), yaml::Dialect::V2)?;
    let objects: Vec<Value> = documents.into_iter().map(|(object, _)| object).filter(Value::is_object).collect();
    if objects.is_empty() {
        bail!("{} holds no manifest", manifests.display());
    }
    let any: Project = "project".parse().expect("a label is a name");
    let project = common.project.clone().unwrap_or(any);
    let component: Component = "component".parse().expect("a label is a name");
    let item = |object| Item { object: Some(object), before: None, operation: model::flow::Action::Create };
    let part = Part {
        component: Some(&component),
        build: Value::Null,
        release: None,
        actor: String::new(),
        signed: false,
        items: objects.iter().map(item).collect(),
    };
    let place = Place {
        project: &project,
        environment: &test.env,
        production: test.production,
        groups: Vec::new(),
        plan: None,
    };
    Ok(judge(&policies, &place, &[part]))
}

fn told(results: &[PolicyResult]) -> String {
    if results.is_empty() {
        return "no policy is broken\n".to_owned();
    }
    results.iter().map(|one| format!("{}: {one}\n", one.action)).collect()
}

fn listed(policies: &[PolicyStatus]) -> String {
    if policies.is_empty() {
        return "there are no policies: `trimtab policy add` writes some to begin with\n".to_owned();
    }
    let row = |one: &PolicyStatus| {
        let environments: Vec<&str> = one.environments.iter().map(Environment::as_str).collect();
        let broken: usize = one.results.values().map(Vec::len).sum();
        let state = match (&one.file, one.problems.is_empty(), broken) {
            (None, ..) => "cannot be read".to_owned(),
            (Some(_), false, _) => "broken on main, the last good one holds".to_owned(),
            (Some(_), true, 0) => "holds".to_owned(),
            (Some(_), true, broken) => format!("broken {broken} times"),
        };
        vec![
            one.name.clone(),
            one.file.as_ref().map_or("-".to_owned(), |file| file.action.to_string()),
            if environments.is_empty() { "-".to_owned() } else { environments.join(", ") },
            state,
        ]
    };
    let rows: Vec<Vec<String>> = policies.iter().map(row).collect();
    let mut text = table(&["POLICY", "ACTION", "ENVIRONMENTS", "STATE"], &rows);
    let problems = policies.iter().flat_map(|one| one.problems.iter().cloned());
    let results = policies.iter().flat_map(|one| &one.results);
    let results = results.flat_map(|(environment, all)| all.iter().map(move |one| format!("{environment}: {one}")));
    let notes: Vec<String> = problems.chain(results).collect();
    if !notes.is_empty() {
        text.push_str(&format!("\n{}\n", notes.join("\n")));
    }
    text
}
