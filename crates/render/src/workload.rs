//! Workloads that Trimtab generates for a component: a Deployment, and a headless Service if it listens on anything.

use crate::check::check;
use crate::error::Error;
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
const ANNOTATION_TEMPLATE: &str = "trimtab.dev/template";
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
}

/// The objects of one component in one environment: a Deployment, and a Service before it if there are endpoints.
/// The namespace is not among them, see [`namespace`].
///
/// # Errors
/// A field that no valid object can be made of.
pub fn render(input: &Input<'_>) -> Result<Manifests, Error> {
    check(input.component, input.file)?;
    let mut objects = Vec::new();
    let mut notes = Vec::new();
    if !input.component.endpoints.is_empty() {
        objects.push(service(input));
    } else if input.component.kind != ComponentType::Worker {
        notes.push(format!("component {} has no endpoint: nothing can reach it", input.component.component));
    }
    objects.push(deployment(input));
    Ok(Manifests { objects, notes })
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

/// The host under which the gateway serves a component: `<component>.<environment>.<project>.localhost`.
pub fn public_host(component: &Component, environment: &Environment, project: &Project) -> String {
    format!("{component}.{environment}.{project}.localhost")
}

/// The endpoint that the gateway serves, with its name; there is at most one.
pub fn public_endpoint(component: &ComponentFile) -> Option<(&str, &Endpoint)> {
    let mut endpoints = component.endpoints.iter().map(|(name, endpoint)| (name.as_str(), endpoint));
    endpoints.find(|(_, endpoint)| endpoint.visibility == Visibility::Public)
}

fn deployment(input: &Input<'_>) -> Value {
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
            "template": template(input),
        },
    })
}

fn template(input: &Input<'_>) -> Value {
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "containers": [container(input)],
    });
    if let Some(seconds) = input.component.workload.termination_grace_period_seconds {
        spec["terminationGracePeriodSeconds"] = json!(seconds);
    }
    let digest = Digest::of(spec.to_string().as_bytes());
    json!({
        "metadata": {
            "labels": labels(input),
            "annotations": {
                ANNOTATION_BUILD: input.pin.build,
                ANNOTATION_TEMPLATE: digest.hex()[..16],
            },
        },
        "spec": spec,
    })
}

fn container(input: &Input<'_>) -> Value {
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

/// Headless: names resolve to the Pods themselves.
fn service(input: &Input<'_>) -> Value {
    let port =
        |(name, e): (&String, &Endpoint)| json!({"name": name, "port": e.port, "targetPort": name, "protocol": "TCP"});
    let ports: Vec<_> = input.component.endpoints.iter().map(port).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(input),
        "spec": {"clusterIP": "None", "selector": selector(input), "ports": ports},
    })
}

fn metadata(input: &Input<'_>) -> Value {
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
