//! The handle, and opening and closing.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableTableMetadata as _};

use crate::backend::{Backend, Place};
use crate::batch::Batch;
use crate::counters::Counters;
use crate::database::{builder, create_catalogue, format_of, load_counters};
use crate::error::{OpenError, ReadError, Row, WriteError, fenced};
use crate::layout::Layout;
use crate::partial;
use crate::shared::{Medium, Shared};
use crate::table::{
    BLOBS, COUNTERS_KEY, Collection, FORMAT_VERSION, META, PACKAGES, PARTIALS, unseal,
};
use crate::writer::{Writer, prepare_blobs};

/// A node's store. Clones share one open store; the directory is free again after [`Store::close`]. Dropping the last
/// clone closes it too, waiting for what is queued and ignoring errors.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
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
    /// Their bytes.
    pub blob_bytes: u64,
    /// Blobs that are not whole yet.
    pub partials: u64,
    /// Length of the database file, bytes. It does not shrink by itself.
    pub catalogue_file_bytes: u64,
}

impl Store {
    /// Opens the store in `dir` with its blobs in its own directory, creating it if it is not there, and starts its
    /// writer thread. Blocking: a fraction of a second per gigabyte of catalogue, and after a crash, when redb walks
    /// its file first, some seconds.
    ///
    /// # Errors
    /// [`OpenError`]: in use, from another version, damaged, made for blobs elsewhere, or the file system refused.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(dir, &Backend::Directory)
    }

    /// [`Store::open`] with blobs where `backend` says. What is elsewhere is tried first: a small object is written,
    /// read and removed there. A store stays with the backend that it was made with.
    ///
    /// # Errors
    /// [`OpenError`]; also if what is elsewhere cannot be used, or this store's blobs are not there.
    pub fn open_with(dir: &Path, backend: &Backend) -> Result<Self, OpenError> {
        let layout = Layout::new(dir);
        let lock = layout.lock()?;
        layout.prepare()?;
        let layout = Arc::new(layout);
        let place = backend.connect(&layout)?;
        let path = layout.catalogue();
        if !path.try_exists().map_err(OpenError::io(&path))? {
            let binding = place.new_binding().map_err(OpenError::io(&path))?;
            create_catalogue(&layout, binding.as_ref())?;
        }
        Self::start_at(layout, lock, Box::new(move || Ok(builder().open(&path)?)), place)
    }

    /// Opens the database and checks it, and starts the writer on it.
    #[cfg(test)]
    pub(crate) fn start(layout: Layout, lock: File, medium: Medium) -> Result<Self, OpenError> {
        let layout = Arc::new(layout);
        let place = Place::directory(&layout);
        Self::start_at(layout, lock, medium, place)
    }

    /// Opens the database and checks it, and starts the writer on it.
    pub(crate) fn start_at(
        layout: Arc<Layout>,
        lock: File,
        medium: Medium,
        place: Place,
    ) -> Result<Self, OpenError> {
        let path = layout.catalogue();
        let fault = |fault| OpenError::from_fault(&path, fault);
        let database: Database = fenced(&medium).map_err(fault)?;
        let (found, supported) = (fenced(|| format_of(&database)).map_err(fault)?, FORMAT_VERSION);
        if found > supported {
            return Err(OpenError::NewerFormat { found, supported });
        }
        if found < supported {
            return Err(OpenError::OlderFormat { found, supported });
        }
        let shelf = place.bind(&database, &path)?;
        let counters: Counters = fenced(|| load_counters(&database)).map_err(fault)?;
        let shared = Arc::new(Shared::new(layout, shelf, lock, database, medium));
        partial::remove_strays(&shared)?;
        let writer = Writer::start(Arc::clone(&shared), counters)
            .map_err(OpenError::io(shared.layout.dir()))?;
        Ok(Self { inner: Arc::new(Inner { shared, writer }) })
    }

    /// The directory the store is in.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.inner.shared.layout.dir().to_path_buf()
    }

    /// Writes a batch. When this returns `Ok` all of it is on disk, and its blobs are where this store has them; if that
    /// is elsewhere, that takes as long as sending them. Waits while the queue is full. When the future is dropped
    /// before it is ready the batch is written whole or not at all.
    ///
    /// # Errors
    /// [`WriteError`]; see there for what happened to the batch.
    pub async fn commit(&self, mut batch: Batch) -> Result<(), WriteError> {
        let shared = &self.inner.shared;
        if shared.shelf.is_far() && batch.has_files() {
            let shared = Arc::clone(shared);
            let prepared = tokio::task::spawn_blocking(move || {
                prepare_blobs(&*shared.shelf, &mut batch)?;
                Ok(batch)
            });
            // Not begun when the runtime stops.
            batch = prepared.await.unwrap_or(Err(WriteError::Closed))?;
        }
        self.inner.writer.commit(batch).await
    }

    /// [`Store::commit`] for threads outside the async runtime.
    ///
    /// # Errors
    /// As [`Store::commit`].
    ///
    /// # Panics
    /// When called from an async task.
    pub fn commit_blocking(&self, mut batch: Batch) -> Result<(), WriteError> {
        let shelf = &*self.inner.shared.shelf;
        if shelf.is_far() {
            prepare_blobs(shelf, &mut batch)?;
        }
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
                partials: transaction.open_table(PARTIALS)?.len()?,
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
