//! Carries out a Dockerfile: stage after stage, instruction after instruction.

mod run;

use crate::base;
use crate::cache::{Cache, Key};
use crate::dockerfile::{Copy, Dockerfile, Instruction, Problem, Source, Step};
use crate::error::{Error, work};
use crate::files::{CopyError, CopySpec, Layers, Memory, Tree, make_directory, user};
use crate::image::Image;
use crate::images::{Images, LayerRecord, NewLayer, Root, StoredLayer};
use crate::plan::{Globals, Origin, Planned, origin, plan};
use crate::state::State;
use container::Runtime;
use model::ports::{BuildRequest, Lines};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::OwnedSemaphorePermit;

/// What all builds share.
pub(crate) struct Shop {
    pub images: Images,
    pub containers: Runtime,
    pub cache: Cache,
    /// What a RUN may use.
    pub memory_bytes: u64,
    /// The layer of `trimtab/static`, once it was needed.
    pub static_base: Arc<OnceLock<oci::Layer>>,
    /// Tells containers and working files of this process apart.
    pub counter: AtomicU64,
}

impl Shop {
    /// An image to build on, with its layers unpacked.
    pub async fn base(&self, reference: &str, lines: &dyn Lines) -> Result<(Image, Root), Error> {
        match reference.strip_suffix(":latest").unwrap_or(reference) {
            base::NAME => {
                let (images, known) = (self.images.clone(), self.static_base.clone());
                blocking(move || base::image(&images, &known)).await
            }
            _ => self.images.base(reference, lines).await,
        }
    }

    /// A path for working files that nobody else uses.
    pub fn scratch(&self, what: &str) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        self.cache.scratch(&format!("{what}-{}-{number}", std::process::id()))
    }
}

/// One build at work.
pub(crate) struct Executor<'a> {
    pub shop: &'a Shop,
    pub request: &'a BuildRequest,
    /// For messages: the Dockerfile's path.
    pub name: &'a str,
    pub file: &'a Dockerfile,
    pub globals: &'a Globals<'a>,
    pub context: Arc<Memory>,
    pub lines: &'a dyn Lines,
    pub permit: Arc<OwnedSemaphorePermit>,
    pub progress: Progress,
    /// Keeps layers that no image names yet.
    pub lease: oci::Lease,
    /// Stages that are complete.
    pub done: BTreeMap<usize, State>,
}

/// `step 2/7`.
#[derive(Default)]
pub(crate) struct Progress {
    step: usize,
    total: usize,
}

