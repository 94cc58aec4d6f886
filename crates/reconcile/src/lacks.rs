//! What a pin names and is not here: the component is held, with the command that brings it. Nothing is rebuilt in silence.

use crate::{Inner, Reconciler, project};
use model::flow::{Health, Observation, Repository};
use model::ports::PortError;
use model::records::{BuildPhase, BuildSpec, BuildStatus, Kind};
use model::views::ComponentStatus;
use model::{Build, Component, LABEL_COMPONENT, Pin};
use promote::Facts;
use std::collections::BTreeSet;

/// The image is not in the store.
pub const IMAGE: &str = "ImageMissing";
/// The commit that describes the component is not in its repository.
pub const SOURCE: &str = "SourceMissing";

/// The archive of the chart is not here, and not to be had.
pub const CHART: &str = "ChartMissing";

/// Why a component cannot become what was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// [`IMAGE`], [`SOURCE`] or [`CHART`].
    pub reason: &'static str,
    /// With the commands that help.
    pub message: String,
}

impl Lack {
    /// Says so in a component's status.
    pub fn show(&self, status: &mut ComponentStatus) {
        status.reason = self.reason.to_owned();
        status.message = self.message.clone();
    }

    /// Of a component of which nothing else can be said.
    pub fn status(&self, pin: &Pin) -> ComponentStatus {
        ComponentStatus {
            component: pin.build.component.clone(),
            build: pin.build.clone(),
            chart: pin.chart.clone(),
            health: Health::Missing,
            reason: self.reason.to_owned(),
            message: self.message.clone(),
            url: None,
            drifted: false,
        }
    }
}

impl Reconciler {
    /// Makes the records of builds that are known from elsewhere. To be called before [`Reconciler::run`].
    pub async fn adopt(&self, builds: &[Build]) -> Result<(), PortError> {
        let records = &self.0.ports.records;
        for build in builds {
            records.open(&build.spec.project).await?;
            records.create(Kind::Build, &crate::projections::build(build)).await?;
        }
        Ok(())
    }
}

impl Inner {
    /// Whether the pin's image is here.
    pub async fn image_lack(&self, pin: &Pin) -> Result<Option<Lack>, PortError> {
        let Some(image) = &pin.image else { return Ok(None) };
        if self.ports.builder.has(image).await? {
            return Ok(None);
        }
        let (name, digest) = (image.name(), image.digest());
        let path = name.split_once('/').map_or(name, |(_, path)| path);
        let here = self.settings.control;
        let message = format!(
            "the image of {build} is not here ({digest}), and it is not built again by itself. Any of these brings it: \
             skopeo copy --preserve-digests docker://OLD/{path}@{digest} docker://{here}/{path}:{number}; \
             trimtab image import FILE; trimtab up --registry OLD; a backup (trimtab restore)",
            build = pin.build,
            number = pin.build.number,
        );
        Ok(Some(Lack { reason: IMAGE, message }))
    }

    /// The pin's commit is not here.
    pub fn source_lack(&self, pin: &Pin, repository: &Repository, error: &str) -> Lack {
        let here = self.settings.control;
        let message = format!(
            "commit {commit} of {repository}, which describes {build}, is not here. In the working copy of {component}: \
             trimtab init && git push trimtab main (http://{here}/{repository}.git). {error}",
            commit = pin.source.short(),
            build = pin.build,
            component = pin.build.component,
        );
        Lack { reason: SOURCE, message }
    }

    /// Builds that admitted pins name and no record holds: this project was made elsewhere. Their records are made from the
    /// pins, so that nothing is built twice and rollbacks know their images. True if there were any.
    pub async fn adopt_builds(&self, handle: &project::Handle, facts: &Facts) -> Result<bool, PortError> {
        let mut adopted = BTreeSet::new();
        let admitted = facts.journal.iter().filter(|entry| entry.kind == model::journal::EntryKind::Admitted);
        for entry in admitted {
            let (Some(commit), Some(environment)) = (&entry.commit, &entry.environment) else { continue };
            let Some(Ok(state)) = facts.state(commit, environment) else { continue };
            for pin in state.pins.values() {
                if facts.build(&pin.build).is_some() || !adopted.insert(pin.build.clone()) {
                    continue;
                }
                let build = self.adopted(handle, pin, entry).await?;
                self.ports.records.create(Kind::Build, &crate::projections::build(&build)).await?;
            }
        }
        Ok(!adopted.is_empty())
    }

    async fn adopted(
        &self,
        handle: &project::Handle,
        pin: &Pin,
        entry: &model::journal::Entry,
    ) -> Result<Build, PortError> {
        // A repository has its component's name unless somebody named it otherwise: then it keeps the build's commit.
        let mut repository = Repository { project: handle.name.clone(), name: pin.build.component.to_string() };
        let kept = format!("refs/trimtab/keep/builds/{}", pin.build);
        for other in self.ports.repositories.list().await? {
            let ours = other.project == handle.name && !other.is_config();
            if ours
                && self.ports.repositories.head(&other, &kept).await.is_ok_and(|at| at.as_ref() == Some(&pin.source))
            {
                repository = other;
            }
        }
        // A chart of a repository may be described in the config repository alone.
        if pin.chart.is_some()
            && let Some(head) = self.main(handle).await?
            && self.ports.repositories.is_ancestor(&handle.config, &pin.source, &head).await.unwrap_or(false)
        {
            repository = handle.config.clone();
        }
        Ok(Build {
            spec: BuildSpec {
                project: handle.name.clone(),
                build: pin.build.clone(),
                repository,
                commit: pin.source.clone(),
                pushed_by: entry.actor.clone(),
                message: String::new(),
                created: entry.at,
                chart: None,
            },
            status: BuildStatus {
                phase: BuildPhase::Succeeded,
                image: pin.image.clone(),
                chart: pin.chart.clone(),
                message: format!("built elsewhere; taken from the pin of {}", entry.summary),
                started: None,
                finished: Some(entry.at),
            },
        })
    }
}

/// True if the component waits for something that is not here.
pub fn waits(status: &ComponentStatus) -> bool {
    [IMAGE, SOURCE, CHART].contains(&status.reason.as_str())
}

/// What stands, without what belongs to components that are held: a plan neither changes nor prunes that.
pub fn without(observation: &Observation, held: &BTreeSet<Component>) -> Observation {
    let of_held = |object: &serde_json::Value| {
        let labels = object.pointer("/metadata/labels");
        let component = labels.and_then(|labels| labels.get(LABEL_COMPONENT)).and_then(|name| name.as_str());
        component.is_some_and(|component| held.iter().any(|name| name.as_str() == component))
    };
    let objects = observation.objects.iter().filter(|(_, object)| !of_held(object));
    Observation { objects: objects.map(|(id, object)| (id.clone(), object.clone())).collect() }
}
