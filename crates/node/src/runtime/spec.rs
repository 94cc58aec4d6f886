//! From a container of a Pod to what the container part runs.

use super::Launch;
use super::etc;
use super::volume_files;
use crate::environment::expand_all;
use crate::error::Error;
use crate::layout::Layout;
use crate::pod::status::qos_class;
use crate::pod::{PodExt, quantity};
use container::{Capabilities, Mount, MountKind, Namespace, Network, Resources, Rootfs, Spec, User};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Labels by which a container is found again.
pub(super) mod label {
    pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
    pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
    pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub(crate) const CONTAINER: &str = "io.kubernetes.container.name";
    pub(crate) const ATTEMPT: &str = "io.kubernetes.container.restartCount";
    pub(crate) const IMAGE_ID: &str = "io.kubernetes.container.imageID";
    pub(crate) const GRACE_SECONDS: &str = "io.kubernetes.pod.terminationGracePeriod";
    pub(crate) const STOP_SIGNAL: &str = "io.kubernetes.container.stopSignal";
}

/// What an image contributes.
#[derive(Debug, Clone, Default)]
pub(crate) struct FromImage {
    /// Unpacked, the base first.
    pub layers: Vec<PathBuf>,
    pub environment: Vec<String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub directory: String,
    pub user: String,
}

/// Unique for the attempt, and telling to a person.
pub(super) fn container_id(pod: &Pod, container: &str, attempt: u32) -> String {
    format!("{}-{container}-{attempt}", pod.uid_str())
}

/// The whole specification.
pub(super) fn build(layout: &Layout, launch: &Launch, image: FromImage, memory_bytes: u64) -> Result<Spec, Error> {
    let (pod, container) = (&*launch.pod, &launch.container);
    let security = container.security_context.clone().unwrap_or_default();
    let capabilities = security.capabilities.clone().unwrap_or_default();
    let adjusted = Capabilities::default()
        .adjusted(&capabilities.add.unwrap_or_default(), &capabilities.drop.unwrap_or_default())
        .map_err(|name| Error::Invalid(format!("securityContext.capabilities: unknown capability {name:?}")))?;
    let args = command(container, &image, &launch.environment);
    if args.is_empty() {
        return Err(Error::Invalid("no command specified: neither the container nor its image names one".into()));
    }
    let host = pod.host_network();
    Ok(Spec {
        id: container_id(pod, &container.name, launch.attempt),
        args,
        env: environment(pod, launch, &image),
        cwd: container.working_dir.clone().filter(|d| !d.is_empty()).unwrap_or(image.directory.clone()),
        user: user(pod, container, &image.user)?,
        hostname: (!host).then(|| etc::hostname(pod)),
        network: if host { Network::Host } else { Network::Namespace(layout.netns(pod.uid_str())) },
        uts: if host { Namespace::Host } else { Namespace::New },
        mounts: mounts(layout, launch)?,
        resources: resources(pod, container, memory_bytes),
        capabilities: adjusted,
        privileged: security.privileged.unwrap_or(false),
        no_new_privileges: security.allow_privilege_escalation == Some(false),
        read_only_rootfs: security.read_only_root_filesystem.unwrap_or(false),
        log: layout.log(pod, &container.name, launch.attempt),
        labels: labels(launch),
        rootfs: Rootfs { layers: image.layers, writable: None },
        ..Spec::default()
    })
}

fn command(container: &Container, image: &FromImage, environment: &[(String, String)]) -> Vec<String> {
    let given = |list: &Option<Vec<String>>| list.clone().filter(|l| !l.is_empty());
    let (entrypoint, arguments) = match (given(&container.command), given(&container.args)) {
        (Some(command), arguments) => (command, arguments.unwrap_or_default()),
        // The image's words are its own: nothing in them is expanded.
        (None, Some(arguments)) => return [image.entrypoint.clone(), expand_all(&arguments, environment)].concat(),
        (None, None) => return [image.entrypoint.clone(), image.command.clone()].concat(),
    };
    expand_all(&[entrypoint, arguments].concat(), environment)
}

