use super::Common;
use crate::client::Api;
use crate::instance::{Instance, Layout};
use crate::output::say;
use anyhow::{Context, Result};
use model::flow::Repository;
use model::views::ProjectStatus;
use model::{Component, Environment, Project};
use std::process::ExitCode;

/// Print the public address of a component, or of the config repository
#[derive(Debug, clap::Args)]
pub struct UrlArgs {
    /// Which component
    #[arg(required_unless_present_any = ["config", "known_hosts"])]
    component: Option<Component>,
    /// In which environment
    #[arg(long, required_unless_present_any = ["config", "ssh", "known_hosts"])]
    env: Option<Environment>,
    /// The address of the project's config repository instead; with --env, of the environment's own
    #[arg(long, conflicts_with = "component")]
    config: bool,
    /// The address of the repository for git over SSH instead
    #[arg(long)]
    ssh: bool,
    /// A line for ~/.ssh/known_hosts instead: address and key of this instance's SSH server
    #[arg(long, conflicts_with_all = ["component", "env", "config", "ssh"])]
    known_hosts: bool,
}

pub async fn run(common: &Common, args: UrlArgs) -> Result<ExitCode> {
    if args.known_hosts {
        let layout = common.layout()?;
        let at = Instance::require(&layout)?.ssh()?;
        say(&format!("[{}]:{} {}\n", at.ip(), at.port(), host_key(&layout)?.line));
        return Ok(ExitCode::SUCCESS);
    }
    let api = common.api()?;
    let project = common.project(&api).await?;
    if args.ssh || args.config {
        let repository = repository(&api, project, &args).await?;
        let instance = Instance::require(&common.layout()?)?;
        say(&match args.ssh {
            true => format!("ssh://git@{}/{repository}.git\n", instance.ssh()?),
            false => format!("http://{}/{repository}.git\n", instance.control),
        });
        return Ok(ExitCode::SUCCESS);
    }
    let (component, env) =
        (args.component.context("which component?")?, args.env.context("which environment? Give --env")?);
    let query = [("component", component.as_str()), ("env", env.as_str())];
    let answer = api.get(&format!("/projects/{project}/url"), &query).await?;
    say(&format!("{}\n", answer["url"].as_str().unwrap_or_default()));
    Ok(ExitCode::SUCCESS)
}

/// The one that is asked for: a component's, an environment's own, or the project's.
async fn repository(api: &Api, project: Project, args: &UrlArgs) -> Result<Repository> {
    if let Some(component) = &args.component {
        return Ok(Repository { project, name: component.to_string() });
    }
    let Some(env) = &args.env else { return Ok(Repository::config(&project)) };
    let status = api.get(&format!("/projects/{project}/status"), &[]).await?;
    let status: ProjectStatus = serde_json::from_value(status)?;
    let found = status.environments.iter().find(|one| one.name == *env);
    let found = found.with_context(|| format!("there is no environment {env} in {project}"))?;
    Ok(found.repository.clone().unwrap_or_else(|| Repository::config(&project)))
}

/// The public half of the SSH host key, as `up` wrote it.
pub fn host_key(layout: &Layout) -> Result<source::PublicKey> {
    let path = layout.ssh_host_key().with_extension("pub");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    source::PublicKey::parse(&text).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))
}
