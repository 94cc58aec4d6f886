//! What stands in the cluster for one component: asked for by labels and owners, so that it costs as much as there is of
//! the component, whatever else stands in its namespace.

use super::delivery::unavailable;
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use kube::core::Selector;
use model::Component;
use model::views::Resources;
use serde_json::Value;
use std::collections::BTreeSet;

/// Objects of which the events are asked for: each is a request.
const TOLD_MAX: usize = 16;
/// Events of one object.
const EVENTS_MAX: u32 = 50;

/// Everything of the component, and what the cluster tells about it.
pub(super) async fn of(client: &kube::Client, namespace: &str, component: &Component) -> web::Result<Resources> {
    let ours = ListParams::default().labels(&format!("{}={component}", model::LABEL_COMPONENT));
    let deployments = list::<Deployment>(client, namespace, &ours).await?;
    let services = objects::<Service>(client, namespace, &ours).await?;
    let mut found = values(&deployments)?;
    for selection in std::iter::once(ours.clone()).chain(deployments.iter().filter_map(beside)) {
        found.extend(objects::<ReplicaSet>(client, namespace, &selection).await?);
        found.extend(objects::<Pod>(client, namespace, &selection).await?);
    }
    let names: Vec<&str> = services.iter().filter_map(|service| service["metadata"]["name"].as_str()).collect();
    if !names.is_empty() {
        let of_them = ListParams::default().labels(&format!("kubernetes.io/service-name in ({})", names.join(",")));
        found.extend(objects::<EndpointSlice>(client, namespace, &of_them).await?);
    }
    found.extend(services);
    found.extend(objects::<ConfigMap>(client, namespace, &ours).await?);
    let mut seen = BTreeSet::new();
    found.retain(|object| seen.insert((object["kind"].to_string(), object["metadata"]["name"].to_string())));
    let events = events(client, namespace, &found).await?;
    Ok(Resources { objects: found, events })
}

/// What a Deployment selects, if its Pods do not carry the label of the component: a chart's need not.
fn beside(deployment: &Deployment) -> Option<ListParams> {
    let spec = deployment.spec.as_ref()?;
    let labels = spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    if labels.is_some_and(|labels| labels.contains_key(model::LABEL_COMPONENT)) {
        return None;
    }
    let selector = Selector::try_from(spec.selector.clone()).ok().filter(|selector| !selector.selects_all())?;
    Some(ListParams::default().labels_from(&selector))
}

/// Events about the newest of these objects.
async fn events(client: &kube::Client, namespace: &str, of: &[Value]) -> web::Result<Vec<Value>> {
    let mut newest: Vec<&Value> = of.iter().collect();
    newest
        .sort_by_key(|object| std::cmp::Reverse(object["metadata"]["creationTimestamp"].as_str().unwrap_or_default()));
    let names: BTreeSet<&str> =
        newest.iter().filter_map(|object| object["metadata"]["name"].as_str()).take(TOLD_MAX).collect();
    let of_one = |name: &str| {
        let about = ListParams::default().fields(&format!("involvedObject.name={name}")).limit(EVENTS_MAX);
        async move { objects::<Event>(client, namespace, &about).await }
    };
    Ok(try_join_all(names.into_iter().map(of_one)).await?.into_iter().flatten().collect())
}

async fn objects<K>(client: &kube::Client, namespace: &str, which: &ListParams) -> web::Result<Vec<Value>>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    values(&list::<K>(client, namespace, which).await?)
}

async fn list<K>(client: &kube::Client, namespace: &str, which: &ListParams) -> web::Result<Vec<K>>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    Ok(Api::<K>::namespaced(client.clone(), namespace).list(which).await.map_err(unavailable)?.items)
}

fn values(objects: &[impl serde::Serialize]) -> web::Result<Vec<Value>> {
    objects.iter().map(|object| serde_json::to_value(object).map_err(unavailable)).collect()
}
