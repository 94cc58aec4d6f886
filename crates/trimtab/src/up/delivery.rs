//! What the HTTP API asks, answered by the parts.

use super::planes::Planes;
use super::resources;
use crate::backup::{Collection, Protection, stream};
use crate::instance::{Instance, Layout};
use async_trait::async_trait;
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, LogParams};
use model::flow::Repository;
use model::journal::Entry;
use model::names::workload_namespace;
use model::ports::PortError;
use model::records::Class;
use model::views::{
    self, DataPlaneStatus, Difference, Explanation, PolicyStatus, ProjectStatus, ReleaseStatus, Resources, WindowStatus,
};
use model::{
    Build, BuildId, Check, CommitId, Component, DataPlaneFile, DataPlaneName, Environment, NewEnvironment, Person,
    Plan, Project, Promotion, Removal, Version,
};
use reconcile::{Reconciler, Refusal, Wish};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use web::{
    AddDataPlane, Backup, Changes, DataPlaneAdded, Error, Init, InitDone, LogRequest, Promote, Rollback, Text, Updates,
};

/// The parts that answer.
pub struct Delivery {
    pub reconciler: Reconciler,
    pub source: source::Source,
    /// Of the embedded data plane.
    pub client: kube::Client,
    pub planes: Arc<Planes>,
    pub images: oci::Store,
    pub node: node::Node,
    pub gateway: Arc<gateway::Client>,
    pub api: apiserver::ApiServer,
    pub instance: Instance,
    pub layout: Layout,
    /// Where uploads wait until they are whole.
    pub scratch: PathBuf,
    pub down: CancellationToken,
}

pub(super) fn refusal(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NotFound(text) => Error::NotFound(text),
        Refusal::Refused(text) => Error::Refused(text),
        Refusal::Opened(opened) => Error::Opened(opened),
        Refusal::Denied(denied) => Error::Denied(denied),
        Refusal::Place(error) => Error::Unavailable(error.to_string()),
    }
}

pub(super) fn unavailable(error: impl std::fmt::Display) -> Error {
    Error::Unavailable(error.to_string())
}

/// People wait so long for a cluster that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

async fn within<T>(environment: &Environment, work: impl Future<Output = web::Result<T>>) -> web::Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(answer) => answer,
        Err(_) => {
            Err(unavailable(format!("the data plane of {environment} does not answer within {} s", PATIENCE.as_secs())))
        }
    }
}

impl Delivery {
    /// Of the data plane that an environment runs on.
    async fn client_of(&self, project: &Project, environment: &Environment) -> web::Result<kube::Client> {
        match self.reconciler.data_plane(project, environment).await.map_err(refusal)? {
            None => Ok(self.client.clone()),
            Some((name, file)) => {
                let cluster = self.planes.cluster(project, &name, &file).await;
                Ok(cluster.map_err(|error| unavailable(format!("DataPlane {name} unreachable: {error}")))?.client())
            }
        }
    }
}

#[async_trait]
impl web::Delivery for Delivery {
    async fn projects(&self) -> web::Result<Vec<Project>> {
        Ok(self.reconciler.names())
    }

    async fn init(&self, request: Init, actor: &str) -> web::Result<InitDone> {
        let name = request.component.to_string();
        if name == "config" {
            return Err(Error::Invalid("a component cannot be named config: that is the config repository".to_owned()));
        }
        let config = Repository::config(&request.project);
        let application = Repository { project: request.project.clone(), name };
        for repository in [&config, &application] {
            self.source.create(repository).await.map_err(|error| unavailable(PortError::from(error)))?;
        }
        let created = self.reconciler.init_project(&request.project, actor).await.map_err(refusal)?;
        let url = |repository: &Repository| format!("http://{}/{repository}.git", self.instance.control);
        Ok(InitDone { repository: url(&application), config: url(&config), created })
    }

    async fn status(&self, project: &Project) -> web::Result<ProjectStatus> {
        self.reconciler.status(project).await.map_err(refusal)
    }

    async fn explain(
        &self,
        project: &Project,
        component: &Component,
        environment: &Environment,
    ) -> web::Result<Explanation> {
        self.reconciler.explain(project, component, environment).await.map_err(refusal)
    }

