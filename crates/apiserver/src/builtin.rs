//! The kinds of Kubernetes 1.34 that are served, as data.
//!
//! A new kind is a new row. What it does beyond being stored stands in the strategy tables.

use serde_json::Value;

/// One served kind.
#[derive(Debug)]
pub struct Builtin {
    /// Empty for the core group.
    pub group: &'static str,
    /// `v1`.
    pub version: &'static str,
    /// `Pod`.
    pub kind: &'static str,
    /// `pods`.
    pub plural: &'static str,
    /// `po`.
    pub short: &'static [&'static str],
    /// It lives in namespaces.
    pub namespaced: bool,
    /// `status`, `scale`, …
    pub subresources: &'static [&'static str],
    /// `kubectl get all` asks for the category `all`.
    pub categories: &'static [&'static str],
    /// Something here acts on it, or it only holds data. If not, whoever creates one is warned.
    pub effective: bool,
}

const NONE: &[&str] = &[];
const STATUS: &[&str] = &["status"];
const SCALE: &[&str] = &["scale", "status"];
const ALL: &[&str] = &["all"];
const EXTENSIONS: &[&str] = &["api-extensions"];
const CLUSTER: bool = false;
const NAMESPACED: bool = true;

type Names = &'static [&'static str];

const fn row(
    api: (&'static str, &'static str),
    names: (&'static str, &'static str, Names),
    namespaced: bool,
    subresources: Names,
    categories: Names,
) -> Builtin {
    let (group, version) = api;
    let (kind, plural, short) = names;
    Builtin { group, version, kind, plural, short, namespaced, subresources, categories, effective: true }
}

/// A kind that is stored, and that nothing here acts on.
const fn inert(row: Builtin) -> Builtin {
    Builtin { effective: false, ..row }
}

