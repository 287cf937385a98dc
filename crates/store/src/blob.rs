//! Blobs: bytes named by their BLAKE3 hash.
//!
//! A blob of at most one group (16 KiB) lives in its row. A larger one is a file, with its tree in the catalogue, so
//! that parts of it can be given out, checked and mended.
//!
//! A blob comes in through a [`BlobWriter`], by [`Store::import_file`](crate::Store::import_file), or as a
//! [`Partial`](crate::Partial). It becomes a [`StagedBlob`] when it is whole, synced and has the right hash, and is put
//! in place together with its rows by the batch that adds it. Memory stays flat: bytes go through buffers of
//! [`COPY_BUFFER_BYTES`], and trees of large blobs wait in files.

mod hash;
mod import;
mod read;
mod tree;
mod verify;
mod write;

pub use hash::HASH_THREADS_MAX;
pub(crate) use hash::{Source, groups_of};
pub use import::Import;
pub(crate) use read::BlobAt;
pub(crate) use tree::{Tree, join};
pub(crate) use verify::{Check, known_pieces};
pub(crate) use write::Content;
pub use write::{BlobWriter, StagedBlob, StoredBlob};

/// Size of the buffers that blob bytes go through: large enough that system calls and BLAKE3 run at full speed, and a
/// whole number of groups that divides a piece.
pub const COPY_BUFFER_BYTES: usize = 256 * 1024;
const _: () =
    assert!(guildhall_protocol::tree::PIECE_BYTES.is_multiple_of(COPY_BUFFER_BYTES as u64));
