//! Other clusters: their credentials in the data directory, and the connections to them.

use crate::instance::{Written, random_hex, write_durably};
use crate::up::people::People;
use anyhow::Context;
use async_trait::async_trait;
use cluster::{Cluster, Credential};
use model::ports::{DataPlanes, Placement, PortError, Registry, Result};
use model::{DataPlaneFile, DataPlaneName, Project};
use oci::registry::{Access, Basic, Decision, RegistryAuth};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The credentials of data planes, a file per project and name that only its owner reads. They are in no repository.
#[derive(Clone)]
pub struct Credentials {
    root: PathBuf,
    /// Programs that kubeconfigs may run.
    exec: Arc<[String]>,
}

/// What is kept of one. Never printed.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    /// One context, complete in itself.
    kubeconfig: String,
    /// What its nodes pull the project's images with.
    pull_token: String,
}

impl Credentials {
    pub fn new(root: PathBuf, exec: Vec<String>) -> Self {
        Self { root, exec: exec.into() }
    }

    fn path(&self, project: &Project, name: &DataPlaneName) -> PathBuf {
        self.root.join(project.as_str()).join(format!("{name}.json"))
    }

    /// Keeps a kubeconfig, with a new token for pulls: whoever has the old one is shut out.
    pub fn save(
        &self,
        project: &Project,
        name: &DataPlaneName,
        kubeconfig: &str,
        context: Option<&str>,
    ) -> anyhow::Result<()> {
        let credential = Credential::parse(kubeconfig, context, &self.exec)?;
        let pull_token = format!("{project}.{name}.{}", random_hex(24));
        let stored = Stored { kubeconfig: credential.secret_text(), pull_token };
        let path = self.path(project, name);
        let directory = path.parent().context("a credential has a directory")?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.with_context(|| format!("creating {}", directory.display()))?;
        write_durably(Written::DataPlane, &path, &serde_json::to_vec_pretty(&stored)?, 0o600)
    }

    /// Forgets it. False if there was none.
    pub fn remove(&self, project: &Project, name: &DataPlaneName) -> anyhow::Result<bool> {
        let path = self.path(project, name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("removing {}", path.display())),
        }
    }

    fn load(&self, project: &Project, name: &DataPlaneName) -> Result<Stored> {
        let path = self.path(project, name);
        let supply = || format!("trimtab --project {project} dataplane add {name} --kubeconfig FILE");
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                PortError::Terminal(format!("its kubeconfig is not on this instance; supply it: {}", supply()))
            }
            _ => PortError::Terminal(format!("its kubeconfig cannot be read: {}: {error}", path.display())),
        })?;
        let damaged = |_| PortError::Terminal(format!("{} is damaged; supply it again: {}", path.display(), supply()));
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    /// The project whose images may be pulled with a token.
    pub fn project_of(&self, token: &str) -> Option<Project> {
        let mut parts = token.splitn(3, '.');
        let (project, name) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let stored = self.load(&project, &name).ok()?;
        same(token.as_bytes(), stored.pull_token.as_bytes()).then_some(project)
    }
}

/// Takes equally long wherever the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Who may use the registry: people as they may use repositories; other clusters pull the images of their project.
pub fn registry_auth(people: Arc<People>, planes: Credentials) -> Arc<dyn RegistryAuth> {
    Arc::new(Pulls { people, planes })
}

struct Pulls {
    people: Arc<People>,
    planes: Credentials,
}

#[async_trait]
impl RegistryAuth for Pulls {
    async fn decide(&self, credentials: Option<&Basic>, repository: Option<&str>, access: Access) -> Decision {
        let Some(project) = credentials.and_then(|basic| self.planes.project_of(&basic.password)) else {
            return self.people.decide(credentials, repository, access).await;
        };
        let its = |name: &str| name.split_once('/').is_some_and(|(first, _)| first == project.as_str());
        match access == Access::Pull && repository.is_none_or(its) {
            true => Decision::Allow,
            false => Decision::Denied,
        }
    }
}

/// All data planes. A connection is made when it is first needed, and again when its kubeconfig changes.
pub struct Planes {
    embedded: Arc<Cluster>,
    credentials: Credentials,
    /// How the registry is reached unless a data plane says otherwise.
    control: SocketAddr,
    connections: Mutex<HashMap<(Project, DataPlaneName), Connection>>,
}

