//! What is known of Services and their endpoints: values, and what follows from them.

use crate::network::rules::Virtual;
use crate::nftables::Protocol;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Namespace and name.
type Key = (String, String);

/// Services and EndpointSlices, as the API has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    services: BTreeMap<Key, Arc<Service>>,
    /// By namespace and Service, then by name.
    slices: BTreeMap<Key, BTreeMap<String, Arc<EndpointSlice>>>,
    /// Whose slice it is, by namespace and name.
    owners: HashMap<Key, String>,
    /// Seen since a list began.
    listed_services: BTreeSet<Key>,
    listed_slices: BTreeSet<Key>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    /// Empty if it has none.
    pub name: String,
    pub protocol: Protocol,
    pub number: u16,
}

/// A ready endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub address: Ipv4Addr,
    /// Of the Pod, if it is a member of the Service's subdomain.
    pub hostname: Option<String>,
    pub ports: Vec<Port>,
}

/// A Service with what stands behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    service: &'a Service,
    slices: Option<&'a BTreeMap<String, Arc<EndpointSlice>>>,
}

impl Catalog {
    pub(crate) fn take_service(&mut self, event: Event<Service>) {
        let key = |service: &Service| (service.namespace().unwrap_or_default(), service.name_any());
        match event {
            Event::Init => self.listed_services.clear(),
            Event::InitApply(service) => {
                self.listed_services.insert(key(&service));
                self.services.insert(key(&service), Arc::new(service));
            }
            Event::Apply(service) => drop(self.services.insert(key(&service), Arc::new(service))),
            Event::Delete(service) => drop(self.services.remove(&key(&service))),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed_services);
                self.services.retain(|key, _| listed.contains(key));
            }
        }
    }

    pub(crate) fn take_slice(&mut self, event: Event<EndpointSlice>) {
        match event {
            Event::Init => self.listed_slices.clear(),
            Event::InitApply(slice) => {
                self.listed_slices.insert(key_of(&slice));
                self.put(slice);
            }
            Event::Apply(slice) => self.put(slice),
            Event::Delete(slice) => self.remove(&key_of(&slice)),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed_slices);
                let gone: Vec<Key> = self.owners.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                gone.iter().for_each(|key| self.remove(key));
            }
        }
    }

    fn put(&mut self, slice: EndpointSlice) {
        let key = key_of(&slice);
        self.remove(&key);
        let Some(service) = slice.labels().get(SERVICE_NAME).cloned() else { return };
        self.owners.insert(key.clone(), service.clone());
        self.slices.entry((key.0, service)).or_default().insert(key.1, Arc::new(slice));
    }

    fn remove(&mut self, key: &Key) {
        let Some(service) = self.owners.remove(key) else { return };
        let of = (key.0.clone(), service);
        if let Some(slices) = self.slices.get_mut(&of) {
            slices.remove(&key.1);
            if slices.is_empty() {
                self.slices.remove(&of);
            }
        }
    }

    /// A Service by namespace and name.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<Entry<'_>> {
        let key = (namespace.to_owned(), name.to_owned());
        Some(Entry { service: self.services.get(&key)?, slices: self.slices.get(&key) })
    }

    /// All Services.
    pub(crate) fn services(&self) -> impl Iterator<Item = Entry<'_>> {
        self.services.iter().map(|(key, service)| Entry { service, slices: self.slices.get(key) })
    }

    /// Whether there is a Service in this namespace.
    pub(crate) fn has_namespace(&self, namespace: &str) -> bool {
        let from = (namespace.to_owned(), String::new());
        self.services.range(from..).next().is_some_and(|(key, _)| key.0 == namespace)
    }

    /// What the packet filter is to do, in order.
    pub(crate) fn virtuals(&self) -> Vec<Virtual> {
        let mut all: Vec<Virtual> = self.services().flat_map(|entry| entry.virtuals()).collect();
        all.sort();
        // Two Services with one address would be a defect of the API server; the kernel takes no chain twice.
        all.dedup_by(|a, b| (a.address, a.protocol, a.port) == (b.address, b.protocol, b.port));
        all
    }
}

fn key_of(slice: &EndpointSlice) -> Key {
    (slice.namespace().unwrap_or_default(), slice.name_any())
}

fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

