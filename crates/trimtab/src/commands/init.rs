use super::Common;
use anyhow::{Context, Result, bail};
use model::chart::{ChartOrigin, ChartRule};
use model::config::{BuildRule, ComponentFile, ComponentType, Endpoint, Visibility, Workload};
use model::names::NAME_BYTES_MAX;
use model::{Component, Project};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Make the directory a component: repository, trimtab.yaml, project, remote
///
/// Reads the Dockerfile, or finds a chart, writes and commits trimtab.yaml, creates the project with the environments dev (Auto),
/// staging and prod (Manual) if there is none of that name, adds the remote `trimtab`, and prints the push command.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The directory
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// Name of the component [default: the directory's]
    #[arg(long)]
    component: Option<Component>,
    /// Port that it listens on [default: EXPOSE of the Dockerfile, else 8080]
    #[arg(long)]
    port: Option<u16>,
}

pub async fn run(common: &Common, args: InitArgs) -> Result<ExitCode> {
    let root = args.directory.canonicalize().with_context(|| format!("{}", args.directory.display()))?;
    let file = root.join("trimtab.yaml");
    let component = match std::fs::read_to_string(&file) {
        Ok(text) => yaml::from_str::<ComponentFile>(&text, "trimtab.yaml")?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => describe(common, &args, &root)?,
        Err(e) => return Err(e).with_context(|| format!("reading {}", file.display())),
    };
    if let Some(project) = common.project.as_ref().filter(|p| **p != component.project) {
        bail!("trimtab.yaml says project {}, --project says {project}: change one of them", component.project);
    }

    // The instance first: without it nothing on disk is touched.
    let api = common.api()?;
    let wish = json!({ "project": component.project, "component": component.component });
    let done = api.post("/projects", &wish).await?;
    let text = |key: &str| done[key].as_str().unwrap_or_default().to_owned();

    let repository = Repository { root: root.clone() };
    let fresh = repository.ensure()?;
    if !file.exists() {
        std::fs::write(&file, to_text(&component)?).with_context(|| format!("writing {}", file.display()))?;
    }
    repository
        .commit(if fresh { "." } else { "trimtab.yaml" }, &format!("Describe {} for Trimtab", component.component))?;
    repository.remote(&text("repository"), common)?;

    let push = match repository.branch()?.as_str() {
        "main" => "git push trimtab main".to_owned(),
        other => format!("git push trimtab {other}:main"),
    };
    let answer = json!({ "project": component.project, "component": component.component, "repository": text("repository"), "config": text("config"), "push": push });
    common.output.print(&answer, |_| {
        let (made, policies) = match done["created"] == true {
            true => ("created with dev (Auto), staging and prod (Manual)", "no policies yet: trimtab policy add\n"),
            false => ("joined", ""),
        };
        let config = text("config");
        format!("project {} {made}; its config repository: {config}\n{policies}now: {push}\n", component.project)
    });
    Ok(ExitCode::SUCCESS)
}

/// What the directory says of itself.
fn describe(common: &Common, args: &InitArgs, root: &Path) -> Result<ComponentFile> {
    let name = root.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let component = match &args.component {
        Some(component) => component.clone(),
        None => slug(name)
            .parse()
            .with_context(|| format!("the directory's name {name:?} makes no component: give --component"))?,
    };
    let project = match &common.project {
        Some(project) => project.clone(),
        None => component.as_str().parse::<Project>()?,
    };
    let dockerfile = root.join("Dockerfile");
    if let Some(path) = chart(root).filter(|_| !dockerfile.exists()) {
        let origin = ChartOrigin::Path(path.to_owned());
        let chart = ChartRule::of(origin);
        return Ok(ComponentFile { chart: Some(chart), ..bare(project, component) });
    }
    let text = std::fs::read_to_string(&dockerfile).with_context(|| {
        format!("{}: init needs a Dockerfile, a chart, or a trimtab.yaml that names an image", dockerfile.display())
    })?;
    let port = args.port.or_else(|| exposed(&text)).unwrap_or(8080);
    let endpoint = Endpoint { port, visibility: Visibility::Public };
    Ok(ComponentFile {
        build: Some(BuildRule::default()),
        endpoints: BTreeMap::from([("http".to_owned(), endpoint)]),
        ..bare(project, component)
    })
}

fn bare(project: Project, component: Component) -> ComponentFile {
    ComponentFile {
        project,
        component,
        kind: ComponentType::Service,
        path: ".".into(),
        build: None,
        image: None,
        chart: None,
        manifests: None,
        workload: Workload::default(),
        endpoints: BTreeMap::new(),
        depends_on: Vec::new(),
    }
}

/// Where the directory has a chart: its own, one beside its files, or a list of charts as Jenkins X keeps them.
fn chart(root: &Path) -> Option<&'static str> {
    let places = [(".", "Chart.yaml"), ("chart", "Chart.yaml"), ("env", "Chart.yaml"), ("env", "requirements.yaml")];
    places
        .into_iter()
        .find(|(directory, file)| root.join(directory).join(file).is_file())
        .map(|(directory, _)| directory)
}

