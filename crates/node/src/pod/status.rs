//! The `PodStatus` that kubelet would write.

use super::machine::{Life, Machine, Running, Sandbox, Termination, Tracked};
use super::{PodExt, quantity};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Scheme of container ids in a status.
pub(crate) const ID_SCHEME: &str = "trimtab://";

/// Status of a Pod in this state, on a node with this address.
pub(crate) fn status(machine: &Machine, pod: &Pod, host_ip: &str, now: Timestamp) -> PodStatus {
    let phase = machine.phase(pod);
    let pod_ip = match machine.sandbox {
        Sandbox::Ready(address) => Some(address.to_string()),
        // The last address stays in the record of a Pod that has ended.
        _ => pod.status.as_ref().and_then(|s| s.pod_ip.clone()),
    };
    let mut containers: Vec<_> = machine.containers[machine.inits..].iter().map(container_status).collect();
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    let inits: Vec<_> = machine.containers[..machine.inits].iter().map(container_status).collect();
    let failure = machine.failure.as_ref();
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions(machine, pod, phase, now)),
        container_statuses: Some(containers),
        init_container_statuses: (!inits.is_empty()).then_some(inits),
        host_ip: Some(host_ip.to_owned()),
        host_ips: Some(vec![HostIP { ip: host_ip.to_owned() }]),
        pod_ips: pod_ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip,
        start_time: Some(seconds(machine.start_time)),
        qos_class: Some(qos_class(pod).to_owned()),
        reason: failure.map(|f| f.reason.clone()),
        message: failure.map(|f| f.message.clone()),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

fn container_status(tracked: &Tracked) -> ContainerStatus {
    let (id, state) = match &tracked.life {
        Life::Waiting(waiting) | Life::Starting(waiting) => (
            tracked.last.as_ref().and_then(|end| end.id.clone()),
            ContainerState {
                waiting: Some(ContainerStateWaiting {
                    reason: Some(waiting.reason.clone()),
                    message: Some(waiting.message.clone()).filter(|m| !m.is_empty()),
                }),
                ..ContainerState::default()
            },
        ),
        Life::Running(Running { id, started_at, .. }) => (
            Some(id.clone()),
            ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(seconds(*started_at)) }),
                ..ContainerState::default()
            },
        ),
        Life::Terminated(end) => (end.id.clone(), terminated(end)),
    };
    // A succeeded init container is ready; it is what the next one waited for.
    let ready = tracked.ready || (tracked.init && tracked.ended().is_some_and(|end| end.exit_code == 0));
    ContainerStatus {
        name: tracked.name.clone(),
        image: tracked.image.clone(),
        image_id: tracked.image_id.clone(),
        container_id: id.map(|id| format!("{ID_SCHEME}{id}")),
        state: Some(state),
        last_state: Some(tracked.last.as_ref().map(terminated).unwrap_or_default()),
        restart_count: i32::try_from(tracked.restarts).unwrap_or(i32::MAX),
        started: Some(tracked.started),
        ready,
        ..ContainerStatus::default()
    }
}

fn terminated(end: &Termination) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: end.id.as_ref().map(|id| format!("{ID_SCHEME}{id}")),
            exit_code: end.exit_code,
            signal: end.signal,
            reason: Some(end.reason.clone()),
            message: Some(end.message.clone()).filter(|m| !m.is_empty()),
            started_at: Some(seconds(end.started_at)),
            finished_at: Some(seconds(end.finished_at)),
        }),
        ..ContainerState::default()
    }
}

/// A verdict: whether, and if not, why (reason and message).
type Verdict = Result<Option<&'static str>, (&'static str, String)>;

fn conditions(machine: &Machine, pod: &Pod, phase: &str, now: Timestamp) -> Vec<PodCondition> {
    let sandbox: Verdict = match machine.sandbox {
        Sandbox::Ready(_) => Ok(None),
        _ => Err(("", String::new())),
    };
    let containers = containers_ready(machine, phase);
    let ready = containers.clone().and_then(|_| pod_ready(machine, pod));
    let ours = [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(machine, phase)),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", Ok(None)),
    ];
    let known: &[PodCondition] = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    // Conditions of others (readiness gates) share the list and stay as they are.
    let foreign = known.iter().filter(|c| ours.iter().all(|(name, _)| *name != c.type_)).cloned();
    let own = ours.iter().map(|(name, verdict)| condition(name, verdict, known, pod, now));
    foreign.chain(own).collect()
}

