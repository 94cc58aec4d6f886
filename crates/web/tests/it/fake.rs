//! A delivery made of values: one project with all that a page can show. What is asked of it is recorded.

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use futures::StreamExt;
use http_body_util::BodyExt;
use model::flow::Health;
use model::journal::Entry;
use model::people::{Grant, Person, Role};
use model::views::{
    DataPlaneStatus, Deployment, Difference, Explanation, PolicyStatus, ProjectStatus, Prospects, Recreated,
    ReleaseStatus, Resources, WindowStatus,
};
use model::{
    Build, BuildId, Check, CommitId, Component, DataPlaneName, Environment, NewEnvironment, Plan, Project, Promotion,
    Recreate, Removal, Version,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tower::ServiceExt;
use web::{
    AddDataPlane, AddUser, Certify, Changes, DataPlaneAdded, Delivery, Error, Init, InitDone, KeyView, LogRequest,
    MadeToken, NewRelease, NewToken, NewWindow, People, Promote, Result, Rollback, Sessions, Text, Updates, UserView,
};

pub const COMMIT: &str = "0123456789012345678901234567890123456789";

/// The project.
pub struct World {
    pub status: Mutex<ProjectStatus>,
    pub changed: watch::Sender<u64>,
    /// In words, in order.
    pub asked: Mutex<Vec<String>>,
}

pub fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a value of this type")
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { status: Mutex::new(of(status())), changed: watch::Sender::new(0), asked: Mutex::default() })
    }

    /// dev becomes this, and every page is told.
    pub fn becomes(&self, health: Health) {
        self.status.lock().unwrap().environments[0].components[0].health = health;
        self.changed.send_modify(|count| *count += 1);
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub fn ask(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }
}

fn gates() -> Value {
    json!([
        { "name": "built", "state": "Open", "message": "shop-3 was built" },
        { "name": "healthyIn", "state": "Waiting", "message": "shop-3 has not been healthy in staging" },
        { "name": "strategy", "state": "Closed", "message": "<b>only</b> a commit by hand" },
    ])
}

fn status() -> Value {
    let held = json!({
        "commit": COMMIT, "author": "Eve <script>", "change": "shop-9", "components": ["shop"], "gates": gates(),
        "reason": "there is no build shop-9",
    });
    let running = |build: &str, health: &str| {
        json!({
            "component": "shop", "build": build, "health": health, "reason": "Current",
            "message": if health == "Healthy" { "" } else { "Pod shop-x exits with 3:\n<script>alert(1)</script>" },
            "url": "http://shop.dev.demo.localhost:7180/", "drifted": health != "Healthy",
        })
    };
    // More than a screen is wide.
    let regions = (1..=5).map(|number| {
        let name = format!("region-{number}");
        json!({ "name": name, "production": true, "strategy": "Manual", "suspended": false, "components": [] })
    });
    let mut status = json!({
        "project": "demo",
        "environments": [
            { "name": "dev", "production": false, "strategy": "Auto", "suspended": false, "components": [running("shop-3", "Healthy")] },
            { "name": "staging", "production": false, "strategy": "Manual", "suspended": true, "components": [running("shop-2", "Degraded")] },
            { "name": "prod", "production": true, "strategy": "Manual", "suspended": false, "components": [], "held": held },
        ],
    });
    status["environments"].as_array_mut().unwrap().extend(regions);
    status
}

fn build(number: u64, phase: &str, message: &str) -> Value {
    json!({
        "spec": {
            "project": "demo", "build": format!("shop-{number}"), "repository": { "project": "demo", "name": "shop" },
            "commit": COMMIT, "pushedBy": "Ada", "message": message, "created": "2026-11-21T09:00:00Z",
        },
        "status": {
            "phase": phase, "started": "2026-11-21T09:00:01Z", "finished": "2026-11-21T09:00:09.100Z",
            "message": if phase == "Failed" { "Dockerfile:3: RUN exits with 2" } else { "" },
        },
    })
}

