//! A store that is gone while the repositories are there: what it held of builds is made again from what git keeps and what
//! the image store holds. Everything else of a project comes from its repositories anyway.

use crate::instance::Layout;
use anyhow::{Context, Result};
use jiff::Timestamp;
use model::flow::{Repository, Revision};
use model::ports::Repositories as _;
use model::records::{BuildPhase, BuildSpec, BuildStatus};
use model::{Build, BuildId, CommitId, ImageRef};
use source::Source;

/// Each build's commit is kept under this.
const KEPT: &str = "refs/trimtab/keep/builds/";
/// What the records of builds say that were made again.
const LOST: &str = "its record was lost with the store";

/// True if there are repositories, and no store beside them. To be asked before the store is opened.
pub fn is_needed(layout: &Layout) -> bool {
    let directories =
        |path: &std::path::Path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
    let mut repositories = directories(&layout.git()).flat_map(|project| directories(&project).collect::<Vec<_>>());
    !layout.store().exists() && repositories.any(|path| path.extension().is_some_and(|extension| extension == "git"))
}

/// What is said about it.
pub fn said(layout: &Layout, builds: usize) -> String {
    format!(
        "trimtab: {} was not there, and is made anew from the repositories: projects, pins and history are theirs, {builds} \
         builds got their records again from git and the images. What only it held is gone: requests that waited for a gate \
         (ask for them again), and objects that were applied by hand. A backup (trimtab restore) would have had them",
        layout.store().display()
    )
}

/// The builds that git knows of. One that has no image failed, unless its commit still waits to be built.
pub async fn builds(source: &Source, images: &oci::Store) -> Result<Vec<Build>> {
    let mut found = Vec::new();
    for repository in source.list().await?.into_iter().filter(|repository| !repository.is_config()) {
        // One that is damaged holds its project, and says so; it does not hold the others.
        let Ok(references) = source.references(&repository).await else { continue };
        let head =
            references.iter().find(|reference| reference.name == model::MAIN).map(|reference| reference.id.clone());
        for reference in &references {
            let id = reference.name.strip_prefix(KEPT).and_then(|name| name.parse::<BuildId>().ok());
            let (Some(id), Ok(commit)) = (id, reference.id.parse::<CommitId>()) else { continue };
            // What its chart was, only a pin says; its record is made from that.
            if is_chart(source, &repository, &commit).await {
                continue;
            }
            let image = image(images, &repository, &id)?;
            if image.is_none() && head.as_ref() == Some(&reference.id) {
                continue;
            }
            found.push(build(source, &repository, id, commit, image).await?);
        }
    }
    Ok(found)
}

/// True if a commit describes a component that is a chart.
async fn is_chart(source: &Source, repository: &Repository, commit: &CommitId) -> bool {
    let revision = Revision { repository: repository.clone(), commit: commit.clone() };
    let Ok(snapshot) = source.snapshot(&revision, ".").await else { return false };
    let Some(Ok(text)) = snapshot.text("trimtab.yaml") else { return false };
    yaml::from_str::<model::ComponentFile>(text, "trimtab.yaml").is_ok_and(|file| file.chart.is_some())
}

fn image(images: &oci::Store, repository: &Repository, id: &BuildId) -> Result<Option<ImageRef>> {
    let (project, component) = (&repository.project, &id.component);
    let name = format!("{}/{project}/{component}:{}", model::REGISTRY, id.number);
    match images.resolve(&name.parse().with_context(|| format!("the image of {id}"))?) {
        Ok(digest) => Ok(Some(ImageRef::recorded(project, component, &digest.to_string().parse()?))),
        Err(oci::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("looking for the image of {id}")),
    }
}

async fn build(
    source: &Source,
    repository: &Repository,
    id: BuildId,
    commit: CommitId,
    image: Option<ImageRef>,
) -> Result<Build> {
    let log = source.log(repository, &commit, None, 1).await.with_context(|| format!("reading {repository}"))?;
    let (author, subject, at) =
        log.into_iter().next().map_or_else(Default::default, |commit| (commit.author, commit.subject, Some(commit.at)));
    let at = at.unwrap_or(Timestamp::UNIX_EPOCH);
    let (phase, message) = match image {
        Some(_) => (BuildPhase::Succeeded, format!("{LOST}; the image is here")),
        None => (BuildPhase::Failed, format!("{LOST}, and no image is here that it made")),
    };
    Ok(Build {
        spec: BuildSpec {
            project: repository.project.clone(),
            build: id,
            repository: repository.clone(),
            commit,
            pushed_by: author,
            message: subject,
            created: at,
            chart: None,
        },
        status: BuildStatus { phase, image, message, finished: Some(at), ..BuildStatus::default() },
    })
}