fn environment(pod: &Pod, launch: &Launch, image: &FromImage) -> Vec<String> {
    let set = |name: &str| launch.environment.iter().any(|(n, _)| n == name);
    let name_of = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut all: Vec<String> = image.environment.iter().filter(|e| !set(&name_of(e))).cloned().collect();
    if !set("HOSTNAME") && !pod.host_network() {
        all.push(format!("HOSTNAME={}", etc::hostname(pod)));
    }
    all.extend(launch.environment.iter().map(|(name, value)| format!("{name}={value}")));
    all
}

fn user(pod: &Pod, container: &Container, of_image: &str) -> Result<User, Error> {
    let of_pod = pod.spec_ref().security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let (uid, gid) = (own.run_as_user.or(of_pod.run_as_user), own.run_as_group.or(of_pod.run_as_group));
    let image_user = of_image.split(':').next().unwrap_or_default();
    let name = match (uid, gid) {
        (Some(uid), Some(gid)) => format!("{uid}:{gid}"),
        (Some(uid), None) => uid.to_string(),
        (None, Some(gid)) => format!("{}:{gid}", if image_user.is_empty() { "0" } else { image_user }),
        (None, None) => of_image.to_owned(),
    };
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) {
        let effective = name.split(':').next().unwrap_or_default();
        match effective.parse::<u64>() {
            Ok(0) => return Err(Error::Invalid("container has runAsNonRoot and image will run as root".into())),
            Ok(_) => {}
            Err(_) if effective.is_empty() => {
                return Err(Error::Invalid("container has runAsNonRoot and image will run as root".into()));
            }
            Err(_) => {
                return Err(Error::Invalid(format!(
                    "container has runAsNonRoot and image has non-numeric user ({effective}), cannot verify user is non-root"
                )));
            }
        }
    }
    let groups = of_pod.supplemental_groups.into_iter().flatten().chain(of_pod.fs_group);
    Ok(User { name, extra: groups.filter_map(|g| u32::try_from(g).ok()).collect() })
}

fn mounts(layout: &Layout, launch: &Launch) -> Result<Vec<Mount>, Error> {
    let (pod, container) = (&*launch.pod, &launch.container);
    let message =
        container.termination_message_path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/dev/termination-log");
    let ours = [
        ("/etc/hosts", layout.etc(pod, "hosts")),
        ("/etc/resolv.conf", layout.etc(pod, "resolv.conf")),
        (message, layout.termination_message(pod, &container.name, launch.attempt)),
    ];
    let asked = || container.volume_mounts.iter().flatten();
    let mut mounts: Vec<Mount> = ours
        .into_iter()
        .filter(|(target, _)| !asked().any(|m| m.mount_path == *target))
        .map(|(target, source)| Mount { source, target: target.into(), read_only: false, kind: MountKind::Bind })
        .collect();
    for mount in asked() {
        let mut source = volume_files::source(layout, pod, &mount.name);
        if let Some(inside) = mount.sub_path.as_deref().filter(|p| !p.is_empty()) {
            source = source.join(inside);
            // Only volumes that containers cannot write get here (see `refusal`): no link can lead out.
            if inside.split('/').any(|part| part == "..") || !source.exists() {
                return Err(Error::Invalid(format!("subPath {inside:?} of volume {:?} does not exist", mount.name)));
            }
        }
        let files = pod.spec_ref().volumes.iter().flatten().find(|v| v.name == mount.name);
        let fixed = files.is_some_and(|v| {
            v.config_map.is_some() || v.secret.is_some() || v.projected.is_some() || v.downward_api.is_some()
        });
        mounts.push(Mount {
            source,
            target: mount.mount_path.clone().into(),
            read_only: fixed || mount.read_only.unwrap_or(false),
            kind: MountKind::Bind,
        });
    }
    // An inner target must be mounted after the outer one that would cover it.
    mounts.sort_by_key(|m| m.target.components().count());
    Ok(mounts)
}

