//! Images for containers: from the store by digest or tag, else from their registry.

use crate::error::Error;
use crate::runtime::spec::FromImage;
use crate::runtime::{Credentials, Image, ImageError, Pull};
use oci::{Digest, Reference};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The image store, and how it is filled.
pub(crate) struct Images {
    store: oci::Store,
    /// Host name of the registry that the store itself is: never asked over the network.
    own_registry: String,
    /// One image at a time, as kubelet: two Pods of one image must not fetch it twice.
    pulling: Mutex<()>,
}

impl Images {
    pub(crate) fn new(store: oci::Store, own_registry: String) -> Self {
        Self { store, own_registry, pulling: Mutex::new(()) }
    }

    /// Makes sure that an image is in the store.
    pub(crate) async fn ensure(
        &self,
        text: &str,
        pull: Pull,
        credentials: &[Credentials],
    ) -> Result<Image, ImageError> {
        let reference: Reference = text
            .parse()
            .map_err(|e: oci::ReferenceError| ImageError { reason: "InvalidImageName", message: e.to_string() })?;
        let own = reference.registry == self.own_registry;
        // A digest names one content: asking its registry again can bring nothing new.
        let trusted = own || reference.digest.is_some() || pull != Pull::Always;
        if let Some(digest) = self.find(&reference).filter(|_| trusted) {
            return self.image(&reference, &digest, None);
        }
        if pull == Pull::Never {
            let message = format!("Container image {text:?} is not present with pull policy of Never");
            return Err(ImageError { reason: "ErrImageNeverPull", message });
        }
        if own {
            return Err(failed(format!("{text} is not in the registry of this machine: push or build it")));
        }
        let _turn = self.pulling.lock().await;
        if let Some(digest) = self.find(&reference).filter(|_| trusted) {
            return self.image(&reference, &digest, None);
        }
        let began = Instant::now();
        let digest = self.pull(&reference, credentials).await?;
        self.image(&reference, &digest, Some(began.elapsed()))
    }

    /// Layers and configuration, unpacked on first use.
    pub(crate) async fn unpacked(&self, digest: &str) -> Result<FromImage, Error> {
        let failed = |source| Error::Image { reference: digest.to_owned(), source };
        let digest: Digest = digest.parse().map_err(|_| Error::Invalid(format!("{digest} is not a digest")))?;
        let image = self.store.image(&digest).map_err(failed)?;
        let layers = self.store.layer_paths(&image).await.map_err(failed)?;
        let config = image.config.config;
        Ok(FromImage {
            layers,
            environment: config.env,
            entrypoint: config.entrypoint,
            command: config.cmd,
            directory: config.working_dir,
            user: config.user,
        })
    }

    /// Digest of an image that is here: by the digest in its name whatever the repository, else by its tag.
    fn find(&self, reference: &Reference) -> Option<Digest> {
        let named = reference.digest.clone().filter(|digest| self.store.image(digest).is_ok());
        named.or_else(|| self.store.resolve(reference).ok())
    }

    fn image(&self, reference: &Reference, digest: &Digest, fetched: Option<Duration>) -> Result<Image, ImageError> {
        let image = self.store.image(digest).map_err(|e| failed(e.to_string()))?;
        Ok(Image {
            id: format!("{}@{}", reference.name(), image.digest),
            digest: image.digest.to_string(),
            fetched,
            stop_signal: Some(image.config.config.stop_signal).filter(|signal| !signal.is_empty()),
        })
    }

    async fn pull(&self, reference: &Reference, credentials: &[Credentials]) -> Result<Digest, ImageError> {
        let mut last = None;
        for credentials in matching(credentials, &reference.registry) {
            match self.store.pull(reference, &credentials, &|_| {}).await {
                Ok(digest) => return Ok(digest),
                Err(error) => last = Some(error),
            }
        }
        Err(failed(last.map_or_else(String::new, |error| error.to_string())))
    }
}

fn failed(message: String) -> ImageError {
    ImageError { reason: "ErrImagePull", message }
}

/// Those for the registry; without any, none at all.
fn matching(credentials: &[Credentials], registry: &str) -> Vec<oci::Credentials> {
    let same =
        |c: &&Credentials| c.registry == registry || (registry == "docker.io" && c.registry == "index.docker.io");
    let mut found: Vec<oci::Credentials> = credentials
        .iter()
        .filter(same)
        .map(|c| oci::Credentials::Basic { user: c.user.clone(), password: c.password.clone() })
        .collect();
    if found.is_empty() {
        found.push(oci::Credentials::Anonymous);
    }
    found
}
