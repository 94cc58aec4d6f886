//! What this node does not do. Each is refused by its field, never dropped in silence.

use super::PodExt;
use k8s_openapi::api::core::v1::{Container, EnvVarSource, LifecycleHandler, Pod, PodSpec, Probe, Volume, VolumeMount};

/// Fields of the Pod that ask for what is not supported, one text each; empty: it can run.
pub(crate) fn refusals(pod: &Pod) -> Vec<String> {
    let spec = pod.spec_ref();
    let mut found = pod_level(spec);
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        found.extend(volume_source(volume).map(|source| format!("spec.volumes[{index}] ({}): {source}", volume.name)));
    }
    let lists =
        [("initContainers", spec.init_containers.as_deref().unwrap_or_default()), ("containers", &spec.containers)];
    for (list, containers) in lists {
        for (index, container) in containers.iter().enumerate() {
            let at = format!("spec.{list}[{index}] ({})", container.name);
            let problems = container_level(container, spec, list == "initContainers");
            found.extend(problems.into_iter().map(|problem| format!("{at}: {problem}")));
        }
    }
    found.sort();
    found
}

/// One message of all refusals.
pub(crate) fn message(refusals: &[String]) -> String {
    format!("this node does not support: {}", refusals.join("; "))
}

fn pod_level(spec: &PodSpec) -> Vec<String> {
    let security = spec.security_context.as_ref();
    let yes = |flag: Option<bool>| flag == Some(true);
    let checks = [
        ("spec.hostPID", yes(spec.host_pid)),
        ("spec.hostIPC", yes(spec.host_ipc)),
        ("spec.hostUsers: false", spec.host_users == Some(false)),
        ("spec.shareProcessNamespace", yes(spec.share_process_namespace)),
        ("spec.setHostnameAsFQDN", yes(spec.set_hostname_as_fqdn)),
        ("spec.runtimeClassName", spec.runtime_class_name.is_some()),
        ("spec.resourceClaims", spec.resource_claims.as_ref().is_some_and(|c| !c.is_empty())),
        ("spec.resources", spec.resources.is_some()),
        ("spec.os.name: windows", spec.os.as_ref().is_some_and(|os| os.name == "windows")),
        ("spec.securityContext.sysctls", security.is_some_and(|s| s.sysctls.as_ref().is_some_and(|s| !s.is_empty()))),
        ("spec.securityContext.seLinuxOptions", security.is_some_and(|s| s.se_linux_options.is_some())),
        (
            "spec.securityContext.seccompProfile.type: Localhost",
            security.and_then(|s| s.seccomp_profile.as_ref()).is_some_and(|p| p.type_ == "Localhost"),
        ),
        (
            "spec.securityContext.appArmorProfile.type: Localhost",
            security.and_then(|s| s.app_armor_profile.as_ref()).is_some_and(|p| p.type_ == "Localhost"),
        ),
    ];
    checks.into_iter().filter(|(_, asked)| *asked).map(|(field, _)| field.to_owned()).collect()
}

/// The source of a volume, if it is none that we have.
fn volume_source(volume: &Volume) -> Option<String> {
    let known = volume.empty_dir.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.host_path.is_some()
        || volume.downward_api.is_some();
    if known {
        return None;
    }
    if let Some(projected) = &volume.projected {
        let odd = projected.sources.iter().flatten().find(|s| {
            s.service_account_token.is_some() || s.cluster_trust_bundle.is_some() || s.pod_certificate.is_some()
        })?;
        return Some(format!("projected.{}", first_field(odd)));
    }
    let mut source = volume.clone();
    source.name = String::new();
    let field = first_field(&source);
    (!field.is_empty()).then_some(field)
}

/// Name of the first field that is set, as the API spells it.
fn first_field(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    let field = value.as_object().and_then(|map| map.keys().find(|key| *key != "name"));
    field.cloned().unwrap_or_default()
}