fn resources(pod: &Pod, container: &Container, memory_bytes: u64) -> Resources {
    let all = container.resources.clone().unwrap_or_default();
    let (limits, requests) = (all.limits.unwrap_or_default(), all.requests.unwrap_or_default());
    let milli = |q: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
        q.and_then(|q| quantity::milli(&q.0)).filter(|n| *n > 0)
    };
    let cpu_request = milli(requests.get("cpu")).or(milli(limits.get("cpu")));
    let memory_request = milli(requests.get("memory")).or(milli(limits.get("memory"))).map(|m| m / 1000);
    Resources {
        cpu_millis: milli(limits.get("cpu")),
        // The kernel takes no less than 2.
        cpu_shares: Some(cpu_request.map_or(2, |m| (m * 1024 / 1000).max(2))),
        memory_bytes: milli(limits.get("memory")).map(|m| m.div_ceil(1000)),
        pids: None,
        oom_score_adj: Some(oom_score(qos_class(pod), memory_request, memory_bytes)),
    }
}

/// As kubelet: the less a container asked for, the sooner it goes.
fn oom_score(qos: &str, request: Option<u64>, capacity: u64) -> i32 {
    match qos {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let used = request.unwrap_or(0).saturating_mul(1000) / capacity.max(1);
            i32::try_from(1000u64.saturating_sub(used)).unwrap_or(1000).clamp(3, 999)
        }
    }
}

