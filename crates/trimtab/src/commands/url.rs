use super::Common;
use crate::instance::{Instance, Layout};
use anyhow::{Context, Result};
use model::{Component, Environment};
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
    /// The address of the project's config repository instead
    #[arg(long, conflicts_with_all = ["component", "env"])]
    config: bool,
    /// The address of the repository for git over SSH instead
    #[arg(long, conflicts_with = "env")]
    ssh: bool,
    /// A line for ~/.ssh/known_hosts instead: address and key of this instance's SSH server
    #[arg(long, conflicts_with_all = ["component", "env", "config", "ssh"])]
    known_hosts: bool,
}

pub async fn run(common: &Common, args: UrlArgs) -> Result<ExitCode> {
    if args.known_hosts {
        let layout = common.layout()?;
        let at = Instance::require(&layout)?.ssh()?;
        println!("[{}]:{} {}", at.ip(), at.port(), host_key(&layout)?.line);
        return Ok(ExitCode::SUCCESS);
    }
    let api = common.api()?;
    let project = common.project(&api).await?;
    if args.ssh {
        let name = args.component.as_ref().map_or("config", Component::as_str);
        println!("ssh://git@{}/{project}/{name}.git", Instance::require(&common.layout()?)?.ssh()?);
        return Ok(ExitCode::SUCCESS);
    }
    if args.config {
        println!("http://{}/{project}/config.git", Instance::require(&common.layout()?)?.control);
        return Ok(ExitCode::SUCCESS);
    }
    let (component, env) =
        (args.component.context("which component?")?, args.env.context("which environment? Give --env")?);
    let query = [("component", component.as_str()), ("env", env.as_str())];
    let answer = api.get(&format!("/projects/{project}/url"), &query).await?;
    println!("{}", answer["url"].as_str().unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

/// The public half of the SSH host key, as `up` wrote it.
pub fn host_key(layout: &Layout) -> Result<source::PublicKey> {
    let path = layout.ssh_host_key().with_extension("pub");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    source::PublicKey::parse(&text).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))
}
