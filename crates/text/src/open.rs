//! Opening the directory: what is there is used if it can be trusted, and thrown away otherwise.
//!
//! Trusted means: our format, our note in the last commit, every file as long and with the checksum it was written with,
//! numbers that grow in every segment. All files are read for that, which for a million listings takes well below a
//! second. tantivy may panic on damaged files that it opens before we can look; that is caught and means damage too.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use roaring::RoaringBitmap;
use tantivy::directory::error::LockError;
use tantivy::directory::{DirectoryLock, INDEX_WRITER_LOCK, MmapDirectory};
use tantivy::index::IndexSettings;
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy};
use tantivy::store::Compressor;
use tantivy::{Directory, Index, IndexReader, IndexWriter, ReloadPolicy, TantivyError};

use crate::disk::{Disk, LoadError};
use crate::doomed::Doomed;
use crate::format::{self, Format};

/// How long to wait for whoever has the directory open. An index of this process that was just dropped may still be
/// writing its last commit.
const IN_USE_WAIT: Duration = Duration::from_secs(5);

/// How often to ask whether it is free.
const IN_USE_STEP: Duration = Duration::from_millis(50);

/// Memory for documents on their way to a segment, bytes. A full commit of our batches takes less, so that one commit
/// makes one segment.
const WRITER_BYTES: usize = 48 << 20;

