//! Images from Dockerfiles, without any tool installed.
//!
//! ```text
//!  Snapshot ─ dockerfile::parse ─▶ Dockerfile ─ plan ─▶ stages that are needed
//!                                                          │ execute, instruction by instruction
//!      COPY, ADD, WORKDIR: files ── tar written directly ──┤
//!      RUN: a container over the layers so far ── upper ───┤
//!      everything else: state ── configuration ────────────┘──▶ oci::Store
//! ```
//!
//! A layer is found again by what it is made from: the layers below, the instruction with its variables replaced, the content
//! of its inputs. Times are 0 in every layer, so equal content makes equal digests.
//!
//! RUN gets the host's network, process, mount and IPC namespaces of its own, half the CPU weight of a workload and a limit of
//! memory and processes. One build runs at a time; others wait in the order in which they came.

mod base;
mod cache;
mod dockerfile;
mod error;
mod execute;
mod files;
mod image;
mod images;
mod plan;
mod run;
mod state;
mod tail;

pub use error::{CopyFailure, Error};

use crate::cache::Cache;
use crate::dockerfile::{Dockerfile, Instruction, Problem};
use crate::execute::{Executor, Progress, Shop, blocking};
use crate::files::{Ignore, Memory, normal};
use crate::images::Images;
use crate::plan::{Globals, find_stage};
use crate::state::{State, is_proxy};
use async_trait::async_trait;
use container::Runtime;
use model::ports::{BuildFailure, BuildRequest, Lines, PortError};
use model::{BuildId, ImageRef, Project, Snapshot};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// What a RUN may use, unless the options say otherwise.
pub const MEMORY_BYTES: u64 = 4 << 30;

/// Where builds work.
pub struct Options {
    /// Where images go.
    pub images: oci::Store,
    /// For registries of base images, by host (`ghcr.io`, `localhost:5000`); others are asked without.
    pub credentials: BTreeMap<String, oci::Credentials>,
    /// Runs RUN.
    pub containers: Runtime,
    /// A directory for what may be lost: `<data>/build`.
    pub cache: PathBuf,
    /// Of memory, what one RUN may use.
    pub memory_bytes: u64,
}

/// Makes images. Cheap to clone.
#[derive(Clone)]
pub struct Builder {
    shop: Arc<Shop>,
    turn: Arc<Semaphore>,
    discarded: watch::Sender<()>,
}

impl Builder {
    /// Creates the cache directory. Call [`Builder::recover`] before the first build.
    pub fn new(options: Options) -> Result<Self, Error> {
        let shop = Shop {
            images: Images { store: options.images, credentials: options.credentials },
            containers: options.containers,
            cache: Cache::new(options.cache)?,
            memory_bytes: options.memory_bytes,
            static_base: Default::default(),
            counter: Default::default(),
        };
        Ok(Self { shop: Arc::new(shop), turn: Arc::new(Semaphore::new(1)), discarded: watch::Sender::new(()) })
    }

    /// Changes whenever an image has lost its name.
    pub fn discarded(&self) -> watch::Receiver<()> {
        self.discarded.subscribe()
    }

    /// Removes containers and working files of builds that a crash of this program has cut short.
    pub async fn recover(&self) -> Result<(), Error> {
        let _turn = self.turn().await;
        let failed = |source| Error::Recover { source };
        for info in self.shop.containers.list().await.map_err(failed)? {
            if info.labels.contains_key(run::LABEL) {
                self.shop.containers.delete(&info.id).await.map_err(failed)?;
            }
        }
        self.shop.cache.sweep()
    }

    /// Builds and stores an image; the tag is `<project>/<component>:<number>`.
    pub async fn image(&self, request: &BuildRequest, lines: &dyn Lines) -> Result<ImageRef, Error> {
        let turn = Arc::new(self.turn().await);
        let seconds = request.rule.timeout_seconds;
        let state = tokio::time::timeout(Duration::from_secs(seconds), self.execute(request, lines, turn.clone()));
        let state = state.await.map_err(|_| Error::Timeout { seconds })??;
        self.store(&request.project, &request.build, &state.image, &state.root, lines).await
    }

