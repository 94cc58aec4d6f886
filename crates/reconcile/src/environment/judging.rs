//! Health of what stands, and what follows from it: routes and the journal.

use super::hooking::{self, Said};
use super::parting::Parted;
use super::rendering::Rendering;
use super::{Outcome, Rendered, Target, Work};
use crate::moving::Leftover;
use model::flow::{Action, Health, Observation, Plan, Verdict};
use model::journal::{Entry, EntryKind};
use model::ports::{Placement, PortError};
use model::routes::{Backend, Route};
use model::views::ComponentStatus;
use model::{Component, Pin};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Lines of a container's log that explain a failure.
const LOG_LINES: u32 = 20;

/// What is judged by.
#[derive(Clone, Copy)]
pub(super) struct Judged<'a> {
    pub observation: &'a Observation,
    pub placement: &'a Placement,
    /// What stands on data planes that were left.
    pub leftovers: &'a [Leftover],
    /// What left.
    pub parted: &'a Parted,
}

impl Work {
    /// Health, routes, journal, answers, records: in this order, so that what is said to be healthy can be reached.
    pub(super) async fn judge(
        &mut self,
        target: &Target,
        Rendering { rendered, sourceless }: &Rendering,
        Judged { observation, placement, leftovers, parted }: Judged<'_>,
        mut plan: Plan,
        hooks: &BTreeMap<Component, Said>,
    ) -> Result<bool, PortError> {
        let settled = plan.is_empty();
        let mut components = Vec::new();
        for one in rendered {
            let untouched = plan
                .steps
                .iter()
                .all(|s| s.action == Action::Unchanged || s.component.as_ref() != Some(&one.pin.build.component));
            let verdict = match untouched || target.report.suspended {
                true => health::component(&one.manifests.objects, observation),
                false => Verdict { health: Health::Progressing, reason: "Applying".into(), message: String::new() },
            };
            let mut status = self.status(target, one, verdict, observation, placement, !untouched).await;
            if let Some(lack) = one.lacks.as_ref().filter(|_| status.health != Health::Healthy) {
                lack.show(&mut status);
            }
            let said = hooks.get(&status.component);
            (status.health, status.reason, status.message) = match said {
                Some(Said::Works(what)) => (Health::Progressing, hooking::REASON.to_owned(), what.clone()),
                Some(Said::Failed(why)) => (Health::Degraded, hooking::FAILED.to_owned(), why.clone()),
                Some(Said::Clear) | None => (status.health, status.reason, status.message),
            };
            components.push(status);
        }
        let healthy = settled && components.iter().all(|status| status.health == Health::Healthy);
        // Requests go to where it was until it is healthy where it is.
        let reachable = if self.arriving && !healthy {
            true
        } else {
            let routed = rendered.iter().zip(&components).filter(|_| target.is_routed());
            let routes = routed.filter_map(|(one, status)| self.route(target, one, status, observation)).collect();
            self.inner.routes.set(&self.handle.scope, routes).await
        };
        plan.steps
            .extend(leftovers.iter().filter_map(|left| left.plan.as_ref().ok()).flat_map(|left| left.steps.clone()));
        components.extend(sourceless.iter().map(|(pin, lack)| lack.status(pin)));
        components.extend(parted.statuses());
        let mut notes = self.notes(target, leftovers);
        notes.extend(parted.notes.iter().cloned());
        let outcome = Arc::new(Outcome {
            commit: Some(target.commit.clone()),
            applied: self.applied.clone(),
            error: None,
            unreachable: None,
            data_plane: self.on.clone(),
            left: self.left.clone(),
            capabilities: self.capabilities.clone(),
            notes,
            policies: self.broken.clone(),
            components,
            plan: Some(plan),
        });
        let mut tests = Vec::new();
        for (one, status) in rendered.iter().zip(&outcome.components) {
            // Behind a hook that failed nothing is applied, and nothing will be.
            if (settled && reachable) || status.reason == hooking::FAILED {
                match super::testing::job(one) {
                    Some(job) => tests.push((one, job)),
                    None => self.tell(target, &one.pin, status).await?,
                }
            }
        }
        // They ran behind what they test.
        for (one, job) in tests {
            self.tell_tests(target, rendered, one, job, observation, placement).await?;
        }
        // Whoever saw it in the journal finds it in every answer; records are many, and can be late.
        self.publish(outcome.clone());
        self.show(target, rendered, &outcome).await?;
        Ok(healthy)
    }