    async fn explanations(
        &self,
        project: &Project,
        environment: Option<&Environment>,
    ) -> web::Result<Vec<Explanation>> {
        self.reconciler.explanations(project, environment).await.map_err(refusal)
    }

    async fn prospects(&self, project: &Project) -> web::Result<Arc<BTreeMap<Environment, views::Prospects>>> {
        self.reconciler.prospects(project).await.map_err(refusal)
    }

    async fn history(
        &self,
        project: &Project,
        environment: Option<&Environment>,
        limit: usize,
    ) -> web::Result<Vec<Entry>> {
        self.reconciler.history(project, environment, limit).await.map_err(refusal)
    }

    async fn diff(&self, project: &Project, environment: &Environment) -> web::Result<Plan> {
        self.reconciler.diff(project, environment).await.map_err(refusal)
    }

    async fn promote(&self, project: &Project, request: Promote, actor: &str) -> web::Result<String> {
        let Promote { component, build, config, release, to, reason, change_ref, overriding } = request;
        let wish = Wish {
            component,
            build,
            config,
            release,
            change_ref,
            overriding,
            reason,
            ..Wish::new(Class::Promote, &to)
        };
        self.reconciler.request(project, wish, actor).await.map_err(refusal)
    }

    async fn rollback(&self, project: &Project, request: Rollback, actor: &str) -> web::Result<String> {
        let Rollback { environment, component, to, release, reason, quarantine } = request;
        let wish =
            Wish { component, build: to, release, quarantine, reason, ..Wish::new(Class::Rollback, &environment) };
        self.reconciler.request(project, wish, actor).await.map_err(refusal)
    }

    async fn promotions(&self, project: &Project) -> web::Result<Vec<Promotion>> {
        self.reconciler.promotions(project).await.map_err(refusal)
    }

    async fn promotion(&self, project: &Project, name: &str) -> web::Result<Updates> {
        let updates = self.reconciler.promotion(project, name).await.map_err(refusal)?;
        Ok(updates.boxed())
    }

    async fn suspend(
        &self,
        project: &Project,
        environment: &Environment,
        suspend: bool,
        actor: &str,
    ) -> web::Result<Option<CommitId>> {
        self.reconciler.suspend(project, environment, suspend, actor).await.map_err(refusal)
    }

    async fn approve(&self, project: &Project, promotion: &str, reason: &str, person: &Person) -> web::Result<Entry> {
        // Rules name people or what they are: `from: [olga, approver]`.
        let roles: Vec<String> = person.roles(project).iter().map(ToString::to_string).collect();
        self.reconciler.approve(project, promotion, &person.name, &roles, reason).await.map_err(refusal)
    }

    async fn cancel(&self, project: &Project, promotion: &str, reason: &str, actor: &str) -> web::Result<Entry> {
        self.reconciler.cancel(project, promotion, actor, reason).await.map_err(refusal)
    }

    async fn check(&self, project: &Project, check: Check, actor: &str) -> web::Result<Entry> {
        self.reconciler.checked(project, &check, actor).await.map_err(refusal)
    }

    async fn certify(
        &self,
        project: &Project,
        version: &Version,
        request: web::Certify,
        actor: &str,
    ) -> web::Result<Entry> {
        self.reconciler.certify(project, version, &request.env, actor, &request.reason).await.map_err(refusal)
    }

    async fn create_environment(
        &self,
        project: &Project,
        wanted: NewEnvironment,
        actor: &str,
    ) -> web::Result<CommitId> {
        self.reconciler.create_environment(project, &wanted, actor).await.map_err(refusal)
    }

    async fn delete_environment(
        &self,
        project: &Project,
        environment: &Environment,
        confirmed: bool,
        actor: &str,
    ) -> web::Result<Removal> {
        self.reconciler.delete_environment(project, environment, confirmed, actor).await.map_err(refusal)
    }

    async fn windows(&self, project: &Project) -> web::Result<Vec<WindowStatus>> {
        self.reconciler.windows(project).await.map_err(refusal)
    }

    async fn add_window(&self, project: &Project, wanted: web::NewWindow, actor: &str) -> web::Result<CommitId> {
        self.reconciler.add_window(project, &wanted.window, &wanted.environments, actor).await.map_err(refusal)
    }

