//! The error families: opening, reading, writing, blobs. All faults here are local; none is a peer's.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guildhall_protocol::{Hash, PackageId, PublicKey, RecordId};

use crate::table::Collection;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another handle in this one, has the directory open.
    #[error("{} is in use by another process", dir.display())]
    Locked {
        /// The store's directory.
        dir: PathBuf,
    },
    /// A newer Guildhall wrote this store.
    #[error("the store has format {found}, this program knows up to {supported}")]
    NewerFormat {
        /// The format in the store.
        found: u32,
        /// The newest format this program reads.
        supported: u32,
    },
    /// The catalogue is damaged, or is no catalogue.
    #[error("{} is damaged: {source}", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// What was noticed.
        source: Fault,
    },
    /// The database refused for another reason.
    #[error("cannot open {}: {source}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What it said.
        source: Fault,
    },
    /// The file system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// For `map_err`: an I/O error at `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    /// Sorts a database error into the families above.
    pub(crate) fn from_fault(path: &Path, fault: Fault) -> Self {
        let path = path.to_path_buf();
        match &*fault.0 {
            Cause::Redb(redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch) => {
                Self::Locked { dir: path.parent().map_or(path.clone(), Path::to_path_buf) }
            }
            // redb's words for "not a database" and "shorter than it says" are I/O errors of these kinds.
            Cause::Redb(redb::Error::Io(error))
                if !matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Self::Database { path, source: fault }
            }
            Cause::Redb(
                redb::Error::UpgradeRequired(_)
                | redb::Error::RepairAborted
                | redb::Error::PreviousIo,
            ) => Self::Database { path, source: fault },
            Cause::Redb(_) | Cause::Panic(_) | Cause::Inconsistent(_) => {
                Self::Corrupt { path, source: fault }
            }
        }
    }
}

/// Why a read gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A row is there but is not what was written. Writing it again repairs it.
    #[error("{what} is damaged on disk")]
    Corrupt {
        /// The damaged row.
        what: Row,
    },
    /// The database could not be read.
    #[error("the catalogue cannot be read: {source}")]
    Database {
        /// What it said.
        source: Fault,
    },
}

/// Why a batch was not written. The batch had no effect, except after [`WriteError::Failed`], where a
/// restart shows whether it had.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The store was closed before the batch was accepted.
    #[error("the store is closed")]
    Closed,
    /// A part of the batch is over its bound; nothing was queued.
    #[error("{what} of {found_bytes} bytes is over the limit of {max_bytes}")]
    TooLarge {
        /// Which bound.
        what: &'static str,
        /// The size asked for.
        found_bytes: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// A staged blob could not be moved into place; other batches are unaffected.
    #[error("cannot put {} into place: {source}", path.display())]
    Blob {
        /// Where the blob belongs.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The database failed, now or earlier. Every later write fails too until the store is opened again.
    #[error("the catalogue cannot be written: {source}")]
    Failed {
        /// What it said.
        source: Fault,
    },
}

/// Why a blob could not be written, or given out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// There is no such blob here.
    #[error("blob {hash} is not here")]
    Missing {
        /// The blob asked for.
        hash: Hash,
    },
    /// The blob's file is not what was stored. Forget it and fetch it again.
    #[error("blob {hash} is damaged: {damage}")]
    Damaged {
        /// The blob.
        hash: Hash,
        /// What is wrong with its file.
        damage: BlobDamage,
    },
    /// The bytes that came in are not the ones that were announced.
    #[error("expected blob {expected}, the bytes are {found}")]
    HashMismatch {
        /// What was announced.
        expected: Hash,
        /// What came.
        found: Hash,
    },
    /// More bytes than agreed.
    #[error("the blob is over its limit of {max_len_bytes} bytes")]
    TooLong {
        /// The limit.
        max_len_bytes: u64,
    },
    /// The file system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The blob's row could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The blob's row could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// An earlier write of this blob failed, or the runtime stopped the blocking task.
    #[error("stopped before the blob was whole")]
    Interrupted,
}

impl BlobError {
    /// For `map_err`: an I/O error at `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

/// What is wrong with a blob's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobDamage {
    /// The row names a file that is not there.
    #[error("its file is gone")]
    FileMissing,
    /// The file is shorter or longer than its row says.
    #[error("its file has {found_bytes} bytes instead of {expected_bytes}")]
    Length {
        /// Length in the row.
        expected_bytes: u64,
        /// Length of the file.
        found_bytes: u64,
    },
    /// The file's bytes do not hash to its name.
    #[error("its bytes have changed")]
    Content,
}

/// Names a row in an error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Row {
    /// A record, by its place in its log.
    Record {
        /// The log's key.
        author: PublicKey,
        /// The place in the log.
        seq: u64,
    },
    /// The row that says where the record with this id is.
    RecordId(RecordId),
    /// A package's manifest.
    Package(PackageId),
    /// A document.
    Document {
        /// The collection it is in.
        collection: Collection,
        /// Its key.
        key: Vec<u8>,
    },
    /// The row of a blob (not its file).
    Blob(Hash),
    /// The row that holds the totals.
    Counters,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { author, seq } => write!(f, "record {seq} of {author}"),
            Self::RecordId(id) => write!(f, "the index row of record {id}"),
            Self::Package(id) => write!(f, "package {id}"),
            Self::Document { collection, key } => {
                write!(f, "document {} in {collection:?}", key.escape_ascii())
            }
            Self::Blob(hash) => write!(f, "the row of blob {hash}"),
            Self::Counters => f.write_str("the row of totals"),
        }
    }
}

/// What the database said. Opaque, so that no other crate names redb.
#[derive(Debug, Clone)]
pub struct Fault(Arc<Cause>);

#[derive(Debug)]
enum Cause {
    Redb(redb::Error),
    Panic(String),
    Inconsistent(&'static str),
}

impl Fault {
    /// The kind of the I/O error behind this fault, if there is one: tells a full disk from a broken one.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match &*self.0 {
            Cause::Redb(redb::Error::Io(error)) => Some(error.kind()),
            _ => None,
        }
    }

    /// Something that no program of ours writes.
    pub(crate) fn inconsistent(what: &'static str) -> Self {
        Self(Arc::new(Cause::Inconsistent(what)))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::Redb(error) => error.fmt(f),
            Cause::Panic(message) => write!(f, "the database stopped on damaged data: {message}"),
            Cause::Inconsistent(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Fault {}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        Self(Arc::new(Cause::Redb(error)))
    }
}

impl From<Fault> for ReadError {
    fn from(source: Fault) -> Self {
        match &*source.0 {
            Cause::Redb(redb::Error::DatabaseClosed) => Self::Closed,
            _ => Self::Database { source },
        }
    }
}

/// `?` on redb's own error types, in code that returns `Fault` or `ReadError`.
macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        }

        impl From<$error> for ReadError {
            fn from(error: $error) -> Self {
                Fault::from(error).into()
            }
        }
    )*};
}

from_redb!(
    redb::CommitError,
    redb::DatabaseError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError
);

/// Runs `work` and turns a panic inside redb into an error: it may panic on a damaged file.
pub(crate) fn fenced<T, E: From<Fault>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    // Nothing that `work` borrows is used after a panic except redb's own handles, which poison themselves.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(E::from(Fault(Arc::new(Cause::Panic(panic_message(&*panic)))))))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}
