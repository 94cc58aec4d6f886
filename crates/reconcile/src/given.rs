//! Secrets for values of charts: read at the admitted commit, as those of workloads are.

use crate::config::Config;
use model::Group;
use model::chart::SecretKey;
use model::config::ComponentFile;
use model::ports::{PortError, Secrets};
use model::settings::{Chain, Ciphertext};
use render::Given;
use std::collections::BTreeSet;

/// What is sealed behind a value of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedValue {
    /// Path of the value.
    pub path: String,
    /// Which secret.
    pub secret: SecretKey,
    /// As it stands in its file.
    pub sealed: Ciphertext,
}

/// All secrets that a component names.
pub fn named(file: &ComponentFile) -> BTreeSet<Group> {
    let workload = file.workload.secrets.iter().map(|used| &used.name);
    let values = file.chart.iter().flat_map(|rule| rule.secrets.values()).map(|secret| &secret.name);
    workload.chain(values).cloned().collect()
}

/// The secrets of a component's chart as they hold in one environment.
///
/// # Errors
/// For people: what is missing, with the command that sets it.
pub fn sealed(file: &ComponentFile, admitted: &Config, chain: &Chain) -> Result<Vec<SealedValue>, String> {
    let wanted = file.chart.iter().flat_map(|rule| &rule.secrets);
    let one = |(path, secret): (&String, &SecretKey)| {
        let SecretKey { name, key } = secret;
        let environment = &chain.environment;
        let command = format!("trimtab secret set {name} {key} --env {environment}");
        let at = format!("{}: chart.secrets.{path}", file.component);
        let found = match admitted.secrets.get(name) {
            None => return Err(format!("{at}: there is no secret {name}: {command}")),
            Some(Err(problems)) => return Err(problems.join("; ")),
            Some(Ok(found)) => found,
        };
        match found.keys.get(key).map(|values| chain.find(values)) {
            Some(Ok(Some((_, value)))) => {
                Ok(SealedValue { path: path.clone(), secret: secret.clone(), sealed: value.sealed.clone() })
            }
            Some(Ok(None)) | None => Err(format!("{at}: secret {name} has no {key} for {environment}: {command}")),
            Some(Err(several)) => {
                let several = several.join(" and ");
                Err(format!("{at}: {several} say different things about {key} for {environment}: {command}"))
            }
        }
    };
    wanted.map(one).collect()
}

/// In the open, for a render.
///
/// # Errors
/// The outer one: the keys cannot be read now. The inner one, for people.
pub fn opened(port: &dyn Secrets, sealed: &[SealedValue]) -> Result<Result<Vec<Given>, String>, PortError> {
    let mut given = Vec::with_capacity(sealed.len());
    for SealedValue { path, secret, sealed } in sealed {
        match port.open(sealed) {
            Ok(value) => given.push(Given { path: path.clone(), secret: secret.clone(), value }),
            Err(PortError::Terminal(why)) => {
                let SecretKey { name, key } = secret;
                return Ok(Err(format!("chart.secrets.{path}: {secret}: {why}: trimtab secret set {name} {key}")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(given))
}
