//! A component that tests: a Job for each state of its environment.

use crate::check::{check, check_settings};
use crate::error::Error;
use crate::settings::wiring;
use crate::workload::{Input, metadata, setting, template};
use model::{Digest, Manifests};
use serde_json::{Value, json};

/// A run that takes longer has failed.
const SECONDS_MAX: u32 = 1800;
/// Digits of what tells one run from another.
const RUN_DIGITS: usize = 10;

/// What stands in the environment beside the tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tested<'a> {
    /// `1.4.0`, if that is all that stands there.
    pub release: Option<&'a str>,
    /// `api-1 web-2`.
    pub builds: &'a str,
    /// Tells this state of the environment from all others: each is tested once.
    pub state: &'a str,
}

/// The Job that tests this state of the environment, and before it what it is configured with. It is told where it runs
/// by `TRIMTAB_ENVIRONMENT`, `TRIMTAB_RELEASE` and `TRIMTAB_BUILDS`. None in an environment of production, and where
/// `overrides` says 0 replicas; 1 there says otherwise.
///
/// # Errors
/// A field that no valid object can be made of.
pub fn test_run(input: &Input<'_>, tested: &Tested<'_>) -> Result<Manifests, Error> {
    check(input.component, input.file)?;
    check_settings(input.component, input.settings)?;
    let name = &input.component.component;
    if !input.component.endpoints.is_empty() {
        let problem = "a testRunner answers nobody: take them away".to_owned();
        return Err(Error::Field { component: name.clone(), field: "endpoints".into(), problem });
    }
    let wanted = input.file.overrides.get(name).and_then(|differs| differs.replicas);
    if wanted.map_or(input.file.production, |replicas| replicas == 0) {
        let why = if wanted.is_some() { "overrides say so" } else { "production: overrides can say 1 replica" };
        let notes = vec![format!("{name} does not run in {}: {why}", input.environment)];
        return Ok(Manifests { notes, ..Manifests::default() });
    }
    let wiring = wiring(name, input.settings);
    let mut objects: Vec<Value> = wiring.objects.iter().map(|(kind, object)| setting(input, kind, object)).collect();
    let mut template = template(input, &wiring);
    template["spec"]["restartPolicy"] = json!("Never");
    let told = [
        ("TRIMTAB_ENVIRONMENT", Some(input.environment.as_str())),
        ("TRIMTAB_RELEASE", tested.release),
        ("TRIMTAB_BUILDS", Some(tested.builds)),
    ];
    let mut variables: Vec<Value> =
        told.iter().filter_map(|(name, value)| Some(json!({"name": name, "value": (*value)?}))).collect();
    let container = &mut template["spec"]["containers"][0];
    variables.extend(container["env"].as_array().into_iter().flatten().cloned());
    container["env"] = json!(variables);
    // A template of a Job never changes, and neither does what it has tested.
    let run = Digest::of(format!("{} {template}", tested.state).as_bytes()).hex()[..RUN_DIGITS].to_owned();
    let mut metadata = metadata(input);
    metadata["name"] = json!(format!("{name}-{run}"));
    objects.push(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"backoffLimit": 0, "activeDeadlineSeconds": SECONDS_MAX, "template": template},
    }));
    Ok(Manifests { objects, ..Manifests::default() })
}
