//! Checking whole blobs, and saying which of their pieces are damaged.

use std::sync::{Mutex, PoisonError};

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, Cv, PIECE_BYTES, Shape};

use crate::error::{BlobDamage, BlobError};
use crate::shared::Shared;
use crate::store::Store;
use crate::table::PIECE_LIST;

use super::hash::{Source, Visit, hash_file};
use super::read::BlobAt;

/// What was found in a blob's file.
#[derive(Debug)]
pub(crate) struct Check {
    /// The CVs of all pieces as they are in the file.
    pub(crate) pieces: Vec<Cv>,
    /// The damaged ones, in order. All, if not even the tree is known.
    pub(crate) damaged: Vec<u64>,
}

impl Check {
    /// Reads all of it with several threads. `pace` is called with the number of bytes of each slice, and stops
    /// everything with an error.
    pub(crate) fn run(
        shared: &Shared,
        hash: &Hash,
        file: &dyn Source,
        shape: Shape,
        pace: &(dyn Fn(usize) -> Result<(), BlobError> + Sync),
    ) -> Result<Self, BlobError> {
        let count = usize::try_from(shape.pieces()).map_err(|_| BlobError::Interrupted)?;
        let unknown = Cv::from_bytes([0; 32]);
        let found =
            Found { pieces: Mutex::new(vec![unknown; count]), first: Mutex::default(), pace };
        hash_file(file, &shared.shelf.name(hash), shape, &found)?;
        let pieces = found.pieces.into_inner().unwrap_or_else(PoisonError::into_inner);
        let first = found.first.into_inner().unwrap_or_else(PoisonError::into_inner);
        let root = if count == 1 { tree::root(&first) } else { tree::root(&pieces) };
        if root == Some(*hash) {
            return Ok(Self { pieces, damaged: Vec::new() });
        }
        let expected = known_pieces(shared, hash, shape);
        let wrong = |index: &u64| {
            let at = usize::try_from(*index).unwrap_or(usize::MAX);
            expected.as_ref().is_none_or(|expected| expected.get(at) != pieces.get(at))
        };
        let damaged = (0..shape.pieces()).filter(wrong).collect();
        Ok(Self { pieces, damaged })
    }

    /// What to say of it, if it is damaged.
    pub(crate) fn damage(&self) -> Option<BlobDamage> {
        let first = self.damaged.first()?;
        Some(BlobDamage::Content {
            pieces: self.damaged.len() as u64,
            first_offset: first.saturating_mul(PIECE_BYTES),
        })
    }
}

/// The CVs of the pieces as they should be: from their list, else from their groups.
pub(crate) fn known_pieces(shared: &Shared, hash: &Hash, shape: Shape) -> Option<Vec<Cv>> {
    let right =
        |cvs: &Vec<Cv>| cvs.len() as u64 == shape.pieces() && tree::root(cvs) == Some(*hash);
    if let Some(list) = shared.tree_row(hash, PIECE_LIST).ok().flatten().filter(right) {
        return Some(list);
    }
    let piece = |index: u64| {
        let groups = shared.tree_row(hash, u32::try_from(index).ok()?).ok().flatten()?;
        tree::merge(&groups)
    };
    (0..shape.pieces()).map(piece).collect::<Option<Vec<Cv>>>().filter(right)
}

/// Collects what is in the file.
struct Found<'a> {
    pieces: Mutex<Vec<Cv>>,
    /// The groups of the only piece.
    first: Mutex<Vec<Cv>>,
    pace: &'a (dyn Fn(usize) -> Result<(), BlobError> + Sync),
}

impl Visit for Found<'_> {
    fn slice(&self, _: u64, bytes: &[u8]) -> Result<(), BlobError> {
        (self.pace)(bytes.len())
    }

    fn piece(&self, index: u64, groups: Vec<Cv>) -> Result<(), BlobError> {
        let at = usize::try_from(index).map_err(|_| BlobError::Interrupted)?;
        let cv = tree::merge(&groups).ok_or(BlobError::Interrupted)?;
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(piece) = pieces.get_mut(at) {
            *piece = cv;
        }
        drop(pieces);
        if index == 0 {
            *self.first.lock().unwrap_or_else(PoisonError::into_inner) = groups;
        }
        Ok(())
    }
}

impl Store {
    /// Reads the whole blob and checks it, with several threads. Blocking: use it on a blocking thread.
    ///
    /// # Errors
    /// [`BlobError::Missing`]; [`BlobError::Damaged`], upon which [`Batch::forget_blob`](crate::Batch::forget_blob)
    /// makes room for a good copy, or [`Store::repair`] keeps what is good of it.
    pub fn verify_blob(&self, hash: &Hash) -> Result<(), BlobError> {
        let shared = &self.inner.shared;
        let hash = *hash;
        let damage = match shared.blob_at(&hash)?.ok_or(BlobError::Missing { hash })? {
            BlobAt::Inline(bytes) => {
                let wrong = Hash::of(&bytes) != hash;
                wrong.then_some(BlobDamage::Content { pieces: 1, first_offset: 0 })
            }
            BlobAt::File { len_bytes } => {
                let file = self.source(&hash, len_bytes)?;
                Check::run(shared, &hash, &*file, Shape::of(len_bytes), &|_| Ok(()))?.damage()
            }
        };
        damage.map_or(Ok(()), |damage| Err(BlobError::Damaged { hash, damage }))
    }

    /// The pieces of a blob's file that are damaged, in order; all of them if its tree is damaged too. Blocking for as
    /// long as reading the file takes.
    ///
    /// # Errors
    /// As [`Store::verify_blob`], which it is for blobs without a tree.
    pub fn damaged_pieces(&self, hash: &Hash) -> Result<Vec<u64>, BlobError> {
        match self.inner.shared.blob_at(hash)? {
            Some(BlobAt::File { len_bytes }) => {
                let file = self.source(hash, len_bytes)?;
                let shape = Shape::of(len_bytes);
                let check = Check::run(&self.inner.shared, hash, &*file, shape, &|_| Ok(()))?;
                Ok(check.damaged)
            }
            _ => self.verify_blob(hash).map(|()| Vec::new()),
        }
    }
}
