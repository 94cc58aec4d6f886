use super::Common;
use crate::client::token;
use crate::instance::Instance;
use crate::output::say;
use anyhow::{Context, Result};
use base64::Engine;
use std::process::ExitCode;

/// Print a kubeconfig for kubectl and other Kubernetes clients, with the token in TRIMTAB_TOKEN, else the administrator's
#[derive(Debug, clap::Args)]
pub struct KubeconfigArgs {}

pub fn run(common: &Common, _args: KubeconfigArgs) -> Result<ExitCode> {
    let layout = common.layout()?;
    let instance = Instance::require(&layout)?;
    let authority = layout.keys().join("ca.pem");
    let pem =
        std::fs::read(&authority).with_context(|| format!("reading {}: has `trimtab up` run?", authority.display()))?;
    let authority = base64::engine::general_purpose::STANDARD.encode(pem);
    let (server, token) = (instance.kubernetes, token(&layout)?);
    say(&format!(
        "apiVersion: v1
kind: Config
clusters:
- name: trimtab
  cluster:
    server: https://{server}
    certificate-authority-data: {authority}
users:
- name: trimtab
  user:
    token: {token}
contexts:
- name: trimtab
  context:
    cluster: trimtab
    user: trimtab
current-context: trimtab
"
    ));
    Ok(ExitCode::SUCCESS)
}