    async fn turn(&self) -> OwnedSemaphorePermit {
        self.turn.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    async fn execute(
        &self,
        request: &BuildRequest,
        lines: &dyn Lines,
        permit: Arc<OwnedSemaphorePermit>,
    ) -> Result<State, Error> {
        let directory = normal(&request.rule.context);
        let path = directory.join(normal(&request.rule.dockerfile));
        let name = path.display().to_string();
        let located = |p: Problem| Error::File { file: name.clone(), line: p.line, problem: p.text };
        let source = text(&request.snapshot, &name)?.ok_or_else(|| Error::NoDockerfile { path: name.clone() })?;
        let file = dockerfile::parse(source).map_err(located)?;
        let ignore = ignore(&request.snapshot, &directory, &name)?;
        let context = Arc::new(Memory::context(&request.snapshot, &directory, &ignore));
        let globals = Globals::new(&file, &request.rule.args).map_err(located)?;
        let target = target(&file, &name, request.rule.target.as_deref())?;
        for argument in undeclared(&file, &request.rule.args) {
            lines.line(&format!("warning: build.args {argument} is declared by no ARG"));
        }
        let executor = Executor {
            shop: &self.shop,
            request,
            name: &name,
            file: &file,
            globals: &globals,
            context,
            lines,
            permit,
            progress: Progress::default(),
            lease: self.shop.images.store.lease(),
            done: BTreeMap::new(),
        };
        executor.build(target).await
    }

    async fn store(
        &self,
        project: &Project,
        build: &BuildId,
        image: &image::Image,
        root: &images::Root,
        lines: &dyn Lines,
    ) -> Result<ImageRef, Error> {
        let tag = tag(project, build);
        let (images, image, root) = (self.shop.images.clone(), image.clone(), root.clone());
        let (digest, size) = blocking(move || images.put(&image, &root, &tag)).await?;
        let digest = digest.as_str().parse().expect("both crates write digests as sha256:<64 hexadecimal digits>");
        lines.line(&format!("image {digest} {}", megabytes(size)));
        Ok(ImageRef::recorded(project, &build.component, &digest))
    }
}

#[async_trait]
impl model::ports::Builder for Builder {
    async fn build(&self, request: &BuildRequest, lines: &dyn Lines) -> Result<ImageRef, BuildFailure> {
        self.image(request, lines).await.map_err(failure)
    }

    async fn fetch(
        &self,
        project: &Project,
        build: &BuildId,
        image: &str,
        lines: &dyn Lines,
    ) -> Result<ImageRef, BuildFailure> {
        let (image, root) = self.shop.base(image, lines).await.map_err(failure)?;
        self.store(project, build, &image, &root, lines).await.map_err(failure)
    }

    async fn has(&self, image: &ImageRef) -> Result<bool, PortError> {
        let digest =
            image.digest().as_str().parse().expect("both crates write digests as sha256:<64 hexadecimal digits>");
        let images = self.shop.images.clone();
        let found = blocking(move || images.has(&digest)).await;
        found.map_err(|error| PortError::Transient(with_sources(&error)))
    }

    async fn discard(&self, project: &Project, build: &BuildId) -> Result<(), PortError> {
        let name = tag(project, build).parse().expect("names of projects and components are those of images");
        let images = self.shop.images.store.clone();
        let gone = blocking(move || images.untag(&name).map_err(Error::Store)).await;
        gone.map_err(|error| PortError::Transient(with_sources(&error)))?;
        self.discarded.send_replace(());
        Ok(())
    }
}

/// Under which name the store holds the image of a build.
fn tag(project: &Project, build: &BuildId) -> String {
    format!("{}/{project}/{}:{}", model::REGISTRY, build.component, build.number)
}

fn failure(error: Error) -> BuildFailure {
    BuildFailure { message: with_sources(&error) }
}

/// The message, and those of its causes that it does not repeat.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let message = next.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = next.source();
    }
    text
}

/// A file of the component, which must be text.
fn text<'a>(snapshot: &'a Snapshot, path: &str) -> Result<Option<&'a str>, Error> {
    let not_text = |error: std::str::Utf8Error| {
        let bytes = &snapshot.files[path].bytes[..error.valid_up_to()];
        let line = bytes.iter().filter(|b| **b == b'\n').count() + 1;
        Error::File { file: path.to_owned(), line, problem: "the file is not UTF-8".into() }
    };
    snapshot.text(path).transpose().map_err(not_text)
}

/// `<dockerfile>.dockerignore`, or else `.dockerignore` of the context.
fn ignore(snapshot: &Snapshot, directory: &Path, dockerfile: &str) -> Result<Ignore, Error> {
    let general = directory.join(".dockerignore").display().to_string();
    for file in [format!("{dockerfile}.dockerignore"), general] {
        if let Some(text) = text(snapshot, &file)? {
            return Ignore::parse(text).map_err(|(line, problem)| Error::File { file, line, problem });
        }
    }
    Ok(Ignore::default())
}

fn target(file: &Dockerfile, name: &str, target: Option<&str>) -> Result<usize, Error> {
    let Some(target) = target else { return Ok(file.stages.len() - 1) };
    find_stage(file, target).ok_or_else(|| {
        let names: Vec<_> = file.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        let known = if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) };
        Error::Target { file: name.to_owned(), target: target.to_owned(), known }
    })
}

/// Given arguments that the Dockerfile does not know.
fn undeclared<'a>(file: &Dockerfile, given: &'a BTreeMap<String, String>) -> Vec<&'a str> {
    let steps = file.stages.iter().flat_map(|stage| &stage.steps);
    let inside = steps.filter_map(|step| match &step.instruction {
        Instruction::Arg(arguments) => Some(arguments),
        _ => None,
    });
    let known: Vec<_> = inside.flatten().chain(&file.globals).map(|argument| argument.name.as_str()).collect();
    given.keys().map(String::as_str).filter(|name| !known.contains(name) && !is_proxy(name)).collect()
}

/// `1.2 MB`.
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests;