    async fn all_policies(&self, project: &Project) -> web::Result<Vec<PolicyStatus>> {
        self.reconciler.policies(project).await.map_err(refusal)
    }

    async fn update_chart(
        &self,
        project: &Project,
        component: &Component,
        version: Option<&str>,
        actor: &str,
    ) -> web::Result<Option<BuildId>> {
        self.reconciler.update_chart(project, component, version, actor).await.map_err(refusal)
    }

    async fn releases(&self, project: &Project) -> web::Result<Vec<ReleaseStatus>> {
        self.reconciler.releases(project).await.map_err(refusal)
    }

    async fn create_release(
        &self,
        project: &Project,
        wanted: web::NewRelease,
        actor: &str,
    ) -> web::Result<ReleaseStatus> {
        self.reconciler.create_release(project, &wanted.version, &wanted.from, actor).await.map_err(refusal)
    }

    async fn difference(&self, project: &Project, from: &str, to: &str) -> web::Result<Difference> {
        self.reconciler.difference(project, from, to).await.map_err(refusal)
    }

    async fn deployments(
        &self,
        project: &Project,
        environment: Option<&Environment>,
        component: Option<&Component>,
        limit: usize,
    ) -> web::Result<Vec<views::Deployment>> {
        self.reconciler.deployments(project, environment, component, limit).await.map_err(refusal)
    }

    async fn at(
        &self,
        project: &Project,
        environment: &Environment,
        time: &str,
    ) -> web::Result<Option<views::Deployment>> {
        self.reconciler.at(project, environment, time).await.map_err(refusal)
    }

    async fn recreate(&self, project: &Project, wanted: model::Recreate, actor: &str) -> web::Result<views::Recreated> {
        self.reconciler.recreate(project, &wanted, actor).await.map_err(refusal)
    }

    async fn builds(&self, project: &Project) -> web::Result<Vec<Build>> {
        self.reconciler.builds(project).await.map_err(refusal)
    }

    async fn build_log(&self, project: &Project, build: &BuildId, follow: bool) -> web::Result<Text> {
        let parts = self.reconciler.build_log(project, build, follow).await.map_err(refusal)?;
        Ok(parts.map(|text| Ok(text.into())).boxed())
    }

    async fn resources(
        &self,
        project: &Project,
        environment: &Environment,
        component: &Component,
    ) -> web::Result<Resources> {
        let client = &self.client_of(project, environment).await?;
        let namespace = workload_namespace(project, environment);
        within(environment, resources::of(client, &namespace, component)).await
    }

    async fn changes(&self, project: Option<&Project>) -> web::Result<Changes> {
        Ok(self.reconciler.changes(project).map_err(refusal)?.boxed())
    }

    async fn logs(&self, project: &Project, request: LogRequest) -> web::Result<Text> {
        let LogRequest { component, env, follow, tail, previous } = request;
        let client = self.client_of(project, &env).await?;
        let pods: Api<Pod> = Api::namespaced(client, &workload_namespace(project, &env));
        let selector = ListParams::default().labels(&format!("{}={component}", model::LABEL_COMPONENT));
        let found = within(&env, async { pods.list(&selector).await.map_err(unavailable) }).await?.items;
        if found.is_empty() {
            return Err(Error::NotFound(format!(
                "no Pod of {component} runs in {env}: trimtab explain {component} --env {env}"
            )));
        }
        let several = found.len() > 1;
        let mut streams = Vec::new();
        for pod in found {
            let name = pod.metadata.name.unwrap_or_default();
            let params = LogParams { follow, previous, tail_lines: tail.map(i64::from), ..LogParams::default() };
            let lines =
                within(&env, async { pods.log_stream(&name, &params).await.map_err(unavailable) }).await?.lines();
            let prefix = if several { format!("{name} ") } else { String::new() };
            streams.push(lines.map_ok(move |line| format!("{prefix}{line}\n").into()).boxed());
        }
        Ok(futures::stream::select_all(streams).boxed())
    }

    async fn url(&self, project: &Project, component: &Component, environment: &Environment) -> web::Result<String> {
        self.reconciler.url(project, component, environment).await.map_err(refusal)
    }

