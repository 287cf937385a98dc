//! The handle, and opening and closing.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase as _, ReadableTableMetadata as _,
    WriteTransaction,
};

use crate::batch::Batch;
use crate::error::{Fault, OpenError, ReadError, Row, WriteError, fenced};
use crate::layout::{Layout, sync_dir};
use crate::scan;
use crate::table::{
    BLOBS, COUNTERS_KEY, Collection, Counters, FORMAT_KEY, FORMAT_VERSION, META, PACKAGES,
    RECORD_IDS, RECORDS, SEAL_BYTES, Table, parse_u64, seal, unseal,
};
use crate::writer::Writer;

/// What redb may cache, bytes. Its own default of 1 GiB is too much beside models on a small machine; the catalogue
/// lives in memory elsewhere, and the kernel caches the file as well. When full, redb drops the oldest pages.
pub const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// A node's store. Clones share one open store; the directory is free again after [`Store::close`]. Dropping the last
/// clone closes it too, waiting for what is queued and ignoring errors.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    writer: Writer,
}

/// What the handles and the writer thread share.
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    /// `None` once closed. Locked only to start a transaction, and by the writer thread while it writes.
    opened: RwLock<Option<Opened>>,
}

struct Opened {
    database: Database,
    _lock: File,
}

/// How much the store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Records.
    pub records: u64,
    /// Their bytes, without what the store adds.
    pub record_bytes: u64,
    /// Packages whose manifest is here.
    pub packages: u64,
    /// Their manifests' bytes.
    pub package_bytes: u64,
    /// Documents of all collections.
    pub documents: u64,
    /// Blobs.
    pub blobs: u64,
    /// Their files' bytes.
    pub blob_bytes: u64,
    /// Length of the database file, bytes. It does not shrink by itself.
    pub catalogue_file_bytes: u64,
}

impl Store {
    /// Opens the store in `dir`, creating it if it is not there, and starts its writer thread. Blocking: a fraction
    /// of a second per gigabyte of catalogue, and after a crash, when redb walks its file first, some seconds.
    ///
    /// # Errors
    /// [`OpenError`]: in use, from a newer version, damaged, or the file system refused.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let layout = Layout::new(dir);
        let lock = layout.lock()?;
        layout.prepare()?;
        let path = layout.catalogue();
        if !path.try_exists().map_err(OpenError::io(&path))? {
            create_catalogue(&layout)?;
        }
        let database = fenced(|| builder().open(&path).map_err(Fault::from))
            .map_err(|fault| OpenError::from_fault(&path, fault))?;
        Self::start(layout, lock, database)
    }

    /// Checks an open database and starts the writer on it.
    pub(crate) fn start(layout: Layout, lock: File, database: Database) -> Result<Self, OpenError> {
        let path = layout.catalogue();
        let fault = |fault| OpenError::from_fault(&path, fault);
        let found = fenced(|| format_of(&database)).map_err(fault)?;
        if found > FORMAT_VERSION {
            return Err(OpenError::NewerFormat { found, supported: FORMAT_VERSION });
        }
        let counters = fenced(|| load_counters(&database)).map_err(fault)?;
        let opened = RwLock::new(Some(Opened { database, _lock: lock }));
        let shared = Arc::new(Shared { layout, opened });
        let writer = Writer::start(Arc::clone(&shared), counters)
            .map_err(OpenError::io(shared.layout.dir()))?;
        Ok(Self { inner: Arc::new(Inner { shared, writer }) })
    }

    /// Writes a batch. When this returns `Ok` all of it is on disk. Waits while the queue is full. When the future is
    /// dropped before it is ready the batch is written whole or not at all.
    ///
    /// # Errors
    /// [`WriteError`]; see there for what happened to the batch.
    pub async fn commit(&self, batch: Batch) -> Result<(), WriteError> {
        self.inner.writer.commit(batch).await
    }

    /// [`Store::commit`] for threads outside the async runtime.
    ///
    /// # Errors
    /// As [`Store::commit`].
    ///
    /// # Panics
    /// When called from an async task.
    pub fn commit_blocking(&self, batch: Batch) -> Result<(), WriteError> {
        self.inner.writer.commit_blocking(batch)
    }

    /// Writes what is queued, refuses what comes later, stops the writer thread and frees the directory, for all
    /// clones. Calling it again is harmless, and may return while the first call still writes.
    ///
    /// # Errors
    /// [`WriteError::Failed`] if the database could not be closed cleanly; nothing acknowledged is lost.
    pub async fn close(&self) -> Result<(), WriteError> {
        self.inner.writer.close().await
    }

    /// [`Store::close`] for threads outside the async runtime.
    ///
    /// # Errors
    /// As [`Store::close`].
    ///
    /// # Panics
    /// When called from an async task.
    pub fn close_blocking(&self) -> Result<(), WriteError> {
        self.inner.writer.close_blocking()
    }

    /// How much the store holds, from running totals. Blocking, short.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn usage(&self) -> Result<Usage, ReadError> {
        let shared = &self.inner.shared;
        shared.read(|transaction| {
            let meta = transaction.open_table(META)?;
            let row = meta.get(COUNTERS_KEY)?;
            let counters = row
                .and_then(|row| unseal(META, COUNTERS_KEY, row.value()).and_then(Counters::decode))
                .ok_or(ReadError::Corrupt { what: Row::Counters })?;
            let mut documents = 0_u64;
            for collection in Collection::ALL {
                let len = transaction.open_table(collection.table())?.len()?;
                documents = documents.saturating_add(len);
            }
            Ok(Usage {
                records: counters.records,
                record_bytes: counters.record_bytes,
                packages: transaction.open_table(PACKAGES)?.len()?,
                package_bytes: counters.package_bytes,
                documents,
                blobs: transaction.open_table(BLOBS)?.len()?,
                blob_bytes: counters.blob_bytes,
                catalogue_file_bytes: fs::metadata(shared.layout.catalogue())
                    .map_or(0, |metadata| metadata.len()),
            })
        })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.inner.shared.layout.dir()).finish()
    }
}

