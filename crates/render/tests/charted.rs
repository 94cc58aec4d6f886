//! Components that are charts: values, image, hooks, and what an environment does not let in.

use model::flow::{File, FileMode, HookDeletion, HookEvent, Manifests, Repository, Revision, Snapshot};
use model::{ChartPin, ComponentFile, Digest, Environment, EnvironmentFile, ImageRef, Pin};
use render::helm::{Chart, Files};
use render::{Charted, charted, values_of};
use serde_json::{Value, json};

fn files(list: &[(&str, &str)]) -> Files {
    let chart = ("Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.2.0\n");
    [chart].iter().chain(list).map(|(path, text)| ((*path).to_owned(), text.as_bytes().into())).collect()
}

fn snapshot(name: &str, list: &[(&str, &str)]) -> Snapshot {
    let repository = Repository { project: "shop".parse().unwrap(), name: name.into() };
    let file = |text: &str| File { mode: FileMode::Regular, bytes: text.as_bytes().into() };
    Snapshot {
        revision: Revision { repository, commit: "0".repeat(40).parse().unwrap() },
        files: list.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect(),
    }
}

fn component(chart: Value, more: Value) -> ComponentFile {
    let mut all = json!({"project": "shop", "component": "web", "chart": chart});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

struct Case {
    component: ComponentFile,
    environment: Value,
    values: Vec<(String, String)>,
    image: bool,
    seed: u8,
}

impl Case {
    fn new(chart: Value) -> Self {
        Self {
            component: component(chart, json!({})),
            environment: json!({}),
            values: Vec::new(),
            image: false,
            seed: 1,
        }
    }

    fn render(&self, list: &[(&str, &str)]) -> Result<Manifests, String> {
        let image = ImageRef::recorded(&"shop".parse().unwrap(), &"web".parse().unwrap(), &Digest::of(b"image"));
        let pin = Pin {
            build: "web-7".parse().unwrap(),
            source: "a".repeat(40).parse().unwrap(),
            image: self.image.then_some(image),
            chart: Some(ChartPin { name: "web".into(), version: "1.2.0".into(), digest: Digest::of(b"chart") }),
            config: "b".repeat(40).parse().unwrap(),
        };
        let file: EnvironmentFile = serde_json::from_value(self.environment.clone()).unwrap();
        let rendered = charted(Charted {
            component: &self.component,
            pin: &pin,
            environment: &"dev".parse().unwrap(),
            file: &file,
            chart: &Chart::load(&files(list)).unwrap(),
            values: self.values.clone(),
            seed: [self.seed; 32],
            now: "2026-11-21T10:00:00Z".parse().unwrap(),
            is_upgrade: false,
            revision: 1,
            capabilities: None,
            secrets: &[],
            lookup: None,
        });
        rendered.map_err(|error| error.to_string())
    }
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: '{{ .Release.Name }}'}\nspec: {containers: [{name: a, image: '{{ .Values.image }}'}]}\n";

#[test]
fn the_objects_are_the_environments_own_and_crds_come_first() {
    let crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a.example.com}\n";
    let mut case = Case::new(json!({"path": "chart", "release": "front"}));
    let list = [("templates/pod.yaml", POD), ("values.yaml", "image: nginx\n"), ("crds/a.yaml", crd)];
    assert!(case.render(&list).unwrap_err().contains("allow: [clusterScoped]"));
    case.environment = json!({"allow": ["clusterScoped"]});
    let objects = case.render(&list).unwrap().objects;
    assert_eq!(objects[0]["kind"], "CustomResourceDefinition");
    assert_eq!(objects[1]["metadata"]["name"], "front");
    assert_eq!(objects[1]["metadata"]["namespace"], "shop-dev");
    assert_eq!(objects[1]["metadata"]["labels"]["trimtab.dev/component"], "web");
    assert_eq!(objects[1]["spec"]["containers"][0]["image"], "nginx");
}

#[test]
fn the_image_is_given_to_declared_values_and_must_be_used() {
    let digest = Digest::of(b"image");
    let name = "registry.trimtab.internal/shop/web";
    let (whole, with_tag) = (format!("{name}@{digest}"), format!("{name}:7@{digest}"));
    for (values, template, expect) in [
        (json!({"name": "image"}), "{{ .Values.image }}", &whole),
        (json!({"repository": "i.r", "tag": "i.t"}), "{{ .Values.i.r }}:{{ .Values.i.t }}", &whole),
        (
            json!({"registry": "a", "repository": "b", "digest": "c"}),
            "{{ .Values.a }}/{{ .Values.b }}@{{ .Values.c }}",
            &whole,
        ),
    ] {
        let mut case = Case::new(json!({"path": "chart", "image": values}));
        case.image = true;
        let text = POD.replace("{{ .Values.image }}", template);
        let objects = case.render(&[("templates/pod.yaml", &text)]).unwrap().objects;
        assert_eq!(objects[0]["spec"]["containers"][0]["image"], json!(expect), "{values}");
    }
    let mut case = Case::new(json!({"path": "chart", "image": {"tag": "tag"}}));
    case.image = true;
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {tag: '{{ .Values.tag }}'}\n";
    let error = case.render(&[("templates/a.yaml", text)]).unwrap_err();
    assert!(error.contains("chart: no container has the image web"), "{error}");
    assert!(with_tag.contains(":7@"), "a tag carries the digest");
}

