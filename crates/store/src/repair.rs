//! Mending a damaged blob piece by piece: it becomes a partial blob that keeps its good pieces.

use std::fs::File;

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, Shape};

use crate::batch::{Batch, TreeRow};
use crate::blob::{BlobAt, Check, groups_of, join, known_pieces};
use crate::error::{BlobError, ReadError};
use crate::partial::{Begun, Partial};
use crate::row::PartialRow;
use crate::store::Store;
use crate::table::PIECE_LIST;

/// Pieces whose rows are written anew in one batch: 8 MiB of CVs.
const ROWS_PER_BATCH: usize = 1024;

impl Store {
    /// Turns a blob, damaged or not, into a partial one that has the pieces that are good; [`Partial::missing`] are the
    /// others. Until it is whole again nobody finds it as a blob. Interrupted at any point, either the blob is as it
    /// was, or [`Store::partial`] opens it with what was good. Damaged rows of its tree are written anew.
    ///
    /// Blocking for as long as reading the file takes.
    ///
    /// # Errors
    /// [`BlobError::Missing`]; [`BlobError::Busy`] if it is open as a [`Partial`]; [`BlobError::WrongTree`] if it has
    /// no tree, or [`BlobError::Read`] if its row is damaged: then it has to come anew as a whole.
    pub fn repair(&self, hash: &Hash) -> Result<Partial, BlobError> {
        let (shared, hash) = (&self.inner.shared, *hash);
        let Some(at) = shared.blob_at(&hash)? else { return Err(BlobError::Missing { hash }) };
        let BlobAt::File { len_bytes } = at else { return Err(BlobError::WrongTree { hash }) };
        let begun = Begun::take(shared, hash)?;
        let mut row = PartialRow::new(len_bytes).ok_or(BlobError::WrongTree { hash })?;
        // Whoever opens the blob meanwhile is not to find what may be wrong.
        shared.shelf.doubt(&hash);
        let draft = match shared.shelf.draft(&hash) {
            Ok(draft) => Some(draft),
            Err(why) => match self.unopened(&hash, why)? {
                BlobError::Damaged { .. } => None,
                error => return Err(error),
            },
        };
        if let Some((file, _)) = &draft {
            let (check, good) = self.check_what_is_there(&hash, row.shape, file)?;
            row.saved = good;
            self.mend_tree(&hash, &row, &check, file)?;
        }
        let mut batch = Batch::new();
        batch.demote(hash, row.encode());
        self.commit_blocking(batch)?;
        drop((draft, begun));
        self.partial(hash, len_bytes)
    }

    /// Which pieces are good.
    fn check_what_is_there(
        &self,
        hash: &Hash,
        shape: Shape,
        file: &File,
    ) -> Result<(Check, Vec<bool>), BlobError> {
        let shared = &self.inner.shared;
        let metadata = file.metadata().map_err(BlobError::io(&shared.shelf.name(hash)))?;
        if metadata.len() != shape.len_bytes() {
            return self.pieces_of_cut_file(hash, shape, file, metadata.len());
        }
        let check = Check::run(shared, hash, file, shape, &|_| Ok(()))?;
        let good = (0..shape.pieces()).map(|index| check.damaged.binary_search(&index).is_err());
        let good = good.collect();
        Ok((check, good))
    }

    /// A file of another length: its whole pieces may be good.
    fn pieces_of_cut_file(
        &self,
        hash: &Hash,
        shape: Shape,
        file: &File,
        found_bytes: u64,
    ) -> Result<(Check, Vec<bool>), BlobError> {
        let shared = &self.inner.shared;
        let path = shared.shelf.name(hash);
        let expected = known_pieces(shared, hash, shape);
        let mut check = Check { pieces: Vec::new(), damaged: Vec::new() };
        let mut good = Vec::new();
        for index in 0..shape.pieces() {
            let span = shape.piece(index);
            let mut right = false;
            if let Some(expected) = &expected
                && span.offset.saturating_add(span.len_bytes) <= found_bytes
            {
                let cv = tree::merge(&groups_of(file, &path, span)?);
                let at = usize::try_from(index).unwrap_or(usize::MAX);
                right = shape.pieces() > 1 && cv.is_some() && cv.as_ref() == expected.get(at);
            }
            good.push(right);
            if !right {
                check.damaged.push(index);
            }
        }
        check.pieces = expected.unwrap_or_default();
        Ok((check, good))
    }

    /// Writes the rows of good pieces anew that are damaged or gone, and the list of pieces.
    fn mend_tree(
        &self,
        hash: &Hash,
        row: &PartialRow,
        check: &Check,
        file: &File,
    ) -> Result<(), BlobError> {
        let shared = &self.inner.shared;
        let path = shared.shelf.name(hash);
        let mut rows: Vec<TreeRow> = Vec::new();
        if row.shape.pieces() > 1 {
            let list = match tree::root(&check.pieces) == Some(*hash) {
                true => Some(check.pieces.clone()),
                false => known_pieces(shared, hash, row.shape),
            };
            rows.extend(list.map(|list| (PIECE_LIST, join(&list))));
        }
        for (number, good) in (0_u32..).zip(&row.saved) {
            if !good {
                continue;
            }
            let expected = usize::try_from(number).ok().and_then(|at| check.pieces.get(at));
            let found = match shared.tree_row(hash, number) {
                Ok(found) => found,
                Err(ReadError::Corrupt { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let span = row.shape.piece(u64::from(number));
            let intact = found.is_some_and(|cvs| {
                cvs.len() as u64 == span.groups() && tree::merge(&cvs).as_ref() == expected
            });
            if !intact {
                rows.push((number, join(&groups_of(file, &path, span)?)));
            }
            if rows.len() >= ROWS_PER_BATCH {
                self.save_tree(hash, std::mem::take(&mut rows))?;
            }
        }
        self.save_tree(hash, rows)
    }

    fn save_tree(&self, hash: &Hash, rows: Vec<TreeRow>) -> Result<(), BlobError> {
        if !rows.is_empty() {
            let mut batch = Batch::new();
            batch.save_tree(*hash, rows);
            self.commit_blocking(batch)?;
        }
        Ok(())
    }
}
