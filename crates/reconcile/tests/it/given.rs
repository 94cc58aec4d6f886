//! What templates of charts are given: secrets, the revision, what the cluster can do; and who says that there is more.

use crate::charts::{COMPONENT, chart};
use crate::fakes::sealed;
use crate::rules::Shop;
use base64::Engine;
use model::journal::EntryKind;
use serde_json::json;

const FACTS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: facts}\ndata:\n  revision: '{{ .Release.Revision }}'\n  upgrade: '{{ .Release.IsUpgrade }}'\n  kube: '{{ .Capabilities.KubeVersion.Version }}'\n  has: '{{ .Capabilities.APIVersions.Has \"monitoring.coreos.com/v1\" }}'\n";

impl Shop {
    fn fact(&self, environment: &str, key: &str) -> Option<String> {
        let map = self.world.object("ConfigMap", &format!("shop-{environment}"), "facts")?;
        Some(map["data"][key].as_str()?.to_owned())
    }

    async fn revised(&self, environment: &str, revision: &str, upgrade: &str) {
        self.eventually(&format!("{environment} has revision {revision}"), async || {
            self.fact(environment, "revision").as_deref() == Some(revision)
                && self.fact(environment, "upgrade").as_deref() == Some(upgrade)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_revision_counts_the_pins_of_a_component_and_changes_with_them_alone() {
    let shop = Shop::open().await;
    let files = chart(&[("templates/facts.yaml", FACTS)]);
    shop.push_chart("0.1.0", "chart: {path: chart}\n", &files);
    shop.healthy("dev", "web-1").await;
    shop.revised("dev", "1", "false").await;
    shop.push_chart("0.2.0", "chart: {path: chart}\n", &files);
    shop.healthy("dev", "web-2").await;
    shop.revised("dev", "2", "true").await;
    shop.rollback("dev").await;
    shop.revised("dev", "3", "true").await;
    shop.promote("staging").await;
    shop.revised("staging", "1", "false").await;
    // Neither what is admitted beside it nor a restart is a movement of it.
    shop.edit("a rule", &[("environments/dev.yaml", Some("promotion: {strategy: Auto}\n# a remark\n"))]);
    let admitted = || shop.told(EntryKind::Admitted, "dev");
    shop.eventually("it is admitted", async || admitted() == 4).await;
    let shop = shop.restart();
    shop.healthy("dev", "web-1").await;
    shop.world.delete_object("ConfigMap", "facts");
    shop.revised("dev", "3", "true").await;
    // Gone and back: it begins anew.
    let pin = shop.pin("staging").unwrap();
    shop.edit("it goes", &[("environments/staging/web.yaml", None)]);
    shop.eventually("it is gone", async || shop.fact("staging", "revision").is_none()).await;
    shop.edit("it comes back", &[("environments/staging/web.yaml", Some(&pin))]);
    shop.revised("staging", "1", "false").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_can_do_is_asked_when_something_is_admitted_and_recorded() {
    let shop = Shop::open().await;
    shop.world.can("v1.31.4-eks-1234", &["v1", "apps/v1"]);
    let files = chart(&[("templates/facts.yaml", FACTS)]);
    shop.push_chart("0.1.0", "chart: {path: chart}\n", &files);
    shop.healthy("dev", "web-1").await;
    let facts = |shop: &Shop| (shop.fact("dev", "kube").unwrap(), shop.fact("dev", "has").unwrap());
    assert_eq!(facts(&shop), ("v1.31.4".to_owned(), "false".to_owned()));
    let record = shop.world.record(model::records::Kind::Environment, "dev").unwrap();
    assert_eq!(record["status"]["capabilities"]["apiVersions"], json!(["v1", "apps/v1"]));

    // Somebody installs something: what was admitted stays what it is, through a restart too.
    shop.world.can("v1.32.0", &["v1", "apps/v1", "monitoring.coreos.com/v1"]);
    let shop = shop.restart();
    shop.healthy("dev", "web-1").await;
    shop.world.delete_object("ConfigMap", "facts");
    shop.eventually("it is repaired", async || shop.fact("dev", "kube").is_some()).await;
    assert_eq!(facts(&shop).0, "v1.31.4");
    shop.push_chart("0.2.0", "chart: {path: chart}\n", &files);
    shop.healthy("dev", "web-2").await;
    assert_eq!(facts(&shop), ("v1.32.0".to_owned(), "true".to_owned()));
}

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {uri: 'postgres://u:{{ .Values.auth.password }}@db'}\n";
const CHART: &str = "chart: {path: chart, secrets: {auth.password: db/password}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_value_may_be_a_secret_of_the_environment_and_is_never_shown() {
    let shop = Shop::open().await;
    let file = |dev: &str| format!("password: {{default: {}, dev: {}}}\n", sealed("hunter-default"), sealed(dev));
    let files = chart(&[("templates/secret.yaml", SECRET)]);
    shop.push_chart("0.1.0", CHART, &files);
    shop.explained("dev", "trimtab secret set db password --env dev").await;
    shop.edit("a secret", &[("secrets/db.yaml", Some(&file("hunter2-a")))]);
    shop.healthy("dev", "web-1").await;
    let removed = shop.reconciler.remove_secret(&shop.project(), &crate::rules::name("db"), None, None, "ada").await;
    assert!(removed.is_err(), "what runs names it: {removed:?}");
    let uri = |shop: &Shop, environment: &str| {
        let data = shop.world.object("Secret", &format!("shop-{environment}"), "db")?["data"]["uri"].clone();
        let bytes = base64::engine::general_purpose::STANDARD.decode(data.as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    assert_eq!(uri(&shop, "dev").as_deref(), Some("postgres://u:hunter2-a@db"));
    shop.promote("staging").await;
    assert_eq!(uri(&shop, "staging").as_deref(), Some("postgres://u:hunter-default@db"));
    shop.edit("another", &[("secrets/db.yaml", Some(&file("hunter2-b")))]);
    shop.eventually("it is there", async || uri(&shop, "dev").as_deref() == Some("postgres://u:hunter2-b@db")).await;
    shop.healthy("dev", "web-1").await;

    // A chart that would show it is not applied.
    let open = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: open}\ndata: {a: '{{ .Values.auth.password }}'}\n";
    let more = chart(&[("templates/secret.yaml", SECRET), ("templates/open.yaml", open)]);
    shop.push_chart("0.2.0", CHART, &more);
    let problem = "ConfigMap open would show db/password in the open, at data.a";
    shop.eventually("it is refused", async || {
        let status = shop.reconciler.status(&shop.project()).await.unwrap();
        format!("{status:?}").contains(problem)
    })
    .await;
    assert!(shop.world.object("ConfigMap", "shop-dev", "open").is_none());
    let failing = chart(&[("templates/fail.yaml", "{{ fail (printf \"no %s\" .Values.auth.password) }}")]);
    shop.push_chart("0.3.0", CHART, &failing);
    shop.eventually("it fails", async || {
        let status = shop.reconciler.status(&shop.project()).await.unwrap();
        format!("{status:?}").contains("no <db/password>")
    })
    .await;
    let plan = shop.reconciler.diff(&shop.project(), &crate::rules::name("dev")).await;
    let changes = shop.reconciler.difference(&shop.project(), "dev", "staging").await.unwrap();
    let status = shop.reconciler.status(&shop.project()).await.unwrap();
    let encoded = base64::engine::general_purpose::STANDARD.encode("postgres://u:hunter");
    for shown in [shop.world.everything_shown(), format!("{plan:?}"), json!(changes).to_string(), format!("{status:?}")]
    {
        assert!(!shown.contains("hunter2") && !shown.contains("hunter-default"), "{shown}");
        assert!(!shown.contains(&encoded[..20]), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_that_there_is_a_newer_chart_makes_it_be_looked_for_at_once() {
    let shop = Shop::open().await;
    shop.charts().offer("1.0.0", &chart(&[]));
    let secret = format!("charts: {{default: {}}}\n", sealed("hunter2"));
    shop.edit("a chart", &[("components/web.yaml", Some(COMPONENT)), ("secrets/webhooks.yaml", Some(&secret))]);
    shop.healthy("dev", "web-1").await;
    let key = shop.reconciler.charts_key(&shop.project()).await.unwrap().unwrap();
    assert_eq!(key.expose(), b"hunter2");
    shop.charts().offer("1.5.0", &chart(&[]));
    shop.reconciler.look_for_charts(&shop.project());
    shop.healthy("dev", "web-2").await;
    assert!(shop.pin("dev").unwrap().contains("1.5.0"));
}
