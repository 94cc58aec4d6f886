use crate::harness::{World, deployment};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

/// Of every endpoint: ready, serving, terminating.
fn conditions(slice: &EndpointSlice) -> Vec<(bool, bool, bool)> {
    let is = |condition: Option<bool>| condition.unwrap_or_default();
    let conditions = slice.endpoints.iter().filter_map(|endpoint| endpoint.conditions.as_ref());
    conditions.map(|c| (is(c.ready), is(c.serving), is(c.terminating))).collect()
}

async fn endpoints(world: &World, expect: &[(bool, bool, bool)]) -> EndpointSlice {
    world
        .until("the endpoints are so", async |world| {
            let mut slices = world.list::<EndpointSlice>().await;
            let slice = slices.pop().filter(|slice| slices.is_empty() && conditions(slice) == expect)?;
            Some(slice)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_the_addresses_of_its_pods_and_a_terminating_one_is_not_ready() {
    let world = World::start("service").await;
    let ports = json!([{"name": "web", "port": 80, "targetPort": "http"}]);
    let service = json!({
        "metadata": {"name": "web", "labels": {"team": "a"}},
        "spec": {"clusterIP": "None", "selector": {"app": "web"}, "ports": ports},
    });
    world.create::<Service>(service).await;
    let empty = endpoints(&world, &[]).await;
    world.create::<Deployment>(deployment("web", 2, "lingering")).await;
    let slice = endpoints(&world, &[(true, true, false); 2]).await;

    assert_eq!(slice.uid(), empty.uid(), "a new slice was made for the first Pod");
    let label = |key: &str| slice.labels().get(key).map(String::as_str);
    assert_eq!(label("kubernetes.io/service-name"), Some("web"));
    assert_eq!(label("endpointslice.kubernetes.io/managed-by"), Some("endpointslice-controller.k8s.io"));
    assert_eq!((label("team"), label("service.kubernetes.io/headless")), (Some("a"), Some("")));
    let port = &slice.ports.as_ref().unwrap()[0];
    assert_eq!((port.name.as_deref(), port.port, port.protocol.as_deref()), (Some("web"), Some(8080), Some("TCP")));
    let pods = world.list::<Pod>().await;
    for endpoint in &slice.endpoints {
        let target = endpoint.target_ref.as_ref().unwrap();
        let pod = pods.iter().find(|pod| pod.uid() == target.uid).unwrap();
        assert_eq!(Some(&endpoint.addresses[0]), pod.status.as_ref().unwrap().pod_ip.as_ref());
    }

    world
        .api::<Deployment>()
        .patch_scale("web", &Default::default(), &kube::api::Patch::Merge(json!({"spec": {"replicas": 1}})))
        .await
        .unwrap();
    world
        .until("one address is on its way out", async |world| {
            let slices = world.list::<EndpointSlice>().await;
            let mut found = conditions(slices.first()?);
            found.sort();
            (found == [(false, true, true), (true, true, false)]).then_some(())
        })
        .await;
    for pod in world.list::<Pod>().await.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
        world.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await.unwrap();
    }
    endpoints(&world, &[(true, true, false)]).await;

    world
        .patch::<Service>("web", json!({"metadata": {"labels": {"team": "b"}}, "spec": {"selector": {"app": "other"}}}))
        .await;
    let slice = endpoints(&world, &[]).await;
    assert_eq!(slice.labels()["team"], "b");
}
