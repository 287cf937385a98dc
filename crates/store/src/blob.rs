//! Blob files: bytes named by their BLAKE3 hash.
//!
//! A blob comes in through a [`BlobWriter`] into `tmp/`, becomes a [`StagedBlob`] when it is whole, synced and has the
//! right hash, and is put in place together with its row by the batch that adds it. Memory stays flat: everything
//! goes through buffers of [`COPY_BUFFER_BYTES`].

mod read;
mod write;

pub use write::{BlobWriter, StagedBlob, StoredBlob};

/// Size of every buffer that blob bytes go through: large enough that system calls and BLAKE3 run at full speed.
pub const COPY_BUFFER_BYTES: usize = 64 * 1024;
