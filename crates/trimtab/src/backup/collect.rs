//! What goes into a backup, all as it is at one moment, while everything runs on.

use super::archive::{Header, Writer};
use super::part::Part;
use super::secrets::{Protection, Secret};
use crate::instance::{Instance, Layout};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use model::flow::Repository;
use model::ports::Repositories as _;
use source::{Reference, Source};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tokio::sync::mpsc;

/// Pushes that came between two looks, before it is given up.
const ATTEMPTS_MAX: usize = 10;
/// Pieces on their way to whoever reads.
const PIECES_WAITING: usize = 8;
const PIECE_BYTES: usize = 128 * 1024;
/// Kubernetes' Secrets go where the keys go.
const SECRET: &str = "secrets/";

/// One moment of an instance. Holding it costs pointers; its images stay while it lives.
pub struct Collection {
    layout: Layout,
    instance: Instance,
    source: Source,
    dump: apiserver::Dump,
    repositories: Vec<(Repository, Vec<Reference>)>,
    images: oci::Store,
    closure: oci::Closure,
    charts: BTreeSet<model::Digest>,
    protection: Option<Protection>,
    _lease: oci::Lease,
}

impl Collection {
    /// Store and repositories as they are between two of our own writes, with no push in between.
    pub async fn take(
        layout: Layout,
        instance: Instance,
        api: &apiserver::ApiServer,
        source: &Source,
        images: &oci::Store,
        protection: Option<Protection>,
    ) -> Result<Self> {
        for _ in 0..ATTEMPTS_MAX {
            let pause = source.pause().await;
            let repositories = references(source).await?;
            let dump = api.dump();
            let after = references(source).await?;
            drop(pause);
            if repositories != after {
                continue;
            }
            let (images, _lease) = (images.clone(), images.lease());
            let closure = oci::Closure::default();
            let source = source.clone();
            let charts = BTreeSet::new();
            return Ok(Self {
                layout,
                instance,
                source,
                dump,
                repositories,
                images,
                closure,
                charts,
                protection,
                _lease,
            });
        }
        bail!("the repositories are pushed to all the time: try again when it is quieter")
    }

    /// With the images that pins and the last builds name. Those of which something is not here are named in the answer.
    pub fn with_images(mut self, images: &BTreeSet<model::ImageRef>) -> Result<(Self, Vec<String>)> {
        let digest = |image: &model::ImageRef| image.digest().as_str().parse::<oci::Digest>();
        let digests: BTreeSet<_> = images.iter().map(digest).collect::<Result<_, _>>().context("an image's digest")?;
        let lease = self.images.lease();
        digests.iter().for_each(|digest| lease.add(digest));
        self._lease = lease;
        self.closure = self.images.closure(&digests)?;
        let missing = self.closure.missing.iter().map(ToString::to_string).collect();
        Ok((self, missing))
    }

    /// With archives of charts. One that is not here any more can be taken or packed again.
    pub fn with_charts(self, charts: BTreeSet<model::Digest>) -> Self {
        Self { charts, ..self }
    }

