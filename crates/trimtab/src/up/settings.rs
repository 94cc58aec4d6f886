//! Configuration and secrets: the port of the keys, and what the HTTP API asks.

use super::delivery::refusal;
use async_trait::async_trait;
use model::ports::{PortError, Result, Secrets};
use model::settings::{Ciphertext, DEFAULT, Plain, Sealed};
use model::views::{SecretRow, SettingRow};
use model::{CommitId, Group, Project};
use reconcile::Reconciler;
use vault::Vault;
use web::{Error, RemoveSecret, SetConfig, SetSecret};

/// The keys of the data plane.
pub struct Keys(pub Vault);

/// What is wrong with a value stays wrong; the file of the keys may come back.
fn failed(error: vault::Error) -> PortError {
    match error {
        vault::Error::File { .. } => PortError::Transient(error.to_string()),
        _ => PortError::Terminal(error.to_string()),
    }
}

impl Secrets for Keys {
    fn recipient(&self) -> Result<String> {
        self.0.recipient().map_err(failed)
    }
    fn open(&self, sealed: &Ciphertext) -> Result<Plain> {
        self.0.open(sealed.bytes()).map(Plain::new).map_err(failed)
    }
    fn seal(&self, value: &Plain) -> Result<Ciphertext> {
        let sealed = vault::seal(&self.0.recipient().map_err(failed)?, value.expose()).map_err(failed)?;
        Ciphertext::new(sealed).map_err(|error| PortError::Terminal(error.to_string()))
    }
    fn digest(&self, value: &[u8]) -> Result<Sealed> {
        self.0.digest(value).map(Sealed::new).map_err(failed)
    }
    fn seed(&self, of: &str) -> Result<[u8; 32]> {
        self.0.seed(of).map_err(failed)
    }
    fn renew(&self) -> Result<String> {
        self.0.renew().map_err(failed)
    }
}

/// Answers the routes of configuration and secrets.
pub struct Settings(pub Reconciler);

#[async_trait]
impl web::Settings for Settings {
    async fn settings(&self, project: &Project) -> web::Result<Vec<SettingRow>> {
        self.0.settings(project).await.map_err(refusal)
    }

    async fn set_config(&self, project: &Project, request: SetConfig, actor: &str) -> web::Result<Option<CommitId>> {
        let place = request.place.as_deref().unwrap_or(DEFAULT);
        self.0.set_config(project, &request.group, place, &request.values, actor).await.map_err(refusal)
    }

    async fn recipient(&self) -> web::Result<String> {
        self.0.recipient().map_err(refusal)
    }

    async fn secrets(&self, project: &Project) -> web::Result<Vec<SecretRow>> {
        self.0.secrets(project).await.map_err(refusal)
    }

    async fn set_secret(&self, project: &Project, request: SetSecret, actor: &str) -> web::Result<Option<CommitId>> {
        let SetSecret { name, key, place, sealed } = request;
        let sealed = sealed.parse().map_err(|error: model::names::NameError| Error::Invalid(error.to_string()))?;
        let place = place.as_deref().unwrap_or(DEFAULT);
        self.0.set_secret(project, &name, &key, place, &sealed, actor).await.map_err(refusal)
    }

    async fn remove_secret(
        &self,
        project: &Project,
        secret: &Group,
        request: RemoveSecret,
        actor: &str,
    ) -> web::Result<Option<CommitId>> {
        let RemoveSecret { key, place } = request;
        self.0.remove_secret(project, secret, key.as_deref(), place.as_deref(), actor).await.map_err(refusal)
    }

    async fn renew_secrets(&self, project: &Project, actor: &str) -> web::Result<(String, Option<CommitId>)> {
        self.0.renew_secrets(project, actor).await.map_err(refusal)
    }
}
