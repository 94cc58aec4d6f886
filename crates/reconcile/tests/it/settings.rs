//! Configuration and secrets: moved like code, read as the rules say, never shown.

use crate::fakes::sealed;
use crate::rules::{Shop, name};
use model::journal::EntryKind;
use model::records::{Class, GateName, GateState, Kind, PromotionPhase};
use reconcile::{Refusal, Wish};
use std::collections::BTreeMap;

const COMPONENT: &str = "project: shop\ncomponent: web\nendpoints: {http: {port: 8080, visibility: public}}\n";
const CONFIGURED: &str =
    "project: shop\ncomponent: web\nworkload: {configGroups: [common]}\nendpoints: {http: {port: 8080}}\n";
const WITH_SECRET: &str = "project: shop\ncomponent: web\nworkload: {secrets: [db]}\nendpoints: {http: {port: 8080}}\n";
const CANARY: &str = "hunter2-canary";

impl Shop {
    /// The one value of `LEVEL` that the Deployment of an environment refers to.
    fn level(&self, environment: &str) -> Option<String> {
        let namespace = format!("shop-{environment}");
        let deployment = self.world.object("Deployment", &namespace, "web")?;
        let map =
            deployment.pointer("/spec/template/spec/containers/0/envFrom/0/configMapRef/name")?.as_str()?.to_owned();
        let map = self.world.object("ConfigMap", &namespace, &map)?;
        map["data"]["LEVEL"].as_str().map(str::to_owned)
    }

    async fn configured(&self, environment: &str, level: &str) {
        self.eventually(&format!("{environment} has LEVEL={level}"), async || {
            self.level(environment).as_deref() == Some(level) && self.runs(environment).await.is_some()
        })
        .await;
    }

    fn config_of(&self, environment: &str) -> String {
        let pin = self.pin(environment).unwrap_or_default();
        pin.lines().find_map(|line| line.strip_prefix("config: ")).unwrap_or_default().trim_matches('"').to_owned()
    }

    fn subjects(&self, environment: &str) -> Vec<String> {
        let commits = self.world.commits(&self.config(), &format!("environments/{environment}/web.yaml"));
        commits.into_iter().map(|commit| commit.subject).collect()
    }

