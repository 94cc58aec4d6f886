//! The command line: one file per command; the doc comment is the help.

mod approve;
mod at;
mod audit;
mod backup;
mod change;
mod chart;
mod charts;
mod check;
mod config;
mod credential;
mod dataplane;
mod diff;
mod down;
mod env;
mod explain;
mod history;
mod image;
mod init;
mod key;
mod kubeconfig;
mod logs;
mod policy;
mod promote;
mod reference;
mod release;
mod render;
mod restore;
mod rollback;
mod secret;
mod status;
mod token;
mod ui;
mod up;
mod url;
mod user;
mod window;

use crate::client::{Api, Failure, Instead};
use crate::instance::Layout;
use crate::output::Output;
use anyhow::{Context, Result, bail};
use clap::{CommandFactory, Parser, Subcommand};
use model::Project;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// GitOps continuous delivery in one binary: from `git push` to production.
///
/// Exit codes: 0 done · 1 failed · 2 wrong usage · 3 no such thing · 4 refused, or held by a gate · 5 no instance answers.
#[derive(Debug, Parser)]
#[command(name = "trimtab", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// Where everything is kept [default: $XDG_DATA_HOME/trimtab or ~/.local/share/trimtab]
    #[arg(long, global = true, env = "TRIMTAB_DATA", hide_env = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Which project [default: the one of trimtab.yaml here or above, else the only one]
    #[arg(long, global = true, value_name = "NAME")]
    project: Option<Project>,
    /// What to print
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::UpArgs),
    Down(down::DownArgs),
    Init(init::InitArgs),
    Status(status::StatusArgs),
    Promote(promote::PromoteArgs),
    Rollback(rollback::RollbackArgs),
    Config(config::ConfigArgs),
    Secret(secret::SecretArgs),
    Approve(approve::ApproveArgs),
    Cancel(approve::CancelArgs),
    Change(change::ChangeArgs),
    Release(release::ReleaseArgs),
    Certify(release::CertifyArgs),
    Check(check::CheckArgs),
    Window(window::WindowArgs),
    Policy(policy::PolicyArgs),
    Env(env::EnvArgs),
    Explain(explain::ExplainArgs),
    History(history::HistoryArgs),
    At(at::AtArgs),
    Audit(audit::AuditArgs),
    Diff(diff::DiffArgs),
    Logs(logs::LogsArgs),
    Url(url::UrlArgs),
    Ui(ui::UiArgs),
    Render(render::RenderArgs),
    Kubeconfig(kubeconfig::KubeconfigArgs),
    Image(image::ImageArgs),
    Chart(charts::ChartsArgs),
    User(user::UserArgs),
    Key(key::KeyArgs),
    Token(token::TokenArgs),
    #[command(name = "dataplane")]
    DataPlane(dataplane::DataPlaneArgs),
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
    #[command(hide = true)]
    Credential(credential::CredentialArgs),
    #[command(hide = true)]
    Reference(reference::ReferenceArgs),
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match arguments.command {
        Command::Up(args) => up::run(&arguments.common, args),
        Command::Down(args) => threads(Box::pin(down::run(&arguments.common, args))),
        Command::Restore(args) => restore::run(&arguments.common, args),
        command => one_thread(Box::pin(run(&arguments.common, command))),
    };
    match result {
        Ok(code) => code,
        Err(error) if error.is::<Instead>() => {
            let instead = error.downcast_ref::<Instead>().expect("it is one");
            arguments.common.output.print(&json!({ "opened": instead.0 }), |_| format!("{}\n", instead.0));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("trimtab: {error:#}");
            ExitCode::from(match error.downcast_ref::<Failure>() {
                Some(Failure::NotFound(_)) => 3,
                Some(Failure::Refused(_)) => 4,
                Some(Failure::Unreachable(_)) => 5,
                None => 1,
            })
        }
    }
}

async fn run(common: &Common, command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(_) | Command::Down(_) | Command::Restore(_) => unreachable!("they have their own runtime"),
        Command::Init(args) => init::run(common, args).await,
        Command::Status(args) => status::run(common, args).await,
        Command::Promote(args) => promote::run(common, args).await,
        Command::Rollback(args) => rollback::run(common, args).await,
        Command::Config(args) => config::run(common, args).await,
        Command::Secret(args) => secret::run(common, args).await,
        Command::Approve(args) => approve::approve(common, args).await,
        Command::Cancel(args) => approve::cancel(common, args).await,
        Command::Change(args) => change::run(common, args).await,
        Command::Release(args) => release::run(common, args).await,
        Command::Certify(args) => release::certify(common, args).await,
        Command::Check(args) => check::run(common, args).await,
        Command::Window(args) => window::run(common, args).await,
        Command::Policy(args) => policy::run(common, args).await,
        Command::Env(args) => env::run(common, args).await,
        Command::At(args) => at::run(common, args).await,
        Command::Audit(args) => audit::run(common, args).await,
        Command::Explain(args) => explain::run(common, args).await,
        Command::History(args) => history::run(common, args).await,
        Command::Diff(args) => diff::run(common, args).await,
        Command::Logs(args) => logs::run(common, args).await,
        Command::Url(args) => url::run(common, args).await,
        Command::Ui(args) => ui::run(common, args).await,
        Command::Render(args) => render::run(common, args).await,
        Command::Kubeconfig(args) => kubeconfig::run(common, args),
        Command::Image(args) => image::run(common, args).await,
        Command::Chart(args) => charts::run(common, args).await,
        Command::User(args) => user::run(common, args).await,
        Command::Key(args) => key::run(common, args).await,
        Command::Token(args) => token::run(common, args).await,
        Command::DataPlane(args) => dataplane::run(common, args).await,
        Command::Backup(args) => backup::run(common, args).await,
        Command::Credential(args) => credential::run(common, args),
        Command::Reference(args) => reference::run(&args, Arguments::command()),
    }
}

/// Boxed, because each runtime would else hold three copies of all commands.
type Work<'a> = futures::future::LocalBoxFuture<'a, Result<ExitCode>>;

fn threads(work: Work<'_>) -> Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn one_thread(work: Work<'_>) -> Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

impl Common {
    fn layout(&self) -> Result<Layout> {
        Layout::find(self.data_dir.as_deref())
    }

    fn api(&self) -> Result<Api> {
        Api::new(&self.layout()?)
    }

    /// `--project`, else the one of trimtab.yaml here or above, else the only one.
    async fn project(&self, api: &Api) -> Result<Project> {
        if let Some(project) = &self.project {
            return Ok(project.clone());
        }
        if let Some(file) = component_file(&std::env::current_dir()?)? {
            return Ok(file.project);
        }
        let all: Vec<Project> = serde_json::from_value(api.get("/projects", &[]).await?)?;
        match all.as_slice() {
            [only] => Ok(only.clone()),
            [] => bail!("there is no project yet: run `trimtab init` in a directory with a Dockerfile"),
            many => {
                let names: Vec<&str> = many.iter().map(Project::as_str).collect();
                bail!("which project? Give --project with one of: {}", names.join(", "))
            }
        }
    }
}

/// The nearest `trimtab.yaml`, from here up to the root of the working tree.
fn component_file(from: &Path) -> Result<Option<model::ComponentFile>> {
    for directory in from.ancestors() {
        let path = directory.join("trimtab.yaml");
        if path.is_file() {
            let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            return Ok(Some(yaml::from_str(&text, &path.display().to_string())?));
        }
        if directory.join(".git").exists() {
            break;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
