//! Objects that are judged by a phase or by conditions.

use crate::fields::{Fields, make};
use model::flow::Health;
use model::{ObjectId, Verdict};

pub(crate) fn service(live: Fields<'_>) -> Verdict {
    let balanced = live.list("/status/loadBalancer/ingress").next().is_some();
    if live.text("/spec/type") == "LoadBalancer" && !balanced {
        return make(
            Health::Progressing,
            "NoAddress",
            format!("service {} has no load balancer address yet", live.name()),
        );
    }
    make(Health::Healthy, "Current", format!("service {} is served", live.name()))
}

pub(crate) fn ingress(live: Fields<'_>) -> Verdict {
    if live.list("/status/loadBalancer/ingress").next().is_none() {
        return make(Health::Progressing, "NoAddress", format!("ingress {} has no address yet", live.name()));
    }
    make(Health::Healthy, "Current", format!("ingress {} is served", live.name()))
}

pub(crate) fn volume_claim(live: Fields<'_>) -> Verdict {
    let name = live.name();
    match live.text("/status/phase") {
        "Bound" => make(Health::Healthy, "Bound", format!("claim {name} is bound")),
        "Lost" => make(Health::Degraded, "Lost", format!("claim {name} has lost its volume")),
        _ => make(Health::Progressing, "Pending", format!("claim {name} is not bound yet")),
    }
}

pub(crate) fn definition(live: Fields<'_>) -> Verdict {
    for (kind, bad) in [("NamesAccepted", "False"), ("NonStructuralSchema", "True")] {
        if let Some(condition) = live.condition(kind).filter(|c| c.is(bad)) {
            return condition.verdict(Health::Degraded, kind);
        }
    }
    match live.condition("Established") {
        Some(condition) if condition.is("True") => {
            make(Health::Healthy, "Established", format!("{} is served", live.name()))
        }
        _ => make(Health::Progressing, "Installing", format!("{} is not served yet", live.name())),
    }
}

/// Any other kind, by the conventions of kstatus.
pub(crate) fn generic(live: Fields<'_>) -> Verdict {
    if let Some(stalled) = live.condition("Stalled").filter(|c| c.is("True")) {
        return stalled.verdict(Health::Degraded, "Stalled");
    }
    if let Some(busy) = live.condition("Reconciling").filter(|c| c.is("True")) {
        return busy.verdict(Health::Progressing, "Reconciling");
    }
    match live.condition("Ready") {
        Some(ready) if !ready.is("True") => ready.verdict(Health::Progressing, "NotReady"),
        _ => make(Health::Healthy, "Current", format!("{} is current", ObjectId::of(live.0))),
    }
}
