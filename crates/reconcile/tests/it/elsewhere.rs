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
