//! Pods, and why one will not come up.

use crate::fields::{Fields, make};
use model::Verdict;
use model::flow::Health;

/// Reasons for waiting that only a new spec, image or configuration ends. `ErrImagePull` and `RunContainerError` are
/// not among them: they are tried again at once, and when that fails too they turn into a back-off.
const HOPELESS: [&str; 7] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "StartError",
];

/// So many restarts are no accident any more.
const RESTARTS_MAX: i64 = 2;

pub(crate) fn verdict(pod: Fields<'_>) -> Verdict {
    if let Some(failing) = failing(pod) {
        return failing;
    }
    let name = pod.name();
    match pod.text("/status/phase") {
        "Succeeded" => make(Health::Healthy, "Completed", format!("pod {name} has completed")),
        "Running" if pod.text("/spec/restartPolicy") != "Always" && !pod.text("/spec/restartPolicy").is_empty() => {
            make(Health::Progressing, "Running", format!("pod {name} runs to completion"))
        }
        "Running" if pod.condition("Ready").is_some_and(|c| c.is("True")) => {
            make(Health::Healthy, "Ready", format!("pod {name} is ready"))
        }
        _ => waiting(pod),
    }
}

/// Degraded, if this Pod will not become ready by itself.
pub(crate) fn failing(pod: Fields<'_>) -> Option<Verdict> {
    if !pod.text("/metadata/deletionTimestamp").is_empty() {
        return None;
    }
    let container = containers(pod).find_map(|(kind, container)| failing_container(pod, kind, container));
    container.or_else(|| {
        let failed = pod.text("/status/phase") == "Failed";
        failed.then(|| {
            let reason = Some(pod.text("/status/reason")).filter(|r| !r.is_empty()).unwrap_or("Failed");
            make(Health::Degraded, reason, clause(format!("pod {}: {reason}", pod.name()), pod.text("/status/message")))
        })
    })
}

/// Progressing, with what the Pod waits for.
pub(crate) fn waiting(pod: Fields<'_>) -> Verdict {
    let name = pod.name();
    if let Some(scheduled) = pod.condition("PodScheduled").filter(|c| c.is("False")) {
        let message = clause(format!("pod {name} has no node"), scheduled.message);
        return make(
            Health::Progressing,
            if scheduled.reason.is_empty() { "Unschedulable" } else { scheduled.reason },
            message,
        );
    }
    for (kind, container) in containers(pod) {
        let label = format!("pod {name}, {kind} {}", container.text("/name"));
        let reason = container.text("/state/waiting/reason");
        if !reason.is_empty() {
            return make(
                Health::Progressing,
                reason,
                clause(format!("{label}: {reason}"), container.text("/state/waiting/message")),
            );
        }
        if container.0.pointer("/state/terminated").is_some() && kind == "container" {
            return make(
                Health::Progressing,
                "Restarting",
                format!("{label}: {}", exit(container, "/state/terminated")),
            );
        }
        if container.0.pointer("/state/running").is_some() && kind == "container" && !container.flag("/ready") {
            return make(Health::Progressing, "NotReady", format!("{label} runs and is not ready yet"));
        }
    }
    make(Health::Progressing, "Pending", format!("pod {name} is starting"))
}

fn containers(pod: Fields<'_>) -> impl Iterator<Item = (&'static str, Fields<'_>)> {
    let init = pod.list("/status/initContainerStatuses").map(|c| ("init container", c));
    init.chain(pod.list("/status/containerStatuses").map(|c| ("container", c)))
}

fn failing_container(pod: Fields<'_>, kind: &str, container: Fields<'_>) -> Option<Verdict> {
    let label = format!("pod {}, {kind} {}", pod.name(), container.text("/name"));
    let restarts = container.count("/restartCount");
    let reason = container.text("/state/waiting/reason");
    if HOPELESS.contains(&reason) {
        let last = "/lastState/terminated";
        let message = if container.0.pointer(last).is_some_and(serde_json::Value::is_object) {
            format!("{label}: {reason}, {}, restarted {restarts} times", exit(container, last))
        } else {
            clause(format!("{label}: {reason}"), container.text("/state/waiting/message"))
        };
        return Some(make(Health::Degraded, reason, message));
    }
    let failed = container.number("/state/terminated/exitCode").is_some_and(|code| code != 0);
    let final_run = match pod.text("/spec/restartPolicy") {
        "Never" => true,
        _ => restarts >= RESTARTS_MAX,
    };
    if failed && final_run {
        let reason = Some(container.text("/state/terminated/reason")).filter(|r| !r.is_empty()).unwrap_or("Error");
        let times = if restarts > 0 { format!(", restarted {restarts} times") } else { String::new() };
        return Some(make(
            Health::Degraded,
            reason,
            format!("{label}: {}{times}", exit(container, "/state/terminated")),
        ));
    }
    None
}

/// `OOMKilled, exit code 137: <termination message>`.
fn exit(container: Fields<'_>, pointer: &str) -> String {
    let at = |field: &str| container.text(&format!("{pointer}/{field}"));
    let code = container.count(&format!("{pointer}/exitCode"));
    let reason = at("reason");
    let known = if reason.is_empty() || reason == "Error" || reason == "Completed" {
        String::new()
    } else {
        format!("{reason}, ")
    };
    clause(format!("{known}exit code {code}"), at("message").trim())
}

fn clause(head: String, tail: &str) -> String {
    if tail.is_empty() { head } else { format!("{head}: {tail}") }
}
