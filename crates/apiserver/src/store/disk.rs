//! The file: one redb database with a table of objects and a table of numbers.

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

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store {0} is in use by another process; stop it first")]
    InUse(PathBuf),
    /// It cannot be opened or created.
    #[error("cannot open the store {path}; if it is damaged, restore it from a backup")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// It was written by a later version.
    #[error("the store {path} has format {found}, this program knows up to {FORMAT_KNOWN}; use a newer program")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// An object in it is not what was written.
    #[error("the store {path} is damaged at object {key}; restore it from a backup")]
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

/// One change to be made durable.
pub(super) struct Row<'a> {
    pub key: &'a Key,
    /// `None`: remove it.
    pub json: Option<&'a [u8]>,
}

pub(super) struct Disk {
    database: Database,
}

/// Makes the file, if need be, and for its owner only: Secrets stand in it as they are.
fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

impl Disk {
    /// Opens or creates the file; everything in it.
    pub fn open(path: &Path) -> Result<(Self, State), StoreError> {
        let fail = |error: redb::Error| StoreError::Open { path: path.to_owned(), source: Box::new(error) };
        private(path).map_err(|error| fail(redb::Error::Io(error)))?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
            other => fail(other.into()),
        })?;
        let disk = Self { database };
        let format = disk.prepare().map_err(fail)?;
        if format > FORMAT_KNOWN {
            return Err(StoreError::Format { path: path.to_owned(), found: format });
        }
        let mut state = State::default();
        let damaged = disk.load(&mut state).map_err(fail)?;
        match damaged {
            Some(key) => Err(StoreError::Object { path: path.to_owned(), key }),
            None => Ok((disk, state)),
        }
    }

    /// Creates the tables of a new file; the format.
    fn prepare(&self) -> Result<u64, redb::Error> {
        let read = self.database.begin_read()?;
        if let Ok(table) = read.open_table(NUMBERS)
            && let Some(format) = table.get(FORMAT)?
        {
            return Ok(format.value());
        }
        let write = self.database.begin_write()?;
        write.open_table(OBJECTS)?;
        write.open_table(NUMBERS)?.insert(FORMAT, FORMAT_KNOWN)?;
        write.commit()?;
        Ok(FORMAT_KNOWN)
    }

    /// Loads all objects; the key of the first that is damaged.
    fn load(&self, state: &mut State) -> Result<Option<String>, redb::Error> {
        let read = self.database.begin_read()?;
        state.revision = read.open_table(NUMBERS)?.get(REVISION)?.map_or(0, |number| number.value());
        state.loaded = state.revision;
        for row in read.open_table(OBJECTS)?.iter()? {
            let (key, json) = row?;
            let json = Bytes::copy_from_slice(json.value());
            match Key::from_disk(key.value()).and_then(|key| Stored::parse(key, json)) {
                Some(object) if object.revision <= state.revision => state.load(object),
                _ => return Ok(Some(key.value().to_owned())),
            }
        }
        Ok(None)
    }

    /// All rows and the revision, or nothing; on return they are on disk.
    pub fn commit<'a>(&self, rows: impl Iterator<Item = Row<'a>>, revision: u64) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        {
            let mut objects = write.open_table(OBJECTS)?;
            for row in rows {
                let key = row.key.on_disk();
                match row.json {
                    Some(json) => objects.insert(key.as_str(), json)?,
                    None => objects.remove(key.as_str())?,
                };
            }
            write.open_table(NUMBERS)?.insert(REVISION, revision)?;
        }
        write.commit()?;
        Ok(())
    }
}
