use super::Common;
use crate::output::table;
use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::config::Kubeconfig;
use model::DataPlaneName;
use model::names::RegistryHost;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Other clusters that environments may run on
#[derive(Debug, clap::Args)]
pub struct DataPlaneArgs {
    #[command(subcommand)]
    command: DataPlaneCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DataPlaneCommand {
    /// Describe a cluster in the config repository and keep its kubeconfig on this instance
    ///
    /// The kubeconfig is never written to a repository. Given again, it replaces the one before.
    Add {
        /// How environments name it: `dataPlane: NAME`
        name: DataPlaneName,
        /// A file with a token or a client certificate
        #[arg(long, value_name = "FILE")]
        kubeconfig: PathBuf,
        /// Which context of the file [default: its current one]
        #[arg(long)]
        context: Option<String>,
        /// How its nodes reach the registry of this instance [default: the address of the control listener]
        #[arg(long, value_name = "HOST:PORT")]
        registry: Option<RegistryHost>,
        /// The addresses of its Pods can be reached from this machine: the gateway serves its public endpoints
        #[arg(long)]
        reachable: bool,
    },
    /// What is described, who runs there, and what is wrong
    List,
    /// Forget a cluster that no environment runs on
    Remove {
        /// Which
        name: DataPlaneName,
    },
}

pub async fn run(common: &Common, args: DataPlaneArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    let path = format!("/projects/{project}/dataplanes");
    match args.command {
        DataPlaneCommand::Add { name, kubeconfig, context, registry, reachable } => {
            let text = flattened(&kubeconfig, context.as_deref())?;
            let wish = json!({ "name": name, "kubeconfig": text, "context": context, "registry": registry, "reachable": reachable });
            let answer = api.post(&path, &wish).await?;
            common.output.print(&answer, |answer| added(&name, answer));
        }
        DataPlaneCommand::List => {
            let list = api.get(&path, &[]).await?;
            common.output.print(&list, listed);
        }
        DataPlaneCommand::Remove { name } => {
            let answer = api.delete(&format!("{path}/{name}"), &[], None).await?;
            common.output.print(&answer, |_| format!("data plane {name} is removed; its kubeconfig is deleted here\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn added(name: &DataPlaneName, answer: &Value) -> String {
    let answers = match (answer["version"].as_str(), answer["problem"].as_str()) {
        (Some(version), _) => format!("it answers: Kubernetes {version}"),
        (None, problem) => format!("it does not answer yet: {}", problem.unwrap_or_default()),
    };
    format!(
        "data plane {name}: {answers}\nan environment runs there with `dataPlane: {name}` in its file in the config repository\n"
    )
}

fn listed(list: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let planes = list.as_array().map(Vec::as_slice).unwrap_or_default();
    if planes.is_empty() {
        return "everything runs on the embedded data plane\n".to_owned();
    }
    let row = |plane: &Value| {
        let environments: Vec<String> = plane["environments"].as_array().into_iter().flatten().map(word).collect();
        let state = plane.get("problem").map_or_else(|| "answers".to_owned(), word);
        vec![word(&plane["name"]), word(&plane["registry"]), environments.join(", "), state]
    };
    table(&["NAME", "REGISTRY", "ENVIRONMENTS", "STATE"], &planes.iter().map(row).collect::<Vec<_>>())
}

/// The kubeconfig with the files that the chosen context names put into it.
fn flattened(path: &Path, context: Option<&str>) -> Result<String> {
    // The parser's words could quote a line with a secret.
    std::fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
    let read = Kubeconfig::read_from(path);
    let mut config = read.map_err(|_| anyhow!("{} is no kubeconfig that can be read", path.display()))?;
    let context = context.map(str::to_owned).or(config.current_context.clone()).unwrap_or_default();
    let Some(chosen) = config.contexts.iter().find(|c| c.name == context).and_then(|c| c.context.clone()) else {
        let names: Vec<&str> = config.contexts.iter().map(|c| c.name.as_str()).collect();
        bail!("{} has no context {context:?}; --context takes one of: {}", path.display(), names.join(", "));
    };
    let inline = |file: &mut Option<String>, data: &mut Option<String>| -> Result<()> {
        if let (Some(path), None) = (file.take(), &data) {
            let bytes = std::fs::read(&path).with_context(|| format!("reading {path}, which the kubeconfig names"))?;
            *data = Some(BASE64_STANDARD.encode(bytes));
        }
        Ok(())
    };
    let clusters = config.clusters.iter_mut().filter(|c| c.name == chosen.cluster);
    for cluster in clusters.filter_map(|named| named.cluster.as_mut()) {
        inline(&mut cluster.certificate_authority, &mut cluster.certificate_authority_data)?;
    }
    let mut value = serde_json::to_value(&config)?;
    let users = value["users"].as_array_mut().into_iter().flatten();
    for user in users.filter(|u| u["name"].as_str() == chosen.user.as_deref()) {
        for (file, data) in [
            ("client-certificate", "client-certificate-data"),
            ("client-key", "client-key-data"),
            ("tokenFile", "token"),
        ] {
            let Some(path) = user["user"][file].as_str().map(str::to_owned) else { continue };
            if user["user"].get(data).is_none_or(Value::is_null) {
                let bytes =
                    std::fs::read(&path).with_context(|| format!("reading {path}, which the kubeconfig names"))?;
                user["user"][data] = match file {
                    "tokenFile" => String::from_utf8_lossy(&bytes).trim().into(),
                    _ => BASE64_STANDARD.encode(bytes).into(),
                };
            }
            if let Some(fields) = user["user"].as_object_mut() {
                fields.remove(file);
            }
        }
    }
    Ok(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_a_kubeconfig_names_are_put_into_it() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("ca.pem", "CA"), ("token", "TOKEN\n"), ("key.pem", "KEY")] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let file = directory.path().join("config");
        let text = "clusters: [{name: c, cluster: {server: 'https://a', certificate-authority: ca.pem}}]\nusers: [{name: u, user: {tokenFile: token, client-key: key.pem}}]\ncontexts: [{name: edge, context: {cluster: c, user: u}}]\n";
        std::fs::write(&file, text).unwrap();
        let flat: Value = serde_json::from_str(&flattened(&file, Some("edge")).unwrap()).unwrap();
        let cluster = &flat["clusters"][0]["cluster"];
        assert_eq!(cluster["certificate-authority-data"], BASE64_STANDARD.encode("CA"));
        let user = &flat["users"][0]["user"];
        assert_eq!((user["token"].as_str(), user["client-key-data"].as_str()), (Some("TOKEN"), Some("S0VZ")));
        assert!(user.get("tokenFile").is_none() && cluster.get("certificate-authority").is_none());
        let error = format!("{:#}", flattened(&file, None).unwrap_err());
        assert!(error.contains("--context takes one of: edge"), "{error}");
    }
}
