//! Charts of components: what a build takes or packs, the archive behind a pin, and newer versions in repositories.

mod following;

pub use following::watch;

use crate::Inner;
use crate::config::{Config, listed};
use crate::project::highest;
use model::chart::{ChartOrigin, ChartPin, ChartRule, ChartSource, ChartWish};
use model::config::ComponentFile;
use model::flow::{Repository, Revision, Snapshot};
use model::ports::{BuildFailure, ChartAccess, Lines, PortError};
use model::records::{BuildPhase, BuildSpec, BuildStatus};
use model::settings::DEFAULT;
use model::{Build, BuildId, Digest, Pin};
use promote::Facts;
use render::helm::{self, Chart, Files};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Charts that are kept parsed.
const PARSED_MAX: usize = 64;
/// A repository that does not answer is asked so often while a build waits.
const TRIES: u32 = 3;
/// And after so long again, the double each time.
const RETRY: Duration = Duration::from_secs(1);
/// An archive that could not be brought is asked for again after this.
pub(crate) const AGAIN: Duration = Duration::from_secs(30);
/// Repositories are asked for newer versions so often.
const LOOK: Duration = Duration::from_secs(600);
/// And no more often than this.
const LOOK_MIN: Duration = Duration::from_secs(5);
/// The secret with the key of calls that say that there is something new, and the key.
const CALLS: (&str, &str) = ("webhooks", "charts");
/// Names that others may take at the same time.
const NAMES_MAX: u64 = 100;
/// Versions that a message lists.
const LISTED: usize = 5;

