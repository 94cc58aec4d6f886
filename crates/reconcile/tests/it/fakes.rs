//! Places that live in memory. They keep what a real place keeps across a restart, and nothing else.

use async_trait::async_trait;
use jiff::Timestamp;
use model::chart::ChartSource;
use model::flow::{
    Action, File, FileMode, ObjectId, Observation, Plan, Receipt, Repository, Revision, Snapshot, StepResult,
};
use model::journal::Entry;
use model::names::Digest;
use model::ports::*;
use model::records::Kind;
use model::remote::{Address, Fetched, Kind as AddressKind};
use model::settings::{Ciphertext, Opened, Plain, Sealed};
use model::trust::{Signer, Signers, Unsigned};
use model::{BuildId, CommitId, DataPlaneFile, DataPlaneName, ImageRef, Project, RouteTable};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// A chart with a password.
fn archive_of(name: &str) -> Arc<[u8]> {
    let template = "apiVersion: v1\nkind: Secret\nmetadata: {name: made}\n\
        stringData: {password: '{{ randAlphaNum 20 }}', at: '{{ now | unixEpoch }}', kube: '{{ .Capabilities.KubeVersion }}'}\n";
    let chart = format!("apiVersion: v2\nname: {name}\nversion: 1.2.3\n");
    let files = [("Chart.yaml", chart.as_str()), ("templates/secret.yaml", template)];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().into()));
    render::helm::pack(&files.into()).unwrap().1.into()
}

/// What lies elsewhere, wherever that is.
const ELSEWHERE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: elsewhere}\ndata: {from: afar}\n";

/// Everything that survives a restart of the control process.
#[derive(Default)]
pub struct World {
    state: Mutex<State>,
    /// Lets a build go on whose Dockerfile says HOLD.
    pub release: tokio::sync::Notify,
    /// Records that say that something is healthy are written only while one may.
    pub recording: Hold,
    /// Survives as an archive on disk does.
    pub charts: Arc<FakeCharts>,
}

/// What does not go on while it is held.
#[derive(Default)]
pub struct Hold(tokio::sync::watch::Sender<bool>);

impl Hold {
    pub fn hold(&self, held: bool) {
        self.0.send_replace(held);
    }
    async fn pass(&self) {
        self.0.subscribe().wait_for(|held| !held).await.unwrap();
    }
}

#[derive(Default)]
struct State {
    clock: i64,
    refs: BTreeMap<(Repository, String), CommitId>,
    commits: BTreeMap<CommitId, (Commit, BTreeMap<String, Vec<u8>>)>,
    journal: BTreeMap<Project, Vec<Entry>>,
    records: BTreeMap<(Kind, String), Value>,
    objects: BTreeMap<ObjectId, Value>,
    revision: u64,
    routes: RouteTable,
    /// Builds made so far: a rollback makes none.
    built: Vec<BuildId>,
    /// Builds whose images lost their names.
    discarded: BTreeSet<BuildId>,
    /// Builds whose containers crash.
    crashing: BTreeSet<BuildId>,
    wakes: Vec<Wake>,
    /// What is watched shows Deployments as they were before the controllers' last word on them.
    late: bool,
    /// How often somebody looked at what stands.
    observed: usize,
    /// How often the history of each commit was read.
    logged: BTreeMap<CommitId, usize>,
    /// Whose keys are registered.
    known: Vec<String>,
    /// By discovery.
    can: Option<Capabilities>,
    /// Operations until everything fails, as a crash would have it.
    fuse: Option<usize>,
}

