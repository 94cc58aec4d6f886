use super::Common;
use super::approve::summary;
use crate::client::Api;
use crate::output::table;
use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use model::Project;
use model::change::{Change, ChangeDetail, ChangeState, ChangeSummary, CheckState, Comment, NewCheck, NewComment};
use serde_json::{Value, json};
use std::process::{Command, ExitCode};

/// What is proposed for main: look at it, agree to it, merge it
///
/// A push to refs/for/main of a config or application repository opens a Change; so do commands that would commit to an
/// environment with `changes: reviewed`. Push with -o change=N or -o topic=NAME to add a patch set.
#[derive(Debug, clap::Args)]
pub struct ChangeArgs {
    #[command(subcommand)]
    command: ChangeCommand,
}

#[derive(Debug, Subcommand)]
enum ChangeCommand {
    /// Open Changes, with what blocks them
    List {
        /// And all that have ended
        #[arg(long)]
        all: bool,
    },
    /// What a Change would do to each environment, who agrees, what is said of it
    Show { number: u64 },
    /// What a Change differs from main, in files and in objects
    Diff {
        number: u64,
        /// Only the files
        #[arg(long)]
        files: bool,
    },
    /// Agree to the last patch set; another one voids it
    Approve {
        number: u64,
        /// Why; stands in the history
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Say something about a Change, a file of it, or a line
    Comment {
        number: u64,
        /// What
        text: String,
        /// About this file
        #[arg(long, value_name = "PATH")]
        file: Option<String>,
        /// About this line of it
        #[arg(long, requires = "file")]
        line: Option<u32>,
    },
    /// Report what a system found out about the last patch set
    Check {
        number: u64,
        /// Name of the check
        name: String,
        #[arg(value_enum)]
        state: StateArg,
        /// The commit that was looked at [default: that of the last patch set]
        #[arg(long)]
        commit: Option<model::CommitId>,
        /// What was found, or where that can be read
        #[arg(long, default_value = "")]
        message: String,
    },
    /// Bring a Change that nothing blocks to main
    Merge { number: u64 },
    /// Take a Change back
    Abandon {
        number: u64,
        /// Why; stands in the history
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Fetch the last patch set into the working tree here, as branch change-N
    Checkout { number: u64 },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StateArg {
    Running,
    Passed,
    Failed,
}

pub async fn run(common: &Common, args: ChangeArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    let of = |number: u64| format!("/projects/{project}/changes/{number}");
    match args.command {
        ChangeCommand::List { all } => {
            let closed = if all { "1000" } else { "0" };
            let changes = api.get(&format!("/projects/{project}/changes"), &[("closed", closed)]).await?;
            let changes: Vec<ChangeSummary> = serde_json::from_value(changes)?;
            common.output.print(&changes, |changes| list(changes));
        }
        ChangeCommand::Show { number } => {
            let detail: ChangeDetail = serde_json::from_value(api.get(&of(number), &[]).await?)?;
            common.output.print(&detail, show);
        }
        ChangeCommand::Diff { number, files } => {
            let detail: ChangeDetail = serde_json::from_value(api.get(&of(number), &[]).await?)?;
            let value =
                json!({ "files": detail.files, "plans": if files { Vec::new() } else { detail.plans.clone() } });
            common.output.print(&value, |_| diff(&detail, files));
        }
        ChangeCommand::Approve { number, reason } => {
            let entry = api.post(&format!("{}/approvals", of(number)), &json!({ "reason": reason })).await?;
            common.output.print(&entry, summary);
        }
        ChangeCommand::Comment { number, text, file, line } => {
            let said = NewComment { path: file, line, text };
            let answer = api.post(&format!("{}/comments", of(number)), &said).await?;
            common.output.print(&answer, |_| format!("Change {number} has your comment\n"));
        }
        ChangeCommand::Check { number, name, state, commit, message } => {
            let state = match state {
                StateArg::Running => CheckState::Running,
                StateArg::Passed => CheckState::Passed,
                StateArg::Failed => CheckState::Failed,
            };
            let found = NewCheck { check: name, commit, state, message };
            let answer = api.post(&format!("{}/checks", of(number)), &found).await?;
            common.output.print(&answer, |answer| {
                let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
                format!("Change {number}: check {} {}\n", text("name"), text("state").to_lowercase())
            });
        }
        ChangeCommand::Merge { number } => {
            let change = api.post(&format!("{}/merge", of(number)), &json!({})).await?;
            common.output.print(&change, ended);
        }
        ChangeCommand::Abandon { number, reason } => {
            let change = api.post(&format!("{}/abandon", of(number)), &json!({ "reason": reason })).await?;
            common.output.print(&change, ended);
        }
        ChangeCommand::Checkout { number } => {
            let detail: ChangeDetail = serde_json::from_value(api.get(&of(number), &[]).await?)?;
            return checkout(common, &api, &project, &detail.summary.change);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ended(change: &Value) -> String {
    let Ok(change) = serde_json::from_value::<Change>(change.clone()) else { return String::new() };
    let commit = change.status.commit.as_ref().map_or(String::new(), |commit| format!(" as {}", commit.short()));
    format!("Change {} is {}{commit}: {}\n", change.number, change.status.state, change.title())
}

fn list(changes: &[ChangeSummary]) -> String {
    if changes.is_empty() {
        return "nothing is proposed: git push origin HEAD:refs/for/main opens a Change\n".to_owned();
    }
    let row = |one: &ChangeSummary| {
        let change = &one.change;
        let state = match (change.status.state, one.blocked.first()) {
            (ChangeState::Open, Some(why)) => why.lines().next().unwrap_or_default().to_owned(),
            (ChangeState::Open, None) => "ready".to_owned(),
            (state, _) => state.to_string(),
        };
        let by = change.spec.author.clone();
        vec![change.number.to_string(), change.spec.repository.name.clone(), by, state, change.title().to_owned()]
    };
    let rows: Vec<Vec<String>> = changes.iter().map(row).collect();
    table(&["CHANGE", "REPOSITORY", "AUTHOR", "STATE", "TITLE"], &rows)
}

fn show(detail: &ChangeDetail) -> String {
    let change = &detail.summary.change;
    let (set, status) = (change.latest(), &change.status);
    let mut text = format!("Change {}: {}\n", change.number, change.title());
    for line in set.description.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    let patch = if set.number > 1 { format!(", patch set {}", set.number) } else { String::new() };
    text.push_str(&format!(
        "{}, by {}, for main of {}{patch} ({})\n{}\n",
        status.state,
        change.spec.author,
        change.spec.repository,
        set.commit.short(),
        detail.address
    ));
    for plan in &detail.plans {
        plan.lines().iter().for_each(|line| text.push_str(&format!("{line}\n")));
    }
    for check in &status.checks {
        let state = match check.state {
            CheckState::Running => "…",
            CheckState::Passed => "✔",
            CheckState::Failed => "✘",
        };
        let message = if check.state == CheckState::Failed { format!(": {}", check.message) } else { String::new() };
        text.push_str(&format!("{state} {}{message}\n", check.name));
    }
    if !detail.summary.approved_by.is_empty() {
        text.push_str(&format!("approved by {}\n", detail.summary.approved_by.join(", ")));
    }
    status.comments.iter().for_each(|comment| text.push_str(&said(comment)));
    detail.summary.blocked.iter().for_each(|why| text.push_str(&format!("blocked: {why}\n")));
    match (status.state, &status.closed_by, &status.commit) {
        (ChangeState::Open, ..) if detail.summary.blocked.is_empty() => {
            text.push_str(&format!("nothing blocks it: trimtab change merge {}\n", change.number));
        }
        (state, Some(by), commit) => {
            let commit = commit.as_ref().map_or(String::new(), |commit| format!(", as {}", commit.short()));
            text.push_str(&format!("{state} by {by}{commit}\n"));
        }
        _ => {}
    }
    text
}

fn said(comment: &Comment) -> String {
    let place = match (&comment.path, comment.line) {
        (Some(path), Some(line)) => format!(" on {path}:{line}"),
        (Some(path), None) => format!(" on {path}"),
        _ => String::new(),
    };
    let lines: String = comment.text.lines().map(|line| format!("  {line}\n")).collect();
    format!("{}{place}:\n{lines}", comment.by)
}

fn diff(detail: &ChangeDetail, files: bool) -> String {
    let mut text = String::new();
    for file in &detail.files {
        text.push_str(&format!("--- {}\n+++ {}\n{}", file.path, file.path, file.diff));
    }
    for plan in detail.plans.iter().filter(|plan| !files && !plan.objects.is_empty()) {
        for one in &plan.objects {
            text.push_str(&format!("--- {0}: {1}\n+++ {0}: {1}\n{2}", plan.environment, one.object, one.diff));
        }
    }
    text
}

/// In the working tree of its repository, wherever that was cloned from.
fn checkout(common: &Common, api: &Api, project: &Project, change: &Change) -> Result<ExitCode> {
    let repository = &change.spec.repository;
    let address = format!("{}/{project}/{}.git", api.address(), repository.name);
    let git = |args: &[&str]| -> Result<String> {
        let output = Command::new("git").args(args).output().context("git cannot be run")?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => bail!("git {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()),
        }
    };
    // A tree of another repository would get commits that have nothing in common with it.
    let base = change.latest().base.to_string();
    if git(&["cat-file", "-e", &format!("{base}^{{commit}}")]).is_err() {
        let known = git(&["remote"]).is_ok_and(|remotes| !remotes.is_empty());
        if !known {
            bail!("this is no working tree of {repository}: git clone {address}");
        }
    }
    let branch = format!("change-{}", change.number);
    let reference = Change::head_ref(change.number);
    let helper = "credential.helper=!trimtab credential";
    git(&["-c", helper, "fetch", "-q", &address, &reference])?;
    if git(&["merge-base", "HEAD", "FETCH_HEAD"]).is_err() {
        bail!("this working tree has nothing in common with {repository}: git clone {address}");
    }
    git(&["checkout", "-q", "-B", &branch, "FETCH_HEAD"])?;
    let value = json!({ "branch": branch, "commit": change.latest().commit });
    common.output.print(&value, |_| format!("{branch} is at {}\n", change.latest().commit.short()));
    Ok(ExitCode::SUCCESS)
}
