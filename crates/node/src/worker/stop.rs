//! Stopping a container: hook, signal, and force when the time is up.

use super::hook;
use crate::context::Context;
use crate::events::Kind;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::sync::Arc;
use std::time::Duration;

const SIGKILL: i32 = 9;
/// SIGKILL cannot be refused; it is repeated should it not have been delivered.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// The stop of one container. Aborted when the container has ended.
pub(super) struct Stop {
    pub context: Arc<Context>,
    pub pod: Arc<Pod>,
    pub container: Container,
    pub id: String,
    pub deadline: Timestamp,
    /// The preStop hook has not run yet.
    pub hook: bool,
}

impl Stop {
    pub(super) async fn run(self) {
        let polite = async {
            if self.hook {
                self.pre_stop().await;
            }
            self.kill(None).await;
            std::future::pending::<()>().await;
        };
        let left = Duration::try_from(self.deadline.duration_since(Timestamp::now())).unwrap_or_default();
        if !left.is_zero() {
            let _ = tokio::time::timeout(left, polite).await;
        }
        loop {
            self.kill(Some(SIGKILL)).await;
            tokio::time::sleep(KILL_AGAIN).await;
        }
    }

    async fn pre_stop(&self) {
        let Some(handler) = self.container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) else { return };
        let address = self.pod.status.as_ref().and_then(|s| s.pod_ip.as_ref()).and_then(|ip| ip.parse().ok());
        if let Err(message) = hook::run(&self.context, handler, &self.container, &self.id, address).await {
            let text = format!("PreStopHook failed: {message}");
            self.context.events.say(&self.pod, Some(&self.container.name), Kind::Warning, "FailedPreStopHook", text);
        }
    }

    /// Sends a signal; `None`: the one that the container or its image asks to be stopped with.
    async fn kill(&self, signal: Option<i32>) {
        let sent = match signal {
            Some(signal) => self.context.runtime.kill(&self.id, signal).await,
            None => self.context.runtime.stop(&self.id).await,
        };
        if let Err(error) = sent {
            tracing::warn!(container = self.id, error = error.line(), "a signal could not be sent");
        }
    }
}
