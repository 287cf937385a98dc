//! What a node keeps on disk: one redb file of rows and a folder of blob files.
//!
//! ```text
//! DIR/lock                who has the directory open (an advisory lock, held while it is)
//! DIR/catalogue.redb      all rows: records, packages, documents, small blobs, trees of large ones
//! DIR/blobs/ab/<64 hex>   blobs of more than one group (16 KiB), named by their BLAKE3 hash
//! DIR/partial/<64 hex>    blobs of which some pieces have come
//! DIR/incoming/           where a client on this machine puts files to be adopted; emptied at every start
//! DIR/tmp/                blobs on their way in; emptied at every start
//! DIR/cache/<64 hex>      blobs that are kept elsewhere and were fetched, the least recently used go first
//! ```
//!
//! With `Backend::S3` (feature `s3`) what would be in `DIR/blobs/` is in a bucket instead, under the same names. All
//! else stays: rows, trees, blobs of one group, and blobs that are not whole.
//!
//! This is the only crate that names redb. It does not interpret what it keeps: records, manifests and documents are
//! opaque bytes, kept as they came.
//!
//! # Invariants
//! - **Acknowledged is durable.** [`Store::commit`] returns after two-phase commit and fsync. A [`Batch`] is applied
//!   whole or not at all.
//! - **Values verify themselves.** redb does not check checksums on ordinary reads, so every value starts with a hash
//!   over its table, key and payload that each read checks. Wrong bytes are never returned: a damaged row is an error
//!   that names it, and writing the row again repairs it. What a damaged page can do unseen is hide a row; a scan of
//!   all records counts those ([`LoadReport::missing`]).
//! - **A row that names a blob is younger than the file**: file synced, renamed into place, directory synced, then the
//!   row; or object written and found there with its length, then the row. When a blob is forgotten the row goes first. A blob file without a row is harmless: fetching the blob again
//!   replaces it, and a sweep removes it.
//! - **A blob with a file has its tree** ([`guildhall_protocol::tree`]), written in the transaction of its row or in
//!   ones before. It goes when neither a blob nor a [`Partial`] needs it any more. So any part of a blob can be given
//!   out with what proves it, and damage is found and mended piece by piece ([`Store::repair`]).
//! - **A piece in the row of a partial blob is in its file**: every group checked, file synced, then the row. What else
//!   is in the file does not count.
//! - **redb may panic on damaged files.** Every call into it is fenced, and a panic becomes an error.
//!
//! # Ways in
//! [`Store::blob_writer`] takes bytes as they arrive, [`Store::import_file`] a local file with several threads, and
//! [`Store::partial`] pieces in any order over several lives of the process. All end in a [`StagedBlob`], which
//! [`Batch::add_blob`] makes a blob together with the rows that need it.
//!
//! # Upkeep
//! [`Store::sweep`] removes what is not live, [`Store::scrub`] looks for damage, [`Store::backup`] makes a copy that
//! opens. All run while the store is in use.
//!
//! # Tasks
//! One thread per open store, `store-writer`, owns every write transaction and every rename and removal in `blobs/`; it
//! answers to a bounded queue and puts all waiting batches into one transaction. Reads run on the caller's thread and
//! block for as long as a few page reads take; calls that read or write whole blobs say so and belong on a blocking
//! thread.
//!
//! # After a failure
//! When a transaction fails (disk full, I/O error) redb refuses further work on the file. The writer then drops the
//! database and opens it anew: once right away, so that reads go on, and once with every further batch until it works.
//! Nothing is synced a second time that failed to sync. Nothing acknowledged is lost; the failed batch had an effect
//! or not, which reading shows. When an I/O error strikes a read, the next batch opens the database anew; an empty one
//! will do. [`WriteError::is_no_space`] and [`BlobError::is_no_space`] tell a full disk from a broken one.

mod error;
mod faults;
mod layout;
mod row;
mod table;

mod backend;
mod counters;
mod database;
#[cfg(feature = "s3")]
mod remote;
mod shared;
mod shelf;

mod batch;
mod store;
mod writer;

mod blob;
mod document;
mod partial;
mod record;
mod scan;

mod backup;
mod repair;
mod scrub;
mod sweep;

#[cfg(test)]
mod tests;

pub use backend::Backend;
#[cfg(feature = "s3")]
pub use backend::{CACHE_MAX_BYTES_DEFAULT, Credentials, S3};
pub use backup::BackupError;
pub use batch::{BATCH_MAX_BYTES, Batch, DOCUMENT_KEY_MAX_BYTES, ROW_MAX_BYTES};
pub use blob::{BlobWriter, COPY_BUFFER_BYTES, HASH_THREADS_MAX, Import, StagedBlob, StoredBlob};
pub use database::CACHE_BYTES;
pub use document::{DOCUMENT_PAGE_MAX_BYTES, DocumentPage};
pub use error::{
    BlobDamage, BlobError, Fault, OpenError, ReadError, RemoteError, RemoteFault, Row, WriteError,
};
pub use partial::{Partial, PartialInfo, PieceWriter};
pub use record::{LOAD_REPORT_MAX_ROWS, LoadReport, StoredRecord};
pub use row::BLOB_MAX_BYTES;
pub use scrub::{ScrubItem, ScrubReport};
pub use store::{Store, Usage};
pub use sweep::Sweep;
pub use table::{Collection, FORMAT_VERSION};
pub use writer::{GROUP_MAX_BYTES, QUEUE_CAPACITY};
