//! Startup, liveness and readiness of one attempt of a container.

use super::{Post, hook};
use crate::context::Context;
use crate::events::Kind;
use crate::pod::machine::{Kill, News};
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Period of a readiness probe until it has succeeded once: a Pod should serve as soon as it can.
const EAGER: Duration = Duration::from_millis(100);

pub(super) struct Probes {
    pub context: Arc<Context>,
    /// To speak of it.
    pub pod: Arc<Pod>,
    pub container: Box<Container>,
    pub id: String,
    pub index: usize,
    pub address: Option<IpAddr>,
    pub post: Post,
    /// The verdicts so far: of a container that was taken over from an earlier process.
    pub started: bool,
    pub ready: bool,
}

/// What probing needs of a container; `None` if there is nothing to probe.
pub(super) fn probed(container: Container) -> Option<Box<Container>> {
    let Container { name, ports, startup_probe, readiness_probe, liveness_probe, .. } = container;
    let any = [&startup_probe, &readiness_probe, &liveness_probe].into_iter().any(Option::is_some);
    let of = Container { name, ports, startup_probe, readiness_probe, liveness_probe, ..Container::default() };
    any.then(|| Box::new(of))
}

impl Probes {
    /// Probes until it is aborted or has decided that the container must be stopped. Simulated containers answer all
    /// probes alike: there, one good verdict is the last.
    pub(super) async fn run(self) {
        if let (false, Some(probe)) = (self.started, &self.container.startup_probe) {
            if !self.startup(probe).await {
                return;
            }
            self.tell(News::StartupDone { index: self.index }).await;
        }
        let readiness = async {
            if let Some(probe) = &self.container.readiness_probe {
                self.readiness(probe).await;
            }
        };
        let liveness = async {
            if let Some(probe) = &self.container.liveness_probe {
                self.liveness(probe).await;
            }
        };
        futures::join!(readiness, liveness);
    }

    async fn startup(&self, probe: &Probe) -> bool {
        sleep(initial_delay(probe)).await;
        let mut count = Count::default();
        loop {
            let outcome = self.once(probe, "Startup", true).await;
            if count.add(&outcome) >= threshold(probe, outcome.is_ok()) {
                return match outcome {
                    Ok(()) => true,
                    Err(_) => {
                        self.kill(probe, "startup").await;
                        false
                    }
                };
            }
            sleep(period(probe)).await;
        }
    }

    async fn liveness(&self, probe: &Probe) {
        if self.context.runtime.is_simulated() {
            return;
        }
        sleep(initial_delay(probe)).await;
        let mut count = Count::default();
        loop {
            let outcome = self.once(probe, "Liveness", true).await;
            if count.add(&outcome) >= threshold(probe, outcome.is_ok()) && outcome.is_err() {
                return self.kill(probe, "liveness").await;
            }
            sleep(period(probe)).await;
        }
    }

    async fn readiness(&self, probe: &Probe) {
        if !self.ready {
            sleep(initial_delay(probe)).await;
        }
        let (mut count, mut ready, mut ever) = (Count::default(), self.ready, self.ready);
        let mut last_said: Option<Instant> = None;
        loop {
            // Eager attempts must not fill the events: one failure a period is said.
            let say = last_said.is_none_or(|at| at.elapsed() >= period(probe));
            let outcome = self.once(probe, "Readiness", say).await;
            if outcome.is_err() && say {
                last_said = Some(Instant::now());
            }
            let decided = count.add(&outcome) >= threshold(probe, outcome.is_ok());
            if decided && ready != outcome.is_ok() {
                ready = outcome.is_ok();
                self.tell(News::Ready { index: self.index, ready }).await;
            }
            if ready && self.context.runtime.is_simulated() {
                return;
            }
            ever |= outcome.is_ok();
            sleep(if ever { period(probe) } else { EAGER.min(period(probe)) }).await;
        }
    }

    async fn once(&self, probe: &Probe, kind: &str, say: bool) -> Result<(), String> {
        let limit = Duration::from_secs(positive(probe.timeout_seconds).unwrap_or(1));
        let outcome = if self.context.runtime.is_simulated() {
            Ok(())
        } else if let Some(exec) = &probe.exec {
            let command = exec.command.as_deref().unwrap_or_default();
            Box::pin(hook::exec(&self.context, &self.id, command, limit)).await
        } else if let Some(action) = &probe.http_get {
            Box::pin(hook::http_get(action, &self.container, self.address, limit)).await
        } else if let Some(action) = &probe.tcp_socket {
            Box::pin(hook::tcp(&action.port, action.host.as_deref(), &self.container, self.address, limit)).await
        } else {
            Ok(())
        };
        if let (Err(message), true) = (&outcome, say) {
            let text = format!("{kind} probe failed: {message}");
            self.context.events.say(&self.pod, Some(&self.container.name), Kind::Warning, "Unhealthy", text);
        }
        outcome
    }

    async fn kill(&self, probe: &Probe, kind: &str) {
        let grace = probe.termination_grace_period_seconds.map(|s| Duration::from_secs(u64::try_from(s).unwrap_or(0)));
        let message = format!("Container {} failed {kind} probe, will be restarted", self.container.name);
        self.tell(News::Unhealthy { index: self.index, kill: Kill { message, grace } }).await;
    }

    async fn tell(&self, news: News) {
        self.post.send(news).await;
    }
}

/// Equal outcomes in a row.
#[derive(Default)]
struct Count {
    good: bool,
    run: u64,
}

impl Count {
    fn add(&mut self, outcome: &Result<(), String>) -> u64 {
        self.run = if self.good == outcome.is_ok() { self.run + 1 } else { 1 };
        self.good = outcome.is_ok();
        self.run
    }
}

fn threshold(probe: &Probe, good: bool) -> u64 {
    match good {
        true => positive(probe.success_threshold).unwrap_or(1),
        false => positive(probe.failure_threshold).unwrap_or(3),
    }
}

fn period(probe: &Probe) -> Duration {
    Duration::from_secs(positive(probe.period_seconds).unwrap_or(10))
}

fn initial_delay(probe: &Probe) -> Duration {
    Duration::from_secs(positive(probe.initial_delay_seconds).unwrap_or(0))
}

fn positive(number: Option<i32>) -> Option<u64> {
    number.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0)
}
