//! The file: one redb database with a table of objects and a table of numbers.

use super::names::Names;
use super::{Key, State, Stored};
use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::{Path, PathBuf};

/// `resource/namespace/name` → JSON.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// `revision` and `format` → number.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const REVISION: &str = "revision";
const FORMAT: &str = "format";
/// What this program writes. A higher one was written by a later program.
const FORMAT_KNOWN: u64 = 1;
/// Everything is in memory anyway; redb's own default would hold a gigabyte.
const CACHE_BYTES: usize = 4 << 20;

/// What helps against damage.
const ADVICE: &str = "move the data directory away and `trimtab restore` a backup into a new one; without a backup, \
    `trimtab up --from` its config repositories recreates projects, history included";
/// Beside a file that is not finished yet.
const UNFINISHED: &str = "redb-new";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store {0} is in use by another process; stop it first")]
    InUse(PathBuf),
    /// It cannot be opened or created.
    #[error("cannot open the store {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// What stands in it is not what was written: it was cut off, or bytes of it have changed.
    #[error("the store {path} is damaged ({problem}): nothing was changed; {ADVICE}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A store is to be made where there is one.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// It was written by a later version.
    #[error("the store {path} has format {found}, this program knows up to {FORMAT_KNOWN}; use a newer program")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// An object in it is not what was written.
    #[error("the store {path} is damaged at object {key}: nothing was changed; {ADVICE}")]
    Object {
        /// The file.
        path: PathBuf,
        /// `resource/namespace/name`.
        key: String,
    },
    /// The writing thread cannot be started.
    #[error("cannot start the store's writer")]
    Thread(#[source] std::io::Error),
}

impl StoreError {
    /// With its causes, for where only a text can go.
    pub(super) fn explain(&self) -> String {
        match self {
            Self::Open { source, .. } => format!("{self}: {source}"),
            other => other.to_string(),
        }
    }
}

pub(super) struct Disk {
    database: Database,
    path: PathBuf,
}

/// For its owner only: Secrets stand in it as they are.
fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

impl Disk {
    /// Opens or creates the file; everything in it.
    pub fn open(path: &Path) -> Result<(Self, State), StoreError> {
        if !path.exists() {
            create(path)?;
        }
        private(path).map_err(|error| failed(path, redb::Error::Io(error)))?;
        // A damaged file can make redb panic, and an empty one would be filled anew: neither may happen in silence.
        let opened = std::panic::catch_unwind(|| {
            let disk = Self::reopen(path)?;
            let state = disk.state()?;
            Ok((disk, state))
        });
        opened.unwrap_or_else(|_| Err(damaged(path, "its pages contradict each other")))
    }

