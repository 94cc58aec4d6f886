//! Rules that the API server would enforce too late: with the component's own field names.

use crate::error::Error;
use crate::settings::Settings;
use model::ComponentFile;
use model::config::{EnvironmentFile, Visibility};
use model::settings::Use;
use std::collections::BTreeMap;

/// Longest name of a port in Kubernetes.
const PORT_NAME_BYTES_MAX: usize = 15;

pub(crate) fn check(component: &ComponentFile, environment: &EnvironmentFile) -> Result<(), Error> {
    let fail =
        |field: String, problem: String| Err(Error::Field { component: component.component.clone(), field, problem });
    let mut ports = BTreeMap::new();
    for (name, endpoint) in &component.endpoints {
        if let Some(problem) = port_name(name) {
            return fail(format!("endpoints.{name}"), problem);
        }
        if endpoint.port == 0 {
            return fail(format!("endpoints.{name}.port"), "must be 1 to 65535".into());
        }
        if let Some(other) = ports.insert(endpoint.port, name) {
            return fail(
                format!("endpoints.{name}.port"),
                format!("{} is the port of endpoint {other} already", endpoint.port),
            );
        }
    }
    let public: Vec<_> = component.endpoints.iter().filter(|(_, e)| e.visibility == Visibility::Public).collect();
    if let [_, (second, _), ..] = public[..] {
        return fail(format!("endpoints.{second}.visibility"), "only one endpoint of a component can be public".into());
    }
    if let Some(probe) = &component.workload.ready {
        if component.endpoints.is_empty() {
            return fail("workload.ready".into(), "needs an endpoint, whose port it asks".into());
        }
        if probe.path.as_ref().is_some_and(|p| !p.starts_with('/')) {
            return fail("workload.ready.path".into(), "must begin with '/'".into());
        }
    }
    let quantities = [("cpu", &component.workload.resources.cpu), ("memory", &component.workload.resources.memory)];
    for (name, value) in quantities {
        if let Some(value) = value.as_ref().filter(|v| !is_quantity(v)) {
            let problem = format!("{value:?} is not a quantity (500m, 2, 64Mi, 1Gi)");
            return fail(format!("workload.resources.{name}"), problem);
        }
    }
    let overridden = environment.overrides.get(&component.component);
    for (place, env) in [("workload.env", Some(&component.workload.env)), ("overrides.env", overridden.map(|o| &o.env))]
    {
        if let Some(name) = env.into_iter().flatten().map(|(name, _)| name).find(|name| !is_variable(name)) {
            return fail(
                place.into(),
                format!("{name:?} is no name of a variable (printable ASCII without '=' and blanks)"),
            );
        }
    }
    Ok(())
}

/// What a component may ask of ConfigGroups and secrets, and what it is given.
pub(crate) fn check_settings(component: &ComponentFile, settings: &Settings) -> Result<(), Error> {
    let fail =
        |field: String, problem: String| Err(Error::Field { component: component.component.clone(), field, problem });
    let workload = &component.workload;
    let mut mounted: BTreeMap<&str, &Use> = BTreeMap::new();
    for (field, uses) in [("workload.configGroups", &workload.config_groups), ("workload.secrets", &workload.secrets)] {
        for (n, one) in uses.iter().enumerate() {
            if uses[..n].iter().any(|other| other.name == one.name) {
                return fail(format!("{field}[{n}]"), format!("{} stands there twice", one.name));
            }
            let Some(path) = &one.mount_path else { continue };
            let field = format!("{field}[{n}].mountPath");
            if !path.starts_with('/')
                || path.len() < 2
                || path.split('/').any(|part| part == "..")
                || path.contains(':')
            {
                return fail(field, "must be an absolute path, not '/', without '..' and ':'".into());
            }
            if let Some(other) = mounted.insert(path.trim_end_matches('/'), one) {
                return fail(field, format!("{path} is where {} is mounted already", other.name));
            }
        }
    }
    for (n, group) in settings.groups.iter().enumerate() {
        let field = format!("workload.configGroups[{n}]");
        match (&group.mount_path, group.files.is_empty()) {
            (None, false) => {
                return fail(field, format!("{} has files: say where, {{name: {0}, mountPath: /…}}", group.name));
            }
            (Some(_), true) => return fail(field, format!("{} has no files to mount", group.name)),
            _ => {}
        }
    }
    for (n, secret) in settings.secrets.iter().enumerate().filter(|(_, secret)| secret.mount_path.is_none()) {
        let field = format!("workload.secrets[{n}]");
        for key in secret.values.keys() {
            if !is_variable(key) || key.contains(['-', '.']) {
                return fail(
                    field,
                    format!(
                        "{key} of {} is no name of a variable: mount it, {{name: {0}, mountPath: /…}}",
                        secret.name
                    ),
                );
            }
            if let Some(group) = settings.groups.iter().find(|group| group.data.contains_key(key)) {
                return fail(
                    field,
                    format!("{key} stands in secret {} and in ConfigGroup {}: rename one", secret.name, group.name),
                );
            }
        }
    }
    Ok(())
}

/// Port names of Kubernetes: a-z, 0-9 and single dashes inside, with a letter.
fn port_name(name: &str) -> Option<String> {
    let allowed = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && name.len() <= PORT_NAME_BYTES_MAX;
    (!allowed).then(|| {
        format!(
            "the name must have at most {PORT_NAME_BYTES_MAX} of a-z, 0-9 and single '-' inside, one a letter at least"
        )
    })
}

/// `<digits>[.<digits>]` with a suffix of Kubernetes; no sign, because nothing here can be negative.
fn is_quantity(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let whole = number.bytes().any(|b| b.is_ascii_digit()) && number.matches('.').count() <= 1;
    let suffixes = ["", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    whole && suffixes.contains(&suffix)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'=')
}
