//! Components that are charts: built, pinned, promoted, with their hooks, tests and passwords.

use crate::fakes::{FakeCharts, sealed};
use crate::rules::{Shop, name};
use model::flow::{Health, Repository};
use model::journal::{EntryKind, detail};
use model::records::PromotionPhase;
use render::helm::pack;
use serde_json::json;
use std::sync::Arc;

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: '{{ .Release.Name }}', labels: {app.kubernetes.io/version: '{{ .Release.Name }}-1'}}\nspec:\n  replicas: {{ .Values.replicas }}\n  template: {metadata: {}, spec: {containers: [{name: web, image: '{{ .Values.image.repository }}:{{ .Values.image.tag }}'}]}}\n";
const VALUES: &str = "replicas: 1\nimage: {repository: nginx, tag: '1'}\n";

pub type Files<'a> = Vec<(&'a str, &'a str)>;

pub fn chart<'a>(more: &[(&'a str, &'a str)]) -> Files<'a> {
    [("values.yaml", VALUES), ("templates/web.yaml", DEPLOYMENT)].into_iter().chain(more.iter().copied()).collect()
}

impl FakeCharts {
    /// Puts a version of chart `web` into the repository.
    pub fn offer(&self, version: &str, files: &Files<'_>) {
        self.offer_named("web", version, files);
    }

    /// Puts a version of a chart into the repository.
    pub fn offer_named(&self, name: &str, version: &str, files: &Files<'_>) {
        let chart = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
        let mut all: render::helm::Files =
            files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().into())).collect();
        all.insert("Chart.yaml".into(), chart.into_bytes().into());
        let archive = pack(&all).unwrap().1;
        self.offered.lock().unwrap().insert((name.into(), version.into()), archive);
    }
}

pub const COMPONENT: &str =
    "project: shop\ncomponent: web\nchart: {repository: 'https://charts.example.com', name: web, version: ^1.0.0}\n";

impl Shop {
    pub fn charts(&self) -> Arc<FakeCharts> {
        self.world.charts.clone()
    }

    /// A chart in the component's own repository, in a version.
    pub fn push_chart(&self, version: &str, component: &str, files: &Files<'_>) {
        let chart = format!("apiVersion: v2\nname: web\nversion: {version}\n");
        let description = format!("project: shop\ncomponent: web\n{component}");
        let mut all: Vec<(String, Option<&str>)> = vec![
            ("trimtab.yaml".into(), Some(&description)),
            ("Dockerfile".into(), Some(version)),
            ("chart/Chart.yaml".into(), Some(&chart)),
        ];
        all.extend(files.iter().map(|(path, text)| (format!("chart/{path}"), Some(*text))));
        let all: Vec<(&str, Option<&str>)> = all.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        self.world.push(&Repository { project: self.project(), name: "web".into() }, "ada", version, &all);
        self.reconciler.wake();
    }

    pub async fn shows(&self, environment: &str, health: Health, reason: &str) {
        self.eventually(&format!("web is {health:?} ({reason}) in {environment}"), async || {
            let Ok(status) = self.reconciler.status(&self.project()).await else { return false };
            let environment = status.environments.into_iter().find(|e| e.name.as_str() == environment).unwrap();
            environment.components.iter().any(|c| c.health == health && c.reason == reason)
        })
        .await;
    }

    fn replicas(&self, environment: &str) -> Option<u64> {
        self.world.object("Deployment", &format!("shop-{environment}"), "web")?["spec"]["replicas"].as_u64()
    }