    async fn data_planes(&self, project: &Project) -> web::Result<Vec<DataPlaneStatus>> {
        let mut planes = self.reconciler.data_planes(project).await.map_err(refusal)?;
        for plane in planes.iter_mut().filter(|plane| plane.registry.is_empty()) {
            plane.registry = self.planes.registry(&DataPlaneFile::default());
        }
        Ok(planes)
    }

    async fn add_data_plane(
        &self,
        project: &Project,
        request: AddDataPlane,
        actor: &str,
    ) -> web::Result<DataPlaneAdded> {
        let AddDataPlane { name, kubeconfig, context, registry, reachable } = request;
        if name.is_embedded() {
            return Err(Error::Invalid("embedded is the cluster of Trimtab itself: choose another name".into()));
        }
        self.reconciler.data_planes(project).await.map_err(refusal)?;
        let saved = self.planes.credentials().save(project, &name, &kubeconfig, context.as_deref());
        saved.map_err(|error| Error::Invalid(format!("{error:#}")))?;
        let file = DataPlaneFile { context, registry, reachable };
        let described = self.reconciler.describe_data_plane(project, &name, Some(&file), actor).await;
        let commit = described.map_err(refusal)?;
        let version = match self.planes.cluster(project, &name, &file).await {
            Ok(cluster) => cluster.version().await,
            Err(error) => Err(error),
        };
        self.reconciler.data_plane_changed(project);
        let (version, problem) = match version {
            Ok(version) => (Some(version), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Ok(DataPlaneAdded { commit, version, problem })
    }

    async fn remove_data_plane(
        &self,
        project: &Project,
        name: &DataPlaneName,
        actor: &str,
    ) -> web::Result<Option<CommitId>> {
        let commit = self.reconciler.describe_data_plane(project, name, None, actor).await.map_err(refusal)?;
        self.planes.credentials().remove(project, name).map_err(|error| unavailable(format!("{error:#}")))?;
        self.planes.forget(project, name).await;
        self.reconciler.data_plane_changed(project);
        Ok(commit)
    }

    async fn import_image(&self, mut tar: Text) -> web::Result<Vec<String>> {
        use tokio::io::AsyncWriteExt;
        let path = self.scratch.join(format!("import-{}", crate::instance::random_hex(8)));
        let receive = async {
            let mut file = tokio::fs::File::create(&path).await?;
            while let Some(chunk) = tar.next().await {
                file.write_all(&chunk?).await?;
            }
            file.flush().await
        };
        let received = receive.await;
        let imported = match received {
            Ok(()) => self.images.import(&path, None).await.map_err(|error| Error::Invalid(error.to_string())),
            Err(error) => Err(unavailable(error)),
        };
        let _ = tokio::fs::remove_file(&path).await;
        let names = |image: oci::Imported| {
            let references: Vec<String> = image.references.iter().map(ToString::to_string).collect();
            if references.is_empty() { vec![image.digest.to_string()] } else { references }
        };
        Ok(imported?.into_iter().flat_map(names).collect())
    }

    async fn backup(&self, request: Backup) -> web::Result<Text> {
        let protection: Option<Protection> = match request.protection {
            Value::Null => None,
            given => Some(serde_json::from_value(given).map_err(|error| Error::Invalid(error.to_string()))?),
        };
        let (layout, instance) = (self.layout.clone(), self.instance.clone());
        let broken = |error: anyhow::Error| Error::Unavailable(format!("{error:#}"));
        let taken = Collection::take(layout, instance, &self.api, &self.source, &self.images, protection).await;
        // After the moment that was taken: what has been pinned since does not hurt, what was pinned then is still known.
        let images = self.reconciler.images().await.map_err(refusal)?;
        let (collection, missing) = taken.and_then(|taken| taken.with_images(&images)).map_err(broken)?;
        if !missing.is_empty() {
            tracing::warn!(?missing, "pinned images that are not here are not in the backup");
        }
        let charts = self.reconciler.charts().await.map_err(refusal)?;
        Ok(stream(collection.with_charts(charts)))
    }

    async fn down(&self) -> web::Result<()> {
        // The gateway first: an address of a Pod that is gone could lead off this machine.
        self.gateway.stop().await.map_err(unavailable)?;
        self.node.stop_all().await.map_err(unavailable)?;
        self.down.cancel();
        Ok(())
    }
}