    /// What the Secret in the cluster holds.
    fn password(&self, environment: &str) -> Option<String> {
        use base64::Engine;
        let secret = self.world.object("Secret", &format!("shop-{environment}"), "web-db")?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(secret["data"]["PASSWORD"].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    }

    fn sealed_of(&self, environment: &str) -> Option<String> {
        let deployment = self.world.object("Deployment", &format!("shop-{environment}"), "web")?;
        let annotation = deployment.pointer("/spec/template/metadata/annotations")?.get("trimtab.dev/secrets")?;
        annotation.as_str().map(str::to_owned)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_config_moves_the_auto_pins_whose_rendering_changes_and_nothing_else() {
    let shop = Shop::open().await;
    shop.edit(
        "first",
        &[
            ("config/common.yaml", Some("data: {LEVEL: {default: info, prod: warn}}\n")),
            ("config/other.yaml", Some("data: {A: 1}\n")),
        ],
    );
    shop.push_with(Some(CONFIGURED), "one");
    shop.configured("dev", "info").await;
    let (pins, first) = (shop.pins("dev"), shop.config_of("dev"));
    // A group that nobody uses, and a comment: nothing moves.
    shop.edit("other", &[("config/other.yaml", Some("data: {A: 2}\n"))]);
    shop.edit("comment", &[("config/common.yaml", Some("# same\ndata: {LEVEL: {default: info, prod: warn}}\n"))]);
    shop.edit("louder", &[("config/common.yaml", Some("data: {LEVEL: {default: debug, prod: warn}}\n"))]);
    shop.configured("dev", "debug").await;
    assert_eq!(shop.pins("dev"), pins + 1, "one movement, one commit");
    let (subject, now) = (&shop.subjects("dev")[0], shop.config_of("dev"));
    assert_eq!(*subject, format!("dev: web config {} → {}", &first[..8], &now[..8]));
    // A change for prod alone moves in dev too, because it must be able to go to prod by promotion.
    shop.edit("prod only", &[("config/common.yaml", Some("data: {LEVEL: {default: debug, prod: error}}\n"))]);
    shop.eventually("the pin has moved", async || shop.pins("dev") == pins + 2).await;
    assert_eq!(shop.world.built(), 1, "no build");
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_written_reads_what_was_written_at_once() {
    let shop = Shop::open().await;
    let project = shop.project();
    for level in ["debug", "info", "warn", "error"] {
        let values = BTreeMap::from([("LEVEL".to_owned(), level.to_owned())]);
        let written = shop.reconciler.set_config(&project, &name("common"), "default", &values, "ada").await;
        assert!(written.unwrap().is_some());
        let rows = shop.reconciler.settings(&project).await.unwrap();
        assert_eq!(rows[0].environments[&name("prod")].value, level);
    }
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_names_commits_of_the_configuration_that_a_component_is_given() {
    let shop = Shop::open().await;
    shop.edit("info", &[("config/common.yaml", Some("data: {LEVEL: info}\n"))]);
    shop.push_with(Some(CONFIGURED), "one");
    shop.configured("dev", "info").await;
    shop.promote("staging").await;
    shop.configured("staging", "info").await;
    shop.edit("others", &[("config/other.yaml", Some("data: {A: 1}\n"))]);
    shop.edit("louder", &[("config/common.yaml", Some("data: {LEVEL: debug}\n"))]);
    shop.configured("dev", "debug").await;
    let difference = shop.reconciler.difference(&shop.project(), "staging", "dev").await.unwrap();
    let subjects: Vec<&str> =
        difference.components[0].configuration.iter().filter_map(|commit| commit.rsplit(": ").next()).collect();
    assert_eq!(subjects, ["louder"], "{difference:#?}");
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_moves_by_promotion_skips_ahead_when_asked_and_comes_back_with_a_rollback() {
    let shop = Shop::open().await;
    shop.edit("info", &[("config/common.yaml", Some("data: {LEVEL: info}\n"))]);
    shop.push_with(Some(CONFIGURED), "one");
    shop.configured("dev", "info").await;
    assert_eq!(shop.promote("staging").await.status.phase, PromotionPhase::Succeeded);
    assert_eq!(shop.level("staging").as_deref(), Some("info"));
    shop.edit("debug", &[("config/common.yaml", Some("data: {LEVEL: debug}\n"))]);
    shop.configured("dev", "debug").await;
    assert_eq!(shop.level("staging").as_deref(), Some("info"), "other environments get it by promotion");
    shop.eventually("it was told to be healthy in dev", async || shop.told(EntryKind::Healthy, "dev") == 2).await;
    let promoted = shop.promote("staging").await;
    assert_eq!(promoted.status.phase, PromotionPhase::Succeeded, "{promoted:#?}");
    assert_eq!(shop.level("staging").as_deref(), Some("debug"));
    assert_eq!(shop.config_of("staging"), shop.config_of("dev"), "the commit that was healthy before");
    // Back, without a build; Auto does not take it again, but takes what comes after it.
    let back = shop.rollback("dev").await;
    assert_eq!(back.status.phase, PromotionPhase::Succeeded, "{back:#?}");
    shop.configured("dev", "info").await;
    let pins = shop.pins("dev");
    shop.edit("comment", &[("config/common.yaml", Some("# still\ndata: {LEVEL: debug}\n"))]);
    shop.push_with(Some(CONFIGURED), "two");
    shop.healthy("dev", "web-2").await;
    assert_eq!(
        (shop.level("dev").as_deref(), shop.pins("dev")),
        (Some("info"), pins + 1),
        "the build moves, the configuration does not"
    );
    shop.edit("trace", &[("config/common.yaml", Some("data: {LEVEL: trace}\n"))]);
    shop.configured("dev", "trace").await;
    // Ahead of dev: asked for by its commit.
    shop.promote("prod").await;
    shop.edit("hot", &[("config/common.yaml", Some("data: {LEVEL: trace, HOT: 1}\n"))]);
    let hot = shop.world.commits(&shop.config(), "config/common.yaml")[0].id.clone();
    let (project, staging) = (shop.project(), name("staging"));
    let ask = async |build, config: &str| {
        let (component, config) = (Some(shop.web()), Some(config.to_owned()));
        let wish = Wish { component, build, config, ..Wish::new(Class::Promote, &staging) };
        shop.reconciler.request(&project, wish, "ada").await
    };
    let ended = shop.ended(&ask(Some(name("web-1")), &hot.as_str()[..8]).await.unwrap()).await;
    assert_eq!(ended.status.phase, PromotionPhase::Succeeded, "{ended:#?}");
    assert_eq!((shop.config_of("staging"), shop.level("staging").as_deref()), (hot.to_string(), Some("trace")));
    let unknown = ask(None, "abcdef12").await;
    assert!(matches!(unknown, Err(Refusal::NotFound(why)) if why.contains("abcdef12")));
    // What nobody needs any more is gone.
    shop.eventually("old ConfigMaps are gone", async || shop.world.objects("ConfigMap", "shop-dev").len() == 1).await;
    assert_eq!(shop.told(EntryKind::Repaired, "dev"), 0, "that is no repair");
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_missing_or_wrong_is_found_before_anything_is_deployed() {
    let shop = Shop::open().await;
    shop.push_with(Some(CONFIGURED), "one");
    shop.eventually("the promotion says what is missing", async || {
        let promotion = shop.world.record(Kind::Promotion, "dev-web-1").unwrap_or_default();
        promotion["status"]["message"]
            .as_str()
            .unwrap_or_default()
            .contains("there is no config/common.yaml; there is: none")
    })
    .await;
    assert_eq!(shop.pins("dev"), 0);
    shop.edit("wrong", &[("config/common.yaml", Some("data: {PORT: eighty}\nschema: {PORT: {type: int}}\n"))]);
    shop.eventually("the place is named", async || {
        let promotion = shop.world.record(Kind::Promotion, "dev-web-1").unwrap_or_default();
        promotion["status"]["message"]
            .as_str()
            .unwrap_or_default()
            .contains("config/common.yaml:1:14: data.PORT.default: expected an int")
    })
    .await;
    assert_eq!(shop.pins("dev"), 0);
    shop.edit("right", &[("config/common.yaml", Some("data: {LEVEL: info}\n"))]);
    shop.configured("dev", "info").await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_missing_in_one_environment_holds_it_with_the_command_that_sets_it() {
    let shop = Shop::open().await;
    let db = |more: &str| format!("PASSWORD: {{dev: {}{more}}}\n", sealed(CANARY));
    shop.edit("secret", &[("secrets/db.yaml", Some(&db("")))]);
    shop.push_with(Some(WITH_SECRET), "one");
    shop.healthy("dev", "web-1").await;
    assert_eq!(shop.password("dev").as_deref(), Some(CANARY));
    let waits = shop.promote("staging").await;
    assert_eq!(waits.status.phase, PromotionPhase::Waiting);
    assert!(waits.status.message.contains("trimtab secret set db PASSWORD --env staging"), "{waits:#?}");
    let gate = waits.status.gates.iter().find(|gate| gate.name == GateName::Configuration).unwrap();
    assert_eq!((gate.state, shop.pins("staging")), (GateState::Waiting, 0));
    let project = shop.project();
    let set = shop
        .reconciler
        .set_secret(&project, &name("db"), "PASSWORD", "staging", &name(&sealed("other-canary")), "bob")
        .await;
    // The flow map of the file is edited in place.
    assert!(set.unwrap().is_some());
    shop.healthy("staging", "web-1").await;
    assert_eq!(shop.password("staging").as_deref(), Some("other-canary"));
    let rows = shop.reconciler.secrets(&project).await.unwrap();
    let row = rows.iter().find(|row| row.place == "staging").unwrap();
    assert_eq!((row.key.as_str(), row.by.as_deref(), row.used_by.len()), ("PASSWORD", Some("bob"), 1));
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotating_a_secret_is_a_promotion_of_its_own_and_no_rollback_revives_it() {
    let shop = Shop::open().await;
    let db = |value: &str| format!("PASSWORD: {}\n", sealed(value));
    shop.edit("secret", &[("secrets/db.yaml", Some(&db(CANARY)))]);
    shop.push_with(Some(WITH_SECRET), "one");
    shop.healthy("dev", "web-1").await;
    shop.push_with(Some(WITH_SECRET), "two");
    shop.healthy("dev", "web-2").await;
    let (pins, before) = (shop.pins("dev"), shop.sealed_of("dev").unwrap());
    let rotated = shop
        .reconciler
        .set_secret(&shop.project(), &name("db"), "PASSWORD", "default", &name(&sealed("canary-3")), "bob")
        .await
        .unwrap()
        .unwrap();
    shop.eventually("the Pods have the new value", async || {
        shop.password("dev").as_deref() == Some("canary-3") && shop.sealed_of("dev").is_some_and(|now| now != before)
    })
    .await;
    let promotion = format!("dev-commit-{}", rotated.short());
    shop.eventually("its promotion has succeeded", async || {
        shop.world.record(Kind::Promotion, &promotion).is_some_and(|p| p["status"]["phase"] == "Succeeded")
    })
    .await;
    let record = shop.world.record(Kind::Promotion, &promotion).unwrap();
    assert_eq!(record["spec"]["class"], serde_json::json!(Class::Secret));
    assert_eq!((&record["spec"]["requestedBy"], &record["status"]["change"]), (&"bob".into(), &"secret db".into()));
    assert_eq!(shop.pins("dev"), pins, "no pin moves");
    shop.rollback("dev").await;
    shop.healthy("dev", "web-1").await;
    assert_eq!(shop.password("dev").as_deref(), Some("canary-3"), "no rollback revives it");
    // The same value, encrypted again, rolls nothing.
    let sealed_now = shop.sealed_of("dev");
    shop.reconciler.renew_secrets(&shop.project(), "bob").await.unwrap();
    shop.push_with(Some(WITH_SECRET), "three");
    shop.healthy("dev", "web-3").await;
    assert_eq!(shop.sealed_of("dev"), sealed_now);
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_never_shown_in_plans_records_journal_or_answers() {
    use base64::Engine;
    let shop = Shop::open().await;
    shop.edit("secret", &[("secrets/db.yaml", Some(&format!("PASSWORD: {}\n", sealed(CANARY))))]);
    shop.push_with(Some(WITH_SECRET), "one");
    shop.healthy("dev", "web-1").await;
    let project = shop.project();
    let look = async || {
        let (dev, web) = (name("dev"), shop.web());
        format!(
            "{}{:?}{:?}{:?}{:?}{:?}{:?}",
            shop.world.everything_shown(),
            shop.reconciler.diff(&project, &dev).await,
            shop.reconciler.status(&project).await,
            shop.reconciler.explain(&project, &web, &dev).await,
            shop.reconciler.history(&project, None, 100).await,
            shop.reconciler.settings(&project).await,
            shop.reconciler.secrets(&project).await,
        )
    };
    let mut shown = look().await;
    // Drift: somebody deletes it; it comes back, and the journal tells of it.
    shop.world.delete_object("Secret", "web-db");
    shop.eventually("it is back", async || shop.password("dev").as_deref() == Some(CANARY)).await;
    shop.eventually("that was told", async || shop.told(EntryKind::Repaired, "dev") == 1).await;
    shown.push_str(&look().await);
    shop.reconciler
        .set_secret(&project, &name("db"), "PASSWORD", "dev", &name(&sealed("canary-4")), "bob")
        .await
        .unwrap();
    shop.eventually("rotated", async || shop.password("dev").as_deref() == Some("canary-4")).await;
    shown.push_str(&look().await);
    assert!(shown.contains("web-db") && shown.contains("sealed:"), "the plan was looked at");
    for value in [CANARY, "canary-4"] {
        for form in [value.to_owned(), base64::engine::general_purpose::STANDARD.encode(value)] {
            assert!(!shown.contains(&form), "{form} is shown");
        }
    }
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_a_pin_names_cannot_be_removed_and_bad_values_are_refused() {
    let shop = Shop::open().await;
    let both = format!("PASSWORD:\n  default: {0}\n  dev: {0}\nUNUSED:\n  dev: {0}\n", sealed(CANARY));
    shop.edit(
        "secret",
        &[("secrets/db.yaml", Some(&both)), ("secrets/old.yaml", Some(&format!("A: {}\n", sealed("x"))))],
    );
    shop.push_with(Some(WITH_SECRET), "one");
    shop.healthy("dev", "web-1").await;
    let (project, db) = (shop.project(), name("db"));
    let remove = async |secret: &str, key: Option<&str>, place: Option<&str>| {
        shop.reconciler.remove_secret(&project, &name(secret), key, place, "bob").await
    };
    for (key, place) in [(None, None), (Some("PASSWORD"), None), (Some("UNUSED"), None)] {
        let refused = remove("db", key, place).await;
        assert!(
            matches!(&refused, Err(Refusal::Refused(why)) if why.contains("used by web in dev")),
            "{key:?}: {refused:?}"
        );
    }
    assert!(remove("db", Some("PASSWORD"), Some("dev")).await.unwrap().is_some(), "default still has it");
    assert!(remove("old", None, None).await.unwrap().is_some());
    assert_eq!(shop.world.file(&shop.config(), "secrets/old.yaml"), None);
    assert!(matches!(remove("old", None, None).await, Err(Refusal::NotFound(why)) if why.contains("db")));
    let other = shop.reconciler.set_secret(&project, &db, "PASSWORD", "dev", &name(&sealed("canary!")), "bob").await;
    assert!(
        matches!(&other, Err(Refusal::Refused(why)) if why.contains("another key") && !why.contains("canary")),
        "{other:?}"
    );
    let nowhere = shop.reconciler.set_secret(&project, &db, "PASSWORD", "nowhere", &name(&sealed("x")), "bob").await;
    assert!(
        matches!(&nowhere, Err(Refusal::Refused(why)) if why.contains("there is no environment or group nowhere")),
        "{nowhere:?}"
    );
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_to_a_release_whose_secret_is_gone_says_what_is_missing_before_anything_moves() {
    let shop = Shop::open().await;
    shop.edit("secret", &[("secrets/db.yaml", Some(&format!("PASSWORD: {}\n", sealed(CANARY))))]);
    shop.push_with(Some(WITH_SECRET), "one");
    shop.healthy("dev", "web-1").await;
    let (project, version) = (shop.project(), name::<model::Version>("1.0.0"));
    let create = async || shop.reconciler.create_release(&project, &version, &name("dev"), "ada").await;
    shop.eventually("1.0.0 is made", async || create().await.is_ok()).await;
    let release = || Wish { release: Some(version.clone()), ..Wish::new(Class::Promote, &name("staging")) };
    shop.reconciler.request(&project, release(), "ada").await.unwrap();
    shop.healthy("staging", "web-1").await;
    shop.push_with(Some(COMPONENT), "two");
    shop.healthy("dev", "web-2").await;
    shop.promote("staging").await;
    shop.healthy("staging", "web-2").await;
    // No command takes it away while the release is kept; a commit by hand does.
    let refused = shop.reconciler.remove_secret(&project, &name("db"), None, None, "bob").await;
    assert!(matches!(&refused, Err(Refusal::Refused(why)) if why.contains("1.0.0")), "{refused:?}");
    shop.edit("the secret goes", &[("secrets/db.yaml", None)]);
    let pins = shop.pins("staging");
    let back = Wish { release: Some(version.clone()), ..Wish::new(Class::Rollback, &name("staging")) };
    let asked = shop.reconciler.request(&project, back, "ada").await.unwrap();
    let waits = shop.ended(&asked).await;
    assert_eq!(waits.status.phase, PromotionPhase::Waiting, "{waits:?}");
    assert!(
        waits.status.message.contains("web needs secret db, which does not exist: trimtab secret set db"),
        "{waits:?}"
    );
    assert_eq!((shop.pins("staging"), shop.runs("staging").await.as_deref()), (pins, Some("web-2")));
    // Given again, it goes on by itself.
    shop.edit("the secret is back", &[("secrets/db.yaml", Some(&format!("PASSWORD: {}\n", sealed("canary-2"))))]);
    shop.healthy("staging", "web-1").await;
    assert_eq!(shop.password("staging").as_deref(), Some("canary-2"));
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn config_set_is_one_commit_by_its_author_and_never_breaks_a_file() {
    let shop = Shop::open().await;
    let text = "# ours\ndata:\n  LEVEL: info # loud\n  PORT: 80\nschema:\n  PORT: {type: int}\n";
    shop.edit(
        "common",
        &[
            ("config/common.yaml", Some(text)),
            (
                "project.yaml",
                Some("project: shop\nenvironments: [dev, staging, prod]\ngroups: {nonprod: [dev, staging]}\n"),
            ),
        ],
    );
    shop.eventually("it was looked at", async || shop.reconciler.status(&shop.project()).await.is_ok()).await;
    let set = async |place: &str, key: &str, value: &str| {
        let values = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        shop.reconciler.set_config(&shop.project(), &name("common"), place, &values, "bob").await
    };
    assert!(set("nonprod", "LEVEL", "debug").await.unwrap().is_some());
    assert!(set("nonprod", "LEVEL", "debug").await.unwrap().is_none(), "it stood so already");
    let expected = text.replace("info #", "{default: info, nonprod: debug} #");
    assert_eq!(shop.world.file(&shop.config(), "config/common.yaml"), Some(expected));
    let commit = &shop.world.commits(&shop.config(), "config/common.yaml")[0];
    assert_eq!((commit.author.as_str(), commit.subject.as_str()), ("bob", "config common: LEVEL for nonprod"));
    for (place, key, value, expected) in [
        ("prod", "PORT", "eighty", "expected an int, found \"eighty\""),
        ("dev", "NEW", "x", "data.NEW: it has no value for staging"),
        ("nowhere", "LEVEL", "x", "there is no environment or group nowhere"),
        ("dev", "2BAD", "x", "a key is a name of a variable"),
    ] {
        let refused = set(place, key, value).await;
        assert!(matches!(&refused, Err(Refusal::Refused(why)) if why.contains(expected)), "{key}: {refused:?}");
    }
    shop.eventually("all rows are there", async || {
        let rows = shop.reconciler.settings(&shop.project()).await.unwrap();
        let level = rows.iter().find(|row| row.key == "LEVEL").unwrap();
        let told =
            |environment: &str| level.environments.get(&name(environment)).map(|c| format!("{} {}", c.value, c.place));
        (told("dev").as_deref(), told("prod").as_deref()) == (Some("debug nonprod"), Some("info default"))
    })
    .await;
    shop.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_described_in_the_config_repository_or_in_its_own_and_never_in_both() {
    let shop = Shop::open().await;
    shop.push_with(None, "one");
    shop.eventually("it was looked at", async || shop.reconciler.status(&shop.project()).await.is_ok()).await;
    shop.edit("component", &[("components/web.yaml", Some(COMPONENT))]);
    shop.healthy("dev", "web-1").await;
    assert_eq!(
        shop.world.record(Kind::Component, "web").unwrap()["metadata"]["annotations"]["trimtab.dev/file"],
        "components/web.yaml"
    );
    // Two replicas: described in the config repository, so it moves as configuration does.
    let (pins, built) = (shop.pins("dev"), shop.world.built());
    shop.edit("two", &[("components/web.yaml", Some(&format!("{COMPONENT}workload: {{replicas: 2}}\n")))]);
    shop.eventually("two replicas", async || {
        shop.world.object("Deployment", "shop-dev", "web").is_some_and(|d| d["spec"]["replicas"] == 2)
    })
    .await;
    assert_eq!((shop.pins("dev"), shop.world.built()), (pins + 1, built));
    shop.push("both");
    shop.eventually("a second description is said", async || {
        let promotions = shop.reconciler.status(&shop.project()).await.unwrap();
        promotions.environments[0].components.iter().all(|c| c.build.number == 1)
    })
    .await;
    assert_eq!(shop.world.built(), built, "nothing is built of what is described twice");
    shop.rests().await;
}