/// Why an index cannot be opened. What is wrong with its content is no reason: that is thrown away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another index has it open.
    #[error("{} is in use", .0.display())]
    InUse(PathBuf),
    /// The directory cannot be made, read or emptied.
    #[error("{} cannot be used for the text index", .dir.display())]
    Directory {
        /// Which.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An empty index cannot be made there.
    #[error("a text index cannot be made")]
    Create(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The thread that writes cannot be started.
    #[error("the thread of the text index cannot be started")]
    Thread(#[source] io::Error),
}

/// Why what is there is not used.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("nothing there")]
    Empty,
    #[error("all of it is put again")]
    Unwanted,
    #[error("another format")]
    Format,
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

impl From<OpenError> for io::Error {
    /// An error of the system's kind that still says all of it.
    fn from(error: OpenError) -> Self {
        let kind = match &error {
            OpenError::InUse(_) => io::ErrorKind::ResourceBusy,
            OpenError::Directory { source, .. } | OpenError::Thread(source) => source.kind(),
            OpenError::Create(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<TantivyError> for Unfit {
    fn from(error: TantivyError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<LoadError> for Unfit {
    fn from(error: LoadError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// An open index.
pub(crate) struct Opened {
    pub(crate) index: Index,
    pub(crate) format: Format,
    pub(crate) writer: IndexWriter,
    pub(crate) reader: IndexReader,
    pub(crate) disk: Disk,
    pub(crate) kept_below: u32,
}

/// Opens the index in `dir`, without any number from `keep_below` on. Everything in `dir` belongs to the index.
pub(crate) fn open(dir: &Path, keep_below: u32) -> Result<Opened, OpenError> {
    let failed = |source| OpenError::Directory { dir: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let lock = lock(dir)?;
    let unfit = match catch_unwind(AssertUnwindSafe(|| check(dir, keep_below))) {
        Ok(Ok(kept)) => {
            drop(lock);
            match catch_unwind(AssertUnwindSafe(|| reuse(dir, kept.min(keep_below), kept))) {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(unfit)) => unfit,
                Err(_) => Unfit::Unreadable("tantivy panicked".to_owned()),
            }
        }
        Ok(Err(unfit)) => {
            drop(lock);
            unfit
        }
        Err(_) => {
            drop(lock);
            Unfit::Unreadable("tantivy panicked".to_owned())
        }
    };
    match unfit {
        Unfit::Empty | Unfit::Unwanted => {}
        unfit => tracing::warn!(dir = %dir.display(), %unfit, "the text index is made anew"),
    }
    let lock = self::lock(dir)?;
    wipe(dir).map_err(failed)?;
    drop(lock);
    create(dir).map_err(|error| OpenError::Create(error.into()))
}

/// A writer that merges only what it is told to.
pub(crate) fn writer(index: &Index) -> tantivy::Result<IndexWriter> {
    let options = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(WRITER_BYTES)
        .build();
    let writer = index.writer_with_options(options)?;
    writer.set_merge_policy(Box::new(NoMergePolicy));
    Ok(writer)
}

fn lock(dir: &Path) -> Result<DirectoryLock, OpenError> {
    let failed = |source| OpenError::Directory { dir: dir.to_owned(), source };
    let directory = MmapDirectory::open(dir).map_err(|error| failed(io::Error::other(error)))?;
    let start = Instant::now();
    loop {
        match directory.acquire_lock(&INDEX_WRITER_LOCK) {
            Ok(lock) => return Ok(lock),
            Err(LockError::LockBusy) if start.elapsed() < IN_USE_WAIT => {
                std::thread::sleep(IN_USE_STEP);
            }
            Err(LockError::LockBusy) => return Err(OpenError::InUse(dir.to_owned())),
            Err(LockError::IoError(error)) => return Err(failed(io::Error::other(error))),
        }
    }
}

/// Whether what is there can be used, and up to which number it is complete.
fn check(dir: &Path, keep_below: u32) -> Result<u32, Unfit> {
    let directory = MmapDirectory::open(dir).map_err(TantivyError::from)?;
    if !Index::exists(&directory).map_err(TantivyError::from)? {
        return Err(Unfit::Empty);
    }
    if keep_below == 0 {
        return Err(Unfit::Unwanted);
    }
    let index = Index::open(directory)?;
    if index.schema() != Format::new().schema {
        return Err(Unfit::Format);
    }
    let metas = index.load_metas()?;
    let kept_below = metas.payload.as_deref().and_then(format::read_note).ok_or(Unfit::Format)?;
    let segments: Vec<String> =
        metas.segments.iter().map(|segment| segment.id().uuid_string()).collect();
    for entry in std::fs::read_dir(dir)? {
        let path = PathBuf::from(entry?.file_name());
        // Other files are left over from merges, or are small and have been read already.
        let is_used = segments.iter().any(|id| path.to_string_lossy().starts_with(id));
        if is_used && !index.directory().validate_checksum(&path).map_err(TantivyError::from)? {
            return Err(Unfit::Damaged(path));
        }
    }
    Ok(kept_below)
}

/// Opens what is there and deletes all from `kept_below` on; the last commit says `noted` instead.
fn reuse(dir: &Path, kept_below: u32, noted: u32) -> Result<Opened, Unfit> {
    let format = Format::new();
    let index = Index::open_in_dir(dir)?;
    let mut writer = writer(&index)?;
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
    let mut disk = Disk::load(&reader, &format, &Disk::default())?;
    if kept_below < noted || disk.last_number().is_some_and(|last| last >= kept_below) {
        let listed = Arc::new(RoaringBitmap::new());
        writer.delete_query(Box::new(Doomed { listed, from: Some(kept_below) }))?;
        commit(&mut writer, kept_below)?;
        disk = Disk::load(&reader, &format, &disk)?;
    }
    Ok(Opened { index, format, writer, reader, disk, kept_below })
}

/// Removes all files but the one that is locked.
fn wipe(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() && !path.ends_with(&INDEX_WRITER_LOCK.filepath) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn create(dir: &Path) -> Result<Opened, LoadError> {
    let format = Format::new();
    let settings = IndexSettings {
        // Nothing is stored but the numbers and terms.
        docstore_compression: Compressor::None,
        docstore_compress_dedicated_thread: false,
        ..IndexSettings::default()
    };
    let directory = MmapDirectory::open(dir).map_err(TantivyError::from)?;
    let index = Index::create(directory, format.schema.clone(), settings)?;
    let mut writer = writer(&index)?;
    commit(&mut writer, 0)?;
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
    let disk = Disk::load(&reader, &format, &Disk::default())?;
    Ok(Opened { index, format, writer, reader, disk, kept_below: 0 })
}

/// Writes all to disk, with a note up to where that is complete.
pub(crate) fn commit(writer: &mut IndexWriter, kept_below: u32) -> tantivy::Result<()> {
    let mut commit = writer.prepare_commit()?;
    commit.set_payload(&format::note(kept_below));
    commit.commit()?;
    Ok(())
}