impl Shared {
    /// Runs `work` on a snapshot. Whatever was acknowledged before this call is in it.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        fenced(|| {
            let transaction = {
                let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
                opened.as_ref().ok_or(ReadError::Closed)?.database.begin_read()?
            };
            work(&transaction)
        })
    }

    /// The payload at `key`, checked. `what` names the row if it is damaged.
    pub(crate) fn payload(
        &self,
        table: Table,
        key: &[u8],
        what: impl FnOnce() -> Row,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|transaction| {
            let Some(row) = transaction.open_table(table)?.get(key)? else { return Ok(None) };
            match unseal(table, key, row.value()) {
                Some(payload) => Ok(Some(payload.to_vec())),
                None => Err(ReadError::Corrupt { what: what() }),
            }
        })
    }

    /// Runs `work` in a write transaction and commits it. Only for the writer thread.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.as_ref().ok_or(Fault::inconsistent("written after close"))?;
        fenced(|| write(&opened.database, work))
    }

    /// Closes the database and gives up the lock. Only for the writer thread, as its last act.
    pub(crate) fn close(&self) -> Result<(), Fault> {
        let opened = self.opened.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Opened { database, _lock }) = opened else { return Ok(()) };
        fenced(|| database.close().map_err(Fault::from))
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_repair_callback(|session| {
        tracing::info!(
            progress = session.progress(),
            "the store was not closed; checking the catalogue"
        );
    });
    builder
}

/// Prepares a catalogue beside its place and renames it, so that a kill in between leaves none rather than half of one.
fn create_catalogue(layout: &Layout) -> Result<(), OpenError> {
    let (new, path) = (layout.new_catalogue(), layout.catalogue());
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::Io { path: new, source: error });
        }
        _ => {}
    }
    fenced(|| {
        let database = builder().create(&new)?;
        initialise(&database)?;
        database.close().map_err(Fault::from)
    })
    .map_err(|fault| OpenError::from_fault(&new, fault))?;
    fs::rename(&new, &path).map_err(OpenError::io(&path))?;
    sync_dir(layout.dir()).map_err(OpenError::io(layout.dir()))
}

