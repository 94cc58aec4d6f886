use super::Common;
use crate::up::{OldRegistry, Options, Wishes};
use anyhow::Result;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Run everything on this machine, in the foreground
///
/// Ctrl-C stops the control process; containers and the gateway run on, and the next `up` takes them over.
/// `trimtab down` stops everything.
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// Where the gateway listens; git, the Kubernetes API and SSH take the next three ports. Port 0 picks free ones once and keeps them
    /// [default: 127.0.0.1:7180]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Run no containers even where that is possible: Pods are simulated
    #[arg(long)]
    simulate: bool,
    /// Take the place of the process that runs on this data directory, and of its gateway: an upgrade without a refused
    /// request. Addresses, --simulate and --allow-exec stay as they are; if this program does not start, the other goes on
    #[arg(long)]
    replace: bool,
    /// A program that kubeconfigs of other clusters may run for their credentials; may be given several times
    #[arg(long, value_name = "PROGRAM")]
    allow_exec: Vec<String>,
    /// First take a project in from its config repository: anything that git reads, with its journal and history, and with the
    /// repositories of environments that lie beside it (…/config.git, …/config.prod.git). What is not in it (images, application
    /// sources, keys) is held, with the command that brings it
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// A registry that holds pinned images which are not here: they are fetched by digest
    #[arg(long, value_name = "HOST:PORT")]
    registry: Option<String>,
    /// The token for it stands in this file
    #[arg(long, value_name = "FILE", requires = "registry")]
    registry_token_file: Option<std::path::PathBuf>,
}

pub fn run(common: &Common, args: UpArgs) -> Result<ExitCode> {
    let level = std::env::var("TRIMTAB_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .init();
    let registry =
        args.registry.map(|address| OldRegistry::new(address, args.registry_token_file.as_deref())).transpose()?;
    let wishes = Wishes {
        listen: args.listen,
        options: Options { simulate: args.simulate, allow_exec: args.allow_exec },
        replace: args.replace,
        from: args.from,
        registry,
        output: common.output,
    };
    crate::up::run(&common.layout()?, wishes)
}