impl World {
    /// One durable effect; fails when the fuse is burnt.
    fn effect(state: &mut State) -> Result<()> {
        match &mut state.fuse {
            Some(0) => Err(PortError::Transient("crashed".into())),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// From the given number of durable effects on, nothing works any more.
    pub fn burn_after(&self, effects: Option<usize>) {
        self.state.lock().unwrap().fuse = effects;
    }
    pub fn burnt(&self) -> bool {
        self.state.lock().unwrap().fuse == Some(0)
    }

    fn wake(&self) {
        let wakes = self.state.lock().unwrap().wakes.clone();
        wakes.iter().for_each(|wake| wake());
    }

    pub fn now(&self) -> Timestamp {
        let mut state = self.state.lock().unwrap();
        state.clock += 1;
        Timestamp::from_second(1_800_000_000 + state.clock).unwrap()
    }

    /// What a person commits and pushes: path → content, `None` to delete.
    pub fn push(
        &self,
        repository: &Repository,
        author: &str,
        message: &str,
        files: &[(&str, Option<&str>)],
    ) -> CommitId {
        let at = self.now();
        let mut state = self.state.lock().unwrap();
        let head = state.refs.get(&(repository.clone(), model::MAIN.to_owned())).cloned();
        let files =
            files.iter().map(|(path, text)| ((*path).to_owned(), text.map(|t| t.as_bytes().to_vec()))).collect();
        let write = Write { expect: head, files, author: author.into(), message: message.into(), at };
        commit(&mut state, repository, &write)
    }

    /// What kubectl deletes.
    pub fn delete_object(&self, kind: &str, name: &str) {
        self.state.lock().unwrap().objects.retain(|id, _| !(id.kind == kind && id.name == name));
        self.wake();
    }

    /// From now on somebody's signature counts.
    pub fn register(&self, name: &str) {
        self.state.lock().unwrap().known.push(name.to_owned());
    }

    /// What a Job comes to: `Complete` or `Failed`.
    pub fn finish_job(&self, name: &str, condition: &str) {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        let revision = state.revision.to_string();
        for (_, job) in state.objects.iter_mut().filter(|(id, _)| id.kind == "Job" && id.name == name) {
            job["status"] = json!({ "conditions": [{ "type": condition, "status": "True" }] });
            job["metadata"]["resourceVersion"] = json!(revision);
        }
        drop(state);
        self.wake();
    }

    /// Time goes by.
    pub fn pass(&self, seconds: i64) {
        self.state.lock().unwrap().clock += seconds;
        self.wake();
    }

    /// What the cluster can do from now on.
    pub fn can(&self, version: &str, api_versions: &[&str]) {
        let api_versions = api_versions.iter().map(|version| (*version).to_owned()).collect();
        self.state.lock().unwrap().can = Some(Capabilities { version: version.to_owned(), api_versions });
    }

    pub fn crash_loop(&self, build: &str) {
        self.state.lock().unwrap().crashing.insert(build.parse().unwrap());
    }
    /// Builds whose images lost their names.
    pub fn discarded(&self) -> Vec<String> {
        self.state.lock().unwrap().discarded.iter().map(ToString::to_string).collect()
    }
    /// Builds whose commits are kept.
    pub fn kept(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let name = |(_, name): &(Repository, String)| Some(name.strip_prefix("refs/trimtab/keep/builds/")?.to_owned());
        state.refs.keys().filter_map(name).collect()
    }
    /// From now on, or no more, the newest state of Deployments is not seen yet.
    pub fn see_late(&self, late: bool) {
        self.state.lock().unwrap().late = late;
        self.wake();
    }
    pub fn built(&self) -> usize {
        self.state.lock().unwrap().built.len()
    }
    /// How often somebody looked at what stands.
    pub fn observed(&self) -> usize {
        self.state.lock().unwrap().observed
    }
    /// How often the history of a commit was read.
    pub fn logged(&self, commit: &CommitId) -> usize {
        self.state.lock().unwrap().logged.get(commit).copied().unwrap_or(0)
    }
    pub fn journal_of(&self, project: &Project) -> Vec<Entry> {
        self.state.lock().unwrap().journal.get(project).cloned().unwrap_or_default()
    }
    pub fn record(&self, kind: Kind, name: &str) -> Option<Value> {
        self.state.lock().unwrap().records.get(&(kind, name.to_owned())).cloned()
    }
    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let state = self.state.lock().unwrap();
        state
            .objects
            .values()
            .find(|o| o["kind"] == kind && o["metadata"]["namespace"] == namespace && o["metadata"]["name"] == name)
            .cloned()
    }
    /// Everything of which a person could see something: journal, records, what commits say. Not the objects in the cluster.
    pub fn everything_shown(&self) -> String {
        let state = self.state.lock().unwrap();
        let files: Vec<_> = state
            .commits
            .values()
            .map(|(commit, tree)| {
                let files: Vec<_> =
                    tree.iter().map(|(path, bytes)| (path, String::from_utf8_lossy(bytes).into_owned())).collect();
                (commit, files)
            })
            .collect();
        format!("{:?}\n{:?}\n{files:?}", state.journal, state.records)
    }
    pub fn objects(&self, kind: &str, namespace: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let of_it = |o: &&Value| o["kind"] == kind && o["metadata"]["namespace"] == namespace;
        state.objects.values().filter(of_it).cloned().collect()
    }
    pub fn routes(&self) -> RouteTable {
        self.state.lock().unwrap().routes.clone()
    }

    /// A file at main.
    pub fn file(&self, repository: &Repository, path: &str) -> Option<String> {
        let state = self.state.lock().unwrap();
        let head = state.refs.get(&(repository.clone(), model::MAIN.to_owned()))?;
        state.commits[head].1.get(path).map(|bytes| String::from_utf8(bytes.clone()).unwrap())
    }

    /// Commits on main that touch a path.
    pub fn commits(&self, repository: &Repository, path: &str) -> Vec<Commit> {
        let state = self.state.lock().unwrap();
        let mut found = Vec::new();
        let mut next = state.refs.get(&(repository.clone(), model::MAIN.to_owned())).cloned();
        while let Some(id) = next {
            let commit = &state.commits[&id].0;
            found.extend(commit.paths.iter().any(|p| p == path).then(|| commit.clone()));
            next = commit.parent.clone();
        }
        found
    }
}

fn commit(state: &mut State, repository: &Repository, write: &Write) -> CommitId {
    let mut tree = write.expect.as_ref().map(|head| state.commits[head].1.clone()).unwrap_or_default();
    for (path, content) in &write.files {
        match content {
            Some(bytes) => tree.insert(path.clone(), bytes.clone()),
            None => tree.remove(path),
        };
    }
    let digest = Digest::of(format!("{repository} {} {}", state.commits.len(), write.message).as_bytes());
    let id: CommitId = digest.hex()[..40].parse().unwrap();
    let trailers = write
        .message
        .lines()
        .filter_map(|l| l.split_once(": "))
        .filter(|(k, _)| k.starts_with("Trimtab-") || *k == "Change-Ref");
    let record = Commit {
        id: id.clone(),
        parent: write.expect.clone(),
        author: write.author.clone(),
        at: write.at,
        body: String::new(),
        subject: write.message.lines().next().unwrap_or_default().to_owned(),
        trailers: trailers.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        paths: write.files.keys().cloned().collect(),
    };
    state.commits.insert(id.clone(), (record, tree));
    state.refs.insert((repository.clone(), model::MAIN.to_owned()), id.clone());
    id
}

impl Directory for World {
    fn keys(&self) -> Vec<Signer> {
        let known = self.state.lock().unwrap().known.clone();
        known.into_iter().map(|name| Signer { key: format!("ssh-ed25519 {name}"), name }).collect()
    }
}

#[async_trait]
impl Repositories for World {
    async fn unsigned(
        &self,
        _: &Repository,
        tip: &CommitId,
        _: Option<&CommitId>,
        signers: &Signers,
        _: usize,
    ) -> Result<Vec<Unsigned>> {
        let state = self.state.lock().unwrap();
        let Some((commit, _)) = state.commits.get(tip) else { return Ok(Vec::new()) };
        let known = signers.ssh.iter().any(|signer| signer.name == commit.author);
        let unsigned = Unsigned { commit: tip.clone(), author: commit.author.clone(), why: "it has none".into() };
        Ok(if known { Vec::new() } else { vec![unsigned] })
    }
    async fn unsigned_tag(&self, _: &Repository, _: &str, _: &Signers) -> Result<Option<Unsigned>> {
        Ok(None)
    }
    async fn create(&self, _: &Repository) -> Result<bool> {
        Ok(false)
    }
    async fn list(&self) -> Result<Vec<Repository>> {
        let state = self.state.lock().unwrap();
        let all: BTreeSet<Repository> = state.refs.keys().map(|(repository, _)| repository.clone()).collect();
        Ok(all.into_iter().collect())
    }
    async fn head(&self, repository: &Repository, reference: &str) -> Result<Option<CommitId>> {
        Ok(self.state.lock().unwrap().refs.get(&(repository.clone(), reference.to_owned())).cloned())
    }
    async fn elsewhere(&self, _: &Revision, address: &Address, hosts: &[String]) -> Result<Fetched> {
        match address.host() {
            Some(host) if hosts.contains(&host) => Ok(Fetched::File(match &address.kind {
                AddressKind::Chart(chart) => archive_of(&chart.name),
                _ => ELSEWHERE.as_bytes().into(),
            })),
            host => Err(PortError::Terminal(format!("{host:?} is not among {hosts:?}"))),
        }
    }

