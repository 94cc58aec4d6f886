//! `up --from`: a project out of its config repository.

use super::Control;
use anyhow::{Context, Result};
use futures::StreamExt;
use model::CommitId;
use model::config::ProjectFile;
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
    /// Hosts the project whose config repository stands at `url`, with the repositories of environments that lie beside it.
    /// A project that is here already is left as it is.
    pub async fn recreate(&self, url: &str) -> Result<String> {
        let incoming = self.source.take_in(url).await?;
        let text = incoming.file(FILE).await?;
        let text = std::str::from_utf8(&text).with_context(|| format!("{url}: {FILE} is not UTF-8"))?;
        let file: ProjectFile = yaml::from_str(text, FILE).with_context(|| url.to_owned())?;
        let project = &file.project;
        let config = Repository::config(project);
        if self.source.list().await?.contains(&config) {
            return Ok(format!("project {project} is here already: nothing was taken from {url}"));
        }
        let followed = incoming.message(reconcile::LINE).await.as_deref().map(reconcile::followed).unwrap_or_default();
        // Before the project's, which makes anybody look for them.
        let mut own = String::new();
        for environment in &file.own_repositories {
            let repository = Repository::of_environment(project, environment);
            let known = followed.get(&repository.name);
            own.push_str(&format!("\n  {}", self.take_in_beside(url, &repository, known).await?));
        }
        if !incoming.adopt(&config).await? {
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
        text.push_str(&own);
        for component in &components {
            text.push_str(&format!(
                "\n  sources of {component}: in its working copy, trimtab init && git push trimtab main"
            ));
        }
        text.push_str("\n  images that are not here: trimtab status names each, with the commands that bring it");
        Ok(text)
    }

    /// Takes in the repository of one environment, which lies beside the project's or nowhere. What the project's says of it
    /// (`known`: the commit that it had followed) is enough to go on without it. Answers what became of it, for people.
    async fn take_in_beside(&self, url: &str, repository: &Repository, known: Option<&CommitId>) -> Result<String> {
        let again = |why: String| match known {
            Some(_) => format!("{repository}: {why}; what stood there is made again from {} of {url}", reconcile::LINE),
            None => format!("{repository}: {why}; its environment is held until its main is pushed there"),
        };
        let Some(own) = beside(url, repository) else {
            return Ok(again(format!("where it lies does not follow from {url} (…/config.git)")));
        };
        let incoming = match self.source.take_in(&own).await {
            Ok(incoming) => incoming,
            Err(error) => {
                tracing::debug!(url = own, %error, "the repository of an environment");
                return Ok(again(format!("{own} cannot be read")));
            }
        };
        // An older copy would take back what has happened since.
        if let Some(known) = known
            && !incoming.builds_on(known).await
        {
            return Ok(again(format!("{own} is older than what {url} says of it")));
        }
        Ok(match incoming.adopt(repository).await? {
            true => format!("{repository} from {own}"),
            false => format!("{repository} is here already: nothing was taken from {own}"),
        })
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

/// The address of an environment's repository beside that of the project's: `…/config.git` → `…/config.prod.git`.
fn beside(url: &str, repository: &Repository) -> Option<String> {
    let place = url.trim_end_matches('/');
    let (place, ending) = place.strip_suffix(".git").map_or((place, ""), |place| (place, ".git"));
    let place = place.strip_suffix("config").filter(|place| place.is_empty() || place.ends_with(['/', ':']))?;
    Some(format!("{place}{}{ending}", repository.name))
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

#[cfg(test)]
mod tests {
    use super::beside;
    use model::flow::Repository;

    #[test]
    fn repositories_of_environments_lie_beside_that_of_their_project() {
        let live = Repository::of_environment(&"shop".parse().unwrap(), &"live".parse().unwrap());
        for (url, expect) in [
            ("http://127.0.0.1:7181/shop/config.git", Some("http://127.0.0.1:7181/shop/config.live.git")),
            ("/safe/config/", Some("/safe/config.live")),
            ("git@host:config.git", Some("git@host:config.live.git")),
            ("config", Some("config.live")),
            ("/safe/mirror", None),
            ("/safe/myconfig.git", None),
        ] {
            assert_eq!(beside(url, &live).as_deref(), expect, "{url}");
        }
    }
}
