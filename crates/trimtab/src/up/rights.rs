//! What people may do with kubectl: their roles as Kubernetes RBAC in the embedded cluster, for the groups that
//! [`model::people::Person::groups`] gives them.
//!
//! Five ClusterRoles say what a role may; RoleBindings in a project's namespaces say who has it there. What an environment
//! runs is described in git and repaired from there: so most of it is reading, and letting something start again.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use kube::api::{Api, Patch, PatchParams};
use model::names::workload_namespace;
use model::{Environment, Project, Role};
use reconcile::Reconciler;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Field manager of all of this.
const MANAGER: &str = "trimtab-rights";
/// An environment that was admitted and has no namespace yet is looked at again after this.
const AGAIN: Duration = Duration::from_secs(2);

/// Where roles are bound.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The namespace of a project's records.
    Records(Project),
    /// The namespace of an environment's workloads, and whether it is production.
    Workloads(Project, Environment, bool),
}

/// Installs the roles and binds them wherever projects and environments are, as they come.
pub async fn run(client: kube::Client, reconciler: Reconciler, stop: CancellationToken) -> anyhow::Result<()> {
    use futures::StreamExt;
    let changes = reconciler.changes(None).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    let mut changes = Box::pin(changes);
    install(&client).await?;
    let mut bound = BTreeSet::new();
    loop {
        let mut again = false;
        let places = places(&reconciler);
        bound.retain(|place| places.contains(place));
        for place in places {
            if !bound.contains(&place) {
                match bind(&client, &place).await {
                    Ok(()) => drop(bound.insert(place)),
                    Err(error) => {
                        tracing::debug!(?place, %error, "roles cannot be bound yet");
                        again = true;
                    }
                }
            }
        }
        let next = async {
            match again {
                true => {
                    let _ = tokio::time::timeout(AGAIN, changes.next()).await;
                }
                false => {
                    let _ = changes.next().await;
                }
            }
        };
        if stop.run_until_cancelled(next).await.is_none() {
            return Ok(());
        }
    }
}

fn places(reconciler: &Reconciler) -> Vec<Place> {
    let mut places = Vec::new();
    for project in reconciler.names() {
        let Some(environments) = reconciler.workloads(&project) else { continue };
        places.push(Place::Records(project.clone()));
        let place = |(environment, production)| Place::Workloads(project.clone(), environment, production);
        places.extend(environments.into_iter().map(place));
    }
    places
}

/// What a role may, as rules of RBAC.
fn rules(role: Role) -> Value {
    let read = ["get", "list", "watch"];
    let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({ "apiGroups": groups, "resources": resources, "verbs": verbs });
    let mut rules = vec![
        rule(
            &[""],
            &[
                "configmaps",
                "endpoints",
                "events",
                "namespaces",
                "persistentvolumeclaims",
                "pods",
                "pods/log",
                "pods/status",
                "serviceaccounts",
                "services",
            ],
            &read,
        ),
        rule(
            &[
                "apps",
                "autoscaling",
                "batch",
                "coordination.k8s.io",
                "discovery.k8s.io",
                "networking.k8s.io",
                "policy",
                model::GROUP,
            ],
            &["*"],
            &read,
        ),
    ];
    let workloads = ["apps", "autoscaling", "batch", "networking.k8s.io", "policy"];
    let core = ["configmaps", "events", "persistentvolumeclaims", "pods", "services"];
    if matches!(role, Role::Developer | Role::Operator | Role::Admin) {
        // What runs is let start again. Nobody but administrators writes what runs: with that come its secrets, and the
        // machine.
        rules.push(rule(&[""], &["pods"], &["delete"]));
        rules.push(rule(&[""], &["pods/eviction", "pods/portforward"], &["create", "get"]));
    }
    if matches!(role, Role::Operator | Role::Admin) {
        rules.push(rule(&[""], &core, &["delete"]));
        rules.push(rule(&workloads, &["*"], &["delete"]));
        rules.push(rule(
            &["apps"],
            &["deployments/scale", "replicasets/scale", "statefulsets/scale"],
            &["patch", "update"],
        ));
    }
    if role == Role::Admin {
        let all = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        rules.push(rule(&[""], &core, &all));
        rules.push(rule(&workloads, &["*"], &all));
        rules.push(rule(&[""], &["secrets", "serviceaccounts"], &all));
        rules.push(rule(&["rbac.authorization.k8s.io"], &["rolebindings", "roles"], &all));
    }
    Value::Array(rules)
}

fn role_name(role: Role) -> String {
    format!("trimtab:{role}")
}

