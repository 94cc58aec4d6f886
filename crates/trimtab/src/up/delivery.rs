//! What the HTTP API asks, answered by the parts.

use async_trait::async_trait;
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, LogParams};
use model::flow::Repository;
use model::names::workload_namespace;
use model::{Component, Environment, Project};
use reconcile::{Reconciler, Refusal};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;
use web::{Error, Init, InitDone, LogRequest, Promote, Rollback, Text, Updates};

/// The parts that answer.
pub struct Delivery {
    pub reconciler: Reconciler,
    pub source: source::Source,
    pub client: kube::Client,
    pub images: oci::Store,
    pub node: node::Node,
    pub gateway: std::sync::Arc<gateway::Client>,
    pub control: SocketAddr,
    /// Where uploads wait until they are whole.
    pub scratch: PathBuf,
    pub down: CancellationToken,
}

fn refusal(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NotFound(text) => Error::NotFound(text),
        Refusal::Place(error) => Error::Unavailable(error.to_string()),
    }
}

fn unavailable(error: impl std::fmt::Display) -> Error {
    Error::Unavailable(error.to_string())
}

fn json_of(value: impl serde::Serialize) -> web::Result<Value> {
    serde_json::to_value(value).map_err(unavailable)
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
            self.source.create(repository).await.map_err(unavailable)?;
        }
        let created = self.reconciler.init_project(&request.project, actor).await.map_err(refusal)?;
        let url = |repository: &Repository| format!("http://{}/{repository}.git", self.control);
        Ok(InitDone { repository: url(&application), config: url(&config), created })
    }

    async fn status(&self, project: &Project) -> web::Result<Value> {
        json_of(self.reconciler.status(project).await.map_err(refusal)?)
    }

    async fn explain(&self, project: &Project, component: &Component, environment: &Environment) -> web::Result<Value> {
        json_of(self.reconciler.explain(project, component, environment).await.map_err(refusal)?)
    }

    async fn history(&self, project: &Project, environment: Option<&Environment>, limit: usize) -> web::Result<Value> {
        json_of(self.reconciler.history(project, environment, limit).await.map_err(refusal)?)
    }

    async fn diff(&self, project: &Project, environment: &Environment) -> web::Result<Value> {
        json_of(self.reconciler.diff(project, environment).await.map_err(refusal)?)
    }

    async fn promote(&self, project: &Project, request: Promote, actor: &str) -> web::Result<String> {
        let Promote { component, build, to, reason } = request;
        self.reconciler.promote(project, &component, build, &to, actor, &reason).await.map_err(refusal)
    }

    async fn rollback(&self, project: &Project, request: Rollback, actor: &str) -> web::Result<String> {
        let Rollback { environment, component, to, reason } = request;
        self.reconciler.rollback(project, &environment, component, to, actor, &reason).await.map_err(refusal)
    }

    async fn promotion(&self, project: &Project, name: &str) -> web::Result<Updates> {
        let updates = self.reconciler.promotion(project, name).await.map_err(refusal)?;
        Ok(updates.map(|promotion| json!(promotion)).boxed())
    }

    async fn logs(&self, project: &Project, request: LogRequest) -> web::Result<Text> {
        let LogRequest { component, env, follow, tail, previous } = request;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &workload_namespace(project, &env));
        let selector = ListParams::default().labels(&format!("{}={component}", model::LABEL_COMPONENT));
        let found = pods.list(&selector).await.map_err(unavailable)?.items;
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
            let lines = pods.log_stream(&name, &params).await.map_err(unavailable)?.lines();
            let prefix = if several { format!("{name} ") } else { String::new() };
            streams.push(lines.map_ok(move |line| format!("{prefix}{line}\n").into()).boxed());
        }
        Ok(futures::stream::select_all(streams).boxed())
    }

    async fn url(&self, project: &Project, component: &Component, environment: &Environment) -> web::Result<String> {
        self.reconciler.url(project, component, environment).await.map_err(refusal)
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

    async fn down(&self) -> web::Result<()> {
        // The gateway first: an address of a Pod that is gone could lead off this machine.
        self.gateway.stop().await.map_err(unavailable)?;
        self.node.stop_all().await.map_err(unavailable)?;
        self.down.cancel();
        Ok(())
    }
}
