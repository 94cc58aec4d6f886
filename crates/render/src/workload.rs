//! Workloads that Trimtab generates for a component: a Deployment, and a Service if it listens on anything.

use crate::check::{check, check_settings};
use crate::error::Error;
use crate::settings::{Settings, Wiring, wiring};
use crate::test_run::{Tested, test_run};
use model::config::{ComponentType, Endpoint, EnvironmentFile, Visibility};
use model::names::workload_namespace;
use model::{
    Component, ComponentFile, Digest, Environment, LABEL_COMPONENT, LABEL_ENVIRONMENT, LABEL_PROJECT, Manifests, Pin,
    Project,
};
use serde_json::{Map, Value, json};

/// Annotation of the Pod template: the build that runs.
const ANNOTATION_BUILD: &str = "trimtab.dev/build";
/// Annotation of the Pod template: digest of everything else in it. An equal template rolls nothing; an unequal one can
/// be told from the one before by this alone.
pub(crate) const ANNOTATION_TEMPLATE: &str = "trimtab.dev/template";
/// Annotation of the Pod template: keyed digests of the secrets that the Pods are given.
const ANNOTATION_SECRETS: &str = "trimtab.dev/secrets";
/// So many old ReplicaSets stay for `kubectl rollout undo`; Trimtab itself goes back by a commit.
const HISTORY: u32 = 3;
/// A rollout that makes no progress for this long is Degraded.
const DEADLINE_SECONDS: u32 = 120;

/// Everything that a generated workload depends on.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What runs, as its repository describes it.
    pub component: &'a ComponentFile,
    /// Which build of it.
    pub pin: &'a Pin,
    /// Where.
    pub environment: &'a Environment,
    /// What is different there.
    pub file: &'a EnvironmentFile,
    /// Configuration and secrets that it is given there.
    pub settings: &'a Settings,
}

/// The objects of one component in one environment: a Deployment; before it a Service if there are endpoints, and what
/// it is configured with. Values of secrets are masked, see [`Sealed`](model::settings::Sealed).
/// The namespace is not among them, see [`namespace`].
///
/// # Errors
/// A field that no valid object can be made of.
pub fn render(input: &Input<'_>) -> Result<Manifests, Error> {
    if input.component.kind == ComponentType::TestRunner {
        return test_run(input, &Tested::default());
    }
    check(input.component, input.file)?;
    check_settings(input.component, input.settings)?;
    if input.pin.image.is_none() {
        let problem = format!("the pin of {} names none, and the component is no chart", input.pin.build);
        return Err(Error::Field { component: input.component.component.clone(), field: "image".into(), problem });
    }
    let wiring = wiring(&input.component.component, input.settings);
    let mut objects = Vec::new();
    let mut notes = Vec::new();
    if !input.component.endpoints.is_empty() {
        objects.push(service(input));
    } else if input.component.kind != ComponentType::Worker {
        notes.push(format!("component {} has no endpoint: nothing can reach it", input.component.component));
    }
    objects.extend(wiring.objects.iter().map(|(kind, object)| setting(input, kind, object)));
    objects.push(deployment(input, &wiring));
    Ok(Manifests { objects, notes, ..Manifests::default() })
}

/// The namespace `<project>-<environment>`, labelled as claimed by the project.
pub fn namespace(project: &Project, environment: &Environment) -> Value {
    let name = workload_namespace(project, environment);
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/managed-by": "trimtab",
                LABEL_PROJECT: project,
                LABEL_ENVIRONMENT: environment,
            },
        },
    })
}

/// The host under which the gateway serves a component: `<component>.<domain>`.
pub fn public_host(
    component: &Component,
    environment: &Environment,
    project: &Project,
    file: &EnvironmentFile,
) -> String {
    format!("{component}.{}", public_domain(environment, project, file))
}

/// Under which an environment has its hosts: its own domain, else `<environment>.<project>.localhost`.
pub fn public_domain(environment: &Environment, project: &Project, file: &EnvironmentFile) -> String {
    file.domain.as_ref().map_or_else(|| format!("{environment}.{project}.localhost"), ToString::to_string)
}

/// The endpoint that the gateway serves, with its name; there is at most one.
pub fn public_endpoint(component: &ComponentFile) -> Option<(&str, &Endpoint)> {
    let mut endpoints = component.endpoints.iter().map(|(name, endpoint)| (name.as_str(), endpoint));
    endpoints.find(|(_, endpoint)| endpoint.visibility == Visibility::Public)
}

fn deployment(input: &Input<'_>, wiring: &Wiring) -> Value {
    let overridden = input.file.overrides.get(&input.component.component);
    let replicas = overridden.and_then(|o| o.replicas).or(input.component.workload.replicas).unwrap_or(1);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(input),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": selector(input)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "revisionHistoryLimit": HISTORY,
            "progressDeadlineSeconds": DEADLINE_SECONDS,
            "template": template(input, wiring),
        },
    })
}

pub(crate) fn template(input: &Input<'_>, wiring: &Wiring) -> Value {
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "containers": [container(input, wiring)],
    });
    if !wiring.volumes.is_empty() {
        spec["volumes"] = json!(wiring.volumes);
    }
    if let Some(seconds) = input.component.workload.termination_grace_period_seconds {
        spec["terminationGracePeriodSeconds"] = json!(seconds);
    }
    let mut annotations = json!({
        ANNOTATION_BUILD: input.pin.build,
        ANNOTATION_TEMPLATE: template_digest(&spec),
    });
    if !wiring.sealed.is_empty() {
        annotations[ANNOTATION_SECRETS] = json!(wiring.sealed);
    }
    json!({
        "metadata": {
            "labels": labels(input),
            "annotations": annotations,
        },
        "spec": spec,
    })
}

