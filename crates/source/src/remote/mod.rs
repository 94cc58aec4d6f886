//! What manifests name that lies elsewhere: fetched within bounds, and kept in the repository that named it.
//!
//! ```text
//!  trimtab render ──▶ Fetcher (the person's own git configuration) ──▶ git, http, registries
//!  reconcile ──▶ keep (refs/trimtab/remote/<revision>/<address>) ──▶ Fetcher (nobody's) ──▶ git, http
//! ```

mod git;
mod keep;
mod oci;
mod submodules;
mod web;

use crate::charts::{chart_versions, fetch_chart};
use crate::error::Error;
use model::CommitId;
use model::chart::ChartSource;
use model::flow::{Repository, Revision};
use model::ports::{ChartAccess, PortError};
use model::remote::{Address, Fetched, Git, Kind};
use std::path::PathBuf;

/// Whose configuration and keys sign in, and what may be reached.
#[derive(Debug, Clone)]
pub enum Rights {
    /// Of the person who runs us: everything, with their git configuration, agent and credentials.
    Person,
    /// Nobody's: these hosts, over HTTP, without credentials.
    Hosts(Vec<String>),
}

/// Fetches what lies elsewhere. Nothing is left behind.
#[derive(Debug, Clone)]
pub struct Fetcher {
    /// Where scratch directories are made.
    pub scratch: PathBuf,
    /// What may be reached.
    pub rights: Rights,
    /// Files and directories of one repository.
    pub files_max: usize,
    /// Of one repository, packed and unpacked, and of one file.
    pub bytes_max: u64,
    /// Which version of a chart a range means.
    pub newest: Newest,
}

/// The newest of versions that a range of versions allows, in helm's words; for people, why the range is none.
pub type Newest = fn(range: &str, versions: &[String]) -> std::result::Result<Option<String>, String>;

/// What was found, and what exactly it is: a commit, or a digest of the content.
pub struct Found {
    /// The files.
    pub fetched: Fetched,
    /// 40 hexadecimal digits of a commit, or `sha256:…`.
    pub resolved: String,
}

impl Fetcher {
    /// With the usual bounds.
    pub fn new(scratch: PathBuf, rights: Rights, newest: Newest) -> Self {
        Self { scratch, rights, files_max: 50_000, bytes_max: 256 << 20, newest }
    }

    /// What lies there now.
    ///
    /// # Errors
    /// It may not be reached, is not there, is too large or takes too long. Passwords in addresses are not shown.
    pub async fn fetch(&self, address: &Address) -> Result<Found, Error> {
        self.allowed(address)?;
        match &address.kind {
            Kind::Git(git) => self.repository(git).await,
            Kind::Web(git) => match (web::get(self, address).await?, git) {
                (Some(found), _) => Ok(found),
                (None, Some(git)) => self.repository(git).await,
                (None, None) => Err(Error::Remote {
                    address: address.to_string(),
                    reason: "there is no file, and the address is none of a git repository".into(),
                }),
            },
            Kind::Oci(artifact) => oci::fetch(self, address, artifact).await,
            Kind::Chart(chart) => self.chart(address, chart).await,
        }
    }

    fn allowed(&self, address: &Address) -> Result<(), Error> {
        let Rights::Hosts(hosts) = &self.rights else { return Ok(()) };
        let refuse = |reason: String| Err(Error::Forbidden { address: address.to_string(), reason });
        if address.has_password() {
            return refuse("a password stands in the address, for all to read: take it out, and revoke it".into());
        }
        if !address.is_open() {
            return refuse("only https:// and http:// are fetched: there are no keys to sign in with".into());
        }
        match address.host() {
            Some(host) if is_among(&host, hosts) => Ok(()),
            host => refuse(format!(
                "project.yaml does not allow it: it would have to say `remotes: [{}]`",
                host.unwrap_or_default()
            )),
        }
    }

    /// The archive of a chart; of a range, the newest version there is now.
    async fn chart(&self, address: &Address, chart: &ChartSource) -> Result<Found, Error> {
        let hosts = match &self.rights {
            Rights::Person => None,
            Rights::Hosts(hosts) => Some(hosts.clone()),
        };
        let access = ChartAccess { hosts, ..ChartAccess::default() };
        let fail = |reason: &str| failed(address.text(), reason);
        let port = |error: PortError| fail(&error.to_string());
        let versions = chart_versions(chart, &access).await.map_err(port)?;
        let version = (self.newest)(&chart.version, &versions).map_err(|problem| fail(&problem))?;
        let version = version.ok_or_else(|| fail("no version of it fits"))?;
        let fetched = fetch_chart(chart, &version, &access).await.map_err(port)?;
        Ok(Found { fetched: Fetched::File(fetched.archive.into()), resolved: fetched.pin.digest.to_string() })
    }

    async fn repository(&self, git: &Git) -> Result<Found, Error> {
        git::fetch(self, git).await
    }
}

fn is_among(host: &str, hosts: &[String]) -> bool {
    hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
}

/// An error about an address, without the passwords in it.
/// A commit elsewhere, as snapshots name theirs.
fn revision(commit: CommitId) -> Revision {
    Revision { repository: Repository { project: "remote".parse().expect("a label"), name: "remote".into() }, commit }
}

fn failed(address: &str, reason: &str) -> Error {
    Error::Remote {
        address: model::remote::without_passwords(address),
        reason: model::remote::without_passwords(reason.trim()),
    }
}