impl Executor<'_> {
    /// Builds the stage `target` with all that it needs.
    pub async fn build(mut self, target: usize) -> Result<State, Error> {
        let planned = plan(self.file, self.globals, target).map_err(|p| self.located(p))?;
        self.progress.total = planned.iter().map(|p| 1 + p.stage.steps.len()).sum();
        for stage in planned {
            let state = self.stage(&stage).await?;
            self.done.insert(stage.index, state);
        }
        Ok(self.done.remove(&target).expect("the target is planned, and every planned stage is done"))
    }

    async fn stage(&mut self, planned: &Planned<'_>) -> Result<State, Error> {
        let stage = planned.stage;
        let name = stage.name.as_ref().map_or(String::new(), |name| format!(" AS {name}"));
        self.tell(&format!("FROM {}{name}", stage.base), false);
        let mut state = match &planned.base {
            Origin::Scratch => State::new(Root::default(), Image::scratch(), self.file.escape),
            Origin::Stage(index) => self.done[index].next_stage(),
            Origin::Image(reference) => {
                let (image, root) = self.shop.base(reference, self.lines).await?;
                if image.config.on_build.as_ref().is_some_and(|list| !list.is_empty()) {
                    let text =
                        "FROM: the base image has ONBUILD instructions, which are not supported: write them here";
                    return Err(self.located(Problem { line: stage.line, text: text.into() }));
                }
                State::new(root, image, self.file.escape)
            }
        };
        state.root.layers.iter().for_each(|layer| self.lease.add(&layer.layer.digest));
        for step in &stage.steps {
            self.step(planned.index, &mut state, step).await?;
        }
        Ok(state)
    }

    async fn step(&mut self, stage: usize, state: &mut State, step: &Step) -> Result<(), Error> {
        let layer = match &step.instruction {
            Instruction::Copy(copy) => self.copy(stage, state, step, copy).await?,
            Instruction::Run(run) => self.run(stage, state, step, run).await?,
            instruction => {
                self.tell(&step.text, false);
                state.describe(step, self.globals).map_err(|text| self.at(step, text))?;
                match instruction {
                    Instruction::Workdir(_) => self.make_working_directory(state, step).await?,
                    _ => None,
                }
            }
        };
        state.record(step, layer.as_ref().map(StoredLayer::diff_id));
        layer.iter().for_each(|layer| self.lease.add(&layer.layer.digest));
        state.root.layers.extend(layer);
        Ok(())
    }

    // COPY, ADD, WORKDIR: layers are written directly.

    async fn copy(
        &mut self,
        stage: usize,
        state: &State,
        step: &Step,
        copy: &Copy,
    ) -> Result<Option<StoredLayer>, Error> {
        let spec = self.copy_spec(stage, state, step, copy).await?;
        let target = state.root.tree();
        let (digest, spec) = blocking(move || (spec.digest(), spec)).await;
        let digest = digest.map_err(|source| self.copy_failed(step, source))?;
        let key = Key::new("copy", &state.root).with(&(
            digest,
            &spec.destination,
            spec.into,
            spec.owner,
            spec.mode,
            spec.unpack,
        ));
        self.layer(&key, step, move |layer| crate::files::copy(&spec, &target, layer)).await
    }

    async fn copy_spec(&self, stage: usize, state: &State, step: &Step, copy: &Copy) -> Result<CopySpec, Error> {
        let located = |text: String| self.at(step, text);
        let word = |text: &String| state.word(text).map_err(located);
        let from: Arc<dyn Tree> = match &copy.from {
            Some(name) => self.files_of(stage, step, &word(name)?).await?,
            None => self.context.clone(),
        };
        let mut sources: Vec<(Arc<dyn Tree>, String)> = Vec::new();
        for source in &copy.sources {
            sources.push(match source {
                Source::Path(text) => (from.clone(), word(text)?),
                Source::Text { name, text, expand } => {
                    let text = if *expand { state.text(text).map_err(located)? } else { text.clone() };
                    (Arc::new(Memory::file(name, text.as_bytes())), name.clone())
                }
            });
        }
        let destination = word(&copy.destination)?;
        let owner = copy.owner.as_ref().map(|text| owner(&state.root.tree(), &state.word(text)?)).transpose();
        let mode = copy.mode.as_ref().map(|text| permissions(&state.word(text)?)).transpose();
        Ok(CopySpec {
            sources,
            into: destination.ends_with('/') || destination == "." || destination.ends_with("/."),
            destination: state.path(&destination),
            owner: owner.map_err(located)?,
            mode: mode.map_err(located)?,
            unpack: copy.add,
        })
    }

    /// The files behind `--from=`.
    async fn files_of(&self, stage: usize, step: &Step, name: &str) -> Result<Arc<dyn Tree>, Error> {
        Ok(match origin(self.file, stage, step.line, name).map_err(|p| self.located(p))? {
            Origin::Scratch => Arc::new(Layers::default()),
            Origin::Stage(index) => Arc::new(self.done[&index].root.tree()),
            Origin::Image(reference) => Arc::new(self.shop.base(&reference, self.lines).await?.1.tree()),
        })
    }

    async fn make_working_directory(&mut self, state: &State, step: &Step) -> Result<Option<StoredLayer>, Error> {
        let path = state.path("");
        let target = state.root.tree();
        let owner =
            user(&target, &state.image.config.user).map(|u| (u.uid, u.gid)).map_err(|text| self.at(step, text))?;
        let exists = crate::files::resolve(&target, &path, true).and_then(|p| target.entry(&p));
        if exists.map_err(work(&path))?.is_some_and(|entry| entry.is_directory()) {
            return Ok(None);
        }
        let key = Key::new("directory", &state.root).with(&(&path, owner));
        if let Some(layer) = self.cached(&key).await? {
            return Ok(layer);
        }
        let make = move |layer: &mut NewLayer| make_directory(&path, owner, &target, layer).map(|_| ());
        self.write(&key, step, make).await
    }

    /// The layer of this key, from the cache or made now.
    async fn layer(
        &mut self,
        key: &Key,
        step: &Step,
        make: impl FnOnce(&mut NewLayer) -> Result<(), CopyError> + Send + 'static,
    ) -> Result<Option<StoredLayer>, Error> {
        if let Some(layer) = self.cached(key).await? {
            self.tell(&step.text, true);
            return Ok(layer);
        }
        self.tell(&step.text, false);
        self.write(key, step, make).await
    }

    async fn write(
        &self,
        key: &Key,
        step: &Step,
        make: impl FnOnce(&mut NewLayer) -> Result<(), CopyError> + Send + 'static,
    ) -> Result<Option<StoredLayer>, Error> {
        let images = self.shop.images.clone();
        let written = blocking(move || -> Result<Result<Option<StoredLayer>, CopyError>, Error> {
            let mut layer = images.new_layer()?;
            match make(&mut layer) {
                Ok(()) => images.finish(layer).map(Ok),
                Err(error) => Ok(Err(error)),
            }
        });
        let stored = written.await?.map_err(|source| self.copy_failed(step, source))?;
        self.remember(key, stored.as_ref())?;
        Ok(stored)
    }

    fn remember(&self, key: &Key, layer: Option<&StoredLayer>) -> Result<(), Error> {
        self.shop.cache.put(key, &LayerRecord(layer.map(|stored| stored.layer.clone())))
    }

    /// `Some(None)`: known, and it changes nothing.
    async fn cached(&self, key: &Key) -> Result<Option<Option<StoredLayer>>, Error> {
        match self.shop.cache.get(key)? {
            None => Ok(None),
            Some(LayerRecord(None)) => Ok(Some(None)),
            Some(LayerRecord(Some(layer))) => {
                let images = self.shop.images.clone();
                Ok(blocking(move || images.find(&layer)).await?.map(Some))
            }
        }
    }

    // Words for people.

    fn tell(&mut self, text: &str, cached: bool) {
        self.progress.step += 1;
        let suffix = if cached { " (cached)" } else { "" };
        self.lines.line(&format!("step {}/{} {}{suffix}", self.progress.step, self.progress.total, shortened(text)));
    }

    fn located(&self, problem: Problem) -> Error {
        Error::File { file: self.name.to_owned(), line: problem.line, problem: problem.text }
    }

    fn at(&self, step: &Step, text: String) -> Error {
        let (file, line, instruction) = self.place(step);
        Error::File { file, line, problem: format!("{instruction}: {text}") }
    }

    fn place(&self, step: &Step) -> (String, usize, String) {
        (self.name.to_owned(), step.line, shortened(&step.text))
    }

    fn copy_failed(&self, step: &Step, source: CopyError) -> Error {
        let (file, line, instruction) = self.place(step);
        Error::Copy { file, line, instruction, source: source.into() }
    }
}

/// `--chown`: a number without a group is both.
fn owner(tree: &dyn Tree, text: &str) -> Result<(u32, u32), String> {
    match text.parse::<u32>() {
        Ok(number) => Ok((number, number)),
        Err(_) => user(tree, text).map(|user| (user.uid, user.gid)),
    }
}

/// `--chmod`.
fn permissions(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("--chmod={text} is not supported: write octal digits, 755"))
}

/// The first line, at most 120 characters.
fn shortened(text: &str) -> String {
    const MAX: usize = 120;
    let first = text.lines().next().unwrap_or_default();
    match first.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &first[..end]),
        None => first.to_owned(),
    }
}

/// For work on disk: away from the threads that serve.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
