//! Components with manifests of their own.

use model::flow::{File, FileMode, Manifests, Repository, Revision, Snapshot};
use model::{ComponentFile, Digest, Environment, EnvironmentFile, ImageRef, Pin};
use render::{Described, described};
use serde_json::{Value, json};

const BASE: &str = "resources: [deployment.yaml]\n";
const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'web:dev'}, {name: side, image: 'docker.io/library/web:1'}]}
";

fn repository(files: &[(&str, &str)]) -> Snapshot {
    let file = |text: &str| File { mode: FileMode::Regular, bytes: text.as_bytes().into() };
    let repository = Repository { project: "shop".parse().unwrap(), name: "web".into() };
    Snapshot {
        revision: Revision { repository, commit: "a".repeat(40).parse().unwrap() },
        files: files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect(),
    }
}

fn build(files: &[(&str, &str)], component: Value, environment: Value, layers: &[&str]) -> Result<Manifests, String> {
    let mut description = json!({"project": "shop", "component": "web", "manifests": {"path": "deploy"}});
    description.as_object_mut().unwrap().extend(component.as_object().unwrap().clone());
    let component: ComponentFile = serde_json::from_value(description).unwrap();
    let file: EnvironmentFile = serde_json::from_value(environment).unwrap();
    let layers: Vec<Environment> = layers.iter().map(|l| l.parse().unwrap()).collect();
    let pin = Pin {
        build: "web-7".parse().unwrap(),
        source: "a".repeat(40).parse().unwrap(),
        image: Some(ImageRef::recorded(&component.project, &component.component, &Digest::of(b"image"))),
        chart: None,
        config: "b".repeat(40).parse().unwrap(),
    };
    let input = Described {
        component: &component,
        pin: &pin,
        environment: &layers[0],
        layers: &layers,
        file: &file,
        remotes: &model::remote::Remotes::new(),
        charts: &render::kustomize::Charts::in_cluster([7; 32], jiff::Timestamp::UNIX_EPOCH),
        cache: &render::kustomize::Cache::default(),
        repository: &repository(files),
    };
    described(&input).map_err(|error| error.to_string())
}

fn replicas(manifests: &Manifests) -> Vec<u64> {
    manifests.objects.iter().filter_map(|o| o["spec"]["replicas"].as_u64()).collect()
}

#[test]
fn an_environment_takes_its_overlay_or_that_of_what_it_is_like_or_the_base() {
    let overlay = |n: u32| format!("resources: [../../base]\nreplicas: [{{name: web, count: {n}}}]\n");
    let (two, ten) = (overlay(2), overlay(10));
    let files = [
        ("deploy/base/kustomization.yaml", BASE),
        ("deploy/base/deployment.yaml", DEPLOYMENT),
        ("deploy/overlays/dev/kustomization.yaml", two.as_str()),
        ("deploy/overlays/staging/kustomization.yaml", ten.as_str()),
    ];
    for (layers, expected) in [(&["dev"][..], 2), (&["staging"], 10), (&["qa", "staging"], 10), (&["prod"], 1)] {
        let manifests = build(&files, json!({}), json!({}), layers).unwrap();
        assert_eq!(replicas(&manifests), [expected], "{layers:?}");
        let object = &manifests.objects[0];
        assert_eq!(object["metadata"]["namespace"], format!("shop-{}", layers[0]));
        assert_eq!(object["metadata"]["labels"]["trimtab.dev/component"], "web");
    }
}

#[test]
fn the_components_image_gets_its_digest_and_no_other() {
    let long = DEPLOYMENT.replace("web:dev", "registry.trimtab.internal/shop/web:latest");
    for text in [DEPLOYMENT, &long] {
        let manifests = build(&[("deploy/web.yaml", text)], json!({}), json!({}), &["dev"]).unwrap();
        let containers = &manifests.objects[0]["spec"]["template"]["spec"]["containers"];
        let digest = Digest::of(b"image");
        assert_eq!(containers[0]["image"], format!("registry.trimtab.internal/shop/web@{digest}"));
        assert_eq!(containers[1]["image"], "docker.io/library/web:1");
    }
}

