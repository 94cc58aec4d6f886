//! What a pusher is told, and what a cluster in the hands of others becomes.

use super::cluster::Behaviour;
use super::world::{World, env, image};
use model::journal::EntryKind;
use model::records::{Kind, PromotionPhase};
use serde_json::json;

/// A pin as people write it by hand: the one of another environment, with a build of another number.
fn pin(world: &World, like: &str, number: &str) -> String {
    let text = world.file(&format!("environments/{like}/hello.yaml"));
    let rest: Vec<&str> = text.lines().filter(|line| !line.starts_with("build:")).collect();
    format!("build: hello-{number}\n{}\n", rest.join("\n"))
}

#[test]
fn a_push_is_built_and_comes_to_dev_while_the_pusher_watches() {
    let world = World::new();
    let before = world.commits();
    let lines = world.push_app("1");
    let text = lines.join("\n");
    let mut rest = text.as_str();
    for word in ["received", "1", "hello-1", "hello-1 → dev", "healthy", "http://hello.dev.hello.localhost:7180/"] {
        let at = rest.find(word).unwrap_or_else(|| panic!("{word:?} is missing, or out of order, in: {text}"));
        rest = &rest[at + word.len()..];
    }
    assert_eq!((world.runs("dev"), world.runs("staging")), ("1".into(), "-".into()));
    assert_eq!((world.commits(), world.builds()), (before + 1, 1));
    let routes = &world.gateway.table.lock().unwrap().routes;
    let route = routes.iter().find(|r| r.host == "hello.dev.hello.localhost").expect("there is a route");
    assert_eq!(route.backends[0].endpoints, ["10.1.2.3:8080".parse().unwrap()]);
}

#[test]
fn pins_that_no_gate_lets_through_are_held_with_the_reason() {
    let world = World::with_first_build();
    let cases = [("99", "there is no build hello-99"), ("1", "hello-1 has not been healthy in staging")];
    for (number, why) in cases {
        let text = pin(&world, "dev", number);
        let lines = world.edit(&[("environments/prod/hello.yaml", Some(&text))]).expect("a held pin is taken");
        assert!(lines.iter().any(|line| line.contains("held") && line.contains(why)), "{lines:?}");
        assert!(world.explain("prod").contains(why), "{}", world.explain("prod"));
        world.quiet();
        assert_eq!(world.runs("prod"), "-");
    }
    assert_eq!(world.told(EntryKind::Held).len(), 2);
    world.succeeded(&world.promote("staging", None));
    world.eventually("the gate has opened", |w| w.runs("prod") == "1");
}

#[test]
fn nothing_moves_and_nothing_is_repaired_while_suspended() {
    let world = World::with_two_in_staging();
    let file = world.file("environments/staging.yaml");
    world.edit(&[("environments/staging.yaml", Some(&format!("{file}suspend: true\n")))]).unwrap();
    world.push_app("3");
    let name = world.promote("staging", None);
    world.eventually("it waits", |w| w.promotion(&name).status.phase == PromotionPhase::Waiting);
    assert!(world.promotion(&name).status.message.contains("suspended"));
    assert!(world.explain("staging").contains("suspended"));
    let mut scaled = world.cluster.get("Deployment", "hello-staging", "hello").unwrap();
    scaled["spec"]["replicas"] = json!(3);
    world.cluster.put(scaled);
    world.quiet();
    assert_eq!(world.runs("staging"), "2");
    assert_eq!(world.cluster.get("Deployment", "hello-staging", "hello").unwrap()["spec"]["replicas"], 3);
    world.eventually("drift is shown", |w| w.status("staging")["components"][0]["drifted"] == true);
    world.edit(&[("environments/staging.yaml", Some(&file))]).unwrap();
    world.eventually("it moves again", |w| w.runs("staging") == "3");
    world.succeeded(&name);
    assert_eq!(world.cluster.get("Deployment", "hello-staging", "hello").unwrap()["spec"]["replicas"], 1);
}

