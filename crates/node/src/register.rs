//! The Node object: what this machine is and that it is ready. Written at the start and when that changes.

use crate::error::Error;
use crate::pod::status::seconds;
use crate::preflight::Machine;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use std::collections::BTreeMap;

/// Set on a node whose Pods are simulated, to the reason.
pub const SIMULATED_ANNOTATION: &str = "node.trimtab.dev/simulated";
/// As the kubelet has it; a simulated Pod costs no more than its object.
const PODS: &str = "110";
const PODS_SIMULATED: &str = "10000";
const KUBELET_VERSION: &str = concat!("v1.34.0+trimtab.", env!("CARGO_PKG_VERSION"));

/// Creates the Node or brings it up to date.
pub(crate) async fn register(
    client: &Client,
    name: &str,
    address: &str,
    machine: &Machine,
    simulated: Option<&str>,
) -> Result<(), Error> {
    let api: Api<Node> = Api::all(client.clone());
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels(name)),
        annotations: simulated.map(|reason| BTreeMap::from([(SIMULATED_ANNOTATION.to_owned(), reason.to_owned())])),
        ..ObjectMeta::default()
    };
    let node = Node { metadata, ..Node::default() };
    match api.create(&PostParams::default(), &node).await {
        Ok(_) => {}
        Err(kube::Error::Api(answer)) if answer.code == 409 => {
            let patch = serde_json::json!({ "metadata": {
                "labels": labels(name),
                "annotations": { SIMULATED_ANNOTATION: simulated },
            }});
            let params = PatchParams::default();
            api.patch(name, &params, &Patch::Merge(patch)).await.map_err(Error::api("updating the Node"))?;
        }
        Err(error) => return Err(Error::api("creating the Node")(error)),
    }
    let status = serde_json::json!({ "status": status(name, address, machine, simulated) });
    let params = PatchParams::default();
    let written = api.patch_status(name, &params, &Patch::Merge(status)).await;
    written.map(drop).map_err(Error::api("writing the status of the Node"))
}

fn labels(name: &str) -> BTreeMap<String, String> {
    let pairs = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// As Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn status(name: &str, address: &str, machine: &Machine, simulated: Option<&str>) -> NodeStatus {
    let amounts: BTreeMap<String, Quantity> = [
        ("cpu", machine.cpus.to_string()),
        ("memory", format!("{}Ki", machine.memory_bytes / 1024)),
        ("ephemeral-storage", format!("{}Ki", machine.disk_bytes / 1024)),
        ("pods", if simulated.is_some() { PODS_SIMULATED } else { PODS }.to_owned()),
    ]
    .into_iter()
    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
    .collect();
    let addresses = [("InternalIP", address), ("Hostname", name)];
    NodeStatus {
        capacity: Some(amounts.clone()),
        allocatable: Some(amounts),
        conditions: Some(conditions(simulated)),
        addresses: Some(addresses.map(|(t, a)| NodeAddress { type_: t.to_owned(), address: a.to_owned() }).to_vec()),
        // The kubelet API is reached in process: there is no port.
        daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: 0 }) }),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: format!("trimtab://{}", env!("CARGO_PKG_VERSION")),
            kernel_version: machine.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: KUBELET_VERSION.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os.clone(),
            system_uuid: machine.machine_id.clone(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

fn conditions(simulated: Option<&str>) -> Vec<NodeCondition> {
    let now = Some(seconds(Timestamp::now()));
    let condition = |type_: &str, status: &str, reason: &str, message: &str| NodeCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: now.clone(),
        last_transition_time: now.clone(),
    };
    let mut all = vec![
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    if let Some(reason) = simulated {
        all.push(condition(
            "Simulated",
            "True",
            "PodsAreSimulated",
            &format!("no container runs on this node: {reason}"),
        ));
    }
    all
}
