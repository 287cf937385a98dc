//! The error families: opening, reading, writing, blobs. All faults here are this node's or its storage's; none is a
//! peer's.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guildhall_protocol::{Hash, PackageId, PublicKey, RecordId};

use crate::table::Collection;

mod fault;
mod remote;

use fault::Cause;
pub use fault::Fault;
pub(crate) use fault::fenced;
pub use remote::{RemoteError, RemoteFault};

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
    /// An older Guildhall wrote this store, in a form that is not read any more.
    #[error("the store has format {found}, this program reads only {supported}; make a new home")]
    OlderFormat {
        /// The format in the store.
        found: u32,
        /// The only format this program reads.
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
    /// The storage for blobs cannot be used as it is configured.
    #[error("cannot use bucket `{bucket}` at {endpoint}: {source}")]
    Remote {
        /// The server.
        endpoint: String,
        /// The bucket.
        bucket: String,
        /// What went wrong there.
        source: RemoteError,
    },
    /// The store keeps its blobs in one place and was to be opened with another.
    #[error("this store keeps its blobs in {made}, not in {asked}")]
    OtherBackend {
        /// Where its blobs are.
        made: String,
        /// Where they were said to be.
        asked: String,
    },
    /// The place for blobs is another store's, or was emptied.
    #[error("{place} is not this store's: {why}")]
    NotOurs {
        /// The place.
        place: String,
        /// What was found there.
        why: &'static str,
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
        match fault.cause() {
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
            Cause::Io(_) => Self::Database { path, source: fault },
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

/// Why a batch was not written. The batch had no effect, except after [`WriteError::Failed`] and
/// [`WriteError::NoSpace`], where reading shows whether it had.
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
    /// The disk is full, or a quota is used up. The store takes writes again once there is room.
    #[error("no space left to write the catalogue: {source}")]
    NoSpace {
        /// What the database said.
        source: Fault,
    },
    /// The database failed, now or earlier, and could not be brought back. The next write tries again.
    #[error("the catalogue cannot be written: {source}")]
    Failed {
        /// What it said.
        source: Fault,
    },
}

impl WriteError {
    /// Whether room on the disk is what is missing.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Blob { source, .. } => is_no_space(source.kind()),
            Self::Closed | Self::TooLarge { .. } | Self::Failed { .. } => false,
        }
    }

    /// What is wrong with the storage elsewhere, if that is the reason.
    #[must_use]
    pub fn remote_fault(&self) -> Option<RemoteFault> {
        match self {
            Self::Blob { source, .. } => RemoteFault::of(source),
            _ => None,
        }
    }

    /// Sorts what the database said into the families above.
    pub(crate) fn from_fault(source: Fault) -> Self {
        match source.io_kind().is_some_and(is_no_space) {
            true => Self::NoSpace { source },
            false => Self::Failed { source },
        }
    }
}

/// A full disk and a used-up quota are the same to who wants to write.
pub(crate) fn is_no_space(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
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
    /// The disk is full, or a quota is used up.
    #[error("no space left for {}: {source}", path.display())]
    NoSpace {
        /// What was written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was to be imported is no plain file, or is not in the folder for it.
    #[error("{} cannot be imported: {why}", path.display())]
    NotImportable {
        /// What was named.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another part of this process is receiving or mending this blob, or this piece of it.
    #[error("blob {hash} is being written already")]
    Busy {
        /// The blob.
        hash: Hash,
    },
    /// CVs that do not lead to the blob's hash, or a blob that has none: whoever sent them, or the length, lied.
    #[error("that is not the tree of blob {hash}")]
    WrongTree {
        /// The blob.
        hash: Hash,
    },
    /// A group that is not the one in the tree: whoever sent it lied.
    #[error("group {group} of piece {piece} of blob {hash} is not what its tree says")]
    WrongGroup {
        /// The blob.
        hash: Hash,
        /// The piece.
        piece: u64,
        /// The group's number in the piece.
        group: u64,
    },
    /// Parts of the blob have not come yet.
    #[error("blob {hash} is not whole yet")]
    Incomplete {
        /// The blob.
        hash: Hash,
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
        move |source| match is_no_space(source.kind()) {
            true => Self::NoSpace { path, source },
            false => Self::Io { path, source },
        }
    }

    /// Whether room on the disk is what is missing.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Write(error) => error.is_no_space(),
            _ => false,
        }
    }

    /// What is wrong with the storage elsewhere, if that is the reason.
    #[must_use]
    pub fn remote_fault(&self) -> Option<RemoteFault> {
        match self {
            Self::Io { source, .. } | Self::NoSpace { source, .. } => RemoteFault::of(source),
            Self::Write(error) => error.remote_fault(),
            _ => None,
        }
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
    /// Bytes have changed.
    #[error("changed pieces: {pieces}, the first at byte {first_offset}")]
    Content {
        /// How many pieces of [`PIECE_BYTES`](guildhall_protocol::tree::PIECE_BYTES) are damaged; all if the blob's
        /// tree is damaged too.
        pieces: u64,
        /// Where the first of them begins.
        first_offset: u64,
    },
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
    /// A row of a blob's tree.
    Tree {
        /// The blob.
        hash: Hash,
        /// The piece whose groups it lists; none for the list of pieces.
        piece: Option<u64>,
    },
    /// The row of a blob that is not whole yet.
    Partial(Hash),
    /// The row that holds the totals.
    Counters,
    /// A row whose key is damaged, or that belongs nowhere.
    Unknown {
        /// Its table.
        table: String,
        /// Its key.
        key: Vec<u8>,
    },
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
            Self::Tree { hash, piece: Some(piece) } => {
                write!(f, "the tree of piece {piece} of blob {hash}")
            }
            Self::Tree { hash, piece: None } => write!(f, "the piece list of blob {hash}"),
            Self::Partial(hash) => write!(f, "the row of unfinished blob {hash}"),
            Self::Counters => f.write_str("the row of totals"),
            Self::Unknown { table, key } => write!(f, "row {} of {table}", key.escape_ascii()),
        }
    }
}