    /// Opens the file that is there.
    pub fn reopen(path: &Path) -> Result<Self, StoreError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).open(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
            other => failed(path, other.into()),
        })?;
        Ok(Self { database, path: path.to_owned() })
    }

    /// Everything in it.
    fn state(&self) -> Result<State, StoreError> {
        let path = &self.path;
        let format = self.format().map_err(|error| failed(path, error))?;
        match format {
            None => return Err(damaged(path, "it does not say which format it has")),
            Some(found) if found > FORMAT_KNOWN => return Err(StoreError::Format { path: path.clone(), found }),
            Some(_) => {}
        }
        let mut state = State::default();
        match self.load(&mut state).map_err(|error| failed(path, error))? {
            Some(key) => Err(StoreError::Object { path: path.clone(), key }),
            None => Ok(state),
        }
    }

    fn format(&self) -> Result<Option<u64>, redb::Error> {
        let read = self.database.begin_read()?;
        Ok(read.open_table(NUMBERS)?.get(FORMAT)?.map(|format| format.value()))
    }

    /// The revision of the newest write that is durable.
    pub fn revision(&self) -> Result<u64, redb::Error> {
        let read = self.database.begin_read()?;
        Ok(read.open_table(NUMBERS)?.get(REVISION)?.map_or(0, |number| number.value()))
    }

    /// Loads all objects; the key of the first that is damaged.
    fn load(&self, state: &mut State) -> Result<Option<String>, redb::Error> {
        state.revision = self.revision()?;
        state.loaded = state.revision;
        let read = self.database.begin_read()?;
        let (mut before, mut names) = (None, Names::default());
        for row in read.open_table(OBJECTS)?.iter()? {
            let (key, json) = row?;
            match object(key.value(), before.as_ref(), json.value(), state.revision, &mut names) {
                Some(object) => {
                    before = Some(object.key.clone());
                    state.load(object);
                }
                None => return Ok(Some(key.value().to_owned())),
            }
        }
        Ok(None)
    }

    /// An error unless this can be an object of this store.
    pub fn check(&self, key: &str, json: &[u8], revision: u64) -> Result<(), StoreError> {
        let wrong = || StoreError::Object { path: self.path.clone(), key: key.to_owned() };
        object(key, None, json, revision, &mut Names::default()).map(drop).ok_or_else(wrong)
    }

    /// All rows and the revision, or nothing; on return they are on disk.
    pub fn commit<'a>(
        &self,
        rows: impl Iterator<Item = (impl AsRef<str>, Option<&'a [u8]>)>,
        revision: u64,
    ) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        {
            let mut objects = write.open_table(OBJECTS)?;
            for (key, json) in rows {
                match json {
                    Some(json) => objects.insert(key.as_ref(), json)?,
                    None => objects.remove(key.as_ref())?,
                };
            }
            write.open_table(NUMBERS)?.insert(REVISION, revision)?;
        }
        write.commit()?;
        Ok(())
    }

    /// As [`Self::commit`], with errors that name the file.
    pub fn write<'a>(
        &self,
        rows: impl Iterator<Item = (impl AsRef<str>, Option<&'a [u8]>)>,
        revision: u64,
    ) -> Result<(), StoreError> {
        self.commit(rows, revision).map_err(|error| failed(&self.path, error))
    }
}

/// Makes a file aside and gives it its name when it is whole: a file that has the name and is not whole is damaged.
fn create(path: &Path) -> Result<(), StoreError> {
    let aside = path.with_extension(UNFINISHED);
    let io = |error: std::io::Error| failed(path, redb::Error::Io(error));
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let fill = || -> Result<(), redb::Error> {
        std::fs::File::create(&aside).and_then(|_| private(&aside))?;
        let database = Database::create(&aside)?;
        let write = database.begin_write()?;
        write.open_table(OBJECTS)?;
        write.open_table(NUMBERS)?.insert(FORMAT, FORMAT_KNOWN)?;
        Ok(write.commit()?)
    };
    fill().map_err(|error| failed(path, error))?;
    std::fs::rename(&aside, path).map_err(io)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)
}

/// An object of a store at this revision.
fn object(key: &str, before: Option<&Key>, json: &[u8], revision: u64, names: &mut Names) -> Option<Stored> {
    let object = Stored::parse(Key::from_disk(key, before)?, Bytes::copy_from_slice(json), names)?;
    (object.revision <= revision).then_some(object)
}

fn damaged(path: &Path, problem: impl Into<String>) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), problem: problem.into() }
}

/// What redb's words mean: the file system refused, or what it gave is not what was written.
fn failed(path: &Path, error: redb::Error) -> StoreError {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match &error {
        redb::Error::Io(io) if !matches!(io.kind(), InvalidData | UnexpectedEof) => {}
        redb::Error::Io(io) => return damaged(path, io.to_string()),
        redb::Error::Corrupted(problem) => return damaged(path, problem.clone()),
        redb::Error::TableDoesNotExist(table) => return damaged(path, format!("its table {table} is gone")),
        redb::Error::TableTypeMismatch { table, .. } | redb::Error::TableIsMultimap(table) => {
            return damaged(path, format!("its table {table} is another one"));
        }
        _ => {}
    }
    StoreError::Open { path: path.to_owned(), source: Box::new(error) }
}
