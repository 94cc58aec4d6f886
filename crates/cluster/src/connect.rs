//! A cluster that is not in this process: it can be gone, and come back.

use crate::error::Failure;
use crate::kubeconfig::Credential;
use crate::{Cluster, Inner};
use jiff::Timestamp;
use kube::Config;
use kube::config::KubeConfigOptions;
use model::ports::{PortError, Result};
use std::sync::Weak;
use std::time::Duration;

/// No route is waited for longer.
const CONNECT: Duration = Duration::from_secs(5);
/// The answer to a small question comes within this, or not at all.
const PROBE: Duration = Duration::from_secs(5);
/// A watch says nothing when the other side vanishes or takes back a credential: so often it is asked.
const HEARTBEAT: Duration = Duration::from_secs(10);

impl Cluster {
    /// Connects lazily; from then on it is asked from time to time whether it is still there.
    ///
    /// # Errors
    /// A credential that no connection can be made with.
    pub async fn connect(credential: &Credential) -> Result<Self> {
        let unusable =
            |error: &dyn std::fmt::Display| PortError::Terminal(format!("the kubeconfig is unusable: {error}"));
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(credential.config(), &options).await;
        let mut config = config.map_err(|error| unusable(&error))?;
        config.connect_timeout = Some(CONNECT);
        let client = kube::Client::try_from(config).map_err(|error| unusable(&error))?;
        let cluster = Self::with(client, credential.expires());
        tokio::spawn(watch_over(std::sync::Arc::downgrade(&cluster.inner)));
        Ok(cluster)
    }

    /// The client, for what only shows things to people.
    pub fn client(&self) -> kube::Client {
        self.inner.client.clone()
    }

    /// Asks for the version, with the credential. Fails with the reason why nobody answers.
    pub async fn version(&self) -> Result<String> {
        Ok(self.inner.probe().await?)
    }
}

impl Inner {
    /// Refreshes what is known of the connection.
    pub(crate) async fn probe(&self) -> std::result::Result<String, Failure> {
        if let Some(expired) = self.expires.filter(|expires| *expires < Timestamp::now()) {
            let words = format!("the client certificate of its kubeconfig expired on {expired}");
            self.watches.lost.set(Some(words.clone()));
            return Err(Failure::Unavailable(words));
        }
        let answer = match tokio::time::timeout(PROBE, self.client.apiserver_version()).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => Err(Failure::Unavailable(format!("no answer within {} s", PROBE.as_secs()))),
        };
        match answer {
            Ok(version) => {
                self.watches.lost.set(None);
                Ok(version.git_version)
            }
            // It answers, even if it does not say that much.
            Err(Failure::Refused(words) | Failure::Conflict(words)) => {
                self.watches.lost.set(None);
                Ok(words)
            }
            Err(failure) => {
                let words = failure.words();
                self.watches.lost.set(Some(words.clone()));
                Err(Failure::Unavailable(words))
            }
        }
    }
}

/// Until the last user of the connection is gone.
async fn watch_over(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let Some(inner) = inner.upgrade() else { return };
        let before = inner.watches.lost.get();
        let _ = inner.probe().await;
        if before != inner.watches.lost.get() {
            inner.watches.view.wake_all();
        }
    }
}
