//! An environment on another data plane.

use crate::fakes::{World, ports};
use async_trait::async_trait;
use model::flow::{Observation, Plan, Receipt, Repository};
use model::ports::*;
use model::records::Kind;
use model::settings::Opened;
use model::{DataPlaneFile, DataPlaneName, Project};
use reconcile::{Reconciler, Settings};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const COMPONENT: &str = "project: shop\ncomponent: web\nendpoints: {http: {port: 8080, visibility: public}}\n";
const STAGING: &str = "promotion:\n  from: [dev]\n  strategy: Manual\n";

/// A cluster that can be gone.
#[derive(Clone)]
struct Edge {
    world: Arc<World>,
    gone: Arc<Mutex<Option<String>>>,
}

impl Edge {
    fn ask(&self) -> Result<()> {
        self.gone.lock().unwrap().clone().map_or(Ok(()), |why| Err(PortError::Transient(why)))
    }
}

#[async_trait]
impl DataPlane for Edge {
    async fn observe(&self, scope: &Scope, wake: Wake) -> Result<Observation> {
        self.ask()?;
        self.world.observe(scope, wake).await
    }
    async fn predict(&self, manifests: &[Value]) -> Result<Vec<std::result::Result<Value, String>>> {
        self.ask()?;
        self.world.predict(manifests).await
    }
    async fn execute(&self, plan: &Plan, opened: &Opened) -> Result<Receipt> {
        self.ask()?;
        self.world.execute(plan, opened).await
    }
    async fn logs(&self, namespace: &str, pod: &str, lines: u32, previous: bool) -> Result<String> {
        self.world.logs(namespace, pod, lines, previous).await
    }
}

struct Planes {
    here: Arc<World>,
    edge: Edge,
}

#[async_trait]
impl DataPlanes for Planes {
    async fn get(&self, _: &Project, plane: Option<(&DataPlaneName, &DataPlaneFile)>) -> Result<Placement> {
        let Some((name, file)) = plane else { return Ok(Placement { plane: self.here.clone(), registry: None }) };
        if name.as_str() != "edge" {
            return Err(PortError::Terminal(format!("its kubeconfig is not here: trimtab dataplane add {name}")));
        }
        let host = file.registry.as_ref().map_or("hub:5000".to_owned(), ToString::to_string);
        let registry = Registry { host, user: "shop.edge".into(), password: "PULLTOKEN".into() };
        Ok(Placement { plane: Arc::new(self.edge.clone()), registry: Some(registry) })
    }
}

struct Shop {
    world: Arc<World>,
    edge: Edge,
    reconciler: Reconciler,
    _logs: tempfile::TempDir,
}

impl Shop {
    /// web-1 is healthy in dev and staging, both on the embedded data plane, and `edge` is described.
    async fn open() -> Self {
        let world = Arc::new(World::default());
        let edge = Edge { world: Arc::default(), gone: Arc::default() };
        let logs = tempfile::tempdir().unwrap();
        let settings = Settings {
            gateway: "127.0.0.1:7180".parse().unwrap(),
            control: "127.0.0.1:7181".parse().unwrap(),
            logs: logs.path().to_owned(),
            clock_noticed: std::time::Duration::from_secs(60),
        };
        let planes = Planes { here: world.clone(), edge: edge.clone() };
        let ports = reconcile::Ports { data_planes: Arc::new(planes), ..ports(&world) };
        let reconciler = Reconciler::new(ports, settings);
        let running = reconciler.clone();
        tokio::spawn(async move { running.begin(CancellationToken::new()).await?.await });
        let shop = Self { world, edge, reconciler, _logs: logs };
        assert!(shop.reconciler.init_project(&shop.project(), "ada").await.unwrap());
        let web = Repository { project: shop.project(), name: "web".into() };
        let files = [("trimtab.yaml", Some(COMPONENT)), ("Dockerfile", Some("FROM a"))];
        shop.world.push(&web, "ada", "one", &files);
        shop.reconciler.wake();
        shop.eventually("it is found", async || shop.reconciler.status(&shop.project()).await.is_ok()).await;
        shop.eventually("healthy in dev", async || shop.healthy("dev").await).await;
        shop.promote().await;
        shop.eventually("healthy in staging", async || shop.healthy("staging").await).await;
        let file = DataPlaneFile::default();
        let commit =
            shop.reconciler.describe_data_plane(&shop.project(), &edge_name(), Some(&file), "ada").await.unwrap();
        assert!(commit.is_some());
        let again =
            shop.reconciler.describe_data_plane(&shop.project(), &edge_name(), Some(&file), "ada").await.unwrap();
        assert_eq!(again, None, "described already");
        shop
    }