#[test]
fn hooks_are_apart_and_sorted_by_weight() {
    let hook = |name: &str, events: &str, weight: i64| {
        format!(
            "---\napiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, annotations: {{helm.sh/hook: '{events}', helm.sh/hook-weight: '{weight}', helm.sh/hook-delete-policy: hook-failed}}}}\nspec: {{}}\n"
        )
    };
    let text = [hook("b", "pre-install,post-upgrade", 3), hook("a", "pre-install", -1), hook("gone", "pre-delete", 0)]
        .concat();
    let made = Case::new(json!({"path": "chart"})).render(&[("templates/h.yaml", &text)]).unwrap();
    assert_eq!(made.objects, Vec::<Value>::new());
    let names: Vec<_> = made.hooks.iter().map(|hook| hook.object["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "gone", "b"]);
    assert_eq!(made.hooks[2].events, [HookEvent::PreInstall, HookEvent::PostUpgrade]);
    assert_eq!(made.hooks[2].deleted, [HookDeletion::Failed]);
    assert_eq!(made.hooks[2].object["metadata"]["namespace"], "shop-dev");
    assert_eq!(made.hooks[1].events, [HookEvent::PreDelete]);
}

#[test]
fn passwords_follow_from_the_seed() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {a: '{{ randAlphaNum 20 }}'}\n";
    let mut case = Case::new(json!({"path": "chart"}));
    let password =
        |case: &Case| case.render(&[("templates/a.yaml", text)]).unwrap().objects[0]["stringData"]["a"].clone();
    let first = password(&case);
    assert_eq!(password(&case), first);
    case.seed = 2;
    assert_ne!(password(&case), first);
}

#[test]
fn what_a_chart_cannot_have_beside_it_is_refused() {
    for (more, environment, why) in [
        (json!({"workload": {"replicas": 2}}), json!({}), "the chart's values say how it runs"),
        (json!({"manifests": {"path": "deploy"}}), json!({}), "one of them says what runs"),
        (json!({}), json!({"overrides": {"web": {"replicas": 2}}}), "what differs belongs into its values"),
    ] {
        let mut case = Case::new(json!({"path": "chart"}));
        case.component = component(json!({"path": "chart"}), more);
        case.environment = environment;
        let error = case.render(&[]).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let mut case = Case::new(json!({"path": "chart"}));
    case.values = vec![("values.yaml".into(), "a: {".into())];
    assert!(case.render(&[]).unwrap_err().contains("values.yaml"));
    let elsewhere = POD.replace("metadata: {", "metadata: {namespace: other, ");
    assert!(
        Case::new(json!({"path": "c"})).render(&[("templates/a.yaml", &elsewhere)]).unwrap_err().contains("shop-dev")
    );
}

#[test]
fn values_are_those_of_the_repository_then_those_of_the_configuration() {
    let layers: Vec<Environment> = ["qa", "staging"].iter().map(|name| name.parse().unwrap()).collect();
    let source = snapshot(
        "web",
        &[
            ("values.yaml", "a"),
            ("values-staging.yaml", "b"),
            ("deploy/v.yaml", "c"),
            ("chart/values-qa.yaml", "d"),
            ("chart/values.yaml", "own"),
        ],
    );
    let config = snapshot(
        "config",
        &[
            ("components/web/values.yaml", "e"),
            ("components/web/values-staging.yaml", "f"),
            ("components/web/values-prod.yaml", "g"),
        ],
    );
    let external = json!({"repository": "https://x", "name": "web"});
    let mut declared = external.clone();
    declared["values"] = json!(["deploy/v.yaml", "deploy/v-{environment}.yaml"]);
    let mut missing = external.clone();
    missing["values"] = json!(["deploy/none.yaml"]);
    let read = |chart: &Value, source: Option<&Snapshot>| {
        let component = component(chart.clone(), json!({}));
        let found = values_of(&component, component.chart.as_ref().unwrap(), &layers, source, &config)?;
        Ok::<_, String>(found.into_iter().map(|(_, text)| text).collect::<Vec<_>>().concat())
    };
    assert_eq!(read(&external, Some(&source)).unwrap(), "abef");
    assert_eq!(read(&external, None).unwrap(), "ef");
    assert_eq!(read(&declared, Some(&source)).unwrap(), "cef");
    assert_eq!(read(&json!({"path": "chart"}), Some(&source)).unwrap(), "def");
    assert!(read(&missing, Some(&source)).unwrap_err().contains("there is no file deploy/none.yaml"));
}