#[test]
fn what_others_delete_or_change_is_repaired_and_told() {
    let world = World::with_first_build();
    world.cluster.delete("Deployment", "hello-dev", "hello");
    world.eventually("it is there again", |w| w.runs("dev") == "1");
    world.eventually("the journal tells", |w| w.told(EntryKind::Repaired).len() == 1);
    let mut scaled = world.cluster.get("Deployment", "hello-dev", "hello").unwrap();
    scaled["spec"]["replicas"] = json!(3);
    scaled["metadata"]["managedFields"] =
        json!([{"manager": "kubectl-scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    world.cluster.put(scaled);
    world.eventually("the journal tells", |w| w.told(EntryKind::Repaired).len() == 2);
    let told = &world.told(EntryKind::Repaired)[1].reason;
    assert!(told.contains("kubectl-scale") && told.contains("spec.replicas 1 → 3"), "{told}");
    assert_eq!(world.cluster.get("Deployment", "hello-dev", "hello").unwrap()["spec"]["replicas"], 1);
    world.quiet();
    assert_eq!(world.told(EntryKind::Repaired).len(), 2);
}

#[test]
fn a_drift_that_came_while_nobody_ran_is_repaired() {
    let mut world = World::with_first_build();
    world.quiet();
    world.kill();
    world.cluster.delete("Deployment", "hello-dev", "hello");
    world.boot();
    world.eventually("it is there again", |w| w.runs("dev") == "1");
    world.eventually("the journal tells", |w| w.told(EntryKind::Repaired).len() == 1);
}

#[test]
fn a_failing_build_is_on_the_pushers_terminal_and_changes_nothing() {
    let world = World::with_first_build();
    let lines = world.push_app("FROM x\nRUN false").join("\n");
    assert!(lines.contains("Dockerfile:2: RUN false: exit code 1"), "{lines}");
    world.quiet();
    assert_eq!(world.runs("dev"), "1");
    assert_eq!(world.records.all(Kind::Build)["hello-2"]["status"]["phase"], "Failed");
    world.push_app("3");
    world.eventually("the next is number 3", |w| w.was_healthy("dev", "hello-3"));
}

#[test]
fn a_container_that_does_not_come_up_fails_its_promotion() {
    let world = World::with_first_build();
    world.cluster.behave(image("2").as_str(), Behaviour::Crashing);
    let lines = world.push_app("2").join("\n");
    assert!(lines.contains("not healthy") && lines.contains("it did not come up"), "{lines}");
    let name = "dev-hello-2";
    assert_eq!(world.settled(name).status.phase, PromotionPhase::Failed);
    assert_eq!(world.told(EntryKind::Failed).len(), 1);
    // It comes no further, and comes back by one commit.
    let waits = world.promote("staging", Some("hello-2"));
    world.eventually("it waits", |w| w.promotion(&waits).status.phase == PromotionPhase::Waiting);
    world.succeeded(&world.rollback("dev"));
    assert_eq!(world.runs("dev"), "1");
}

#[test]
fn only_ready_addresses_are_routed() {
    let world = World::with_first_build();
    world.cluster.behave(image("1").as_str(), Behaviour::Starting);
    world.eventually("the route has no address", |w| {
        let table = w.gateway.table.lock().unwrap();
        table.routes.len() == 1 && table.routes[0].backends.iter().all(|b| b.endpoints.is_empty())
    });
    assert!(world.gateway.table.lock().unwrap().routes[0].label.contains("Progressing"));
}

#[test]
fn pushes_of_nonsense_are_refused_at_once() {
    let world = World::with_first_build();
    let app = world.app();
    let broken = "project: hello\ncomponent: hello\nendpoint: {}\n";
    let cases = [
        (app.clone(), "trimtab.yaml", broken, "trimtab.yaml:3:1"),
        (app, "trimtab.yaml", "project: other\ncomponent: hello\n", "other"),
        (world.config(), "environments/dev.yaml", "promotion:\n  strategy: Sometimes\n", "environments/dev.yaml:2"),
        (world.config(), "environments/dev/hello.yaml", "build: hello\n", "environments/dev/hello.yaml"),
        (world.config(), "project.yaml", "environments: nonsense\n", "project.yaml"),
    ];
    for (repository, path, text, expect) in cases {
        let head = world.repositories.main(&repository).0[0].id.clone();
        let commit = world.repositories.stage(&repository, "ada", "nonsense", &[(path, Some(text))]);
        let refusal = world.push(&repository, &commit).expect_err("it is refused").join("\n");
        assert!(refusal.contains(expect), "{expect:?} is not in: {refusal}");
        assert_eq!(world.repositories.main(&repository).0[0].id, head);
    }
    assert!(world.accept(&world.app(), None).is_err(), "deleting main");
}

#[test]
fn what_is_no_longer_pinned_is_removed() {
    let world = World::with_first_build();
    world.succeeded(&world.promote("staging", None));
    world.edit(&[("environments/staging/hello.yaml", None)]).unwrap();
    world.eventually("it is gone", |w| w.runs("staging") == "-");
    world.eventually("its route too", |w| w.gateway.table.lock().unwrap().routes.len() == 1);
    world.eventually("its record too", |w| !w.records.all(Kind::ComponentDeployment).contains_key("hello.staging"));
    assert!(world.cluster.get("Namespace", "", "hello-staging").is_some(), "namespaces stay");
    assert_eq!(world.runs("dev"), "1");
}

#[test]
fn namespaces_of_others_are_not_touched() {
    let world = World::with_first_build();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hello-staging", "managedFields": [{"manager": "kubectl-create", "fieldsV1": {}}]}});
    world.cluster.put(namespace);
    world.promote("staging", None);
    world.eventually("the status says why", |w| {
        w.status("staging")["error"]
            .as_str()
            .is_some_and(|e| e.contains("namespace hello-staging exists and is not ours"))
    });
    assert_eq!(world.runs("staging"), "-");
}

#[test]
fn the_control_api_shows_what_stands_in_git() {
    let world = World::with_first_build();
    world.quiet();
    let annotation = |object: &serde_json::Value| object["metadata"]["annotations"]["trimtab.dev/file"].clone();
    let environments = world.records.all(Kind::Environment);
    assert_eq!(annotation(&environments["dev"]), "environments/dev.yaml");
    assert_eq!(environments["dev"]["spec"]["promotion"]["strategy"], "Auto");
    let deployment = &world.records.all(Kind::ComponentDeployment)["hello.dev"];
    assert_eq!(
        (annotation(deployment), &deployment["status"]["health"]),
        (json!("environments/dev/hello.yaml"), &json!("Healthy"))
    );
    assert_eq!(world.records.all(Kind::Component)["hello"]["spec"]["component"], "hello");
    assert_eq!(
        world.records.all(Kind::Project)["hello"]["spec"]["environments"],
        json!([env("dev"), env("staging"), env("prod")])
    );
}

#[test]
fn of_several_pushes_in_a_row_the_newest_is_built() {
    let world = World::with_first_build();
    for text in ["2", "3", "4"] {
        let commit = world.stage_app(text);
        world.accept(&world.app(), Some(&commit)).unwrap();
    }
    world.eventually("the newest runs", |w| w.runs("dev") == "4");
    world.quiet();
    let phases: Vec<_> = world.records.all(Kind::Build).values().map(|b| b["status"]["phase"].clone()).collect();
    assert!(phases.iter().all(|p| p == "Succeeded" || p == "Superseded"), "{phases:?}");
}

#[test]
fn a_push_that_builds_nothing_says_why() {
    let world = World::with_first_build();
    let edits =
        [("trimtab.yaml", Some("project: hello\ncomponent: hello\npath: web\n")), ("web/Dockerfile", Some("2"))];
    let commit = world.repositories.stage(&world.app(), "ada", "moved", &edits);
    world.push(&world.app(), &commit).unwrap();
    let commit = world.repositories.stage(&world.app(), "ada", "docs", &[("README.md", Some("x"))]);
    let lines = world.push(&world.app(), &commit).unwrap().join("\n");
    assert!(lines.contains("web") && lines.contains("nothing"), "{lines}");
    assert_eq!(world.builds(), 2);
}