    fn project(&self) -> Project {
        "shop".parse().unwrap()
    }

    async fn promote(&self) -> String {
        let (web, staging) = ("web".parse().unwrap(), "staging".parse().unwrap());
        self.reconciler.promote(&self.project(), &web, None, &staging, "ada", "").await.unwrap()
    }

    fn staging_on(&self, plane: &str) {
        let text = format!("dataPlane: {plane}\n{STAGING}");
        let config = Repository::config(&self.project());
        self.world.push(&config, "ada", plane, &[("environments/staging.yaml", Some(&text))]);
        self.reconciler.wake();
    }

    async fn status(&self, environment: &str) -> model::views::EnvironmentStatus {
        let status = self.reconciler.status(&self.project()).await.unwrap();
        status.environments.into_iter().find(|e| e.name.as_str() == environment).unwrap()
    }

    async fn healthy(&self, environment: &str) -> bool {
        let status = self.status(environment).await;
        status.error.is_none() && status.components.first().is_some_and(|c| c.health == model::flow::Health::Healthy)
    }

    async fn eventually(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !condition().await {
            if Instant::now() > deadline {
                panic!("never: {what}\n{:#?}", self.reconciler.status(&self.project()).await);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn edge_name() -> DataPlaneName {
    "edge".parse().unwrap()
}

#[tokio::test]
async fn workloads_move_and_what_was_left_goes_when_the_new_ones_are_healthy() {
    let shop = Shop::open().await;
    let here = || shop.world.object("Deployment", "shop-staging", "web");
    let there = || shop.edge.world.object("Deployment", "shop-staging", "web");
    assert!(here().is_some() && there().is_none());
    shop.staging_on("edge");
    shop.eventually("it runs there and no longer here", async || there().is_some() && here().is_none()).await;
    let pod = there().unwrap()["spec"]["template"]["spec"].clone();
    let image = pod["containers"][0]["image"].as_str().unwrap().to_owned();
    assert!(image.starts_with("hub:5000/shop/web@sha256:"), "{image}");
    assert_eq!(pod["imagePullSecrets"][0]["name"], "trimtab-registry");
    assert!(shop.edge.world.object("Secret", "shop-staging", "trimtab-registry").is_some());
    assert!(shop.world.object("Deployment", "shop-dev", "web").is_some(), "others stay");
    let routes = shop.world.routes();
    assert!(routes.routes.iter().all(|route| !route.host.contains("staging")), "its Pods are not reached: {routes:?}");
    let url = shop.reconciler.url(&shop.project(), &"web".parse().unwrap(), &"staging".parse().unwrap()).await;
    assert!(url.unwrap_err().to_string().contains("on data plane edge, whose Pods the gateway does not reach"));
    shop.staging_on("embedded");
    shop.eventually("it is back", async || here().is_some() && there().is_none()).await;
    shop.eventually("nothing is noted any more", async || shop.status("staging").await.notes.is_empty()).await;
    let removed = shop.reconciler.describe_data_plane(&shop.project(), &edge_name(), None, "ada").await.unwrap();
    assert!(removed.is_some());
}

#[tokio::test]
async fn a_data_plane_that_is_gone_is_said_others_go_on_and_it_recovers_by_itself() {
    let shop = Shop::open().await;
    shop.staging_on("edge");
    shop.eventually("it runs there", async || {
        shop.healthy("staging").await && shop.status("staging").await.data_plane == Some(edge_name())
    })
    .await;
    *shop.edge.gone.lock().unwrap() = Some("connection refused".into());
    shop.reconciler.data_plane_changed(&shop.project());
    let said = "DataPlane edge unreachable: connection refused";
    shop.eventually("it is said", async || shop.status("staging").await.error.as_deref() == Some(said)).await;
    shop.eventually("as a condition", async || {
        let record = shop.world.record(Kind::Environment, "staging").unwrap();
        let ready = &record["status"]["conditions"][0];
        ready["reason"] == "DataPlaneUnreachable" && ready["status"] == "False" && ready["message"] == said
    })
    .await;
    let web = Repository { project: shop.project(), name: "web".into() };
    shop.world.push(&web, "ada", "two", &[("trimtab.yaml", Some(COMPONENT)), ("Dockerfile", Some("FROM b"))]);
    shop.reconciler.wake();
    shop.eventually("dev goes on", async || {
        shop.status("dev").await.components.first().is_some_and(|c| c.build.number == 2) && shop.healthy("dev").await
    })
    .await;
    let name = shop.promote().await;
    shop.eventually("the promotion waits", async || {
        let promotion = shop.world.record(Kind::Promotion, &name).unwrap();
        promotion["status"]["phase"] == "Waiting" && promotion["status"]["message"] == said
    })
    .await;
    let refused = shop.reconciler.describe_data_plane(&shop.project(), &edge_name(), None, "ada").await.unwrap_err();
    assert!(refused.to_string().contains("environments/staging.yaml"), "{refused}");
    *shop.edge.gone.lock().unwrap() = None;
    shop.eventually("it recovers", async || {
        shop.healthy("staging").await && shop.status("staging").await.components[0].build.number == 2
    })
    .await;
}

#[tokio::test]
async fn the_token_stands_in_no_plan_no_record_and_no_journal() {
    let shop = Shop::open().await;
    shop.staging_on("edge");
    shop.eventually("it runs there", async || {
        shop.edge.world.object("Secret", "shop-staging", "trimtab-registry").is_some()
    })
    .await;
    let plan = shop.reconciler.diff(&shop.project(), &"staging".parse().unwrap()).await.unwrap();
    let hidden = |text: String, what: &str| {
        // As it is, and in base64 at any of three offsets.
        for needle in ["PULLTOKEN", "UFVMTFRPS0VO", "BVTExUT0tFT", "QVUxMVE9LRU"] {
            assert!(!text.contains(needle), "{what}: {text}");
        }
    };
    hidden(serde_json::to_string(&plan).unwrap(), "plan");
    hidden(format!("{:?}", shop.world.journal_of(&shop.project())), "journal");
    for kind in Kind::ALL {
        for name in ["staging", "web.staging", "shop"] {
            hidden(format!("{:?}", shop.world.record(kind, name)), "record");
        }
    }
}

#[tokio::test]
async fn a_data_plane_without_its_credential_is_held_with_the_command() {
    let shop = Shop::open().await;
    let far: DataPlaneName = "far".parse().unwrap();
    shop.reconciler.describe_data_plane(&shop.project(), &far, Some(&DataPlaneFile::default()), "ada").await.unwrap();
    shop.staging_on("far");
    shop.eventually("the command is said", async || {
        let error = shop.status("staging").await.error.unwrap_or_default();
        error.contains("DataPlane far unreachable") && error.contains("trimtab dataplane add far")
    })
    .await;
    assert!(shop.world.object("Deployment", "shop-staging", "web").is_some(), "what ran runs on");
}

#[tokio::test]
async fn an_environment_that_goes_is_taken_away_from_its_data_plane_and_from_those_that_it_left() {
    let shop = Shop::open().await;
    // What was left stays for now: nobody answers where it goes.
    *shop.edge.gone.lock().unwrap() = Some("connection refused".into());
    shop.staging_on("edge");
    shop.eventually("it is said", async || shop.status("staging").await.error.is_some()).await;
    *shop.edge.gone.lock().unwrap() = None;
    shop.eventually("it runs there", async || shop.edge.world.object("Deployment", "shop-staging", "web").is_some())
        .await;
    let (project, staging) = (shop.project(), "staging".parse().unwrap());
    let config = Repository::config(&project);
    let refused = shop.reconciler.delete_environment(&project, &staging, true, "ada").await.unwrap_err();
    assert!(refused.to_string().contains("staging cannot go: prod names it"), "{refused}");
    let prod = "promotion: {from: [dev], strategy: Manual}\n";
    let values = "data: {LEVEL: {default: info, staging: debug}}\n";
    let files = [("environments/prod.yaml", Some(prod)), ("config/common.yaml", Some(values))];
    shop.world.push(&config, "ada", "prod follows dev", &files);
    shop.reconciler.wake();
    let mut refused = String::new();
    shop.eventually("what is for it keeps it", async || {
        let answer = shop.reconciler.delete_environment(&project, &staging, true, "ada").await;
        refused = answer.expect_err("a value is for it").to_string();
        refused.contains("config/common.yaml")
    })
    .await;
    shop.world.push(&config, "ada", "no value", &[("config/common.yaml", None)]);
    shop.reconciler.delete_environment(&project, &staging, true, "ada").await.unwrap();
    let told = |kind| shop.world.journal_of(&project).iter().any(|entry| entry.kind == kind);
    shop.eventually("nothing of it runs", async || told(model::journal::EntryKind::Removed)).await;
    for (place, world) in [("edge", &shop.edge.world), ("here", &shop.world)] {
        assert!(world.object("Deployment", "shop-staging", "web").is_none(), "{place}");
    }
    assert!(shop.world.record(Kind::Environment, "staging").is_none());
    assert!(shop.healthy("dev").await);
}
