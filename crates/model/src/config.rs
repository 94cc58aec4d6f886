//! What stands in repositories: the shapes of `trimtab.yaml`, `project.yaml`,
//! `environments/<env>.yaml` and of a pin. Unknown fields are errors.

use crate::chart::{ChartPin, ChartRule};
use crate::names::{
    BuildId, CommitId, Component, DataPlaneName, Domain, Environment, Group, ImageRef, NameError, Project,
    RegistryHost, UserName,
};
pub use crate::people::Membership;
use crate::release::Version;
pub use crate::rules::{Approvals, ChangeRef, OnFailure, PromotionRule, Requires, Seconds, Strategy};
use crate::settings::Use;
pub use crate::trust::{Keys, Verify};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `project.yaml` of a config repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProjectFile {
    /// The project's name.
    pub project: Project,
    /// Environments in the order in which people see them.
    pub environments: Vec<Environment>,
    /// Those whose file and pins stand in a config repository of their own, `config.<environment>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_repositories: Vec<Environment>,
    /// Environments that take the same configuration where they say nothing of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<Group, Vec<Environment>>,
    /// What people are here, besides what an administrator made them: `alice: [developer]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<UserName, Vec<Membership>>,
    /// Whose signatures environments ask for that say nothing of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// Hosts from which manifests may take what lies elsewhere, over HTTP and without credentials; none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remotes: Vec<String>,
}

/// `environments/<env>.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EnvironmentFile {
    /// Shown with care; later the default of stricter rules.
    #[serde(skip_serializing_if = "is_default")]
    pub production: bool,
    /// Nothing moves and nothing is applied while this is true. Wins over everything.
    #[serde(skip_serializing_if = "is_default")]
    pub suspend: bool,
    /// Overlays, configuration and keys of secrets that are not there for this environment are those of that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<Environment>,
    /// Public components have their hosts under it; `<environment>.<project>.localhost` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// Where its workloads run: a file in `dataplanes/`, or `embedded`, which is the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_plane: Option<DataPlaneName>,
    /// How people change it.
    #[serde(skip_serializing_if = "is_default")]
    pub changes: Changes,
    /// The release that it runs; pin files beside override it. Absent: the pin files are all there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<Version>,
    /// How builds get here.
    #[serde(skip_serializing_if = "is_default")]
    pub promotion: PromotionRule,
    /// Whose signatures it asks for; absent: what the project says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// How drift is treated.
    #[serde(skip_serializing_if = "is_default")]
    pub sync: SyncRule,
    /// What components may bring along here that reaches beyond their namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allowance>,
    /// What differs here, per component.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<Component, Override>,
}

/// How people change an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Changes {
    /// By commits on main: pushes and commands make them.
    #[default]
    Direct,
    /// By Changes that others have looked at. Rollbacks, and what Trimtab moves by itself, are commits nevertheless.
    Reviewed,
}

impl EnvironmentFile {
    /// True if people change it by Changes only.
    pub fn is_reviewed(&self) -> bool {
        self.changes == Changes::Reviewed
    }

    /// The data plane, unless it is the embedded one.
    pub fn remote(&self) -> Option<&DataPlaneName> {
        self.data_plane.as_ref().filter(|name| !name.is_embedded())
    }
}

/// `dataplanes/<name>.yaml`: another cluster. The credential is never in git, each instance keeps its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DataPlaneFile {
    /// Context of the kubeconfig; its current one if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// How its nodes reach the registry of this instance; the address of the control listener if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryHost>,
    /// Addresses of its Pods can be reached from here and belong to nothing else here: the gateway serves its public
    /// endpoints.
    #[serde(skip_serializing_if = "is_default")]
    pub reachable: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What an environment lets a component's own manifests have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Allowance {
    /// Objects of the whole cluster.
    ClusterScoped,
    /// Volumes that are directories of the machine.
    HostPath,
    /// Privileged containers, and the machine's own namespaces.
    Privileged,
}

/// How drift in an environment is treated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SyncRule {
    /// Repair objects that were changed or deleted by others.
    pub self_heal: bool,
    /// Delete objects that are no longer described.
    pub prune: bool,
}

impl Default for SyncRule {
    fn default() -> Self {
        Self { self_heal: true, prune: true }
    }
}

/// What differs for one component in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Override {
    /// Instead of the component's own number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Added to, or replacing, the component's own variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// `environments/<env>/<component>.yaml`: which build runs where. Written by Trimtab, or by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, try_from = "PinFile")]
