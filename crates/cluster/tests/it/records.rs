use crate::harness::{Server, after_wakes, alarm};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use model::ports::{PortError, Records};
use model::records::Kind;
use model::{GROUP, LABEL_PROJECT, Project, VERSION};
use serde_json::{Value, json};

fn definitions() -> Vec<Value> {
    let definition = |kind: Kind| {
        let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let schema = json!({"type": "object", "properties": {"spec": free, "status": free}});
        let version = json!({"name": VERSION, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}});
        let names = json!({"kind": kind.name(), "plural": kind.plural()});
        let spec = json!({"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]});
        let name = format!("{}.{GROUP}", kind.plural());
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name}, "spec": spec})
    };
    Kind::ALL.into_iter().map(definition).collect()
}

fn build(project: &Project, name: &str, phase: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "Build",
        "metadata": {"name": name, "namespace": project.as_str(), "labels": {LABEL_PROJECT: project.as_str()}},
        "spec": {"build": name, "note": null}, "status": {"phase": phase},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_written_only_when_they_differ_and_wake_their_project() {
    let server = Server::start().await;
    let cluster = server.cluster();
    let (project, other): (Project, Project) = ("records".parse().unwrap(), "others".parse().unwrap());
    cluster.install_kinds(&definitions()).await.unwrap();
    cluster.install_kinds(&definitions()).await.unwrap();
    for project in [&project, &other] {
        cluster
            .ensure_namespace(project.as_str(), &[(LABEL_PROJECT.to_owned(), project.to_string())].into())
            .await
            .unwrap();
    }
    let (wake, woken) = alarm();
    cluster.watch(&project, wake).await.unwrap();

    assert!(cluster.create(Kind::Build, &build(&project, "web-1", "Queued")).await.unwrap());
    assert!(!cluster.create(Kind::Build, &build(&project, "web-1", "Running")).await.unwrap());
    cluster.create(Kind::Build, &build(&other, "api-1", "Queued")).await.unwrap();
    let listed = cluster.list(Kind::Build, &project).await.unwrap();
    assert_eq!(listed.len(), 1);
    let [created] = &listed[..] else { unreachable!() };
    assert_eq!((&created["kind"], &created["status"]["phase"]), (&json!("Build"), &json!("Queued")));

    // resourceVersion after each apply: equal content keeps it.
    let version = async || cluster.list(Kind::Build, &project).await.unwrap()[0]["metadata"]["resourceVersion"].clone();
    let before = version().await;
    cluster.apply(Kind::Build, &build(&project, "web-1", "Queued")).await.unwrap();
    assert_eq!(version().await, before);
    cluster.apply(Kind::Build, &build(&project, "web-1", "Running")).await.unwrap();
    let live = cluster.list(Kind::Build, &project).await.unwrap().remove(0);
    assert_eq!((&live["status"], &live["metadata"]["generation"]), (&json!({"phase": "Running"}), &json!(1)));
    let mut relabelled = build(&project, "web-1", "Running");
    relabelled["metadata"]["labels"]["more"] = json!("x");
    cluster.apply(Kind::Build, &relabelled).await.unwrap();
    let live = cluster.list(Kind::Build, &project).await.unwrap().remove(0);
    assert_eq!((&live["metadata"]["labels"]["more"], &live["status"]["phase"]), (&json!("x"), &json!("Running")));
    cluster.apply(Kind::Build, &build(&project, "web-2", "Queued")).await.unwrap();
    assert_eq!(cluster.list(Kind::Build, &project).await.unwrap().len(), 2, "apply creates what is absent");

    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, "Build"), "builds");
    let builds: Api<DynamicObject> = Api::namespaced_with(server.client(), project.as_str(), &kind);
    let patch = Patch::Merge(json!({"spec": {"by": "hand"}}));
    builds.patch("web-2", &PatchParams::default(), &patch).await.unwrap();
    after_wakes("the edit is seen", &woken, async || {
        let listed = cluster.list(Kind::Build, &project).await.unwrap();
        listed.iter().any(|build| build["spec"]["by"] == "hand").then_some(())
    })
    .await;
    cluster.delete(Kind::Build, &project, "web-2").await.unwrap();
    cluster.delete(Kind::Build, &project, "web-2").await.unwrap();
    assert_eq!(cluster.list(Kind::Build, &project).await.unwrap().len(), 1);

    let nowhere = "nowhere".parse().unwrap();
    let refused = cluster.create(Kind::Build, &build(&nowhere, "web-1", "Queued")).await;
    assert!(matches!(&refused, Err(PortError::Terminal(words)) if words.contains("nowhere")), "{refused:?}");
}
