//! One Pod as a state machine over values: no clock, disk, network or task in here.

pub(crate) mod backoff;
pub(crate) mod machine;
pub(crate) mod quantity;
pub(crate) mod refusal;
pub(crate) mod status;
pub(crate) mod step;

#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::ResourceExt;
use std::time::Duration;

/// Grace of a Pod that names none.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// What happens to a container that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// Reading a [`Pod`] without its layers of options.
pub(crate) trait PodExt {
    fn uid_str(&self) -> &str;
    fn namespace_str(&self) -> &str;
    fn spec_ref(&self) -> &PodSpec;
    /// Init containers, then containers: the order of [`machine::Machine::containers`].
    fn all_containers(&self) -> impl Iterator<Item = &Container>;
    fn restart_policy(&self) -> RestartPolicy;
    fn terminating(&self) -> bool;
    /// Between SIGTERM and SIGKILL.
    fn grace(&self) -> Duration;
    fn host_network(&self) -> bool;
    /// `namespace/name`.
    fn key(&self) -> String;
}

impl PodExt for Pod {
    fn uid_str(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    fn namespace_str(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or("default")
    }

    fn spec_ref(&self) -> &PodSpec {
        static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
        self.spec.as_ref().unwrap_or(&EMPTY)
    }

    fn all_containers(&self) -> impl Iterator<Item = &Container> {
        let spec = self.spec_ref();
        spec.init_containers.iter().flatten().chain(&spec.containers)
    }

    fn restart_policy(&self) -> RestartPolicy {
        match self.spec_ref().restart_policy.as_deref() {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        }
    }

    fn terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn grace(&self) -> Duration {
        let asked = self.metadata.deletion_grace_period_seconds.filter(|_| self.terminating());
        let seconds = asked.or(self.spec_ref().termination_grace_period_seconds);
        seconds.map_or(DEFAULT_GRACE, |s| Duration::from_secs(u64::try_from(s).unwrap_or(0)))
    }

    fn host_network(&self) -> bool {
        self.spec_ref().host_network.unwrap_or(false)
    }

    fn key(&self) -> String {
        format!("{}/{}", self.namespace_str(), self.name_any())
    }
}
