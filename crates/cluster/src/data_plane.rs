//! The port that reconcile looks and acts through.

use crate::Cluster;
use crate::error::{Failure, answered};
use crate::kinds::Resource;
use crate::requests::Requests;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{LogParams, PostParams};
use model::ports::{Capabilities, DataPlane, Result, Scope, Wake};
use model::settings::Opened;
use model::{ObjectId, Observation, Plan, Receipt};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What a server can do is asked again after this.
const FRESH: Duration = Duration::from_secs(30);
/// Dry runs that are asked for side by side.
const PREDICTIONS: usize = 8;

#[async_trait]
impl DataPlane for Cluster {
    async fn observe(&self, scope: &Scope, wake: Wake) -> Result<Observation> {
        self.inner.watches.view.wake_on_change(scope, wake);
        // What the watches saw last is no observation of a cluster that is gone.
        if self.inner.watches.lost.get().is_some() {
            self.inner.probe().await?;
        }
        self.inner.watches.begin(&self.inner.kinds).await?;
        Ok(Observation { objects: self.inner.watches.view.observe(scope) })
    }

    async fn predict(&self, manifests: &[Value]) -> Result<Vec<std::result::Result<Value, String>>> {
        let predictions: Vec<_> = manifests.iter().map(|manifest| self.predict_one(manifest, manifests)).collect();
        stream::iter(predictions).buffered(PREDICTIONS).try_collect().await
    }

    async fn execute(&self, plan: &Plan, opened: &Opened) -> Result<Receipt> {
        crate::execute::run(self, plan, opened).await
    }

    async fn writer(&self) -> Result<Option<String>> {
        let mut known = self.inner.writer.lock().await;
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let found = self.guardian().await?;
        *known = Some(found.clone());
        Ok(found)
    }

    async fn capabilities(&self) -> Result<Option<Capabilities>> {
        let mut known = self.inner.capabilities.lock().await;
        if let Some((_, known)) = known.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(Some(known.clone()));
        }
        let found = self.inner.kinds.capabilities().await?;
        *known = Some((Instant::now(), found.clone()));
        Ok(Some(found))
    }

    async fn logs(&self, namespace: &str, pod: &str, lines: u32, previous: bool) -> Result<String> {
        let pods: Api<Pod> = Api::namespaced(self.inner.client.clone(), namespace);
        let mut parameters = LogParams { tail_lines: Some(lines.into()), previous, ..LogParams::default() };
        match answered(pods.logs(pod, &parameters)).await.map_err(Failure::from) {
            // Which container, if there are several: the first, as kubectl takes.
            Err(Failure::Refused(words)) => {
                let object = answered(pods.get(pod)).await.map_err(Failure::from)?;
                let containers = object.spec.map(|spec| spec.containers).unwrap_or_default();
                if containers.len() < 2 {
                    return Err(Failure::Refused(words).into());
                }
                parameters.container = containers.into_iter().next().map(|container| container.name);
                Ok(answered(pods.logs(pod, &parameters)).await.map_err(Failure::from)?)
            }
            answer => Ok(answer?),
        }
    }
}

/// What says who writes what.
const GUARDS: &str = "admissionregistration.k8s.io";

impl Cluster {
    /// Who we are, if the API knows such rules and we may write them.
    async fn guardian(&self) -> Result<Option<String>> {
        let client = &self.inner.client;
        for kind in ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"] {
            let Some(resource) = self.inner.kinds.resolve(&format!("{GUARDS}/v1"), kind).await? else {
                return Ok(None);
            };
            for verb in ["create", "patch", "delete", "list", "watch"] {
                let attributes = ResourceAttributes {
                    group: Some(GUARDS.to_owned()),
                    resource: Some(resource.api.plural.clone()),
                    verb: Some(verb.to_owned()),
                    ..ResourceAttributes::default()
                };
                let spec = SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(attributes),
                    non_resource_attributes: None,
                };
                let question = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
                let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
                let parameters = PostParams::default();
                let answer = answered(reviews.create(&parameters, &question)).await.map_err(Failure::from)?;
                if !answer.status.is_some_and(|status| status.allowed) {
                    return Ok(None);
                }
            }
        }
        let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
        let (parameters, question) = (PostParams::default(), SelfSubjectReview::default());
        let review = answered(reviews.create(&parameters, &question)).await.map_err(Failure::from)?;
        Ok(review.status.and_then(|status| status.user_info?.username))
    }

    async fn predict_one(&self, manifest: &Value, all: &[Value]) -> Result<std::result::Result<Value, String>> {
        let id = ObjectId::of(manifest);
        let resource = match self.resource(manifest).await {
            Ok(resource) => resource,
            Err(Failure::Refused(_)) if defines(all, &id) => return Ok(Ok(manifest.clone())),
            Err(failure) => return unless_unavailable(failure),
        };
        let requests = Requests::new(&self.inner.client, &resource, &id.namespace);
        match requests.apply(&id.name, manifest, true).await {
            Ok(predicted) => Ok(Ok(predicted)),
            // It comes into being with this very plan, and nothing is in the way of what comes into it.
            Err(failure) if failure.lacks_namespace() && describes_namespace(all, &id.namespace) => {
                Ok(Ok(manifest.clone()))
            }
            Err(failure) => unless_unavailable(failure),
        }
    }

    /// The resource of a manifest, which is checked to be complete enough to be sent.
    pub(crate) async fn resource(&self, manifest: &Value) -> std::result::Result<Resource, Failure> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        for (field, value) in [("apiVersion", api_version), ("kind", kind), ("metadata.name", name)] {
            if value.is_empty() {
                return Err(Failure::Refused(format!("{} has no {field}", ObjectId::of(manifest))));
            }
        }
        let Some(resource) = self.inner.kinds.resolve(api_version, kind).await? else {
            return Err(Failure::Refused(format!("no matches for kind {kind:?} in version {api_version:?}")));
        };
        if resource.namespaced && text("/metadata/namespace").is_empty() {
            return Err(Failure::Refused(format!("{kind} {name} has no metadata.namespace")));
        }
        Ok(resource)
    }
}

/// A refusal is about one object, an outage about all.
fn unless_unavailable(failure: Failure) -> Result<std::result::Result<Value, String>> {
    match failure {
        Failure::Unavailable(_) => Err(failure.into()),
        refused => Ok(Err(refused.words())),
    }
}

fn describes_namespace(manifests: &[Value], name: &str) -> bool {
    manifests.iter().map(ObjectId::of).any(|id| id.group.is_empty() && id.kind == "Namespace" && id.name == name)
}

/// True if one of the manifests is the definition of this kind.
fn defines(manifests: &[Value], id: &ObjectId) -> bool {
    manifests.iter().filter(|one| one["kind"] == "CustomResourceDefinition").any(|definition| {
        definition.pointer("/spec/group").and_then(Value::as_str) == Some(&id.group)
            && definition.pointer("/spec/names/kind").and_then(Value::as_str) == Some(&id.kind)
    })
}