    async fn snapshot(&self, revision: &Revision, path: &str) -> Result<Snapshot> {
        assert_eq!(path, ".", "the fakes hold whole repositories");
        let state = self.state.lock().unwrap();
        // A repository does not know the commits of another.
        let mut next = state
            .refs
            .iter()
            .filter(|((repository, _), _)| *repository == revision.repository)
            .map(|(_, id)| id.clone())
            .collect::<Vec<_>>();
        let mut known = BTreeSet::new();
        while let Some(id) = next.pop() {
            if known.insert(id.clone()) {
                next.extend(state.commits[&id].0.parent.clone());
            }
        }
        let (_, tree) = state
            .commits
            .get(&revision.commit)
            .filter(|_| known.contains(&revision.commit))
            .ok_or_else(|| PortError::Terminal(format!("no commit {}", revision.commit)))?;
        let file = |bytes: &Vec<u8>| File { mode: FileMode::Regular, bytes: bytes.as_slice().into() };
        Ok(Snapshot {
            revision: revision.clone(),
            files: tree.iter().map(|(path, bytes)| (path.clone(), file(bytes))).collect(),
        })
    }
    async fn log(
        &self,
        _repository: &Repository,
        tip: &CommitId,
        until: Option<&CommitId>,
        limit: usize,
    ) -> Result<Vec<Commit>> {
        let mut state = self.state.lock().unwrap();
        *state.logged.entry(tip.clone()).or_default() += 1;
        let mut log = Vec::new();
        let mut next = Some(tip.clone());
        while let Some(id) = next.filter(|id| Some(id) != until && log.len() < limit) {
            let commit = state.commits[&id].0.clone();
            next = commit.parent.clone();
            log.push(commit);
        }
        Ok(log)
    }
    async fn is_ancestor(&self, repository: &Repository, ancestor: &CommitId, commit: &CommitId) -> Result<bool> {
        Ok(self.log(repository, commit, None, usize::MAX).await?.iter().any(|c| c.id == *ancestor))
    }
    async fn write(&self, repository: &Repository, write: &Write) -> Result<Written> {
        let mut state = self.state.lock().unwrap();
        let head = state.refs.get(&(repository.clone(), model::MAIN.to_owned())).cloned();
        if head != write.expect {
            return Ok(Written::Superseded(head));
        }
        Self::effect(&mut state)?;
        Ok(Written::Commit(commit(&mut state, repository, write)))
    }
    async fn stage(&self, repository: &Repository, write: &Write) -> Result<CommitId> {
        let mut state = self.state.lock().unwrap();
        let place = (repository.clone(), model::MAIN.to_owned());
        let main = state.refs.get(&place).cloned();
        let id = commit(&mut state, repository, write);
        match main {
            Some(main) => state.refs.insert(place, main),
            None => state.refs.remove(&place),
        };
        // Objects that were stored are there, though nothing points to them yet.
        state.refs.insert((repository.clone(), format!("refs/staged/{id}")), id.clone());
        Ok(id)
    }
    async fn propose(&self, repository: &Repository, reference: &str, commit: &CommitId) -> Result<()> {
        self.state.lock().unwrap().refs.insert((repository.clone(), reference.to_owned()), commit.clone());
        Ok(())
    }
    async fn advance(&self, repository: &Repository, expect: &CommitId, to: &CommitId) -> Result<Written> {
        let mut state = self.state.lock().unwrap();
        let place = (repository.clone(), model::MAIN.to_owned());
        let head = state.refs.get(&place).cloned();
        if head.as_ref() != Some(expect) {
            return Ok(Written::Superseded(head));
        }
        Self::effect(&mut state)?;
        state.refs.insert(place, to.clone());
        Ok(Written::Commit(to.clone()))
    }
    async fn tag(&self, repository: &Repository, tag: &Tag) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        let place = (repository.clone(), format!("refs/tags/{}", tag.name));
        match state.refs.get(&place) {
            Some(at) if *at == tag.commit => Ok(()),
            Some(at) => Err(PortError::Terminal(format!("{} stands on {at}", tag.name))),
            None => {
                Self::effect(&mut state)?;
                state.refs.insert(place, tag.commit.clone());
                Ok(())
            }
        }
    }
    async fn keep(&self, repository: &Repository, name: &str, commit: &CommitId) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        state.refs.insert((repository.clone(), format!("refs/trimtab/keep/{name}")), commit.clone());
        Ok(())
    }
    async fn unkeep(&self, repository: &Repository, name: &str) -> Result<()> {
        self.state.lock().unwrap().refs.remove(&(repository.clone(), format!("refs/trimtab/keep/{name}")));
        Ok(())
    }
    async fn journal(&self, project: &Project) -> Result<Arc<Vec<Entry>>> {
        Ok(Arc::new(self.journal_of(project)))
    }
    async fn append(&self, project: &Project, entry: &Entry) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.journal.get(project).is_some_and(|journal| journal.iter().any(|e| e.id == entry.id)) {
            return Ok(());
        }
        Self::effect(&mut state)?;
        state.journal.entry(project.clone()).or_default().push(entry.clone());
        Ok(())
    }
}

