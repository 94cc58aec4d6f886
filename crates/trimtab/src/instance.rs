//! The data directory: who this instance is, where it listens, who may talk to it.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Port of the gateway unless told otherwise; the control listener, the Kubernetes API and SSH take the next three.
pub const PORT: u16 = 7180;

/// Paths below the data directory. Nothing else in the program joins paths to it.
#[derive(Debug, Clone)]
pub struct Layout(PathBuf);

impl Layout {
    /// `--data-dir`, `TRIMTAB_DATA`, or the user's data directory.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => match std::env::var_os("XDG_DATA_HOME") {
                Some(base) => PathBuf::from(base).join("trimtab"),
                None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set: give --data-dir")?)
                    .join(".local/share/trimtab"),
            },
        };
        Ok(Self(std::path::absolute(&path).with_context(|| format!("{}", path.display()))?))
    }
    pub fn root(&self) -> &Path {
        &self.0
    }
    pub fn instance(&self) -> PathBuf {
        self.0.join("instance.json")
    }
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
    pub fn token(&self) -> PathBuf {
        self.0.join("admin.token")
    }
    pub fn people(&self) -> PathBuf {
        self.0.join("people.json")
    }
    pub fn ssh_host_key(&self) -> PathBuf {
        self.keys().join("ssh_host_ed25519")
    }
    pub fn store(&self) -> PathBuf {
        self.0.join("store.redb")
    }
    pub fn git(&self) -> PathBuf {
        self.0.join("git")
    }
    pub fn charts(&self) -> PathBuf {
        self.0.join("charts")
    }
    /// Where the archive of a chart lies, see [`source::Charts`].
    pub fn chart(&self, digest: &model::Digest) -> PathBuf {
        self.charts().join("sha256").join(digest.hex())
    }
    pub fn images(&self) -> PathBuf {
        self.0.join("oci")
    }
    pub fn node(&self) -> PathBuf {
        self.0.join("node")
    }
    pub fn builds(&self) -> PathBuf {
        self.0.join("build")
    }
    pub fn gateway(&self) -> PathBuf {
        self.0.join("gateway")
    }
    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }
    /// Credentials of other clusters, by project.
    pub fn data_planes(&self) -> PathBuf {
        self.0.join("dataplanes")
    }
    pub fn build_logs(&self) -> PathBuf {
        self.log().join("builds")
    }
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }
    /// Signs commits, tags and the journal.
    pub fn signing_key(&self) -> PathBuf {
        self.keys().join("commits")
    }
    /// Makes the directory, and those in it that others expect to be there.
    pub fn create(&self) -> Result<()> {
        fs::create_dir_all(self.root()).with_context(|| format!("creating {}", self.root().display()))?;
        fs::set_permissions(self.root(), fs::Permissions::from_mode(0o711))?;
        for directory in [self.run(), self.log(), self.keys(), self.home(), self.node(), self.gateway()] {
            fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
        }
        Ok(())
    }
    /// Removes files that a killed process left half written. Only under the lock.
    fn clear(&self) -> std::io::Result<()> {
        let entries =
            |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut directories = vec![self.root().to_owned(), self.keys()];
        directories.extend(entries(&self.data_planes()));
        let unfinished =
            |path: &PathBuf| path.extension().is_some_and(|end| end == "tmp" || end == "new") && path.is_file();
        for path in directories.iter().flat_map(|directory| entries(directory)).filter(unfinished) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
    /// The git plane of this directory.
    pub fn source_options(&self) -> Result<source::Options> {
        let instance = Instance::require(self)?;
        Ok(source::Options {
            root: self.git(),
            run: self.run(),
            exe: std::env::current_exe().context("where this program is")?,
            home: self.home(),
            instance: instance.short().to_owned(),
            signing_key: self.signing_key(),
            newest: newest_chart,
            limits: source::Limits::default(),
        })
    }
    /// HOME of every git process of ours.
    pub fn home(&self) -> PathBuf {
        self.0.join("home")
    }
}

/// The version of a chart that a range means.
pub fn newest_chart(range: &str, versions: &[String]) -> std::result::Result<Option<String>, String> {
    let found = render::helm::newest(range, versions.iter().map(String::as_str));
    found.map(|version| version.map(str::to_owned)).map_err(|error| error.to_string())
}

/// What is recorded once and never changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Instance {
    /// 32 hexadecimal digits; bridge, cgroups, namespaces carry the first 8.
    pub id: String,
    /// Traffic.
    pub gateway: SocketAddr,
    /// Git, registry, CLI.
    pub control: SocketAddr,
    /// The Kubernetes API, TLS.
    pub kubernetes: SocketAddr,
    /// Git over SSH; absent in what was recorded before there was any, and then chosen by the next `up`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SocketAddr>,
}

impl Instance {
    /// First 8 digits.
    pub fn short(&self) -> &str {
        &self.id[..8]
    }