fn journal() -> Value {
    let entry = |id: u32, build: &str, environment: &str, reason: &str| {
        json!({
            "id": id.to_string(), "kind": "admitted", "at": "2026-11-21T09:00:00Z", "actor": "ada", "environment": environment,
            "component": "shop", "build": build, "commit": COMMIT, "promotion": format!("{environment}-{build}"),
            "summary": format!("{environment}: {build}"), "reason": reason,
        })
    };
    json!([
        entry(3, "shop-3", "dev", ""),
        entry(2, "shop-2", "staging", "<i>because</i>"),
        entry(1, "shop-1", "staging", "")
    ])
}

fn promotion(name: &str, phase: &str) -> Value {
    json!({
        "name": name,
        "spec": {
            "project": "demo", "environment": "staging", "class": "Promote", "component": "shop", "build": "shop-3",
            "requestedBy": "ada", "reason": "Friday", "created": "2026-11-21T09:00:00Z",
        },
        "status": { "phase": phase, "gates": gates(), "change": "shop-2 → shop-3", "commit": COMMIT },
    })
}

fn deployment(build: &str, reason: &str) -> Value {
    json!({
        "environment": "staging", "at": "2026-11-21T09:00:00Z", "actor": "ada", "change": format!("shop → {build}"),
        "reason": reason, "promotion": format!("staging-{build}"), "commit": COMMIT, "builds": { "shop": build },
    })
}

