//! Laying a backup down: everything aside first, then one rename.

use super::archive::{self, Header, Summary, whole};
use super::failpoint;
use super::part::Part;
use super::secrets::{Secret, unlock};
use crate::instance::{Layout, Lock, Written, write_durably};
use age::secrecy::SecretString;
use age::x25519::Identity;
use anyhow::{Context, Result, anyhow, bail};
use model::flow::Repository;
use source::{LayingDown, Reference, Source};
use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};
use tokio::runtime::Runtime;

/// Keys and Secrets are read whole.
const SECRET_BYTES_MAX: usize = 64 << 20;
const BUFFER_BYTES: usize = 256 * 1024;

/// What was laid down.
pub struct Restored {
    pub summary: Summary,
    /// False: keys were not in it, or were left out.
    pub keys: bool,
}

/// Checks a backup whole, then makes it the data directory, which must be empty or absent.
/// `tell` gets a line per step.
pub fn restore(
    file: &Path,
    layout: &Layout,
    passphrase: Option<SecretString>,
    without_keys: bool,
    tell: &dyn Fn(&str),
) -> Result<Restored> {
    let root = layout.root();
    if fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} is not empty: restore into a new directory (--data-dir)", root.display());
    }
    tell("checking the backup");
    let (summary, identity) = check(file, passphrase, without_keys)?;
    let parent = root.parent().context("the data directory needs a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let name = root.file_name().context("the data directory needs a name")?.to_string_lossy();
    let aside = parent.join(format!(".{name}.restoring"));
    if aside.exists() {
        // Of a restore that was killed; its name is nobody else's.
        fs::remove_dir_all(&aside).with_context(|| format!("deleting {}", aside.display()))?;
    }
    let laid = lay_down(file, &aside, identity.as_ref(), tell).and_then(|()| {
        failpoint("restore.before");
        fs::rename(&aside, root).with_context(|| format!("giving {} its name", root.display()))?;
        File::open(parent)?.sync_all()?;
        failpoint("restore.after");
        Ok(())
    });
    if laid.is_err() {
        let _ = fs::remove_dir_all(&aside);
    }
    laid?;
    Ok(Restored { summary, keys: identity.is_some() })
}

/// Puts the keys of a backup into a data directory that is there, and that no process uses.
pub fn keys_only(file: &Path, layout: &Layout, passphrase: SecretString) -> Result<Summary> {
    let (summary, identity) = check(file, Some(passphrase), false)?;
    let Some(identity) = identity else { bail!("{} holds no keys", file.display()) };
    let _lock = Lock::take(layout)?;
    for secret in secrets(file, &identity)? {
        if let Secret::File { path, mode, content } = secret {
            put(layout, &path, mode, &content)?;
        }
    }
    Ok(summary)
}

/// Reads all of it before anything is written; with the passphrase, opens the keys.
fn check(file: &Path, passphrase: Option<SecretString>, without_keys: bool) -> Result<(Summary, Option<Identity>)> {
    let mut sealed = Vec::new();
    let summary = archive::read(file, &mut |_, part, content| {
        if *part == Part::Identity {
            sealed = whole(content)?;
        }
        Ok(())
    })?;
    let identity = match (summary.header.keys, passphrase, without_keys) {
        (false, _, _) | (true, None, true) => None,
        (true, Some(passphrase), _) => Some(unlock(&sealed, passphrase)?),
        (true, None, false) => {
            bail!("the backup holds keys: give --passphrase-file, or --without-keys to have new ones made")
        }
    };
    Ok((summary, identity))
}

fn secrets(file: &Path, identity: &Identity) -> Result<Vec<Secret>> {
    let mut sealed = Vec::new();
    archive::read(file, &mut |_, part, content| {
        if matches!(part, Part::Secrets(_)) {
            content.read_to_end(&mut sealed)?;
            if sealed.len() > SECRET_BYTES_MAX {
                bail!("its keys are larger than {SECRET_BYTES_MAX} bytes");
            }
        }
        Ok(())
    })?;
    let decryptor = age::Decryptor::new(&sealed[..]).context("the keys of the backup")?;
    let reader = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity));
    let mut text = String::new();
    reader.context("the keys of the backup")?.read_to_string(&mut text)?;
    text.lines().map(|line| serde_json::from_str(line).context("the keys of the backup")).collect()
}

