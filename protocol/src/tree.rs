//! The tree behind a blob's hash, and how parts of a blob are checked against it.
//!
//! BLAKE3 hashes a tree of 1 KiB chunks, so the hash of a blob vouches for every part of it. Two levels of that tree are
//! kept and sent. A blob is cut into *pieces* of 4 MiB, what is asked for and resumed; a piece into *groups* of 16 KiB,
//! what is checked on arrival. A node's value in the tree is a *chaining value* here, or CV.
//!
//! ```text
//! blob hash  =  merge of the pieces' CVs       (32 bytes a piece; none to keep when there is one piece)
//! piece CV   =  merge of its groups' CVs       (256 groups of 32 bytes: 8 KiB for 4 MiB, 0.2 %)
//! group CV   =  BLAKE3 of 16 chunks at their place in the blob
//! ```
//!
//! Who knows a blob's hash and length can check a list of piece CVs without trusting its sender, then a list of group
//! CVs against its piece's, then each group. A CV depends on the content *and its offset*, so two versions of a file
//! have equal CVs wherever they have equal bytes at equal places.
//!
//! A blob of one piece has no piece list: its groups merge to the hash itself. A blob of one group has no list at all.
//! The length decides the shape of the tree, so a list for another length never verifies.

use blake3::hazmat::{self, HasherExt as _, Mode};

use crate::hash::{HASH_BYTES, Hash};

/// Length of a group, bytes: what a lying sender can make a receiver take before it is found out. Sixteen chunks keep
/// the widest vector units busy.
pub const GROUP_BYTES: u64 = 16 * 1024;

/// Length of a piece, bytes: small enough to lose at a crash, large enough that asking for it costs nothing.
pub const PIECE_BYTES: u64 = 4 * 1024 * 1024;

/// Groups of a full piece.
pub const GROUPS_PER_PIECE: u64 = PIECE_BYTES / GROUP_BYTES;

/// A chaining value: the hash of a part of a blob at its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cv([u8; HASH_BYTES]);

impl Cv {
    /// Wraps 32 bytes that already are a chaining value.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    /// The raw 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// Reads CVs that lie side by side; `None` if they do not come out even.
    #[must_use]
    pub fn list(bytes: &[u8]) -> Option<Vec<Self>> {
        let (cvs, rest) = bytes.as_chunks::<HASH_BYTES>();
        rest.is_empty().then(|| cvs.iter().copied().map(Self).collect())
    }
}

impl std::fmt::Debug for Cv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&Hash::from_bytes(self.0), f)
    }
}

/// How a blob of some length is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    len_bytes: u64,
}

impl Shape {
    /// The shape of a blob of this length.
    #[must_use]
    pub const fn of(len_bytes: u64) -> Self {
        Self { len_bytes }
    }

    /// Length of the blob, bytes.
    #[must_use]
    pub const fn len_bytes(self) -> u64 {
        self.len_bytes
    }

    /// Whether the blob is one group: then its hash is all there is to check.
    #[must_use]
    pub const fn is_one_group(self) -> bool {
        self.len_bytes <= GROUP_BYTES
    }

    /// Pieces; an empty blob has one, of no bytes.
    #[must_use]
    pub const fn pieces(self) -> u64 {
        match self.len_bytes.div_ceil(PIECE_BYTES) {
            0 => 1,
            pieces => pieces,
        }
    }

    /// Where a piece begins and how long it is, bytes; a length of 0 past the end.
    #[must_use]
    pub const fn piece(self, index: u64) -> Span {
        let offset = index.saturating_mul(PIECE_BYTES);
        let left = self.len_bytes.saturating_sub(offset);
        Span { offset, len_bytes: if left < PIECE_BYTES { left } else { PIECE_BYTES } }
    }
}

/// A stretch of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub offset: u64,
    /// Length, bytes.
    pub len_bytes: u64,
}

impl Span {
    /// Groups in this stretch, which begins at a group's beginning; an empty blob has one, of no bytes.
    #[must_use]
    pub const fn groups(self) -> u64 {
        match self.len_bytes.div_ceil(GROUP_BYTES) {
            0 => 1,
            groups => groups,
        }
    }

    /// One of its groups, by its number in this stretch.
    #[must_use]
    pub const fn group(self, index: u64) -> Self {
        let before = index.saturating_mul(GROUP_BYTES);
        let left = self.len_bytes.saturating_sub(before);
        let len_bytes = if left < GROUP_BYTES { left } else { GROUP_BYTES };
        Self { offset: self.offset.saturating_add(before), len_bytes }
    }
}

/// The CV of a group at `offset` in its blob. Not for a blob that is a single group: its value is its hash.
///
/// # Panics
/// When `bytes` is empty or longer than a group, or `offset` is not a group's beginning.
#[must_use]
pub fn group_cv(offset: u64, bytes: &[u8]) -> Cv {
    assert!(offset.is_multiple_of(GROUP_BYTES), "groups begin at multiples of their length");
    assert!(!bytes.is_empty() && bytes.len() as u64 <= GROUP_BYTES, "a group has 1 byte to 16 KiB");
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    hasher.update(bytes);
    Cv(hasher.finalize_non_root())
}