const CORE: (&str, &str) = ("", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const BATCH: (&str, &str) = ("batch", "v1");
const NETWORKING: (&str, &str) = ("networking.k8s.io", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");

/// In the order of discovery: groups as Kubernetes ranks them, plurals by name.
pub const KINDS: &[Builtin] = &[
    row(CORE, ("ConfigMap", "configmaps", &["cm"]), NAMESPACED, NONE, NONE),
    row(CORE, ("Endpoints", "endpoints", &["ep"]), NAMESPACED, NONE, NONE),
    row(CORE, ("Event", "events", &["ev"]), NAMESPACED, NONE, NONE),
    inert(row(CORE, ("LimitRange", "limitranges", &["limits"]), NAMESPACED, NONE, NONE)),
    row(CORE, ("Namespace", "namespaces", &["ns"]), CLUSTER, &["finalize", "status"], NONE),
    row(CORE, ("Node", "nodes", &["no"]), CLUSTER, STATUS, NONE),
    inert(row(CORE, ("PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"]), NAMESPACED, STATUS, NONE)),
    inert(row(CORE, ("PersistentVolume", "persistentvolumes", &["pv"]), CLUSTER, STATUS, NONE)),
    row(CORE, ("Pod", "pods", &["po"]), NAMESPACED, &["binding", "eviction", "log", "status"], ALL),
    row(CORE, ("PodTemplate", "podtemplates", NONE), NAMESPACED, NONE, NONE),
    inert(row(CORE, ("ReplicationController", "replicationcontrollers", &["rc"]), NAMESPACED, SCALE, ALL)),
    inert(row(CORE, ("ResourceQuota", "resourcequotas", &["quota"]), NAMESPACED, STATUS, NONE)),
    row(CORE, ("Secret", "secrets", NONE), NAMESPACED, NONE, NONE),
    row(CORE, ("ServiceAccount", "serviceaccounts", &["sa"]), NAMESPACED, NONE, NONE),
    row(CORE, ("Service", "services", &["svc"]), NAMESPACED, STATUS, ALL),
    row(
        ("apiextensions.k8s.io", "v1"),
        ("CustomResourceDefinition", "customresourcedefinitions", &["crd", "crds"]),
        CLUSTER,
        STATUS,
        EXTENSIONS,
    ),
    row(APPS, ("ControllerRevision", "controllerrevisions", NONE), NAMESPACED, NONE, NONE),
    inert(row(APPS, ("DaemonSet", "daemonsets", &["ds"]), NAMESPACED, STATUS, ALL)),
    row(APPS, ("Deployment", "deployments", &["deploy"]), NAMESPACED, SCALE, ALL),
    row(APPS, ("ReplicaSet", "replicasets", &["rs"]), NAMESPACED, SCALE, ALL),
    inert(row(APPS, ("StatefulSet", "statefulsets", &["sts"]), NAMESPACED, SCALE, ALL)),
    inert(row(
        ("autoscaling", "v2"),
        ("HorizontalPodAutoscaler", "horizontalpodautoscalers", &["hpa"]),
        NAMESPACED,
        STATUS,
        ALL,
    )),
    inert(row(BATCH, ("CronJob", "cronjobs", &["cj"]), NAMESPACED, STATUS, ALL)),
    row(BATCH, ("Job", "jobs", NONE), NAMESPACED, STATUS, ALL),
    row(("coordination.k8s.io", "v1"), ("Lease", "leases", NONE), NAMESPACED, NONE, NONE),
    row(("discovery.k8s.io", "v1"), ("EndpointSlice", "endpointslices", NONE), NAMESPACED, NONE, NONE),
    inert(row(NETWORKING, ("IngressClass", "ingressclasses", NONE), CLUSTER, NONE, NONE)),
    inert(row(NETWORKING, ("Ingress", "ingresses", &["ing"]), NAMESPACED, STATUS, NONE)),
    inert(row(NETWORKING, ("NetworkPolicy", "networkpolicies", &["netpol"]), NAMESPACED, NONE, NONE)),
    inert(row(("policy", "v1"), ("PodDisruptionBudget", "poddisruptionbudgets", &["pdb"]), NAMESPACED, STATUS, NONE)),
    row(RBAC, ("ClusterRoleBinding", "clusterrolebindings", NONE), CLUSTER, NONE, NONE),
    row(RBAC, ("ClusterRole", "clusterroles", NONE), CLUSTER, NONE, NONE),
    row(RBAC, ("RoleBinding", "rolebindings", NONE), NAMESPACED, NONE, NONE),
    row(RBAC, ("Role", "roles", NONE), NAMESPACED, NONE, NONE),
    inert(row(("scheduling.k8s.io", "v1"), ("PriorityClass", "priorityclasses", &["pc"]), CLUSTER, NONE, NONE)),
    inert(row(("storage.k8s.io", "v1"), ("StorageClass", "storageclasses", &["sc"]), CLUSTER, NONE, NONE)),
];

/// Kinds that are answers to a question: they can only be created, and are not stored.
pub const REVIEWS: &[Builtin] = &[
    row(("authentication.k8s.io", "v1"), ("SelfSubjectReview", "selfsubjectreviews", NONE), CLUSTER, NONE, NONE),
    row(
        ("authorization.k8s.io", "v1"),
        ("LocalSubjectAccessReview", "localsubjectaccessreviews", NONE),
        NAMESPACED,
        NONE,
        NONE,
    ),
    row(
        ("authorization.k8s.io", "v1"),
        ("SelfSubjectAccessReview", "selfsubjectaccessreviews", NONE),
        CLUSTER,
        NONE,
        NONE,
    ),
    row(("authorization.k8s.io", "v1"), ("SubjectAccessReview", "subjectaccessreviews", NONE), CLUSTER, NONE, NONE),
];

/// The fields that a resource can be selected by, beside `metadata.name` and `metadata.namespace`.
pub fn selectable(resource: &str) -> &'static [&'static str] {
    match resource {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "namespaces" => &["status.phase"],
        "nodes" => &["spec.unschedulable"],
        "secrets" => &["type"],
        "services" => &["spec.clusterIP", "spec.type"],
        "replicasets.apps" => &["status.replicas"],
        "jobs.batch" => &["status.successful"],
        _ => &[],
    }
}

/// The value of a selectable field as text. What is absent counts as its zero.
pub fn field_text(object: &Value, path: &str) -> Box<str> {
    let found = path.split('.').try_fold(object, |value, name| value.get(name));
    match (found, path) {
        (Some(Value::String(text)), _) => text.as_str().into(),
        (Some(Value::Object(source)), "source") => {
            source.get("component").and_then(Value::as_str).unwrap_or_default().into()
        }
        (None | Some(Value::Null), "spec.unschedulable" | "spec.hostNetwork") => "false".into(),
        (None | Some(Value::Null), "status.replicas" | "status.successful") => "0".into(),
        (None | Some(Value::Null), _) => "".into(),
        (Some(other), _) => other.to_string().into(),
    }
}