fn condition(name: &str, verdict: &Verdict, known: &[PodCondition], pod: &Pod, now: Timestamp) -> PodCondition {
    let (status, reason, message) = match verdict {
        Ok(reason) => ("True", reason.unwrap_or_default(), ""),
        Err((reason, message)) => ("False", *reason, message.as_str()),
    };
    let before = known.iter().find(|c| c.type_ == name && c.status == status);
    PodCondition {
        type_: name.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()).filter(|r| !r.is_empty()),
        message: Some(message.to_owned()).filter(|m| !m.is_empty()),
        last_transition_time: before.and_then(|c| c.last_transition_time.clone()).or_else(|| Some(seconds(now))),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    }
}

fn initialized(machine: &Machine, phase: &str) -> Verdict {
    let incomplete: Vec<&str> = machine.containers[..machine.inits]
        .iter()
        .filter(|c| c.ended().is_none_or(|end| end.exit_code != 0))
        .map(|c| c.name.as_str())
        .collect();
    match incomplete.is_empty() {
        true if phase == "Succeeded" => Ok(Some("PodCompleted")),
        true => Ok(None),
        false => {
            Err(("ContainersNotInitialized", format!("containers with incomplete status: [{}]", incomplete.join(" "))))
        }
    }
}

fn containers_ready(machine: &Machine, phase: &str) -> Verdict {
    match phase {
        "Succeeded" => return Err(("PodCompleted", String::new())),
        "Failed" => return Err(("PodFailed", String::new())),
        _ => {}
    }
    let unready: Vec<&str> =
        machine.containers[machine.inits..].iter().filter(|c| !c.ready).map(|c| c.name.as_str()).collect();
    match unready.is_empty() {
        true => Ok(None),
        false => Err(("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" ")))),
    }
}

/// Beyond its containers: the Pod stays, and its readiness gates are open.
fn pod_ready(machine: &Machine, pod: &Pod) -> Verdict {
    if pod.terminating() || machine.gone {
        return Err(("PodTerminating", "the Pod is being deleted".into()));
    }
    let known = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let shut: Vec<String> = pod
        .spec_ref()
        .readiness_gates
        .iter()
        .flatten()
        .filter_map(|gate| match known.iter().find(|c| c.type_ == gate.condition_type) {
            Some(c) if c.status == "True" => None,
            Some(c) => Some(format!(
                "the status of pod readiness gate {:?} is not \"True\", but {}",
                gate.condition_type, c.status
            )),
            None => {
                Some(format!("corresponding condition of pod readiness gate {:?} does not exist.", gate.condition_type))
            }
        })
        .collect();
    if shut.is_empty() { Ok(None) } else { Err(("ReadinessGatesNotReady", shut.join(", "))) }
}

/// Quality of service, from requests and limits of cpu and memory.
pub(crate) fn qos_class(pod: &Pod) -> &'static str {
    let amount = |c: &Container, limits: bool, name: &str| {
        let resources = c.resources.as_ref()?;
        let list = if limits { &resources.limits } else { &resources.requests };
        quantity::milli(&list.as_ref()?.get(name)?.0).filter(|n| *n > 0)
    };
    const COUNTED: [&str; 2] = ["cpu", "memory"];
    let mut containers = pod.all_containers();
    if pod
        .all_containers()
        .all(|c| COUNTED.iter().all(|n| amount(c, true, n).is_none() && amount(c, false, n).is_none()))
    {
        return "BestEffort";
    }
    let guaranteed = containers.all(|c| {
        COUNTED.iter().all(|n| {
            let limit = amount(c, true, n);
            limit.is_some() && amount(c, false, n).is_none_or(|request| Some(request) == limit)
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

/// A time as the API stores it: whole seconds.
pub(crate) fn seconds(time: Timestamp) -> Time {
    Time(jiff::Timestamp::from_second(time.as_second()).unwrap_or(time))
}