fn resources() -> Resources {
    let object = |kind: &str, name: &str, uid: &str, owner: Option<&str>, more: Value| {
        let owners: Vec<Value> = owner.iter().map(|uid| json!({ "uid": uid })).collect();
        let mut object = json!({
            "kind": kind,
            "metadata": { "name": name, "uid": uid, "ownerReferences": owners, "labels": { model::LABEL_COMPONENT: "shop" } },
        });
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let crashing = json!({ "status": { "containerStatuses": [
        { "ready": false, "restartCount": 4, "state": { "waiting": { "reason": "CrashLoopBackOff" } } } ] } });
    Resources {
        objects: vec![
            object("Pod", "shop-1-a", "3", Some("2"), crashing),
            object("ReplicaSet", "shop-1", "2", Some("1"), json!({ "spec": { "replicas": 1 }, "status": {} })),
            object(
                "Deployment",
                "shop",
                "1",
                None,
                json!({ "spec": { "replicas": 1 }, "status": { "readyReplicas": 0 } }),
            ),
            object("Service", "shop", "4", None, json!({ "spec": { "ports": [{ "port": 8080 }] } })),
        ],
        events: vec![json!({
            "type": "Warning", "reason": "BackOff", "message": "Back-off restarting failed container",
            "involvedObject": { "kind": "Pod", "name": "shop-1-a" }, "lastTimestamp": "2026-11-21T09:00:00Z",
        })],
    }
}

fn plan(environment: &Environment) -> Value {
    let object = json!({ "group": "apps", "kind": "Deployment", "namespace": "demo-dev", "name": "shop" });
    json!({
        "project": "demo", "environment": environment, "commit": COMMIT,
        "steps": [{
            "action": "configure", "object": object, "reason": "changed by kubectl",
            "changes": [{ "path": "spec.replicas", "before": 5, "after": 1 }],
        }],
    })
}

pub fn only<T>(project: &Project, value: T) -> Result<T> {
    match project.as_str() {
        "demo" => Ok(value),
        other => Err(Error::NotFound(format!("there is no project {other}; there is: demo"))),
    }
}

fn lines(text: &'static str) -> Text {
    futures::stream::iter([Ok(text.into())]).boxed()
}

#[async_trait]
impl Delivery for World {
    async fn projects(&self) -> Result<Vec<Project>> {
        Ok(vec![of(json!("demo"))])
    }
    async fn init(&self, _: Init, _: &str) -> Result<InitDone> {
        Err(Error::Refused("not here".into()))
    }
    async fn status(&self, project: &Project) -> Result<ProjectStatus> {
        only(project, self.status.lock().unwrap().clone())
    }
    async fn explain(
        &self,
        project: &Project,
        component: &Component,
        environment: &Environment,
    ) -> Result<Explanation> {
        let status = self.status(project).await?;
        let found = status.environments.into_iter().find(|e| e.name == *environment);
        let found = found.ok_or_else(|| Error::NotFound(format!("there is no environment {environment}")))?;
        let (candidate, gates) = match environment.as_str() {
            "dev" => (json!(null), json!([])),
            "staging" => (json!("shop-3"), json!([])),
            _ => (json!("shop-3"), gates()),
        };
        Ok(Explanation {
            component: component.clone(),
            environment: environment.clone(),
            running: found.components.first().cloned(),
            sentences: vec![format!("{component} in {environment} is explained here")],
            candidate: of(candidate),
            gates: of(gates),
            held: found.held,
        })
    }
    async fn explanations(&self, project: &Project, environment: Option<&Environment>) -> Result<Vec<Explanation>> {
        let components: BTreeSet<_> =
            self.builds(project).await?.into_iter().map(|build| build.spec.build.component).collect();
        let environments = self.status(project).await?.environments.into_iter().map(|status| status.name);
        let mut found = Vec::new();
        for name in environments.filter(|name| environment.is_none_or(|wanted| wanted == name)) {
            for component in &components {
                found.push(self.explain(project, component, &name).await?);
            }
        }
        Ok(found)
    }
    async fn prospects(&self, project: &Project) -> Result<Arc<BTreeMap<Environment, Prospects>>> {
        let mut found: BTreeMap<Environment, Prospects> = BTreeMap::new();
        for one in self.explanations(project, None).await? {
            let here = found.entry(one.environment).or_default();
            here.extend(one.candidate.map(|candidate| (one.component, (candidate, one.gates))));
        }
        Ok(Arc::new(found))
    }
    async fn history(&self, project: &Project, environment: Option<&Environment>, limit: usize) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = of(journal());
        entries.retain(|entry| environment.is_none() || entry.environment.as_ref() == environment);
        entries.truncate(limit);
        only(project, entries)
    }
    async fn diff(&self, project: &Project, environment: &Environment) -> Result<Plan> {
        only(project, of(plan(environment)))
    }
    async fn promote(&self, project: &Project, request: Promote, actor: &str) -> Result<String> {
        let build = request.build.map(|build| build.to_string()).unwrap_or_default();
        self.ask(format!("{actor} promotes {build} to {}: {}", request.to, request.reason));
        if request.to.as_str() == "region-1" {
            return Err(Error::Opened(of(json!({
                "project": project, "number": 1, "title": "region-1: shop-3", "address": "http://127.0.0.1/p/demo/changes/1",
                "environments": ["region-1"],
            }))));
        }
        only(project, "staging-shop-1".into())
    }
    async fn rollback(&self, project: &Project, request: Rollback, actor: &str) -> Result<String> {
        let build = request.to.map(|build| build.to_string()).unwrap_or_default();
        self.ask(format!("{actor} rolls {} back to {build}: {}", request.environment, request.reason));
        only(project, "staging-rollback-1".into())
    }
    async fn suspend(
        &self,
        project: &Project,
        environment: &Environment,
        suspend: bool,
        actor: &str,
    ) -> Result<Option<CommitId>> {
        self.ask(format!("{actor} sets suspend of {environment} to {suspend}"));
        only(project, Some(of(json!(COMMIT))))
    }
    async fn approve(&self, project: &Project, promotion: &str, reason: &str, person: &Person) -> Result<Entry> {
        let (actor, roles) = (&person.name, person.roles(project));
        self.ask(format!("{actor} ({roles:?}) approves {promotion}: {reason}"));
        only(project, of(journal()[0].clone()))
    }
    async fn cancel(&self, project: &Project, promotion: &str, reason: &str, actor: &str) -> Result<Entry> {
        self.ask(format!("{actor} cancels {promotion}: {reason}"));
        only(project, of(journal()[0].clone()))
    }
    async fn check(&self, project: &Project, check: Check, actor: &str) -> Result<Entry> {
        self.ask(format!("{actor} says that {} passed: {}", check.check, check.passed));
        only(project, of(journal()[0].clone()))
    }
    async fn certify(&self, project: &Project, version: &Version, request: Certify, actor: &str) -> Result<Entry> {
        self.ask(format!("{actor} certifies {version} in {}", request.env));
        only(project, of(journal()[0].clone()))
    }
    async fn create_environment(&self, project: &Project, wanted: NewEnvironment, actor: &str) -> Result<CommitId> {
        self.ask(format!("{actor} makes {}", wanted.name));
        only(project, of(json!(COMMIT)))
    }
    async fn delete_environment(
        &self,
        project: &Project,
        environment: &Environment,
        confirmed: bool,
        actor: &str,
    ) -> Result<Removal> {
        self.ask(format!("{actor} deletes {environment}: {confirmed}"));
        only(project, of(json!({ "files": [], "objects": [], "addresses": [] })))
    }
    async fn all_policies(&self, project: &Project) -> Result<Vec<PolicyStatus>> {
        let rules = json!([{ "expression": "images.all(image, !image.endsWith(':latest')) && has(object.spec.template.spec.containers)", "message": "<b>only fixed tags" }]);
        let broken = json!([{ "policy": "no-latest-tag", "action": "warn", "object": "Deployment.apps demo-dev/shop", "message": "<b>only fixed tags" }]);
        only(
            project,
            of(json!([
                {
                    "name": "no-latest-tag", "environments": ["dev", "staging"], "results": { "dev": broken },
                    "file": { "description": "Images have a fixed tag.", "action": "warn", "match": { "kinds": ["Deployment"] }, "rules": rules },
                },
                { "name": "broken", "environments": [], "problems": ["policies/broken.yaml:3:1: it does not compile"] },
            ])),
        )
    }
    async fn windows(&self, project: &Project) -> Result<Vec<WindowStatus>> {
        let window = |name: &str, kind: &str, state: &str, message: &str| {
            json!({
                "window": { "name": name, "kind": kind, "schedule": "0 8 * * 1-4", "duration": "8h", "timeZone": "Europe/Berlin" },
                "state": state, "until": "2026-11-23T08:00:00Z", "message": message, "environments": ["prod"],
            })
        };
        let never = window("leap", "allow", "never", "31 February does not come");
        only(
            project,
            of(json!([window("office-hours", "allow", "shut", ""), window("holidays", "deny", "open", ""), never])),
        )
    }
    async fn add_window(&self, project: &Project, wanted: NewWindow, actor: &str) -> Result<CommitId> {
        self.ask(format!("{actor} adds window {}", wanted.window.name));
        only(project, of(json!(COMMIT)))
    }
    async fn releases(&self, project: &Project) -> Result<Vec<ReleaseStatus>> {
        let pin = |number: u32| {
            json!({
                "build": format!("shop-{number}"), "source": COMMIT, "config": COMMIT,
                "image": format!("registry.trimtab.internal/demo/shop@sha256:{}", "0".repeat(64)),
            })
        };
        let release = |version: &str, number: u32, certified: &[&str], environments: &[&str], notes: Value| {
            json!({
                "version": version, "commit": COMMIT, "author": "ada", "at": "2026-11-21T09:00:00Z",
                "file": { "pins": { "shop": pin(number) }, "notes": notes },
                "certified": certified, "environments": environments,
            })
        };
        let notes =
            json!({ "since": "1.0.0", "commits": ["shop 0123abcd Ada: <b>only</b> faster"], "issues": ["#12"] });
        let releases =
            [release("1.1.0", 3, &[], &["staging"], notes), release("1.0.0", 1, &["staging"], &[], json!({}))];
        only(project, of(json!(releases)))
    }
    async fn update_chart(
        &self,
        _: &Project,
        component: &Component,
        version: Option<&str>,
        _: &str,
    ) -> Result<Option<BuildId>> {
        let build = BuildId { component: component.clone(), number: 2 };
        Ok(version.is_none_or(|version| version != "1.0.0").then_some(build))
    }
    async fn create_release(&self, _: &Project, wanted: NewRelease, _: &str) -> Result<ReleaseStatus> {
        Err(Error::Refused(format!("{} exists already", wanted.version)))
    }
    async fn difference(&self, project: &Project, from: &str, to: &str) -> Result<Difference> {
        if [from, to].contains(&"9.9.9") {
            return Err(Error::NotFound("there is no release 9.9.9".into()));
        }
        let change = json!({
            "object": "Deployment.apps shop",
            "change": { "path": "spec.replicas", "before": 2, "after": 3 },
        });
        let component = json!({
            "component": "shop", "commits": ["0123abcd Eve <script>: faster"], "configuration": ["89abcdef Ada: LOG_LEVEL"],
            "manifests": [change],
        });
        let components = if from == to { json!([]) } else { json!([component]) };
        only(project, of(json!({ "from": from, "to": to, "components": components })))
    }
    async fn deployments(
        &self,
        project: &Project,
        _: Option<&Environment>,
        _: Option<&Component>,
        _: usize,
    ) -> Result<Vec<Deployment>> {
        let first = deployment("shop-1", "<i>because</i>");
        only(project, of(json!([deployment("shop-2", ""), first])))
    }
    async fn at(&self, project: &Project, _: &Environment, time: &str) -> Result<Option<Deployment>> {
        only(project, (time > "2026").then(|| of(deployment("shop-1", ""))))
    }
    async fn recreate(&self, _: &Project, wanted: Recreate, _: &str) -> Result<Recreated> {
        Err(Error::NotFound(format!("nothing ran in {}", wanted.environment)))
    }
    async fn builds(&self, project: &Project) -> Result<Vec<Build>> {
        let builds = json!([
            build(3, "Succeeded", "Third & last"),
            build(2, "Failed", "Second"),
            build(1, "Succeeded", "First")
        ]);
        only(project, of(builds))
    }
    async fn build_log(&self, project: &Project, _: &BuildId, _: bool) -> Result<Text> {
        only(project, lines("step 1/2 FROM trimtab/static\nstep 2/2 COPY <public> /srv\n"))
    }
    async fn resources(&self, project: &Project, _: &Environment, _: &Component) -> Result<Resources> {
        only(project, resources())
    }
    async fn changes(&self, _: Option<&Project>) -> Result<Changes> {
        let ticks = self.changed.subscribe();
        let changes = futures::stream::unfold(ticks, |mut ticks| async {
            ticks.changed().await.ok()?;
            Some(((), ticks))
        });
        Ok(changes.boxed())
    }
    async fn promotions(&self, project: &Project) -> Result<Vec<Promotion>> {
        let mut waiting = promotion("staging-shop-1", "Waiting");
        waiting["status"]["gates"].as_array_mut().unwrap().push(json!({
            "name": "approvals", "state": "Waiting", "message": "0 of 1 approvals",
        }));
        only(project, of(json!([waiting, promotion("staging-shop-0", "Succeeded")])))
    }
    async fn promotion(&self, project: &Project, name: &str) -> Result<Updates> {
        only(project, futures::stream::iter([of(promotion(name, "Waiting"))]).boxed())
    }
    async fn logs(&self, project: &Project, _: LogRequest) -> Result<Text> {
        only(project, lines("listening on 8080 <not markup>\n"))
    }
    async fn url(&self, _: &Project, _: &Component, _: &Environment) -> Result<String> {
        Err(Error::NotFound("no".into()))
    }
    async fn data_planes(&self, project: &Project) -> Result<Vec<DataPlaneStatus>> {
        only(project, Vec::new())
    }
    async fn add_data_plane(&self, project: &Project, _: AddDataPlane, _: &str) -> Result<DataPlaneAdded> {
        only(project, DataPlaneAdded { commit: None, version: None, problem: None })
    }
    async fn remove_data_plane(&self, project: &Project, _: &DataPlaneName, _: &str) -> Result<Option<CommitId>> {
        only(project, None)
    }
    async fn import_image(&self, _: Text) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    async fn backup(&self, _: web::Backup) -> Result<Text> {
        Err(Error::Unavailable("there is nothing to back up".to_owned()))
    }
    async fn down(&self) -> Result<()> {
        self.ask("down".into());
        Ok(())
    }
}