fn container_level(container: &Container, spec: &PodSpec, init: bool) -> Vec<String> {
    let security = container.security_context.as_ref();
    let mounts = || container.volume_mounts.iter().flatten();
    let hooks = container.lifecycle.iter().flat_map(|l| [&l.post_start, &l.pre_stop]).flatten();
    let host_network = spec.host_network == Some(true);
    let sources = || container.env.iter().flatten().filter_map(|e| e.value_from.as_ref());
    let checks = [
        ("restartPolicy (a sidecar)", init && container.restart_policy.is_some()),
        ("restartPolicy", !init && container.restart_policy.is_some()),
        ("restartPolicyRules", container.restart_policy_rules.as_ref().is_some_and(|r| !r.is_empty())),
        ("tty", container.tty == Some(true)),
        ("stdin", container.stdin == Some(true)),
        ("volumeDevices", container.volume_devices.as_ref().is_some_and(|d| !d.is_empty())),
        (
            "ports.hostPort without hostNetwork",
            !host_network && container.ports.iter().flatten().any(|p| p.host_port.is_some_and(|port| port != 0)),
        ),
        ("volumeMounts.subPathExpr", mounts().any(|m| m.sub_path_expr.as_ref().is_some_and(|s| !s.is_empty()))),
        // A container could swap a directory for a link between our look and the mount.
        (
            "volumeMounts.subPath of a volume that containers write",
            mounts().any(|m| has_sub_path(m) && writable(spec, &m.name)),
        ),
        (
            "volumeMounts.mountPropagation",
            mounts().any(|m| m.mount_propagation.as_deref().is_some_and(|p| p != "None")),
        ),
        (
            "volumeMounts.recursiveReadOnly",
            mounts().any(|m| m.recursive_read_only.as_deref().is_some_and(|r| r == "Enabled")),
        ),
        ("env.valueFrom.fileKeyRef", sources().any(|s: &EnvVarSource| s.file_key_ref.is_some())),
        ("a grpc probe", probes(container).any(|p| p.grpc.is_some())),
        (
            "an httpGet of scheme HTTPS",
            probes(container).any(|p| https(p.http_get.as_ref())) || hooks.clone().any(hook_https),
        ),
        ("resources.claims", container.resources.as_ref().is_some_and(|r| r.claims.is_some())),
        (
            "securityContext.procMount",
            security.is_some_and(|s| s.proc_mount.as_deref().is_some_and(|p| p != "Default")),
        ),
        ("securityContext.seLinuxOptions", security.is_some_and(|s| s.se_linux_options.is_some())),
        (
            "securityContext.seccompProfile.type: Localhost",
            security.and_then(|s| s.seccomp_profile.as_ref()).is_some_and(|p| p.type_ == "Localhost"),
        ),
        (
            "securityContext.appArmorProfile.type: Localhost",
            security.and_then(|s| s.app_armor_profile.as_ref()).is_some_and(|p| p.type_ == "Localhost"),
        ),
    ];
    checks.into_iter().filter(|(_, asked)| *asked).map(|(field, _)| field.to_owned()).collect()
}

fn has_sub_path(mount: &VolumeMount) -> bool {
    mount.sub_path.as_ref().is_some_and(|path| !path.is_empty())
}

fn writable(spec: &PodSpec, volume: &str) -> bool {
    spec.volumes.iter().flatten().any(|v| v.name == volume && (v.empty_dir.is_some() || v.host_path.is_some()))
}

fn probes(container: &Container) -> impl Iterator<Item = &Probe> {
    [&container.startup_probe, &container.liveness_probe, &container.readiness_probe].into_iter().flatten()
}

fn https(action: Option<&k8s_openapi::api::core::v1::HTTPGetAction>) -> bool {
    action.is_some_and(|a| a.scheme.as_deref() == Some("HTTPS"))
}

fn hook_https(hook: &LifecycleHandler) -> bool {
    https(hook.http_get.as_ref())
}

/// Things that are weaker here than asked for: said in a warning, not refused.
pub(crate) fn concessions(pod: &Pod, seccomp: bool) -> Vec<String> {
    let spec = pod.spec_ref();
    let asks_seccomp = |profile: Option<&k8s_openapi::api::core::v1::SeccompProfile>| {
        profile.is_some_and(|p| p.type_ == "RuntimeDefault")
    };
    let pod_level = asks_seccomp(spec.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref()));
    let any = pod_level
        || pod
            .all_containers()
            .any(|c| asks_seccomp(c.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref())));
    let mut found = Vec::new();
    if any && !seccomp {
        found.push("seccompProfile RuntimeDefault is not applied: this build has no seccomp".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn with(field: &str, value: Value) -> Pod {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "x"}]}});
        let pointer = field.rsplit_once('/').unwrap();
        pod.pointer_mut(pointer.0).unwrap()[pointer.1] = value;
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn each_is_named_by_its_field() {
        for (field, value, expected) in [
            ("/spec/hostPID", json!(true), vec!["spec.hostPID"]),
            ("/spec/hostNetwork", json!(true), vec![]),
            (
                "/spec/volumes",
                json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]),
                vec!["spec.volumes[0] (v): persistentVolumeClaim"],
            ),
            ("/spec/volumes", json!([{"name": "v", "emptyDir": {}}, {"name": "w"}]), vec![]),
            (
                "/spec/volumes",
                json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]),
                vec!["spec.volumes[0] (v): projected.serviceAccountToken"],
            ),
            ("/spec/containers/0/tty", json!(true), vec!["spec.containers[0] (main): tty"]),
            (
                "/spec/initContainers",
                json!([{"name": "side", "image": "x", "restartPolicy": "Always"}]),
                vec!["spec.initContainers[0] (side): restartPolicy (a sidecar)"],
            ),
            (
                "/spec/containers/0/readinessProbe",
                json!({"grpc": {"port": 1}}),
                vec!["spec.containers[0] (main): a grpc probe"],
            ),
            (
                "/spec/containers/0/ports",
                json!([{"containerPort": 80, "hostPort": 80}]),
                vec!["spec.containers[0] (main): ports.hostPort without hostNetwork"],
            ),
        ] {
            assert_eq!(refusals(&with(field, value)), expected, "{field}");
        }
    }

    #[test]
    fn seccomp_is_conceded_only_where_it_is_missing() {
        let pod = with("/spec/securityContext", json!({"seccompProfile": {"type": "RuntimeDefault"}}));
        assert_eq!(concessions(&pod, false).len(), 1);
        assert!(concessions(&pod, true).is_empty());
        assert!(refusals(&pod).is_empty());
    }
}