struct Connection {
    kubeconfig: String,
    context: Option<String>,
    cluster: Arc<Cluster>,
}

impl Planes {
    pub fn new(embedded: Cluster, credentials: Credentials, control: SocketAddr) -> Self {
        Self { embedded: Arc::new(embedded), credentials, control, connections: Mutex::default() }
    }

    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// How its nodes reach the registry.
    pub fn registry(&self, file: &DataPlaneFile) -> String {
        file.registry.as_ref().map_or_else(|| self.control.to_string(), ToString::to_string)
    }

    /// The connection to one that is not embedded.
    pub async fn cluster(&self, project: &Project, name: &DataPlaneName, file: &DataPlaneFile) -> Result<Arc<Cluster>> {
        let stored = self.credentials.load(project, name)?;
        self.connected(project, name, file, stored.kubeconfig).await
    }

    async fn connected(
        &self,
        project: &Project,
        name: &DataPlaneName,
        file: &DataPlaneFile,
        kubeconfig: String,
    ) -> Result<Arc<Cluster>> {
        let key = (project.clone(), name.clone());
        let mut connections = self.connections.lock().await;
        let same = |known: &&Connection| known.kubeconfig == kubeconfig && known.context == file.context;
        if let Some(known) = connections.get(&key).filter(same) {
            return Ok(known.cluster.clone());
        }
        // Its watches end with the old connection.
        connections.remove(&key);
        let credential = Credential::parse(&kubeconfig, file.context.as_deref(), &self.credentials.exec);
        let credential = credential.map_err(|error| PortError::Terminal(error.to_string()))?;
        let cluster = Arc::new(Cluster::connect(&credential).await?);
        let connection = Connection { kubeconfig, context: file.context.clone(), cluster: cluster.clone() };
        connections.insert(key, connection);
        Ok(cluster)
    }

    /// Ends the connection of one whose credential is gone.
    pub async fn forget(&self, project: &Project, name: &DataPlaneName) {
        self.connections.lock().await.remove(&(project.clone(), name.clone()));
    }
}

#[async_trait]
impl DataPlanes for Planes {
    async fn get(&self, project: &Project, plane: Option<(&DataPlaneName, &DataPlaneFile)>) -> Result<Placement> {
        let Some((name, file)) = plane else {
            return Ok(Placement { plane: self.embedded.clone(), registry: None });
        };
        let stored = self.credentials.load(project, name)?;
        let registry =
            Registry { host: self.registry(file), user: format!("{project}.{name}"), password: stored.pull_token };
        let cluster = self.connected(project, name, file, stored.kubeconfig).await?;
        Ok(Placement { plane: cluster, registry: Some(registry) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const KUBECONFIG: &str = "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: SECRET}}]\ncontexts: [{name: edge, context: {cluster: c, user: u}}]\ncurrent-context: edge\n";

    #[test]
    fn a_credential_is_private_and_its_pull_token_names_one_project() {
        let directory = tempfile::tempdir().unwrap();
        let credentials = Credentials::new(directory.path().join("dataplanes"), Vec::new());
        let (shop, edge) = ("shop".parse().unwrap(), "edge".parse().unwrap());
        let missing = credentials.load(&shop, &edge).err().unwrap().to_string();
        assert!(missing.contains("trimtab --project shop dataplane add edge --kubeconfig FILE"), "{missing}");
        credentials.save(&shop, &edge, KUBECONFIG, None).unwrap();
        let path = credentials.path(&shop, &edge);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        let first = credentials.load(&shop, &edge).unwrap().pull_token;
        assert_eq!(credentials.project_of(&first), Some(shop.clone()));
        for wrong in ["", "shop", "shop.edge", "shop.edge.", "shop.edge.00", "../x.edge.00", "other.edge.00"] {
            assert_eq!(credentials.project_of(wrong), None, "{wrong:?}");
        }
        credentials.save(&shop, &edge, KUBECONFIG, None).unwrap();
        assert_eq!(credentials.project_of(&first), None, "supplying it anew makes a new token");
        fs::write(&path, "{\"kubeconfig\": \"SECRET").unwrap();
        let damaged = credentials.load(&shop, &edge).err().unwrap().to_string();
        assert!(damaged.contains("damaged") && !damaged.contains("SECRET"), "{damaged}");
        assert!(credentials.remove(&shop, &edge).unwrap() && !credentials.remove(&shop, &edge).unwrap());
    }
}