    /// Reads what an earlier `up` recorded.
    pub fn load(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.instance();
        match fs::read(&path) {
            Ok(bytes) => {
                let instance: Self = serde_json::from_slice(&bytes)
                    .with_context(|| format!("{} is damaged; restore it from a backup", path.display()))?;
                Ok(Some(instance))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// As [`Self::load`], for commands that need an instance to talk to.
    pub fn require(layout: &Layout) -> Result<Self> {
        Self::load(layout)?.with_context(|| {
            format!(
                "there is no Trimtab in {}: run `trimtab up` there first, or name it with --data-dir",
                layout.root().display()
            )
        })
    }

    /// The recorded instance, or a new one that listens at `listen` (port 0: free ports, chosen once and kept).
    pub fn load_or_create(layout: &Layout, listen: Option<SocketAddr>) -> Result<Self> {
        if let Some(mut instance) = Self::load(layout)? {
            if let Some(listen) = listen.filter(|l| l.port() != 0 && *l != instance.gateway) {
                let Self { id, .. } = instance;
                instance = Self::at(id, listen)?;
                instance.save(layout)?;
            } else if instance.ssh.is_none() {
                instance.ssh = Some(instance.beside()?);
                instance.save(layout)?;
            }
            return Ok(instance);
        }
        let listen = listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], PORT)));
        let instance = Self::at(random_hex(16), listen)?;
        instance.save(layout)?;
        Ok(instance)
    }

    fn at(id: String, listen: SocketAddr) -> Result<Self> {
        let [gateway, control, kubernetes, ssh] = addresses(listen)?;
        Ok(Self { id, gateway, control, kubernetes, ssh: Some(ssh) })
    }

    /// The port after the others if they follow each other, else a free one.
    fn beside(&self) -> Result<SocketAddr> {
        let Self { gateway, kubernetes, .. } = self;
        match kubernetes.port().checked_add(1).filter(|_| gateway.port().checked_add(2) == Some(kubernetes.port())) {
            Some(port) => Ok(SocketAddr::new(gateway.ip(), port)),
            None => Ok(addresses(SocketAddr::new(gateway.ip(), 0))?[0]),
        }
    }

    /// Where SSH listens.
    pub fn ssh(&self) -> Result<SocketAddr> {
        self.ssh.context("this instance has no SSH port yet: start it with `trimtab up`")
    }

    fn save(&self, layout: &Layout) -> Result<()> {
        write_durably(
            Written::Record,
            &layout.instance(),
            &serde_json::to_vec_pretty(self).expect("an instance serialises"),
            0o644,
        )
    }
}

/// How many addresses an instance has.
const ADDRESSES: usize = 4;

/// Addresses from one: the given port and the next ones, or free ones.
fn addresses(listen: SocketAddr) -> Result<[SocketAddr; ADDRESSES]> {
    let mut at = [listen; ADDRESSES];
    if listen.port() == 0 {
        // Held together until all are known, so that the system cannot hand out the same one twice.
        let held: Vec<_> = (0..ADDRESSES).map(|_| std::net::TcpListener::bind(listen)).collect::<Result<_, _>>()?;
        for (address, held) in at.iter_mut().zip(&held) {
            *address = held.local_addr()?;
        }
        return Ok(at);
    }
    for (n, address) in (0..).zip(&mut at) {
        match listen.port().checked_add(n) {
            Some(port) => address.set_port(port),
            None => bail!("--listen {listen} leaves no room for three more ports behind it"),
        }
    }
    Ok(at)
}

/// Where a killed process is tested to recover: before and after each file of the data directory that is replaced whole.
pub const FAILPOINTS: &[&str] = &[
    "instance.record.before",
    "instance.record.after",
    "instance.token.before",
    "instance.token.after",
    "instance.key.before",
    "instance.key.after",
    "instance.people.before",
    "instance.people.after",
    "instance.dataplane.before",
    "instance.dataplane.after",
];

/// Which file it is, as far as failpoints tell them apart.
#[derive(Debug, Clone, Copy)]
pub enum Written {
    Record,
    Token,
    Key,
    People,
    DataPlane,
}

impl Written {
    /// Before the file has its name, and after.
    fn failpoints(self) -> (&'static str, &'static str) {
        match self {
            Self::Record => ("instance.record.before", "instance.record.after"),
            Self::Token => ("instance.token.before", "instance.token.after"),
            Self::Key => ("instance.key.before", "instance.key.after"),
            Self::People => ("instance.people.before", "instance.people.after"),
            Self::DataPlane => ("instance.dataplane.before", "instance.dataplane.after"),
        }
    }
}

/// Ends the process as a crash would, if a test asks for it here.
pub fn failpoint(name: &'static str) {
    static WANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let known = [FAILPOINTS, crate::backup::FAILPOINTS, crate::up::FAILPOINTS];
    debug_assert!(known.iter().any(|known| known.contains(&name)), "{name} is not listed");
    if WANTED.get_or_init(|| std::env::var("TRIMTAB_FAILPOINT").ok()).as_deref() == Some(name) {
        std::process::abort();
    }
}