pub struct Pin {
    /// `web-42`.
    pub build: BuildId,
    /// Application commit; what the application repository describes is read here. Of a chart that is described in the
    /// config repository alone, a commit of that.
    pub source: CommitId,
    /// What runs, by digest; absent if a chart brings all its images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// The chart, if the component is one. A pin names an image, a chart or both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartPin>,
    /// Commit of the config repository; what the config repository describes is read here.
    pub config: CommitId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PinFile {
    build: BuildId,
    source: CommitId,
    image: Option<ImageRef>,
    chart: Option<ChartPin>,
    config: CommitId,
}

impl TryFrom<PinFile> for Pin {
    type Error = NameError;
    fn try_from(PinFile { build, source, image, chart, config }: PinFile) -> Result<Self, NameError> {
        if image.is_none() && chart.is_none() {
            return Err(NameError("missing field `image` (or `chart`): a pin names what runs".into()));
        }
        Ok(Self { build, source, image, chart, config })
    }
}

/// `trimtab.yaml` in an application repository, or `components/<name>.yaml` in the config repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ComponentFile {
    /// The project that it belongs to.
    pub project: Project,
    /// Its name there.
    pub component: Component,
    /// What it is.
    #[serde(rename = "type", default)]
    pub kind: ComponentType,
    /// Where it lies in its repository; a push that does not touch this path builds nothing.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    pub path: String,
    /// How the image is made. Absent together with `image`: a Dockerfile in `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildRule>,
    /// An image made elsewhere, instead of a build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Objects that the component describes itself, instead of `workload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<ManifestsRule>,
    /// A chart that describes its objects, instead of `workload`. An image is built beside it if `build`, `image` or
    /// `chart.image` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartRule>,
    /// How it runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub workload: Workload,
    /// What it listens on, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, Endpoint>,
    /// What it cannot run without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
}

impl ComponentFile {
    /// True if a build of it makes or takes an image.
    pub fn has_image(&self) -> bool {
        let asked = self.build.is_some() || self.image.is_some();
        asked || self.chart.as_ref().is_none_or(|chart| chart.image.is_some())
    }
}

/// Something that a component cannot run without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependency {
    /// Absent: the same project. Only then it is rolled out first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Project>,
    /// Which component.
    pub component: Component,
}

/// True if a path of the config repository belongs to what components are given: ConfigGroups, what describes components,
/// lists of charts and values.
pub fn configures(path: &str) -> bool {
    ["config/", "components/", "charts/"].iter().any(|directory| path.starts_with(directory))
}

fn root() -> String {
    ".".to_owned()
}
fn is_root(path: &String) -> bool {
    path == "."
}

/// Where a component describes its own objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManifestsRule {
    /// Directory below the component's path: YAML files, or a kustomization, or `base` and `overlays/<environment>`.
    pub path: String,
}

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum ComponentType {
    /// Runs all the time and answers requests.
    #[default]
    Service,
    /// A service that browsers talk to.
    WebApp,
    /// Runs all the time and answers nobody.
    Worker,
    /// Runs once behind each change of its environment and ends: with 0 if all is well there.
    TestRunner,
}

/// How the image of a component is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BuildRule {
    /// Relative to the context.
    pub dockerfile: String,
    /// Directory that COPY reads from, relative to the component's path.
    pub context: String,
    /// Stage to stop at; the last one if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Values of ARG.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// The whole build is stopped after this.
    pub timeout_seconds: u64,
}

impl Default for BuildRule {
    fn default() -> Self {
        Self {
            dockerfile: "Dockerfile".into(),
            context: ".".into(),
            target: None,
            args: BTreeMap::new(),
            timeout_seconds: 1800,
        }
    }
}

/// How a component runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Workload {
    /// Number of Pods; 1 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Instead of the image's ENTRYPOINT.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Instead of the image's CMD.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// ConfigGroups (`config/<name>.yaml` of the config repository) whose data become variables, the later ones winning,
    /// and whose files are mounted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config_groups: Vec<Use>,
    /// Secrets (`secrets/<name>.yaml` of the config repository) as variables, or as files if they are mounted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Use>,
    /// Limits, as Kubernetes writes quantities.
    #[serde(skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// From the decision to stop a Pod to SIGKILL; 30 if absent. For two thirds of it a Pod that leaves is not told to
    /// stop while a request or an open stream (a WebSocket) is under way to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_seconds: Option<u32>,
    /// When it is ready; absent: as soon as the first endpoint's port accepts connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Probe>,
}

/// Limits of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// `500m`, `2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// `64Mi`, `1Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

/// How readiness is found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    /// HTTP GET of this path on the first endpoint's port; absent: a TCP connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Something that a component listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Port of the container.
    pub port: u16,
    /// Who may reach it.
    #[serde(default)]
    pub visibility: Visibility,
}

/// Who may reach an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Visibility {
    /// Components of the same project and environment.
    #[default]
    Project,
    /// Everything in the cluster.
    Internal,
    /// Everybody, through the gateway.
    Public,
}