#[async_trait]
impl Builder for World {
    async fn build(&self, request: &BuildRequest, lines: &dyn Lines) -> std::result::Result<ImageRef, BuildFailure> {
        lines.line("step 1/1 FROM scratch");
        let Some(file) = request.snapshot.files.get("Dockerfile") else {
            return Err(BuildFailure { message: "Dockerfile is missing".into() });
        };
        if file.bytes.starts_with(b"HOLD") {
            self.release.notified().await;
            lines.line("released");
        }
        self.state.lock().unwrap().built.push(request.build.clone());
        Ok(ImageRef::recorded(&request.project, &request.build.component, &Digest::of(&file.bytes)))
    }
    async fn fetch(
        &self,
        _: &Project,
        _: &BuildId,
        _: &str,
        _: &dyn Lines,
    ) -> std::result::Result<ImageRef, BuildFailure> {
        Err(BuildFailure { message: "there is no registry".into() })
    }
    async fn has(&self, _: &ImageRef) -> Result<bool> {
        Ok(true)
    }
    async fn discard(&self, _: &Project, build: &BuildId) -> Result<()> {
        self.state.lock().unwrap().discarded.insert(build.clone());
        Ok(())
    }
}

/// Repositories of charts, by name and version, and the archives that were taken or packed.
#[derive(Default)]
pub struct FakeCharts {
    pub offered: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    pub kept: Mutex<BTreeMap<Digest, Arc<[u8]>>>,
    /// What repositories were asked with.
    pub users: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl Charts for FakeCharts {
    async fn versions(&self, source: &ChartSource, access: &ChartAccess) -> Result<Vec<String>> {
        self.users.lock().unwrap().extend(access.user.clone().map(|(user, password)| format!("{user}:{password}")));
        let offered = self.offered.lock().unwrap();
        Ok(offered.keys().filter(|(name, _)| *name == source.name).map(|(_, version)| version.clone()).collect())
    }
    async fn fetch(&self, source: &ChartSource, version: &str, _: &ChartAccess) -> Result<Digest> {
        let found = self.offered.lock().unwrap().get(&(source.name.clone(), version.to_owned())).cloned();
        self.keep(found.ok_or_else(|| PortError::Terminal(format!("there is no {version}")))?).await
    }
    async fn keep(&self, archive: Vec<u8>) -> Result<Digest> {
        let digest = Digest::of(&archive);
        self.kept.lock().unwrap().insert(digest.clone(), archive.into());
        Ok(digest)
    }
    async fn archive(&self, digest: &Digest) -> Result<Option<Arc<[u8]>>> {
        Ok(self.kept.lock().unwrap().get(digest).cloned())
    }
}

/// Where a workload's Pod would be.
fn address(state: &State) -> String {
    format!("10.0.{}.{}", state.revision / 250, state.revision % 250)
}

/// What controllers and a node would make of a Deployment, at once.
fn run(state: &mut State, deployment: &mut Value) {
    let labels = deployment["metadata"]["labels"].clone();
    let (namespace, name) = (deployment["metadata"]["namespace"].clone(), deployment["metadata"]["name"].clone());
    let version = labels["app.kubernetes.io/version"].as_str().unwrap_or_default();
    let crashing = version.parse().is_ok_and(|build: BuildId| state.crashing.contains(&build));
    let (replicas, ip) = (deployment["spec"]["replicas"].as_i64().unwrap_or(1), address(state));
    let available = if crashing { 0 } else { replicas };
    let uid = deployment["metadata"]["uid"].clone();
    deployment["status"] = json!({
        "observedGeneration": deployment["metadata"]["generation"], "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": available, "availableReplicas": available,
        "conditions": [
            { "type": "Available", "status": if crashing { "False" } else { "True" }, "reason": "MinimumReplicasAvailable" },
            { "type": "Progressing", "status": "True", "reason": if crashing { "ReplicaSetUpdated" } else { "NewReplicaSetAvailable" } },
        ],
    });
    let owner = |kind: &str, name: &str, uid: &Value| json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true }]);
    let metadata = |name: String, uid: String, owners: Value| json!({ "name": name, "namespace": namespace, "uid": uid, "labels": labels, "ownerReferences": owners });
    let text = name.as_str().unwrap_or_default();
    let mut set = metadata(format!("{text}-set"), format!("set-{}", state.revision), owner("Deployment", text, &uid));
    set["annotations"] = json!({ "deployment.kubernetes.io/revision": "1" });
    let set_uid = set["uid"].clone();
    let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } });
    let running = json!({ "running": { "startedAt": "2026-11-21T00:00:00Z" } });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata(format!("{text}-pod"), format!("pod-{}", state.revision), owner("ReplicaSet", &format!("{text}-set"), &set_uid)),
        "spec": deployment["spec"]["template"]["spec"],
        "status": { "phase": "Running", "podIP": ip, "conditions": [{ "type": "Ready", "status": if crashing { "False" } else { "True" } }],
            "containerStatuses": [{ "name": text, "ready": !crashing, "restartCount": if crashing { 3 } else { 0 },
                "state": if crashing { waiting } else { running },
                "lastState": if crashing { json!({ "terminated": { "exitCode": 3, "reason": "Error" } }) } else { json!({}) } }] },
    });
    let set = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": set, "spec": { "replicas": replicas, "template": deployment["spec"]["template"] },
        "status": { "replicas": replicas, "availableReplicas": available, "readyReplicas": available } });
    let mut slice_labels = labels.clone();
    slice_labels["kubernetes.io/service-name"] = name.clone();
    let slice = json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": format!("{text}-slice"), "namespace": namespace, "labels": slice_labels, "ownerReferences": owner("Service", text, &uid) },
        "ports": [{ "name": "http", "port": 8080 }], "endpoints": [{ "addresses": [ip], "conditions": { "ready": !crashing } }] });
    for object in [set, pod, slice] {
        state.objects.insert(ObjectId::of(&object), object);
    }
}