    async fn status(
        &self,
        target: &Target,
        one: &Rendered,
        verdict: Verdict,
        observation: &Observation,
        placement: &Placement,
        drifted: bool,
    ) -> ComponentStatus {
        let component = one.pin.build.component.clone();
        let mut message = verdict.message;
        if verdict.health == Health::Degraded
            && let Some(log) = self.last_words(one, observation, placement).await
        {
            message = format!("{message}\n{log}");
        }
        let public = target.is_routed() && render::public_endpoint(&one.file).is_some();
        let url = public.then(|| {
            let host =
                render::public_host(&component, &self.handle.name, &self.handle.scope.project, &target.state.file);
            format!("http://{host}:{}/", self.inner.settings.gateway.port())
        });
        ComponentStatus {
            component,
            build: one.pin.build.clone(),
            chart: one.pin.chart.clone(),
            health: verdict.health,
            reason: verdict.reason,
            message,
            url,
            drifted,
        }
    }

    /// The end of the log of a container that failed.
    pub(super) async fn last_words(
        &self,
        one: &Rendered,
        observation: &Observation,
        placement: &Placement,
    ) -> Option<String> {
        let component = &one.pin.build.component;
        let job = super::testing::job(one).map(|job| &job["metadata"]["name"]);
        let failing = observation.values().find(|object| {
            let restarts = object.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_i64);
            let ended = || job.is_some() && object.pointer("/metadata/ownerReferences/0/name") == job;
            let label = object.pointer("/metadata/labels").and_then(|l| l.get(model::LABEL_COMPONENT));
            let of_it = object["kind"] == "Pod" && label.and_then(Value::as_str) == Some(component.as_str());
            of_it && (restarts.unwrap_or(0) > 0 || ended())
        })?;
        let (namespace, pod) = (failing["metadata"]["namespace"].as_str()?, failing["metadata"]["name"].as_str()?);
        // What has ended for good has no container before it.
        let running = job.is_none() && failing.pointer("/status/containerStatuses/0/state/running").is_some();
        let log = placement.plane.logs(namespace, pod, LOG_LINES, running).await.ok()?;
        (!log.trim().is_empty())
            .then(|| log.trim_end().lines().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n"))
    }

    fn route(
        &self,
        target: &Target,
        one: &Rendered,
        status: &ComponentStatus,
        observation: &Observation,
    ) -> Option<Route> {
        let (name, endpoint) = render::public_endpoint(&one.file)?;
        let component = &one.pin.build.component;
        let endpoints = ready(observation, &service(one, name, endpoint.port)?, name, endpoint.port);
        Some(Route {
            host: render::public_host(component, &self.handle.name, &self.handle.scope.project, &target.state.file),
            label: format!("{component} in {}: {:?}", self.handle.name, status.health),
            backends: vec![Backend { name: "stable".into(), weight: 1, endpoints }],
        })
    }

    /// The journal hears of health once per movement of a component.
    async fn tell(&mut self, target: &Target, pin: &Pin, status: &ComponentStatus) -> Result<(), PortError> {
        let (kind, word) = match status.health {
            Health::Healthy => (EntryKind::Healthy, "is healthy"),
            Health::Degraded => (EntryKind::Failed, "does not become healthy"),
            Health::Suspended | Health::Progressing | Health::Missing => return Ok(()),
        };
        let mut entry = self.about(target, pin, kind, word, "");
        if kind == EntryKind::Failed {
            entry.reason = format!("{}: {}", status.reason, status.message);
        }
        self.tell_once(entry).await
    }

