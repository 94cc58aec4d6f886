//! RUN: from the instruction to a container's order, and from what it wrote to a layer.

use super::{Executor, blocking};
use crate::cache::Key;
use crate::dockerfile::{MountKind, Run, Step};
use crate::error::{Error, work};
use crate::files::{CopyError, CopySpec, Layer, Layers, Tree, copy, normal, pack_upper, resolve};
use crate::images::StoredLayer;
use crate::run::{self, Order, RunError, Running};
use crate::state::{State, proxies};
use container::Mount;
use std::path::{Path, PathBuf};

impl Executor<'_> {
    pub(super) async fn run(
        &mut self,
        stage: usize,
        state: &State,
        step: &Step,
        run: &Run,
    ) -> Result<Option<StoredLayer>, Error> {
        let mounts = self.mounts(stage, state, step, run).await?;
        let (argv, env) = (state.argv(&run.command), state.environment());
        let identity: Vec<_> = mounts.iter().map(|m| (&m.target, &m.identity)).collect();
        let config = &state.image.config;
        let key =
            Key::new("run", &state.root).with(&(&argv, &env, &config.user, &config.working_dir, run.network, identity));
        if let Some(layer) = self.cached(&key).await? {
            self.tell(&step.text, true);
            return Ok(layer);
        }
        self.tell(&step.text, false);
        if let Some(problem) = missing(&argv, &state.root.tree()) {
            return Err(self.at(step, problem));
        }
        let order = self.order(state, run, argv, env);
        let running = Running::new(&self.shop.containers, &order, self.permit.clone());
        let stored = self.run_container(&running, order, mounts, state, step).await;
        // Removed here and now, so that a build that has failed has left nothing behind when it says so.
        running.remove().await.map_err(|error| self.run_failed(step, error))?;
        let stored = stored?;
        self.remember(&key, stored.as_ref())?;
        Ok(stored)
    }

    fn order(&self, state: &State, run: &Run, argv: Vec<String>, env: Vec<String>) -> Order {
        let work = self.shop.scratch("run");
        let id = format!("build-{}", work.file_name().unwrap_or_default().to_string_lossy());
        let config = &state.image.config;
        Order {
            id,
            build: format!("{}/{}", self.request.project, self.request.build),
            argv,
            env: env.into_iter().chain(proxies(&self.request.rule.args)).collect(),
            user: config.user.clone(),
            cwd: format!("/{}", state.path("").display()),
            network: run.network,
            mounts: Vec::new(),
            layers: state.root.directories(),
            work,
            memory_bytes: self.shop.memory_bytes,
        }
    }

    async fn run_container(
        &self,
        running: &Running,
        mut order: Order,
        mounts: Vec<Prepared>,
        state: &State,
        step: &Step,
    ) -> Result<Option<StoredLayer>, Error> {
        tokio::fs::create_dir_all(&order.work).await.map_err(work(&order.work))?;
        if order.network {
            order.mounts.extend(run::network_files());
        }
        for (number, mount) in mounts.into_iter().enumerate() {
            order.mounts.push(self.prepare(mount, &order.work.join(format!("mount-{number}")), step).await?);
        }
        let mut stubs: Vec<_> = order.mounts.iter().map(|mount| normal(&mount.target)).collect();
        stubs.extend(["dev", "proc", "sys"].map(PathBuf::from));
        let memory_bytes = order.memory_bytes;
        let end = running.run(order, self.lines).await.map_err(|error| self.run_failed(step, error))?;
        if end.exit.code != 0 {
            let end_text = match (end.exit.oom, end.exit.signal) {
                (true, _) => {
                    format!("out of memory (a RUN may use {} MiB), exit code {}", memory_bytes >> 20, end.exit.code)
                }
                (_, Some(signal)) => format!("ended by signal {signal}, exit code {}", end.exit.code),
                _ => format!("exit code {}", end.exit.code),
            };
            let output = end.last_lines.iter().map(|line| format!("\n{line}")).collect();
            let (file, line, instruction) = self.place(step);
            return Err(Error::Run { file, line, instruction, end: end_text, output });
        }
        self.pack(running.upper(), state, stubs).await
    }

    /// The layer of what a container changed; `None` if it changed nothing.
    async fn pack(&self, upper: PathBuf, state: &State, stubs: Vec<PathBuf>) -> Result<Option<StoredLayer>, Error> {
        let (images, below) = (self.shop.images.clone(), state.root.tree());
        let packed = blocking(move || {
            let mut layer = images.new_layer()?;
            pack_upper(&upper, &below, &stubs, &mut layer).map_err(work(&upper))?;
            images.finish(layer)
        });
        packed.await
    }

    async fn mounts(&self, stage: usize, state: &State, step: &Step, run: &Run) -> Result<Vec<Prepared>, Error> {
        let mut prepared = Vec::new();
        for mount in &run.mounts {
            let word = |text: &str| state.word(text).map_err(|text| self.at(step, text));
            let target = format!("/{}", state.path(&word(&mount.target)?).display());
            let (identity, what) = match &mount.kind {
                MountKind::Tmpfs => ("tmpfs".to_owned(), What::Tmpfs),
                MountKind::Cache { id, mode } => {
                    let id = id.as_ref().map_or(Ok(target.clone()), |id| word(id))?;
                    (format!("cache {id}"), What::Cache { id, mode: *mode })
                }
                MountKind::Bind { from, source } => {
                    let tree = match from {
                        Some(name) => self.files_of(stage, step, &word(name)?).await?,
                        None => self.context.clone(),
                    };
                    let spec = CopySpec {
                        sources: vec![(tree, word(source)?)],
                        destination: "files".into(),
                        into: false,
                        owner: None,
                        mode: None,
                        unpack: false,
                    };
                    let (digest, spec) = blocking(move || (spec.digest(), spec)).await;
                    (digest.map_err(|source| self.copy_failed(step, source))?, What::Bind(spec))
                }
            };
            prepared.push(Prepared { target, identity, what });
        }
        Ok(prepared)
    }

    /// Makes the source of a mount, in `directory` if it is not kept.
    async fn prepare(&self, mount: Prepared, directory: &Path, step: &Step) -> Result<Mount, Error> {
        let target = mount.target;
        match mount.what {
            What::Tmpfs => {
                let kind = container::MountKind::Tmpfs { size_bytes: None };
                Ok(Mount { source: PathBuf::new(), target: target.into(), read_only: false, kind })
            }
            What::Cache { id, mode } => {
                let path = self.shop.cache.mount(&self.request.project, &self.request.build.component, &id, mode)?;
                Ok(run::bind(&path, &target, false))
            }
            What::Bind(spec) => {
                let to = directory.to_owned();
                let copied = blocking(move || -> std::io::Result<Result<(), CopyError>> {
                    let mut layer = Layer::new(Vec::new());
                    if let Err(error) = copy(&spec, &Layers::default(), &mut layer) {
                        return Ok(Err(error));
                    }
                    let mut archive = tar::Archive::new(std::io::Cursor::new(layer.finish()?.0));
                    archive.set_preserve_permissions(true);
                    archive.set_preserve_ownerships(true);
                    archive.unpack(to)?;
                    Ok(Ok(()))
                });
                copied.await.map_err(work(directory))?.map_err(|source| self.copy_failed(step, source))?;
                Ok(run::bind(&directory.join("files"), &target, false))
            }
        }
    }

    fn run_failed(&self, step: &Step, error: RunError) -> Error {
        let (file, line, instruction) = self.place(step);
        match error {
            RunError::Start(source) => Error::Start { file, line, instruction, source },
            RunError::Log(source) => Error::Work { path: format!("log of {instruction}"), source },
        }
    }
}

/// A mount whose values are expanded.
struct Prepared {
    target: String,
    /// What of it decides about the result.
    identity: String,
    what: What,
}

enum What {
    Tmpfs,
    Cache { id: String, mode: u32 },
    Bind(CopySpec),
}

/// Why a command with a path cannot run; others are searched for when they run.
fn missing(argv: &[String], tree: &dyn Tree) -> Option<String> {
    let program = argv.first().filter(|program| program.starts_with('/'))?;
    let there = resolve(tree, &normal(program), true).and_then(|path| tree.entry(&path));
    match there {
        Ok(None) => {
            let advice = "build in a stage on an image that has it, and take the result with COPY --from";
            Some(format!("the image has no {program}; {advice}"))
        }
        _ => None,
    }
}