#[test]
fn what_a_component_may_not_bring_along() {
    let pod = |spec: &str| DEPLOYMENT.replace("spec: {containers", &format!("spec: {{{spec}, containers"));
    let role = format!(
        "{DEPLOYMENT}---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: all}}\n"
    );
    let cases: &[(&str, String, Option<&str>)] = &[
        ("no container has the image web", DEPLOYMENT.replace("web:dev", "other:dev"), None),
        (
            "its namespace must be shop-dev",
            DEPLOYMENT.replace("{name: web}", "{name: web, namespace: kube-system}"),
            None,
        ),
        ("allow: [clusterScoped]", role, Some("clusterScoped")),
        ("allow: [hostPath]", pod("volumes: [{name: x, hostPath: {path: /}}]"), Some("hostPath")),
        ("allow: [privileged]", pod("hostNetwork: true"), Some("privileged")),
        (
            "allow: [privileged]",
            DEPLOYMENT.replace("image: 'web:dev'", "image: 'web:dev', securityContext: {privileged: true}"),
            Some("privileged"),
        ),
    ];
    for (expected, text, allowance) in cases {
        let files = [("deploy/web.yaml", text.as_str())];
        let error = build(&files, json!({}), json!({}), &["dev"]).unwrap_err();
        assert!(error.starts_with("component web: manifests: ") && error.contains(expected), "{error}");
        if let Some(allowance) = allowance {
            build(&files, json!({}), json!({"allow": [allowance]}), &["dev"]).unwrap();
        }
    }
}

#[test]
fn wrong_descriptions_say_where() {
    let files = [("deploy/web.yaml", DEPLOYMENT), ("elsewhere/web.yaml", DEPLOYMENT)];
    let overlays =
        [("deploy/overlays/dev/kustomization.yaml", BASE), ("deploy/overlays/prod/kustomization.yaml", BASE)];
    let cases: &[(&[(&str, &str)], Value, Value, &str)] = &[
        (
            &files,
            json!({"manifests": {"path": "nowhere"}}),
            json!({}),
            "manifests.path: there is no directory \"nowhere\"",
        ),
        (&files, json!({"manifests": {"path": "../elsewhere"}}), json!({}), "manifests.path: must lie inside"),
        (&files, json!({"manifests": {"path": "/deploy"}}), json!({}), "manifests.path: must lie inside"),
        (&files, json!({"workload": {"replicas": 2}}), json!({}), "workload: stands beside `manifests`"),
        (&files, json!({}), json!({"overrides": {"web": {"replicas": 3}}}), "environments/qa.yaml: overrides"),
        (&overlays, json!({}), json!({}), "has no overlay for qa (there is: dev, prod)"),
        (&[("deploy/web.yaml", "a: [")], json!({}), json!({}), "deploy/web.yaml:1:5"),
    ];
    for (files, component, environment, expected) in cases {
        let error = build(files, component.clone(), environment.clone(), &["qa"]).unwrap_err();
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

#[test]
fn a_secret_in_plain_text_is_noted() {
    let text =
        format!("{DEPLOYMENT}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: key}}\nstringData: {{a: b}}\n");
    let manifests = build(&[("deploy/web.yaml", &text)], json!({}), json!({}), &["dev"]).unwrap();
    assert!(manifests.notes[0].contains("stands in git in plain text"), "{:?}", manifests.notes);
}

#[test]
fn a_secret_of_an_overlays_chart_does_not_stand_in_git() {
    let secret =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: made}\nstringData: {password: '{{ randAlphaNum 8 }}'}\n";
    let files = [
        (
            "deploy/kustomization.yaml",
            "helmCharts: [{name: web}]\nsecretGenerator: [{name: mine, literals: [a=b]}]\nresources: [web.yaml]\n",
        ),
        ("deploy/web.yaml", DEPLOYMENT),
        ("deploy/charts/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
        ("deploy/charts/web/templates/secret.yaml", secret),
    ];
    let manifests = build(&files, json!({}), json!({}), &["dev"]).unwrap();
    assert_eq!(manifests.objects.iter().filter(|object| object["kind"] == "Secret").count(), 2);
    let told: Vec<&String> = manifests.notes.iter().filter(|note| note.contains("in plain text")).collect();
    assert!(told.len() == 1 && told[0].contains("mine-"), "{told:?}");
}