    /// An entry about the health of a pin, told once per movement and `run`.
    pub(super) fn about(&self, target: &Target, pin: &Pin, kind: EntryKind, word: &str, run: &str) -> Entry {
        let component = &pin.build.component;
        let since = target.report.since.get(component).unwrap_or(&target.commit);
        let id = format!("{kind}-{}-{}-{}{run}", self.handle.name, pin.build, &since.as_str()[..12]);
        let mut entry = self.entry(kind, id);
        entry.component = Some(component.clone());
        entry.build = Some(pin.build.clone());
        entry.commit = Some(since.clone());
        entry.summary = format!("{}: {} {word}", self.handle.name, pin.build);
        entry
    }

    pub(super) async fn tell_once(&mut self, entry: Entry) -> Result<(), PortError> {
        if !self.told.contains(&entry.id) {
            self.inner.ports.repositories.append(&self.handle.scope.project, &entry).await?;
            self.told.insert(entry.id);
            self.project.told();
        }
        Ok(())
    }
}

/// The Service of an endpoint: the one of the component's name; in a chart, else the first that has the port.
fn service(one: &Rendered, name: &str, port: u16) -> Option<String> {
    let component = one.pin.build.component.as_str();
    let services = || one.manifests.objects.iter().filter(|object| object["kind"] == "Service");
    if one.file.chart.is_none() || services().any(|service| service["metadata"]["name"] == component) {
        return Some(component.to_owned());
    }
    let has = |service: &&Value| {
        let ports = service.pointer("/spec/ports").and_then(Value::as_array);
        let fits =
            |p: &Value| p["name"] == name || p["targetPort"] == name || p["targetPort"] == port || p["port"] == port;
        ports.is_some_and(|ports| ports.iter().any(fits))
    };
    Some(services().find(has)?["metadata"]["name"].as_str()?.to_owned())
}

/// Ready addresses of an endpoint, out of the EndpointSlices of its Service.
fn ready(observation: &Observation, service_name: &str, name: &str, port: u16) -> Vec<SocketAddr> {
    let of_it = |slice: &&Value| {
        let service = slice.pointer("/metadata/labels").and_then(|l| l.get("kubernetes.io/service-name"));
        slice["kind"] == "EndpointSlice" && service.and_then(Value::as_str) == Some(service_name)
    };
    let mut addresses = Vec::new();
    for slice in observation.values().filter(of_it) {
        let ports = slice["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named = ports.iter().find(|p| p["name"] == name).or(ports.first());
        let port = named.and_then(|p| p["port"].as_u64()).and_then(|p| u16::try_from(p).ok()).unwrap_or(port);
        for endpoint in slice["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default() {
            if endpoint["conditions"]["ready"] == false || endpoint["conditions"]["terminating"] == true {
                continue;
            }
            let ips = endpoint["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
            addresses.extend(
                ips.iter().filter_map(|ip| ip.as_str()?.parse::<IpAddr>().ok()).map(|ip| SocketAddr::new(ip, port)),
            );
        }
    }
    addresses.sort();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_ready_addresses_are_routed() {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": { "name": "web-x", "namespace": "shop-dev", "labels": { "kubernetes.io/service-name": "web" } },
            "ports": [{ "name": "admin", "port": 9000 }, { "name": "http", "port": 3000 }],
            "endpoints": [
                { "addresses": ["10.0.0.2"], "conditions": { "ready": true } },
                { "addresses": ["10.0.0.3"], "conditions": { "ready": false } },
                { "addresses": ["10.0.0.4"], "conditions": { "ready": true, "terminating": true } },
            ],
        });
        let observation = Observation::from_iter([slice]);
        assert_eq!(ready(&observation, "web", "http", 80), ["10.0.0.2:3000".parse().unwrap()]);
        assert_eq!(ready(&observation, "api", "http", 80), []);
    }
}
