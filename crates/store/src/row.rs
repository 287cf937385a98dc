//! What the rows of `blobs` and `partials` say.

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{GROUP_BYTES, PIECE_BYTES, Shape};

use crate::table::{BLOBS, parse_u64, seal, seal_inline};

/// First byte of a row that holds the blob itself; such a row is sealed by its key, see [`crate::table`].
pub(crate) const TAG_INLINE: u8 = 0;
const TAG_FILE: u8 = 1;

/// Longest blob, bytes: 1 PiB, far beyond every disk, and its pieces can still be numbered in 32 bits.
pub const BLOB_MAX_BYTES: u64 = 1 << 50;
const _: () = assert!(BLOB_MAX_BYTES / PIECE_BYTES < u32::MAX as u64);

/// Payload of a row of `blobs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlobRow<'a> {
    /// The blob itself.
    Inline(&'a [u8]),
    /// The length of its file.
    File { len_bytes: u64 },
}

impl<'a> BlobRow<'a> {
    /// `None` for what no program of ours writes.
    pub(crate) fn parse(payload: &'a [u8]) -> Option<Self> {
        match payload.split_first()? {
            (&TAG_INLINE, bytes) if bytes.len() as u64 <= GROUP_BYTES => Some(Self::Inline(bytes)),
            (&TAG_FILE, len) => Some(Self::File { len_bytes: parse_u64(len)? }),
            _ => None,
        }
    }

    pub(crate) fn len_bytes(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::File { len_bytes } => *len_bytes,
        }
    }

    /// The stored value under the blob's hash.
    pub(crate) fn seal(&self, hash: &Hash) -> Vec<u8> {
        match self {
            Self::Inline(bytes) => seal_inline(hash, bytes),
            Self::File { len_bytes } => {
                seal(BLOBS, hash.as_bytes(), &[&[TAG_FILE], &len_bytes.to_be_bytes()])
            }
        }
    }
}

/// Payload of a row of `partials`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartialRow {
    pub(crate) shape: Shape,
    /// For each piece, whether it is in the file, synced, and its groups are in `trees`.
    pub(crate) saved: Vec<bool>,
}

impl PartialRow {
    /// Nothing of a blob of this length. `None` if it is too long or has no tree.
    pub(crate) fn new(len_bytes: u64) -> Option<Self> {
        let shape = Shape::of(len_bytes);
        if shape.is_one_group() || len_bytes > BLOB_MAX_BYTES {
            return None;
        }
        let pieces = usize::try_from(shape.pieces()).ok()?;
        Some(Self { shape, saved: vec![false; pieces] })
    }

    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let (len_bytes, bits) = payload.split_first_chunk::<8>()?;
        let len_bytes = u64::from_be_bytes(*len_bytes);
        let pieces = usize::try_from(Shape::of(len_bytes).pieces()).ok()?;
        // Before anything of that size is allocated.
        if bits.len() != pieces.div_ceil(8) {
            return None;
        }
        let mut row = Self::new(len_bytes)?;
        for (index, saved) in row.saved.iter_mut().enumerate() {
            *saved = bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
        }
        Some(row)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut payload = self.shape.len_bytes().to_be_bytes().to_vec();
        payload.extend(
            self.saved.chunks(8).map(|bits| {
                bits.iter().rev().fold(0_u8, |byte, saved| byte << 1 | u8::from(*saved))
            }),
        );
        payload
    }

    /// Bytes of the pieces that are saved.
    pub(crate) fn saved_bytes(&self) -> u64 {
        let saved = (0..).zip(&self.saved).filter(|(_, saved)| **saved);
        saved.map(|(index, _)| self.shape.piece(index).len_bytes).sum()
    }
}