/// So many random bytes, in hexadecimal.
pub fn random_hex(bytes: usize) -> String {
    (0..bytes).map(|_| format!("{:02x}", rand::random::<u8>())).collect()
}

/// Writes a file so that a crash leaves the old or the new content, never a part.
pub fn write_durably(what: Written, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let (before, after) = what.failpoints();
    let parent = path.parent().context("a file needs a directory")?;
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        failpoint(before);
        fs::rename(&temporary, path)?;
        File::open(parent)?.sync_all()?;
        failpoint(after);
        Ok(())
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary))).with_context(|| format!("writing {}", path.display()))
}

/// Holds the data directory until it is dropped, or the process ends, whatever way it ends.
#[derive(Debug)]
pub struct Lock {
    _held: fd_lock::RwLockWriteGuard<'static, File>,
}

impl Lock {
    /// Creates the directory if need be and locks it, or says who holds it.
    pub fn take(layout: &Layout) -> Result<Self> {
        Self::take_or(layout, "stop it first, or give another --data-dir")
    }

    /// As [`Self::take`], with what to do about who holds it.
    pub fn take_or(layout: &Layout, advice: &str) -> Result<Self> {
        layout.create()?;
        let path = layout.lock();
        let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        // Leaked on purpose: the guard borrows it. A process takes the lock a few times in its life at most.
        let lock: &'static mut fd_lock::RwLock<File> = Box::leak(Box::new(fd_lock::RwLock::new(file)));
        match lock.try_write() {
            Ok(mut held) => {
                use std::io::Seek;
                held.set_len(0)?;
                held.rewind()?;
                write!(held, "{}", std::process::id())?;
                layout.clear().with_context(|| format!("clearing {}", layout.root().display()))?;
                Ok(Self { _held: held })
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                bail!("{} is in use by process {}: {advice}", layout.root().display(), holder.trim())
            }
            Err(e) => Err(e).with_context(|| format!("locking {}", path.display())),
        }
    }
}

/// The administrator's token, made on first use. Readable by its owner only.
pub fn admin_token(layout: &Layout) -> Result<String> {
    let path = layout.token();
    match fs::read_to_string(&path) {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let token = random_hex(24);
            write_durably(Written::Token, &path, token.as_bytes(), 0o600)?;
            Ok(token)
        }
        Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_is_chosen_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::find(Some(directory.path())).unwrap();
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let first = Instance::load_or_create(&layout, any).unwrap();
        let again = Instance::load_or_create(&layout, any).unwrap();
        assert_eq!(first.gateway, again.gateway);
        assert_eq!(first.id, again.id);
        assert_eq!(first.ssh, again.ssh);
        let ports = [first.gateway, first.control, first.kubernetes, first.ssh().unwrap()].map(|at| at.port());
        let different: std::collections::BTreeSet<u16> = ports.into_iter().collect();
        assert!(ports.iter().all(|p| *p != 0) && different.len() == ports.len(), "{ports:?}");
    }

    #[test]
    fn a_record_from_before_ssh_gets_a_port_and_keeps_the_others() {
        for (gateway, kubernetes, expected) in [(7180, 7182, Some(7183)), (7180, 9000, None)] {
            let directory = tempfile::tempdir().unwrap();
            let layout = Layout::find(Some(directory.path())).unwrap();
            let record = format!(
                r#"{{"id":"00","gateway":"127.0.0.1:{gateway}","control":"127.0.0.1:7181","kubernetes":"127.0.0.1:{kubernetes}"}}"#
            );
            fs::write(layout.instance(), record).unwrap();
            let first = Instance::load_or_create(&layout, None).unwrap();
            assert_eq!((first.gateway.port(), first.kubernetes.port()), (gateway, kubernetes));
            let port = first.ssh().unwrap().port();
            assert!(port != 0 && expected.is_none_or(|expected| port == expected), "{port}");
            assert_eq!(Instance::load_or_create(&layout, None).unwrap().ssh, first.ssh);
        }
    }

    #[test]
    fn a_second_holder_is_told_who_is_first() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::find(Some(directory.path())).unwrap();
        let _held = Lock::take(&layout).unwrap();
        let error = Lock::take(&layout).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    }

    #[test]
    fn a_token_is_private_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::find(Some(directory.path())).unwrap();
        let token = admin_token(&layout).unwrap();
        assert_eq!(token, admin_token(&layout).unwrap());
        assert_eq!(fs::metadata(layout.token()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_record_is_said_and_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::find(Some(directory.path())).unwrap();
        fs::write(layout.instance(), b"{").unwrap();
        let error = format!("{:#}", Instance::load_or_create(&layout, None).unwrap_err());
        assert!(error.contains("damaged"), "{error}");
        assert_eq!(fs::read(layout.instance()).unwrap(), b"{");
    }
}
