//! An environment as a list of charts, `requirements.yaml` as Jenkins X keeps it: each chart is a component of its own.

use crate::charts::{Files, chart};
use crate::rules::{Shop, name};
use model::Component;
use model::flow::Health;
use model::records::PromotionPhase;

const LIST: &str = "dependencies:\n- alias: expose\n  name: exposecontroller\n  repository: http://chartmuseum.example.com\n  version: 2.3.92\n- name: web\n  repository: '@own'\n  version: 1.0.0\n- name: kube-prometheus-stack\n  repository: '@own'\n  version: ^1.0.0\n  condition: kube-prometheus-stack.enabled\n";
const REPOSITORIES: &str =
    "apiVersion: ''\nrepositories:\n- {name: own, url: 'https://charts.example.com', password: ''}\n";
const VALUES: &str =
    "expose: {size: 2}\nweb: {replicas: 3}\nglobal: {whom: all}\nkube-prometheus-stack: {enabled: true}\n";
const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}'}\ndata: {chart: '{{ .Chart.Name }} {{ .Chart.Version }}', size: '{{ .Values.size }}', whom: '{{ .Values.global.whom }}'}\n";

fn map() -> Files<'static> {
    vec![("values.yaml", "size: 1\n"), ("templates/map.yaml", MAP)]
}

impl Shop {
    fn list(&self, list: &str, values: &str) {
        let files = [
            ("charts/requirements.yaml", Some(list)),
            ("charts/repositories.yaml", Some(REPOSITORIES)),
            ("charts/values.yaml", Some(values)),
            ("charts/values-staging.yaml", Some("web: {replicas: 5}\n")),
        ];
        self.edit("the list", &files);
    }

    async fn offer_all(&self) {
        self.charts().offer_named("exposecontroller", "2.3.92", &map());
        self.charts().offer_named("kube-prometheus-stack", "1.2.0", &map());
        self.charts().offer_named("web", "1.0.0", &chart(&[]));
        self.charts().offer_named("web", "1.1.0", &chart(&[]));
    }

    /// Components that are healthy in an environment, with their charts.
    async fn charts_in(&self, environment: &str) -> Vec<String> {
        let Ok(status) = self.reconciler.status(&self.project()).await else { return Vec::new() };
        let environment = status.environments.into_iter().find(|e| e.name.as_str() == environment).unwrap();
        let healthy = environment.components.into_iter().filter(|c| c.health == Health::Healthy);
        healthy
            .map(|c| format!("{}: {}", c.build, c.chart.map(|chart| chart.to_string()).unwrap_or_default()))
            .collect()
    }

    async fn has(&self, environment: &str, charts: &[&str]) {
        self.eventually(&format!("{environment} has {charts:?}"), async || self.charts_in(environment).await == charts)
            .await;
    }

    fn moved(&self, component: &str) -> usize {
        self.world.commits(&self.config(), &format!("environments/dev/{component}.yaml")).len()
    }

    fn data(&self, environment: &str, map: &str, key: &str) -> Option<String> {
        let map = self.world.object("ConfigMap", &format!("shop-{environment}"), map)?;
        Some(map["data"][key].as_str()?.to_owned())
    }
}

const EXPOSE: &str = "expose-1: exposecontroller 2.3.92";

#[tokio::test(flavor = "multi_thread")]
async fn each_chart_of_a_list_has_a_pin_of_its_own_and_upgrading_one_entry_changes_one_pin() {
    let shop = Shop::open().await;
    shop.offer_all().await;
    shop.list(LIST, VALUES);
    let components = shop.world.file(&shop.config(), "charts/requirements.yaml");
    assert!(components.is_some());
    shop.eventually("three charts are there", async || shop.charts_in("dev").await.len() == 3).await;
    let all = shop.charts_in("dev").await;
    let stack = all.iter().find(|text| text.contains("kube-prometheus-stack 1.2.0")).unwrap().clone();
    shop.has("dev", &[EXPOSE, &stack, "web-1: web 1.0.0"]).await;
    // Name, values and what is global, as in the umbrella; the name that is too long for a component is that of the release.
    assert_eq!(shop.data("dev", "expose", "chart").as_deref(), Some("expose 2.3.92"));
    assert_eq!(shop.data("dev", "expose", "size").as_deref(), Some("2"));
    assert_eq!(shop.data("dev", "kube-prometheus-stack", "whom").as_deref(), Some("all"));
    assert_eq!(shop.world.object("Deployment", "shop-dev", "web").unwrap()["spec"]["replicas"], 3);

    shop.list(&LIST.replace("version: 1.0.0", "version: 1.1.0"), VALUES);
    shop.has("dev", &[EXPOSE, &stack, "web-2: web 1.1.0"]).await;
    assert_eq!((shop.moved("expose"), shop.moved("web")), (1, 2), "one entry, one pin");

    // Values of one of them move that one.
    shop.list(&LIST.replace("version: 1.0.0", "version: 1.1.0"), &VALUES.replace("size: 2", "size: 4"));
    shop.eventually("the value is there", async || shop.data("dev", "expose", "size").as_deref() == Some("4")).await;
    assert_eq!((shop.moved("expose"), shop.moved("web")), (2, 2));

    // Promoted and rolled back by itself.
    let web: Component = name("web");
    for build in ["web-1", "web-2"] {
        let asked = shop
            .reconciler
            .promote(&shop.project(), &web, Some(name(build)), &name("staging"), "ada", "")
            .await
            .unwrap();
        assert_eq!(shop.ended(&asked).await.status.phase, PromotionPhase::Succeeded);
    }
    shop.has("staging", &["web-2: web 1.1.0"]).await;
    assert_eq!(shop.world.object("Deployment", "shop-staging", "web").unwrap()["spec"]["replicas"], 5);
    let asked = shop.reconciler.rollback(&shop.project(), &name("staging"), Some(web), None, "ada", "").await.unwrap();
    assert_eq!(shop.ended(&asked).await.status.phase, PromotionPhase::Succeeded);
    shop.has("staging", &["web-1: web 1.0.0"]).await;

    // A condition switches one off: it stands for nothing then.
    shop.list(&LIST.replace("version: 1.0.0", "version: 1.1.0"), "kube-prometheus-stack: {enabled: false}\n");
    shop.eventually("it is off", async || shop.data("dev", "kube-prometheus-stack", "chart").is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_one_entry_is_said_and_the_others_run() {
    let shop = Shop::open().await;
    shop.offer_all().await;
    let list = format!("{LIST}- name: lost\n  repository: '@nowhere'\n- name: own\n  repository: file://../own\n");
    shop.list(&list, VALUES);
    shop.eventually("three charts are there", async || shop.charts_in("dev").await.len() == 3).await;
    let problems = shop.reconciler.status(&shop.project()).await.unwrap().problems.join("\n");
    assert!(
        problems.contains("charts/requirements.yaml: lost: repository @nowhere is known on somebody's machine only")
    );
    assert!(problems.contains("charts/requirements.yaml: own: it names no repository"), "{problems}");
    shop.edit("more", &[("charts/templates/role.yaml", Some("kind: Role\n"))]);
    shop.eventually("it is said", async || {
        let problems = shop.reconciler.status(&shop.project()).await.unwrap().problems.join("\n");
        problems.contains("charts/templates/role.yaml: it stands beside a list of charts")
    })
    .await;
}