/// A file of the data directory; only keys, tokens and credentials of clusters are.
fn put(layout: &Layout, path: &str, mode: u32, content: &str) -> Result<()> {
    let relative = PathBuf::from(path);
    let plain = relative.components().all(|c| matches!(c, Component::Normal(_)));
    let target = layout.root().join(&relative);
    let parent = target.parent().unwrap_or(layout.root());
    let credential = parent.parent() == Some(&layout.data_planes());
    if !plain || (target != layout.token() && parent != layout.keys() && !credential) {
        bail!("the backup names a key {path:?}, which is none");
    }
    // As the parts that write them make them.
    DirBuilder::new().recursive(true).mode(if credential { 0o700 } else { 0o777 }).create(parent)?;
    write_durably(Written::Key, &target, content.as_bytes(), mode)
}

fn lay_down(file: &Path, aside: &Path, identity: Option<&Identity>, tell: &dyn Fn(&str)) -> Result<()> {
    let layout = Layout::find(Some(aside))?;
    layout.create()?;
    let mut rows = Vec::new();
    for secret in identity.map(|identity| secrets(file, identity)).transpose()?.unwrap_or_default() {
        match secret {
            Secret::File { path, mode, content } => put(&layout, &path, mode, &content)?,
            Secret::Object { key, json } => rows.push((key, json)),
        }
    }
    let runtime = Runtime::new().context("starting the runtime")?;
    let mut target = Target { runtime: &runtime, layout: &layout, tell, open: Open::Nothing };
    target.begin(rows)?;
    archive::read(file, &mut |header, part, content| target.part(header, part, content))?;
    target.close()?;
    drop(target);
    drop(runtime);
    // Scripts in it name this place.
    fs::remove_dir_all(layout.run()).context("deleting the run directory")
}

/// Where parts go.
struct Target<'a> {
    runtime: &'a Runtime,
    layout: &'a Layout,
    tell: &'a dyn Fn(&str),
    open: Open,
}

/// What the last part belongs to, and the next one may go on with.
enum Open {
    Nothing,
    /// Rows of the store that wait for its header.
    Rows(Vec<(String, String)>),
    Store {
        store: apiserver::Restore,
        /// The beginning of a row.
        rest: Vec<u8>,
    },
    Repository {
        source: Source,
        current: Option<(Repository, Vec<Reference>, LayingDown)>,
    },
    Images(oci::Store),
}

