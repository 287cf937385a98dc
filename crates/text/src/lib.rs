//! Full-text index of listings on disk, behind the port [`guildhall_catalog::text::TextIndex`]. The only crate that
//! names tantivy, but for the benchmark that measures the two side by side.
//!
//! ```text
//! put ──> open batch ──> sealed batches ──> thread "text-index" ──> segments of tantivy, merged now and then
//!         (memory)       (memory)           (owns the writer)       (disk, mapped into memory)
//! find reads all three under one lock; a batch leaves memory in the moment in which its segment can be read
//! ```
//!
//! # Invariants
//! - **Every number is found exactly once**: it is in the open batch, in a sealed one or in a segment, never in two of
//!   them. What moves it on changes both sides under one lock.
//! - **Values are those of [`MemoryIndex`](guildhall_catalog::text::MemoryIndex)**, to the last bit: the same best hit
//!   of each word, the same order of adding. Values of tantivy's own scoring are not used. Two things differ: listings
//!   deleted on disk are counted until they are merged away, and of a word that starts thousands of terms some are not
//!   looked at.
//! - **[`kept_below`](guildhall_catalog::text::TextIndex::kept_below) is honest**: it is written in the commit itself,
//!   and everything put below it is in that commit.
//! - **Numbers grow inside every segment**: batches are written in order, only neighbours are merged, and in order. So
//!   a set of numbers becomes a set of documents by walking both.
//!
//! # On disk
//! One tantivy index fills the directory; the [`format`] module says what is in it. Nothing there cannot be made again
//! from the listings, so whatever is damaged, of another version or unreadable is thrown away at the start.
//!
//! # When the disk fails
//! The failure is logged once, new listings stay in memory and are found, and the thread tries again every
//! [`RETRY_AFTER`]. Beyond [`PENDING_MAX`] listings the oldest batch is dropped from memory: its listings are not found
//! by their words until the next start, [`kept_below`](guildhall_catalog::text::TextIndex::kept_below) stops where it
//! is, and the catalogue puts everything from there on again.

mod batch;
mod disk;
mod doomed;
mod evaluate;
mod expand;
mod format;
mod index;
mod merges;
mod numbers;
mod open;
mod shared;
mod terms;
mod writer;

pub use index::DiskIndex;
pub use open::OpenError;
pub use shared::{BATCH_MAX, PENDING_MAX};
pub use writer::{IDLE, RETRY_AFTER};