/// The role that somebody has in a place by what they are: in production developers look, and the records of a project are
/// changed in git.
fn there(place: &Place, role: Role) -> Role {
    match place {
        Place::Records(_) if role != Role::Admin => Role::Viewer,
        Place::Workloads(_, _, true) if role == Role::Developer => Role::Viewer,
        _ => role,
    }
}

/// One binding per role: the groups that have it there.
fn bindings(place: &Place) -> Vec<Value> {
    let (namespace, project) = match place {
        Place::Records(project) => (project.to_string(), project),
        Place::Workloads(project, environment, _) => (workload_namespace(project, environment), project),
    };
    let groups = |role: Role| -> Vec<String> {
        let own = match place {
            Place::Records(_) => None,
            Place::Workloads(_, environment, _) => Some(format!("trimtab:{role}:{project}:{environment}")),
        };
        [format!("trimtab:{role}"), format!("trimtab:{role}:{project}")].into_iter().chain(own).collect()
    };
    let one = |bound: Role| {
        let having = Role::ALL.into_iter().filter(|role| there(place, *role) == bound).flat_map(groups);
        let subject = |name: String| json!({ "kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name });
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": role_name(bound), "namespace": namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role_name(bound) },
            "subjects": having.map(subject).collect::<Vec<_>>(),
        })
    };
    Role::ALL.into_iter().map(one).collect()
}

async fn install(client: &kube::Client) -> kube::Result<()> {
    let params = PatchParams::apply(MANAGER).force();
    for role in Role::ALL {
        let name = role_name(role);
        let object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": name }, "rules": rules(role),
        });
        Api::<ClusterRole>::all(client.clone()).patch(&name, &params, &Patch::Apply(&object)).await?;
    }
    // Who has a role everywhere sees which namespaces there are.
    let subject = |role: Role| json!({ "kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": format!("trimtab:{role}") });
    let object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": "trimtab:everywhere" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role_name(Role::Viewer) },
        "subjects": Role::ALL.map(subject),
    });
    Api::<ClusterRoleBinding>::all(client.clone()).patch("trimtab:everywhere", &params, &Patch::Apply(&object)).await?;
    Ok(())
}

async fn bind(client: &kube::Client, place: &Place) -> kube::Result<()> {
    let params = PatchParams::apply(MANAGER).force();
    for binding in bindings(place) {
        let text = |pointer: &str| binding.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let api: Api<RoleBinding> = Api::namespaced(client.clone(), &text("/metadata/namespace"));
        api.patch(&text("/metadata/name"), &params, &Patch::Apply(&binding)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_is_bound_to_its_groups_and_developers_only_look_at_production() {
        let (project, environment): (Project, Environment) = ("shop".parse().unwrap(), "prod".parse().unwrap());
        let bound = |place: &Place, role: &str| -> Vec<String> {
            let bindings = bindings(place);
            let found = bindings.iter().find(|b| b["metadata"]["name"] == role).unwrap();
            assert_eq!(found["roleRef"]["name"], role);
            found["subjects"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect()
        };
        let developers = ["trimtab:developer", "trimtab:developer:shop", "trimtab:developer:shop:prod"];
        let staging = Place::Workloads(project.clone(), environment.clone(), false);
        assert_eq!(bound(&staging, "trimtab:developer"), developers);
        let production = Place::Workloads(project.clone(), environment, true);
        assert_eq!(bound(&production, "trimtab:developer"), [""; 0]);
        assert!(developers.iter().all(|group| bound(&production, "trimtab:viewer").contains(&(*group).to_owned())));
        let records = Place::Records(project);
        assert_eq!(bound(&records, "trimtab:operator"), [""; 0]);
        assert!(bound(&records, "trimtab:viewer").contains(&"trimtab:operator:shop".to_owned()));
    }

    #[test]
    fn nobody_but_administrators_reads_secrets_or_writes_what_runs() {
        for role in Role::ALL {
            let rules = rules(role);
            let admin = role == Role::Admin;
            assert_eq!(rules.to_string().contains("\"secrets\""), admin, "{role}");
            let writes = |rule: &&Value| {
                let has = |key: &str, words: &[&str]| {
                    words.iter().any(|word| rule[key].as_array().unwrap().contains(&json!(word)))
                };
                has("resources", &["*", "pods"]) && has("verbs", &["create", "patch", "update"])
            };
            assert_eq!(rules.as_array().unwrap().iter().any(|rule| writes(&rule)), admin, "{role}");
        }
    }
}