/// A ConfigMap or Secret: complete, and without the build's number, since it may not differ from build to build.
pub(crate) fn setting(input: &Input<'_>, kind: &str, object: &Value) -> Value {
    let mut metadata = metadata(input);
    metadata["name"] = object["metadata"]["name"].clone();
    if let Some(labels) = metadata["labels"].as_object_mut() {
        labels.shift_remove("app.kubernetes.io/version");
    }
    let mut complete = json!({"apiVersion": "v1", "kind": kind, "metadata": metadata});
    for (field, value) in object.as_object().into_iter().flatten().filter(|(field, _)| *field != "metadata") {
        complete[field] = value.clone();
    }
    complete
}

/// What [`ANNOTATION_TEMPLATE`] says of the Pods' spec.
pub(crate) fn template_digest(spec: &Value) -> String {
    Digest::of(spec.to_string().as_bytes()).hex()[..16].to_owned()
}

fn container(input: &Input<'_>, wiring: &Wiring) -> Value {
    let workload = &input.component.workload;
    let mut container = Map::new();
    container.insert("name".into(), json!(input.component.component));
    container.insert("image".into(), json!(input.pin.image));
    if !workload.command.is_empty() {
        container.insert("command".into(), json!(workload.command));
    }
    if !workload.args.is_empty() {
        container.insert("args".into(), json!(workload.args));
    }
    if !wiring.env_from.is_empty() {
        container.insert("envFrom".into(), json!(wiring.env_from));
    }
    let mut variables = workload.env.clone();
    if let Some(overridden) = input.file.overrides.get(&input.component.component) {
        variables.extend(overridden.env.clone());
    }
    if !variables.is_empty() {
        let list: Vec<_> =
            variables.iter().map(|(name, value)| json!({"name": name, "value": literal(value)})).collect();
        container.insert("env".into(), Value::Array(list));
    }
    let endpoints = &input.component.endpoints;
    if !endpoints.is_empty() {
        let port = |(name, e): (&String, &Endpoint)| json!({"name": name, "containerPort": e.port, "protocol": "TCP"});
        container.insert("ports".into(), endpoints.iter().map(port).collect());
    }
    let limits = [("cpu", &workload.resources.cpu), ("memory", &workload.resources.memory)];
    let limits: Map<_, _> = limits.iter().filter_map(|(name, v)| Some(((*name).into(), json!(v.as_ref()?)))).collect();
    if !limits.is_empty() {
        container.insert("resources".into(), json!({"limits": limits}));
    }
    if let Some(probe) = probe(input.component) {
        container.insert("readinessProbe".into(), probe);
    }
    if !wiring.mounts.is_empty() {
        container.insert("volumeMounts".into(), json!(wiring.mounts));
    }
    container.insert("securityContext".into(), json!({"allowPrivilegeEscalation": false}));
    Value::Object(container)
}

/// Kubernetes expands `$(NAME)` in values and halves `$$`; what people write here is meant as it stands.
fn literal(value: &str) -> String {
    if value.contains("$(") || value.contains("$$") { value.replace('$', "$$") } else { value.to_owned() }
}

/// Ready as soon as the first endpoint (by name) answers; asked every second so that a rollout does not wait for the
/// probe's period.
fn probe(component: &ComponentFile) -> Option<Value> {
    let (name, _) = component.endpoints.iter().next()?;
    let path = component.workload.ready.as_ref().and_then(|probe| probe.path.as_ref());
    Some(match path {
        Some(path) => json!({"httpGet": {"path": path, "port": name}, "periodSeconds": 1, "timeoutSeconds": 2}),
        None => json!({"tcpSocket": {"port": name}, "periodSeconds": 1, "timeoutSeconds": 2}),
    })
}

/// Others of the environment reach the component by its name.
fn service(input: &Input<'_>) -> Value {
    let port =
        |(name, e): (&String, &Endpoint)| json!({"name": name, "port": e.port, "targetPort": name, "protocol": "TCP"});
    let ports: Vec<_> = input.component.endpoints.iter().map(port).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(input),
        "spec": {"selector": selector(input), "ports": ports},
    })
}

pub(crate) fn metadata(input: &Input<'_>) -> Value {
    json!({
        "name": input.component.component,
        "namespace": workload_namespace(&input.component.project, input.environment),
        "labels": labels(input),
    })
}

/// What tells Pods of this component from all others. It may never change: a selector is immutable.
fn selector(input: &Input<'_>) -> Value {
    json!({
        LABEL_PROJECT: input.component.project,
        LABEL_ENVIRONMENT: input.environment,
        LABEL_COMPONENT: input.component.component,
    })
}

fn labels(input: &Input<'_>) -> Value {
    json!({
        "app.kubernetes.io/name": input.component.component,
        "app.kubernetes.io/instance": format!("{}-{}", input.component.component, input.environment),
        "app.kubernetes.io/version": input.pin.build.to_string(),
        "app.kubernetes.io/managed-by": "trimtab",
        LABEL_PROJECT: input.component.project,
        LABEL_ENVIRONMENT: input.environment,
        LABEL_COMPONENT: input.component.component,
    })
}
