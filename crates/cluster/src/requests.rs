//! Requests about one object as a JSON value: nothing that the server says is lost in a type.

use crate::error::{Failure, answered};
use crate::kinds::Resource;
use kube::Client;
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, Request, Resource as _};
use model::FIELD_MANAGER;
use serde_json::Value;

/// One resource in one namespace, or at cluster scope.
pub(crate) struct Requests<'a> {
    client: &'a Client,
    paths: Request,
}

impl<'a> Requests<'a> {
    /// `namespace` is ignored where the resource has none.
    pub(crate) fn new(client: &'a Client, resource: &Resource, namespace: &str) -> Self {
        let namespace = Some(namespace).filter(|namespace| resource.namespaced && !namespace.is_empty());
        Self { client, paths: Request::new(DynamicObject::url_path(&resource.api, namespace)) }
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Option<Value>, Failure> {
        let request = self.paths.get(name, &GetParams::default());
        match self.send(request).await {
            Err(Failure::Absent(_)) => Ok(None),
            answer => answer.map(Some),
        }
    }

    pub(crate) async fn list(&self) -> Result<Vec<Value>, Failure> {
        let mut answer = self.send(self.paths.list(&ListParams::default())).await?;
        match answer.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    pub(crate) async fn create(&self, object: &Value) -> Result<Value, Failure> {
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        self.send(self.paths.create(&parameters, object.to_string().into_bytes())).await
    }

    /// Server-side apply as the one manager of what Trimtab describes.
    pub(crate) async fn apply(&self, name: &str, object: &Value, dry_run: bool) -> Result<Value, Failure> {
        let parameters = PatchParams { dry_run, ..PatchParams::apply(FIELD_MANAGER).force().validation_strict() };
        self.send(self.paths.patch(name, &parameters, &Patch::Apply(object))).await
    }

    pub(crate) async fn apply_status(&self, name: &str, object: &Value) -> Result<Value, Failure> {
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        self.send(self.paths.patch_subresource("status", name, &parameters, &Patch::Apply(object))).await
    }

    /// What it owns goes in the background. True if it was there.
    pub(crate) async fn delete(&self, name: &str, uid: Option<&str>) -> Result<bool, Failure> {
        let mut parameters = DeleteParams::background();
        if let Some(uid) = uid {
            parameters =
                parameters.preconditions(kube::api::Preconditions { uid: Some(uid.into()), resource_version: None });
        }
        match self.send(self.paths.delete(name, &parameters)).await {
            Err(Failure::Absent(_)) => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, Failure> {
        let request = request.map_err(|error| Failure::Refused(error.to_string()))?;
        answered(self.client.request(request)).await.map_err(Failure::from)
    }
}