/// The CVs of the groups of a piece that begins at `offset`.
///
/// # Panics
/// As [`group_cv`].
#[must_use]
pub fn group_cvs(offset: u64, piece: &[u8]) -> Vec<Cv> {
    let group = usize::try_from(GROUP_BYTES).unwrap_or(usize::MAX);
    let offsets = (0..).map(|index: u64| offset.saturating_add(index.saturating_mul(GROUP_BYTES)));
    offsets.zip(piece.chunks(group)).map(|(offset, bytes)| group_cv(offset, bytes)).collect()
}

/// The CV above CVs that lie side by side: a piece's above its groups'. The first must begin a subtree, as the groups
/// of a piece do. `None` without any.
#[must_use]
pub fn merge(cvs: &[Cv]) -> Option<Cv> {
    match cvs {
        [] => None,
        [only] => Some(*only),
        _ => {
            let (left, right) = halves(cvs)?;
            Some(Cv(hazmat::merge_subtrees_non_root(&left.0, &right.0, Mode::Hash)))
        }
    }
}

/// The hash of a blob whose pieces, or whose only piece's groups, have these CVs. `None` for fewer than two: a blob of
/// one group has a hash and no CV.
#[must_use]
pub fn root(cvs: &[Cv]) -> Option<Hash> {
    let (left, right) = halves(cvs)?;
    Some(Hash::from(hazmat::merge_subtrees_root(&left.0, &right.0, Mode::Hash)))
}

/// The CVs of the two halves as BLAKE3 divides: as many as the largest power of two below all go left.
fn halves(cvs: &[Cv]) -> Option<(Cv, Cv)> {
    let left = cvs.len().checked_next_power_of_two().map_or(0, |all| all >> 1);
    let (left, right) = cvs.split_at_checked(left)?;
    Some((merge(left)?, merge(right)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(len: usize, seed: u64) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut out);
        out
    }

    /// The hash of a blob through all levels of its tree.
    fn through_the_tree(blob: &[u8]) -> Option<Hash> {
        let shape = Shape::of(blob.len() as u64);
        if shape.is_one_group() {
            return Some(Hash::of(blob));
        }
        let groups_of = |index| {
            let span = shape.piece(index);
            let at = usize::try_from(span.offset).unwrap();
            let len = usize::try_from(span.len_bytes).unwrap();
            let cvs = group_cvs(span.offset, &blob[at..at + len]);
            assert_eq!(cvs.len() as u64, span.groups());
            cvs
        };
        if shape.pieces() == 1 {
            return root(&groups_of(0));
        }
        let pieces: Vec<Cv> =
            (0..shape.pieces()).map(|index| merge(&groups_of(index)).unwrap()).collect();
        root(&pieces)
    }

    #[test]
    fn the_tree_of_every_kind_of_length_ends_in_the_blobs_hash() {
        let (group, piece) = (GROUP_BYTES as usize, PIECE_BYTES as usize);
        let lengths = [
            0,
            1,
            1024,
            group - 1,
            group,
            group + 1,
            2 * group,
            3 * group + 5,
            piece - 1,
            piece,
            piece + 1,
            piece + group,
            2 * piece,
            3 * piece - group,
            3 * piece + 1,
            5 * piece + 7 * group + 3,
        ];
        for len in lengths {
            let blob = bytes(len, len as u64);
            assert_eq!(through_the_tree(&blob), Some(Hash::of(&blob)), "{len} bytes");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_tree_of_any_blob_ends_in_its_hash(len in 0_usize..9_000_000, seed: u64) {
            let blob = bytes(len, seed);
            prop_assert_eq!(through_the_tree(&blob), Some(Hash::of(&blob)));
        }

        #[test]
        fn spans_cover_a_blob_without_gap_or_overlap(len in 0_u64..40_000_000) {
            let shape = Shape::of(len);
            let mut at = 0;
            for piece in (0..shape.pieces()).map(|index| shape.piece(index)) {
                for group in (0..piece.groups()).map(|index| piece.group(index)) {
                    prop_assert_eq!(group.offset, at);
                    prop_assert!(group.len_bytes > 0 || len == 0);
                    at += group.len_bytes;
                }
            }
            prop_assert_eq!(at, len);
            prop_assert_eq!(shape.piece(shape.pieces()).len_bytes, 0);
        }
    }

    #[test]
    fn equal_bytes_elsewhere_have_another_value() {
        let group = bytes(GROUP_BYTES as usize, 1);
        assert_ne!(group_cv(0, &group), group_cv(GROUP_BYTES, &group));
    }

    #[test]
    fn too_few_values_make_no_tree() {
        assert_eq!(merge(&[]), None);
        assert_eq!(root(&[]), None);
        assert_eq!(root(&[group_cv(0, b"x")]), None);
        assert_eq!(Cv::list(&[0; 33]), None);
        assert_eq!(Cv::list(&[]), Some(Vec::new()));
    }
}