/// The token of `admin`.
pub const TOKEN: &str = "the-token";

struct Anybody;

impl People for Anybody {
    /// The administrator's token, and one of each person: their name.
    fn who(&self, token: &str) -> Option<Person> {
        match token {
            TOKEN => Some(Person::admin("admin")),
            "reading" => Some(Person { read_only: true, ..self.person("olga")? }),
            name => ["vera", "dora", "olga", "abel", "stranger"].contains(&name).then(|| self.person(name)).flatten(),
        }
    }
    fn person(&self, name: &str) -> Option<Person> {
        let role = match name {
            "gone" => return None,
            "vera" => Role::Viewer,
            "dora" => Role::Developer,
            "olga" => Role::Operator,
            "abel" => Role::Approver,
            "stranger" => return Some(Person { name: name.into(), grants: Vec::new(), read_only: false }),
            _ => return Some(Person::admin(name)),
        };
        let grant =
            Grant { role, project: Some("demo".parse().unwrap()), branches: Vec::new(), environments: Vec::new() };
        Some(Person { name: name.into(), grants: vec![grant], read_only: false })
    }
    fn users(&self) -> Vec<UserView> {
        let user = |name: &str| UserView { name: name.into(), roles: Vec::new(), keys: Vec::new(), tokens: Vec::new() };
        ["dora", "olga", "vera"].map(user).into()
    }
    fn add_user(&self, request: AddUser) -> Result<UserView> {
        Err(Error::Refused(format!("asked for {}", request.name)))
    }
    fn remove_user(&self, name: &str) -> Result<()> {
        Err(Error::Refused(format!("asked for {name}")))
    }
    fn remove_role(&self, name: &str, _: &Grant) -> Result<UserView> {
        Err(Error::Refused(format!("asked for {name}")))
    }
    fn add_key(&self, name: &str, _: &str) -> Result<KeyView> {
        Err(Error::Refused(format!("asked for {name}")))
    }
    fn remove_key(&self, name: &str, _: &str) -> Result<KeyView> {
        Err(Error::Refused(format!("asked for {name}")))
    }
    fn create_token(&self, name: &str, _: &NewToken) -> Result<MadeToken> {
        Err(Error::Refused(format!("asked for {name}")))
    }
    fn revoke_token(&self, name: &str, _: &str) -> Result<()> {
        Err(Error::Refused(format!("asked for {name}")))
    }
}