/// The first port of the last stage's EXPOSE.
fn exposed(dockerfile: &str) -> Option<u16> {
    dockerfile
        .lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace))
        .filter(|(word, _)| word.eq_ignore_ascii_case("expose"))
        .filter_map(|(_, ports)| ports.split_whitespace().next()?.split('/').next()?.parse().ok())
        .next_back()
}

/// A directory's name as a DNS label.
fn slug(name: &str) -> String {
    let mapped: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    mapped.trim_matches('-').chars().take(NAME_BYTES_MAX).collect::<String>().trim_end_matches('-').to_owned()
}

fn to_text(component: &ComponentFile) -> Result<String> {
    let port = component.endpoints.values().next().map_or(8080, |e| e.port);
    Ok(format!(
        "# What Trimtab builds and runs. All fields: docs/reference.md
project: {}
component: {}
type: service
build:
  dockerfile: Dockerfile
endpoints:
  http:
    port: {port}
    visibility: public
",
        component.project, component.component
    ))
}

/// The user's own repository, through the git binary with the user's own settings.
struct Repository {
    root: PathBuf,
}

impl Repository {
    fn git(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("git")
            .arg("-C")
            .arg(&self.root)
            .args(arguments)
            .output()
            .context("running git: is it installed?")?;
        if !output.status.success() {
            bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Makes a repository if the directory is in none. True if it was made.
    fn ensure(&self) -> Result<bool> {
        match self.git(&["rev-parse", "--show-toplevel"]) {
            Ok(top) if Path::new(&top) == self.root => Ok(self.git(&["rev-parse", "--verify", "-q", "HEAD"]).is_err()),
            Ok(top) => bail!("{} lies inside the repository {top}: run `trimtab init` there", self.root.display()),
            Err(_) => {
                self.git(&["init", "-q", "-b", "main"])?;
                Ok(true)
            }
        }
    }

    fn commit(&self, path: &str, message: &str) -> Result<()> {
        self.git(&["add", "--", path])?;
        if self.git(&["status", "--porcelain", "--", path])?.lines().all(|line| line.starts_with("??")) {
            return Ok(());
        }
        // Without an identity git refuses; a newcomer's first commit is not the place to learn that.
        let known = self.git(&["config", "user.email"]).is_ok();
        let identity: &[&str] =
            if known { &[] } else { &["-c", "user.name=trimtab init", "-c", "user.email=init@trimtab.invalid"] };
        self.git(&[identity, &["commit", "-q", "-m", message, "--", path]].concat())?;
        Ok(())
    }

    /// Remote and credential helper, for this repository only. The token is never in the URL.
    fn remote(&self, url: &str, common: &Common) -> Result<()> {
        match self.git(&["remote", "get-url", "trimtab"]) {
            Ok(_) => self.git(&["remote", "set-url", "trimtab", url])?,
            Err(_) => self.git(&["remote", "add", "trimtab", url])?,
        };
        let program = std::env::current_exe().context("where this program is")?;
        let helper = format!("!{} --data-dir {} credential", quoted(&program), quoted(common.layout()?.root()));
        let origin: String = url.split('/').take(3).collect::<Vec<_>>().join("/");
        self.git(&["config", &format!("credential.{origin}.helper"), &helper])?;
        Ok(())
    }

    fn branch(&self) -> Result<String> {
        self.git(&["symbolic-ref", "--short", "HEAD"])
    }
}

/// For the shell that git runs helpers with.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_name_becomes_a_label() {
        for (name, expect) in [
            ("hello", "hello"),
            ("My App", "my-app"),
            ("_x_", "x"),
            ("a-very-long-directory-name", "a-very-long-director"),
        ] {
            assert_eq!(slug(name), expect);
        }
    }

    #[test]
    fn the_last_exposed_port_counts() {
        assert_eq!(exposed("FROM x\nEXPOSE 80/tcp\nFROM y\n expose 3000 3001\n"), Some(3000));
        assert_eq!(exposed("FROM x\n"), None);
    }

    #[test]
    fn what_init_writes_reads_back_the_same() {
        let file = ComponentFile {
            project: "shop".parse().unwrap(),
            component: "web".parse().unwrap(),
            kind: ComponentType::Service,
            path: ".".into(),
            build: Some(BuildRule::default()),
            image: None,
            chart: None,
            manifests: None,
            workload: Workload::default(),
            endpoints: BTreeMap::from([("http".to_owned(), Endpoint { port: 3000, visibility: Visibility::Public })]),
            depends_on: Vec::new(),
        };
        assert_eq!(yaml::from_str::<ComponentFile>(&to_text(&file).unwrap(), "trimtab.yaml").unwrap(), file);
    }
}
