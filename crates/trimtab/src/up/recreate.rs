//! `up --from`: a project out of its config repository.

use super::Control;
use anyhow::{Context, Result};
use futures::StreamExt;
use model::flow::{Repository, Revision};
use model::ports::Repositories as _;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Between two tries to reach the old registry.
const RETRY: Duration = Duration::from_secs(10);
/// Says which project a config repository is of.
const FILE: &str = "project.yaml";

/// A registry that still has the images which pins name.
pub struct OldRegistry {
    address: String,
    credentials: oci::Credentials,
}

impl OldRegistry {
    pub fn new(address: String, token: Option<&Path>) -> Result<Self> {
        let credentials = match token {
            None => oci::Credentials::Anonymous,
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
                oci::Credentials::Basic { user: super::people::ADMIN.to_owned(), password: text.trim().to_owned() }
            }
        };
        Ok(Self { address, credentials })
    }
}

impl Control {
    /// Hosts the project whose config repository stands at `url`. One that is here already is left as it is.
    pub async fn recreate(&self, url: &str) -> Result<String> {
        let name = |text: &[u8]| {
            let text = std::str::from_utf8(text).map_err(|_| format!("{FILE} is not UTF-8"))?;
            let file: model::config::ProjectFile = yaml::from_str(text, FILE).map_err(|error| error.to_string())?;
            Ok(Repository::config(&file.project))
        };
        let (config, created) = self.source.recreate(url, name, FILE).await?;
        let project = &config.project;
        if !created {
            return Ok(format!("project {project} is here already: nothing was taken from {url}"));
        }
        // Where sources are pushed to: a repository per component that a pin names.
        // What environments have in repositories of their own, the line of all of them has too.
        let line = self.source.head(&config, reconcile::LINE).await?;
        let main = self.source.head(&config, model::MAIN).await?;
        let head = line.or(main).context("main was just fetched")?;
        let revision = Revision { repository: config.clone(), commit: head };
        let snapshot = self.source.snapshot(&revision, "environments").await?;
        let pins = snapshot.files.keys().filter_map(|path| path.split_once('/')?.1.strip_suffix(".yaml"));
        let components: BTreeSet<model::Component> = pins.filter_map(|name| name.parse().ok()).collect();
        for component in &components {
            let repository = Repository { project: project.clone(), name: component.to_string() };
            self.source.create(&repository).await?;
        }
        self.reconciler.wake();
        let entries = self.source.journal(project).await?.len();
        let mut text = format!("project {project} from {url}: {entries} entries of history");
        if entries == 0 {
            text.push_str(
                " (refs/trimtab/journal is not there: what had been admitted is not known, and is judged anew)",
            );
        }
        for component in &components {
            text.push_str(&format!(
                "\n  sources of {component}: in its working copy, trimtab init && git push trimtab main"
            ));
        }
        text.push_str("\n  images that are not here: trimtab status names each, with the commands that bring it");
        Ok(text)
    }

    /// Fetches what components wait for, until the process ends.
    pub fn fetch_from(&self, old: OldRegistry) {
        let (reconciler, images) = (self.reconciler.clone(), self.images.clone());
        let Ok(mut changes) = reconciler.changes(None).map(StreamExt::boxed) else { return };
        let work = async move {
            loop {
                for image in reconciler.missing_images() {
                    if let Err(error) = fetch(&images, &old, &image).await {
                        tracing::warn!(%image, error = format!("{error:#}"), "the old registry does not give it");
                    }
                }
                match reconciler.missing_images().is_empty() {
                    true => drop(changes.next().await),
                    false => drop(tokio::time::timeout(RETRY, changes.next()).await),
                }
            }
        };
        let stop = self.shutdown.clone();
        tokio::spawn(async move { stop.run_until_cancelled(work).await });
    }
}

async fn fetch(images: &oci::Store, old: &OldRegistry, image: &model::ImageRef) -> Result<()> {
    let own: oci::Reference = image.to_string().parse()?;
    let there = oci::Reference { registry: old.address.clone(), ..own.clone() };
    images.pull(&there, &old.credentials, &|_| {}).await?;
    let digest = own.digest.clone().context("pins name digests")?;
    // First under its own name, then the foreign one goes.
    images.tag(&oci::Reference { digest: None, tag: None, ..own }, &digest)?;
    images.untag(&there)?;
    Ok(())
}
