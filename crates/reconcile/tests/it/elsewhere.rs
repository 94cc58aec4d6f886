//! Manifests that name what lies elsewhere.

use crate::rules::Shop;

const COMPONENT: &str =
    "project: shop\ncomponent: web\nmanifests: {path: deploy}\nendpoints: {http: {port: 8080, visibility: public}}\n";
const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_reached_only_when_the_project_says_so() {
    let shop = Shop::open().await;
    let kustomization = "resources: [deployment.yaml, 'https://files.example/settings.yaml']\n";
    shop.push_files(
        "one",
        &[
            ("trimtab.yaml", Some(COMPONENT)),
            ("Dockerfile", Some("one")),
            ("deploy/deployment.yaml", Some(DEPLOYMENT)),
            ("deploy/kustomization.yaml", Some(kustomization)),
        ],
    );
    shop.eventually("it says what is missing", async || {
        let status = shop.reconciler.status(&shop.project()).await;
        status.is_ok_and(|status| format!("{status:?}").contains("is not among []"))
    })
    .await;
    assert!(shop.world.object("Deployment", "shop-dev", "web").is_none(), "nothing of it is applied");
    let project = "project: shop\nenvironments: [dev, staging, prod]\nremotes: [files.example]\n";
    shop.edit("allow it", &[("project.yaml", Some(project))]);
    shop.eventually("it is there", async || {
        let object = shop.world.object("ConfigMap", "shop-dev", "elsewhere");
        object.is_some_and(|object| object["data"]["from"] == "afar")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_of_overlays_come_from_allowed_hosts_and_keep_their_passwords() {
    let shop = Shop::open().await;
    let project = "project: shop\nenvironments: [dev, staging, prod]\nremotes: [charts.example]\n";
    shop.edit("allow it", &[("project.yaml", Some(project))]);
    let kustomization = "resources: [deployment.yaml]\nhelmCharts:\n\
                         - {name: db, repo: 'https://charts.example/stable', version: 1.2.3, releaseName: db}\n";
    let push = |text: &str| {
        shop.push_files(
            text,
            &[
                ("trimtab.yaml", Some(COMPONENT)),
                ("Dockerfile", Some(text)),
                ("deploy/deployment.yaml", Some(DEPLOYMENT)),
                ("deploy/kustomization.yaml", Some(kustomization)),
            ],
        );
    };
    let made = || shop.world.object("Secret", "shop-dev", "made").map(|secret| secret["stringData"].clone());
    let image = || shop.world.object("Deployment", "shop-dev", "web").map(|web| web["spec"].to_string());
    push("one");
    shop.eventually("the chart's object is there", async || made().is_some()).await;
    let (first, before) = (made().unwrap(), image());
    assert_eq!(first["password"].as_str().map(str::len), Some(20), "{first}");
    assert_eq!(first["kube"], object::schema::KUBERNETES_VERSION, "{first}");
    assert_ne!(first["at"], "0", "{first}");
    push("two");
    shop.eventually("the next build runs", async || image() != before).await;
    assert_eq!(made().unwrap()["password"], first["password"], "a new build has the same password");
}
