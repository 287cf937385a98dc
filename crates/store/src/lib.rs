//! What a node keeps on disk: one redb file of rows and a folder of blob files.
//!
//! ```text
//! DIR/lock                who has the directory open (an advisory lock, held while it is)
//! DIR/catalogue.redb      all rows: records, packages, documents, one row per blob
//! DIR/blobs/ab/<64 hex>   blob files, named by their BLAKE3 hash
//! DIR/tmp/                blobs on their way in; emptied at every start
//! ```
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
//!   row. When a blob is forgotten the row goes first. A blob file without a row is harmless: fetching the blob again
//!   replaces it.
//! - **redb may panic on damaged files.** Every call into it is fenced, and a panic becomes an error.
//!
//! # Tasks
//! One thread per open store, `store-writer`, owns every write transaction and every rename in `blobs/`; it answers to
//! a bounded queue and puts all waiting batches into one transaction. Reads run on the caller's thread and block for
//! as long as a few page reads take; calls that read or write whole blobs say so and belong on a blocking thread.
//!
//! # After a failure
//! When a transaction fails (disk full, I/O error) redb refuses further work on the file, so every later write answers
//! [`WriteError::Failed`] until the directory is opened again. Nothing acknowledged is lost.

mod error;
mod layout;
mod table;

mod batch;
mod store;
mod writer;

mod blob;
mod document;
mod record;
mod scan;

#[cfg(test)]
mod tests;

pub use batch::{BATCH_MAX_BYTES, Batch, DOCUMENT_KEY_MAX_BYTES, ROW_MAX_BYTES};
pub use blob::{BlobWriter, COPY_BUFFER_BYTES, StagedBlob, StoredBlob};
pub use document::{DOCUMENT_PAGE_MAX_BYTES, DocumentPage};
pub use error::{BlobDamage, BlobError, Fault, OpenError, ReadError, Row, WriteError};
pub use record::{LOAD_REPORT_MAX_ROWS, LoadReport, StoredRecord};
pub use store::{CACHE_BYTES, Store, Usage};
pub use table::{Collection, FORMAT_VERSION};
pub use writer::{GROUP_MAX_BYTES, QUEUE_CAPACITY};