#[async_trait]
impl DataPlane for World {
    async fn capabilities(&self) -> Result<Option<Capabilities>> {
        Ok(self.state.lock().unwrap().can.clone())
    }
    async fn observe(&self, scope: &Scope, wake: Wake) -> Result<Observation> {
        let mut state = self.state.lock().unwrap();
        state.observed += 1;
        state.wakes.push(wake);
        let in_scope = |object: &&Value| {
            let labels = &object["metadata"]["labels"];
            labels[model::LABEL_PROJECT] == scope.project.as_str()
                && labels[model::LABEL_ENVIRONMENT] == scope.environment.as_str()
        };
        let mut seen: Vec<Value> = state.objects.values().filter(in_scope).cloned().collect();
        for deployment in seen.iter_mut().filter(|object| state.late && object["kind"] == "Deployment") {
            deployment["metadata"]["resourceVersion"] = json!("0");
        }
        Ok(seen.into_iter().collect())
    }
    async fn predict(&self, manifests: &[Value]) -> Result<Vec<std::result::Result<Value, String>>> {
        let state = self.state.lock().unwrap();
        Ok(manifests.iter().map(|m| Ok(applied(&state, m))).collect())
    }
    async fn execute(&self, plan: &Plan, opened: &Opened) -> Result<Receipt> {
        let mut results = Vec::new();
        {
            let mut state = self.state.lock().unwrap();
            for step in plan.steps.iter().filter(|s| s.action != Action::Unchanged) {
                Self::effect(&mut state)?;
                state.revision += 1;
                match &step.manifest {
                    None => {
                        let mut gone: Vec<Value> = state.objects.remove(&step.object).into_iter().collect();
                        // What it owned goes with it.
                        while let Some(owner) = gone.pop() {
                            let owned = |object: &Value| {
                                let owners = object["metadata"]["ownerReferences"].as_array();
                                owners.is_some_and(|owners| owners.iter().any(|o| o["uid"] == owner["metadata"]["uid"]))
                            };
                            let mut ids: Vec<ObjectId> = Vec::new();
                            ids.extend(
                                state.objects.iter().filter(|(_, object)| owned(object)).map(|(id, _)| id.clone()),
                            );
                            gone.extend(ids.iter().filter_map(|id| state.objects.remove(id)));
                        }
                    }
                    Some(manifest) => {
                        let mut manifest = manifest.clone();
                        opened.reveal(&mut manifest);
                        let mut object = applied(&state, &manifest);
                        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
                        if object["kind"] == "Deployment" {
                            run(&mut state, &mut object);
                        }
                        state.objects.insert(step.object.clone(), object);
                    }
                }
                results.push(StepResult { object: step.object.clone(), action: step.action, error: None });
            }
        }
        self.wake();
        Ok(Receipt { results })
    }
    async fn logs(&self, _: &str, _: &str, _: u32, _: bool) -> Result<String> {
        Ok("panic: no database\n".into())
    }
}

