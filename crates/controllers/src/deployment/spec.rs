//! What a Deployment's spec asks for, with Kubernetes' defaults.

use k8s_openapi::api::apps::v1::{DeploymentSpec, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Numbers that a rollout works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) replicas: i32,
    /// Pods above `replicas` that may exist.
    pub(crate) surge: i32,
    /// Pods below `replicas` that may be unavailable.
    pub(crate) unavailable: i32,
}

impl Limits {
    pub(crate) fn of(spec: &DeploymentSpec) -> Self {
        let replicas = spec.replicas.unwrap_or(1).max(0);
        if is_recreate(spec) {
            return Self { replicas, surge: 0, unavailable: 0 };
        }
        let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let part = |of: fn(&RollingUpdateDeployment) -> &Option<IntOrString>, round| {
            scaled(rolling.and_then(|r| of(r).as_ref()).unwrap_or(&IntOrString::String("25%".into())), replicas, round)
        };
        let surge = part(|r| &r.max_surge, Round::Up);
        let mut unavailable = part(|r| &r.max_unavailable, Round::Down);
        if surge == 0 && unavailable == 0 {
            unavailable = 1; // rounded to nothing: a rollout must be able to move
        }
        Self { replicas, surge, unavailable: unavailable.min(replicas) }
    }

    pub(crate) fn min_available(&self) -> i32 {
        self.replicas - self.unavailable
    }

    pub(crate) fn max_total(&self) -> i32 {
        self.replicas + self.surge
    }
}

pub(crate) fn is_recreate(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
}

/// Seconds without progress after which a rollout counts as failed, if it ever does.
pub(crate) fn progress_deadline_seconds(spec: &DeploymentSpec) -> Option<i32> {
    spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
}

enum Round {
    Up,
    Down,
}

/// A number, or a percentage of `of`. What cannot be read counts as 0; the server refuses it.
fn scaled(value: &IntOrString, of: i32, round: Round) -> i32 {
    let percent = match value {
        IntOrString::Int(number) => return (*number).max(0),
        IntOrString::String(text) => text.strip_suffix('%').and_then(|n| n.parse::<u32>().ok()).unwrap_or(0),
    };
    let hundredfold = i64::from(percent) * i64::from(of);
    let result = match round {
        Round::Up => (hundredfold + 99) / 100,
        Round::Down => hundredfold / 100,
    };
    i32::try_from(result).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn limits_round_surge_up_and_unavailable_down() {
        // replicas, maxSurge, maxUnavailable → surge, unavailable
        let cases = [
            (4, json!("25%"), json!("25%"), 1, 1),
            (1, json!("25%"), json!("25%"), 1, 0),
            (10, json!("25%"), json!("25%"), 3, 2),
            (2, json!(0), json!("1%"), 0, 1),
            (2, json!(5), json!(3), 5, 2),
            (0, json!("25%"), json!("25%"), 0, 0),
            (3, json!("nonsense"), json!("nonsense"), 0, 1),
        ];
        for (replicas, max_surge, max_unavailable, surge, unavailable) in cases {
            let rolling = json!({"maxSurge": max_surge, "maxUnavailable": max_unavailable});
            let spec: DeploymentSpec = from_value(json!({
                "replicas": replicas, "selector": {}, "template": {},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            }))
            .unwrap();
            assert_eq!(Limits::of(&spec), Limits { replicas, surge, unavailable }, "{replicas} {rolling}");
        }
    }
}