    /// Writes everything, with no more memory than a piece.
    fn write(&self, out: impl Write) -> Result<()> {
        let mut writer = Writer::new(out)?;
        let header = Header::new(&self.instance.id, self.dump.revision(), self.protection.is_some());
        writer.json(&Part::Header, &header)?;
        writer.json(&Part::Instance, &self.instance)?;
        match fs::read(self.layout.people()) {
            Ok(people) => writer.whole(&Part::People, &people)?,
            // Nobody but the administrator yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", self.layout.people().display())),
        }
        if let Some(protection) = &self.protection {
            writer.whole(&Part::Identity, &protection.sealed()?)?;
            let mut secrets = protection.encryptor()?.wrap_output(writer.pieces(Part::Secrets))?;
            self.secrets(&mut secrets)?;
            secrets.finish()?.finish()?;
        }
        let mut objects = writer.pieces(Part::Objects);
        for (key, json) in self.dump.rows().filter(|(key, _)| !key.starts_with(SECRET)) {
            objects.write_all(key.as_bytes())?;
            objects.write_all(b"\t")?;
            objects.write_all(&json)?;
            objects.write_all(b"\n")?;
        }
        objects.finish()?;
        for (repository, references) in &self.repositories {
            let lines: String = references.iter().map(|r| format!("{} {}\n", r.id, r.name)).collect();
            writer.whole(&Part::References(repository.clone()), lines.as_bytes())?;
            if references.is_empty() {
                continue;
            }
            let mut pack = self.source.pack(repository, references)?;
            let mut pieces = writer.pieces(|piece| Part::Pack(repository.clone(), piece));
            io::copy(&mut pack, &mut pieces)?;
            pieces.finish()?;
            pack.finish()?;
        }
        writer.json(&Part::ImageNames, &self.closure.repositories)?;
        for (digest, bytes) in &self.closure.blobs {
            writer.part(&Part::Blob(digest.clone()), *bytes, self.images.open_blob(digest)?)?;
        }
        for digest in &self.charts {
            let Ok(file) = File::open(self.layout.chart(digest)) else { continue };
            writer.part(&Part::Chart(digest.clone()), file.metadata()?.len(), file)?;
        }
        self.logs(&mut writer)?;
        writer.finish()?.flush()?;
        Ok(())
    }

    fn secrets(&self, out: &mut impl Write) -> Result<()> {
        let mut add = |secret: Secret| -> Result<()> {
            out.write_all(&serde_json::to_vec(&secret)?)?;
            Ok(out.write_all(b"\n")?)
        };
        let mut files = vec![self.layout.token()];
        files.extend(entries(&self.layout.keys())?);
        for project in entries(&self.layout.data_planes())? {
            files.extend(entries(&project)?);
        }
        // What is half written when a process dies is nobody's key.
        files.retain(|path| {
            path.is_file() && path.extension().is_none_or(|extension| extension != "tmp" && extension != "new")
        });
        for path in files {
            let content = match fs::read_to_string(&path) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
            };
            let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
            let path = path.strip_prefix(self.layout.root())?.to_string_lossy().into_owned();
            add(Secret::File { path, mode, content })?;
        }
        for (key, json) in self.dump.rows().filter(|(key, _)| key.starts_with(SECRET)) {
            add(Secret::Object { key, json: std::str::from_utf8(&json)?.to_owned() })?;
        }
        Ok(())
    }

    /// A log that grows while it is read is cut where it was.
    fn logs(&self, writer: &mut Writer<impl Write>) -> Result<()> {
        let root = self.layout.build_logs();
        for directory in entries(&root)? {
            for path in entries(&directory)?.into_iter().filter(|path| path.is_file()) {
                let name = path.strip_prefix(&root)?.to_string_lossy().into_owned();
                let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
                let bytes = file.metadata()?.len();
                writer.part(&Part::Log(name), bytes, file.take(bytes))?;
            }
        }
        Ok(())
    }
}

async fn references(source: &Source) -> Result<Vec<(Repository, Vec<Reference>)>> {
    let mut all = Vec::new();
    for repository in source.list().await? {
        let references = source.references(&repository).await.with_context(|| format!("reading {repository}"))?;
        all.push((repository, references));
    }
    Ok(all)
}

/// What is in a directory, in order; nothing if it is not there, or is none.
fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let read = || -> io::Result<Vec<_>> { fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect() };
    let mut found = read().with_context(|| format!("reading {}", directory.display()))?;
    found.sort();
    Ok(found)
}

/// The file as it is made. An error ends it without its seal.
pub fn stream(collection: Collection) -> web::Text {
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    tokio::task::spawn_blocking(move || {
        let out = BufWriter::with_capacity(PIECE_BYTES, Channel(sender.clone()));
        if let Err(error) = collection.write(out) {
            tracing::error!(error = format!("{error:#}"), "the backup broke off");
            let _ = sender.blocking_send(Err(io::Error::other(format!("{error:#}"))));
        }
    });
    Box::pin(futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))))
}

struct Channel(mpsc::Sender<io::Result<Bytes>>);

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