/// A manifest as it would stand.
fn applied(state: &State, manifest: &Value) -> Value {
    let live = state.objects.get(&ObjectId::of(manifest));
    let mut object = manifest.clone();
    let generation = live.and_then(|l| l["metadata"]["generation"].as_i64()).unwrap_or(0);
    let changed = live.is_none_or(|l| l["spec"] != manifest["spec"]);
    object["metadata"]["generation"] = json!(generation + i64::from(changed));
    object["metadata"]["uid"] =
        live.map_or_else(|| json!(format!("uid-{}", state.revision)), |l| l["metadata"]["uid"].clone());
    if let Some(live) = live {
        object["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
    }
    object
}

#[async_trait]
impl Records for World {
    async fn open(&self, _: &Project) -> Result<()> {
        Ok(())
    }
    async fn list(&self, kind: Kind, _: &Project) -> Result<Vec<Value>> {
        let state = self.state.lock().unwrap();
        Ok(state.records.iter().filter(|((k, _), _)| *k == kind).map(|(_, object)| object.clone()).collect())
    }
    async fn create(&self, kind: Kind, object: &Value) -> Result<bool> {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let mut state = self.state.lock().unwrap();
        if state.records.contains_key(&(kind, name.clone())) {
            return Ok(false);
        }
        Self::effect(&mut state)?;
        state.records.insert((kind, name), object.clone());
        Ok(true)
    }
    async fn apply(&self, kind: Kind, object: &Value) -> Result<()> {
        if object["status"]["health"] == "Healthy" {
            self.recording.pass().await;
        }
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let mut state = self.state.lock().unwrap();
        if state.records.get(&(kind, name.clone())) == Some(object) {
            return Ok(());
        }
        Self::effect(&mut state)?;
        state.records.insert((kind, name), object.clone());
        Ok(())
    }
    async fn delete(&self, kind: Kind, _: &Project, name: &str) -> Result<()> {
        self.state.lock().unwrap().records.remove(&(kind, name.to_owned()));
        Ok(())
    }
    async fn watch(&self, _: &Project, _: Wake) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Gateway for World {
    async fn publish(&self, table: &RouteTable) -> Result<()> {
        self.state.lock().unwrap().routes = table.clone();
        Ok(())
    }
}

/// Seals by turning bits over; what ends in `!` is sealed to somebody else.
pub struct Keys;

const AGE: &[u8] = b"age-encryption.org/v1\n";

impl Secrets for Keys {
    fn recipient(&self) -> Result<String> {
        Ok("age1fake".into())
    }
    fn open(&self, sealed: &Ciphertext) -> Result<Plain> {
        let value: Vec<u8> = sealed.bytes()[AGE.len()..].iter().map(|byte| !byte).collect();
        match value.ends_with(b"!") {
            true => Err(PortError::Terminal("it is encrypted to another key than this instance's".into())),
            false => Ok(Plain::new(value)),
        }
    }
    fn seal(&self, value: &Plain) -> Result<Ciphertext> {
        let hidden = value.expose().iter().map(|byte| !byte);
        Ok(Ciphertext::new(AGE.iter().copied().chain(hidden).collect()).unwrap())
    }
    fn digest(&self, value: &[u8]) -> Result<Sealed> {
        let digest = Digest::of(value);
        let bytes: Vec<u8> = digest.hex().bytes().take(32).collect();
        Ok(Sealed::new(bytes.try_into().unwrap()))
    }
    fn seed(&self, of: &str) -> Result<[u8; 32]> {
        let hex = Digest::of(of.as_bytes()).hex().to_owned();
        Ok(hex.as_bytes()[..32].try_into().unwrap())
    }
    fn renew(&self) -> Result<String> {
        self.recipient()
    }
}

/// A value as it stands in a file.
pub fn sealed(value: &str) -> String {
    Keys.seal(&Plain::new(value.as_bytes().to_vec())).unwrap().to_string()
}

/// Everything runs on this one.
pub struct OnlyOne<P>(pub Arc<P>);

#[async_trait]
impl<P: DataPlane + 'static> DataPlanes for OnlyOne<P> {
    async fn get(&self, _: &Project, _: Option<(&DataPlaneName, &DataPlaneFile)>) -> Result<Placement> {
        Ok(Placement { plane: self.0.clone(), registry: None })
    }
}

/// The fakes as ports.
pub fn ports(world: &Arc<World>) -> reconcile::Ports {
    let clock = world.clone();
    reconcile::Ports {
        repositories: world.clone(),
        builder: world.clone(),
        charts: world.charts.clone(),
        data_planes: Arc::new(OnlyOne(world.clone())),
        records: world.clone(),
        gateway: world.clone(),
        secrets: Arc::new(Keys),
        directory: world.clone(),
        clock: Arc::new(move || clock.now()),
    }
}