/// Creates all tables and the rows of `meta`.
pub(crate) fn initialise(database: &Database) -> Result<(), Fault> {
    write(database, |transaction| {
        for table in [RECORDS, RECORD_IDS, PACKAGES, BLOBS] {
            transaction.open_table(table)?;
        }
        for collection in Collection::ALL {
            transaction.open_table(collection.table())?;
        }
        let version = FORMAT_VERSION.to_be_bytes();
        let sealed = seal(META, FORMAT_KEY, &[&version]);
        transaction.open_table(META)?.insert(FORMAT_KEY, sealed.as_slice())?;
        put_counters(transaction, Counters::default())
    })
}

pub(crate) fn put_counters(
    transaction: &WriteTransaction,
    counters: Counters,
) -> Result<(), Fault> {
    let sealed = seal(META, COUNTERS_KEY, &[&counters.encode()]);
    transaction.open_table(META)?.insert(COUNTERS_KEY, sealed.as_slice())?;
    Ok(())
}

fn write<T>(
    database: &Database,
    work: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut transaction = database.begin_write()?;
    // Recovery from a crash during recovery is sound for this mode in all versions we may meet.
    transaction.set_two_phase_commit(true);
    let value = work(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

fn format_of(database: &Database) -> Result<u32, Fault> {
    let meta = database.begin_read()?.open_table(META)?;
    let row = meta.get(FORMAT_KEY)?.ok_or(Fault::inconsistent("it does not say its format"))?;
    unseal(META, FORMAT_KEY, row.value())
        .and_then(|payload| payload.try_into().ok().map(u32::from_be_bytes))
        .ok_or(Fault::inconsistent("the row with its format is damaged"))
}

/// The totals; counted anew, which reads everything once, if their row is damaged.
fn load_counters(database: &Database) -> Result<Counters, Fault> {
    let meta = database.begin_read()?.open_table(META)?;
    if let Some(row) = meta.get(COUNTERS_KEY)?
        && let Some(counters) = unseal(META, COUNTERS_KEY, row.value()).and_then(Counters::decode)
    {
        return Ok(counters);
    }
    tracing::warn!("the totals of the store are damaged; counting again");
    let transaction = database.begin_read()?;
    let mut counters = Counters::default();
    let mut sum = |table, add: &mut dyn FnMut(&mut Counters, &[u8])| {
        scan::each(&transaction, table, |_, value| add(&mut counters, value))
    };
    sum(RECORDS, &mut |counters, value| counters.add_record(value))?;
    sum(PACKAGES, &mut |counters, value| counters.add_package(value))?;
    sum(BLOBS, &mut |counters, value| counters.add_blob(value))?;
    write(database, |transaction| put_counters(transaction, counters))?;
    Ok(counters)
}

/// What a stored value adds to the totals, and takes away when it goes. Damaged values count with their length.
impl Counters {
    pub(crate) fn add_record(&mut self, value: &[u8]) {
        self.records = self.records.saturating_add(1);
        self.record_bytes = self.record_bytes.saturating_add(record_len(value));
    }

    pub(crate) fn remove_record(&mut self, value: &[u8]) {
        self.records = self.records.saturating_sub(1);
        self.record_bytes = self.record_bytes.saturating_sub(record_len(value));
    }

    pub(crate) fn add_package(&mut self, value: &[u8]) {
        self.package_bytes = self.package_bytes.saturating_add(payload_len(value));
    }

    pub(crate) fn remove_package(&mut self, value: &[u8]) {
        self.package_bytes = self.package_bytes.saturating_sub(payload_len(value));
    }

    pub(crate) fn add_blob(&mut self, value: &[u8]) {
        self.blob_bytes = self.blob_bytes.saturating_add(blob_len(value));
    }

    pub(crate) fn remove_blob(&mut self, value: &[u8]) {
        self.blob_bytes = self.blob_bytes.saturating_sub(blob_len(value));
    }
}

fn payload_len(value: &[u8]) -> u64 {
    value.len().saturating_sub(SEAL_BYTES) as u64
}

fn record_len(value: &[u8]) -> u64 {
    payload_len(value).saturating_sub(32)
}

fn blob_len(value: &[u8]) -> u64 {
    value.get(SEAL_BYTES..).and_then(parse_u64).unwrap_or(0)
}
