//! Objects that somebody else described become an environment's own: namespace, labels, image; and what may not come in.

use crate::error::Error;
use crate::kustomize::is_cluster_scoped;
use model::config::Allowance;
use model::names::workload_namespace;
use model::{
    ComponentFile, Environment, EnvironmentFile, LABEL_COMPONENT, LABEL_ENVIRONMENT, LABEL_PROJECT, ObjectId, Pin,
};
use serde_json::{Map, Value, json};

/// Whose the objects become.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The component that brings them.
    pub component: &'a ComponentFile,
    /// The build that runs.
    pub pin: &'a Pin,
    /// Where.
    pub environment: &'a Environment,
    /// What the environment allows.
    pub file: &'a EnvironmentFile,
}

/// Puts objects into the environment's namespace, labels them, and gives the component's image its digest.
///
/// The image is named `<component>` or `registry.trimtab.internal/<project>/<component>`, with any tag or digest.
///
/// # Errors
/// An object of another namespace; what the environment does not allow (objects of the whole cluster, `hostPath`,
/// privileged containers, the host's namespaces); no container with the component's image.
pub fn own(owner: &Owner<'_>, mut objects: Vec<Value>) -> Result<Vec<Value>, Error> {
    let namespace = workload_namespace(&owner.component.project, owner.environment);
    let mut matched = false;
    for object in &mut objects {
        let id = ObjectId::of(object);
        let fail = |problem: String| Err(refused(owner, format!("{id}: {problem}")));
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let scoped = is_cluster_scoped(version, &id.kind);
        if scoped && !allows(owner, Allowance::ClusterScoped) {
            return fail(format!(
                "it would belong to the whole cluster; {} must say `allow: [clusterScoped]`",
                place(owner)
            ));
        }
        if !scoped && !matches!(id.namespace.as_str(), "" | "default") && id.namespace != namespace {
            return fail(format!("its namespace must be {namespace}, or be left out"));
        }
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
            return fail("metadata must be a map".into());
        };
        if !scoped {
            metadata.insert("namespace".into(), json!(namespace));
        }
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if labels.is_null() {
            *labels = json!({});
        }
        let Some(labels) = labels.as_object_mut() else { return fail("metadata.labels must be a map".into()) };
        labels.insert("app.kubernetes.io/managed-by".into(), json!("trimtab"));
        labels.insert(LABEL_PROJECT.into(), json!(owner.component.project));
        labels.insert(LABEL_ENVIRONMENT.into(), json!(owner.environment));
        labels.insert(LABEL_COMPONENT.into(), json!(owner.component.component));
        matched |= pod_specs(object, &mut |spec| image(owner, spec));
        let mut problem = None;
        pod_specs(object, &mut |spec| {
            problem = problem.take().or_else(|| guard(owner, spec));
            false
        });
        if let Some(problem) = problem {
            return fail(problem);
        }
    }
    if !matched && owner.pin.image.is_some() {
        let problem = format!(
            "no container has the image {0} or {1}/{2}/{0}: nothing would run {3}",
            owner.component.component,
            model::REGISTRY,
            owner.component.project,
            owner.pin.build
        );
        return Err(refused(owner, problem));
    }
    Ok(objects)
}

/// Calls back with every map that holds containers, wherever custom kinds may put it. True if any call was.
fn pod_specs(value: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>) -> bool) -> bool {
    match value {
        Value::Object(map) => {
            let own = map.get("containers").is_some_and(Value::is_array) && visit(map);
            map.values_mut().fold(own, |any, inner| pod_specs(inner, visit) || any)
        }
        Value::Array(list) => list.iter_mut().fold(false, |any, inner| pod_specs(inner, visit) || any),
        _ => false,
    }
}

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

fn containers(spec: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    spec.iter_mut()
        .filter(|(key, _)| CONTAINERS.contains(&key.as_str()))
        .filter_map(|(_, list)| list.as_array_mut())
        .flatten()
}

/// Gives the component's image its digest, and the Pods the name of the build. True if there was one.
fn image(owner: &Owner<'_>, spec: &mut Map<String, Value>) -> bool {
    let Some(pinned) = &owner.pin.image else { return false };
    let short = owner.component.component.as_str();
    let long = format!("{}/{}/{short}", model::REGISTRY, owner.component.project);
    let mut matched = false;
    for container in containers(spec) {
        let Some(image) = container.get_mut("image") else { continue };
        let name = image.as_str().map(repository_of).unwrap_or_default();
        if name == short || name == long {
            *image = json!(pinned);
            matched = true;
        }
    }
    matched
}

/// `a.b:5000/web:1@sha256:…` → `a.b:5000/web`.
fn repository_of(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    image[last..].find(':').map_or(image, |colon| &image[..last + colon])
}

/// What Pods of this environment may not have.
fn guard(owner: &Owner<'_>, spec: &mut Map<String, Value>) -> Option<String> {
    let needs = |what: &str, allowance: Allowance, word: &str| {
        (!allows(owner, allowance)).then(|| format!("{what} needs `allow: [{word}]` in {}", place(owner)))
    };
    let volumes = spec.get("volumes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if volumes.iter().any(|volume| volume.get("hostPath").is_some()) {
        return needs("a volume of the kind hostPath", Allowance::HostPath, "hostPath");
    }
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec.get(field) == Some(&Value::Bool(true)) {
            return needs(field, Allowance::Privileged, "privileged");
        }
    }
    let privileged = |c: &mut Value| c.pointer("/securityContext/privileged") == Some(&Value::Bool(true));
    if containers(spec).any(privileged) {
        return needs("a privileged container", Allowance::Privileged, "privileged");
    }
    None
}

fn allows(owner: &Owner<'_>, what: Allowance) -> bool {
    owner.file.allow.contains(&what)
}

fn place(owner: &Owner<'_>) -> String {
    format!("environments/{}.yaml", owner.environment)
}

fn refused(owner: &Owner<'_>, problem: String) -> Error {
    let field = if owner.component.chart.is_some() { "chart" } else { "manifests" };
    Error::Field { component: owner.component.component.clone(), field: field.into(), problem }
}
