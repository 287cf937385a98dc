//! The messages by which one node learns where another one's set differs from its own, at a cost that follows the
//! difference.
//!
//! A set's elements are short byte strings: [`CompareSet`] says which. Under a key that the asking node draws anew for
//! each comparison every element has a short id of 64 bits ([`CompareKey::short_id`]), so that nobody can prepare
//! elements whose short ids collide. The answering node sums its set up in cells and sends as many of the first ones as
//! it is asked for; how cells are made and read is in `guildhall_sync::reconcile`.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::hash::{HASH_BYTES, Hash};

/// Bytes of one cell in [`Cells`]: the xor of the short ids in it (8, big-endian), the xor of their checks (4,
/// big-endian), and how many they are, modulo 256 (1).
pub const CELL_BYTES: usize = 13;

/// Cells of one comparison: what two sets with some ten thousand differences need. Sets that differ more are compared
/// by pages.
pub const COMPARE_CELLS_MAX: u32 = 16_384;

/// Cells in one [`Cells`]: 104 KiB, a tenth of a message.
pub const CELLS_PER_PAGE: u32 = 8_192;

/// Short ids in one [`FindElements`], of which there is one in a comparison: 64 KiB, and at most 320 KiB for the answer.
pub const FIND_MAX: usize = 8_192;

/// Bytes of a short id.
pub const SHORT_ID_BYTES: usize = 8;

/// Which set two nodes compare, and what its elements are as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CompareSet {
    /// The logs that are here: the author's 32 bytes, then how many records its log has, 8 bytes big-endian.
    Heads,
    /// The records whose bodies are here: their ids, 32 bytes.
    Bodies,
}

/// What the short ids of one comparison are made with. Drawn by the asking node from real randomness, for one comparison
/// with one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CompareKey(Hash);

impl CompareKey {
    /// A key from 32 random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Self(Hash::from_bytes(bytes))
    }

    /// The short id of an element: the first 8 bytes of its keyed BLAKE3, big-endian.
    #[must_use]
    pub fn short_id(&self, element: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(self.0.as_bytes(), element);
        u64::from_be_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

/// Asks for the cells of a set. The first request with a key opens a comparison: the answering node sums its set up as
/// it is then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// Of which set.
    pub set: CompareSet,
    /// Names the comparison, too.
    pub key: CompareKey,
    /// The first cell wanted; 0 opens a comparison.
    pub from: u32,
    /// How many, 1 to [`CELLS_PER_PAGE`]; none lies behind [`COMPARE_CELLS_MAX`].
    pub count: u32,
}

/// The answer to [`Compare`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cells {
    /// Exactly the cells that were asked for, [`CELL_BYTES`] each.
    pub cells: ByteBuf,
    /// With the first cells: one byte each of cells that are spread over all the others, from which the asking node
    /// estimates how much the sets differ. Otherwise empty.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub probes: ByteBuf,
}

fn is_empty(bytes: &ByteBuf) -> bool {
    bytes.is_empty()
}

/// Asks for elements by their short ids in an open comparison, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindElements {
    /// Of which set.
    pub set: CompareSet,
    /// Of which comparison.
    pub key: CompareKey,
    /// Short ids, [`SHORT_ID_BYTES`] each, big-endian; at most [`FIND_MAX`].
    pub short_ids: ByteBuf,
}
