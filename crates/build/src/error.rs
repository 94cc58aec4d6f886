//! Why there is no image.

use crate::files::CopyError;
use std::io;

/// Why there is no image. Messages are shown to the person who pushed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The component has no Dockerfile where its description says.
    #[error(
        "there is no {path}; write one, or name another with `build: {{dockerfile: …}}` or an image with `image: …`"
    )]
    NoDockerfile {
        /// From the component's path.
        path: String,
    },
    /// A file of the component does not say what it should.
    #[error("{file}:{line}: {problem}")]
    File {
        /// From the component's path.
        file: String,
        /// From 1.
        line: usize,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// `build.target` is no stage.
    #[error("{file}: there is no stage {target:?} (build.target){known}")]
    Target {
        /// The Dockerfile.
        file: String,
        /// As given.
        target: String,
        /// Which there are.
        known: String,
    },
    /// COPY or ADD found nothing, or no place for it.
    #[error("{file}:{line}: {instruction}: {source}")]
    Copy {
        /// The Dockerfile.
        file: String,
        /// From 1.
        line: usize,
        /// As written, shortened.
        instruction: String,
        /// Why.
        #[source]
        source: CopyFailure,
    },
    /// RUN did not end with 0.
    #[error("{file}:{line}: {instruction}: {end}{output}")]
    Run {
        /// The Dockerfile.
        file: String,
        /// From 1.
        line: usize,
        /// As written, shortened.
        instruction: String,
        /// `exit code 3`.
        end: String,
        /// The last lines that it printed, each behind a newline.
        output: String,
    },
    /// RUN could not begin.
    #[error("{file}:{line}: {instruction}: {source}")]
    Start {
        /// The Dockerfile.
        file: String,
        /// From 1.
        line: usize,
        /// As written, shortened.
        instruction: String,
        /// Why.
        #[source]
        source: container::Error,
    },
    /// A base image, or one that is taken as it is, cannot be had.
    #[error("image {image}: {problem}")]
    Image {
        /// As written.
        image: String,
        /// Why, and what to do.
        problem: String,
    },
    /// The build took longer than its description allows.
    #[error("the build did not end within {seconds} s (build.timeoutSeconds)")]
    Timeout {
        /// As described.
        seconds: u64,
    },
    /// The store of images refused.
    #[error("the image store refused: {0}")]
    Store(#[source] oci::Error),
    /// What a crash left could not be removed.
    #[error("remains of earlier builds cannot be removed: {source}")]
    Recover {
        /// Why.
        #[source]
        source: container::Error,
    },
    /// A working file could not be read or written.
    #[error("{path}: {source}")]
    Work {
        /// On this machine.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why COPY, ADD or WORKDIR failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CopyFailure(#[from] CopyError);

/// For `map_err`: a working file.
pub(crate) fn work(path: &std::path::Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::Work { path, source }
}