/// Charts that were read, by the digests of their archives, and those that could not be brought.
#[derive(Default)]
pub struct Parsed {
    charts: Mutex<HashMap<Digest, Arc<Chart>>>,
    missing: Mutex<HashMap<Digest, (Instant, String)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Parsed {
    fn get(&self, digest: &Digest) -> Option<Arc<Chart>> {
        locked(&self.charts).get(digest).cloned()
    }

    fn keep(&self, digest: &Digest, chart: Chart) -> Arc<Chart> {
        let (chart, mut charts) = (Arc::new(chart), locked(&self.charts));
        if charts.len() >= PARSED_MAX {
            charts.clear();
        }
        charts.insert(digest.clone(), chart.clone());
        locked(&self.missing).remove(digest);
        chart
    }

    fn known_missing(&self, digest: &Digest) -> Option<String> {
        locked(&self.missing).get(digest).filter(|(at, _)| at.elapsed() < AGAIN).map(|(_, why)| why.clone())
    }

    fn miss(&self, digest: &Digest, why: String) -> String {
        let mut missing = locked(&self.missing);
        if missing.len() >= PARSED_MAX {
            missing.clear();
        }
        missing.insert(digest.clone(), (Instant::now(), why.clone()));
        why
    }
}

/// What the repository of a component's chart asks for: in the open for a moment. `head` holds the secrets.
///
/// # Errors
/// The outer one: the keys cannot be read now. The inner one, for people.
fn access(inner: &Inner, rule: &ChartRule, head: &Config) -> Result<Result<ChartAccess, String>, PortError> {
    let mut access = ChartAccess::default();
    let unsigned = "chart.verify: there are no keys: name a secret with `keyring` in `chart.credentials`";
    let Some(name) = &rule.credentials else {
        return Ok(if rule.verify { Err(unsigned.to_owned()) } else { Ok(access) });
    };
    let secret = match head.secrets.get(name) {
        Some(Ok(secret)) => secret,
        Some(Err(problems)) => return Ok(Err(problems.join("; "))),
        None => {
            return Ok(Err(format!(
                "chart.credentials: there is no secrets/{name}.yaml: trimtab secret set {name} username"
            )));
        }
    };
    let mut values: HashMap<&str, Vec<u8>> = HashMap::new();
    for key in ["username", "password", "ca", "keyring"] {
        let Some(value) = secret.keys.get(key).and_then(|places| places.get(DEFAULT)) else { continue };
        match inner.ports.secrets.open(&value.sealed) {
            Ok(plain) => drop(values.insert(key, plain.expose().to_vec())),
            Err(PortError::Terminal(why)) => {
                return Ok(Err(value
                    .problem(key, DEFAULT, format!("{why}: trimtab secret set {name} {key}"))
                    .to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    let mut text = |key: &str| values.remove(key).map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned());
    access.user = match (text("username"), text("password")) {
        (Some(user), password) => Some((user, password.unwrap_or_default())),
        (None, Some(_)) => return Ok(Err(format!("secrets/{name}.yaml: password stands there without username"))),
        (None, None) => None,
    };
    (access.authority, access.keyring) = (values.remove("ca"), values.remove("keyring"));
    if rule.verify && access.keyring.is_none() {
        return Ok(Err(unsigned.to_owned()));
    }
    Ok(Ok(access))
}

/// A component with a chart, where it is described, and what its charts are fetched with.
struct Origin<'a> {
    file: &'a ComponentFile,
    rule: &'a ChartRule,
    revision: &'a Revision,
    access: ChartAccess,
}

impl Inner {
    fn origin<'a>(
        &self,
        file: &'a ComponentFile,
        revision: &'a Revision,
        head: &Config,
    ) -> Result<Result<Option<Origin<'a>>, String>, PortError> {
        let Some(rule) = &file.chart else { return Ok(Ok(None)) };
        Ok(access(self, rule, head)?.map(|access| Some(Origin { file, rule, revision, access })))
    }

    /// The chart of a build: taken from its repository, or packed from its own. `None` if the component has none.
    pub(crate) async fn chart(
        &self,
        spec: &BuildSpec,
        file: &ComponentFile,
        head: &Config,
        lines: &dyn Lines,
    ) -> Result<Option<ChartPin>, BuildFailure> {
        let failure = |message: String| BuildFailure { message };
        let revision = Revision { repository: spec.repository.clone(), commit: spec.commit.clone() };
        let origin = self.origin(file, &revision, head).map_err(|e| failure(e.to_string()))?.map_err(failure)?;
        let Some(origin) = origin else { return Ok(None) };
        let pin = match &origin.rule.origin {
            ChartOrigin::Repository(source) => {
                let asked = spec.chart.as_ref().and_then(|wish| wish.version.clone());
                let source = ChartSource { version: asked.unwrap_or_else(|| source.version.clone()), ..source.clone() };
                let (pin, _) = self.taken(&source, &origin.access, lines).await.map_err(failure)?;
                pin
            }
            ChartOrigin::Path(path) => self.packed(&origin, path, lines).await.map_err(failure)?,
        };
        lines.line(&format!("chart {pin} {}", pin.digest));
        Ok(Some(pin))
    }

    /// The chart that a build of this commit would have.
    ///
    /// # Errors
    /// For people.
    pub(crate) async fn proposed_chart(
        &self,
        file: &ComponentFile,
        revision: &Revision,
        head: &Config,
    ) -> Result<Option<ChartPin>, String> {
        let origin = self.origin(file, revision, head).map_err(|error| error.to_string())??;
        let Some(origin) = origin else { return Ok(None) };
        match &origin.rule.origin {
            ChartOrigin::Repository(source) => Ok(Some(self.taken(source, &origin.access, &Silent).await?.0)),
            ChartOrigin::Path(path) => Ok(Some(self.packed(&origin, path, &Silent).await?)),
        }
    }

    /// The newest version that a source allows, and its archive, read.
    async fn taken(
        &self,
        source: &ChartSource,
        access: &ChartAccess,
        lines: &dyn Lines,
    ) -> Result<(ChartPin, Arc<[u8]>), String> {
        let charts = &self.ports.charts;
        let version = match helm::is_exact(&source.version) {
            // A registry need not be able to list what it has.
            true => source.version.clone(),
            false => {
                let versions = patiently(lines, || charts.versions(source, access)).await?;
                choose(source, &versions)?
            }
        };
        let digest = patiently(lines, || charts.fetch(source, &version, access)).await?;
        let archive = charts.archive(&digest).await.map_err(|error| error.to_string())?;
        let archive = archive.ok_or_else(|| format!("{source}: its archive is gone already"))?;
        let chart = Chart::unpack(&archive).map_err(|error| format!("{source}: {error}"))?;
        if chart.name() != source.name {
            return Err(format!("{source}: the archive is that of a chart {}", chart.name()));
        }
        if chart.version() != version
            && (helm::newer(chart.version(), &version) || helm::newer(&version, chart.version()))
        {
            return Err(format!("{source}: {version} is said to be there, and the archive is {}", chart.version()));
        }
        let pin =
            ChartPin { name: chart.name().to_owned(), version: chart.version().to_owned(), digest: digest.clone() };
        self.parsed.keep(&digest, chart);
        Ok((pin, archive))
    }

    /// The chart in a component's own repository, with all that it needs from elsewhere.
    async fn packed(&self, origin: &Origin<'_>, path: &str, lines: &dyn Lines) -> Result<ChartPin, String> {
        let whole = self.ports.repositories.snapshot(origin.revision, ".").await.map_err(|error| error.to_string())?;
        let base = origin.file.path.as_str();
        let files = render::chart_files(&whole, base, path).map_err(|problem| format!("chart.path: {problem}"))?;
        let name = origin.file.component.as_str();
        let mut files = helm::directory(files, name).map_err(|error| format!("chart.path: {path}: {error}"))?;
        let directory = Path::new(base).join(path).to_string_lossy().into_owned();
        for need in helm::needs(&files).map_err(|error| format!("chart.path: {path}: {error}"))? {
            if let Some(beside) = need.repository.strip_prefix("file://") {
                add_directory(&mut files, &whole, &directory, beside, &need.name)?;
                continue;
            }
            let version = if need.version.is_empty() { "*".to_owned() } else { need.version };
            let source = ChartSource { repository: need.repository, name: need.name, version };
            source.check().map_err(|error| format!("dependency {}: {error}", source.name))?;
            let (pin, archive) = self.taken(&source, &origin.access, lines).await?;
            lines.line(&format!("with {pin} {} from {}", pin.digest, source.repository));
            files.insert(format!("charts/{}-{}.tgz", pin.name, pin.version), archive);
        }
        let (chart, archive) = helm::pack(&files).map_err(|error| format!("chart.path: {path}: {error}"))?;
        let (name, version) = (chart.name().to_owned(), chart.version().to_owned());
        let digest = self.ports.charts.keep(archive).await.map_err(|error| error.to_string())?;
        self.parsed.keep(&digest, chart);
        Ok(ChartPin { name, version, digest })
    }

    /// The chart that a pin names; if its archive is not here, it is taken or packed again and must be the same.
    ///
    /// # Errors
    /// The outer one: it cannot be read now. The inner one, for people: it is not to be had.
    pub(crate) async fn chart_of(
        &self,
        pin: &Pin,
        file: &ComponentFile,
        revision: &Revision,
        head: &Config,
    ) -> Result<Result<Arc<Chart>, String>, PortError> {
        let Some(named) = &pin.chart else {
            return Ok(Err(format!("{}: the component is a chart, and the pin names none", pin.build)));
        };
        if let Some(chart) = self.parsed.get(&named.digest) {
            return Ok(Ok(chart));
        }
        if let Some(archive) = self.ports.charts.archive(&named.digest).await? {
            return Ok(match Chart::unpack(&archive) {
                Ok(chart) => Ok(self.parsed.keep(&named.digest, chart)),
                Err(error) => Err(format!("{named}: {error}")),
            });
        }
        if let Some(why) = self.parsed.known_missing(&named.digest) {
            return Ok(Err(why));
        }
        let again = match self.origin(file, revision, head)? {
            Err(problem) => Err(problem),
            Ok(None) => Err("the component is no chart any more".to_owned()),
            Ok(Some(origin)) => match &origin.rule.origin {
                ChartOrigin::Path(path) => self.packed(&origin, path, &Silent).await,
                ChartOrigin::Repository(source) => {
                    let source = ChartSource { version: named.version.clone(), ..source.clone() };
                    self.taken(&source, &origin.access, &Silent).await.map(|(pin, _)| pin)
                }
            },
        };
        let why = match again {
            Ok(found) if found.digest == named.digest => match self.parsed.get(&named.digest) {
                Some(chart) => return Ok(Ok(chart)),
                None => "it cannot be kept".to_owned(),
            },
            Ok(found) => format!("what is there now is another one, {}", found.digest),
            Err(why) => why,
        };
        let why = format!("the chart {named} of {} is not here ({}): {why}", pin.build, named.digest);
        Ok(Err(self.parsed.miss(&named.digest, why)))
    }
}

/// Nobody reads it.
struct Silent;

impl Lines for Silent {
    fn line(&self, _: &str) -> bool {
        false
    }
}

/// A chart beside the one that names it, with `file://`.
fn add_directory(files: &mut Files, whole: &Snapshot, base: &str, path: &str, name: &str) -> Result<(), String> {
    let found = render::chart_files(whole, base, path).map_err(|problem| format!("dependency {name}: {problem}"))?;
    files.extend(found.into_iter().map(|(path, bytes)| (format!("charts/{name}/{path}"), bytes)));
    Ok(())
}

/// The newest version that a source allows.
fn choose(source: &ChartSource, versions: &[String]) -> Result<String, String> {
    let newest =
        helm::newest(&source.version, versions.iter().map(String::as_str)).map_err(|error| error.to_string())?;
    newest.map(str::to_owned).ok_or_else(|| {
        let listed: Vec<&str> = versions.iter().take(LISTED).map(String::as_str).collect();
        format!("{source}: there is no such version; there is: {}", listed.join(", "))
    })
}

/// Asks again if nobody answers.
async fn patiently<T, F: Future<Output = Result<T, PortError>>>(
    lines: &dyn Lines,
    ask: impl Fn() -> F,
) -> Result<T, String> {
    for attempt in 1..TRIES {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(PortError::Terminal(why)) => return Err(why),
            Err(PortError::Transient(why)) => {
                lines.line(&format!("{why}; it is asked again"));
                tokio::time::sleep(RETRY * 2_u32.pow(attempt - 1)).await;
            }
        }
    }
    ask().await.map_err(|error| error.to_string())
}

/// Components of the config repository that are charts of repositories and have no build of what they say now.
pub fn unbuilt<'a>(
    facts: &Facts,
    config: &'a Config,
    hosted: &BTreeSet<String>,
) -> Vec<(&'a ComponentFile, ChartWish)> {
    let wanted = |file: &'a ComponentFile| {
        let source = file.chart.as_ref()?.source().filter(|_| !hosted.contains(file.component.as_str()))?;
        let of_it = |build: &&Build| build.spec.build.component == file.component;
        let last = facts.builds.iter().filter(of_it).max_by_key(|build| build.spec.build.number);
        let same = last.is_some_and(|last| match (&last.spec.chart, &last.status.chart) {
            // What failed is tried again once something that it depends on was changed.
            (Some(wish), _) => wish.source == *source && !(is_failed(last) && is_touched(facts, file, last)),
            // Its record was made from a pin.
            (None, Some(pin)) => {
                pin.name == source.name
                    && helm::newest(&source.version, [pin.version.as_str()]).is_ok_and(|found| found.is_some())
            }
            (None, None) => false,
        });
        (!same).then(|| (file, ChartWish { source: source.clone(), version: None }))
    };
    config.components.values().flatten().filter_map(wanted).collect()
}