fn labels(launch: &Launch) -> BTreeMap<String, String> {
    let pod = &*launch.pod;
    let own_signal = launch.container.lifecycle.as_ref().and_then(|l| l.stop_signal.clone());
    let (namespace, name) = (pod.namespace_str().to_owned(), pod.metadata.name.clone().unwrap_or_default());
    let pairs = [
        (label::POD_UID, Some(pod.uid_str().to_owned())),
        (label::POD_NAME, Some(name)),
        (label::POD_NAMESPACE, Some(namespace)),
        (label::CONTAINER, Some(launch.container.name.clone())),
        (label::ATTEMPT, Some(launch.attempt.to_string())),
        (label::IMAGE_ID, Some(launch.image.id.clone())),
        (label::GRACE_SECONDS, Some(pod.grace().as_secs().to_string())),
        (label::STOP_SIGNAL, own_signal.or(launch.image.stop_signal.clone())),
    ];
    pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// Number of a signal by name (`SIGTERM`, `TERM`) or number; SIGTERM if it is none.
pub(super) fn signal_number(name: Option<&str>) -> i32 {
    const TERM: i32 = 15;
    let Some(name) = name else { return TERM };
    if let Ok(number) = name.parse::<i32>() {
        return if (1..=64).contains(&number) { number } else { TERM };
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let known = NAMES.iter().position(|n| *n == bare).and_then(|index| i32::try_from(index + 1).ok());
    let offset = |prefix: &str| bare.strip_prefix(prefix).and_then(|n| n.parse::<i32>().ok());
    let realtime = match bare {
        "RTMIN" => Some(34),
        "RTMAX" => Some(64),
        _ => offset("RTMIN+").map(|n| 34 + n).or(offset("RTMAX-").map(|n| 64 - n)),
    };
    known.or(realtime.filter(|n| (34..=64).contains(n))).unwrap_or(TERM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Image;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn image() -> FromImage {
        FromImage {
            layers: vec!["/layers/a".into()],
            environment: vec!["PATH=/bin".into(), "LEVEL=image".into()],
            entrypoint: vec!["/entry".into()],
            command: vec!["cmd".into()],
            directory: "/work".into(),
            user: "app".into(),
        }
    }

    /// Fields of the container over those of the Pod.
    fn spec(container: Value, pod: Value) -> Result<Spec, Error> {
        let mut main = json!({"name": "main", "image": "x"});
        main.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let mut spec = json!({"containers": [main]});
        spec.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}, "spec": spec}),
        )
        .unwrap();
        let launch = Launch {
            container: pod.spec_ref().containers[0].clone(),
            pod: Arc::new(pod),
            attempt: 2,
            image: Image {
                id: "x@sha256:1".into(),
                digest: "sha256:1".into(),
                fetched: None,
                stop_signal: Some("SIGINT".into()),
            },
            environment: vec![("LEVEL".into(), "debug".into()), ("NAME".into(), "web".into())],
        };
        build(&Layout::new("/data".into()), &launch, image(), 1 << 30)
    }

    #[test]
    fn command_and_arguments() {
        for (container, expected) in [
            (json!({}), vec!["/entry", "cmd"]),
            (json!({"args": ["$(NAME)"]}), vec!["/entry", "web"]),
            (json!({"command": ["/own", "$(NAME)"]}), vec!["/own", "web"]),
            (json!({"command": ["/own"], "args": ["$$(NAME)"]}), vec!["/own", "$(NAME)"]),
        ] {
            assert_eq!(spec(container.clone(), json!({})).unwrap().args, expected, "{container}");
        }
    }

    #[test]
    fn who_it_runs_as() {
        let non_root = json!({"securityContext": {"runAsNonRoot": true}});
        for (container, pod, expected) in [
            (json!({}), json!({}), Ok("app")),
            (json!({"securityContext": {"runAsUser": 5}}), json!({}), Ok("5")),
            (json!({"securityContext": {"runAsGroup": 6}}), json!({"securityContext": {"runAsUser": 5}}), Ok("5:6")),
            (json!({"securityContext": {"runAsGroup": 6}}), json!({}), Ok("app:6")),
            (json!({}), non_root.clone(), Err("non-numeric user (app)")),
            (json!({"securityContext": {"runAsUser": 0}}), non_root.clone(), Err("will run as root")),
            (json!({"securityContext": {"runAsUser": 7}}), non_root, Ok("7")),
        ] {
            match (spec(container.clone(), pod), expected) {
                (Ok(spec), Ok(expected)) => assert_eq!(spec.user.name, expected, "{container}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (result, expected) => panic!("{container}: {result:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn environment_mounts_and_limits() {
        let container = json!({
            "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}, "requests": {"cpu": "100m"}},
            "securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, "allowPrivilegeEscalation": false},
            "volumeMounts": [
                {"name": "config", "mountPath": "/a/b/c"},
                {"name": "host", "mountPath": "/a", "readOnly": true},
                {"name": "config", "mountPath": "/etc/hosts"}
            ]
        });
        let pod = json!({"volumes": [{"name": "config", "configMap": {"name": "c"}}, {"name": "host", "hostPath": {"path": "/srv"}}]});
        let spec = spec(container, pod).unwrap();
        assert_eq!(spec.env, ["PATH=/bin", "HOSTNAME=web", "LEVEL=debug", "NAME=web"]);
        let mounts: Vec<String> = spec
            .mounts
            .iter()
            .map(|m| format!("{}→{}{}", m.source.display(), m.target.display(), if m.read_only { " ro" } else { "" }))
            .collect();
        let own = "/data/pods/shop_web_u1";
        assert_eq!(
            mounts,
            [
                "/srv→/a ro".to_owned(),
                format!("{own}/etc/resolv.conf→/etc/resolv.conf"),
                format!("{own}/main/2.termination→/dev/termination-log"),
                format!("{own}/volumes/config→/etc/hosts ro"),
                format!("{own}/volumes/config→/a/b/c ro"),
            ]
        );
        let expected = Resources {
            cpu_millis: Some(250),
            cpu_shares: Some(102),
            memory_bytes: Some(64 << 20),
            pids: None,
            oom_score_adj: Some(938),
        };
        assert_eq!(spec.resources, expected);
        assert_eq!(spec.capabilities.0.iter().collect::<Vec<_>>(), ["NET_BIND_SERVICE"]);
        assert!(spec.no_new_privileges && !spec.privileged && !spec.read_only_rootfs);
        assert_eq!((spec.id.as_str(), spec.cwd.as_str()), ("u1-main-2", "/work"));
        assert_eq!(spec.network, Network::Namespace("/data/netns/u1".into()));
        assert_eq!(spec.labels[label::STOP_SIGNAL], "SIGINT");
    }

    #[test]
    fn signals_by_name_and_number() {
        for (name, number) in [
            (None, 15),
            (Some("SIGTERM"), 15),
            (Some("int"), 2),
            (Some("9"), 9),
            (Some("SIGRTMIN+3"), 37),
            (Some("SIGRTMAX-1"), 63),
            (Some("SIGWINCH"), 28),
            (Some("nonsense"), 15),
            (Some("999"), 15),
        ] {
            assert_eq!(signal_number(name), number, "{name:?}");
        }
    }
}