    fn job(&self, name: &str) -> bool {
        self.world.object("Job", "shop-dev", name).is_some()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_of_a_repository_is_built_without_an_image_pinned_promoted_and_rolled_back() {
    let shop = Shop::open().await;
    shop.charts().offer("1.0.0", &chart(&[]));
    shop.charts().offer("2.0.0", &chart(&[]));
    let values = [
        ("components/web/values.yaml", Some("replicas: 2\n")),
        ("components/web/values-dev.yaml", Some("replicas: 3\n")),
    ];
    shop.edit("a chart", &[[("components/web.yaml", Some(COMPONENT))].as_slice(), &values].concat());
    shop.healthy("dev", "web-1").await;
    let pin = shop.pin("dev").unwrap();
    assert!(
        pin.contains("chart:\n  name: web\n  version: \"1.0.0\"\n  digest: sha256:") && !pin.contains("image:"),
        "{pin}"
    );
    assert_eq!(shop.replicas("dev"), Some(3), "values of the environment win");
    shop.promote("staging").await;
    assert_eq!(shop.replicas("staging"), Some(2));

    shop.charts().offer("1.4.0", &chart(&[("values.yaml", "replicas: 1\nimage: {repository: nginx, tag: '2'}\n")]));
    let update = async |version| shop.reconciler.update_chart(&shop.project(), &shop.web(), version, "ada").await;
    assert_eq!(update(None).await.unwrap(), Some(name("web-2")));
    shop.healthy("dev", "web-2").await;
    assert_eq!(update(None).await.unwrap(), None, "it is the newest of the range");
    assert!(update(Some("9.9.9")).await.unwrap_err().to_string().contains("there is: 1.0.0, 1.4.0, 2.0.0"));
    let subjects: Vec<_> =
        shop.world.commits(&shop.config(), "environments/dev/web.yaml").into_iter().map(|c| c.subject).collect();
    assert!(subjects[0].contains("web-1 → web-2 (web 1.0.0 → 1.4.0)"), "{subjects:?}");

    shop.promote("staging").await;
    shop.healthy("staging", "web-2").await;
    shop.charts().offered.lock().unwrap().clear();
    let promotion = shop.rollback("staging").await;
    assert_eq!(promotion.status.phase, PromotionPhase::Succeeded, "no repository is asked: {promotion:#?}");
    assert!(shop.pin("staging").unwrap().contains("1.0.0"));
    shop.explained("staging", "web-1 (chart web 1.0.0) runs").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_range_in_the_file_makes_a_build_and_values_alone_make_none() {
    let shop = Shop::open().await;
    shop.charts().offer("1.0.0", &chart(&[]));
    shop.charts().offer("2.0.0", &chart(&[]));
    shop.edit("a chart", &[("components/web.yaml", Some(COMPONENT))]);
    shop.healthy("dev", "web-1").await;
    shop.edit("values", &[("components/web/values-dev.yaml", Some("replicas: 4\n"))]);
    shop.eventually("the values are there", async || shop.replicas("dev") == Some(4)).await;
    assert!(shop.pin("dev").unwrap().contains("web-1"));
    shop.edit("2", &[("components/web.yaml", Some(&COMPONENT.replace("^1.0.0", "^2")))]);
    shop.healthy("dev", "web-2").await;
    assert!(shop.pin("dev").unwrap().contains("2.0.0"));
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_a_repository_are_read_from_secrets() {
    let shop = Shop::open().await;
    shop.charts().offer("1.0.0", &chart(&[]));
    let secret = format!("username: {{default: {}}}\npassword: {{default: {}}}\n", sealed("ada"), sealed("hunter2"));
    let component = COMPONENT.replace("version:", "credentials: repo, version:");
    shop.edit("a chart", &[("components/web.yaml", Some(&component)), ("secrets/repo.yaml", Some(&secret))]);
    shop.healthy("dev", "web-1").await;
    assert!(shop.charts().users.lock().unwrap().contains("ada:hunter2"));
    assert!(!shop.world.everything_shown().contains("hunter2"));
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_that_cannot_be_had_is_a_failed_build_that_says_why() {
    let shop = Shop::open().await;
    shop.charts().offer("2.0.0", &chart(&[]));
    for (component, why) in [
        (COMPONENT.to_owned(), "there is no such version; there is: 2.0.0"),
        (COMPONENT.replace("^1.0.0", "^2, verify: true"), "chart.verify: there are no keys"),
        (COMPONENT.replace("^1.0.0", "^2, credentials: repo"), "there is no secrets/repo.yaml"),
    ] {
        shop.edit("a chart", &[("components/web.yaml", Some(&component))]);
        shop.eventually(why, async || {
            let builds = shop.reconciler.builds(&shop.project()).await.unwrap_or_default();
            builds.iter().any(|build| build.status.message.contains(why))
        })
        .await;
    }
    // What is missing is supplied: it is tried again.
    let secret = format!("username: {{default: {}}}\n", sealed("ada"));
    shop.edit("credentials", &[("secrets/repo.yaml", Some(&secret))]);
    shop.healthy("dev", "web-4").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_in_the_repository_gets_its_image_and_its_subchart_and_is_packed() {
    let shop = Shop::open().await;
    let library = render::helm::Files::from([
        ("Chart.yaml".to_owned(), b"apiVersion: v2\nname: extra\nversion: 1.1.0\n".as_slice().into()),
        (
            "templates/c.yaml".to_owned(),
            b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\n".as_slice().into(),
        ),
    ]);
    let archive = pack(&library).unwrap().1;
    shop.charts().offered.lock().unwrap().insert(("extra".into(), "1.1.0".into()), archive);
    let requirements = "dependencies: [{name: extra, version: ^1, repository: 'https://charts.example.com'}]\n";
    let files = chart(&[("requirements.yaml", requirements), ("values-dev.yaml", "replicas: 5\n")]);
    let component = "chart: {path: chart, image: {repository: image.repository, tag: image.tag}}\n";
    shop.push_chart("0.1.0", component, &files);
    shop.healthy("dev", "web-1").await;
    let pin = shop.pin("dev").unwrap();
    assert!(pin.contains("image: registry.trimtab.internal/shop/web@sha256:") && pin.contains("0.1.0"), "{pin}");
    let deployment = shop.world.object("Deployment", "shop-dev", "web").unwrap();
    let image = deployment.pointer("/spec/template/spec/containers/0/image").unwrap().as_str().unwrap();
    assert!(image.starts_with("registry.trimtab.internal/shop/web@sha256:"), "{image}");
    assert_eq!(deployment["spec"]["replicas"], 5);
    assert!(shop.world.object("ConfigMap", "shop-dev", "extra").is_some(), "the subchart is there");

    // The archive is lost: it is packed again, and is the same.
    shop.charts().kept.lock().unwrap().clear();
    let shop = shop.restart();
    shop.healthy("dev", "web-1").await;
    assert!(!shop.charts().kept.lock().unwrap().is_empty());
    shop.rests().await;
}

pub const HOOK: &str = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: NAME, annotations: {helm.sh/hook: 'EVENTS', helm.sh/hook-weight: 'WEIGHT', helm.sh/hook-delete-policy: 'before-hook-creation,hook-succeeded'}}\nspec: {template: {spec: {containers: []}}}\n";

pub fn hook(name: &str, events: &str, weight: &str) -> String {
    HOOK.replace("NAME", name).replace("EVENTS", events).replace("WEIGHT", weight)
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_in_their_order_before_anything_is_applied_and_after_it_is_healthy() {
    let shop = Shop::open().await;
    let (second, first) = (hook("second", "pre-install,pre-upgrade", "5"), hook("first", "pre-install", "-5"));
    let after = hook("after", "post-install", "0");
    let files = chart(&[("templates/1.yaml", &second), ("templates/2.yaml", &first), ("templates/3.yaml", &after)]);
    shop.push_chart("0.1.0", "chart: {path: chart}\n", &files);
    shop.eventually("the first hook runs", async || shop.job("first")).await;
    shop.shows("dev", Health::Progressing, "Hook").await;
    assert!(!shop.job("second") && shop.replicas("dev").is_none(), "one after the other, and nothing else");
    shop.world.finish_job("first", "Complete");
    shop.eventually("the second hook runs", async || shop.job("second")).await;
    assert!(shop.job("first") && shop.replicas("dev").is_none(), "what succeeded stays until all have");
    shop.world.finish_job("second", "Complete");
    shop.eventually("it is applied", async || shop.replicas("dev") == Some(1)).await;
    shop.eventually("the last hook runs", async || shop.job("after") && !shop.job("first")).await;
    shop.shows("dev", Health::Progressing, "Hook").await;
    assert_eq!(shop.told(EntryKind::Healthy, "dev"), 0, "not before its hooks are done");
    shop.world.finish_job("after", "Complete");
    shop.healthy("dev", "web-1").await;
    assert_eq!(shop.told(EntryKind::Hooked, "dev"), 2);

    // Nothing runs again, neither after a restart nor when something is repaired.
    let shop = shop.restart();
    shop.world.delete_object("Deployment", "web");
    shop.eventually("it is repaired", async || shop.told(EntryKind::Repaired, "dev") == 1).await;
    shop.healthy("dev", "web-1").await;
    assert!(!shop.job("first") && !shop.job("second") && !shop.job("after"));

    // An upgrade runs its own.
    shop.push_chart("0.2.0", "chart: {path: chart}\n", &files);
    shop.eventually("the upgrade's hook runs", async || shop.job("second")).await;
    assert!(!shop.job("first"));
    shop.world.finish_job("second", "Complete");
    shop.healthy("dev", "web-2").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_runs_the_hooks_for_rollbacks_and_no_migration_again() {
    let shop = Shop::open().await;
    let (migrate, back) = (hook("migrate", "pre-install,pre-upgrade", "0"), hook("back", "pre-rollback", "0"));
    let files = chart(&[("templates/1.yaml", &migrate), ("templates/2.yaml", &back)]);
    let migrated = async |build: &str| {
        shop.eventually("it migrates", async || shop.job("migrate")).await;
        shop.world.finish_job("migrate", "Complete");
        shop.healthy("dev", build).await;
    };
    let went_back = async |build: &str| {
        shop.eventually("the hook for rollbacks runs", async || shop.job("back")).await;
        assert!(!shop.job("migrate"));
        shop.world.finish_job("back", "Complete");
        shop.healthy("dev", build).await;
    };
    let back_again = async || {
        shop.reconciler.rollback(&shop.project(), &name("dev"), None, None, "ada", "").await.unwrap();
    };
    let ran = || -> Vec<String> {
        let journal = shop.world.journal_of(&shop.project()).into_iter();
        journal.filter(|e| e.kind == EntryKind::Hooked).map(|e| e.summary).collect()
    };
    shop.push_chart("0.1.0", "chart: {path: chart}\n", &files);
    migrated("web-1").await;
    shop.push_chart("0.2.0", "chart: {path: chart}\n", &files);
    migrated("web-2").await;
    // To the build before.
    back_again().await;
    went_back("web-1").await;
    let told = ["web-1: hooks of pre-install", "web-2: hooks of pre-upgrade", "web-1: hooks of pre-rollback"];
    assert_eq!(ran(), told.map(|words| format!("dev: {words} succeeded")));
    // Another configuration of the build that runs is an upgrade; going back to the one before is none.
    shop.edit("values", &[("components/web/values-dev.yaml", Some("replicas: 4\n"))]);
    shop.eventually("it migrates for that", async || shop.job("migrate")).await;
    shop.world.finish_job("migrate", "Complete");
    shop.eventually("the values are there", async || shop.replicas("dev") == Some(4)).await;
    shop.healthy("dev", "web-1").await;
    back_again().await;
    went_back("web-1").await;
    shop.eventually("the values are those of before", async || shop.replicas("dev") == Some(1)).await;
    assert_eq!(ran().len(), 5, "{:?}", ran());
    assert_eq!(ran()[4], "dev: web-1: hooks of pre-rollback succeeded");
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_fails_keeps_everything_as_it_is() {
    let shop = Shop::open().await;
    let hook = hook("migrate", "pre-upgrade", "0");
    let files = chart(&[("templates/1.yaml", &hook)]);
    shop.push_chart("0.1.0", "chart: {path: chart}\n", &files);
    shop.healthy("dev", "web-1").await;
    let mut more = files.clone();
    more.push(("values-dev.yaml", "replicas: 7\n"));
    shop.push_chart("0.2.0", "chart: {path: chart}\n", &more);
    shop.eventually("the hook runs", async || shop.job("migrate")).await;
    shop.world.finish_job("migrate", "Failed");
    shop.shows("dev", Health::Degraded, "HookFailed").await;
    shop.eventually("it is told", async || shop.told(EntryKind::Failed, "dev") == 1).await;
    assert_eq!(shop.replicas("dev"), Some(1), "what ran runs on");
    let promotion = shop.rollback("dev").await;
    assert_eq!(promotion.status.phase, PromotionPhase::Succeeded, "{promotion:#?}");
    shop.healthy("dev", "web-1").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_of_a_chart_are_the_check_that_a_rule_asks_for() {
    let shop = Shop::open().await;
    let test = hook("try", "test", "0");
    let files = chart(&[("templates/1.yaml", &test)]);
    shop.push_chart("0.1.0", "chart: {path: chart}\n", &files);
    shop.healthy("dev", "web-1").await;
    assert!(!shop.job("try"), "nobody asks for tests");
    let rule = "promotion: {from: [dev], strategy: Manual, requires: {checks: [test]}}\n";
    shop.edit("staging wants tests", &[("environments/staging.yaml", Some(rule))]);
    shop.eventually("the test runs", async || shop.job("try")).await;
    shop.healthy("dev", "web-1").await;
    let asked = shop.promote("staging").await;
    assert_eq!(asked.status.phase, PromotionPhase::Waiting, "{asked:#?}");
    shop.world.finish_job("try", "Complete");
    shop.healthy("staging", "web-1").await;
    let journal = shop.world.journal_of(&shop.project());
    let checked = journal.iter().find(|entry| entry.kind == EntryKind::Checked).unwrap();
    assert_eq!((checked.detail(detail::CHECK), checked.detail(detail::RESULT)), (Some("test"), Some("passed")));
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_stay_differ_by_environment_and_are_never_shown() {
    const PASSWORD: &str = "{{ $old := lookup \"v1\" \"Secret\" .Release.Namespace \"web\" }}apiVersion: v1\nkind: Secret\nmetadata: {name: web, annotations: {seen: '{{ len $old }}'}}\nstringData: {password: '{{ randAlphaNum 24 }}'}\n";
    let shop = Shop::open().await;
    let files = chart(&[("templates/secret.yaml", PASSWORD)]);
    shop.push_chart("0.1.0", "chart: {path: chart}\n", &files);
    shop.healthy("dev", "web-1").await;
    let secret = |shop: &Shop, environment: &str| shop.world.object("Secret", &format!("shop-{environment}"), "web");
    let password = |shop: &Shop, environment: &str| secret(shop, environment).unwrap()["data"]["password"].clone();
    let first = password(&shop, "dev");
    shop.eventually("lookup sees what stands", async || {
        secret(&shop, "dev").is_some_and(|secret| secret["metadata"]["annotations"]["seen"] != "0")
    })
    .await;
    shop.push_chart("0.2.0", "chart: {path: chart}\n", &files);
    shop.healthy("dev", "web-2").await;
    let shop = shop.restart();
    shop.healthy("dev", "web-2").await;
    assert_eq!(password(&shop, "dev"), first);
    shop.promote("staging").await;
    assert_ne!(password(&shop, "staging"), first);
    let shown = shop.world.everything_shown();
    assert!(!shown.contains(first.as_str().unwrap()), "a password is shown");
    let plan = shop.reconciler.diff(&shop.project(), &name("dev")).await.unwrap();
    assert!(!json!(plan).to_string().contains(first.as_str().unwrap()));
    shop.rests().await;
}