impl Entry<'_> {
    pub(crate) fn name(&self) -> String {
        self.service.name_any()
    }

    pub(crate) fn namespace(&self) -> String {
        self.service.namespace().unwrap_or_default()
    }

    /// Its own address; `None` if it is headless.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        self.service.spec.as_ref()?.cluster_ip.as_deref()?.parse().ok()
    }

    /// The name that it stands for, if it is one of type `ExternalName`.
    pub(crate) fn external_name(&self) -> Option<&str> {
        let spec = self.service.spec.as_ref()?;
        spec.external_name.as_deref().filter(|_| spec.type_.as_deref() == Some("ExternalName"))
    }

    pub(crate) fn ports(&self) -> Vec<Port> {
        let ports = self.service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let known = ports.filter_map(|port| {
            let (protocol, number) = (protocol(port.protocol.as_deref())?, number(port.port)?);
            Some(Port { name: port.name.clone().unwrap_or_default(), protocol, number })
        });
        known.collect()
    }

    /// Ready endpoints with IPv4 addresses.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for slice in self.slices.into_iter().flat_map(BTreeMap::values).filter(|slice| slice.address_type == "IPv4") {
            let ports = slice.ports.iter().flatten().filter_map(|port| {
                let (protocol, number) = (protocol(port.protocol.as_deref())?, number(port.port?)?);
                Some(Port { name: port.name.clone().unwrap_or_default(), protocol, number })
            });
            let ports: Vec<Port> = ports.collect();
            for endpoint in &slice.endpoints {
                // What does not say so is ready.
                let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
                let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
                targets.extend(addresses.filter(|_| ready).map(|address| Target {
                    address,
                    hostname: endpoint.hostname.clone(),
                    ports: ports.clone(),
                }));
            }
        }
        targets
    }

    fn virtuals(&self) -> Vec<Virtual> {
        let Some(address) = self.address().filter(|_| self.external_name().is_none()) else { return Vec::new() };
        let spec = self.service.spec.as_ref();
        let sticky = spec.and_then(|spec| spec.session_affinity.as_deref()) == Some("ClientIP");
        let targets = self.targets();
        let behind = |port: &Port| -> Vec<SocketAddrV4> {
            let all = targets.iter().flat_map(|target| {
                let of_port = target.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol);
                of_port.map(|p| SocketAddrV4::new(target.address, p.number))
            });
            all.collect::<BTreeSet<_>>().into_iter().collect()
        };
        let ports = self.ports().into_iter();
        ports
            .map(|port| Virtual {
                address,
                protocol: port.protocol,
                port: port.number,
                endpoints: behind(&port),
                sticky,
            })
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    /// A Service of namespace `shop`.
    pub(crate) fn service(name: &str, spec: Value) -> Service {
        from_value(json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec})).unwrap()
    }

    /// A slice of a Service of namespace `shop`.
    pub(crate) fn slice(name: &str, of: &str, ports: Value, endpoints: Value) -> EndpointSlice {
        from_value(json!({
            "metadata": {"namespace": "shop", "name": name, "labels": {SERVICE_NAME: of}},
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn shown(catalog: &Catalog) -> Vec<String> {
        let show = |v: &Virtual| {
            let endpoints: Vec<String> = v.endpoints.iter().map(ToString::to_string).collect();
            format!("{}:{} {:?} -> {}", v.address, v.port, v.protocol, endpoints.join(" "))
        };
        catalog.virtuals().iter().map(show).collect()
    }

    #[test]
    fn ready_endpoints_stand_behind_the_ports_of_a_service() {
        let ports =
            json!([{"name": "web", "port": 80, "targetPort": "http"}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
        let mut catalog = Catalog::default();
        catalog.take_service(Event::Apply(service("api", json!({"clusterIP": "10.30.16.7", "ports": ports}))));
        assert_eq!(shown(&catalog), ["10.30.16.7:80 Tcp -> ", "10.30.16.7:53 Udp -> "]);
        let slice_ports =
            json!([{"name": "web", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 5353, "protocol": "UDP"}]);
        let endpoints = json!([
            {"addresses": ["10.20.1.3"], "conditions": {"ready": true}},
            {"addresses": ["10.20.1.2"]},
            {"addresses": ["10.20.1.4"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        ]);
        catalog.take_slice(Event::Apply(slice("api-1", "api", slice_ports.clone(), endpoints)));
        let both = [
            "10.30.16.7:80 Tcp -> 10.20.1.2:8080 10.20.1.3:8080",
            "10.30.16.7:53 Udp -> 10.20.1.2:5353 10.20.1.3:5353",
        ];
        assert_eq!(shown(&catalog), both);
        // Another slice of the same Service, with an endpoint that is in the first too.
        let more = json!([{"addresses": ["10.20.1.2"]}, {"addresses": ["10.20.1.5"]}]);
        catalog.take_slice(Event::Apply(slice("api-2", "api", json!([{"name": "web", "port": 8080}]), more)));
        assert_eq!(shown(&catalog)[0], "10.30.16.7:80 Tcp -> 10.20.1.2:8080 10.20.1.3:8080 10.20.1.5:8080");
        catalog.take_slice(Event::Delete(slice("api-2", "api", json!([]), json!([]))));
        assert_eq!(shown(&catalog), both);
        for spec in [json!({"clusterIP": "None", "ports": ports}), json!({"type": "ExternalName", "externalName": "x"})]
        {
            catalog.take_service(Event::Apply(service("api", spec)));
            assert!(shown(&catalog).is_empty());
        }
    }

    #[test]
    fn what_is_missing_in_a_new_list_is_gone() {
        let mut catalog = Catalog::default();
        let api = service("api", json!({"clusterIP": "10.30.16.7", "ports": [{"port": 80}]}));
        catalog.take_service(Event::Apply(api.clone()));
        catalog.take_service(Event::Apply(service("web", json!({"clusterIP": "10.30.16.8", "ports": [{"port": 80}]}))));
        let endpoints = json!([{"addresses": ["10.20.1.2"]}]);
        catalog.take_slice(Event::Apply(slice("api-1", "api", json!([{"name": "", "port": 8080}]), endpoints)));
        catalog.take_service(Event::Init);
        catalog.take_service(Event::InitApply(api));
        assert_eq!(shown(&catalog).len(), 2, "until the list is complete");
        catalog.take_service(Event::InitDone);
        assert_eq!(shown(&catalog), ["10.30.16.7:80 Tcp -> 10.20.1.2:8080"]);
        catalog.take_slice(Event::Init);
        catalog.take_slice(Event::InitDone);
        assert_eq!(shown(&catalog), ["10.30.16.7:80 Tcp -> "]);
    }
}
