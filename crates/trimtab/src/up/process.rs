//! The life of a control process: what it takes, what it serves, and what becomes of it when another one takes over.

use super::handover::{self, Taken};
use super::listeners::Listeners;
use super::{Control, Ended, OldRegistry, Options};
use crate::instance::{Instance, Layout, Lock};
use crate::output::{Output, mention};
use anyhow::{Context, Result, bail};
use futures::FutureExt;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// What a person asked for.
pub struct Wishes {
    pub listen: Option<SocketAddr>,
    pub options: Options,
    /// Take the place of the process that runs.
    pub replace: bool,
    /// A config repository to take a project in from.
    pub from: Option<String>,
    pub registry: Option<OldRegistry>,
    pub output: Output,
}

/// What a process holds for as long as it lives, whatever answers on it.
struct Place {
    /// `None` only while a successor tries.
    lock: Option<Lock>,
    instance: Instance,
    listeners: Listeners,
    options: Options,
    /// The process before this one waits to hear that this one serves.
    taken: Option<Taken>,
}

/// Work that is still under way when a process has handed over ends within this, or is cut off as by a crash.
const END_LIMIT: Duration = Duration::from_secs(5);
/// A process that has ended leaves the lock at once; one that is being ended, soon.
const LOCK_LIMIT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Serves until it is told to stop, or until another process has taken over.
pub fn run(layout: &Layout, wishes: Wishes) -> Result<ExitCode> {
    let mut place = Place::take(layout, &wishes)?;
    let mut wishes = Some(wishes);
    loop {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        // Boxed, because the runtime would else hold three copies of it.
        let ended = runtime.block_on(place.serve(layout, wishes.take()).boxed_local());
        match ended? {
            Ended::Stopped(signal) => {
                mention(&format!(
                    "The control process has stopped ({signal}). Containers and the gateway run on; `trimtab down` stops them.\n"
                ));
                return leave(runtime);
            }
            Ended::Down => {
                mention("Everything is stopped.\n");
                return leave(runtime);
            }
            Ended::Left(successor) => {
                runtime.shutdown_timeout(END_LIMIT);
                place.lock = None;
                if handover::release(&successor) {
                    mention("Another process has taken over. This one has ended.\n");
                    return Ok(ExitCode::SUCCESS);
                }
                drop(successor);
                place.lock = Some(lock(layout)?);
                eprintln!("trimtab: the process that was to take over is gone; this one goes on.");
            }
        }
    }
}

fn leave(runtime: Runtime) -> Result<ExitCode> {
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

impl Place {
    fn take(layout: &Layout, wishes: &Wishes) -> Result<Self> {
        let asked = if wishes.replace { handover::ask(layout)? } else { None };
        let Some(taking) = asked else {
            let lock = Lock::take_or(layout, &advice(layout, wishes.replace))?;
            let instance = Instance::load_or_create(layout, wishes.listen)?;
            let (listeners, options) = (Listeners::bind(&instance)?, wishes.options.clone());
            return Ok(Self { lock: Some(lock), instance, listeners, options, taken: None });
        };
        let instance = Instance::require(layout)?;
        if let Some(listen) = wishes.listen.filter(|listen| listen.port() != 0 && *listen != instance.gateway) {
            bail!(
                "--listen {listen}: the process that runs serves at {}, and --replace keeps that; to move, stop it first",
                instance.gateway
            );
        }
        let running = &taking.running;
        eprintln!("trimtab: taking over from Trimtab {} (process {})", running.version, running.pid);
        let Options { simulate, allow_exec } = wishes.options.clone();
        let allow_exec = if allow_exec.is_empty() { running.allow_exec.clone() } else { allow_exec };
        let options = Options { simulate: simulate || running.simulate, allow_exec };
        let (listeners, taken) = taking.go()?;
        let lock = Some(lock(layout).context("the process that ran has handed over")?);
        Ok(Self { lock, instance, listeners, options, taken: Some(taken) })
    }

    async fn serve(&mut self, layout: &Layout, wishes: Option<Wishes>) -> Result<Ended> {
        let output = wishes.as_ref().map_or(Output::Text, |wishes| wishes.output);
        let control = self.begin(layout, wishes).await.map_err(|error| match self.taken {
            Some(_) => error.context("this program cannot take over, and the process that ran before goes on"),
            None => error,
        })?;
        if let Some(taken) = self.taken.take() {
            taken.serving();
        }
        control.print_addresses(output);
        control.wait().await
    }

    async fn begin(&self, layout: &Layout, wishes: Option<Wishes>) -> Result<Control> {
        let control = Control::start(layout.clone(), self.instance.clone(), &self.listeners, &self.options).await?;
        if let Some(Wishes { from, registry, .. }) = wishes {
            if let Some(url) = &from {
                mention(&format!("{}\n", control.recreate(url).await?));
            }
            if let Some(old) = registry {
                control.fetch_from(old);
            }
        }
        if self.taken.is_some() {
            control.replace_gateway().await?;
        }
        Ok(control)
    }
}

/// The lock that another process is about to leave.
fn lock(layout: &Layout) -> Result<Lock> {
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match Lock::take(layout) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(LOCK_RETRY),
            taken => return taken,
        }
    }
}

/// What to do about a process that runs here.
fn advice(layout: &Layout, replace: bool) -> String {
    match replace {
        true => "it does not hand over: stop it with Ctrl-C or SIGTERM (containers and the gateway run on), then `trimtab up`"
            .to_owned(),
        false => format!(
            "`trimtab up --replace --data-dir {}` puts this program in its place without a refused request; or stop it first, or \
             give another --data-dir",
            layout.root().display()
        ),
    }
}