/// The router over a world, and a browser without a screen.
pub struct Site {
    pub world: Arc<World>,
    pub sessions: Arc<Sessions>,
    pub router: Router,
}

/// An answer that was read whole.
pub struct Answer {
    pub status: StatusCode,
    pub head: Response<()>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: header::HeaderName) -> &str {
        self.head.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
    /// The token that the page's forms carry.
    pub fn csrf(&self) -> String {
        let rest = self.body.split_once("name=\"csrf\" value=\"").expect("a form with a token").1;
        rest.split_once('"').unwrap().0.to_owned()
    }
}

pub const HOST: &str = "127.0.0.1:7181";

impl Site {
    pub fn new() -> Self {
        let (world, sessions) = (World::new(), Arc::new(Sessions::new("test")));
        let router = web::router(world.clone(), Arc::new(Anybody), sessions.clone());
        Self { world, sessions, router }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, head: Response::from_parts(parts, ()), body }
    }

    pub async fn get(&self, path: &str, cookie: &str) -> Answer {
        let request = Request::get(path).header(header::HOST, HOST).header(header::COOKIE, cookie);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, cookie: &str, origin: &str, form: &str) -> Answer {
        let request = Request::post(path)
            .header(header::HOST, HOST)
            .header(header::ORIGIN, origin)
            .header(header::COOKIE, cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(form.to_owned())).unwrap()).await
    }

    /// Uses a link; the cookie that comes back.
    pub async fn sign_in(&self) -> String {
        self.sign_in_as("ada").await
    }

    pub async fn sign_in_as(&self, name: &str) -> String {
        let link = self.sessions.link(name);
        let code = link.strip_prefix("/sign-in?").unwrap();
        let answer = self.post("/sign-in", "", &origin(), code).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        let cookie = answer.header(header::SET_COOKIE);
        cookie.split_once(';').unwrap().0.to_owned()
    }
}

/// Of our own pages.
pub fn origin() -> String {
    format!("http://{HOST}")
}
