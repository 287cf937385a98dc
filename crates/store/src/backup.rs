//! A copy of the store that can be opened, taken while the store is in use.
//!
//! The copy is made beside its place, in `<into>.partial`, and renamed when all of it is on disk, so that an interrupted
//! one never looks complete. Its catalogue is a fresh file with the rows of one moment. Blob files are linked where the
//! file system can (they never change), else cloned or copied. Blobs that are forgotten while the copy is made are left
//! out, and so are blobs that are not whole: they can come again.
//!
//! Blobs that are stored elsewhere are fetched into the copy, which is a store with all it needs in its own directory,
//! wherever the blobs of the original are. So it opens without a network, and never shares a bucket with the original.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use guildhall_protocol::Hash;
use redb::{Database, ReadTransaction};

use crate::counters::Counters;
use crate::database::{builder, initialise, put_counters, write};
use crate::error::{Fault, ReadError, fenced};
use crate::layout::{Layout, sync_dir};
use crate::row::BlobRow;
use crate::shared::Shared;
use crate::shelf::Unopened;
use crate::store::Store;
use crate::table::{
    BLOBS, PACKAGES, PARTIALS, RECORDS, TREES, Table, all_tables, parse_hash, parse_tree_key,
    unseal,
};

/// Rows that go into one transaction of the copy, bytes: bounds what redb holds in memory.
const CHUNK_BYTES: usize = 16 * 1024 * 1024;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Something is there already, or another backup to the same place is under way.
    #[error("{} is in the way", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The copy's catalogue could not be written.
    #[error("the copy cannot be written: {source}")]
    Database {
        /// What the database said.
        source: Fault,
    },
}

impl BackupError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

/// A copy while it is made.
struct Copy<'a> {
    shared: &'a Shared,
    layout: Layout,
    database: Database,
    with_blobs: bool,
    counters: Counters,
    /// Blobs whose files are in the copy, and with them their trees. One hash at a time is looked up, in order.
    kept: BTreeSet<Hash>,
}

impl Store {
    /// Copies the store to `into`, which must not exist, so that [`Store::open`] opens it there. Without blobs, only
    /// those that live in their rows are copied. Blocking for as long as it takes; the store can be used meanwhile, but
    /// its catalogue grows with what is written.
    ///
    /// What an interrupted backup to the same place left in `<into>.partial` is removed first.
    ///
    /// # Errors
    /// [`BackupError`]; nothing is at `into` then.
    pub fn backup(&self, into: &Path, with_blobs: bool) -> Result<(), BackupError> {
        let shared = &*self.inner.shared;
        if fs::symlink_metadata(into).is_ok() {
            return Err(BackupError::Exists { path: into.to_path_buf() });
        }
        let mut beside = into.as_os_str().to_owned();
        beside.push(".partial");
        let beside = PathBuf::from(beside);
        clear_old(&beside)?;
        let layout = Layout::new(&beside);
        let opened = |error| match error {
            crate::OpenError::Io { path, source } => BackupError::Io { path, source },
            _ => BackupError::Exists { path: beside.clone() },
        };
        let lock = layout.lock().map_err(opened)?;
        layout.prepare().map_err(opened)?;
        let path = layout.catalogue();
        let fault = |source| BackupError::Database { source };
        let database = fenced(|| {
            let database = builder().create(&path)?;
            initialise(&database)?;
            Ok(database)
        });
        let database = database.map_err(fault)?;
        let (counters, kept) = (Counters::default(), BTreeSet::new());
        let mut copy = Copy { shared, layout, database, with_blobs, counters, kept };
        let mut failed = Ok(());
        shared.read(|transaction| {
            failed = copy.tables(transaction);
            Ok(())
        })?;
        failed?;
        copy.finish()?;
        let parent = into.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        drop(lock);
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            &beside,
            rustix::fs::CWD,
            into,
            rustix::fs::RenameFlags::NOREPLACE,
        )
        .map_err(|error| BackupError::io(into)(error.into()))?;
        sync_dir(parent).map_err(BackupError::io(parent))
    }
}

/// Removes what an interrupted backup left, if it is that and nobody is at it.
fn clear_old(beside: &Path) -> Result<(), BackupError> {
    if fs::symlink_metadata(beside).is_err() {
        return Ok(());
    }
    let exists = || BackupError::Exists { path: beside.to_path_buf() };
    let lock = OpenOptions::new().write(true).open(beside.join("lock")).map_err(|_| exists())?;
    lock.try_lock().map_err(|_| exists())?;
    fs::remove_dir_all(beside).map_err(BackupError::io(beside))
}