fn is_failed(build: &Build) -> bool {
    build.status.phase == BuildPhase::Failed
}

/// True if somebody changed a component's description, or what its repository asks for, since a build of it.
fn is_touched(facts: &Facts, file: &ComponentFile, build: &Build) -> bool {
    let credentials = file.chart.as_ref().and_then(|rule| rule.credentials.as_ref());
    let paths = [Some(listed::place(file)), credentials.map(|name| format!("secrets/{name}.yaml"))];
    let newer = facts.log.iter().take_while(|commit| commit.id != build.spec.commit);
    newer.flat_map(|commit| &commit.paths).any(|path| paths.iter().flatten().any(|one| one == path))
}

/// The record of a build of a chart that is described in the config repository.
pub fn build_of(facts: &Facts, file: &ComponentFile, wish: ChartWish, now: jiff::Timestamp) -> Build {
    let path = listed::place(file);
    let touched = facts.log.iter().find(|commit| commit.paths.contains(&path)).or(facts.log.first());
    let message = match &wish.version {
        Some(version) => format!("{} {version} from {}", wish.source.name, wish.source.repository),
        None => wish.source.to_string(),
    };
    let spec = BuildSpec {
        project: facts.project.clone(),
        build: BuildId { component: file.component.clone(), number: highest(facts, file) + 1 },
        repository: Repository::config(&facts.project),
        commit: facts.head.clone(),
        pushed_by: touched.map(|commit| commit.author.clone()).unwrap_or_default(),
        message,
        created: now,
        chart: Some(wish),
    };
    Build { spec, status: BuildStatus { phase: BuildPhase::Queued, ..BuildStatus::default() } }
}