impl Target<'_> {
    fn begin(&mut self, rows: Vec<(String, String)>) -> Result<()> {
        self.open = Open::Rows(rows);
        Ok(())
    }

    fn part(&mut self, header: &Header, part: &Part, content: &mut dyn Read) -> Result<()> {
        match part {
            Part::Instance => {
                let text = whole(content)?;
                write_durably(Written::Record, &self.layout.instance(), &text, 0o644)
            }
            Part::People => write_durably(Written::People, &self.layout.people(), &whole(content)?, 0o600),
            Part::Objects(_) => self.objects(header, content),
            Part::References(repository) => {
                let text = String::from_utf8(whole(content)?).context("a list of references")?;
                self.references(header, repository, source::parse_references(&text))
            }
            Part::Pack(repository, _) => {
                let Open::Repository { current: Some((name, _, laying)), .. } = &mut self.open else {
                    bail!("the pack of {repository} has no references");
                };
                if name != repository {
                    bail!("the pack of {repository} follows the references of {name}");
                }
                copy(content, |bytes| Ok(laying.feed(bytes)?))
            }
            Part::ImageNames | Part::Blob(_) => self.image(header, part, content),
            Part::Chart(_) | Part::Log(_) => {
                let target = match part {
                    Part::Log(path) => self.layout.build_logs().join(path),
                    Part::Chart(digest) => self.layout.chart(digest),
                    _ => return Ok(()),
                };
                fs::create_dir_all(target.parent().context("a file has a directory")?)?;
                let mut file = File::create(&target).with_context(|| format!("creating {}", target.display()))?;
                copy(content, |bytes| Ok(file.write_all(bytes)?))
            }
            Part::Identity | Part::Secrets(_) | Part::Header | Part::Seal => Ok(()),
        }
    }

    fn objects(&mut self, header: &Header, content: &mut dyn Read) -> Result<()> {
        self.store(header)?;
        let Open::Store { store, rest } = &mut self.open else { bail!("objects stand before everything else") };
        copy(content, |bytes| {
            rest.extend_from_slice(bytes);
            let mut begin = 0;
            while let Some(end) = rest[begin..].iter().position(|byte| *byte == b'\n').map(|end| begin + end) {
                let tab = rest[begin..end].iter().position(|byte| *byte == b'\t').context("a row without a key")?;
                let key = std::str::from_utf8(&rest[begin..begin + tab])?;
                store.row(key, &rest[begin + tab + 1..end])?;
                begin = end + 1;
            }
            rest.drain(..begin);
            Ok(())
        })
    }

    /// The store, with the Secrets in it.
    fn store(&mut self, header: &Header) -> Result<()> {
        if let Open::Rows(rows) = &mut self.open {
            (self.tell)("laying down the records");
            let rows = std::mem::take(rows);
            let mut store = apiserver::Restore::create(&self.layout.store(), header.revision)?;
            rows.iter().try_for_each(|(key, json)| store.row(key, json.as_bytes()))?;
            self.open = Open::Store { store, rest: Vec::new() };
        }
        Ok(())
    }

    fn references(&mut self, header: &Header, repository: &Repository, references: Vec<Reference>) -> Result<()> {
        self.store(header)?;
        self.finish_repository()?;
        (self.tell)(&format!("laying down {repository}"));
        if let Open::Store { .. } = &self.open {
            self.close()?;
            let source = self.runtime.block_on(Source::open(self.layout.source_options()?))?;
            self.open = Open::Repository { source, current: None };
        }
        let Open::Repository { source, current } = &mut self.open else { bail!("repositories stand before images") };
        let laying = self.runtime.block_on(source.lay_down(repository))?;
        *current = Some((repository.clone(), references, laying));
        Ok(())
    }

    fn finish_repository(&mut self) -> Result<()> {
        if let Open::Repository { current, .. } = &mut self.open
            && let Some((repository, references, laying)) = current.take()
        {
            self.runtime.block_on(laying.finish(&repository, &references))?;
        }
        Ok(())
    }

    fn image(&mut self, header: &Header, part: &Part, content: &mut dyn Read) -> Result<()> {
        if !matches!(self.open, Open::Images(_)) {
            self.store(header)?;
            self.close()?;
            (self.tell)("laying down the images");
            self.open = Open::Images(oci::Store::open(self.layout.images())?);
        }
        let Open::Images(images) = &self.open else { return Ok(()) };
        if let Part::Blob(digest) = part {
            let mut writer = images.blob_writer()?;
            copy(content, |bytes| Ok(writer.write_all(bytes)?))?;
            writer.finish(Some(digest))?;
            return Ok(());
        }
        let names: std::collections::BTreeMap<String, oci::Named> = serde_json::from_slice(&whole(content)?)?;
        for (name, named) in names {
            let reference: Result<oci::Reference, _> = name.parse();
            reference.map_err(|error| anyhow!("{error}"))?;
            images.add_names(&name, named)?;
        }
        Ok(())
    }

    /// Finishes what is open.
    fn close(&mut self) -> Result<()> {
        self.finish_repository()?;
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Store { store, rest } if rest.is_empty() => Ok(store.finish()?),
            Open::Store { .. } => bail!("the last object is cut off"),
            // Hooks are served by a task of the runtime until this is dropped.
            Open::Repository { source, .. } => self.runtime.block_on(async { Ok(drop(source)) }),
            Open::Nothing | Open::Rows(_) | Open::Images(_) => Ok(()),
        }
    }
}

fn copy(content: &mut dyn Read, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(()),
            count => each(&buffer[..count])?,
        }
    }
}