impl Copy<'_> {
    fn tables(&mut self, transaction: &ReadTransaction) -> Result<(), BackupError> {
        all_tables().into_iter().try_for_each(|table| self.table(transaction, table))
    }

    fn table(&mut self, transaction: &ReadTransaction, table: Table) -> Result<(), BackupError> {
        use redb::TableHandle as _;
        // Without their files, packages are not here in full, and so have no rows.
        let is_left_out = table.name() == PACKAGES.name() && !self.with_blobs;
        if table.name() == PARTIALS.name() || is_left_out {
            return Ok(());
        }
        let from = transaction.open_table(table).map_err(ReadError::from)?;
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut size_bytes = 0_usize;
        for row in from.range::<&[u8]>(..).map_err(ReadError::from)? {
            let (key, value) = row.map_err(ReadError::from)?;
            let (key, value) = (key.value(), value.value());
            if !self.takes(table, key, value)? {
                continue;
            }
            size_bytes = size_bytes.saturating_add(key.len()).saturating_add(value.len());
            rows.push((key.to_vec(), value.to_vec()));
            if size_bytes > CHUNK_BYTES {
                self.insert(table, &rows)?;
                rows.clear();
                size_bytes = 0;
            }
        }
        self.insert(table, &rows)
    }

    /// Whether a row goes into the copy. Damaged ones do not.
    fn takes(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<bool, BackupError> {
        use redb::TableHandle as _;
        let name = table.name();
        let Some(payload) = unseal(table, key, value) else {
            tracing::warn!(table = name, "a damaged row is left out of the backup");
            return Ok(false);
        };
        if name == TREES.name() {
            let hash = parse_tree_key(key).map(|(hash, _)| hash);
            return Ok(hash.is_some_and(|hash| self.kept.contains(&hash)));
        }
        if name == BLOBS.name() {
            match (parse_hash(key), BlobRow::parse(payload)) {
                (Some(_), Some(BlobRow::Inline(_))) => {}
                (Some(hash), Some(BlobRow::File { len_bytes })) => {
                    if !self.with_blobs || !self.file(&hash, len_bytes)? {
                        return Ok(false);
                    }
                    self.kept.insert(hash);
                }
                _ => return Ok(false),
            }
            self.counters.add_blob(value);
        } else if name == RECORDS.name() {
            self.counters.add_record(value);
        } else if name == PACKAGES.name() {
            self.counters.add_package(value);
        }
        Ok(true)
    }

    fn insert(&self, table: Table, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<(), BackupError> {
        if rows.is_empty() {
            return Ok(());
        }
        let written = fenced(|| {
            write(&self.database, |transaction| {
                let mut table = transaction.open_table(table)?;
                for (key, value) in rows {
                    table.insert(key.as_slice(), value.as_slice())?;
                }
                Ok(())
            })
        });
        written.map_err(|source| BackupError::Database { source })
    }

    /// Brings a blob's file into the copy; false if it is gone or damaged.
    fn file(&self, hash: &Hash, len_bytes: u64) -> Result<bool, BackupError> {
        let to = self.layout.blob_file(hash);
        match self.shared.shelf.copy_out(hash, &to) {
            Ok(()) => {}
            Err(Unopened::Missing | Unopened::Damaged(_)) => return Ok(false),
            Err(Unopened::Io(error)) => {
                return Err(BackupError::io(&self.shared.shelf.name(hash))(error));
            }
        }
        let found_bytes = fs::metadata(&to).map_err(BackupError::io(&to))?.len();
        if found_bytes != len_bytes {
            tracing::warn!(%hash, "a damaged blob is left out of the backup");
            fs::remove_file(&to).map_err(BackupError::io(&to))?;
        }
        Ok(found_bytes == len_bytes)
    }

    /// Writes the totals, and makes everything survive a power cut.
    fn finish(self) -> Result<(), BackupError> {
        let Self { layout, database, counters, .. } = self;
        let closed = fenced(|| {
            write(&database, |transaction| put_counters(transaction, counters))?;
            database.close().map_err(Fault::from)
        });
        closed.map_err(|source| BackupError::Database { source })?;
        let shards = (0..=u8::MAX).map(|first| layout.shard_dir(first));
        for dir in shards.chain([layout.blobs_dir(), layout.dir().to_path_buf()]) {
            sync_dir(&dir).map_err(BackupError::io(&dir))?;
        }
        Ok(())
    }
}
